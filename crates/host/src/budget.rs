//! What all guests of a host share: memory, and instances of the pools.
//!
//! Each store is charged for what its guest may write: linear memories and tables as large as they are, and its stack.
//! What a guest could write is what counts, not what it wrote: so no promise is made to one guest that others can break,
//! and the kernel never has to choose a process to end. Instances at rest are charged, too, and go first.
//!
//! No workload has it all: each may have [`SHARE`] times what is left when it has it (the dynamic thresholds of Choudhury and
//! Hahne, 1998). One that takes all it can leaves a ninth to others, two of them leave a seventeenth, and whoever needs
//! little gets it at once, without anybody having to say who may have how much.
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
use crate::engine::Flavour;
use crate::pool::PoolPlan;
use crate::shelf::Shelves;

/// A workload may have so many times what is left for all.
const SHARE: u64 = 8;

/// What all guests of a host may have.
pub(crate) struct Budget {
    memory: Pot,
    /// Instances of each engine.
    sync_instances: Pot,
    async_instances: Pot,
    refused: AtomicU64,
    process: Process,
    /// Where those rest that give way to others.
    shelves: Arc<Shelves>,
}

/// An amount of something that workloads share.
struct Pot {
    max: u64,
    used: AtomicU64,
}

/// What one workload has of it.
pub(crate) struct Share {
    budget: Arc<Budget>,
    flavour: Flavour,
    memory: AtomicU64,
    instances: AtomicU64,
}

/// What one store is charged: an instance, and memory. Given back when it is dropped.
pub(crate) struct Charge {
    share: Arc<Share>,
    bytes: u64,
}

/// A charge was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum OverBudget {
    /// It would fit if others had less.
    #[error("all guests together would have more than {0} of memory (--total-memory)")]
    Together(Bytes),
    /// It would fit if its own workload or others had less.
    #[error("its workload has most of the {0} of memory that all guests together may have (--total-memory)")]
    Share(Bytes),
    /// It would not fit if there were no others.
    #[error("it would have more than the {0} of memory that one workload may have (--total-memory)")]
    Alone(Bytes),
    /// All instances are in use.
    #[error("all {0} instances of the pool are in use")]
    NoInstance(u64),
    /// There are instances left, for other workloads.
    #[error("its workload has most of the {0} instances of the pool")]
    Instances(u64),
}

/// The process has more memory than it may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the process has more than {0} of memory, too near to all there is")]
pub(crate) struct ProcessFull(Bytes);

impl Pot {
    fn new(max: u64) -> Self {
        Self { max, used: AtomicU64::new(0) }
    }

    /// Gives `amount` to someone who has `own` of it, or says whether there would be enough if that were no share.
    fn take(&self, own: &AtomicU64, amount: u64) -> Result<(), bool> {
        let has = own.load(Relaxed).saturating_add(amount);
        let fits = |used: u64| used.checked_add(amount).filter(|used| *used <= self.max);
        let is_shared = |used: &u64| has <= SHARE.saturating_mul(self.max - used);
        let taken = self.used.fetch_update(Relaxed, Relaxed, |used| fits(used).filter(is_shared));
        taken.map_err(|used| fits(used).is_some())?;
        own.fetch_add(amount, Relaxed);
        Ok(())
    }

    fn give_back(&self, own: &AtomicU64, amount: u64) {
        own.fetch_sub(amount, Relaxed);
        self.used.fetch_sub(amount, Relaxed);
    }

    /// The most that one workload can have.
    fn share_max(&self) -> u64 {
        self.max / (SHARE + 1) * SHARE
    }
}

impl Budget {
    /// What `plan` gives; when it is used up, instances on `shelves` are dropped.
    pub(crate) fn new(plan: &PoolPlan, shelves: Arc<Shelves>) -> Arc<Self> {
        let slots = plan.pool.map_or(u64::MAX, |pool| pool.slots.into());
        Arc::new(Self {
            memory: Pot::new(plan.memory_total.0),
            sync_instances: Pot::new(slots),
            async_instances: Pot::new(slots),
            refused: AtomicU64::new(0),
            process: Process::new(plan.memory_process),
            shelves,
        })
    }

    fn instances(&self, flavour: Flavour) -> &Pot {
        match flavour {
            Flavour::Sync => &self.sync_instances,
            Flavour::Async => &self.async_instances,
        }
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
        let (used, max) = (self.memory.used.load(Relaxed), self.memory.max);
        let refused = self.refused.load(Relaxed);
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

    /// Tries to take something; when there is too little, once more without the instances at rest.
    fn take<E>(&self, take: impl Fn() -> Result<(), E>) -> Result<(), E> {
        let taken = take().or_else(|_| {
            self.shelves.clear();
            take()
        });
        taken.inspect_err(|_| {
            self.refused.fetch_add(1, Relaxed);
        })
    }
}

#[cfg(test)]
impl Budget {
    /// A budget of so much memory and so many instances of each engine.
    pub(crate) fn of(memory: Bytes, instances: u64) -> Arc<Self> {
        Arc::new(Self {
            memory: Pot::new(memory.0),
            sync_instances: Pot::new(instances),
            async_instances: Pot::new(instances),
            refused: AtomicU64::new(0),
            process: Process::new(Bytes(u64::MAX)),
            shelves: Shelves::new(4).expect("a thread"),
        })
    }
}

impl Share {
    /// What a workload with this kind of instances has: nothing yet.
    pub(crate) fn new(budget: &Arc<Budget>, flavour: Flavour) -> Arc<Self> {
        let (memory, instances) = (AtomicU64::new(0), AtomicU64::new(0));
        Arc::new(Self { budget: Arc::clone(budget), flavour, memory, instances })
    }

    /// What it is a share of.
    pub(crate) fn budget(&self) -> &Budget {
        &self.budget
    }
}

impl Charge {
    /// A charge for an instance, and for no memory yet.
    pub(crate) fn new(share: &Arc<Share>) -> Result<Self, OverBudget> {
        let pot = share.budget.instances(share.flavour);
        share.budget.take(|| pot.take(&share.instances, 1)).map_err(|has_room| match has_room {
            true => OverBudget::Instances(pot.max),
            false => OverBudget::NoInstance(pot.max),
        })?;
        Ok(Self { share: Arc::clone(share), bytes: 0 })
    }

    /// Charges `bytes` more.
    pub(crate) fn add(&mut self, bytes: u64) -> Result<(), OverBudget> {
        let Share { budget, memory, .. } = &*self.share;
        let pot = &budget.memory;
        budget.take(|| pot.take(memory, bytes)).map_err(|has_room| {
            let max = Bytes(pot.max);
            if self.bytes.saturating_add(bytes) > pot.share_max() {
                OverBudget::Alone(Bytes(pot.share_max()))
            } else if has_room {
                OverBudget::Share(max)
            } else {
                OverBudget::Together(max)
            }
        })?;
        self.bytes += bytes;
        Ok(())
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        let Share { budget, flavour, memory, instances } = &*self.share;
        budget.memory.give_back(memory, self.bytes);
        budget.instances(*flavour).give_back(instances, 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget(memory: u64, instances: u64) -> Arc<Budget> {
        Budget::of(Bytes(memory), instances)
    }

    fn share(budget: &Arc<Budget>) -> Arc<Share> {
        Share::new(budget, Flavour::Sync)
    }

    fn charge(share: &Arc<Share>) -> Charge {
        Charge::new(share).expect("an instance")
    }

    #[test]
    fn a_workload_has_eight_times_what_is_left_and_gives_it_back() {
        let budget = budget(90, u64::MAX);
        let share = share(&budget);
        let (mut one, mut other) = (charge(&share), charge(&share));
        assert_eq!(one.add(60), Ok(()));
        assert_eq!(other.add(20), Ok(()), "exactly eight times the ten that are left");
        assert_eq!(other.add(1), Err(OverBudget::Share(Bytes(90))));
        assert_eq!(other.add(11), Err(OverBudget::Together(Bytes(90))));
        assert_eq!(other.add(61), Err(OverBudget::Alone(Bytes(80))));
        assert_eq!(other.add(u64::MAX), Err(OverBudget::Alone(Bytes(80))), "no overflow");
        drop(one);
        assert_eq!(other.add(60), Ok(()));
        drop(other);
        assert_eq!((budget.memory.used.load(Relaxed), share.memory.load(Relaxed)), (0, 0));
        assert_eq!(budget.refused.load(Relaxed), 4);
    }

    #[test]
    fn whoever_takes_all_it_can_leaves_some_to_others() {
        let budget = budget(1700, u64::MAX);
        let fill = |charge: &mut Charge| {
            while charge.add(1).is_ok() {}
            charge.bytes
        };
        let (mut hog, mut other) = (charge(&share(&budget)), charge(&share(&budget)));
        assert_eq!(fill(&mut hog), 1511);
        assert_eq!(fill(&mut other), 168, "eight ninths of what was left");
        let mut small = charge(&share(&budget));
        assert_eq!(small.add(15), Ok(()));
        drop(hog);
        let mut hog = charge(&share(&budget));
        for _ in 0..100 {
            let _ = hog.add(8);
            let _ = other.add(8);
        }
        assert!(hog.bytes.abs_diff(other.bytes) < 200, "{} and {} are alike", hog.bytes, other.bytes);
    }

    #[test]
    fn instances_are_shared_in_the_same_way() {
        let budget = budget(0, 18);
        let (hog, other) = (share(&budget), share(&budget));
        let held: Vec<_> = std::iter::from_fn(|| Charge::new(&hog).ok()).collect();
        assert_eq!(held.len(), 16);
        assert_eq!(Charge::new(&hog).err(), Some(OverBudget::Instances(18)));
        assert!(Charge::new(&other).is_ok());
        let elsewhere = Share::new(&budget, Flavour::Async);
        assert!(Charge::new(&elsewhere).is_ok(), "another engine has a pool of its own");
        drop(held);
        assert_eq!((budget.sync_instances.used.load(Relaxed), hog.instances.load(Relaxed)), (0, 0));
    }

    #[test]
    fn those_at_rest_give_way() {
        let budget = budget(100, u64::MAX);
        let shelf = budget.shelves.shelf();
        let mut resting = charge(&share(&budget));
        assert_eq!(resting.add(80), Ok(()));
        shelf.put(resting);
        let mut wanted = charge(&share(&budget));
        assert_eq!(wanted.add(21), Ok(()));
        assert!(shelf.take().is_none());
        assert_eq!(budget.refused.load(Relaxed), 0);
    }

    #[test]
    fn a_full_process_refuses_and_says_why() {
        let full = Budget {
            process: Process::new(Bytes(1)),
            ..Arc::into_inner(budget(0, 0)).expect("nobody else's")
        };
        let shelf = full.shelves.shelf();
        shelf.put(1);
        let later = Instant::now() + std::time::Duration::from_secs(1);
        assert_eq!(full.admit(later), Err(ProcessFull(Bytes(1))));
        assert!(shelf.take().is_none(), "those at rest were tried first");
        assert_eq!(full.refused.load(Relaxed), 1);
    }
}
