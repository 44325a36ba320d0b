//! The memory of all guests of a host together.
//!
//! Each store is charged for what its guest may write: linear memories and tables as large as they are, and its stack.
//! What a guest could write is what counts, not what it wrote: so no promise is made to one guest that others can break,
//! and the kernel never has to choose a process to end. Instances at rest are charged, too, and go first.
//!
//! A guest can make the host hold more for it (header lists, bodies on their way, handles), each of it within a limit. That
//! is not charged but looked at, as part of what the whole process has: when that is too much, no request is taken and
//! whoever runs is ended.

mod process;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

use shoal_base::units::Bytes;

use self::process::Process;
use crate::shelf::Shelves;

/// What all guests of a host may have.
pub(crate) struct MemoryBudget {
    max_bytes: u64,
    used_bytes: AtomicU64,
    refused: AtomicU64,
    process: Process,
    /// Where those rest that give way to others.
    shelves: Arc<Shelves>,
}

/// What one store is charged; given back when it is dropped.
pub(crate) struct Charge {
    budget: Arc<MemoryBudget>,
    bytes: u64,
}

/// A charge was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum OverBudget {
    /// It would fit if others had less.
    #[error("all guests together would have more than {0} of memory (--total-memory)")]
    Together(Bytes),
    /// It would not fit if there were no others.
    #[error("it would have more than the {0} of memory that all guests together may have (--total-memory)")]
    Alone(Bytes),
}

/// The process has more memory than it may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the process has more than {0} of memory, too near to all there is")]
pub(crate) struct ProcessFull(Bytes);

impl MemoryBudget {
    /// A budget of `max`, in a process that may have `process_max`; when either is used up, instances on `shelves` are
    /// dropped.
    pub(crate) fn new(max: Bytes, process_max: Bytes, shelves: Arc<Shelves>) -> Arc<Self> {
        let (used_bytes, refused) = (AtomicU64::new(0), AtomicU64::new(0));
        Arc::new(Self { max_bytes: max.0, used_bytes, refused, process: Process::new(process_max), shelves })
    }

    /// Refuses a request while the process has too much memory, whoever has it.
    pub(crate) fn admit(&self, now: Instant) -> Result<(), ProcessFull> {
        self.refuse_if(self.process.is_full(now, || self.shelves.clear()))
    }

    /// Ends the guest that runs when the process has too much memory: one after another, as each may be the one that had it.
    pub(crate) fn let_stay(&self, now: Instant) -> Result<(), ProcessFull> {
        self.refuse_if(self.process.must_end_one(now, || self.shelves.clear()))
    }

    fn refuse_if(&self, is_full: bool) -> Result<(), ProcessFull> {
        if is_full {
            self.refused.fetch_add(1, Relaxed);
            return Err(ProcessFull(self.process.max()));
        }
        Ok(())
    }

    /// What guests are charged now against what they may have, as Prometheus text.
    pub(crate) fn metrics(&self) -> String {
        let (used, refused) = (self.used_bytes.load(Relaxed), self.refused.load(Relaxed));
        let max = self.max_bytes;
        format!(
            "# HELP shoal_guest_memory_bytes Memory that guests may write now: linear memories, tables and stacks.\n\
             # TYPE shoal_guest_memory_bytes gauge\n\
             shoal_guest_memory_bytes {used}\n\
             # HELP shoal_guest_memory_max_bytes What it may be for all guests together.\n\
             # TYPE shoal_guest_memory_max_bytes gauge\n\
             shoal_guest_memory_max_bytes {max}\n\
             # HELP shoal_guest_memory_refused_total Requests and growths that were refused, and guests that were \
             ended, because all guests together or the process had too much.\n\
             # TYPE shoal_guest_memory_refused_total counter\n\
             shoal_guest_memory_refused_total {refused}\n"
        )
    }

    fn take(&self, bytes: u64) -> bool {
        let take = |used: u64| used.checked_add(bytes).filter(|used| *used <= self.max_bytes);
        self.used_bytes.fetch_update(Relaxed, Relaxed, take).is_ok()
    }
}

impl Charge {
    /// A charge of nothing yet.
    pub(crate) fn new(budget: &Arc<MemoryBudget>) -> Self {
        Self { budget: Arc::clone(budget), bytes: 0 }
    }

    /// Charges `bytes` more.
    pub(crate) fn add(&mut self, bytes: u64) -> Result<(), OverBudget> {
        let budget = &*self.budget;
        if budget.take(bytes) || {
            budget.shelves.clear();
            budget.take(bytes)
        } {
            self.bytes += bytes;
            return Ok(());
        }
        budget.refused.fetch_add(1, Relaxed);
        let max = Bytes(budget.max_bytes);
        let alone = self.bytes.saturating_add(bytes);
        Err(if alone > max.0 { OverBudget::Alone(max) } else { OverBudget::Together(max) })
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.budget.used_bytes.fetch_sub(self.bytes, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget(max: u64) -> Arc<MemoryBudget> {
        MemoryBudget::new(Bytes(max), Bytes(u64::MAX), Shelves::new(4).expect("a thread"))
    }

    #[test]
    fn charges_fit_up_to_the_budget_itself_and_are_given_back() {
        let budget = budget(100);
        let (mut one, mut other) = (Charge::new(&budget), Charge::new(&budget));
        assert_eq!(one.add(60), Ok(()));
        assert_eq!(other.add(40), Ok(()), "exactly the budget");
        assert_eq!(other.add(1), Err(OverBudget::Together(Bytes(100))));
        drop(one);
        assert_eq!(other.add(60), Ok(()));
        assert_eq!(other.add(1), Err(OverBudget::Alone(Bytes(100))));
        assert_eq!(other.add(u64::MAX), Err(OverBudget::Alone(Bytes(100))), "no overflow");
        drop(other);
        assert_eq!(budget.used_bytes.load(Relaxed), 0);
        assert_eq!(budget.refused.load(Relaxed), 3);
    }

    #[test]
    fn those_at_rest_give_way() {
        let budget = budget(100);
        let shelf = budget.shelves.shelf();
        let mut resting = Charge::new(&budget);
        assert_eq!(resting.add(80), Ok(()));
        shelf.put(resting);
        let mut wanted = Charge::new(&budget);
        assert_eq!(wanted.add(21), Ok(()));
        assert!(shelf.take().is_none());
        assert_eq!(budget.refused.load(Relaxed), 0);
    }

    #[test]
    fn a_full_process_refuses_and_says_why() {
        let budget = MemoryBudget::new(Bytes(0), Bytes(1), Shelves::new(4).expect("a thread"));
        let shelf = budget.shelves.shelf();
        shelf.put(1);
        let later = Instant::now() + std::time::Duration::from_secs(1);
        assert_eq!(budget.admit(later), Err(ProcessFull(Bytes(1))));
        assert!(shelf.take().is_none(), "those at rest were tried first");
        assert_eq!(budget.refused.load(Relaxed), 1);
    }
}
