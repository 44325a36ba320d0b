//! Why no node will do, as `kubectl describe pod` shows it.

use std::collections::BTreeMap;

use super::ask::Ask;
use super::cluster::Cluster;
use super::filters::Reason;

/// In the words of Kubernetes: `0/3 nodes are available: 1 Insufficient cpu, …`.
pub(super) fn explain(cluster: &Cluster, ask: &Ask, refusals: &[Vec<Reason>]) -> String {
    let all = cluster.nodes.len();
    if all == 0 {
        return "no nodes available to schedule pods".into();
    }
    let mut counts: BTreeMap<&Reason, usize> = BTreeMap::new();
    for reason in refusals.iter().flatten() {
        *counts.entry(reason).or_default() += 1;
    }
    // The same words may stand for two reasons.
    let mut words: BTreeMap<String, usize> = BTreeMap::new();
    for (reason, count) in counts {
        *words.entry(reason.to_string()).or_default() += count;
    }
    let why = listed(words);
    format!("0/{all} nodes are available: {why}. preemption: {}", preemption(cluster, ask, refusals))
}

/// Whether it would help if other pods went. None is made to go.
fn preemption(cluster: &Cluster, ask: &Ask, refusals: &[Vec<Reason>]) -> String {
    let all = cluster.nodes.len();
    if !ask.preempts {
        return "not eligible due to preemptionPolicy=Never.".into();
    }
    let (mut victims, mut none, mut no_help) = (0, 0, 0);
    for (node, reasons) in cluster.nodes.iter().zip(refusals) {
        let counted = if !reasons.iter().all(Reason::may_pass) {
            &mut no_help
        } else if node.priorities.range(..ask.priority).next().is_some() {
            &mut victims
        } else {
            &mut none
        };
        *counted += 1;
    }
    let words = [
        ("Pods of lower priority are left alone", victims),
        ("No preemption victims found for incoming pod", none),
        ("Preemption is not helpful for scheduling", no_help),
    ];
    let words = words.into_iter().filter(|(_, count)| *count > 0);
    format!(
        "0/{all} nodes are available: {}.",
        listed(words.map(|(words, count)| (words.to_owned(), count)).collect())
    )
}

fn listed(words: BTreeMap<String, usize>) -> String {
    let mut lines: Vec<String> = words.into_iter().map(|(words, count)| format!("{count} {words}")).collect();
    lines.sort();
    lines.join(", ")
}
