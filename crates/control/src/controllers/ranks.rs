//! Which pods go first when there are too many.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::Arc;

use serde_json::Value;
use shoal_api::object;
use shoal_api::time::Moment;

use super::pods::{created, is_ready, number, phase, ready_since};
use crate::kinds::pod::DELETION_COST;
use crate::snapshot::items;

/// What decides, in this order; the smallest goes first.
type Rank = (bool, u8, bool, i64, Reverse<usize>, u32, Reverse<i64>, u32, String);

/// The pods in the order in which they go: those without a node, not running, not ready, cheap, crowded on a node
/// (`beside` counts the pods of each), freshly ready, often restarted and young ones first. Ages count by their logarithm, so that
/// among pods of about the same age chance decides, as in Kubernetes.
pub(super) fn first_to_go<'p>(
    pods: &'p [Arc<Value>],
    beside: &HashMap<String, usize>,
    now: Moment,
) -> Vec<&'p Arc<Value>> {
    let mut ranked: Vec<(Rank, &Arc<Value>)> = pods.iter().map(|pod| (rank(pod, beside, now), pod)).collect();
    ranked.sort_by(|left, right| left.0.cmp(&right.0));
    ranked.into_iter().map(|(_, pod)| pod).collect()
}

fn rank(pod: &Value, beside: &HashMap<String, usize>, now: Moment) -> Rank {
    let node = pod["spec"]["nodeName"].as_str().unwrap_or_default();
    let phase = match phase(pod) {
        "Pending" => 0,
        "Unknown" => 1,
        _ => 2,
    };
    let ready = is_ready(pod);
    let cost = object::annotation(pod, DELETION_COST).and_then(|cost| cost.parse().ok()).unwrap_or(0);
    let crowd = beside.get(node).copied().unwrap_or_default();
    let restarts = items(&pod["status"]["containerStatuses"]).map(|one| number(&one["restartCount"])).max();
    let ready_age = if ready { ready_since(pod).map_or(0, |since| magnitude(since, now)) } else { 0 };
    (
        !node.is_empty(),
        phase,
        ready,
        cost,
        Reverse(crowd),
        ready_age,
        Reverse(restarts.unwrap_or_default()),
        magnitude(created(pod), now),
        object::uid(pod).to_owned(),
    )
}

/// The logarithm of an age in seconds.
fn magnitude(since: Moment, now: Moment) -> u32 {
    let seconds = (now.micros().saturating_sub(since.micros()) / 1_000_000).max(0);
    u64::try_from(seconds).unwrap_or_default().checked_ilog2().map_or(0, |log| log + 1)
}
