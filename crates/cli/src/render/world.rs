//! Reading Kubernetes objects for people: fields that may be missing, ages, what is wrong with a pod.

use serde_json::Value;

/// What is wrong with a pod, or what it waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Trouble {
    /// One word, as kubectl shows it: `ErrImagePull`, `CrashLoopBackOff`, `Unschedulable`.
    pub(crate) reason: String,
    /// The sentence behind it; may be empty.
    pub(crate) message: String,
    /// Whether it is how pods begin, and no fault.
    pub(crate) is_start: bool,
}

/// A text, or nothing.
pub(crate) fn text<'a>(value: &'a Value, path: &str) -> &'a str {
    value.pointer(path).and_then(Value::as_str).unwrap_or_default()
}

/// A number, or zero.
pub(crate) fn number(value: &Value, path: &str) -> i64 {
    value.pointer(path).and_then(Value::as_i64).unwrap_or_default()
}

/// The elements of a list, or none.
pub(crate) fn items<'a>(value: &'a Value, path: &str) -> impl Iterator<Item = &'a Value> {
    value.pointer(path).and_then(Value::as_array).into_iter().flatten()
}

pub(crate) fn name(object: &Value) -> &str {
    text(object, "/metadata/name")
}

pub(crate) fn namespace(object: &Value) -> &str {
    text(object, "/metadata/namespace")
}

/// A condition of an object by its type.
pub(crate) fn condition<'a>(object: &'a Value, kind: &str) -> Option<&'a Value> {
    items(object, "/status/conditions").find(|condition| text(condition, "/type") == kind)
}

/// Whether `owner` controls `object`.
pub(crate) fn is_owned(object: &Value, owner: &Value) -> bool {
    let uid = text(owner, "/metadata/uid");
    !uid.is_empty() && items(object, "/metadata/ownerReferences").any(|found| text(found, "/uid") == uid)
}

/// How long ago a moment was that is written as RFC 3339, in seconds; none when it is none.
pub(crate) fn age_seconds(moment: &str, now: i64) -> Option<i64> {
    let moment: shoal_api::time::Moment = moment.parse().ok()?;
    Some((now - moment.seconds()).max(0))
}

/// An age as kubectl shows the larger ones: `42s`, `7m`, `3h`, `12d`.
pub(crate) fn age(moment: &str, now: i64) -> String {
    const MINUTE: i64 = 60;
    const HOUR: i64 = 60 * MINUTE;
    const DAY: i64 = 24 * HOUR;
    match age_seconds(moment, now) {
        None => String::new(),
        // Below two minutes, hours and days, the smaller unit still says something.
        Some(seconds) if seconds < 2 * MINUTE => format!("{seconds}s"),
        Some(seconds) if seconds < 2 * HOUR => format!("{}m", seconds / MINUTE),
        Some(seconds) if seconds < 2 * DAY => format!("{}h", seconds / HOUR),
        Some(seconds) => format!("{}d", seconds / DAY),
    }
}

/// Reasons with which containers begin.
const STARTS: [&str; 3] = ["ContainerCreating", "PodInitializing", "Pending"];

/// What is wrong with a pod; none when it serves, or has ended well.
pub(crate) fn trouble(pod: &Value) -> Option<Trouble> {
    let of = |reason: &str, message: &str| {
        let is_start = STARTS.contains(&reason);
        Some(Trouble { reason: reason.into(), message: message.into(), is_start })
    };
    if !text(pod, "/metadata/deletionTimestamp").is_empty() {
        return None;
    }
    let scheduled = condition(pod, "PodScheduled").filter(|found| text(found, "/status") == "False");
    if let Some(found) = scheduled {
        return of(text(found, "/reason"), text(found, "/message"));
    }
    let containers = ["/status/initContainerStatuses", "/status/containerStatuses"];
    let statuses = || containers.into_iter().flat_map(|path| items(pod, path));
    let waits = statuses().filter(|status| !text(status, "/state/waiting/reason").is_empty());
    // One that waits to begin says less than one that cannot.
    let worst = waits.min_by_key(|status| STARTS.contains(&text(status, "/state/waiting/reason")));
    if let Some(status) = worst {
        let (reason, message) =
            (text(status, "/state/waiting/reason"), text(status, "/state/waiting/message"));
        let last = last_end(status);
        return of(
            reason,
            &[message, &last].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("; "),
        );
    }
    if let Some(status) = statuses().find(|status| number(status, "/state/terminated/exitCode") != 0) {
        let ended = &status["state"]["terminated"];
        return of(or(text(ended, "/reason"), "Error"), &end(ended));
    }
    match text(pod, "/status/phase") {
        "Failed" => of(or(text(pod, "/status/reason"), "Failed"), text(pod, "/status/message")),
        "Pending" | "" => of("Pending", text(pod, "/status/message")),
        "Running" => {
            let ready = condition(pod, "Ready").filter(|found| text(found, "/status") != "True")?;
            of("NotReady", text(ready, "/message"))
        }
        _ => None,
    }
}

fn or<'a>(text: &'a str, otherwise: &'a str) -> &'a str {
    if text.is_empty() { otherwise } else { text }
}

/// How the run before this one ended.
fn last_end(status: &Value) -> String {
    let ended = &status["lastState"]["terminated"];
    if ended.is_object() { format!("last {}", end(ended)) } else { String::new() }
}

fn end(ended: &Value) -> String {
    let code = format!("exit code {}", number(ended, "/exitCode"));
    match text(ended, "/message").trim() {
        "" => code,
        message => format!("{code}: {message}"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn shown(pod: &Value) -> String {
        trouble(pod).map_or("none".into(), |trouble| {
            format!("{}{}: {}", if trouble.is_start { "start " } else { "" }, trouble.reason, trouble.message)
        })
    }

    #[test]
    fn the_worst_of_a_pod_is_found() {
        let waiting = |reason: &str| json!({"state": {"waiting": {"reason": reason, "message": "why"}}});
        let running = json!({"state": {"running": {}}});
        for (status, expected) in [
            (json!({"phase": "Running", "containerStatuses": [running]}), "none"),
            (json!({"phase": "Succeeded"}), "none"),
            (json!({}), "start Pending: "),
            (json!({"containerStatuses": [waiting("ContainerCreating")]}), "start ContainerCreating: why"),
            (
                json!({"containerStatuses": [waiting("ContainerCreating"), waiting("ErrImagePull")]}),
                "ErrImagePull: why",
            ),
            (
                json!({"containerStatuses": [{
                    "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 10s"}},
                    "lastState": {"terminated": {"exitCode": 134, "message": "trapped\n"}},
                }]}),
                "CrashLoopBackOff: back-off 10s; last exit code 134: trapped",
            ),
            (
                json!({"containerStatuses": [{"state": {"terminated": {"exitCode": 1}}}]}),
                "Error: exit code 1",
            ),
            (json!({"phase": "Failed", "reason": "Evicted", "message": "disk"}), "Evicted: disk"),
            (
                json!({"conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes"}]}),
                "Unschedulable: 0/1 nodes",
            ),
            (
                json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "False", "message": "probe"}]}),
                "NotReady: probe",
            ),
        ] {
            assert_eq!(shown(&json!({"status": status})), expected, "{status}");
        }
        let going =
            json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}, "status": {"phase": "Failed"}});
        assert_eq!(shown(&going), "none");
    }

    #[test]
    fn ages_are_short() {
        let now = "2026-01-02T00:00:00Z".parse::<shoal_api::time::Moment>().expect("a moment").seconds();
        for (moment, expected) in [
            ("2026-01-02T00:00:00Z", "0s"),
            ("2026-01-02T00:00:09Z", "0s"),
            ("2026-01-01T23:58:01Z", "119s"),
            ("2026-01-01T23:58:00Z", "2m"),
            ("2026-01-01T22:00:00Z", "2h"),
            ("2025-12-31T00:00:00Z", "2d"),
            ("never", ""),
        ] {
            assert_eq!(age(moment, now), expected, "{moment}");
        }
    }
}
