//! The clock that interrupts guests: one thread that advances the engines' epochs while guests run.
//!
//! A guest checks its epoch deadline at every loop head and function entry. Each thread marks a cell of its
//! own while it is in a guest; when no thread has been in one for a while the ticker slows down, so that an
//! idle node costs nothing.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::thread::Thread;
use std::time::Duration;

use wasmtime::EngineWeak;

/// Time between two ticks while guests run: how long a guest may hold its core before others get it for the
/// first time.
pub(crate) const TICK: Duration = Duration::from_millis(1);

/// What an epoch stands for: how long a guest that has held its core for a tick may hold it each time after
/// that. A request that arrives meanwhile waits for so long; each yield costs a few microseconds.
const SLICE: Duration = Duration::from_micros(200);

/// Epochs of a tick.
pub(crate) const EPOCHS_PER_TICK: u64 = 5;

/// Slices for which the ticker stays quick after a long guest left its core.
const SLICES_AFTER_LONG: u32 = 5;

/// Epochs of a slice.
pub(crate) const EPOCHS_PER_SLICE: u64 = 1;

/// Time between two looks while no guest runs. A guest that starts wakes the ticker; this bounds the cost of
/// a wake-up that is lost in a race.
const IDLE_TICK: Duration = Duration::from_millis(50);

/// Ticks without a guest before the ticker slows down, so that it stays awake between two requests.
const TICKS_UNTIL_IDLE: u32 = 20;

/// Marks of threads that run guests. More threads than this share marks, which costs them a cache line that
/// moves, and nothing else.
const MARKS: usize = 64;

/// Shared by the ticker thread and the threads that run guests.
pub(crate) struct Ticker {
    marks: [Mark; MARKS],
    idle: AtomicBool,
    /// How many of the next ticks come after a slice: a long guest was seen a moment ago.
    slices: AtomicU32,
    thread: OnceLock<Thread>,
}

/// Guests that a thread is in, alone on its cache line.
#[repr(align(128))]
#[derive(Default)]
struct Mark(AtomicU32);

/// Marks a thread as being in a guest, until it is dropped.
pub(crate) struct InGuest<'a>(&'a Mark);

impl Drop for InGuest<'_> {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Relaxed);
    }
}

static NEXT_MARK: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static MARK: usize = NEXT_MARK.fetch_add(1, Relaxed) % MARKS;
}

impl Ticker {
    /// Starts the thread. It ends when all engines are gone.
    pub(crate) fn start(engines: Vec<EngineWeak>) -> std::io::Result<Arc<Self>> {
        let marks = std::array::from_fn(|_| Mark::default());
        let ticker = Arc::new(Self {
            marks,
            idle: AtomicBool::new(false),
            slices: AtomicU32::new(0),
            thread: OnceLock::new(),
        });
        let shared = Arc::clone(&ticker);
        std::thread::Builder::new().name("epoch".into()).spawn(move || shared.run(&engines))?;
        Ok(ticker)
    }

    /// The calling thread enters a guest.
    pub(crate) fn enter(&self) -> InGuest<'_> {
        let mark = &self.marks[MARK.with(|mark| *mark)];
        mark.0.fetch_add(1, Relaxed);
        if self.idle.load(Relaxed) {
            self.wake();
        }
        InGuest(mark)
    }

    /// A guest that was asked to yield before begins a slice or ends one.
    pub(crate) fn long_guest(&self) {
        if self.slices.swap(SLICES_AFTER_LONG, Relaxed) == 0 {
            // The ticker sleeps for a whole tick: the slice would last as long.
            self.unpark();
        }
    }

    #[cold]
    fn wake(&self) {
        self.idle.store(false, Relaxed);
        self.unpark();
    }

    fn unpark(&self) {
        if let Some(thread) = self.thread.get() {
            thread.unpark();
        }
    }

    fn run(&self, engines: &[EngineWeak]) {
        let _ = self.thread.set(std::thread::current());
        wake_on_time();
        let mut quiet_ticks = 0;
        loop {
            let idle = quiet_ticks > TICKS_UNTIL_IDLE;
            self.idle.store(idle, Relaxed);
            let slices = self.slices.load(Relaxed);
            // A guest that stores the whole number meanwhile loses at most one of them.
            self.slices.store(slices.saturating_sub(1), Relaxed);
            let (time, epochs) = pace(idle, slices);
            // A long guest that begins a slice ends the wait.
            std::thread::park_timeout(time);
            let mut alive = false;
            for engine in engines.iter().filter_map(EngineWeak::upgrade) {
                (0..epochs).for_each(|_| engine.increment_epoch());
                alive = true;
            }
            if !alive {
                return;
            }
            quiet_ticks = if self.any_in_guest() { 0 } else { quiet_ticks + 1 };
        }
    }

    fn any_in_guest(&self) -> bool {
        self.marks.iter().any(|mark| mark.0.load(Relaxed) > 0)
    }
}

/// How long the ticker waits, and the epochs that have passed then. `slices`: how many of the next waits are slices.
///
/// A wait that turns into slices, or the last of the slices, passes as a tick however long it took: else a guest that
/// began before would be found a tick after that only. One that has run for less than half a tick is let be until
/// the next as ever, so none holds its core for more than one and a half ticks.
fn pace(idle: bool, slices: u32) -> (Duration, u64) {
    match (idle, slices) {
        (true, _) => (IDLE_TICK, EPOCHS_PER_TICK),
        (false, 0) => (TICK, EPOCHS_PER_TICK),
        (false, 1) => (SLICE, EPOCHS_PER_TICK),
        (false, 2..) => (SLICE, EPOCHS_PER_SLICE),
    }
}

/// Asks the kernel not to put off the timers of this thread, which it does by 50 µs: a quarter of a slice.
#[allow(unsafe_code, reason = "a call that the standard library does not have")]
fn wake_on_time() {
    const SLACK_NS: libc::c_ulong = 1_000;
    // SAFETY: changes a number of the calling thread and touches no memory. If it fails slices are longer.
    let _ = unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, SLACK_NS, 0, 0, 0) };
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The epochs, with the time of each step, when guests that are long begin slices at these times.
    fn epochs(mut long: Vec<Duration>, until: Duration) -> Vec<(Duration, u64)> {
        let (mut now, mut epoch, mut slices) = (Duration::ZERO, 0, 0);
        let mut steps = Vec::new();
        long.reverse();
        while now < until {
            let (time, epochs) = pace(false, slices);
            slices = slices.saturating_sub(1);
            let wake = now + time;
            now = wake;
            while let Some(at) = long.pop_if(|at| *at <= wake) {
                if slices == 0 {
                    // It wakes the ticker; those after it begin in the next wait.
                    now = at;
                    slices = SLICES_AFTER_LONG;
                    break;
                }
                slices = SLICES_AFTER_LONG;
            }
            epoch += epochs;
            steps.push((now, epoch));
        }
        steps
    }

    /// When a guest that begins at `start` and never pauses is asked to yield.
    fn yields(start: Duration, steps: &[(Duration, u64)]) -> Duration {
        let at =
            |time: Duration| steps.iter().take_while(|(at, _)| *at <= time).last().map_or(0, |step| step.1);
        let mut deadline = at(start) + EPOCHS_PER_TICK;
        loop {
            let found = steps.iter().find(|(time, epoch)| *time > start && *epoch >= deadline);
            let (time, epoch) = found.expect("the steps go on for long enough");
            if *time - start >= TICK / 2 {
                return *time;
            }
            deadline = epoch + EPOCHS_PER_TICK;
        }
    }

    /// A guest that begins just after a tick while the ticker is slow, and one long guest that comes at any time later.
    #[test]
    fn no_guest_holds_its_core_for_more_than_one_and_a_half_ticks() {
        const STEP: Duration = Duration::from_micros(20);
        let mut longest = Duration::ZERO;
        for long in 0..150 {
            // Two that are long, at every distance from each other.
            for after in [None, Some(1), Some(30), Some(49), Some(50), Some(51), Some(99)] {
                let first = STEP * long;
                let both =
                    [Some(first), after.map(|after| first + STEP * after)].into_iter().flatten().collect();
                let steps = epochs(both, 12 * TICK);
                for start in (0..200).map(|start| STEP * start) {
                    longest = longest.max(yields(start, &steps) - start);
                }
            }
        }
        assert!(longest <= TICK + TICK / 2, "{longest:?}");
        assert!(longest > TICK, "{longest:?}");
    }

    #[test]
    fn slices_end_with_a_tick() {
        let epochs: Vec<u64> = (0..=SLICES_AFTER_LONG).rev().map(|slices| pace(false, slices).1).collect();
        assert_eq!(epochs, [1, 1, 1, 1, 5, 5]);
        assert_eq!(pace(true, 3).0, IDLE_TICK);
    }
}
