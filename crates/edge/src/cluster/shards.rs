//! Values that each thread has for itself, so that threads do not wait for each other's cache lines.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// A `T` for each thread, on cache lines of its own. Where there are very many threads, some share one.
#[derive(Debug)]
pub(crate) struct Shards<T>(Box<[Line<T>]>);

#[derive(Debug, Default)]
#[repr(align(64))]
struct Line<T>(T);

/// Enough that few threads share a line, few enough that a thousand services take half a MiB.
pub(crate) const SHARDS_MAX: usize = 8;

impl<T: Default> Default for Shards<T> {
    fn default() -> Self {
        static CORES: OnceLock<usize> = OnceLock::new();
        let cores =
            *CORES.get_or_init(|| std::thread::available_parallelism().map_or(1, |cores| cores.get()));
        Self((0..cores.min(SHARDS_MAX)).map(|_| Line::default()).collect())
    }
}

impl<T> Shards<T> {
    /// That of this thread.
    pub(crate) fn own(&self) -> &T {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        thread_local! {
            static INDEX: usize = NEXT.fetch_add(1, Relaxed);
        }
        let index = INDEX.try_with(|index| *index).unwrap_or_default();
        &self.0[index % self.0.len()].0
    }

    /// Those of all threads.
    pub(crate) fn all(&self) -> impl Iterator<Item = &T> {
        self.0.iter().map(|line| &line.0)
    }
}
