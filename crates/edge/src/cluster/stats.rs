//! What is counted of each service, spread over a few cache lines so that threads do not wait for each other.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use super::shards::Shards;

/// The counters of one service.
#[derive(Debug, Default)]
pub(crate) struct Stats(Shards<Shard>);

/// The counters of some threads: one cache line.
#[derive(Debug, Default)]
struct Shard {
    requests: AtomicU64,
    /// By the first digit of the status, from 2; the last for requests that got no answer: the client went.
    classes: [AtomicU64; CLASSES.len()],
    retries: AtomicU64,
    answer_ns: AtomicU64,
}

/// The classes of answers, as metrics name them.
pub(crate) const CLASSES: [&str; 5] = ["2xx", "3xx", "4xx", "5xx", "cancelled"];

/// What was counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counted {
    pub(crate) requests: u64,
    pub(crate) classes: [u64; CLASSES.len()],
    pub(crate) retries: u64,
    pub(crate) answer: Duration,
}

impl Stats {
    /// Counts a request that begins.
    pub(crate) fn begins(&self) {
        self.0.own().requests.fetch_add(1, Relaxed);
    }

    /// Counts the head of its answer, or that there was none.
    pub(crate) fn ends(&self, status: Option<u16>, took: Duration) {
        let class = match status {
            None => CLASSES.len() - 1,
            Some(status) => usize::from(status / 100).saturating_sub(2).min(CLASSES.len() - 2),
        };
        let shard = self.0.own();
        shard.classes[class].fetch_add(1, Relaxed);
        shard.answer_ns.fetch_add(took.as_nanos() as u64, Relaxed);
    }

    /// Counts a try again.
    pub(crate) fn retries(&self) {
        self.0.own().retries.fetch_add(1, Relaxed);
    }

    /// All of it.
    pub(crate) fn read(&self) -> Counted {
        let mut sum = Counted::default();
        for shard in self.0.all() {
            sum.requests += shard.requests.load(Relaxed);
            sum.retries += shard.retries.load(Relaxed);
            sum.answer += Duration::from_nanos(shard.answer_ns.load(Relaxed));
            for (sum, class) in sum.classes.iter_mut().zip(&shard.classes) {
                *sum += class.load(Relaxed);
            }
        }
        sum
    }
}

#[cfg(test)]
mod tests {
    use super::super::shards::SHARDS_MAX;
    use super::*;

    #[test]
    fn what_all_threads_count_adds_up() {
        let stats = Stats::default();
        std::thread::scope(|scope| {
            for _ in 0..2 * SHARDS_MAX {
                scope.spawn(|| {
                    for status in [Some(200), Some(204), Some(308), Some(404), Some(503), Some(199), None] {
                        stats.begins();
                        stats.ends(status, Duration::from_millis(1));
                    }
                    stats.retries();
                });
            }
        });
        let threads = 2 * SHARDS_MAX as u64;
        let counted = Counted {
            requests: 7 * threads,
            classes: [3, 1, 1, 1, 1].map(|count| count * threads),
            retries: threads,
            answer: Duration::from_millis(7 * threads),
        };
        assert_eq!(stats.read(), counted);
    }
}
