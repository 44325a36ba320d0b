//! ReplicaSets: as many pods as they ask for.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::{Map, Value, json};
use shoal_api::time::Moment;
use shoal_api::{Status, object};

use super::pods::{self, number};
use super::ranks;
use crate::known::{POD, REPLICA_SET};
use crate::plan::{Controller, Event, Interest, Key, Plan, Write};
use crate::snapshot::{Snapshot, controller_of, is_deleted, items};
use crate::words::selector;

/// Most pods that one plan makes or deletes, as in Kubernetes; the next plan goes on.
pub const PODS_PER_PLAN_MAX: usize = 500;

/// Condition of a set some of whose pods could not be made or deleted.
pub const REPLICA_FAILURE: &str = "ReplicaFailure";

/// Keeps the pods of ReplicaSets.
pub struct ReplicaSets;

impl Controller for ReplicaSets {
    fn name(&self) -> &'static str {
        "replicaset-controller"
    }

    fn interests(&self) -> Vec<Interest> {
        vec![
            Interest::own(&REPLICA_SET),
            Interest::of(&POD, |world, _, pod| pods::managers(world, &REPLICA_SET, pod)),
        ]
    }

    fn plan(&self, world: &dyn Snapshot, key: &Key, now: Moment) -> Plan {
        let Some(set) = world.get(&REPLICA_SET, &key.namespace, &key.name) else { return Plan::default() };
        let claimed = pods::claim(world, (&REPLICA_SET, &set), &POD, None, pods::is_active);
        let mut plan = Plan { writes: claimed.writes, ..Plan::default() };
        let pods = claimed.objects;
        if !is_deleted(&set) {
            let wanted = usize::try_from(number(&set["spec"]["replicas"])).unwrap_or_default();
            if pods.len() < wanted {
                create(&set, (wanted - pods.len()).min(PODS_PER_PLAN_MAX), &mut plan);
                return plan;
            }
            if pods.len() > wanted {
                let excess = (pods.len() - wanted).min(PODS_PER_PLAN_MAX);
                delete(world, &set, &pods, excess, now, &mut plan);
                return plan;
            }
        }
        // Pods that are made or deleted wake the set again, and are counted then.
        let status = status(&set, &pods, None, now, &mut plan);
        write_status(&set, status, &mut plan);
        plan
    }

    fn failed(&self, world: &dyn Snapshot, key: &Key, now: Moment, failures: &[Status]) -> Plan {
        let (Some(set), Some(failure)) =
            (world.get(&REPLICA_SET, &key.namespace, &key.name), failures.first())
        else {
            return Plan::default();
        };
        let claimed = pods::claim(world, (&REPLICA_SET, &set), &POD, None, pods::is_active);
        let wanted = number(&set["spec"]["replicas"]);
        let too_few = i64::try_from(claimed.objects.len()).unwrap_or(i64::MAX) < wanted;
        let (reason, verb) =
            if too_few { ("FailedCreate", "creating") } else { ("FailedDelete", "deleting") };
        let message = format!("Error {verb}: {}", failure.message);
        let mut plan = Plan::default();
        plan.events.push(Event::warning(&REPLICA_SET, &set, reason, message));
        let failure = Some((reason, failure.message.as_str()));
        let status = status(&set, &claimed.objects, failure, now, &mut plan);
        write_status(&set, status, &mut plan);
        plan
    }
}

fn create(set: &Value, count: usize, plan: &mut Plan) {
    let pod = pods::from_template(&REPLICA_SET, set, &set["spec"]["template"]);
    let event = Event::normal(&REPLICA_SET, set, "SuccessfulCreate", "Created pod: {name}".into());
    for _ in 0..count {
        plan.write_and_tell(Write::create(&POD, pod.clone()), event.clone());
    }
}

fn delete(
    world: &dyn Snapshot,
    set: &Value,
    pods: &[Arc<Value>],
    excess: usize,
    now: Moment,
    plan: &mut Plan,
) {
    let beside = neighbours(world, set, pods);
    for pod in ranks::first_to_go(pods, &beside, now).into_iter().take(excess) {
        let message = format!("Deleted pod: {}", object::name(pod));
        let event = Event::normal(&REPLICA_SET, set, "SuccessfulDelete", message);
        plan.write_and_tell(pods::delete(pod), event);
    }
}

/// How many pods of this set and of those that belong to the same Deployment are on each node.
fn neighbours(world: &dyn Snapshot, set: &Value, pods: &[Arc<Value>]) -> HashMap<String, usize> {
    let mut related = pods.to_vec();
    if let Some(owner) = controller_of(set) {
        let sets = world.owned_of(owner["uid"].as_str().unwrap_or_default(), &REPLICA_SET);
        for other in sets.iter().filter(|other| object::uid(other) != object::uid(set)) {
            let theirs = world.owned_of(object::uid(other), &POD);
            related.extend(theirs.into_iter().filter(|pod| pods::is_active(pod)));
        }
    }
    let mut counts = HashMap::new();
    for pod in related {
        *counts.entry(pod["spec"]["nodeName"].as_str().unwrap_or_default().to_owned()).or_default() += 1;
    }
    counts
}

/// The status of a set that has these pods; what could not be done is a condition.
fn status(
    set: &Value,
    pods: &[Arc<Value>],
    failure: Option<(&str, &str)>,
    now: Moment,
    plan: &mut Plan,
) -> Value {
    let labelled = selector(&json!({"matchLabels": set["spec"]["template"]["metadata"]["labels"]}));
    let patience = number(&set["spec"]["minReadySeconds"]);
    let (mut full, mut ready, mut available) = (0, 0, 0);
    for pod in pods {
        full += i64::from(labelled.matches(pod));
        let Some(at) = pods::available_at(pod, patience) else { continue };
        ready += 1;
        if at <= now {
            available += 1;
        } else {
            plan.requeue(at);
        }
    }
    let mut status = Map::new();
    status.insert("replicas".into(), json!(pods.len()));
    for (field, count) in
        [("fullyLabeledReplicas", full), ("readyReplicas", ready), ("availableReplicas", available)]
    {
        if count > 0 {
            status.insert(field.into(), json!(count));
        }
    }
    status.insert("observedGeneration".into(), set["metadata"]["generation"].clone());
    let conditions = conditions(set, failure, now);
    if !conditions.is_empty() {
        status.insert("conditions".into(), json!(conditions));
    }
    Value::Object(status)
}

/// A failure stays as it was first told until it is over.
fn conditions(set: &Value, failure: Option<(&str, &str)>, now: Moment) -> Vec<Value> {
    let known = items(&set["status"]["conditions"]).cloned();
    let mut conditions: Vec<Value> =
        known.filter(|one| failure.is_some() || one["type"] != REPLICA_FAILURE).collect();
    if let Some((reason, message)) = failure
        && !conditions.iter().any(|known| known["type"] == REPLICA_FAILURE)
    {
        conditions.push(json!({
            "type": REPLICA_FAILURE, "status": "True", "lastTransitionTime": now.to_time(), "reason": reason,
            "message": message,
        }));
    }
    conditions
}

fn write_status(set: &Arc<Value>, status: Value, plan: &mut Plan) {
    if set["status"] != status {
        let mut new = Value::clone(set);
        new["status"] = status;
        plan.writes.push(Write::status(&REPLICA_SET, new));
    }
}
