//! The routes of a cluster: from its objects to the table that requests are found a way in.
//!
//! Facts are read from each object when it changes (`facts`, `options`); a pure function makes a plan of all of them
//! (`plan`), and the plan a table (`table`, `hosts`). Where the replicas of a Service are is kept beside the
//! table (`backend`): it changes with every pod, and then costs what this one Service costs, however many
//! there are. The way of a request to one of them is in `send`; how that one is chosen and when another is tried, in
//! `choose` and `budget`.

mod backend;
mod bounded;
mod budget;
mod choose;
mod facts;
mod hosts;
mod options;
mod plan;
mod refuse;
mod send;
mod shards;
mod stats;
mod table;
#[cfg(test)]
mod tests;
mod watched;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;
use serde_json::Value;
use shoal_runtime::{Endpoints, Invoke, Mesh};

pub(crate) use self::backend::Backend;
use self::backend::Places;
pub(crate) use self::facts::said;
use self::facts::{Class, Ingress, Key, Secret, Service, ServiceKind, Slice};
use self::plan::{Facts, Plan, plan};
pub(crate) use self::send::Target;
pub(crate) use self::stats::{CLASSES, Counted};
pub(crate) use self::table::Table;
use self::watched::Watched;
use crate::routes::{self, Routes};
use crate::tls::{CertificateError, Certificates, Names};

/// The routes of a cluster, kept as its objects say. Clones are one.
#[derive(Clone)]
pub struct Cluster(Arc<Shared>);

struct Shared {
    routes: Routes,
    certificates: Arc<Certificates>,
    settings: Settings,
    world: Mutex<World>,
}

/// What the routes of this node depend on beside objects.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The replicas of this process.
    pub endpoints: Endpoints,
    /// The name of this node, as pods have it.
    pub node: String,
    /// Ports of this node that no Service gets, since the edge or the API serve on them.
    pub taken: BTreeSet<u16>,
    /// Where clients find the listener with TLS, for redirects.
    pub https_port: u16,
}

/// The kinds of objects that routes are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// `v1`.
    Service,
    /// `discovery.k8s.io/v1`.
    EndpointSlice,
    /// `networking.k8s.io/v1`.
    Ingress,
    /// `networking.k8s.io/v1`.
    IngressClass,
    /// `v1`, those of type `kubernetes.io/tls`; others do no harm.
    Secret,
}

#[derive(Default)]
struct World {
    watched: HashMap<Kind, Watched>,
    facts: Facts,
    slices: BTreeMap<Key, Slice>,
    /// The slices of each Service.
    slices_of: BTreeMap<Key, BTreeSet<Key>>,
    backends: BTreeMap<Key, Arc<Backend>>,
    plan: Plan,
    /// Services whose replicas have changed since the last commit.
    moved: BTreeSet<Key>,
    /// Something else has.
    is_stale: bool,
}

/// An object whose status says at which address it is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Publication {
    pub(crate) kind: Kind,
    pub(crate) namespace: String,
    pub(crate) name: String,
    /// What it says now.
    pub(crate) says: Vec<String>,
    /// Ports of the node that must be open before it may say so. None: it never may.
    pub(crate) ports: Option<BTreeSet<u16>>,
}

impl Cluster {
    /// A cluster without objects: every request is answered 404.
    ///
    /// # Errors
    /// When the machine cannot make the key for names without a certificate.
    pub fn new(settings: Settings) -> Result<Self, CertificateError> {
        let certificates = Arc::new(Certificates::self_signed(&[])?);
        let mut world = World { is_stale: true, ..World::default() };
        let table = world.commit(&settings).expect("a new world is stale").0;
        let routes = Routes::new(routes::Table::Cluster(Box::new(table)));
        Ok(Self(Arc::new(Shared { routes, certificates, settings, world: Mutex::new(world) })))
    }

    /// What an edge serves.
    pub fn routes(&self) -> Routes {
        self.0.routes.clone()
    }

    /// For a listener with TLS: presents to each client the certificate of the name that it asks for, and one
    /// signed by itself where there is none.
    pub fn certificates(&self) -> Arc<Certificates> {
        self.0.certificates.clone()
    }

    /// The way of guests to the Services of this cluster.
    pub fn mesh(&self) -> Arc<dyn Mesh> {
        Arc::new(Inside(self.0.routes.clone()))
    }

    /// These are all objects of a kind. Says nothing to requests until [`Cluster::commit`]. Objects that are
    /// the same allocation as before are not looked at, so this is cheap after small changes, when `objects` is
    /// ordered by namespace and name.
    pub fn set(&self, kind: Kind, objects: Vec<Arc<Value>>) {
        let world = &mut *self.0.world.lock();
        for (key, object) in world.watched.entry(kind).or_default().replace(objects) {
            world.change(kind, key, object.as_deref());
        }
    }

    /// Requests see from now on what was set. Requests in flight stay where they are. Costs nothing when nothing
    /// has changed.
    pub fn commit(&self) {
        let Shared { routes, certificates, settings, world } = &*self.0;
        let world = &mut *world.lock();
        if let Some((table, names)) = world.commit(settings) {
            routes.set(table, world.backends.values().cloned().collect());
            certificates.set_names(names);
        }
    }

    /// What is wrong with objects: `Kind namespace/name`, and a sentence. Known after [`Cluster::commit`].
    pub fn problems(&self) -> BTreeSet<(String, String)> {
        self.0.world.lock().plan.problems.clone()
    }

    /// The routes as text, for people.
    pub fn describe(&self) -> String {
        self.0.world.lock().plan.to_string()
    }

    /// The ports of this node that Services have.
    pub(crate) fn ports(&self) -> BTreeSet<u16> {
        self.0.world.lock().plan.ports.keys().copied().collect()
    }

    /// The objects whose status names addresses of this edge.
    pub(crate) fn publications(&self) -> Vec<Publication> {
        self.0.world.lock().publications()
    }
}

impl World {
    fn change(&mut self, kind: Kind, key: Key, object: Option<&Value>) {
        let facts = &mut self.facts;
        let differs = match kind {
            Kind::EndpointSlice => return self.change_slice(key, object),
            Kind::Service => {
                let service = object.map(Service::of);
                let differs = put(&mut facts.services, key.clone(), service, Service::routes_as);
                if differs {
                    // Its affinity is part of where its requests go.
                    self.moved.insert(key);
                }
                differs
            }
            Kind::Ingress => put(&mut facts.ingresses, key, object.map(Ingress::of), Ingress::routes_as),
            Kind::IngressClass => put(&mut facts.classes, key, object.map(Class::of), Class::eq),
            Kind::Secret => {
                let object = object.filter(|object| object["type"] == "kubernetes.io/tls");
                put(&mut facts.secrets, key, object.map(Secret::of), Secret::is_same)
            }
        };
        self.is_stale |= differs;
    }

    fn change_slice(&mut self, key: Key, object: Option<&Value>) {
        let slice = object.map(Slice::of);
        if self.slices.get(&key) == slice.as_ref() {
            return;
        }
        let service = |slice: &Slice| (key.0.clone(), slice.service.clone());
        if let Some(before) = self.slices.get(&key) {
            let service = service(before);
            if let Some(slices) = self.slices_of.get_mut(&service) {
                slices.remove(&key);
            }
            self.moved.insert(service);
        }
        match slice {
            None => drop(self.slices.remove(&key)),
            Some(slice) => {
                let service = service(&slice);
                self.slices_of.entry(service.clone()).or_default().insert(key.clone());
                self.moved.insert(service);
                self.slices.insert(key, slice);
            }
        }
    }

    /// Makes what has changed anew: replicas in place; the table and certificates, if they have, come back.
    fn commit(&mut self, settings: &Settings) -> Option<(Table, Names)> {
        let remade = std::mem::take(&mut self.is_stale).then(|| {
            self.plan = plan(&self.facts, &settings.taken);
            let (backends, before) = (&mut BTreeMap::new(), &mut self.backends);
            let moved = &mut self.moved;
            let table = Table::of(&self.plan, &self.facts.services, settings.https_port, |key: &Key| {
                let find = || {
                    before.remove(key).unwrap_or_else(|| {
                        moved.insert(key.clone());
                        Arc::new(Backend::new(&key.0, &key.1))
                    })
                };
                backends.entry(key.clone()).or_insert_with(find).clone()
            });
            self.backends = std::mem::take(backends);
            (table, self.names())
        });
        for key in std::mem::take(&mut self.moved) {
            self.place(&key, settings);
        }
        remade
    }

    /// Tells a Service where its replicas are.
    fn place(&mut self, key: &Key, settings: &Settings) {
        if self.slices_of.get(key).is_some_and(BTreeSet::is_empty) {
            self.slices_of.remove(key);
        }
        let Some(backend) = self.backends.get(key) else { return };
        let keys = self.slices_of.get(key).into_iter().flatten();
        let slices: Vec<&Slice> = keys.filter_map(|key| self.slices.get(key)).collect();
        let has_affinity = self.facts.services.get(key).is_some_and(|service| service.has_affinity);
        backend.set(Places::of_slices(&slices, has_affinity, &settings.endpoints, &settings.node));
    }

    fn names(&self) -> Names {
        let key = |secret: &Key| self.facts.secrets.get(secret)?.0.as_ref().ok().cloned();
        let names = self.plan.certificates.iter();
        names.filter_map(|(host, secret)| Some((host.clone(), key(secret)?))).collect()
    }

    fn publications(&self) -> Vec<Publication> {
        let publication = |kind, (namespace, name): &Key, says: &Vec<String>, ports| Publication {
            kind,
            namespace: namespace.clone(),
            name: name.clone(),
            says: says.clone(),
            ports,
        };
        let ingresses = self.plan.ingresses.iter().filter_map(|key| {
            let ingress = self.facts.ingresses.get(key)?;
            Some(publication(Kind::Ingress, key, &ingress.published, Some(BTreeSet::new())))
        });
        let services = self.facts.services.iter().filter_map(|(key, service)| {
            let numbers: BTreeSet<u16> = service.ports.iter().map(|port| port.number).collect();
            let is_its_own = |number| self.plan.ports.get(number).is_some_and(|port| port.service == *key);
            let is_balanced = service.kind == ServiceKind::LoadBalancer;
            // One that another has, or that is no TCP, is never open.
            let is_possible = is_balanced && !numbers.is_empty() && numbers.iter().all(is_its_own);
            let is_told = is_balanced
                || (service.kind != ServiceKind::ForeignBalancer && !service.published.is_empty());
            is_told
                .then(|| publication(Kind::Service, key, &service.published, is_possible.then_some(numbers)))
        });
        ingresses.chain(services).collect()
    }
}

/// Takes note of what an object says now. Whether it differs from what it said before.
fn put<T>(map: &mut BTreeMap<Key, T>, key: Key, now: Option<T>, is_same: impl Fn(&T, &T) -> bool) -> bool {
    let differs = match (map.get(&key), &now) {
        (None, None) => false,
        (Some(before), Some(now)) => !is_same(before, now),
        (None, Some(_)) | (Some(_), None) => true,
    };
    match now {
        Some(now) => drop(map.insert(key, now)),
        None => drop(map.remove(&key)),
    }
    differs
}

/// The Services of a cluster, for its guests.
struct Inside(Routes);

impl Mesh for Inside {
    fn service(&self, namespace: &str, host: &str, port: u16) -> Option<Arc<dyn Invoke>> {
        match &**self.0.now() {
            routes::Table::Cluster(table) => table.service(namespace, host, port),
            routes::Table::One(_) => None,
        }
    }
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cluster").field("settings", &self.0.settings).finish_non_exhaustive()
    }
}
