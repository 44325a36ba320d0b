//! What is counted, without a lock: each thread owns its counters, a scrape adds them up.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use http::StatusCode;
use shoal_runtime::FailureKind;

use crate::histogram::Histogram;
use crate::limits::Limit;

/// The counters of one serving thread. Only that thread writes.
#[derive(Debug)]
pub(crate) struct Metrics {
    codes: Box<[Counter; CODES]>,
    failures: [Counter; FailureKind::ALL.len()],
    limits: [Counter; Limit::ALL.len()],
    pub(crate) malformed: Counter,
    pub(crate) panics: Counter,
    pub(crate) connections: Counter,
    pub(crate) connections_open: Counter,
    pub(crate) handshake_errors: Counter,
    pub(crate) in_flight: Counter,
    pub(crate) aborted: Counter,
    pub(crate) bytes_in: Counter,
    pub(crate) bytes_out: Counter,
    pub(crate) log_lines_lost: Counter,
    pub(crate) total: Histogram,
    pub(crate) queue: Histogram,
    pub(crate) instantiate: Histogram,
    pub(crate) guest: Histogram,
    pub(crate) host: Histogram,
}

/// A number with one writer: no locked instruction is needed to add to it.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

/// The first status code, and how many there are.
const FIRST_CODE: u16 = 100;
const CODES: usize = 500;

/// The status of a request whose client went away before the response head, as in other servers' logs.
pub(crate) const CLIENT_CLOSED: u16 = 499;

/// How long a request took, and in what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Timing {
    pub(crate) total: Duration,
    pub(crate) queue: Duration,
    pub(crate) instantiate: Duration,
    pub(crate) guest: Duration,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            codes: Box::new([const { Counter(AtomicU64::new(0)) }; CODES]),
            failures: Default::default(),
            limits: Default::default(),
            malformed: Counter::default(),
            panics: Counter::default(),
            connections: Counter::default(),
            connections_open: Counter::default(),
            handshake_errors: Counter::default(),
            in_flight: Counter::default(),
            aborted: Counter::default(),
            bytes_in: Counter::default(),
            bytes_out: Counter::default(),
            log_lines_lost: Counter::default(),
            total: Histogram::default(),
            queue: Histogram::default(),
            instantiate: Histogram::default(),
            guest: Histogram::default(),
            host: Histogram::default(),
        }
    }
}

impl Metrics {
    pub(crate) fn status(&self, code: u16) {
        if let Some(counter) = self.codes.get(usize::from(code.wrapping_sub(FIRST_CODE))) {
            counter.add(1);
        }
    }

    pub(crate) fn failure(&self, kind: FailureKind) {
        self.failures[kind as usize].add(1);
    }

    pub(crate) fn limit(&self, limit: Limit) {
        self.limits[limit as usize].add(1);
    }

    /// Records how long a request took; in what, only if a workload was asked.
    pub(crate) fn timing(&self, timing: &Timing, was_invoked: bool) {
        self.total.record(timing.total);
        if !was_invoked {
            return;
        }
        self.queue.record(timing.queue);
        self.instantiate.record(timing.instantiate);
        self.guest.record(timing.guest);
        self.host.record(timing.host());
    }

    pub(crate) fn codes(&self) -> impl Iterator<Item = (StatusCode, u64)> {
        self.codes.iter().zip(FIRST_CODE..).filter_map(|(counter, code)| {
            let count = counter.get();
            (count > 0).then(|| StatusCode::from_u16(code).ok().map(|code| (code, count))).flatten()
        })
    }

    pub(crate) fn failures(&self) -> impl Iterator<Item = (FailureKind, u64)> {
        FailureKind::ALL.into_iter().map(|kind| (kind, self.failures[kind as usize].get()))
    }

    pub(crate) fn limits(&self) -> impl Iterator<Item = (Limit, u64)> {
        Limit::ALL.into_iter().map(|limit| (limit, self.limits[limit as usize].get()))
    }
}

impl Counter {
    pub(crate) fn add(&self, more: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(more), Relaxed);
    }

    pub(crate) fn subtract(&self, less: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_sub(less), Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

impl Timing {
    /// What is left of the total: parsing, writing, waiting for the client and for other requests.
    pub(crate) fn host(&self) -> Duration {
        self.total.saturating_sub(self.queue).saturating_sub(self.instantiate).saturating_sub(self.guest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_a_place_of_its_own() {
        let metrics = Metrics::default();
        FailureKind::ALL.into_iter().for_each(|kind| metrics.failure(kind));
        Limit::ALL.into_iter().for_each(|limit| metrics.limit(limit));
        assert!(metrics.failures().all(|(_, count)| count == 1));
        assert!(metrics.limits().all(|(_, count)| count == 1));
    }

    #[test]
    fn codes_at_the_edges_are_counted_and_others_ignored() {
        let metrics = Metrics::default();
        [99, 100, 599, 600].into_iter().for_each(|code| metrics.status(code));
        let counted: Vec<_> = metrics.codes().map(|(code, count)| (code.as_u16(), count)).collect();
        assert_eq!(counted, [(100, 1), (599, 1)]);
    }

    #[test]
    fn host_time_is_what_is_left() {
        let millis = Duration::from_millis;
        let timing = Timing { total: millis(10), queue: millis(1), instantiate: millis(2), guest: millis(3) };
        assert_eq!(timing.host(), millis(4));
        assert_eq!(Timing { guest: millis(30), ..timing }.host(), Duration::ZERO);
    }
}
