//! How well a node suits: each score is 0 to 100, their weights are those of Kubernetes.

use super::ask::Ask;
use super::cluster::Node;
use super::topology::Others;

const BEST: i64 = 100;

/// A score and its weight.
type Score = (i64, fn(&Ask, &Node) -> i64);

const SCORES: [Score; 5] =
    [(1, least_allocated), (1, balanced), (3, untainted), (2, preferred), (2, few_siblings)];

/// How well a node suits, of those that do.
pub(super) fn score(ask: &Ask, node: &Node, others: Option<&Others>) -> i64 {
    let sum: i64 = SCORES.iter().map(|(weight, score)| weight * score(ask, node)).sum();
    // Wishes about other pods are no share of anything: they are bounded, so that none drowns all else.
    let others = others
        .map_or(0, |others| 2 * others.wish(node).clamp(-BEST, BEST) - 2 * others.crowd(node).clamp(0, BEST));
    sum + others
}

/// The share of processor and memory that would be left.
fn least_allocated(ask: &Ask, node: &Node) -> i64 {
    let free = |all: i64, used: i64| if all <= 0 { 0 } else { ((all - used).max(0)) * BEST / all };
    let (cpu, memory) = assumed(ask, node);
    i64::midpoint(free(node.allocatable.cpu_milli, cpu), free(node.allocatable.memory_bytes, memory))
}

/// Whether processor and memory would be used alike.
fn balanced(ask: &Ask, node: &Node) -> i64 {
    let share = |all: i64, used: i64| if all <= 0 { BEST } else { (used * BEST / all).clamp(0, BEST) };
    let cpu = share(node.allocatable.cpu_milli, node.used.cpu_milli + ask.amount.cpu_milli);
    let memory = share(node.allocatable.memory_bytes, node.used.memory_bytes + ask.amount.memory_bytes);
    BEST - (cpu - memory).abs() / 2
}

fn assumed(ask: &Ask, node: &Node) -> (i64, i64) {
    (node.used.assumed.0 + ask.amount.assumed.0, node.used.assumed.1 + ask.amount.assumed.1)
}

/// Few taints that ask politely to stay away.
fn untainted(ask: &Ask, node: &Node) -> i64 {
    let polite = node
        .taints
        .iter()
        .filter(|(key, value, effect)| effect == "PreferNoSchedule" && !ask.tolerates(key, value, effect));
    BEST / (1 + i64::try_from(polite.count()).unwrap_or(BEST))
}

/// What the pod would like of its node.
fn preferred(ask: &Ask, node: &Node) -> i64 {
    let all: i64 = ask.preferred.iter().map(|(weight, _)| weight).sum();
    let held = ask.preferred.iter().filter(|(_, term)| term.matches(&node.name, node.labels()));
    let held: i64 = held.map(|(weight, _)| weight).sum();
    if all <= 0 { 0 } else { held * BEST / all }
}

/// Pods of one owner go to different nodes.
fn few_siblings(ask: &Ask, node: &Node) -> i64 {
    BEST / (1 + node.siblings.get(&ask.owner).copied().unwrap_or_default())
}
