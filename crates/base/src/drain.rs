//! The one drain of a process: first a wish to end, then one deadline.
//!
//! Whoever spawns work holds a [`Guard`] while it lasts. [`Drain::begin`] tells everyone to take no new
//! work; [`Drain::finish`] waits for the guards, at most until the deadline.

use std::time::Duration;

use tokio_util::sync::{CancellationToken, WaitForCancellationFuture};
use tokio_util::task::task_tracker::{TaskTracker, TaskTrackerToken};

/// Shared by everything that must end together. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Drain {
    begun: CancellationToken,
    work: TaskTracker,
}

/// Held while a piece of work lasts; the drain waits until all are dropped.
#[derive(Debug)]
pub struct Guard(#[expect(dead_code, reason = "held for its drop")] TaskTrackerToken);

/// How a drain ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drained {
    /// All work ended by itself.
    Clean,
    /// The deadline passed with this many pieces of work still running.
    Late {
        /// Pieces of work still running.
        left: usize,
    },
}

impl Drain {
    /// A drain that has not begun.
    pub fn new() -> Self {
        Self::default()
    }

    /// Marks a piece of work as running until the guard is dropped.
    pub fn guard(&self) -> Guard {
        Guard(self.work.token())
    }

    /// Pieces of work now running.
    pub fn running(&self) -> usize {
        self.work.len()
    }

    /// Asks everyone to take no new work. Idempotent.
    pub fn begin(&self) {
        self.begun.cancel();
        self.work.close();
    }

    /// Whether [`Drain::begin`] was called.
    pub fn has_begun(&self) -> bool {
        self.begun.is_cancelled()
    }

    /// Resolves when the drain begins.
    pub fn begun(&self) -> WaitForCancellationFuture<'_> {
        self.begun.cancelled()
    }

    /// Begins the drain and waits for the work to end, at most `deadline`.
    pub async fn finish(&self, deadline: Duration) -> Drained {
        self.begin();
        match tokio::time::timeout(deadline, self.work.wait()).await {
            Ok(()) => Drained::Clean,
            Err(_) => Drained::Late { left: self.work.len() },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_drain_waits_for_its_guards() {
        let drain = Drain::new();
        let guard = drain.guard();
        let work = tokio::spawn(async move {
            tokio::time::sleep(Duration::from_secs(3)).await;
            drop(guard);
        });
        assert_eq!(drain.finish(Duration::from_secs(5)).await, Drained::Clean);
        assert!(drain.has_begun());
        work.await.expect("the work ended");
    }

    #[tokio::test(start_paused = true)]
    async fn a_drain_ends_at_its_deadline_and_counts_what_is_left() {
        let drain = Drain::new();
        let _held = (drain.guard(), drain.guard());
        assert_eq!(drain.finish(Duration::from_secs(5)).await, Drained::Late { left: 2 });
    }
}
