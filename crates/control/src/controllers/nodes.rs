//! The life of nodes: one that is not heard of is not relied on, and each gets a range of addresses for its pods.

use core::net::Ipv4Addr;
use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::{Value, json};
use shoal_api::object;
use shoal_api::quantity::Quantity;
use shoal_api::time::Moment;

use super::pods::{condition, created, has_ended, is_ready};
use super::replica_set::PODS_PER_PLAN_MAX;
use crate::bootstrap::NODE_LEASES;
use crate::known::{LEASE, NODE, POD};
use crate::plan::{Controller, Event, Interest, Key, Plan, Write, after, read_time};
use crate::snapshot::{Snapshot, is_deleted, items, text};

/// After so many seconds without a sign of life a node is taken as lost: it renews its lease each ten.
pub const GRACE_SECONDS: i64 = 40;

/// Only a node that was heard of within so many seconds, two renewals, proves that this side hears at all.
const LIVE_SECONDS: i64 = 20;

/// Addresses of all pods: enough for 32,768 nodes of the usual size, clear of the network of Services.
const PODS: (Ipv4Addr, u8) = (Ipv4Addr::new(10, 128, 0, 0), 9);

/// The smallest range of a node, 256 addresses, as other clusters give to each: larger ones are this one doubled.
const RANGE_BITS_MAX: u8 = 24;

/// The largest range of a node, 65,536 addresses, whatever it says that it can run.
const RANGE_BITS_MIN: u8 = 16;

/// Addresses of a range that no pod gets: the first two and the last.
const ADDRESSES_KEPT: u32 = 3;

/// Seconds until a node without a range is looked at again: another may have gone.
const RANGE_RETRY_SECONDS: i64 = 30;

/// Conditions that only the node itself can say.
const CONDITIONS: [&str; 4] = ["MemoryPressure", "DiskPressure", "PIDPressure", "Ready"];

/// Taints of what conditions say: the condition, the status that taints, and the taint's key.
const TAINTS: [(&str, &str, &str); 6] = [
    ("Ready", "False", "node.kubernetes.io/not-ready"),
    ("Ready", "Unknown", "node.kubernetes.io/unreachable"),
    ("MemoryPressure", "True", "node.kubernetes.io/memory-pressure"),
    ("DiskPressure", "True", "node.kubernetes.io/disk-pressure"),
    ("PIDPressure", "True", "node.kubernetes.io/pid-pressure"),
    ("NetworkUnavailable", "True", "node.kubernetes.io/network-unavailable"),
];

/// Taint of a node that was cordoned: nothing new shall run there.
pub(super) const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";

/// Notices nodes that are lost, and taints them by what they say of themselves.
pub struct NodeLifecycle {
    /// When this process began to look. What happened before, while nobody could be heard, is not held against nodes.
    pub since: Moment,
}

/// Gives each node a range of addresses for its pods.
pub struct PodRanges;

impl Controller for NodeLifecycle {
    fn name(&self) -> &'static str {
        "node-controller"
    }

    fn interests(&self) -> Vec<Interest> {
        // Leases wake nothing: they are looked at when a node might be late.
        vec![Interest::own(&NODE)]
    }

    fn plan(&self, world: &dyn Snapshot, key: &Key, now: Moment) -> Plan {
        let Some(node) = world.get(&NODE, "", &key.name).filter(|node| !is_deleted(node)) else {
            return Plan::default();
        };
        let mut plan = Plan::default();
        let late = after(heard_of(world, &node).max(self.since), GRACE_SECONDS + 1);
        if now >= late {
            if give_up(&node, now, &mut plan) {
                return plan;
            }
        } else {
            plan.requeue(late);
        }
        let lives =
            |other: &Arc<Value>| is_ready(other) && after(heard_of(world, other), LIVE_SECONDS) >= now;
        let evicts = world.list(&NODE, None).iter().any(lives);
        if let Some(taints) = tainted(&node, evicts, now) {
            plan.writes.push(Write::patch_spec(&NODE, &node, &json!({"taints": taints})));
        }
        if !is_ready(&node) {
            unready_pods(world, &node, now, &mut plan);
            // Whether pods are sent away depends on whether other nodes live.
            plan.requeue(after(now, GRACE_SECONDS));
        }
        plan
    }
}

/// The last sign of life: of the lease, of the status, or that the node was made.
fn heard_of(world: &dyn Snapshot, node: &Value) -> Moment {
    let lease = world.get(&LEASE, NODE_LEASES, object::name(node));
    let renewed = lease.and_then(|lease| read_time(&lease["spec"]["renewTime"]));
    let posted = condition(node, "Ready").and_then(|ready| read_time(&ready["lastHeartbeatTime"]));
    let signs = [renewed, posted, Some(created(node))];
    signs.into_iter().flatten().max().unwrap_or_default()
}

/// Nothing that a lost node said is known any more. Says whether that is news: when it is written, the node is
/// planned for again, and its pods with it.
fn give_up(node: &Arc<Value>, now: Moment, plan: &mut Plan) -> bool {
    let mut conditions: Vec<Value> = items(&node["status"]["conditions"]).cloned().collect();
    let time = json!(now.to_time());
    for kind in CONDITIONS {
        match conditions.iter_mut().find(|known| known["type"] == kind) {
            Some(known) if known["status"] != "Unknown" => {
                known["status"] = json!("Unknown");
                known["reason"] = json!("NodeStatusUnknown");
                known["message"] = json!("Kubelet stopped posting node status.");
                known["lastTransitionTime"] = time.clone();
            }
            Some(_) => {}
            None => conditions.push(json!({
                "type": kind, "status": "Unknown", "reason": "NodeStatusNeverUpdated",
                "message": "Kubelet never posted node status.",
                "lastHeartbeatTime": node["metadata"]["creationTimestamp"], "lastTransitionTime": time,
            })),
        }
    }
    if node["status"]["conditions"] == json!(conditions) {
        return false;
    }
    if is_ready(node) {
        let message = format!("Node {} status is now: NodeNotReady", object::name(node));
        plan.events.push(Event::normal(&NODE, node, "NodeNotReady", message));
    }
    plan.writes.push(Write::patch_status(&NODE, node, &json!({"conditions": conditions})));
    true
}

/// Pods of a node that is lost serve nobody. Where there are many, the next plan goes on.
fn unready_pods(world: &dyn Snapshot, node: &Value, now: Moment, plan: &mut Plan) {
    let here = |pod: &&Arc<Value>| pod["spec"]["nodeName"] == *object::name(node) && is_ready(pod);
    let pods = world.list(&POD, None);
    let mut ready = pods.iter().filter(here);
    for pod in ready.by_ref().take(PODS_PER_PLAN_MAX) {
        let mut conditions: Vec<Value> = items(&pod["status"]["conditions"]).cloned().collect();
        for known in conditions.iter_mut().filter(|known| known["type"] == "Ready") {
            known["status"] = json!("False");
            known["lastTransitionTime"] = json!(now.to_time());
        }
        let write = Write::patch_status(&POD, pod, &json!({"conditions": conditions}));
        let event = Event::warning(&POD, pod, "NodeNotReady", "Node is not ready".into());
        plan.write_and_tell(write, event);
    }
    if ready.next().is_some() {
        plan.requeue(now);
    }
}

/// The taints that a node should have; none where it has them. Where no node lives, it is this side that is cut
/// off, and no pod is sent away.
fn tainted(node: &Value, evicts: bool, now: Moment) -> Option<Vec<Value>> {
    let ours = |taint: &Value, effect: &str| {
        let keys = TAINTS.iter().map(|(_, _, key)| *key).chain([UNSCHEDULABLE]);
        let lost =
            matches!(text(&taint["key"]), "node.kubernetes.io/not-ready" | "node.kubernetes.io/unreachable");
        taint["effect"] == effect
            && keys.into_iter().any(|key| taint["key"] == key)
            && (effect != "NoExecute" || lost)
    };
    let mut wanted: Vec<(&str, &str)> = Vec::new();
    for (kind, status, key) in TAINTS {
        if condition(node, kind).is_some_and(|known| known["status"] == status) {
            wanted.push((key, "NoSchedule"));
            if kind == "Ready" && evicts {
                wanted.push((key, "NoExecute"));
            }
        }
    }
    if condition(node, "Ready").is_none() {
        wanted.push(("node.kubernetes.io/not-ready", "NoSchedule"));
    }
    if node["spec"]["unschedulable"] == true {
        wanted.push((UNSCHEDULABLE, "NoSchedule"));
    }
    let is_wanted =
        |taint: &Value| wanted.iter().any(|(key, effect)| taint["key"] == *key && taint["effect"] == *effect);
    let known: Vec<Value> = items(&node["spec"]["taints"]).cloned().collect();
    let mut taints: Vec<Value> = (known.iter())
        .filter(|taint| is_wanted(taint) || !(ours(taint, "NoSchedule") || ours(taint, "NoExecute")))
        .cloned()
        .collect();
    for (key, effect) in &wanted {
        if !taints.iter().any(|taint| taint["key"] == *key && taint["effect"] == *effect) {
            taints.push(json!({"key": key, "effect": effect, "timeAdded": now.to_time()}));
        }
    }
    // Whoever tolerates such a taint for a while must know since when it is there.
    for taint in
        taints.iter_mut().filter(|taint| taint["effect"] == "NoExecute" && taint["timeAdded"].is_null())
    {
        taint["timeAdded"] = json!(now.to_time());
    }
    (taints != known).then_some(taints)
}

impl Controller for PodRanges {
    fn name(&self) -> &'static str {
        "node-ipam-controller"
    }

    fn interests(&self) -> Vec<Interest> {
        vec![Interest::own(&NODE)]
    }

    fn plan(&self, world: &dyn Snapshot, key: &Key, now: Moment) -> Plan {
        let Some(node) = world.get(&NODE, "", &key.name) else { return Plan::default() };
        if is_deleted(&node) || !text(&node["spec"]["podCIDR"]).is_empty() {
            return Plan::default();
        }
        let taken: BTreeSet<u32> = (world.list(&NODE, None).iter())
            .flat_map(|node| ranges(node).iter().flat_map(|range| numbers_within(range)).collect::<Vec<_>>())
            .collect();
        let bits = range_bits(&node);
        let (count, width) = (1u32 << (RANGE_BITS_MAX - PODS.1), 1u32 << (RANGE_BITS_MAX - bits));
        let is_free = |first: &u32| taken.range(*first..first + width).next().is_none();
        let Some(free) = (0..count).step_by(width as usize).find(is_free) else {
            let message = format!("Node {} status is now: CIDRNotAvailable", key.name);
            let mut plan = Plan { requeue_at: Some(after(now, RANGE_RETRY_SECONDS)), ..Plan::default() };
            plan.events.push(Event::normal(&NODE, &node, "CIDRNotAvailable", message));
            return plan;
        };
        let first = Ipv4Addr::from_bits(PODS.0.to_bits() + (free << (32 - RANGE_BITS_MAX)));
        let range = format!("{first}/{bits}");
        Plan::write(Write::patch_spec(&NODE, &node, &json!({"podCIDR": range, "podCIDRs": [range]})))
    }
}

/// How many bits of the addresses of a node's pods are the same: each pod that it says it can run gets its own.
fn range_bits(node: &Value) -> u8 {
    let pods = text(&node["status"]["capacity"]["pods"]).parse::<Quantity>().map_or(0, Quantity::value);
    let wanted = u32::try_from(pods).unwrap_or(u32::MAX).saturating_add(ADDRESSES_KEPT);
    let fits = |bits: &u8| 1u32 << (32 - bits) >= wanted;
    (RANGE_BITS_MIN..=RANGE_BITS_MAX).rev().find(fits).unwrap_or(RANGE_BITS_MIN)
}

fn ranges(node: &Value) -> Vec<String> {
    let all = items(&node["spec"]["podCIDRs"]).chain([&node["spec"]["podCIDR"]]);
    all.filter_map(Value::as_str).map(str::to_owned).collect()
}

/// The numbers of the smallest ranges that a range, which may be larger or smaller than those, takes.
fn numbers_within(range: &str) -> Vec<u32> {
    let Some((core::net::IpAddr::V4(first), bits)) = shoal_api::names::parse_cidr(range) else {
        return Vec::new();
    };
    let first = first.to_bits();
    let last = first | u32::MAX.checked_shr(u32::from(bits)).unwrap_or(0);
    let (low, high) = (PODS.0.to_bits(), PODS.0.to_bits() | (u32::MAX >> PODS.1));
    if last < low || first > high {
        return Vec::new();
    }
    let number = |address: u32| (address.clamp(low, high) - low) >> (32 - RANGE_BITS_MAX);
    (number(first)..=number(last)).collect()
}

/// Pods that use a node.
pub(super) fn pods_on(world: &dyn Snapshot, node: &str) -> Vec<Key> {
    let here = |pod: &&Arc<Value>| pod["spec"]["nodeName"] == *node && !has_ended(pod);
    world.list(&POD, None).iter().filter(here).map(|pod| Key::of(&POD, pod)).collect()
}
