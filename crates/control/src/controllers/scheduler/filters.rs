//! What makes a node unsuitable, one filter after the other. Each says why, in the words of Kubernetes.

use std::fmt;

use super::ask::Ask;
use super::cluster::Node;
use super::topology::Others;
use crate::controllers::nodes::UNSCHEDULABLE;

/// Why a node will not do.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Reason {
    Unschedulable,
    Taint { key: String, value: String },
    NodeAffinity,
    Ports,
    TooManyPods,
    Insufficient { what: String, ever: bool },
    SpreadLabel,
    Spread,
    PodAffinity,
    PodAntiAffinity,
    OthersAntiAffinity,
}

/// A filter: the reasons why a node will not do; none when it may.
pub(super) type Filter = fn(&Ask, &Node, Option<&Others>) -> Vec<Reason>;

/// In the order in which Kubernetes asks them; the first that refuses explains.
pub(super) const FILTERS: [Filter; 7] =
    [unschedulable, taints, node_affinity, ports, resources, spread, pods];

/// Why a node will not do, by the first filter that refuses it.
pub(super) fn refusal(ask: &Ask, node: &Node, others: Option<&Others>) -> Vec<Reason> {
    FILTERS
        .iter()
        .map(|filter| filter(ask, node, others))
        .find(|reasons| !reasons.is_empty())
        .unwrap_or_default()
}

fn unschedulable(ask: &Ask, node: &Node, _: Option<&Others>) -> Vec<Reason> {
    let refused = node.unschedulable && !ask.tolerates(UNSCHEDULABLE, "", "NoSchedule");
    if refused { vec![Reason::Unschedulable] } else { Vec::new() }
}

fn taints(ask: &Ask, node: &Node, _: Option<&Others>) -> Vec<Reason> {
    let refused = |(key, value, effect): &&(String, String, String)| {
        matches!(effect.as_str(), "NoSchedule" | "NoExecute") && !ask.tolerates(key, value, effect)
    };
    let taint = node.taints.iter().find(refused);
    taint
        .map(|(key, value, _)| Reason::Taint { key: key.clone(), value: value.clone() })
        .into_iter()
        .collect()
}

fn node_affinity(ask: &Ask, node: &Node, _: Option<&Others>) -> Vec<Reason> {
    if ask.selects(&node.name, node.labels()) { Vec::new() } else { vec![Reason::NodeAffinity] }
}

fn ports(ask: &Ask, node: &Node, _: Option<&Others>) -> Vec<Reason> {
    let taken = ask.ports.iter().any(|port| node.ports.iter().any(|known| known.clashes(port)));
    if taken { vec![Reason::Ports] } else { Vec::new() }
}

fn resources(ask: &Ask, node: &Node, _: Option<&Others>) -> Vec<Reason> {
    let (wanted, all, used) = (&ask.amount, &node.allocatable, &node.used);
    let mut reasons = Vec::new();
    if used.pods + 1 > all.pods {
        reasons.push(Reason::TooManyPods);
    }
    let mut check = |what: &str, wanted: i64, all: i64, used: i64| {
        if wanted > 0 && wanted > all - used {
            reasons.push(Reason::Insufficient { what: what.to_owned(), ever: wanted > all });
        }
    };
    check("cpu", wanted.cpu_milli, all.cpu_milli, used.cpu_milli);
    check("memory", wanted.memory_bytes, all.memory_bytes, used.memory_bytes);
    check("ephemeral-storage", wanted.storage_bytes, all.storage_bytes, used.storage_bytes);
    for (name, amount) in &wanted.others {
        let of = |amounts: &super::amount::Amount| amounts.others.get(name).copied().unwrap_or(0);
        check(name, *amount, of(all), of(used));
    }
    reasons
}

fn spread(_: &Ask, node: &Node, others: Option<&Others>) -> Vec<Reason> {
    others.and_then(|others| others.spread_refusal(node)).into_iter().collect()
}

fn pods(_: &Ask, node: &Node, others: Option<&Others>) -> Vec<Reason> {
    others.and_then(|others| others.pod_refusal(node)).into_iter().collect()
}

impl Reason {
    /// Whether the node might do if other pods went.
    pub(super) fn may_pass(&self) -> bool {
        match self {
            Self::Unschedulable
            | Self::Taint { .. }
            | Self::NodeAffinity
            | Self::SpreadLabel
            | Self::PodAffinity => false,
            Self::Insufficient { ever, .. } => !ever,
            Self::Ports
            | Self::TooManyPods
            | Self::Spread
            | Self::PodAntiAffinity
            | Self::OthersAntiAffinity => true,
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = match self {
            Self::Unschedulable => "node(s) were unschedulable",
            Self::Taint { key, value } => {
                return write!(formatter, "node(s) had untolerated taint {{{key}: {value}}}");
            }
            Self::NodeAffinity => "node(s) didn't match Pod's node affinity/selector",
            Self::Ports => "node(s) didn't have free ports for the requested pod ports",
            Self::TooManyPods => "Too many pods",
            Self::Insufficient { what, .. } => return write!(formatter, "Insufficient {what}"),
            Self::SpreadLabel => {
                "node(s) didn't match pod topology spread constraints (missing required label)"
            }
            Self::Spread => "node(s) didn't match pod topology spread constraints",
            Self::PodAffinity => "node(s) didn't match pod affinity rules",
            Self::PodAntiAffinity => "node(s) didn't match pod anti-affinity rules",
            Self::OthersAntiAffinity => "node(s) didn't satisfy existing pods anti-affinity rules",
        };
        formatter.write_str(words)
    }
}
