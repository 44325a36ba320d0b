//! What `shoal deploy` shows: how far a Deployment is, and why it does not come up.

use std::fmt::Write as _;

use serde_json::Value;

pub use super::status::Url;
use super::status::{cut, newest_warnings, urls_of};
use super::world::{condition, is_owned, items, name, namespace, number, text, trouble};
use super::{BAD, GOOD, NAME, QUIET, plain, styled};

/// How far a Deployment is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Not there yet; what it waits for.
    Going(String),
    /// All replicas are those that were asked for, and can be used.
    Done,
    /// It will not get there by itself.
    Failed {
        /// One word.
        reason: String,
        /// The sentence behind it.
        message: String,
    },
}

/// How far an object is whose coming up can be watched: a Job, or else a Deployment.
pub fn stage_of(object: &Value) -> Stage {
    if object["kind"] == "Job" { job_stage(object) } else { stage(object) }
}

fn job_stage(job: &Value) -> Stage {
    let is = |kind: &str| condition(job, kind).filter(|found| text(found, "/status") == "True");
    if is("Complete").is_some() {
        return Stage::Done;
    }
    if let Some(found) = is("Failed") {
        return Stage::Failed {
            reason: text(found, "/reason").into(),
            message: text(found, "/message").into(),
        };
    }
    if job["spec"]["suspend"] == true {
        return Stage::Going("suspended".into());
    }
    let wanted = number(job, "/spec/completions").max(1);
    Stage::Going(format!("{} of {wanted} done", number(job, "/status/succeeded")))
}

/// How far a Deployment is, by the rules of `kubectl rollout status`; besides, one whose pods cannot be made has failed.
pub fn stage(deployment: &Value) -> Stage {
    let generation = number(deployment, "/metadata/generation");
    if number(deployment, "/status/observedGeneration") < generation {
        return Stage::Going("waiting to be seen".into());
    }
    let failed = |found: &Value| Stage::Failed {
        reason: text(found, "/reason").into(),
        message: text(found, "/message").into(),
    };
    let progress = condition(deployment, "Progressing");
    if let Some(found) = progress.filter(|found| text(found, "/reason") == "ProgressDeadlineExceeded") {
        return failed(found);
    }
    let cannot = condition(deployment, "ReplicaFailure");
    if let Some(found) = cannot.filter(|found| text(found, "/status") == "True") {
        return failed(found);
    }
    let wanted = deployment.pointer("/spec/replicas").and_then(Value::as_i64).unwrap_or(1);
    let [all, updated, available] =
        ["/status/replicas", "/status/updatedReplicas", "/status/availableReplicas"]
            .map(|path| number(deployment, path));
    if deployment["spec"]["paused"] == true && updated < wanted {
        return Stage::Going(format!("paused with {updated} of {wanted} new replicas"));
    }
    if updated < wanted {
        return Stage::Going(format!("{updated} of {wanted} new replicas made"));
    }
    if all > updated {
        let old = all - updated;
        return Stage::Going(format!("{old} old replica{} to end", if old == 1 { "" } else { "s" }));
    }
    if available < updated {
        return Stage::Going(format!("{available} of {updated} replicas ready"));
    }
    Stage::Done
}

/// Why an App cannot be expanded into what runs it; none: nothing is in its way.
pub fn app_failure(app: &Value) -> Option<Stage> {
    let failed = condition(app, "Failed").filter(|found| text(found, "/status") == "True");
    let found = failed.filter(|found| ["NameTaken", "FailedExpand"].contains(&text(found, "/reason")))?;
    Some(Stage::Failed { reason: text(found, "/reason").into(), message: text(found, "/message").into() })
}

/// Whether an App runs by a schedule, and nothing of it serves.
pub fn is_scheduled(app: &Value) -> bool {
    !text(app, "/spec/schedule").is_empty()
}

/// A reason that the API gives, on one line of a terminal.
pub fn reason(message: &str) -> String {
    cut(message, REASON_MAX)
}

/// One line for an object that is on its way, or there.
pub fn progress(object: &Value) -> String {
    let name = styled(NAME, &plain(&format!("{}/{}", namespace(object), name(object))));
    match stage_of(object) {
        Stage::Going(what) => format!("{name}: {what}"),
        Stage::Done if object["kind"] == "Job" => format!("{name}: {}", styled(GOOD, "done")),
        Stage::Done => format!("{name}: {}", styled(GOOD, "serving")),
        Stage::Failed { reason, .. } => format!("{name}: {}", styled(BAD, &plain(&reason))),
    }
}

/// The URLs of an Ingress. `all`: the Ingresses of the cluster, as far as they are known.
pub fn urls(ingress: &Value, all: &[Value]) -> Vec<Url> {
    urls_of(ingress, all, |_| true)
}

/// Whether an edge has said that it serves an Ingress.
pub fn is_published(ingress: &Value) -> bool {
    items(ingress, "/status/loadBalancer/ingress").next().is_some()
}

/// Reasons that do not pass while nobody does anything, or only once something else is mended.
const STUCK: [&str; 9] = [
    "ErrImagePull",
    "ImagePullBackOff",
    "InvalidImageName",
    "ErrImageNeverPull",
    "CrashLoopBackOff",
    "RunContainerError",
    "CreateContainerConfigError",
    "CreateContainerError",
    "Unschedulable",
];

/// Whether a pod of this object cannot go on as things are.
pub fn is_stuck(object: &Value, evidence: &Evidence<'_>) -> bool {
    let mut troubles = own_pods(object, evidence).into_iter().filter_map(trouble);
    troubles.any(|found| STUCK.contains(&found.reason.as_str()))
}

/// Names of pods that belong to this object, those in trouble first.
pub fn pods_of(object: &Value, evidence: &Evidence<'_>) -> Vec<String> {
    let mut own = own_pods(object, evidence);
    own.sort_by_key(|pod| trouble(pod).is_none());
    own.into_iter().map(|pod| name(pod).to_owned()).collect()
}

/// What belongs to a Deployment, to say why it does not come up.
#[derive(Clone, Copy, Debug, Default)]
pub struct Evidence<'a> {
    /// ReplicaSets of its namespace.
    pub replica_sets: &'a [Value],
    /// Pods of its namespace.
    pub pods: &'a [Value],
    /// Events of its namespace.
    pub events: &'a [Value],
    /// The last lines of the log of a pod, by the pod's name.
    pub logs: &'a [(String, String)],
}

/// Characters of a reason: as many as the message of an event has, whose end may be the way out.
const REASON_MAX: usize = 1024;
/// Lines of a log that are shown: what a guest says as it fails.
const LOG_LINES_MAX: usize = 10;

/// Why a Deployment does not come up: what its pods suffer from, each thing once with how many have it; the last warnings; the
/// last words of one of them; and what to do.
pub fn explain(deployment: &Value, evidence: &Evidence<'_>) -> String {
    let mut shown = String::new();
    if let Stage::Failed { message, .. } = stage_of(deployment)
        && !message.is_empty()
    {
        let _ = writeln!(shown, "  {}", cut(&message, REASON_MAX));
    }
    let own = own_pods(deployment, evidence);
    let mut kinds: Vec<(String, String, usize)> = Vec::new();
    for pod in &own {
        let Some(found) = trouble(pod) else { continue };
        match kinds
            .iter_mut()
            .find(|(reason, message, _)| *reason == found.reason && *message == found.message)
        {
            Some((_, _, count)) => *count += 1,
            None => kinds.push((found.reason, found.message, 1)),
        }
    }
    for (reason, message, count) in &kinds {
        let of = format!("{count} of {} pods", own.len());
        let _ = writeln!(
            shown,
            "  {} {}: {}",
            styled(QUIET, &of),
            styled(BAD, &plain(reason)),
            cut(message, REASON_MAX)
        );
    }
    shown += &warnings(deployment, &own, evidence);
    shown += &last_words(&own, evidence);
    for (reason, ..) in &kinds {
        if let Some(hint) = hint(reason) {
            let _ = writeln!(shown, "{} {hint}", styled(NAME, "hint:"));
            break;
        }
    }
    shown
}

/// The pods of the newest ReplicaSet of a Deployment; those of a Job are its own.
fn own_pods<'a>(deployment: &Value, evidence: &Evidence<'a>) -> Vec<&'a Value> {
    let revision = |set: &&Value| -> i64 {
        let revision = &set["metadata"]["annotations"]["deployment.kubernetes.io/revision"];
        revision.as_str().and_then(|text| text.parse().ok()).unwrap_or_default()
    };
    let sets = evidence.replica_sets.iter().filter(|set| is_owned(set, deployment));
    let newest = sets.max_by_key(revision);
    let owner = newest.unwrap_or(deployment);
    evidence.pods.iter().filter(|pod| is_owned(pod, owner)).collect()
}

fn warnings(deployment: &Value, own: &[&Value], evidence: &Evidence<'_>) -> String {
    let is_about = |event: &&Value| {
        let uid = text(event, "/involvedObject/uid");
        let sets = evidence.replica_sets.iter().filter(|set| is_owned(set, deployment));
        let mut objects = std::iter::once(deployment).chain(sets).chain(own.iter().copied());
        !uid.is_empty() && objects.any(|object| text(object, "/metadata/uid") == uid)
    };
    let mut said: Vec<&str> = Vec::new();
    let mut shown = String::new();
    for event in newest_warnings(evidence.events.iter().filter(is_about)) {
        let message = text(event, "/message");
        if said.contains(&message) {
            continue;
        }
        said.push(message);
        let reason = styled(BAD, &plain(text(event, "/reason")));
        let _ = writeln!(shown, "  {} {reason}: {}", styled(QUIET, "event"), cut(message, REASON_MAX));
    }
    shown
}

fn last_words(own: &[&Value], evidence: &Evidence<'_>) -> String {
    let is_own = |(pod, _): &&(String, String)| own.iter().any(|found| name(found) == pod);
    let Some((pod, log)) = evidence.logs.iter().filter(is_own).find(|(_, log)| !log.trim().is_empty()) else {
        return String::new();
    };
    let lines: Vec<&str> = log.trim_end().lines().collect();
    let last = &lines[lines.len().saturating_sub(LOG_LINES_MAX)..];
    let mut shown = format!("  {}\n", styled(QUIET, &format!("last words of {}", plain(pod))));
    for line in last {
        let _ = writeln!(shown, "    {}", cut(line, REASON_MAX));
    }
    shown
}

/// What to do about a reason.
fn hint(reason: &str) -> Option<&'static str> {
    Some(match reason {
        "ErrImagePull" | "ImagePullBackOff" => {
            "check the image and its credentials; `shoal pull IMAGE` tries the same from here"
        }
        "InvalidImageName" => "an image is /absolute/path.wasm or registry/repository:tag",
        "ErrImageNeverPull" => {
            "fetch it on the node with `shoal pull IMAGE`, or let imagePullPolicy be IfNotPresent"
        }
        "CrashLoopBackOff" | "Error" | "RunContainerError" => {
            "`shoal logs NAME --previous` has all that the last run said"
        }
        "CreateContainerConfigError" => "create the ConfigMap or Secret that the pod names",
        "Unschedulable" => "ask for less, add a node, or remove a constraint that no node meets",
        "NotReady" => "the readiness probe does not pass; `shoal logs NAME` may say why",
        "FailedCreate" => "a quota or policy of the namespace refuses the pods",
        _ => return None,
    })
}

#[cfg(test)]
mod tests;
