//! Which pod goes to which node: filters say where it cannot, scores where it should, and what no node suits learns
//! why.
//!
//! There is one key for all pods that wait. A plan places as many as it may, each in view of those before it. Pods
//! that ask for the same are answered by the same table of nodes, of which only those are looked at anew that have
//! got a pod since.

mod amount;
mod ask;
mod cluster;
mod explain;
mod filters;
mod scores;
mod topology;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Value, json};
use shoal_api::object;
use shoal_api::time::Moment;

use self::ask::Ask;
pub(super) use self::ask::Toleration;
use self::cluster::{Cluster, Turn};
use self::filters::Reason;
use self::topology::Others;
use super::pods::{self, condition};
use crate::known::{NODE, POD};
use crate::plan::{Controller, Event, Interest, Key, Plan, Write};
use crate::snapshot::{Snapshot, items};

/// Most pods that one plan places: the world stands still meanwhile.
pub const PODS_PER_PLAN_MAX: usize = 512;

/// Most pods that one plan tells why they wait.
pub const REFUSALS_PER_PLAN_MAX: usize = 128;

/// Pods that name another scheduler are not ours.
const NAME: &str = "default-scheduler";

/// Gives pods their nodes.
#[derive(Default)]
pub struct Scheduler {
    memory: Mutex<Cluster>,
}

/// The nodes for pods that ask for the same.
struct Table {
    /// How well each node suits, by its place; none where it does not.
    scores: Vec<Option<i64>>,
    /// How many placements are accounted for.
    placed: usize,
    /// Why none does, once that was asked.
    explanation: Option<String>,
}

impl Controller for Scheduler {
    fn name(&self) -> &'static str {
        NAME
    }

    fn manager(&self) -> &'static str {
        "kube-scheduler"
    }

    fn interests(&self) -> Vec<Interest> {
        vec![
            Interest::of(&POD, |_, _, pod| if concerns(pod) { vec![all()] } else { Vec::new() }),
            Interest::of(&NODE, |_, _, _| vec![all()]),
        ]
    }

    fn plan(&self, world: &dyn Snapshot, _: &Key, now: Moment) -> Plan {
        // A poisoned memory was left half way: it is made anew from the world.
        let mut cluster = self.memory.lock().unwrap_or_else(|poisoned| {
            let mut cluster = PoisonError::into_inner(poisoned);
            *cluster = Cluster::default();
            cluster
        });
        cluster.refresh(world);
        plan(&mut cluster, now)
    }
}

/// Whether a pod waits, or has ended or goes and makes room: a running pod that changes is of no interest.
fn concerns(pod: &Value) -> bool {
    pod["spec"]["nodeName"].as_str().is_none_or(str::is_empty)
        || pods::has_ended(pod)
        || crate::snapshot::is_deleted(pod)
}

/// The key of all pods.
fn all() -> Key {
    Key::new(&POD, "", "")
}

fn waits(pod: &Value) -> bool {
    let named = pod["spec"]["schedulerName"].as_str().is_none_or(|name| name == NAME || name.is_empty());
    named
        && pod["spec"]["nodeName"].as_str().is_none_or(str::is_empty)
        && pods::is_active(pod)
        && items(&pod["spec"]["schedulingGates"]).next().is_none()
}

fn plan(cluster: &mut Cluster, now: Moment) -> Plan {
    let mut waiting: Vec<(&Turn, usize)> =
        cluster.pods.iter().filter_map(|(place, pod)| Some((pod.waits.as_ref()?, *place))).collect();
    waiting.sort_unstable();
    let waiting: Vec<usize> = waiting.into_iter().map(|(_, place)| place).collect();
    let mut plan = Plan::default();
    let mut tables: HashMap<*const Ask, Table> = HashMap::new();
    // Places of pods, and of the nodes that they get.
    let mut placed: Vec<(usize, usize)> = Vec::new();
    let mut refusals: Vec<(usize, String)> = Vec::new();
    let minded = cluster.pods.values().any(|pod| !pod.ask.anti_affinity.is_empty());
    for place in waiting {
        if placed.len() == PODS_PER_PLAN_MAX || refusals.len() == REFUSALS_PER_PLAN_MAX {
            // What is written now wakes the scheduler again; what is left is asked then.
            plan.requeue(now);
            break;
        }
        let ask = cluster.pods[&place].ask.clone();
        let chosen = if minded || ask.minds_others() {
            choose_among_others(cluster, &ask)
        } else {
            choose(cluster, &ask, &mut tables, &placed)
        };
        match chosen {
            Ok(node) => {
                plan.bind(&cluster.pods[&place].object, &cluster.nodes[node].name);
                cluster.assume(place, node);
                placed.push((place, node));
            }
            Err(why) if is_known(&cluster.pods[&place].object, &why) => {}
            Err(why) => refusals.push((place, why)),
        }
    }
    // Pods that get a node do not wait for those that get none.
    for (place, why) in refusals {
        plan.refuse(&cluster.pods[&place].object, why, now);
    }
    for (place, _) in placed {
        cluster.forget(place);
    }
    plan
}

/// The best node for a pod that does not mind others.
fn choose(
    cluster: &Cluster,
    ask: &Arc<Ask>,
    tables: &mut HashMap<*const Ask, Table>,
    placed: &[(usize, usize)],
) -> Result<usize, String> {
    let suits = |node: usize| {
        let node = &cluster.nodes[node];
        filters::refusal(ask, node, None).is_empty().then(|| scores::score(ask, node, None))
    };
    let table = tables.entry(Arc::as_ptr(ask)).or_insert_with(|| Table {
        scores: (0..cluster.nodes.len()).map(suits).collect(),
        placed: placed.len(),
        explanation: None,
    });
    for (_, node) in &placed[table.placed..] {
        table.scores[*node] = suits(*node);
    }
    if table.placed < placed.len() {
        table.placed = placed.len();
        table.explanation = None;
    }
    let found = best(&table.scores);
    found.ok_or_else(|| {
        let explained = || explain::explain(cluster, ask, &refusals(cluster, ask, None));
        table.explanation.get_or_insert_with(explained).clone()
    })
}

fn choose_among_others(cluster: &Cluster, ask: &Ask) -> Result<usize, String> {
    let others = Others::count(cluster, ask);
    let scores: Vec<Option<i64>> = (cluster.nodes.iter())
        .map(|node| {
            let suits = filters::refusal(ask, node, Some(&others)).is_empty();
            suits.then(|| scores::score(ask, node, Some(&others)))
        })
        .collect();
    best(&scores).ok_or_else(|| explain::explain(cluster, ask, &refusals(cluster, ask, Some(&others))))
}

/// The first of the best.
fn best(scores: &[Option<i64>]) -> Option<usize> {
    let mut best: Option<(usize, i64)> = None;
    for (node, score) in scores.iter().enumerate() {
        if let Some(score) = score
            && best.is_none_or(|(_, known)| *score > known)
        {
            best = Some((node, *score));
        }
    }
    best.map(|(node, _)| node)
}

fn refusals(cluster: &Cluster, ask: &Ask, others: Option<&Others>) -> Vec<Vec<Reason>> {
    cluster.nodes.iter().map(|node| filters::refusal(ask, node, others)).collect()
}

/// Whether a pod says already why it waits.
fn is_known(pod: &Value, why: &str) -> bool {
    condition(pod, "PodScheduled").is_some_and(|known| {
        known["status"] == "False" && known["reason"] == "Unschedulable" && known["message"] == why
    })
}

impl Plan {
    fn bind(&mut self, pod: &Value, node: &str) {
        let (namespace, name) = (object::namespace(pod), object::name(pod));
        let message = format!("Successfully assigned {namespace}/{name} to {node}");
        let write = Write::Bind { pod: Key::of(&POD, pod), uid: object::uid(pod).into(), node: node.into() };
        self.write_and_tell(write, Event::normal(&POD, pod, "Scheduled", message));
    }

    /// Tells why a pod waits.
    fn refuse(&mut self, pod: &Value, why: String, now: Moment) {
        let known = condition(pod, "PodScheduled");
        let since =
            known.filter(|known| known["status"] == "False").map(|known| &known["lastTransitionTime"]);
        let mut conditions: Vec<Value> = items(&pod["status"]["conditions"]).cloned().collect();
        let new = json!({
            "type": "PodScheduled", "status": "False", "lastProbeTime": null,
            "lastTransitionTime": since.cloned().unwrap_or_else(|| json!(now.to_time())),
            "reason": "Unschedulable", "message": why,
        });
        match conditions.iter_mut().find(|known| known["type"] == "PodScheduled") {
            Some(known) => *known = new,
            None => conditions.push(new),
        }
        let write = Write::patch_status(&POD, pod, &json!({"conditions": conditions}));
        self.write_and_tell(write, Event::warning(&POD, pod, "FailedScheduling", why));
    }
}
