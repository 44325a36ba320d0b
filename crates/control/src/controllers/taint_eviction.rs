//! Pods leave nodes whose taints they do not tolerate, or tolerate only for a while.

use serde_json::{Value, json};
use shoal_api::object;
use shoal_api::time::Moment;

use super::nodes::pods_on;
use super::pods;
use super::scheduler::Toleration;
use crate::known::{NODE, POD};
use crate::plan::{Controller, Event, Interest, Key, Plan, Write, after, read_time};
use crate::snapshot::{Snapshot, items, text};

/// Deletes pods that do not tolerate a `NoExecute` taint of their node.
pub struct TaintEviction;

impl Controller for TaintEviction {
    fn name(&self) -> &'static str {
        "taint-eviction-controller"
    }

    fn interests(&self) -> Vec<Interest> {
        vec![
            Interest::of(&POD, |world, _, pod| {
                let node = text(&pod["spec"]["nodeName"]);
                let tainted = world.get(&NODE, "", node).is_some_and(|node| is_tainted(&node));
                if tainted { vec![Key::of(&POD, pod)] } else { Vec::new() }
            }),
            Interest::of(&NODE, |world, _, node| {
                if is_tainted(node) { pods_on(world, object::name(node)) } else { Vec::new() }
            }),
        ]
    }

    fn plan(&self, world: &dyn Snapshot, key: &Key, now: Moment) -> Plan {
        let pod = world.get(&POD, &key.namespace, &key.name).filter(|pod| pods::is_active(pod));
        let Some(pod) = pod else { return Plan::default() };
        let Some(node) = world.get(&NODE, "", text(&pod["spec"]["nodeName"])) else { return Plan::default() };
        match leaves_at(&pod, &node) {
            None => Plan::default(),
            Some(at) if at > now => Plan { requeue_at: Some(at), ..Plan::default() },
            Some(_) => evict(&pod, now),
        }
    }
}

fn no_execute(node: &Value) -> impl Iterator<Item = &Value> {
    items(&node["spec"]["taints"]).filter(|taint| taint["effect"] == "NoExecute")
}

fn is_tainted(node: &Value) -> bool {
    no_execute(node).next().is_some()
}

/// When a pod has to go; none: it may stay.
fn leaves_at(pod: &Value, node: &Value) -> Option<Moment> {
    let mut least: Option<Moment> = None;
    for taint in no_execute(node) {
        // A taint that says no time has just come; it is about to get one.
        let since = read_time(&taint["timeAdded"]).unwrap_or(Moment::from_micros(i64::MAX));
        let tolerated: Vec<&Value> =
            items(&pod["spec"]["tolerations"]).filter(|toleration| tolerates(toleration, taint)).collect();
        if tolerated.is_empty() {
            return Some(Moment::from_micros(i64::MIN));
        }
        let seconds =
            tolerated.iter().filter_map(|toleration| toleration["tolerationSeconds"].as_i64()).min();
        if let Some(seconds) = seconds {
            let end = after(since, seconds.max(0));
            least = Some(least.map_or(end, |known| known.min(end)));
        }
    }
    least.filter(|at| at.micros() != i64::MAX)
}

fn tolerates(toleration: &Value, taint: &Value) -> bool {
    Toleration::of(toleration).covers(text(&taint["key"]), text(&taint["value"]), "NoExecute")
}

fn evict(pod: &Value, now: Moment) -> Plan {
    let message = format!("Marking for deletion Pod {}/{}", object::namespace(pod), object::name(pod));
    let why = ("DeletionByTaintManager", "Taint manager: deleting due to NoExecute taint");
    let mut plan = Plan::write(disrupted(pod, why, now));
    plan.write_and_tell(pods::delete(pod), Event::normal(&POD, pod, "TaintManagerEviction", message));
    plan
}

/// Says in a pod's status why it is about to go.
pub(super) fn disrupted(pod: &Value, (reason, message): (&str, &str), now: Moment) -> Write {
    let mut conditions: Vec<Value> = items(&pod["status"]["conditions"]).cloned().collect();
    let condition =
        json!({"type": "DisruptionTarget", "status": "True", "reason": reason, "message": message});
    crate::plan::set_condition(&mut conditions, condition, now);
    Write::patch_status(&POD, pod, &json!({"conditions": conditions}))
}
