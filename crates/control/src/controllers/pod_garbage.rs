//! Pods that nobody will ever end or clean away: those of nodes that are gone, and too many that have ended.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use serde_json::Value;
use shoal_api::object;
use shoal_api::time::Moment;

use super::nodes::pods_on;
use super::pods::{created, has_ended};
use super::taint_eviction::disrupted;
use crate::known::{NODE, POD};
use crate::plan::{Controller, Event, Interest, Key, Plan, Write, after};
use crate::snapshot::{Snapshot, is_deleted, text};

/// How long a node may be gone before its pods go: it may register anew.
pub const QUARANTINE_SECONDS: i64 = 40;

/// Most pods that have ended and are kept to be looked at, as in Kubernetes.
pub const ENDED_PODS_MAX: usize = 12_500;

/// Most pods that one plan deletes.
const DELETED_PER_PLAN_MAX: usize = 500;

/// Deletes pods that nobody looks after.
#[derive(Default)]
pub struct PodGarbage {
    /// Since when the node of a pod is missing. After a restart it counts from the beginning.
    missing: Mutex<HashMap<String, Moment>>,
}

impl Controller for PodGarbage {
    fn name(&self) -> &'static str {
        "pod-garbage-collector"
    }

    fn interests(&self) -> Vec<Interest> {
        vec![
            Interest::of(&NODE, |world, _, node| {
                let gone = world.get(&NODE, "", object::name(node)).is_none();
                if gone { pods_on(world, object::name(node)) } else { Vec::new() }
            }),
            Interest::of(&POD, |world, _, pod| {
                let mut keys = Vec::new();
                if has_ended(pod) {
                    keys.push(ended());
                }
                let node = text(&pod["spec"]["nodeName"]);
                if is_deleted(pod) || (!node.is_empty() && world.get(&NODE, "", node).is_none()) {
                    keys.push(Key::of(&POD, pod));
                }
                keys
            }),
        ]
    }

    fn plan(&self, world: &dyn Snapshot, key: &Key, now: Moment) -> Plan {
        if *key == ended() {
            return too_many(world);
        }
        let mut missing = self.missing.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(pod) = world.get(&POD, &key.namespace, &key.name) else {
            missing.retain(|_, since| after(*since, 10 * QUARANTINE_SECONDS) > now);
            return Plan::default();
        };
        let node = text(&pod["spec"]["nodeName"]);
        if node.is_empty() {
            // Nobody else would end a pod that is being deleted and never ran.
            let ends = is_deleted(&pod).then(|| Plan::write(Write::delete_at_once(&POD, &pod)));
            return ends.unwrap_or_default();
        }
        if world.get(&NODE, "", node).is_some() {
            missing.remove(object::uid(&pod));
            return Plan::default();
        }
        let since = *missing.entry(object::uid(&pod).to_owned()).or_insert(now);
        let end = after(since, QUARANTINE_SECONDS);
        if end > now {
            return Plan { requeue_at: Some(end), ..Plan::default() };
        }
        orphaned(&pod, node, now)
    }
}

/// The key of all pods that have ended.
fn ended() -> Key {
    Key::new(&POD, "", "")
}

fn orphaned(pod: &Value, node: &str, now: Moment) -> Plan {
    let mut plan = Plan::default();
    if !has_ended(pod) {
        let mut write = disrupted(pod, ("DeletionByPodGC", "PodGC: node no longer exists"), now);
        if let Write::Patch { patch, .. } = &mut write {
            patch["status"]["phase"] = "Failed".into();
        }
        plan.writes.push(write);
    }
    let message = format!("Node {node} is gone and did not come back");
    plan.write_and_tell(Write::delete_at_once(&POD, pod), Event::normal(&POD, pod, "NodeGone", message));
    plan
}

/// The oldest of those that have ended go.
fn too_many(world: &dyn Snapshot) -> Plan {
    let mut pods = world.list(&POD, None);
    pods.retain(|pod| has_ended(pod) && !is_deleted(pod));
    let excess = pods.len().saturating_sub(ENDED_PODS_MAX);
    if excess > 0 {
        pods.sort_by_cached_key(|pod| (created(pod), object::uid(pod).to_owned()));
    }
    let gone = pods.iter().take(excess.min(DELETED_PER_PLAN_MAX));
    let writes = gone.map(|pod| Write::delete_at_once(&POD, pod));
    Plan { writes: writes.collect(), ..Plan::default() }
}
