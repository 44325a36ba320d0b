//! What a pod minds of the pods that run already: those it wants near, those it keeps away from, and those it is
//! spread with. Counted over all pods once for each pod that is placed.

use std::collections::HashMap;

use super::ask::{Ask, PodTerm};
use super::cluster::{Cluster, Node, Pod};
use super::filters::Reason;

/// For one pod: how many of the pods that matter are in each place.
pub(super) struct Others<'a> {
    ask: &'a Ask,
    affinity: Vec<HashMap<String, i64>>,
    /// Whether no pod matches what the pod wants near, but it would itself: the first of a group may go anywhere.
    is_first: bool,
    anti_affinity: Vec<HashMap<String, i64>>,
    /// Places, by label and value, where pods run that keep away from this one.
    refused: HashMap<(String, String), i64>,
    spread: Vec<Counted>,
    wishes: Vec<HashMap<String, i64>>,
}

/// The pods of a spread in each place.
struct Counted {
    places: HashMap<String, i64>,
    least: i64,
}

fn place<'n>(node: &'n Node, topology: &str) -> Option<&'n str> {
    node.labels()[topology].as_str()
}

impl<'a> Others<'a> {
    /// Counts for a pod.
    pub(super) fn count(cluster: &Cluster, ask: &'a Ask) -> Self {
        let running = || cluster.pods.values().filter_map(|pod| Some((pod, &cluster.nodes[pod.node?])));
        let near = |term: &PodTerm| {
            let mut places = HashMap::new();
            for (pod, node) in running().filter(|(pod, _)| means(term, pod)) {
                if let (Some(place), true) = (place(node, &term.topology), pod.node.is_some()) {
                    *places.entry(place.to_owned()).or_default() += 1;
                }
            }
            places
        };
        let affinity: Vec<HashMap<String, i64>> = ask.affinity.iter().map(near).collect();
        let own = ask.affinity.iter().all(|term| term.means(&ask.namespace, &ask.labels));
        let mut refused = HashMap::new();
        for (pod, node) in running().filter(|(pod, _)| !pod.ask.anti_affinity.is_empty()) {
            for term in pod.ask.anti_affinity.iter().filter(|term| term.means(&ask.namespace, &ask.labels)) {
                if let Some(place) = place(node, &term.topology) {
                    *refused.entry((term.topology.clone(), place.to_owned())).or_default() += 1;
                }
            }
        }
        Self {
            is_first: own && affinity.iter().all(HashMap::is_empty),
            affinity,
            anti_affinity: ask.anti_affinity.iter().map(near).collect(),
            refused,
            spread: spread(cluster, ask),
            wishes: ask.wishes.iter().map(|(_, term)| near(term)).collect(),
            ask,
        }
    }

    /// Why a node would make the pods too uneven.
    pub(super) fn spread_refusal(&self, node: &Node) -> Option<Reason> {
        for (rule, counted) in self.ask.spread.iter().zip(&self.spread).filter(|(rule, _)| rule.hard) {
            let Some(place) = place(node, &rule.topology) else { return Some(Reason::SpreadLabel) };
            let own = i64::from(rule.selector.matches_by(|key| self.ask.labels[key].as_str()));
            let here = counted.places.get(place).copied().unwrap_or_default();
            if here + own - counted.least > rule.skew_max {
                return Some(Reason::Spread);
            }
        }
        None
    }

    /// Why other pods forbid a node.
    pub(super) fn pod_refusal(&self, node: &Node) -> Option<Reason> {
        let near = |(term, places): (&PodTerm, &HashMap<String, i64>)| {
            place(node, &term.topology).is_some_and(|place| self.is_first || places.contains_key(place))
        };
        if !self.ask.affinity.iter().zip(&self.affinity).all(near) {
            return Some(Reason::PodAffinity);
        }
        let clash = |(term, places): (&PodTerm, &HashMap<String, i64>)| {
            place(node, &term.topology).is_some_and(|place| places.contains_key(place))
        };
        if self.ask.anti_affinity.iter().zip(&self.anti_affinity).any(clash) {
            return Some(Reason::PodAntiAffinity);
        }
        let labels = node.labels();
        let refused = |(topology, value): &(String, String)| labels[topology].as_str() == Some(value);
        self.refused.keys().any(refused).then_some(Reason::OthersAntiAffinity)
    }

    /// What the wishes about other pods come to on a node: each counts the pods it means there.
    pub(super) fn wish(&self, node: &Node) -> i64 {
        let wishes = self.ask.wishes.iter().zip(&self.wishes).map(|((weight, term), places)| {
            let here = place(node, &term.topology).and_then(|place| places.get(place));
            weight * here.copied().unwrap_or_default()
        });
        wishes.sum()
    }

    /// How many pods of soft spreads are in the node's places.
    pub(super) fn crowd(&self, node: &Node) -> i64 {
        let soft = self.ask.spread.iter().zip(&self.spread).filter(|(rule, _)| !rule.hard);
        soft.map(|(rule, counted)| {
            let here = place(node, &rule.topology).and_then(|place| counted.places.get(place));
            here.copied().unwrap_or_default()
        })
        .sum()
    }
}

fn means(term: &PodTerm, pod: &Pod) -> bool {
    term.means(&pod.ask.namespace, &pod.ask.labels)
}

/// For each rule the pods in each place; places are those of nodes that the pod's own selector allows.
fn spread(cluster: &Cluster, ask: &Ask) -> Vec<Counted> {
    let counted = |rule: &super::ask::Spread| {
        let mut places: HashMap<String, i64> = HashMap::new();
        for node in cluster.nodes.iter().filter(|node| ask.selects(&node.name, node.labels())) {
            if let Some(place) = place(node, &rule.topology) {
                places.entry(place.to_owned()).or_default();
            }
        }
        for pod in cluster.pods.values().filter(|pod| pod.ask.namespace == ask.namespace) {
            let Some(node) = pod.node.map(|at| &cluster.nodes[at]) else { continue };
            if rule.selector.matches_by(|key| pod.ask.labels[key].as_str())
                && let Some(count) = place(node, &rule.topology).and_then(|place| places.get_mut(place))
            {
                *count += 1;
            }
        }
        let enough = i64::try_from(places.len()).unwrap_or(i64::MAX) >= rule.places_min;
        let least = if enough { places.values().min().copied().unwrap_or_default() } else { 0 };
        Counted { places, least }
    };
    ask.spread.iter().map(counted).collect()
}
