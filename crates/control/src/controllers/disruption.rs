//! How many pods of a PodDisruptionBudget may be evicted.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value, json};
use shoal_api::time::Moment;
use shoal_api::{GroupVersionKind, object};

use crate::known::{DEPLOYMENT, POD, POD_DISRUPTION_BUDGET, REPLICA_SET};
use crate::plan::{Controller, Event, Interest, Key, Plan, Write, after, read_time, set_condition};
use crate::snapshot::{Snapshot, controller_of, is_deleted, items, text};
use crate::words::selector;

/// How long an evicted pod counts as gone although it is still there, in seconds.
const EVICTED_SECONDS: i64 = 120;

/// Keeps the status of PodDisruptionBudgets.
pub struct Disruption;

/// What a budget comes to.
struct Count {
    healthy: i64,
    desired: i64,
    expected: i64,
    /// Pods that were evicted and are still there, with when.
    evicted: Map<String, Value>,
}

impl Controller for Disruption {
    fn name(&self) -> &'static str {
        "disruption-controller"
    }

    fn component(&self) -> &'static str {
        "controllermanager"
    }

    fn interests(&self) -> Vec<Interest> {
        vec![
            Interest::own(&POD_DISRUPTION_BUDGET),
            Interest::of(&POD, budgets_of_pod),
            Interest::of(&REPLICA_SET, budgets_of_scale),
            Interest::of(&DEPLOYMENT, budgets_of_scale),
            Interest::of(&crate::known::STATEFUL_SET, budgets_of_scale),
            Interest::of(&crate::known::REPLICATION_CONTROLLER, budgets_of_scale),
        ]
    }

    fn plan(&self, world: &dyn Snapshot, key: &Key, now: Moment) -> Plan {
        let found = world.get(&POD_DISRUPTION_BUDGET, &key.namespace, &key.name);
        let Some(budget) = found.filter(|budget| !is_deleted(budget)) else { return Plan::default() };
        let pods = pods(world, &budget);
        let mut plan = Plan::default();
        if pods.is_empty() && budget["status"]["observedGeneration"] != budget["metadata"]["generation"] {
            let message = "No matching pods found".into();
            plan.events.push(Event::normal(&POD_DISRUPTION_BUDGET, &budget, "NoPods", message));
        }
        let evicted = evicted(&budget, &pods, now, &mut plan);
        let status = match count(world, &budget, &pods, evicted) {
            Ok(count) => counted(&budget, count, now),
            Err(message) => failed(&budget, &message, now),
        };
        if status != budget["status"] {
            let mut budget = Value::clone(&budget);
            budget["status"] = status;
            plan.writes.push(Write::status(&POD_DISRUPTION_BUDGET, budget));
        }
        plan
    }
}

fn budgets_of_pod(world: &dyn Snapshot, _: &GroupVersionKind, pod: &Value) -> Vec<Key> {
    let budgets = world.list(&POD_DISRUPTION_BUDGET, Some(object::namespace(pod)));
    let chosen = budgets.iter().filter(|budget| chooses(budget, pod));
    chosen.map(|budget| Key::of(&POD_DISRUPTION_BUDGET, budget)).collect()
}

/// Budgets over the pods of what was scaled.
fn budgets_of_scale(world: &dyn Snapshot, kind: &GroupVersionKind, scaled: &Value) -> Vec<Key> {
    let mut owned = world.owned_by(object::uid(scaled));
    if *kind == *DEPLOYMENT {
        owned = owned.iter().flat_map(|(_, set)| world.owned_by(object::uid(set))).collect();
    }
    let pods = owned.iter().filter(|(kind, _)| *kind == *POD);
    let mut keys: Vec<Key> = pods.flat_map(|(kind, pod)| budgets_of_pod(world, kind, pod)).collect();
    keys.sort();
    keys.dedup();
    keys
}

/// An absent selector chooses nothing, an empty one everything.
fn chooses(budget: &Value, pod: &Value) -> bool {
    selector(&budget["spec"]["selector"]).matches(pod)
}

fn pods(world: &dyn Snapshot, budget: &Value) -> Vec<Arc<Value>> {
    let all = world.list(&POD, Some(object::namespace(budget)));
    all.into_iter().filter(|pod| chooses(budget, pod)).collect()
}

/// Pods that were evicted a short while ago and are not being deleted yet. Asks to be planned again when that while
/// is over.
fn evicted(budget: &Value, pods: &[Arc<Value>], now: Moment, plan: &mut Plan) -> Map<String, Value> {
    let mut evicted = Map::new();
    let known = &budget["status"]["disruptedPods"];
    for pod in pods.iter().filter(|pod| !is_deleted(pod)) {
        let name = object::name(pod);
        let Some(time) = read_time(&known[name]) else { continue };
        let end = after(time, EVICTED_SECONDS);
        if end > now {
            plan.requeue(end);
            evicted.insert(name.into(), known[name].clone());
            continue;
        }
        let (namespace, budget) = (object::namespace(budget), object::name(budget));
        let message = format!("Pod was expected by PDB {namespace}/{budget} to be deleted but it wasn't");
        plan.events.push(Event::warning(&POD, pod, "NotDeleted", message));
    }
    evicted
}

fn count(
    world: &dyn Snapshot,
    budget: &Value,
    pods: &[Arc<Value>],
    evicted: Map<String, Value>,
) -> Result<Count, String> {
    let healthy = |pod: &&Arc<Value>| {
        let ready = |condition: &Value| condition["type"] == "Ready" && condition["status"] == "True";
        !is_deleted(pod)
            && !evicted.contains_key(object::name(pod))
            && items(&pod["status"]["conditions"]).any(ready)
    };
    let healthy = whole(pods.iter().filter(healthy).count());
    let (least, most) = (&budget["spec"]["minAvailable"], &budget["spec"]["maxUnavailable"]);
    let (expected, desired) = if !most.is_null() {
        let expected = scale(world, pods)?;
        (expected, (expected - of(most, expected)?).max(0))
    } else if least.is_string() {
        let expected = scale(world, pods)?;
        (expected, of(least, expected)?)
    } else {
        // Neither is as if all had to be there but one: policy/v1 refuses it, and an old object may still have it.
        let desired = if least.is_null() { 1 } else { of(least, 0)? };
        (whole(pods.len()), desired)
    };
    Ok(Count { healthy, desired, expected, evicted })
}

fn whole(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// A number, or a share of `all` rounded up.
fn of(value: &Value, all: i64) -> Result<i64, String> {
    if let Some(number) = value.as_i64() {
        return Ok(number);
    }
    let shown = text(value);
    let percent = shown.strip_suffix('%').and_then(|percent| percent.parse::<i64>().ok());
    let percent = percent.filter(|percent| (0..=100_000).contains(percent));
    let percent =
        percent.ok_or_else(|| format!("invalid value for IntOrString: {shown:?} is not a percentage"))?;
    Ok((all.saturating_mul(percent) + 99) / 100)
}

/// How many pods those who manage them want together. Pods that nobody manages do not count.
fn scale(world: &dyn Snapshot, pods: &[Arc<Value>]) -> Result<i64, String> {
    let mut scales: BTreeMap<String, i64> = BTreeMap::new();
    for pod in pods {
        let Some(owner) = controller_of(pod) else { continue };
        let found = manager(world, object::namespace(pod), owner);
        let Some((uid, replicas)) = found else {
            return Err(format!("found no controllers for pod {:?}", object::name(pod)));
        };
        scales.insert(uid, replicas);
    }
    Ok(scales.values().sum())
}

/// Identity and wanted number of what manages pods: a Deployment where its ReplicaSet belongs to one.
fn manager(world: &dyn Snapshot, namespace: &str, owner: &Value) -> Option<(String, i64)> {
    let resource = world.resource(text(&owner["apiVersion"]), text(&owner["kind"]))?;
    let object = world.get(&resource.kind, namespace, text(&owner["name"]))?;
    if object["metadata"]["uid"] != owner["uid"] {
        return None;
    }
    let above = controller_of(&object).filter(|_| resource.kind == *REPLICA_SET);
    if let Some(above) = above.filter(|above| above["kind"] == "Deployment") {
        return manager(world, namespace, above);
    }
    Some((object::uid(&object).into(), object["spec"]["replicas"].as_i64()?))
}

fn counted(budget: &Value, count: Count, now: Moment) -> Value {
    let spare = count.healthy - count.desired;
    let allowed = if count.expected <= 0 { 0 } else { spare.max(0) };
    let (status, reason) =
        if allowed > 0 { ("True", "SufficientPods") } else { ("False", "InsufficientPods") };
    let mut new = json!({
        "conditions": conditions(budget, status, reason, "", now),
        "currentHealthy": count.healthy, "desiredHealthy": count.desired, "disruptionsAllowed": allowed,
        "expectedPods": count.expected, "observedGeneration": budget["metadata"]["generation"],
    });
    if !count.evicted.is_empty() {
        new["disruptedPods"] = Value::Object(count.evicted);
    }
    new
}

/// What cannot be counted allows nothing.
fn failed(budget: &Value, message: &str, now: Moment) -> Value {
    let mut status = if budget["status"].is_object() { budget["status"].clone() } else { json!({}) };
    status["disruptionsAllowed"] = json!(0);
    status["observedGeneration"] = budget["metadata"]["generation"].clone();
    for field in ["currentHealthy", "desiredHealthy", "expectedPods"] {
        if status[field].is_null() {
            status[field] = json!(0);
        }
    }
    status["conditions"] = json!(conditions(budget, "False", "SyncFailed", message, now));
    status
}

fn conditions(budget: &Value, status: &str, reason: &str, message: &str, now: Moment) -> Vec<Value> {
    let mut conditions: Vec<Value> = items(&budget["status"]["conditions"]).cloned().collect();
    let condition = json!({
        "type": "DisruptionAllowed", "status": status, "reason": reason, "message": message,
        "observedGeneration": budget["metadata"]["generation"],
    });
    set_condition(&mut conditions, condition, now);
    conditions
}
