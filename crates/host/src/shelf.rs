//! Instances at rest: those that may answer another request, of all workloads of a host.
//!
//! An instance at rest holds a slot of the pool and the memory that it wrote. So there is a limit for all
//! workloads together, and one that no request wanted for a while is dropped.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::Thread;
use std::time::{Duration, Instant};

/// An instance that no request wanted for between one and two of these is dropped.
const SWEEP: Duration = Duration::from_secs(10);

/// All shelves of a host.
pub(crate) struct Shelves {
    resting: AtomicUsize,
    resting_max: usize,
    shelves: Mutex<Vec<Weak<dyn Trim>>>,
    sweeping: AtomicBool,
    sweeper: Mutex<Option<Thread>>,
    counts: Counts,
}

/// How requests came by their instances.
#[derive(Default)]
struct Counts {
    made: AtomicU64,
    taken: AtomicU64,
    dropped: AtomicU64,
}

/// The instances of one workload.
pub(crate) struct Shelf<I> {
    shelves: Arc<Shelves>,
    rest: Mutex<Rest<I>>,
}

struct Rest<I> {
    instances: Vec<I>,
    /// The fewest that rested at once since the last sweep: nobody wanted these.
    unwanted: usize,
}

trait Trim: Send + Sync {
    /// Drops what nobody wanted since the last time, or everything; how many are left.
    fn trim(&self, all: bool) -> usize;
}

impl Shelves {
    /// Shelves for up to `resting_max` instances together.
    pub(crate) fn new(resting_max: usize) -> std::io::Result<Arc<Self>> {
        let shelves = Arc::new(Self {
            resting: AtomicUsize::new(0),
            resting_max,
            shelves: Mutex::default(),
            sweeping: AtomicBool::new(false),
            sweeper: Mutex::default(),
            counts: Counts::default(),
        });
        let weak = Arc::downgrade(&shelves);
        let sweeper = std::thread::Builder::new().name("shelves".into()).spawn(move || sweep(&weak))?;
        *lock(&shelves.sweeper) = Some(sweeper.thread().clone());
        Ok(shelves)
    }

    /// A shelf for the instances of one workload.
    pub(crate) fn shelf<I: Send + 'static>(self: &Arc<Self>) -> Arc<Shelf<I>> {
        let rest = Mutex::new(Rest { instances: Vec::new(), unwanted: 0 });
        let shelf = Arc::new(Shelf { shelves: Arc::clone(self), rest });
        let trim: Arc<dyn Trim> = Arc::<Shelf<I>>::clone(&shelf);
        lock(&self.shelves).push(Arc::downgrade(&trim));
        shelf
    }

    /// Drops all instances at rest: somebody needs their slots.
    pub(crate) fn clear(&self) {
        // On an overloaded node nothing rests, and every request that finds no slot comes here.
        if self.resting.load(Relaxed) > 0 {
            self.trim(true);
        }
    }

    /// A request got a new instance.
    pub(crate) fn count_made(&self) {
        self.counts.made.fetch_add(1, Relaxed);
    }

    /// Instances at rest and how requests came by theirs, as Prometheus text.
    pub(crate) fn metrics(&self) -> String {
        let counter = |counter: &AtomicU64| counter.load(Relaxed);
        let (made, taken) = (counter(&self.counts.made), counter(&self.counts.taken));
        let (dropped, resting) = (counter(&self.counts.dropped), self.resting.load(Relaxed));
        format!(
            "# HELP shoal_instances_resting Instances that wait for another request.\n\
             # TYPE shoal_instances_resting gauge\n\
             shoal_instances_resting {resting}\n\
             # HELP shoal_instances_total Instances that requests got: new ones, and such that were at rest.\n\
             # TYPE shoal_instances_total counter\n\
             shoal_instances_total{{from=\"new\"}} {made}\n\
             shoal_instances_total{{from=\"rest\"}} {taken}\n\
             # HELP shoal_instances_dropped_total Instances that rested and were dropped.\n\
             # TYPE shoal_instances_dropped_total counter\n\
             shoal_instances_dropped_total {dropped}\n"
        )
    }

    fn trim(&self, all: bool) -> usize {
        let shelves: Vec<_> = {
            let mut shelves = lock(&self.shelves);
            shelves.retain(|shelf| shelf.strong_count() > 0);
            shelves.iter().filter_map(Weak::upgrade).collect()
        };
        shelves.iter().map(|shelf| shelf.trim(all)).sum()
    }

    /// Sees to it that what rests now is looked at.
    fn wake(&self) {
        if !self.sweeping.swap(true, Relaxed)
            && let Some(sweeper) = &*lock(&self.sweeper)
        {
            sweeper.unpark();
        }
    }
}

impl Drop for Shelves {
    fn drop(&mut self) {
        if let Some(sweeper) = &*lock(&self.sweeper) {
            sweeper.unpark();
        }
    }
}

/// Sweeps while anything rests; sleeps for good otherwise.
fn sweep(shelves: &Weak<Shelves>) {
    loop {
        let idle = match shelves.upgrade() {
            Some(shelves) => !shelves.sweeping.load(Relaxed),
            None => return,
        };
        if idle {
            std::thread::park();
            continue;
        }
        // Whatever wakes this thread early, nothing has rested for the whole time yet.
        let began = Instant::now();
        while began.elapsed() < SWEEP && shelves.strong_count() > 0 {
            std::thread::park_timeout(SWEEP.saturating_sub(began.elapsed()));
        }
        let Some(shelves) = shelves.upgrade() else { return };
        if shelves.trim(false) == 0 {
            shelves.sweeping.store(false, Relaxed);
        }
    }
}

impl<I> Shelf<I> {
    /// The instance that rested least, if there is one.
    pub(crate) fn take(&self) -> Option<I> {
        let mut rest = lock(&self.rest);
        let instance = rest.instances.pop()?;
        rest.unwanted = rest.unwanted.min(rest.instances.len());
        self.shelves.resting.fetch_sub(1, Relaxed);
        self.shelves.counts.taken.fetch_add(1, Relaxed);
        Some(instance)
    }

    /// Puts an instance to rest; drops it where too many rest already.
    pub(crate) fn put(&self, instance: I) {
        if self.shelves.resting.fetch_add(1, Relaxed) >= self.shelves.resting_max {
            self.dropped(1);
            return;
        }
        lock(&self.rest).instances.push(instance);
        if !self.shelves.sweeping.load(Relaxed) {
            self.shelves.wake();
        }
    }

    /// The shelves that this one belongs to.
    pub(crate) fn shelves(&self) -> &Shelves {
        &self.shelves
    }

    fn dropped(&self, instances: usize) {
        self.shelves.resting.fetch_sub(instances, Relaxed);
        self.shelves.counts.dropped.fetch_add(instances as u64, Relaxed);
    }
}

impl<I: Send> Trim for Shelf<I> {
    fn trim(&self, all: bool) -> usize {
        let (old, left) = {
            let mut rest = lock(&self.rest);
            let many = if all { rest.instances.len() } else { rest.unwanted };
            let old: Vec<_> = rest.instances.drain(..many).collect();
            rest.unwanted = rest.instances.len();
            (old, rest.instances.len())
        };
        self.dropped(old.len());
        left
    }
}

impl<I> Drop for Shelf<I> {
    fn drop(&mut self) {
        self.dropped(lock(&self.rest).instances.len());
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shelves(resting_max: usize) -> Arc<Shelves> {
        Shelves::new(resting_max).expect("a thread")
    }

    #[test]
    fn the_last_one_to_rest_is_the_first_to_be_taken() {
        let shelf = shelves(2).shelf();
        shelf.put(1);
        shelf.put(2);
        assert_eq!((shelf.take(), shelf.take(), shelf.take()), (Some(2), Some(1), None));
    }

    #[test]
    fn all_workloads_together_rest_up_to_the_limit_itself() {
        let shelves = shelves(2);
        let (one, other) = (shelves.shelf(), shelves.shelf());
        one.put(1);
        other.put(2);
        other.put(3);
        assert_eq!((other.take(), other.take()), (Some(2), None), "the third found no room");
        other.put(4);
        assert_eq!(other.take(), Some(4), "there is room again");
    }

    #[test]
    fn only_what_nobody_wanted_is_swept_away() {
        let shelves = shelves(10);
        let shelf = shelves.shelf();
        (0..4).for_each(|instance| shelf.put(instance));
        assert_eq!(shelves.trim(false), 4, "none of them rested for a whole time");
        let wanted = shelf.take();
        shelf.put(wanted.expect("rests"));
        assert_eq!(shelves.trim(false), 1, "one at a time was wanted");
        assert_eq!(shelf.take(), Some(3), "and it is the one that was used last");
    }

    #[test]
    fn slots_are_given_up_at_once_when_they_are_needed() {
        let shelves = shelves(10);
        let shelf = shelves.shelf();
        shelf.put(1);
        shelves.clear();
        assert_eq!(shelf.take(), None);
        drop(shelf);
        assert_eq!(shelves.resting.load(Relaxed), 0);
    }
}
