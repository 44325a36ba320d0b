//! A Service as the edge sends requests to it: its replicas on this node, its counters.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use arc_swap::ArcSwap;
use shoal_runtime::{Endpoints, Failure, FailureKind, InFlight, Replica, Serving};

use super::budget::Budget;
use super::choose::{Place, Turn, choose};
use super::facts::Slice;
use super::stats::Stats;

/// A Service. It stays the same through all versions of the route table.
#[derive(Debug)]
pub(crate) struct Backend {
    /// `namespace/name`.
    pub(crate) name: Arc<str>,
    pub(crate) stats: Stats,
    places: ArcSwap<Places>,
    /// Requests in flight, of those that a limit counts.
    pub(super) counted: AtomicUsize,
    pub(super) budget: Budget,
}

/// Where its replicas are. Replaced as a whole.
#[derive(Debug, Default)]
pub(crate) struct Places {
    by_port: Vec<(String, OfPort)>,
    /// For ports that no slice names.
    others: OfPort,
    has_affinity: bool,
}

/// The replicas of one port.
#[derive(Debug, Default)]
struct OfPort {
    ready: Vec<Place>,
    /// Those that end and still answer: better than nothing.
    leaving: Vec<Place>,
    /// Nodes that have ready ones, other than this.
    elsewhere: BTreeSet<String>,
    turn: Turn,
}

/// The replica for one request.
pub(super) struct Chosen {
    pub(super) in_flight: InFlight,
    pub(super) serves: Serving,
    /// Whether another could be tried.
    pub(super) has_others: bool,
}

impl Backend {
    pub(crate) fn new(namespace: &str, name: &str) -> Self {
        Self {
            name: format!("{namespace}/{name}").into(),
            stats: Stats::default(),
            places: ArcSwap::default(),
            counted: AtomicUsize::new(0),
            budget: Budget::default(),
        }
    }

    /// Sends requests from now on to these replicas. Requests in flight stay where they are.
    pub(crate) fn set(&self, places: Places) {
        self.places.store(Arc::new(places));
    }

    /// Replicas that serve, on any port.
    pub(crate) fn ready(&self) -> usize {
        let places = self.places.load();
        let ports = places.by_port.iter().map(|(_, port)| port).chain([&places.others]);
        ports
            .map(|port| port.ready.iter().filter(|place| place.replica.is_serving()).count())
            .max()
            .unwrap_or(0)
    }

    /// The replica for a request.
    ///
    /// # Errors
    /// None serves; why, in words for the client.
    pub(super) fn choose(
        &self,
        port: &str,
        client: IpAddr,
        not: Option<&Arc<Replica>>,
    ) -> Result<Chosen, Failure> {
        let places = self.places.load();
        let of_port = places.of(port);
        let client = places.has_affinity.then_some(client);
        let choose = |places: &[Place]| choose(places, &of_port.turn, client, not);
        match choose(&of_port.ready).or_else(|| choose(&of_port.leaving)) {
            Some((in_flight, serves)) => {
                Ok(Chosen { in_flight, serves, has_others: of_port.ready.len() > 1 })
            }
            None => Err(Failure::new(FailureKind::NoEndpoint, of_port.missing(&self.name))),
        }
    }
}

impl Places {
    /// What these slices of a Service say. `node`: the name of this one.
    pub(crate) fn of_slices(
        slices: &[&Slice],
        has_affinity: bool,
        endpoints: &Endpoints,
        node: &str,
    ) -> Self {
        let names: BTreeSet<&String> =
            slices.iter().filter_map(|slice| slice.ports.as_ref()).flatten().collect();
        let of_port = |name: Option<&String>| {
            let has = |slice: &&Slice| match (&slice.ports, name) {
                (None, _) => true,
                (Some(ports), Some(name)) => ports.contains(name),
                (Some(_), None) => false,
            };
            OfPort::of(slices.iter().copied().filter(has), endpoints, node)
        };
        Self {
            by_port: names.iter().map(|name| ((*name).clone(), of_port(Some(name)))).collect(),
            others: of_port(None),
            has_affinity,
        }
    }

    fn of(&self, port: &str) -> &OfPort {
        self.by_port.iter().find(|(name, _)| name == port).map_or(&self.others, |(_, of_port)| of_port)
    }
}

impl OfPort {
    fn of<'a>(slices: impl Iterator<Item = &'a Slice>, endpoints: &Endpoints, node: &str) -> Self {
        let mut of_port = Self::default();
        let mut seen = BTreeSet::new();
        for endpoint in slices.flat_map(|slice| &slice.endpoints) {
            if !(endpoint.is_ready || endpoint.is_leaving) {
                continue;
            }
            if endpoint.uid.is_empty() || (endpoint.node != node && !endpoint.node.is_empty()) {
                if endpoint.is_ready {
                    of_port.elsewhere.insert(endpoint.node.clone());
                }
            // A pod with two addresses is in two slices.
            } else if seen.insert(&endpoint.uid) {
                let place = Place::new(&endpoint.uid, endpoints.replica(&endpoint.uid));
                if endpoint.is_ready { &mut of_port.ready } else { &mut of_port.leaving }.push(place);
            }
        }
        of_port
    }

    /// Why no replica can be asked, in words for the client.
    fn missing(&self, service: &str) -> String {
        if !self.ready.is_empty() {
            return format!("service {service} has no ready endpoint: {} on its way", self.ready.len());
        }
        let nodes: Vec<&str> =
            self.elsewhere.iter().map(String::as_str).filter(|node| !node.is_empty()).collect();
        match nodes.as_slice() {
            [] if self.elsewhere.is_empty() => format!("service {service} has no ready endpoint"),
            [] => format!(
                "service {service} has only endpoints that are no pods, which this edge does not reach"
            ),
            nodes => format!(
                "service {service} has ready endpoints only on {}, which this edge does not reach yet",
                nodes.join(", ")
            ),
        }
    }
}
