//! The nodes, and what runs on each, kept from one plan to the next.
//!
//! It is a memory of the objects and nothing else: what has changed is found by comparing pointers, and read again.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use serde_json::Value;
use shoal_api::object;
use shoal_api::time::Moment;

use super::amount::Amount;
use super::ask::{Ask, Port};
use crate::controllers::pods::{created, has_ended};
use crate::known::{NODE, POD};
use crate::snapshot::{Snapshot, is_deleted, items, text};

/// A node, and what it has left.
pub(super) struct Node {
    object: Arc<Value>,
    pub(super) name: String,
    pub(super) allocatable: Amount,
    pub(super) used: Amount,
    pub(super) unschedulable: bool,
    /// Key, value and effect.
    pub(super) taints: Vec<(String, String, String)>,
    pub(super) ports: Vec<Port>,
    /// How many pods of each owner it has.
    pub(super) siblings: HashMap<String, i64>,
    /// How many pods of each priority it has.
    pub(super) priorities: BTreeMap<i64, i64>,
}

/// A pod, and what it asks for.
pub(super) struct Pod {
    pub(super) object: Arc<Value>,
    pub(super) ask: Arc<Ask>,
    /// Where it runs.
    pub(super) node: Option<usize>,
    /// Whether it waits for a node, and which place it has among those that do: the least goes first.
    pub(super) waits: Option<Turn>,
    /// In which plan it was last seen.
    seen: u64,
}

/// The more urgent go first, then the older, then by namespace and name.
pub(super) type Turn = (Reverse<i64>, Moment, String, String);

/// All of it.
#[derive(Default)]
pub(super) struct Cluster {
    pub(super) nodes: Vec<Node>,
    places: HashMap<String, usize>,
    /// By the address of the object, which is held.
    pub(super) pods: HashMap<usize, Pod>,
    classes: HashMap<Vec<u8>, Arc<Ask>>,
    plans: u64,
}

impl Node {
    fn of(object: Arc<Value>) -> Self {
        let taint = |taint: &Value| {
            let part = |field: &str| text(&taint[field]).to_owned();
            (part("key"), part("value"), part("effect"))
        };
        Self {
            name: object::name(&object).to_owned(),
            allocatable: Amount::allocatable(&object),
            used: Amount::default(),
            unschedulable: object["spec"]["unschedulable"] == true,
            taints: items(&object["spec"]["taints"]).map(taint).collect(),
            ports: Vec::new(),
            siblings: HashMap::new(),
            priorities: BTreeMap::new(),
            object,
        }
    }

    /// What the node is called besides.
    pub(super) fn labels(&self) -> &Value {
        &self.object["metadata"]["labels"]
    }

    /// A pod comes (1) or goes (-1).
    pub(super) fn count(&mut self, ask: &Ask, sign: i64) {
        self.used.add(&ask.amount, sign);
        for port in &ask.ports {
            if sign > 0 {
                self.ports.push(port.clone());
            } else if let Some(at) = self.ports.iter().position(|known| known == port) {
                self.ports.swap_remove(at);
            }
        }
        if !ask.owner.is_empty() {
            let siblings = self.siblings.entry(ask.owner.clone()).or_default();
            *siblings += sign;
            if *siblings == 0 {
                self.siblings.remove(&ask.owner);
            }
        }
        let pods = self.priorities.entry(ask.priority).or_default();
        *pods += sign;
        if *pods == 0 {
            self.priorities.remove(&ask.priority);
        }
    }

    /// Takes a new version of the object; what runs here stays.
    fn renew(&mut self, object: Arc<Value>) {
        let new = Self::of(object);
        let old = std::mem::replace(self, new);
        self.used = old.used;
        self.ports = old.ports;
        self.siblings = old.siblings;
        self.priorities = old.priorities;
    }
}

impl Cluster {
    /// Brings everything up to the world as it is.
    pub(super) fn refresh(&mut self, world: &dyn Snapshot) {
        self.plans += 1;
        self.refresh_nodes(world.list(&NODE, None));
        for object in world.list(&POD, None) {
            let place = Arc::as_ptr(&object) as usize;
            match self.pods.get_mut(&place) {
                Some(known) => known.seen = self.plans,
                None => self.add(place, object),
            }
        }
        let now = self.plans;
        let gone: Vec<usize> =
            self.pods.iter().filter(|(_, pod)| pod.seen != now).map(|(place, _)| *place).collect();
        for place in gone {
            if let Some(pod) = self.pods.remove(&place)
                && let Some(node) = pod.node
            {
                self.nodes[node].count(&pod.ask, -1);
            }
        }
        if self.classes.len() > 2 * self.pods.len() + 64 {
            self.classes.retain(|_, ask| Arc::strong_count(ask) > 1);
        }
    }

    fn refresh_nodes(&mut self, objects: Vec<Arc<Value>>) {
        let live: Vec<Arc<Value>> = objects.into_iter().filter(|node| !is_deleted(node)).collect();
        let same = live.len() == self.nodes.len()
            && live.iter().zip(&self.nodes).all(|(new, known)| object::name(new) == known.name);
        if same {
            for (at, object) in live.into_iter().enumerate() {
                if !Arc::ptr_eq(&object, &self.nodes[at].object) {
                    self.nodes[at].renew(object);
                }
            }
            return;
        }
        self.nodes = live.into_iter().map(Node::of).collect();
        self.places = self.nodes.iter().enumerate().map(|(at, node)| (node.name.clone(), at)).collect();
        for pod in self.pods.values_mut() {
            pod.node = place_of(&self.places, &pod.object);
            if let Some(at) = pod.node {
                self.nodes[at].count(&pod.ask, 1);
            }
        }
    }

    fn add(&mut self, place: usize, object: Arc<Value>) {
        let class = Ask::class(&object);
        let ask = self.classes.entry(class).or_insert_with(|| Arc::new(Ask::of(&object))).clone();
        let node = place_of(&self.places, &object);
        if let Some(at) = node {
            self.nodes[at].count(&ask, 1);
        }
        let waits = super::waits(&object).then(|| {
            let (namespace, name) = (object::namespace(&object), object::name(&object));
            (Reverse(ask.priority), created(&object), namespace.to_owned(), name.to_owned())
        });
        self.pods.insert(place, Pod { object, ask, node, waits, seen: self.plans });
    }

    /// A pod is taken to run on a node, until that is seen or [`Cluster::forget`] is told.
    pub(super) fn assume(&mut self, place: usize, node: usize) {
        if let Some(pod) = self.pods.get_mut(&place) {
            pod.node = Some(node);
            self.nodes[node].count(&pod.ask, 1);
        }
    }

    /// Takes back what was assumed.
    pub(super) fn forget(&mut self, place: usize) {
        if let Some(pod) = self.pods.get_mut(&place)
            && let Some(node) = pod.node.take()
        {
            self.nodes[node].count(&pod.ask, -1);
        }
    }
}

/// The node on which a pod uses something; none once it has ended.
fn place_of(places: &HashMap<String, usize>, pod: &Value) -> Option<usize> {
    let name = pod["spec"]["nodeName"].as_str().filter(|_| !has_ended(pod))?;
    places.get(name).copied()
}
