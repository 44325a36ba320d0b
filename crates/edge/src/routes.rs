//! Phase *route*: which workload answers a request.

use std::fmt;
use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};
use futures_util::future::BoxFuture;
use http::Request;
use http::uri::Scheme;
use parking_lot::Mutex;
use shoal_runtime::{Answer, Body, Call, Invoke};
use tokio::task::JoinHandle;

use crate::cluster::Table as Cluster;
use crate::cluster::{Backend, Target};

/// The route table, shared by all threads and replaced as a whole while they serve: a request sees one table
/// from start to end, and a workload that was replaced finishes the requests that it has.
///
/// It sends every request to one workload, or each to the Service that the objects of a cluster name; see
/// [`crate::Cluster`].
#[derive(Clone)]
pub struct Routes(Arc<Shared>);

struct Shared {
    table: ArcSwap<Table>,
    /// The Services that requests may go to, for metrics.
    services: Mutex<Vec<Arc<Backend>>>,
}

/// One version of the route table.
pub(crate) enum Table {
    /// One workload answers everything.
    One(Arc<dyn Invoke>),
    /// Ingresses and Services decide.
    Cluster(Box<Cluster>),
}

/// By which door a request came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    /// A listener of the configuration.
    Ingress,
    /// A port of the node that a Service has.
    Port(u16),
}

/// Who answers a request.
#[derive(Clone, Copy)]
pub(crate) enum Found<'a> {
    /// Whoever it is, without being a Service.
    Workload(&'a dyn Invoke),
    Service(&'a Target),
}

impl Routes {
    /// Sends every request to this workload.
    pub fn to(workload: Arc<dyn Invoke>) -> Self {
        Self::new(Table::One(workload))
    }

    /// Sends every request from now on to this workload. Requests in flight stay where they are.
    pub fn replace(&self, workload: Arc<dyn Invoke>) {
        self.0.table.store(Arc::new(Table::One(workload)));
    }

    pub(crate) fn new(table: Table) -> Self {
        Self(Arc::new(Shared { table: ArcSwap::from_pointee(table), services: Mutex::default() }))
    }

    /// Uses these routes from now on.
    pub(crate) fn set(&self, table: Cluster, services: Vec<Arc<Backend>>) {
        self.0.table.store(Arc::new(Table::Cluster(Box::new(table))));
        *self.0.services.lock() = services;
    }

    /// The table as it is now.
    pub(crate) fn now(&self) -> Guard<Arc<Table>> {
        self.0.table.load()
    }

    /// The Services that requests may go to.
    pub(crate) fn services(&self) -> Vec<Arc<Backend>> {
        self.0.services.lock().clone()
    }
}

impl Table {
    /// Who answers a request for this host and path that came in by this door.
    pub(crate) fn find(&self, entry: Entry, scheme: &Scheme, host: &str, path: &str) -> Found<'_> {
        match self {
            Self::One(workload) => Found::Workload(workload.as_ref()),
            Self::Cluster(cluster) => cluster.find(entry, scheme, host, path),
        }
    }
}

impl<'a> Found<'a> {
    /// `namespace/name` of the Service, if it is one.
    pub(crate) fn service(&self) -> Option<&'a Arc<str>> {
        match self {
            Self::Workload(_) => None,
            Self::Service(target) => Some(target.service()),
        }
    }

    /// Largest request body, in bytes, where the route has a wish.
    pub(crate) fn request_body_bytes(&self) -> Option<u64> {
        match self {
            Self::Workload(_) => None,
            Self::Service(target) => target.request_body_bytes(),
        }
    }

    /// Has the request answered where the answer is waited for.
    pub(crate) fn invoke(&self, request: Request<Body>, call: Call) -> BoxFuture<'static, Answer> {
        match self {
            Self::Workload(workload) => workload.invoke(request, call),
            Self::Service(target) => target.invoke(request, call),
        }
    }

    /// Has the request answered by a task on this thread.
    pub(crate) fn spawn(&self, request: Request<Body>, call: Call) -> JoinHandle<Answer> {
        match self {
            Self::Workload(workload) => tokio::spawn(workload.invoke(request, call)),
            // Inside of the task, which is one allocation anyway.
            Self::Service(target) => tokio::spawn(target.send(request, call)),
        }
    }
}

impl fmt::Debug for Routes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Routes")
    }
}
