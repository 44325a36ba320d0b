//! Pods: what the state of many containers is in one word.

use serde_json::{Value, json};

use super::text::{NONE, age, is_true, items, name, number, seconds, text, text_or};

/// What the containers of a pod add up to.
#[derive(Default)]
struct Summary {
    ready: i64,
    total: usize,
    reason: String,
    restarts: Restarts,
    /// Of init containers that go on running beside the others.
    sidecar_restarts: Restarts,
}

/// How often, and when last, in seconds since 1970.
#[derive(Clone, Copy, Default)]
struct Restarts {
    count: i64,
    last: Option<i64>,
}

/// `NAME READY STATUS RESTARTS AGE IP NODE NOMINATED-NODE READINESS-GATES`.
pub(super) fn pod(pod: &Value, now: i64) -> Vec<Value> {
    let (spec, status) = (&pod["spec"], &pod["status"]);
    let summary = summarize(pod);
    let restarts = match summary.restarts {
        Restarts { count, last: Some(last) } if count != 0 => {
            format!("{count} ({} ago)", super::human_duration(now.saturating_sub(last)))
        }
        Restarts { count, .. } => count.to_string(),
    };
    vec![
        name(pod),
        format!("{}/{}", summary.ready, summary.total).into(),
        summary.reason.into(),
        restarts.into(),
        age(pod, now),
        text_or(&status["podIPs"][0]["ip"], text_or(&status["podIP"], NONE)).into(),
        text_or(&spec["nodeName"], NONE).into(),
        text_or(&status["nominatedNodeName"], NONE).into(),
        readiness_gates(spec, status).into(),
    ]
}

/// The condition of the row of a pod that has ended.
pub(super) fn completed(pod: &Value) -> Option<Value> {
    let (reason, message) = match text(&pod["status"]["phase"]) {
        "Succeeded" => ("Succeeded", "The pod has completed successfully."),
        "Failed" => ("Failed", "The pod failed."),
        _ => return None,
    };
    Some(json!({"type": "Completed", "status": "True", "reason": reason, "message": message}))
}

fn summarize(pod: &Value) -> Summary {
    let (spec, status) = (&pod["spec"], &pod["status"]);
    let sidecars = items(&spec["initContainers"]).iter().filter(|container| is_sidecar(container)).count();
    let mut summary = Summary {
        total: items(&spec["containers"]).len() + sidecars,
        reason: text_or(&status["reason"], text(&status["phase"])).into(),
        ..Summary::default()
    };
    let gated =
        |condition: &Value| condition["type"] == "PodScheduled" && condition["reason"] == "SchedulingGated";
    if items(&status["conditions"]).iter().any(gated) {
        summary.reason = "SchedulingGated".into();
    }
    let initializing = add_init_containers(&mut summary, spec, status);
    if !initializing || is_true(&status["conditions"], "Initialized") {
        add_containers(&mut summary, status);
    }
    if pod["metadata"]["deletionTimestamp"].is_string() {
        if status["reason"] == "NodeLost" {
            summary.reason = "Unknown".into();
        } else if !matches!(text(&status["phase"]), "Succeeded" | "Failed") {
            summary.reason = "Terminating".into();
        }
    }
    summary
}

/// Whether the pod is still busy with its init containers; the first one that is not done says how.
fn add_init_containers(summary: &mut Summary, spec: &Value, status: &Value) -> bool {
    let containers = items(&spec["initContainers"]);
    for (index, container) in items(&status["initContainerStatuses"]).iter().enumerate() {
        let declared = containers.iter().find(|declared| declared["name"] == container["name"]);
        let sidecar = declared.is_some_and(is_sidecar);
        summary.restarts.add(container);
        if sidecar {
            summary.sidecar_restarts.add(container);
        }
        let terminated = &container["state"]["terminated"];
        let waiting = text(&container["state"]["waiting"]["reason"]);
        if terminated.is_object() && number(&terminated["exitCode"]) == 0 {
            continue;
        }
        if sidecar && container["started"] == true {
            summary.ready += i64::from(container["ready"] == true);
            continue;
        }
        summary.reason = if terminated.is_object() {
            format!("Init:{}", ended(terminated))
        } else if !matches!(waiting, "" | "PodInitializing") {
            format!("Init:{waiting}")
        } else {
            format!("Init:{index}/{}", containers.len())
        };
        return true;
    }
    false
}

fn add_containers(summary: &mut Summary, status: &Value) {
    summary.restarts = summary.sidecar_restarts;
    let mut running = false;
    // The first container is looked at last: its reason wins.
    for container in items(&status["containerStatuses"]).iter().rev() {
        summary.restarts.add(container);
        let terminated = &container["state"]["terminated"];
        let waiting = text(&container["state"]["waiting"]["reason"]);
        if !waiting.is_empty() {
            summary.reason = waiting.into();
        } else if terminated.is_object() {
            summary.reason = ended(terminated);
        } else if container["ready"] == true && container["state"]["running"].is_object() {
            running = true;
            summary.ready += 1;
        }
    }
    // One container is done, another still serves: the pod runs.
    if summary.reason == "Completed" && running {
        let ready = items(&status["conditions"])
            .iter()
            .any(|condition| condition["type"] == "Ready" && condition["status"] == "True");
        summary.reason = if ready { "Running" } else { "NotReady" }.into();
    }
}

/// How a container ended: its reason, its signal, or its exit code.
fn ended(terminated: &Value) -> String {
    match (text(&terminated["reason"]), number(&terminated["signal"])) {
        ("", 0) => format!("ExitCode:{}", number(&terminated["exitCode"])),
        ("", signal) => format!("Signal:{signal}"),
        (reason, _) => reason.into(),
    }
}

/// An init container that goes on running beside the others.
fn is_sidecar(container: &Value) -> bool {
    container["restartPolicy"] == "Always"
}

fn readiness_gates(spec: &Value, status: &Value) -> String {
    let gates = items(&spec["readinessGates"]);
    if gates.is_empty() {
        return NONE.into();
    }
    let open =
        gates.iter().filter(|gate| is_true(&status["conditions"], text(&gate["conditionType"]))).count();
    format!("{open}/{}", gates.len())
}

impl Restarts {
    fn add(&mut self, container: &Value) {
        self.count += number(&container["restartCount"]);
        self.last = self.last.max(seconds(&container["lastState"]["terminated"]["finishedAt"]));
    }
}
