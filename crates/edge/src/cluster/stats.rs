//! What is counted of each service, spread over a few cache lines so that threads do not wait for each other.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

/// The counters of one service.
#[derive(Debug)]
pub(crate) struct Stats(Box<[Shard]>);

/// The counters of some threads: one cache line.
#[derive(Debug, Default)]
#[repr(align(64))]
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

/// Enough that few threads share a line, few enough that a thousand services take half a MiB.
const SHARDS_MAX: usize = 8;

impl Default for Stats {
    fn default() -> Self {
        static CORES: OnceLock<usize> = OnceLock::new();
        let cores =
            *CORES.get_or_init(|| std::thread::available_parallelism().map_or(1, |cores| cores.get()));
        Self((0..cores.min(SHARDS_MAX)).map(|_| Shard::default()).collect())
    }
}

impl Stats {
    /// Counts a request that begins.
    pub(crate) fn begins(&self) {
        self.shard().requests.fetch_add(1, Relaxed);
    }

    /// Counts the head of its answer, or that there was none.
    pub(crate) fn ends(&self, status: Option<u16>, took: Duration) {
        let class = match status {
            None => CLASSES.len() - 1,
            Some(status) => usize::from(status / 100).saturating_sub(2).min(CLASSES.len() - 2),
        };
        let shard = self.shard();
        shard.classes[class].fetch_add(1, Relaxed);
        shard.answer_ns.fetch_add(took.as_nanos() as u64, Relaxed);
    }

    /// Counts a try again.
    pub(crate) fn retries(&self) {
        self.shard().retries.fetch_add(1, Relaxed);
    }

    /// All of it.
    pub(crate) fn read(&self) -> Counted {
        let mut sum = Counted::default();
        for shard in &self.0 {
            sum.requests += shard.requests.load(Relaxed);
            sum.retries += shard.retries.load(Relaxed);
            sum.answer += Duration::from_nanos(shard.answer_ns.load(Relaxed));
            for (sum, class) in sum.classes.iter_mut().zip(&shard.classes) {
                *sum += class.load(Relaxed);
            }
        }
        sum
    }

    fn shard(&self) -> &Shard {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        thread_local! {
            static INDEX: usize = NEXT.fetch_add(1, Relaxed);
        }
        let index = INDEX.try_with(|index| *index).unwrap_or_default();
        &self.0[index % self.0.len()]
    }
}

#[cfg(test)]
mod tests {
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
