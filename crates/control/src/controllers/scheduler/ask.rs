//! What a pod asks of its node, read once from its spec.

use serde_json::Value;
use shoal_api::object;
use shoal_api::selector::label::{Operator, Requirement, Selector};

use super::amount::Amount;
use crate::controllers::pods::number;
use crate::snapshot::{controller_of, items, text};
use crate::words::selector;

/// Of pods that ask for the same there is one.
#[derive(Debug)]
pub(super) struct Ask {
    pub(super) amount: Amount,
    /// Protocol, address and number of each port of the node that the pod takes.
    pub(super) ports: Vec<Port>,
    /// `spec.nodeSelector`: labels that the node has.
    pub(super) node_selector: Vec<(String, String)>,
    /// One of these must hold; none: any node will do.
    pub(super) node_terms: Option<Vec<NodeTerm>>,
    /// These should, with their weights.
    pub(super) preferred: Vec<(i64, NodeTerm)>,
    pub(super) tolerations: Vec<Toleration>,
    pub(super) affinity: Vec<PodTerm>,
    pub(super) anti_affinity: Vec<PodTerm>,
    /// Wishes about other pods, with their weights; those to stay away are negative.
    pub(super) wishes: Vec<(i64, PodTerm)>,
    pub(super) spread: Vec<Spread>,
    pub(super) namespace: String,
    pub(super) labels: Value,
    /// Identity of what manages the pod: its siblings are kept apart.
    pub(super) owner: String,
    pub(super) priority: i64,
    /// Whether pods of less priority may go for it.
    pub(super) preempts: bool,
}

/// A port of a node that a pod takes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Port {
    pub(super) protocol: String,
    /// Empty: all addresses.
    pub(super) address: String,
    pub(super) number: i64,
}

/// All of it must hold of a node.
#[derive(Debug, Default)]
pub(super) struct NodeTerm {
    labels: Vec<Requirement>,
    fields: Vec<Requirement>,
    /// One that cannot be read holds nowhere.
    broken: bool,
}

/// A taint that a pod does not mind.
#[derive(Debug)]
pub(in crate::controllers) struct Toleration {
    key: String,
    exists: bool,
    value: String,
    effect: String,
}

/// Other pods in the same place.
#[derive(Debug)]
pub(super) struct PodTerm {
    pub(super) selector: Selector,
    /// Empty: every namespace.
    pub(super) namespaces: Vec<String>,
    /// Label of nodes that makes a place.
    pub(super) topology: String,
}

/// Pods of one kind are spread evenly over places.
#[derive(Debug)]
pub(super) struct Spread {
    pub(super) skew_max: i64,
    pub(super) topology: String,
    pub(super) selector: Selector,
    /// Whether it must hold; else it only should.
    pub(super) hard: bool,
    pub(super) places_min: i64,
}

impl Ask {
    /// What makes two pods ask for the same.
    pub(super) fn class(pod: &Value) -> Vec<u8> {
        let spec = &pod["spec"];
        let owner = controller_of(pod).map_or("", |owner| text(&owner["uid"]));
        let parts = [
            &spec["nodeSelector"],
            &spec["affinity"],
            &spec["tolerations"],
            &spec["topologySpreadConstraints"],
            &spec["priority"],
            &spec["preemptionPolicy"],
            &spec["overhead"],
            &pod["metadata"]["labels"],
        ];
        let mut class = Vec::with_capacity(1024);
        for line in [owner, object::namespace(pod)] {
            class.extend_from_slice(line.as_bytes());
            class.push(b'\n');
        }
        let put = |part: &Value, class: &mut Vec<u8>| {
            serde_json::to_writer(class, part).expect("memory takes what is written");
        };
        parts.iter().for_each(|part| put(part, &mut class));
        // Containers run at the same time, init containers one after the other: which is which makes a difference.
        for list in [&spec["containers"], &spec["initContainers"]] {
            class.extend_from_slice(b"\n--\n");
            for container in items(list) {
                for part in
                    [&container["resources"]["requests"], &container["ports"], &container["restartPolicy"]]
                {
                    put(part, &mut class);
                }
                class.push(b'\n');
            }
        }
        class
    }

    pub(super) fn of(pod: &Value) -> Self {
        let spec = &pod["spec"];
        let namespace = object::namespace(pod);
        let affinity = &spec["affinity"];
        let required = "requiredDuringSchedulingIgnoredDuringExecution";
        let preferred = "preferredDuringSchedulingIgnoredDuringExecution";
        let node_terms = &affinity["nodeAffinity"][required]["nodeSelectorTerms"];
        let pod_terms = |kind: &str| -> Vec<PodTerm> {
            items(&affinity[kind][required]).map(|term| PodTerm::of(term, namespace, pod)).collect()
        };
        let wishes = |kind: &str, sign: i64| -> Vec<(i64, PodTerm)> {
            let wish = |wish: &Value| {
                (sign * number(&wish["weight"]), PodTerm::of(&wish["podAffinityTerm"], namespace, pod))
            };
            items(&affinity[kind][preferred]).map(wish).collect()
        };
        let labels = spec["nodeSelector"].as_object().into_iter().flatten();
        Self {
            amount: Amount::requested(pod),
            ports: ports(pod),
            node_selector: labels.map(|(key, value)| (key.clone(), text(value).to_owned())).collect(),
            node_terms: node_terms.as_array().map(|terms| terms.iter().map(NodeTerm::of).collect()),
            preferred: items(&affinity["nodeAffinity"][preferred])
                .map(|wish| (number(&wish["weight"]), NodeTerm::of(&wish["preference"])))
                .collect(),
            tolerations: items(&spec["tolerations"]).map(Toleration::of).collect(),
            affinity: pod_terms("podAffinity"),
            anti_affinity: pod_terms("podAntiAffinity"),
            wishes: wishes("podAffinity", 1).into_iter().chain(wishes("podAntiAffinity", -1)).collect(),
            spread: items(&spec["topologySpreadConstraints"]).map(|rule| Spread::of(rule, pod)).collect(),
            namespace: namespace.to_owned(),
            labels: pod["metadata"]["labels"].clone(),
            owner: controller_of(pod).map_or("", |owner| text(&owner["uid"])).to_owned(),
            priority: number(&spec["priority"]),
            preempts: spec["preemptionPolicy"] != "Never",
        }
    }

    /// Whether a node suits only in view of what runs elsewhere.
    pub(super) fn minds_others(&self) -> bool {
        !(self.affinity.is_empty()
            && self.anti_affinity.is_empty()
            && self.wishes.is_empty()
            && self.spread.is_empty())
    }

    /// Whether the labels and the name of a node are as it asks.
    pub(super) fn selects(&self, name: &str, labels: &Value) -> bool {
        self.node_selector.iter().all(|(key, value)| labels[key].as_str() == Some(value))
            && self
                .node_terms
                .as_ref()
                .is_none_or(|terms| terms.iter().any(|term| term.matches(name, labels)))
    }

    /// Whether it does not mind a taint.
    pub(super) fn tolerates(&self, key: &str, value: &str, effect: &str) -> bool {
        self.tolerations.iter().any(|toleration| toleration.covers(key, value, effect))
    }
}

fn ports(pod: &Value) -> Vec<Port> {
    let containers = items(&pod["spec"]["containers"]);
    let all = containers.flat_map(|container| items(&container["ports"]));
    let taken = all.filter(|port| number(&port["hostPort"]) > 0);
    let port = |port: &Value| Port {
        protocol: port["protocol"].as_str().unwrap_or("TCP").to_owned(),
        address: Some(text(&port["hostIP"])).filter(|ip| *ip != "0.0.0.0").unwrap_or_default().to_owned(),
        number: number(&port["hostPort"]),
    };
    taken.map(port).collect()
}

impl Port {
    /// Whether two pods cannot both have theirs.
    pub(super) fn clashes(&self, other: &Self) -> bool {
        self.number == other.number
            && self.protocol == other.protocol
            && (self.address == other.address || self.address.is_empty() || other.address.is_empty())
    }
}

impl NodeTerm {
    fn of(term: &Value) -> Self {
        let read = |list: &Value| -> Option<Vec<Requirement>> { items(list).map(requirement).collect() };
        match (read(&term["matchExpressions"]), read(&term["matchFields"])) {
            (Some(labels), Some(fields)) => Self { labels, fields, broken: false },
            _ => Self { broken: true, ..Self::default() },
        }
    }

    /// Whether it holds of a node. A term that asks for nothing holds nowhere.
    pub(super) fn matches(&self, name: &str, labels: &Value) -> bool {
        let field = |requirement: &Requirement| {
            requirement.matches(Some(name).filter(|_| requirement.key() == "metadata.name"))
        };
        let asks_nothing = self.labels.is_empty() && self.fields.is_empty();
        !self.broken
            && !asks_nothing
            && self.labels.iter().all(|one| one.matches(labels[one.key()].as_str()))
            && self.fields.iter().all(field)
    }
}

fn requirement(expression: &Value) -> Option<Requirement> {
    let operator = match text(&expression["operator"]) {
        "In" => Operator::In,
        "NotIn" => Operator::NotIn,
        "Exists" => Operator::Exists,
        "DoesNotExist" => Operator::DoesNotExist,
        "Gt" => Operator::GreaterThan,
        "Lt" => Operator::LessThan,
        _ => return None,
    };
    let values = items(&expression["values"]).map(|value| text(value).to_owned());
    Requirement::new(text(&expression["key"]), operator, values).ok()
}

impl Toleration {
    pub(in crate::controllers) fn of(toleration: &Value) -> Self {
        Self {
            key: text(&toleration["key"]).to_owned(),
            exists: toleration["operator"] == "Exists",
            value: text(&toleration["value"]).to_owned(),
            effect: text(&toleration["effect"]).to_owned(),
        }
    }

    pub(in crate::controllers) fn covers(&self, key: &str, value: &str, effect: &str) -> bool {
        (self.effect.is_empty() || self.effect == effect)
            && (self.key == key || (self.key.is_empty() && self.exists))
            && (self.exists || self.value == value)
    }
}

impl PodTerm {
    fn of(term: &Value, namespace: &str, pod: &Value) -> Self {
        let named: Vec<String> = items(&term["namespaces"]).map(|name| text(name).to_owned()).collect();
        // A selector of namespaces is read as every namespace: their labels are not looked at.
        let namespaces = if !term["namespaceSelector"].is_null() {
            Vec::new()
        } else if named.is_empty() {
            vec![namespace.to_owned()]
        } else {
            named
        };
        let selector = with_keys(&term["labelSelector"], &term["matchLabelKeys"], pod);
        Self { selector, namespaces, topology: text(&term["topologyKey"]).to_owned() }
    }

    /// Whether it means a pod with these labels.
    pub(super) fn means(&self, namespace: &str, labels: &Value) -> bool {
        (self.namespaces.is_empty() || self.namespaces.iter().any(|known| known == namespace))
            && self.selector.matches_by(|key| labels[key].as_str())
    }
}

impl Spread {
    fn of(rule: &Value, pod: &Value) -> Self {
        Self {
            skew_max: number(&rule["maxSkew"]).max(1),
            topology: text(&rule["topologyKey"]).to_owned(),
            selector: with_keys(&rule["labelSelector"], &rule["matchLabelKeys"], pod),
            hard: rule["whenUnsatisfiable"] != "ScheduleAnyway",
            places_min: number(&rule["minDomains"]).max(1),
        }
    }
}

/// A selector that also asks for the pod's own value of some labels.
fn with_keys(labels: &Value, keys: &Value, pod: &Value) -> Selector {
    let mut labels = labels.clone();
    for key in items(keys).map(text) {
        if let Some(value) = object::label(pod, key) {
            labels["matchLabels"][key] = value.into();
        }
    }
    selector(&labels)
}
