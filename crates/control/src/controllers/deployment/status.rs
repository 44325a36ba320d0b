//! The status of a Deployment: counts, and how its rollout goes.

use serde_json::{Map, Value, json};
use shoal_api::object;
use shoal_api::time::Moment;

use super::Step;
use super::sets::{REVISION, Set, Sets};
use super::unavailable_max;
use crate::controllers::pods::{condition, number};
use crate::controllers::replica_set::REPLICA_FAILURE;
use crate::plan::{after, read_time};
use crate::snapshot::{items, text};

const AVAILABLE: &str = "Available";
const PROGRESSING: &str = "Progressing";

/// As a deadline that is none: the largest number that Kubernetes takes.
const NO_DEADLINE: i64 = i32::MAX as i64;

/// Whether a rollout that stands still is told of.
pub(super) fn has_deadline(deployment: &Value) -> bool {
    deadline(deployment).is_some()
}

fn deadline(deployment: &Value) -> Option<i64> {
    deployment["spec"]["progressDeadlineSeconds"].as_i64().filter(|seconds| *seconds != NO_DEADLINE)
}

/// Notes the revision of the newest set.
pub(super) fn note_revision(deployment: &mut Value, revision: i64) {
    let revision = revision.to_string();
    if object::annotation(deployment, REVISION) != Some(&revision) {
        object::child_mut(object::metadata_mut(deployment), "annotations")
            .insert(REVISION.into(), json!(revision));
    }
}

/// Notes that there is a set of this template already.
pub(super) fn note_found(deployment: &mut Value, set: &str, now: Moment) {
    if has_deadline(deployment) && condition(deployment, PROGRESSING).is_none() {
        let message = format!("Found new replica set {set:?}");
        progressing(&mut deployment["status"], "True", "FoundNewReplicaSet", &message, now);
    }
}

/// Notes that a rollout was paused, or goes on, so that its deadline does not run meanwhile.
pub(super) fn note_pause(deployment: &mut Value, now: Moment) {
    if !has_deadline(deployment) {
        return;
    }
    let known = condition(deployment, PROGRESSING).map(|known| text(&known["reason"]));
    let (paused, noted) = (deployment["spec"]["paused"] == true, known == Some("DeploymentPaused"));
    if known == Some("ProgressDeadlineExceeded") || paused == noted {
        return;
    }
    let (reason, message) = if paused {
        ("DeploymentPaused", "Deployment is paused")
    } else {
        ("DeploymentResumed", "Deployment is resumed")
    };
    progressing(&mut deployment["status"], "Unknown", reason, message, now);
}

/// Sets the condition `Progressing`.
pub(super) fn progressing(status: &mut Value, is: &str, reason: &str, message: &str, now: Moment) {
    set(status, PROGRESSING, (is, reason, message), now);
}

/// Sets a condition unless its status and reason are what they were. A changed one goes to the end, as in Kubernetes.
fn set(status: &mut Value, kind: &str, (is, reason, message): (&str, &str, &str), now: Moment) {
    let mut conditions: Vec<Value> = items(&status["conditions"]).cloned().collect();
    let known = conditions.iter().find(|known| known["type"] == kind);
    if known.is_some_and(|known| known["status"] == is && known["reason"] == reason) {
        return;
    }
    let now = json!(now.to_time());
    let since = known.filter(|known| known["status"] == is).map(|known| known["lastTransitionTime"].clone());
    let condition = json!({
        "type": kind, "status": is, "lastUpdateTime": now, "lastTransitionTime": since.unwrap_or(now.clone()),
        "reason": reason, "message": message,
    });
    conditions.retain(|known| known["type"] != kind);
    conditions.push(condition);
    status["conditions"] = json!(conditions);
}

fn remove(status: &mut Value, kind: &str) {
    if let Some(conditions) = status["conditions"].as_array_mut() {
        conditions.retain(|known| known["type"] != kind);
    }
}

/// What there is of all sets.
pub(super) fn counted(deployment: &Value, sets: &Sets, now: Moment) -> Value {
    let stored = || sets.all().filter(|set| !set.is_fresh);
    let sum = |field: &str| stored().map(|set| number(&set.object["status"][field])).sum::<i64>();
    let available = sum("availableReplicas");
    let new = sets.new.as_ref().map_or(0, Set::status_replicas);
    let mut counts = Map::new();
    counts.insert("observedGeneration".into(), deployment["metadata"]["generation"].clone());
    for (field, count) in [
        ("replicas", sum("replicas")),
        ("updatedReplicas", new),
        ("readyReplicas", sum("readyReplicas")),
        ("availableReplicas", available),
        ("unavailableReplicas", (sets.total() - available).max(0)),
    ] {
        if count > 0 {
            counts.insert(field.into(), json!(count));
        }
    }
    for field in ["conditions", "collisionCount"] {
        let known = &deployment["status"][field];
        if !known.is_null() {
            counts.insert(field.into(), known.clone());
        }
    }
    let mut status = Value::Object(counts);
    let least = number(&deployment["spec"]["replicas"]) - unavailable_max(deployment);
    let is = if available >= least {
        ("True", "MinimumReplicasAvailable", "Deployment has minimum availability.")
    } else {
        ("False", "MinimumReplicasUnavailable", "Deployment does not have minimum availability.")
    };
    set(&mut status, AVAILABLE, is, now);
    status
}

/// Whether all pods are of the newest set, and available.
pub(super) fn is_complete(deployment: &Value, status: &Value) -> bool {
    let wanted = number(&deployment["spec"]["replicas"]);
    let all = ["updatedReplicas", "replicas", "availableReplicas"];
    all.iter().all(|field| number(&status[field]) == wanted)
        && number(&status["observedGeneration"]) >= number(&deployment["metadata"]["generation"])
}

/// Counts what there is, and says whether the rollout goes on, is done, or stands still for too long.
pub(super) fn roll_out(step: &mut Step<'_>) {
    let (now, deployment) = (step.now, &step.deployment);
    let mut status = counted(deployment, &step.sets, now);
    let known = condition(deployment, PROGRESSING).cloned();
    let done = number(&status["replicas"]) == number(&status["updatedReplicas"])
        && known.as_ref().is_some_and(|known| known["reason"] == "NewReplicaSetAvailable");
    if !has_deadline(deployment) {
        remove(&mut status, PROGRESSING);
    } else if !done {
        judge(step, &mut status, known.as_ref());
    }
    match failure(&step.sets) {
        Some(failure) => {
            let parts = [&failure["status"], &failure["reason"], &failure["message"]]
                .map(|part| text(part).to_owned());
            set(&mut status, REPLICA_FAILURE, (&parts[0], &parts[1], &parts[2]), now);
        }
        None => remove(&mut status, REPLICA_FAILURE),
    }
    step.deployment["status"] = status;
    watch_deadline(step);
}

fn judge(step: &Step<'_>, status: &mut Value, known: Option<&Value>) {
    let (now, deployment) = (step.now, &step.deployment);
    let subject = match &step.sets.new {
        Some(new) => format!("ReplicaSet {:?}", new.name()),
        None => format!("Deployment {:?}", object::name(deployment)),
    };
    if is_complete(deployment, status) {
        let message = format!("{subject} has successfully progressed.");
        progressing(status, "True", "NewReplicaSetAvailable", &message, now);
    } else if is_progressing(&step.stored["status"], status) {
        // Each bit of progress begins the deadline anew.
        let since = known.filter(|known| known["status"] == "True");
        let since = since.map(|known| known["lastTransitionTime"].clone());
        remove(status, PROGRESSING);
        let message = format!("{subject} is progressing.");
        progressing(status, "True", "ReplicaSetUpdated", &message, now);
        let last = status["conditions"].as_array_mut().and_then(|conditions| conditions.last_mut());
        if let (Some(since), Some(last)) = (since, last) {
            last["lastTransitionTime"] = since;
        }
    } else if is_late(deployment, status, now) {
        let message = format!("{subject} has timed out progressing.");
        progressing(status, "False", "ProgressDeadlineExceeded", &message, now);
    }
}

fn is_progressing(before: &Value, after: &Value) -> bool {
    let grows = |field: &str| number(&after[field]) > number(&before[field]);
    let old = |status: &Value| number(&status["replicas"]) - number(&status["updatedReplicas"]);
    ["updatedReplicas", "readyReplicas", "availableReplicas"].into_iter().any(grows)
        || old(after) < old(before)
}

fn is_late(deployment: &Value, status: &Value, now: Moment) -> bool {
    let known = items(&status["conditions"]).find(|known| known["type"] == PROGRESSING);
    let (Some(known), Some(seconds)) = (known, deadline(deployment)) else { return false };
    if known["reason"] == "ProgressDeadlineExceeded" {
        return true;
    }
    known["reason"] != "NewReplicaSetAvailable"
        && read_time(&known["lastUpdateTime"]).is_some_and(|since| after(since, seconds) < now)
}

/// The first set that could not make its pods, the newest before the others.
fn failure(sets: &Sets) -> Option<&Value> {
    sets.new.iter().chain(&sets.old).find_map(|set| condition(&set.object, REPLICA_FAILURE))
}

/// Looks again when the deadline is over, if nothing happens until then. One that is over already is nothing to wait for:
/// a rollout that was done before it, whose pods are not ready any more, is not judged again.
fn watch_deadline(step: &mut Step<'_>) {
    let known = condition(&step.deployment, PROGRESSING);
    let (Some(known), Some(seconds)) = (known, deadline(&step.deployment)) else { return };
    let over = known["reason"] == "ProgressDeadlineExceeded";
    if over || is_complete(&step.deployment, &step.deployment["status"]) {
        return;
    }
    let due = read_time(&known["lastUpdateTime"]).map(|since| after(since, seconds + 1));
    if let Some(due) = due.filter(|due| *due > step.now) {
        step.plan.requeue(due);
    }
}
