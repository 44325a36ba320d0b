//! The status of a pod, from what is known of it.

use serde_json::{Map, Value, json};
use shoal_api::object;
use shoal_api::time::Moment;

use super::plan::Course;
use super::state::{Container, Now, State};
use crate::read::{items, named, text};

/// What a status says of its node.
#[derive(Clone, Debug, Default)]
pub(crate) struct HostFacts {
    /// The address of the node; empty when it has none.
    pub(crate) address: String,
}

/// The status of a pod. `known` is the one that the API has: what has not changed since keeps its time.
pub(crate) fn status(
    pod: &Value,
    known: &Value,
    state: &State,
    course: Course,
    host: &HostFacts,
    now: Moment,
) -> Value {
    let spec = &pod["spec"];
    let phase = phase(spec, state, course);
    let is_over = matches!(phase, "Succeeded" | "Failed");
    let mut status = json!({
        "phase": phase,
        "startTime": state.started.to_time(),
        "containerStatuses": statuses(&spec["containers"], state, spec),
        "conditions": conditions(pod, known, state, phase, now),
    });
    let fields = status.as_object_mut().expect("it was made one");
    if items(&spec["initContainers"]).next().is_some() {
        fields.insert("initContainerStatuses".into(), statuses(&spec["initContainers"], state, spec));
    }
    for (name, list, address) in [("hostIP", "hostIPs", &host.address), ("podIP", "podIPs", &state.address)] {
        if !address.is_empty() {
            fields.insert(name.into(), json!(address));
            fields.insert(list.into(), json!([{"ip": address}]));
        }
    }
    if let Some(ending) = state.ending.as_ref().filter(|ending| !ending.reason.is_empty()) {
        fields.insert("reason".into(), json!(ending.reason));
        fields.insert("message".into(), json!(ending.message));
    }
    if is_over {
        // Its address is free for another.
        fields.remove("podIPs");
        fields.remove("podIP");
    }
    status
}

/// The change that makes the status of a pod what it is to be; none when it is so already.
pub(crate) fn change(old: &Value, new: &Value) -> Option<Value> {
    /// What nobody else writes.
    const OURS: [&str; 10] = [
        "phase",
        "startTime",
        "containerStatuses",
        "initContainerStatuses",
        "conditions",
        "hostIP",
        "hostIPs",
        "podIP",
        "podIPs",
        "reason",
    ];
    let mut change = Map::new();
    for field in OURS.into_iter().chain(["message"]) {
        if old[field] != new[field] {
            change.insert(field.into(), new[field].clone());
        }
    }
    (!change.is_empty()).then_some(Value::Object(change))
}

fn phase(spec: &Value, state: &State, course: Course) -> &'static str {
    match course {
        Course::Succeeded => return "Succeeded",
        Course::Failed => return "Failed",
        Course::Gone => {
            let of = |container: &Value| state.containers.get(text(&container["name"]));
            let is_well =
                |container| of(container).is_some_and(|one| one.ended().is_some_and(|ended| ended.code == 0));
            return if items(&spec["containers"]).all(is_well) { "Succeeded" } else { "Failed" };
        }
        Course::Going => {}
    }
    let has_run = |container: &Value| {
        let known = state.containers.get(text(&container["name"]));
        known.is_some_and(|one| one.is_running() || one.ended().is_some() || one.last.is_some())
    };
    if items(&spec["containers"]).all(has_run) { "Running" } else { "Pending" }
}

/// Whether one of the pod's own containers runs or has run.
fn has_begun(spec: &Value, state: &State) -> bool {
    items(&spec["containers"]).any(|container| {
        let known = state.containers.get(text(&container["name"]));
        known.is_some_and(|one| one.is_running() || one.ended().is_some() || one.last.is_some())
    })
}

fn statuses(containers: &Value, state: &State, spec: &Value) -> Value {
    let are_inits_done = has_begun(spec, state) || inits_done(spec, state);
    let is_init = std::ptr::eq(containers, &raw const spec["initContainers"]);
    items(containers)
        .map(|container| {
            let known = state.containers.get(text(&container["name"])).cloned().unwrap_or_default();
            let waits = !is_init && !are_inits_done;
            one(container, &known, if waits { "PodInitializing" } else { "ContainerCreating" })
        })
        .collect()
}

/// The status of one container.
fn one(spec: &Value, known: &Container, creating: &str) -> Value {
    let now = match &known.now {
        Now::Waiting { reason: "ContainerCreating", message } if message.is_empty() => {
            json!({"waiting": {"reason": creating}})
        }
        Now::Waiting { reason, message } if message.is_empty() => json!({"waiting": {"reason": reason}}),
        Now::Waiting { reason, message } => json!({"waiting": {"reason": reason, "message": message}}),
        Now::Running { since } => json!({"running": {"startedAt": since.to_time()}}),
        Now::Ended(ended) => json!({"terminated": ended.to_value()}),
    };
    let last = known.last.as_ref().map_or(json!({}), |ended| json!({"terminated": ended.to_value()}));
    let mut status = json!({
        "name": spec["name"], "state": now, "lastState": last, "ready": known.is_ready,
        "restartCount": known.restarts, "image": spec["image"], "imageID": known.image_id, "started": known.is_started,
    });
    if !known.id.is_empty() {
        status["containerID"] = json!(known.id);
    }
    status
}

/// A container that crashed and waits to be started again is shown so, with how it ended last.
pub(crate) fn backing_off(container: &Container, name: &str, pod: &Value, now: Moment) -> Option<Container> {
    let ended = container.ended()?;
    let due = container.due.filter(|due| now < *due)?;
    let seconds = due.seconds() - ended.finished.seconds();
    let (own, space, uid) = (object::name(pod), object::namespace(pod), object::uid(pod));
    let message =
        format!("back-off {} restarting failed container={name} pod={own}_{space}({uid})", span(seconds));
    let now = Now::Waiting { reason: "CrashLoopBackOff", message };
    Some(Container { now, last: Some(ended.clone()), ..container.clone() })
}

/// As Go writes a duration of whole seconds.
fn span(seconds: i64) -> String {
    if seconds < 60 { format!("{seconds}s") } else { format!("{}m{}s", seconds / 60, seconds % 60) }
}

fn conditions(pod: &Value, known: &Value, state: &State, phase: &str, now: Moment) -> Value {
    let spec = &pod["spec"];
    let is_over = matches!(phase, "Succeeded" | "Failed");
    let unready = not_so(&spec["containers"], state, |container| container.is_ready);
    let uninitialized = not_so(&spec["initContainers"], state, is_init_done);
    let containers_ready = || told("ContainersNotReady", "containers with unready status", &unready);
    let completed = || match phase {
        "Succeeded" => Some(("PodCompleted", String::new())),
        _ => Some(("PodFailed", String::new())),
    };
    let ready = if is_over { completed() } else { containers_ready() };
    let gate = if ready.is_none() { closed_gate(pod, known) } else { None };
    // What has begun to run was initialized before, whatever has become of its aides since.
    let has_begun = has_begun(spec, state);
    let initialized = if has_begun || inits_done(spec, state) || spec["initContainers"].is_null() {
        None
    } else {
        told("ContainersNotInitialized", "containers with incomplete status", &uninitialized)
    };
    let ours = [
        ("PodReadyToStartContainers", if is_over { Some(("", String::new())) } else { None }),
        ("Initialized", initialized),
        ("Ready", ready.clone().or(gate)),
        ("ContainersReady", ready),
        ("PodScheduled", None),
    ];
    let old = &known["conditions"];
    let mut all: Vec<Value> =
        ours.into_iter().map(|(kind, why_not)| condition(kind, why_not, old, now)).collect();
    let is_ours = |kind: &Value| all.iter().any(|one| one["type"] == *kind);
    let others: Vec<Value> = items(old).filter(|one| !is_ours(&one["type"])).cloned().collect();
    all.extend(others);
    Value::Array(all)
}

/// A condition, with the time of its last change.
fn condition(kind: &str, why_not: Option<(&'static str, String)>, old: &Value, now: Moment) -> Value {
    let before = items(old).find(|one| one["type"] == kind);
    let is = if why_not.is_none() { "True" } else { "False" };
    let since = before.filter(|one| one["status"] == is).and_then(|one| one["lastTransitionTime"].as_str());
    let since = since.map_or_else(|| now.to_time(), str::to_owned);
    let mut condition =
        json!({"type": kind, "status": is, "lastProbeTime": null, "lastTransitionTime": since});
    if let Some((reason, message)) = why_not {
        for (field, text) in [("reason", reason), ("message", &*message)] {
            if !text.is_empty() {
                condition[field] = json!(text);
            }
        }
    }
    condition
}

fn told(reason: &'static str, what: &str, names: &[&str]) -> Option<(&'static str, String)> {
    (!names.is_empty()).then(|| (reason, format!("{what}: [{}]", names.join(" "))))
}

fn not_so<'a>(containers: &'a Value, state: &State, is_so: impl Fn(&Container) -> bool) -> Vec<&'a str> {
    let names = items(containers).map(|container| text(&container["name"]));
    names.filter(|name| !state.containers.get(*name).is_some_and(&is_so)).collect()
}

/// Whether an init container is out of the way of the next.
fn is_init_done(container: &Container) -> bool {
    container.ended().is_some_and(|ended| ended.code == 0) || container.is_started && container.is_running()
}

fn inits_done(spec: &Value, state: &State) -> bool {
    items(&spec["initContainers"]).all(|container| {
        let is_aide = container["restartPolicy"] == "Always";
        let known = state.containers.get(text(&container["name"]));
        known.is_some_and(|one| is_init_done(one) || is_aide && one.last.is_some())
    })
}

/// The first readiness gate that others have not opened.
fn closed_gate(pod: &Value, known: &Value) -> Option<(&'static str, String)> {
    let conditions = &known["conditions"];
    let is_open = |gate: &&Value| {
        items(conditions).any(|one| one["type"] == gate["conditionType"] && one["status"] == "True")
    };
    let gate = items(&pod["spec"]["readinessGates"]).find(|gate| !is_open(gate))?;
    let kind = text(&gate["conditionType"]);
    let is_known = items(conditions).any(|one| one["type"] == kind);
    let message = if is_known {
        format!("the status of pod readiness gate {kind:?} is not \"True\", but False")
    } else {
        format!("corresponding condition of pod readiness gate {kind:?} does not exist.")
    };
    Some(("ReadinessGatesNotReady", message))
}

/// Whether a pod may be sent requests, as its status says.
pub(crate) fn is_ready(status: &Value) -> bool {
    items(&status["conditions"]).any(|one| one["type"] == "Ready" && one["status"] == "True")
}

/// The specification of a container, of whichever list.
pub(crate) fn container<'a>(pod: &'a Value, name: &str) -> Option<&'a Value> {
    let spec = &pod["spec"];
    named(&spec["containers"], name).or_else(|| named(&spec["initContainers"], name))
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::super::state::{Ended, Ending};
    use super::*;

    fn at(seconds: i64) -> Moment {
        Moment::from_seconds(seconds)
    }

    fn pod() -> Value {
        json!({
            "metadata": {"name": "web", "namespace": "shop", "uid": "u"},
            "spec": {
                "initContainers": [{"name": "init", "image": "/init.wasm"}],
                "containers": [{"name": "a", "image": "/a.wasm"}],
            },
            "status": {"conditions": [
                {"type": "PodScheduled", "status": "True", "lastTransitionTime": "1970-01-01T00:00:01Z"},
                {"type": "shop.example/warm", "status": "True"},
            ]},
        })
    }

    /// Phase, containers and conditions in a line each.
    fn shown(pod: &Value, state: &State, course: Course) -> String {
        let host = HostFacts { address: "192.0.2.1".into() };
        let status = status(pod, &pod["status"], state, course, &host, at(100));
        let mut lines =
            vec![format!("{} pod={} host={}", text(&status["phase"]), status["podIP"], status["hostIP"])];
        for list in ["initContainerStatuses", "containerStatuses"] {
            for one in items(&status[list]) {
                lines.push(format!(
                    "{} ready={} restarts={} {} last {}",
                    text(&one["name"]),
                    one["ready"],
                    one["restartCount"],
                    one["state"],
                    one["lastState"]
                ));
            }
        }
        for one in items(&status["conditions"]) {
            let words =
                ["type", "status", "reason", "message", "lastTransitionTime"].map(|field| text(&one[field]));
            lines.push(words.join(" ").trim().to_owned());
        }
        lines.join("\n") + "\n"
    }

    fn ended(code: u8) -> Ended {
        let reason = if code == 0 { "Completed" } else { "Error" };
        Ended {
            code,
            reason: reason.into(),
            message: String::new(),
            started: at(1),
            finished: at(2),
            id: "shoal://1".into(),
        }
    }

    fn state(init: Container, main: Container) -> State {
        let containers = [("init".to_owned(), init), ("a".to_owned(), main)].into();
        State { containers, started: at(1), address: "10.1.0.2".into(), ending: None }
    }

    fn done(code: u8) -> Container {
        let mut container = Container::default();
        container.end(ended(code));
        container
    }

    #[test]
    fn a_pod_that_has_just_come_waits() {
        expect![[r#"
            Pending pod="10.1.0.2" host="192.0.2.1"
            init ready=false restarts=0 {"waiting":{"reason":"ContainerCreating"}} last {}
            a ready=false restarts=0 {"waiting":{"reason":"PodInitializing"}} last {}
            PodReadyToStartContainers True   1970-01-01T00:01:40Z
            Initialized False ContainersNotInitialized containers with incomplete status: [init] 1970-01-01T00:01:40Z
            Ready False ContainersNotReady containers with unready status: [a] 1970-01-01T00:01:40Z
            ContainersReady False ContainersNotReady containers with unready status: [a] 1970-01-01T00:01:40Z
            PodScheduled True   1970-01-01T00:00:01Z
            shop.example/warm True
        "#]]
        .assert_eq(&shown(&pod(), &state(Container::default(), Container::default()), Course::Going));
    }

    #[test]
    fn a_pod_that_runs_is_ready_when_its_gates_are_open() {
        let main = Container {
            now: Now::Running { since: at(3) },
            is_started: true,
            is_ready: true,
            is_held: true,
            ..Container::default()
        };
        let state = state(done(0), main);
        let mut pod = pod();
        expect![[r#"
            Running pod="10.1.0.2" host="192.0.2.1"
            init ready=false restarts=0 {"terminated":{"containerID":"shoal://1","exitCode":0,"finishedAt":"1970-01-01T00:00:02Z","reason":"Completed","startedAt":"1970-01-01T00:00:01Z"}} last {}
            a ready=true restarts=0 {"running":{"startedAt":"1970-01-01T00:00:03Z"}} last {}
            PodReadyToStartContainers True   1970-01-01T00:01:40Z
            Initialized True   1970-01-01T00:01:40Z
            Ready True   1970-01-01T00:01:40Z
            ContainersReady True   1970-01-01T00:01:40Z
            PodScheduled True   1970-01-01T00:00:01Z
            shop.example/warm True
        "#]]
        .assert_eq(&shown(&pod, &state, Course::Going));
        pod["spec"]["readinessGates"] =
            json!([{"conditionType": "shop.example/warm"}, {"conditionType": "x"}]);
        let text = shown(&pod, &state, Course::Going);
        assert!(text.contains(
            "Ready False ReadinessGatesNotReady corresponding condition of pod readiness gate \"x\" does not exist."
        ));
    }

    #[test]
    fn a_crashed_container_shows_when_it_will_be_back() {
        let mut main = Container { restarts: 4, ..done(1) };
        for _ in 0..3 {
            main.end(ended(1));
        }
        let shown = backing_off(&main, "a", &pod(), at(3)).expect("it waits");
        let Now::Waiting { reason, message } = shown.now else { panic!("it waits") };
        assert_eq!(
            (reason, &*message),
            ("CrashLoopBackOff", "back-off 40s restarting failed container=a pod=web_shop(u)")
        );
        assert_eq!(shown.last, Some(ended(1)));
        assert_eq!(backing_off(&main, "a", &pod(), at(42)), None, "it is due");
    }

    #[test]
    fn an_aide_that_ended_after_the_pod_does_not_uninitialize_it() {
        let mut pod = pod();
        pod["spec"]["initContainers"][0]["restartPolicy"] = json!("Always");
        let text = shown(&pod, &state(done(137), done(0)), Course::Succeeded);
        assert!(text.contains("\nInitialized True"), "{text}");
        let waiting = shown(&pod, &state(done(137), Container::default()), Course::Going);
        assert!(waiting.contains("\nInitialized False"), "{waiting}");
    }

    #[test]
    fn a_pod_that_is_over_says_how() {
        let lines = |state: &State, course| shown(&pod(), state, course).lines().take(1).collect::<String>();
        assert_eq!(
            lines(&state(done(0), done(0)), Course::Succeeded),
            "Succeeded pod=null host=\"192.0.2.1\""
        );
        assert_eq!(lines(&state(done(0), done(0)), Course::Gone), "Succeeded pod=null host=\"192.0.2.1\"");
        assert_eq!(lines(&state(done(0), done(3)), Course::Gone), "Failed pod=null host=\"192.0.2.1\"");
        let late = Ending { reason: "DeadlineExceeded", message: "too long".into() };
        let state = State { ending: Some(late), ..state(done(0), done(3)) };
        let status = status(&pod(), &Value::Null, &state, Course::Failed, &HostFacts::default(), at(9));
        assert_eq!((&status["reason"], &status["message"]), (&json!("DeadlineExceeded"), &json!("too long")));
        assert!(text(&status["conditions"][2]["reason"]) == "PodFailed");
    }

    #[test]
    fn only_what_differs_is_written() {
        let old = json!({"phase": "Pending", "podIP": "10.1.0.2", "qosClass": "BestEffort", "reason": "x"});
        let new = json!({"phase": "Running", "podIP": "10.1.0.2"});
        assert_eq!(change(&old, &new), Some(json!({"phase": "Running", "reason": null})));
        assert_eq!(change(&new, &new), None);
    }
}
