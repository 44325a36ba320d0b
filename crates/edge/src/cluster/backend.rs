//! A Service as the edge sends requests to it: its replicas on this node, its limits, its counters.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Instant;

use arc_swap::ArcSwap;
use futures_util::future::BoxFuture;
use http::Request;
use http_body::Body as _;
use shoal_runtime::{Answer, Body, Call, Endpoints, Failure, FailureKind, InFlight, Invoke, Replica};
use tokio::time::timeout;

use super::budget::{Budget, TRIES_MAX};
use super::choose::{Place, Turn, choose};
use super::facts::Slice;
use super::plan::Aim;
use super::stats::Stats;

/// A Service. It stays the same through all versions of the route table.
#[derive(Debug)]
pub(crate) struct Backend {
    /// `namespace/name`.
    pub(crate) name: Arc<str>,
    pub(crate) stats: Stats,
    places: ArcSwap<Places>,
    /// Requests in flight, of those that a limit counts.
    counted: AtomicUsize,
    budget: Budget,
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
struct Chosen {
    in_flight: InFlight,
    invoke: Arc<dyn Invoke>,
    /// Whether another could be tried.
    has_others: bool,
}

/// A Service and the wishes of the route that leads there.
#[derive(Clone, Debug)]
pub(crate) struct Target(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    backend: Arc<Backend>,
    aim: Aim,
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
    fn choose(&self, port: &str, client: IpAddr, not: Option<&Arc<Replica>>) -> Result<Chosen, Failure> {
        let places = self.places.load();
        let of_port = places.of(port);
        let client = places.has_affinity.then_some(client);
        let choose = |places: &[Place]| choose(places, &of_port.turn, client, not);
        match choose(&of_port.ready).or_else(|| choose(&of_port.leaving)) {
            Some((in_flight, invoke)) => {
                Ok(Chosen { in_flight, invoke, has_others: of_port.ready.len() > 1 })
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

impl Target {
    pub(crate) fn new(backend: Arc<Backend>, aim: Aim) -> Self {
        Self(Arc::new(Inner { backend, aim }))
    }

    /// `namespace/name` of the Service.
    pub(crate) fn service(&self) -> &Arc<str> {
        &self.0.backend.name
    }

    /// Largest request body, in bytes, where the route has a wish.
    pub(crate) fn request_body_bytes(&self) -> Option<u64> {
        self.0.aim.options.request_body_bytes
    }
}

impl Invoke for Target {
    fn invoke(&self, request: Request<Body>, call: Call) -> BoxFuture<'static, Answer> {
        Box::pin(answer(self.0.clone(), request, call))
    }
}

async fn answer(target: Arc<Inner>, request: Request<Body>, call: Call) -> Answer {
    let mut counting = Counting::new(&target.backend.stats, call.received);
    let answer = match target.aim.options.timeout {
        None => target.send(request, call).await,
        Some(limit) => timeout(limit, target.send(request, call)).await.unwrap_or_else(|_| {
            let why = format!("service {} did not answer within {limit:?}", target.backend.name);
            Err(Failure::new(FailureKind::Deadline, why))
        }),
    };
    counting.status = Some(match &answer {
        Ok(response) => response.status().as_u16(),
        Err(failure) => failure.kind.status().as_u16(),
    });
    answer
}

impl Inner {
    /// Sends a request to a replica, and to another where the first was full and the request can be sent again.
    async fn send(&self, mut request: Request<Body>, call: Call) -> Answer {
        if let Some(why) = &self.aim.broken {
            return Err(Failure::new(FailureKind::NoEndpoint, why.clone()));
        }
        let room = self.room()?;
        let mut failed: Option<(Arc<Replica>, Failure)> = None;
        for tries in 1.. {
            let not = failed.as_ref().map(|(replica, _)| replica);
            let chosen = self.backend.choose(&self.aim.port, call.peer.ip(), not);
            let Chosen { in_flight, invoke, has_others } = match chosen {
                Ok(chosen) => chosen,
                Err(missing) => return Err(failed.map_or(missing, |(_, failure)| failure)),
            };
            let spare = if has_others && tries < TRIES_MAX { copy(&request) } else { None };
            let work = invoke.invoke(request, call.clone());
            // Its workload can go as soon as its requests have ended; these hold what they need of it.
            drop(invoke);
            let failure = match work.await {
                Ok(response) => return Ok(response.map(|body| body.holding((in_flight, room)))),
                Err(failure) => failure,
            };
            match spare {
                // Nothing has run: it may be sent again whatever its method.
                Some(spare) if failure.kind == FailureKind::Overloaded && self.may_retry() => request = spare,
                _ => return Err(failure),
            }
            failed = Some((in_flight.replica().clone(), failure));
        }
        unreachable!("the last try keeps no copy, and so comes back")
    }

    fn may_retry(&self) -> bool {
        let stats = &self.backend.stats;
        let is_left = self.backend.budget.take(Instant::now(), stats.read().requests);
        if is_left {
            stats.retries();
        }
        is_left
    }

    /// Room for one more request, where they are limited.
    fn room(&self) -> Result<Option<Room>, Failure> {
        let Some(most) = self.aim.options.in_flight else { return Ok(None) };
        let room = Room(self.backend.clone());
        if self.backend.counted.fetch_add(1, Relaxed) < most {
            return Ok(Some(room));
        }
        let why = format!("service {} has the {most} requests in flight that it may have", self.backend.name);
        Err(Failure::new(FailureKind::Busy, why))
    }
}

/// A request that counts against a limit, until it is dropped.
struct Room(Arc<Backend>);

impl Drop for Room {
    fn drop(&mut self) {
        self.0.counted.fetch_sub(1, Relaxed);
    }
}

/// Counts a request however it ends.
struct Counting<'a> {
    stats: &'a Stats,
    received: Instant,
    status: Option<u16>,
}

impl<'a> Counting<'a> {
    fn new(stats: &'a Stats, received: Instant) -> Self {
        stats.begins();
        Self { stats, received, status: None }
    }
}

impl Drop for Counting<'_> {
    fn drop(&mut self) {
        self.stats.ends(self.status, self.received.elapsed());
    }
}

/// The same request once more, if its body is at hand.
fn copy(request: &Request<Body>) -> Option<Request<Body>> {
    let body = match request.body().as_whole() {
        Some(whole) => Body::whole(whole.clone()),
        None if request.body().is_end_stream() => Body::empty(),
        None => return None,
    };
    let mut copy = Request::new(body);
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.version_mut() = request.version();
    *copy.headers_mut() = request.headers().clone();
    Some(copy)
}
