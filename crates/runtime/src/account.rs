//! What one request has used so far, shared between the edge that reports it and the runtime that measures it; and
//! the trace that it is part of.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use http::Request;
use http::uri::Scheme;

use crate::{Body, Call, TraceContext};

/// Counters of one request. The runtime adds, the edge reads when the response has ended.
#[derive(Debug, Default)]
pub struct Account {
    queue_ns: AtomicU64,
    instantiate_ns: AtomicU64,
    on_core_ns: AtomicU64,
    memory_bytes_peak: AtomicU64,
    trace: Option<TraceContext>,
    hops: u8,
    given_back: Mutex<Option<Box<GivenBack>>>,
}

/// A request that came back, with its context but for the account, which holds it.
#[derive(Debug)]
struct GivenBack {
    request: Request<Body>,
    id: u64,
    scheme: Scheme,
    peer: SocketAddr,
    received: Instant,
}

impl Usage {
    /// On the core after instantiation: the guest itself and its host calls.
    pub fn guest(&self) -> Duration {
        self.on_core.saturating_sub(self.instantiate)
    }
}

/// A reading of an [`Account`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// From the call of `invoke` until work on the request began.
    pub queue: Duration,
    /// Making the store and the instance.
    pub instantiate: Duration,
    /// On the core for this request: instantiation, guest code and the host calls it makes.
    pub on_core: Duration,
    /// Largest linear memory of the instance, in bytes.
    pub memory_bytes_peak: u64,
}

impl Account {
    /// The account of a request that is part of a trace; [`Account::default`] is that of one that is not.
    pub fn traced(trace: Option<TraceContext>) -> Self {
        Self { trace, ..Self::default() }
    }

    /// The account of a request that a workload made, itself on behalf of one with `hops` before it.
    pub fn of_hop(trace: Option<TraceContext>, hops: u8) -> Self {
        Self { trace, hops: hops.saturating_add(1), ..Self::default() }
    }

    /// How many workloads this request came through before this one; see [`crate::HOPS_MAX`].
    pub fn hops(&self) -> u8 {
        self.hops
    }

    /// The parent of what is done for this request elsewhere: its own span where traces are recorded, else
    /// whatever the client named.
    pub fn trace(&self) -> Option<TraceContext> {
        self.trace
    }

    /// Records how long the request waited.
    pub fn set_queue(&self, waited: Duration) {
        self.queue_ns.store(nanos(waited), Relaxed);
    }

    /// Adds time that making an instance took, or bringing one back to its first state.
    pub fn add_instantiate(&self, took: Duration) {
        self.instantiate_ns.fetch_add(nanos(took), Relaxed);
    }

    /// Records the time on the core so far.
    pub fn set_on_core(&self, used: Duration) {
        self.on_core_ns.store(nanos(used), Relaxed);
    }

    /// Raises the memory peak to `bytes`, if it is higher.
    pub fn raise_memory(&self, bytes: u64) {
        self.memory_bytes_peak.fetch_max(bytes, Relaxed);
    }

    /// The request and its context, if [`Call::give_back`] was called.
    pub fn take_back(self: &Arc<Self>) -> Option<(Request<Body>, Call)> {
        let given = self.given_back.lock().unwrap_or_else(PoisonError::into_inner).take()?;
        let GivenBack { request, id, scheme, peer, received } = *given;
        Some((request, Call { id, scheme, peer, received, account: Arc::clone(self) }))
    }

    /// The counters as they stand.
    pub fn usage(&self) -> Usage {
        Usage {
            queue: Duration::from_nanos(self.queue_ns.load(Relaxed)),
            instantiate: Duration::from_nanos(self.instantiate_ns.load(Relaxed)),
            on_core: Duration::from_nanos(self.on_core_ns.load(Relaxed)),
            memory_bytes_peak: self.memory_bytes_peak.load(Relaxed),
        }
    }
}

impl Call {
    /// Gives the request back as it came. A runtime does so before it fails it with
    /// [`crate::FailureKind::Overloaded`], for whoever knows of another replica: so nobody needs a copy of each request.
    pub fn give_back(self, request: Request<Body>) {
        let Self { id, scheme, peer, received, account } = self;
        let given = GivenBack { request, id, scheme, peer, received };
        *account.given_back.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(given));
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
