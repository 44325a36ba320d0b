//! How an App is, in words that a person can act on.

use std::sync::Arc;

use serde_json::{Map, Value, json};
use shoal_api::object;
use shoal_api::time::Moment;

use super::{expand, is_ours};
use crate::controllers::pods::{condition, is_ready, number};
use crate::known::{DEPLOYMENT, INGRESS, POD, REPLICA_SET};
use crate::plan::set_condition;
use crate::snapshot::{Snapshot, is_deleted, items, text};

/// Reasons of containers that wait because something is as it should be.
const PATIENT: [&str; 2] = ["ContainerCreating", "PodInitializing"];

/// A condition: its status, reason and message.
type Told = (&'static str, String, String);

/// The status of an App. `failure` is why it cannot be expanded.
pub(super) fn of(world: &dyn Snapshot, app: &Value, failure: Option<(&str, &str)>, now: Moment) -> Value {
    let ours = deployment_of(world, app);
    let deployment = ours.as_deref().unwrap_or(&Value::Null);
    let mut status = Map::new();
    status.insert("observedGeneration".into(), app["metadata"]["generation"].clone());
    for field in ["replicas", "readyReplicas"] {
        status.insert(field.into(), json!(number(&deployment["status"][field])));
    }
    let ingress = world.get(&INGRESS, object::namespace(app), object::name(app));
    let ingress = ingress.filter(|ingress| is_ours(app, ingress));
    status.insert("url".into(), json!(expand::url(app, ingress.as_deref().unwrap_or(&Value::Null))));
    let failure = failure.map(|(reason, message)| (reason.to_owned(), message.to_owned()));
    let failure = failure.or_else(|| failed(deployment));
    let mut conditions: Vec<Value> = items(&app["status"]["conditions"]).cloned().collect();
    let scheduled = !text(&app["spec"]["schedule"]).is_empty();
    for (kind, (is, reason, message)) in [
        ("Ready", if scheduled { waits(app) } else { ready(world, app, deployment) }),
        ("Progressing", progressing(deployment)),
        ("Failed", failure.map_or_else(fine, |(reason, message)| ("True", reason, message))),
    ] {
        let told = json!({
            "type": kind, "status": is, "reason": reason, "message": message,
            "observedGeneration": app["metadata"]["generation"],
        });
        set_condition(&mut conditions, told, now);
    }
    status.insert("conditions".into(), json!(conditions));
    Value::Object(status)
}

/// The Deployment that the App made.
fn deployment_of(world: &dyn Snapshot, app: &Value) -> Option<Arc<Value>> {
    let found = world.get(&DEPLOYMENT, object::namespace(app), object::name(app));
    found.filter(|deployment| is_ours(app, deployment) && !is_deleted(deployment))
}

fn fine() -> Told {
    ("False", "AsExpected".into(), "Nothing has failed.".into())
}

/// Nothing acts on CronJobs yet, and the App does not say otherwise.
fn waits(app: &Value) -> Told {
    let message = format!(
        "The CronJob {} is there, and nothing runs CronJobs yet: make a Job of it with kubectl create job --from",
        object::name(app)
    );
    ("False", "ScheduleNotRun".into(), message)
}

fn ready(world: &dyn Snapshot, app: &Value, deployment: &Value) -> Told {
    let (wanted, ready) = (expand::wanted(deployment), number(&deployment["status"]["readyReplicas"]));
    let serve = format!("{ready} of {wanted} replicas serve.");
    if deployment.is_object() && wanted == 0 {
        return ("True", "ScaledToZero".into(), "No replica is wanted.".into());
    }
    let enough = condition(deployment, "Available").is_some_and(|known| known["status"] == "True");
    if enough && ready > 0 {
        return ("True", "Serving".into(), serve);
    }
    match trouble(world, app) {
        Some((reason, message)) => ("False", reason, format!("{serve} {message}")),
        None => ("False", "Starting".into(), serve),
    }
}

fn progressing(deployment: &Value) -> Told {
    let Some(known) = condition(deployment, "Progressing") else {
        return ("True", "Expanding".into(), "The Deployment is about to begin.".into());
    };
    let (reason, message) = (text(&known["reason"]).to_owned(), text(&known["message"]).to_owned());
    let over = reason == "NewReplicaSetAvailable";
    (if known["status"] == "True" && !over { "True" } else { "False" }, reason, message)
}

/// What went wrong with the Deployment for good, as far as it can tell.
fn failed(deployment: &Value) -> Option<(String, String)> {
    let told = |known: &Value| (text(&known["reason"]).to_owned(), text(&known["message"]).to_owned());
    let late = condition(deployment, "Progressing").filter(|known| known["status"] == "False");
    condition(deployment, "ReplicaFailure").or(late).map(told)
}

/// The first thing that keeps a pod of the App from serving.
fn trouble(world: &dyn Snapshot, app: &Value) -> Option<(String, String)> {
    let deployment = deployment_of(world, app)?;
    let sets = world.owned_of(object::uid(&deployment), &REPLICA_SET);
    let pods = sets.iter().flat_map(|set| world.owned_of(object::uid(set), &POD));
    pods.filter(|pod| !is_deleted(pod) && !is_ready(pod)).find_map(|pod| {
        let (reason, message) = container_trouble(&pod).or_else(|| unscheduled(&pod))?;
        Some((reason, format!("Pod {}: {message}", object::name(&pod))))
    })
}

fn container_trouble(pod: &Value) -> Option<(String, String)> {
    items(&pod["status"]["containerStatuses"]).find_map(|container| {
        let state = &container["state"];
        let stopped =
            [&state["waiting"], &state["terminated"]].into_iter().find(|state| state.is_object())?;
        let reason = text(&stopped["reason"]);
        let reason = if reason.is_empty() { "ContainerStopped" } else { reason };
        let said = text(&stopped["message"]);
        let message = if said.is_empty() { reason.to_owned() } else { format!("{reason}: {said}") };
        (!PATIENT.contains(&reason)).then(|| (reason.to_owned(), message))
    })
}

fn unscheduled(pod: &Value) -> Option<(String, String)> {
    let known = condition(pod, "PodScheduled").filter(|known| known["status"] == "False")?;
    Some((text(&known["reason"]).to_owned(), text(&known["message"]).to_owned()))
}
