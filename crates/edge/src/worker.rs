//! What everything on one serving thread shares.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use crate::access_log::ThreadLog;
use crate::limits::Limits;
use crate::metrics::{Counter, Metrics};
use crate::otlp::Tracer;
use crate::routes::Routes;

/// One serving thread.
pub(crate) struct Worker {
    pub(crate) limits: Limits,
    pub(crate) routes: Routes,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) log: Option<ThreadLog>,
    pub(crate) tracer: Option<Tracer>,
    /// Ends the wait of everyone on this thread once [`Worker::is_draining`] says so.
    pub(crate) drain_begun: CancellationToken,
    drain_since: AtomicU64,
    epoch: Instant,
    index: u64,
    requests: Counter,
}

/// A point in time on one thread: nanoseconds since its start, never zero, so that zero can mean *never*.
pub(crate) type Tick = u64;

/// Bits of a request id that count; those above name the thread.
const ID_COUNT_BITS: u32 = 48;

impl Worker {
    pub(crate) fn new(
        index: usize,
        limits: Limits,
        routes: Routes,
        metrics: Arc<Metrics>,
        log: Option<ThreadLog>,
        tracer: Option<Tracer>,
    ) -> Self {
        Self {
            limits,
            routes,
            metrics,
            log,
            tracer,
            drain_begun: CancellationToken::new(),
            drain_since: AtomicU64::new(0),
            epoch: Instant::now(),
            index: index as u64,
            requests: Counter::default(),
        }
    }

    /// An id that no other request of this process has.
    pub(crate) fn next_id(&self) -> u64 {
        self.requests.add(1);
        (self.index << ID_COUNT_BITS) | self.requests.get()
    }

    pub(crate) fn tick(&self, at: Instant) -> Tick {
        let nanos = at.saturating_duration_since(self.epoch).as_nanos();
        u64::try_from(nanos).unwrap_or(u64::MAX).max(1)
    }

    pub(crate) fn now(&self) -> Tick {
        self.tick(Instant::now())
    }

    pub(crate) fn instant(&self, tick: Tick) -> Instant {
        self.epoch + Duration::from_nanos(tick)
    }

    /// From now on connections are told to close.
    pub(crate) fn begin_drain(&self) {
        self.drain_since.store(self.now(), Relaxed);
        self.drain_begun.cancel();
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.drain_since() != 0
    }

    /// When the drain began; zero: it has not.
    pub(crate) fn drain_since(&self) -> Tick {
        self.drain_since.load(Relaxed)
    }
}
