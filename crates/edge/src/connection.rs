//! What the parts of one connection tell each other: the socket, the HTTP parser's driver, its requests.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use http::uri::Scheme;

use crate::limits::Limit;
use crate::metrics::Counter;
use crate::routes::Entry;
use crate::worker::{Tick, Worker};

/// One connection. All its users are on one thread; the numbers are atomic only so that it can be shared.
pub(crate) struct Connection {
    pub(crate) worker: Arc<Worker>,
    pub(crate) entry: Entry,
    pub(crate) peer: SocketAddr,
    pub(crate) scheme: Scheme,
    pub(crate) protocol: Protocol,
    /// Request heads that the parser has handed over.
    heads: Counter,
    /// The first request that must be refused for its framing, counted from 1.
    ambiguous: Counter,
    in_flight: Counter,
    /// Requests that ended early because the client went away.
    cancelled: Counter,
    idle_since: AtomicU64,
    head_since: AtomicU64,
    blocked_since: AtomicU64,
    ending: AtomicU64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    Http1,
    Http2,
}

/// How a connection must end, from the mildest to the hardest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u64)]
pub(crate) enum Ending {
    /// When all is said.
    Close,
    /// After reading for a while what the client still sends, so that it gets the response.
    Linger,
    /// At once and visibly broken: a response was cut short.
    Reset,
}

/// How long idle connections stay open after a drain began: a request that was under way when it began
/// arrives within this, and is answered with `connection: close`. Longer than the round trip of most clients.
pub(crate) const DRAIN_IDLE: Duration = Duration::from_millis(200);

impl Connection {
    pub(crate) fn new(
        worker: Arc<Worker>,
        entry: Entry,
        peer: SocketAddr,
        scheme: Scheme,
        protocol: Protocol,
    ) -> Self {
        let now = worker.now();
        Self {
            worker,
            entry,
            peer,
            scheme,
            protocol,
            heads: Counter::default(),
            ambiguous: Counter::default(),
            in_flight: Counter::default(),
            cancelled: Counter::default(),
            idle_since: AtomicU64::new(now),
            head_since: AtomicU64::new(0),
            blocked_since: AtomicU64::new(0),
            ending: AtomicU64::new(Ending::Close as u64),
        }
    }

    /// Counts a request head that the parser has handed over; whether its framing was ambiguous.
    pub(crate) fn take_head(&self) -> bool {
        self.heads.add(1);
        self.ambiguous.get() == self.heads.get()
    }

    /// Marks the request (counted from 0) whose framing is ambiguous.
    pub(crate) fn mark_ambiguous(&self, request: u64) {
        self.ambiguous.add((request + 1).saturating_sub(self.ambiguous.get()));
    }

    pub(crate) fn request_begins(&self) {
        self.in_flight.add(1);
        self.worker.metrics.in_flight.add(1);
    }

    pub(crate) fn request_ends(&self, at: Tick, was_cancelled: bool) {
        self.in_flight.subtract(1);
        self.worker.metrics.in_flight.subtract(1);
        self.cancelled.add(u64::from(was_cancelled));
        self.idle_since.store(at, Relaxed);
    }

    /// Starts the idle time anew.
    pub(crate) fn touch(&self) {
        self.idle_since.store(self.worker.now(), Relaxed);
    }

    /// Whether the client resets more streams than it may.
    pub(crate) fn resets_too_often(&self) -> bool {
        let completed = self.heads.get().saturating_sub(self.cancelled.get());
        self.cancelled.get() > completed.saturating_add(self.worker.limits.h2_resets)
    }

    /// Notes whether the bytes read so far end inside of a request head.
    pub(crate) fn set_in_head(&self, in_head: bool) {
        match (in_head, self.head_since.load(Relaxed)) {
            (true, 0) => self.head_since.store(self.worker.now(), Relaxed),
            (false, 1..) => self.head_since.store(0, Relaxed),
            (true, 1..) | (false, 0) => {}
        }
    }

    /// Whether a request head has begun and not ended.
    pub(crate) fn is_in_head(&self) -> bool {
        self.head_since.load(Relaxed) != 0
    }

    /// Notes whether the client takes what is written.
    pub(crate) fn set_blocked(&self, blocked: bool) {
        match (blocked, self.blocked_since.load(Relaxed)) {
            (true, 0) => self.blocked_since.store(self.worker.now(), Relaxed),
            (false, 1..) => self.blocked_since.store(0, Relaxed),
            (true, 1..) | (false, 0) => {}
        }
    }

    pub(crate) fn ending(&self) -> Ending {
        match self.ending.load(Relaxed) {
            0 => Ending::Close,
            1 => Ending::Linger,
            _ => Ending::Reset,
        }
    }

    /// Asks for at least this ending.
    pub(crate) fn end_with(&self, ending: Ending) {
        if ending > self.ending() {
            self.ending.store(ending as u64, Relaxed);
        }
    }

    /// The next deadline, and the limit that is hit when it passes.
    pub(crate) fn due(&self) -> Option<(Tick, Limit)> {
        let limits = &self.worker.limits;
        let after = |since: Tick, wait: Duration| since.saturating_add(wait.as_nanos() as u64);
        let blocked = match self.blocked_since.load(Relaxed) {
            0 => None,
            since => Some((after(since, limits.write_stall), Limit::WriteStall)),
        };
        if self.in_flight.get() > 0 {
            return blocked;
        }
        let idle_since = self.idle_since.load(Relaxed);
        let idle = match (self.head_since.load(Relaxed), self.worker.drain_since()) {
            (0, 0) if self.heads.get() > 0 => (after(idle_since, limits.keep_alive), Limit::KeepAlive),
            (0, 0) => (after(idle_since, limits.header_read), Limit::HeaderRead),
            (0, drain) => (after(idle_since.max(drain), DRAIN_IDLE), Limit::KeepAlive),
            (head, _) => (after(head.max(idle_since), limits.header_read), Limit::HeaderRead),
        };
        Some(blocked.map_or(idle, |blocked| blocked.min(idle)))
    }
}
