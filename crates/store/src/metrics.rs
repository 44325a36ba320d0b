//! What a store counts, as Prometheus text.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::{Outcome, Result};

/// Upper bounds of the buckets for times, in microseconds: from a commit on a quick disk to one that is stuck.
const TIMES_US: [u64; 14] = [
    250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000,
    10_000_000,
];

/// Upper bounds of the buckets for how many revisions a watch is behind.
const LAGS: [u64; 7] = [0, 1, 10, 100, 1_000, 10_000, 100_000];

/// Upper bounds of the buckets for transactions in one commit.
const GROUPS: [u64; 9] = [1, 2, 4, 8, 16, 32, 64, 128, 256];

/// The counters of one store.
#[derive(Default)]
pub(crate) struct Metrics {
    pub(crate) committed: AtomicU64,
    pub(crate) conflicts: AtomicU64,
    pub(crate) failed: AtomicU64,
    pub(crate) slow: AtomicU64,
    pub(crate) recoveries: AtomicU64,
    pub(crate) disk_reads: AtomicU64,
    pub(crate) watches_compacted: AtomicU64,
    pub(crate) events: AtomicU64,
    pub(crate) compactions: AtomicU64,
    pub(crate) compaction_us: AtomicU64,
    pub(crate) leases_ended: AtomicU64,
    commit: Histogram<14>,
    group: Histogram<9>,
    lag: Histogram<7>,
}

/// What is read off a store at the moment it is asked: name, help, value.
pub(crate) type Gauge = (&'static str, &'static str, u64);

impl Metrics {
    /// A commit of so many transactions took so long.
    pub(crate) fn commit_took(&self, transactions: usize, took: Duration) {
        self.commit.add(&TIMES_US, u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
        self.group.add(&GROUPS, transactions as u64);
    }

    /// A transaction was answered.
    pub(crate) fn count(&self, result: &Result<Outcome>) {
        let counter = match result {
            Ok(Outcome::Committed(_)) => &self.committed,
            Ok(Outcome::Conflict(_)) => &self.conflicts,
            Err(_) => &self.failed,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Compacting, or cleaning up after it, took so long.
    pub(crate) fn compacting(&self, took: Duration) {
        self.compaction_us.fetch_add(u64::try_from(took.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// A watch was given events, and is so many revisions behind.
    pub(crate) fn delivered(&self, events: usize, lag: u64) {
        self.events.fetch_add(events as u64, Ordering::Relaxed);
        self.lag.add(&LAGS, lag);
    }

    /// Commits so far.
    pub(crate) fn commits(&self) -> u64 {
        self.commit.count()
    }

    /// All of it, for `engine`.
    pub(crate) fn render(&self, engine: &str, gauges: &[Gauge]) -> String {
        let mut text = String::with_capacity(4 << 10);
        for (name, help, value) in gauges {
            line(&mut text, engine, name, "gauge", help, *value);
        }
        for (name, help, counter) in [
            ("transactions_committed_total", "Transactions that happened.", &self.committed),
            ("transactions_conflicted_total", "Transactions that found something else.", &self.conflicts),
            ("transactions_failed_total", "Transactions that ended in an error.", &self.failed),
            (
                "slow_operations_total",
                "Operations that took longer than 200 ms; each is in the log.",
                &self.slow,
            ),
            ("recoveries_total", "Times that the database was opened anew after an error.", &self.recoveries),
            ("history_disk_reads_total", "Reads of history that was not in memory.", &self.disk_reads),
            ("watch_events_total", "Events given to watches.", &self.events),
            (
                "watches_compacted_total",
                "Watches that ended because they were too far behind.",
                &self.watches_compacted,
            ),
            ("compactions_total", "Compactions.", &self.compactions),
            (
                "compaction_us_total",
                "Time in compactions and in cleaning up after them.",
                &self.compaction_us,
            ),
            ("leases_ended_total", "Leases whose time had come.", &self.leases_ended),
        ] {
            line(&mut text, engine, name, "counter", help, counter.load(Ordering::Relaxed));
        }
        let help = "From the first look at the transactions of a commit to the end of its sync.";
        self.commit.render(&mut text, engine, "commit_seconds", help, &TIMES_US, 1e-6);
        self.group.render(
            &mut text,
            engine,
            "commit_transactions",
            "Transactions in a commit.",
            &GROUPS,
            1.0,
        );
        let help = "How many revisions behind the store a watch was after a batch.";
        self.lag.render(&mut text, engine, "watch_lag_revisions", help, &LAGS, 1.0);
        text
    }
}

fn line(text: &mut String, engine: &str, name: &str, kind: &str, help: &str, value: u64) {
    // Writing to a string cannot fail.
    let _ = write!(
        text,
        "# HELP shoal_store_{name} {help}\n# TYPE shoal_store_{name} {kind}\n\
         shoal_store_{name}{{engine=\"{engine}\"}} {value}\n"
    );
}

/// Counts by buckets; the last one is for what is above all bounds.
struct Histogram<const N: usize> {
    buckets: [AtomicU64; N],
    above: AtomicU64,
    sum: AtomicU64,
}

impl<const N: usize> Default for Histogram<N> {
    fn default() -> Self {
        let buckets = std::array::from_fn(|_| AtomicU64::new(0));
        Self { buckets, above: AtomicU64::new(0), sum: AtomicU64::new(0) }
    }
}

impl<const N: usize> Histogram<N> {
    fn add(&self, bounds: &[u64; N], value: u64) {
        let bucket =
            bounds.iter().position(|bound| value <= *bound).map_or(&self.above, |at| &self.buckets[at]);
        bucket.fetch_add(1, Ordering::Relaxed);
        self.sum.fetch_add(value, Ordering::Relaxed);
    }

    fn count(&self) -> u64 {
        let within: u64 = self.buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed)).sum();
        within + self.above.load(Ordering::Relaxed)
    }

    fn render(&self, text: &mut String, engine: &str, name: &str, help: &str, bounds: &[u64; N], unit: f64) {
        let _ = write!(text, "# HELP shoal_store_{name} {help}\n# TYPE shoal_store_{name} histogram\n");
        let mut within = 0;
        #[expect(clippy::cast_precision_loss, reason = "bounds and sums are far below 2^52")]
        let scaled = |value: u64| value as f64 * unit;
        for (bound, bucket) in bounds.iter().zip(&self.buckets) {
            within += bucket.load(Ordering::Relaxed);
            let bound = scaled(*bound);
            let _ =
                writeln!(text, "shoal_store_{name}_bucket{{engine=\"{engine}\",le=\"{bound}\"}} {within}");
        }
        let count = within + self.above.load(Ordering::Relaxed);
        let sum = scaled(self.sum.load(Ordering::Relaxed));
        let _ = writeln!(text, "shoal_store_{name}_bucket{{engine=\"{engine}\",le=\"+Inf\"}} {count}");
        let _ = writeln!(text, "shoal_store_{name}_sum{{engine=\"{engine}\"}} {sum}");
        let _ = writeln!(text, "shoal_store_{name}_count{{engine=\"{engine}\"}} {count}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_holds_what_is_up_to_its_bound() {
        let metrics = Metrics::default();
        metrics.commit_took(2, Duration::from_micros(250));
        metrics.commit_took(300, Duration::from_secs(60));
        let text = metrics.render("sqlite", &[]);
        for line in [
            "shoal_store_commit_seconds_bucket{engine=\"sqlite\",le=\"0.00025\"} 1",
            "shoal_store_commit_seconds_bucket{engine=\"sqlite\",le=\"10\"} 1",
            "shoal_store_commit_seconds_bucket{engine=\"sqlite\",le=\"+Inf\"} 2",
            "shoal_store_commit_transactions_bucket{engine=\"sqlite\",le=\"2\"} 1",
            "shoal_store_commit_transactions_sum{engine=\"sqlite\"} 302",
            "shoal_store_commit_seconds_count{engine=\"sqlite\"} 2",
        ] {
            assert!(text.lines().any(|other| other == line), "{line} in\n{text}");
        }
    }
}
