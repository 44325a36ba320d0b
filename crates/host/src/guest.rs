//! Driving one request's guest: metering, deadline, the moment of its answer, and what is left after it.

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use shoal_runtime::{Account, Failure};
use wasmtime::{Engine, Store, StoreContextMut, UpdateDeadline};

use crate::failure::deadline_passed;
use crate::state::{Context as WorkloadContext, State};
use crate::ticker::{self, MOMENT, SLICE, TICK, Ticker};
use crate::turn::Turn;

/// How a guest's run ended.
pub(crate) type Outcome = Result<(), Failure>;

/// A guest looks what time it is whenever a timer has gone off, be it that of another core.
const EPOCHS: u64 = 1;

/// The guest used up its CPU time.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the guest used more than its CPU time")]
pub(crate) struct CpuTimeExceeded;

/// The guest was not done by its deadline.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the guest was not done in time")]
pub(crate) struct DeadlinePassed;

/// One stay of a guest on its core, from when it is resumed until it leaves. No two of a process are the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Slice {
    thread: u64,
    count: u64,
}

thread_local! {
    /// When the guest that now runs on this core was last resumed.
    static RESUMED: Cell<Option<Resumed>> = const { Cell::new(None) };
    /// The last slice on this thread.
    static LAST: Cell<Slice> = Cell::new(Slice { thread: THREADS.fetch_add(1, Relaxed), count: 0 });
}

/// Threads that have run guests.
static THREADS: AtomicU64 = AtomicU64::new(0);

impl Slice {
    /// The slice that runs now, if the caller runs on behalf of a guest.
    pub(crate) fn now() -> Option<Self> {
        RESUMED.get().map(|resumed| resumed.slice)
    }

    fn next() -> Self {
        let last = LAST.get();
        let slice = Self { count: last.count + 1, ..last };
        LAST.set(slice);
        slice
    }
}

/// The beginning of a guest's slice.
///
/// What a guest is charged for is CPU time: on a busy machine its core may be taken away for a while. Asking the
/// kernel costs as much as a short guest, so that is done only for slices of guests that were asked to yield before.
/// Others are charged the time that passed, and a tick at most: one that ran longer would have been asked.
#[derive(Clone, Copy)]
struct Resumed {
    slice: Slice,
    /// What the guest may use in all before it is long.
    tick: Duration,
    wall: Instant,
    cpu: Option<Duration>,
}

impl Resumed {
    fn now(tick: Duration) -> Self {
        Self { slice: Slice::next(), tick, wall: Instant::now(), cpu: None }
    }

    /// How much longer the guest may stay, of which it had used so much before.
    fn left(&self, used: Duration) -> Option<Duration> {
        left(self.cpu.is_some(), self.tick, used, self.wall.elapsed())
    }

    /// What the slice has cost so far.
    fn spent(&self) -> Duration {
        match self.cpu {
            Some(cpu) => thread_cpu_time().saturating_sub(cpu),
            None => self.wall.elapsed().min(TICK),
        }
    }
}

/// Does a guest's work in a slice of its own. `tick`: what the guest may use in all before it is long.
pub(crate) fn in_slice<R>(tick: Duration, work: impl FnOnce() -> R) -> (R, Duration) {
    let resumed = Resumed::now(tick);
    let outer = RESUMED.replace(Some(resumed));
    let result = work();
    // As it is now: a slice may have begun meanwhile.
    let resumed = RESUMED.replace(outer).unwrap_or(resumed);
    (result, resumed.spent())
}

/// The guest that was resumed to see whether it is its turn begins a slice. Until now it took no time to speak of.
pub(crate) fn begin_slice() {
    let Some(resumed) = RESUMED.get() else { return };
    RESUMED.set(Some(Resumed { wall: Instant::now(), cpu: Some(thread_cpu_time()), ..resumed }));
    ticker::set(SLICE);
}

fn thread_cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::try_from(time).unwrap_or_default()
}

/// A guest being run. Dropping it stops it.
pub(crate) struct Guest {
    run: BoxFuture<'static, Outcome>,
    context: Arc<WorkloadContext>,
    account: Arc<Account>,
    ticker: Arc<Ticker>,
    turn: Turn,
    long: bool,
    /// What it may use in all before it is long.
    tick: Duration,
    used: Duration,
    deadline: Option<Instant>,
    timer: Option<Pin<Box<tokio::time::Sleep>>>,
}

impl Guest {
    /// A guest that `run` runs in a store of `context` that holds `turn`.
    pub(crate) fn new(
        run: BoxFuture<'static, Outcome>,
        context: Arc<WorkloadContext>,
        account: Arc<Account>,
        ticker: Arc<Ticker>,
        turn: Turn,
        deadline: Option<Instant>,
    ) -> Self {
        let (tick, used) = (context.habit.first_stay(), Duration::ZERO);
        Self { run, context, account, ticker, turn, long: false, tick, used, deadline, timer: None }
    }

    /// Runs the guest until it ends.
    pub(crate) async fn finish(&mut self) -> Outcome {
        poll_fn(|cx| self.poll(cx)).await
    }

    /// Runs the guest for a while: ready when it has ended, or its deadline has passed.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Outcome> {
        if let Poll::Ready(outcome) = self.resume(cx) {
            return Poll::Ready(outcome);
        }
        let Some(deadline) = self.deadline else { return Poll::Pending };
        // Most guests end in their first turn: only one that waits needs a timer.
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline.into())));
        timer.as_mut().poll(cx).map(|()| Err(deadline_passed(&self.context.limits)))
    }

    fn resume(&mut self, cx: &mut Context<'_>) -> Poll<Outcome> {
        if self.tick < TICK && self.used.is_zero() {
            ticker::set(self.tick);
        }
        let (outcome, spent) = in_slice(self.tick, || {
            let _in_guest = self.ticker.enter();
            if self.long && !self.turn.is_awaited() {
                begin_slice();
            }
            self.run.as_mut().poll(cx)
        });
        self.long = self.turn.release();
        let was_long = self.used >= TICK;
        self.used += spent;
        if outcome.is_ready() || (self.used >= TICK && !was_long) {
            self.context.habit.note(self.used);
        }
        self.account.set_on_core(self.used);
        outcome
    }
}

/// A store with the interrupts of its workload: a guest yields after its tick and after each slice, and ends when its
/// CPU time or its wall time is used up.
pub(crate) fn store(engine: &Engine, state: State, deadline: Option<Instant>) -> Store<State> {
    let mut store = Store::new(engine, state);
    store.limiter(|state| &mut state.limiter);
    store.epoch_deadline_callback(interrupt);
    limit(&mut store, deadline);
    store
}

/// Sets the interrupts of a store for its next request.
pub(crate) fn limit(store: &mut Store<State>, deadline: Option<Instant>) {
    store.data_mut().deadline = deadline;
    store.set_epoch_deadline(EPOCHS);
    // From now on the guest sees when the timer goes off.
    ticker::set_again(SLICE);
}

fn interrupt(mut context: StoreContextMut<'_, State>) -> wasmtime::Result<UpdateDeadline> {
    let state = context.data_mut();
    let before = state.account.usage().on_core;
    let resumed = RESUMED.get();
    let left = resumed.and_then(|resumed| resumed.left(before));
    if let Some(left) = left {
        ticker::set_again(left);
        return Ok(UpdateDeadline::Continue(EPOCHS));
    }
    let (cpu_time, deadline) = (state.context.limits.cpu_time, state.deadline);
    let used = before + resumed.map_or(Duration::ZERO, |resumed| resumed.spent());
    if cpu_time.is_some_and(|limit| used > limit) {
        return Err(CpuTimeExceeded.into());
    }
    let now = Instant::now();
    if deadline.is_some_and(|deadline| now >= deadline) {
        return Err(DeadlinePassed.into());
    }
    state.context.share.budget().let_stay(now)?;
    Ok(UpdateDeadline::YieldCustom(EPOCHS, Box::pin(state.turn.next())))
}

/// How much longer a guest may hold its core, which it has `held` since it was resumed; none, or only a
/// moment: others come first.
///
/// It has one `tick` for all that it does, with what it has `used` before, so that one that merely was on the core when
/// a timer went off does not queue with those that stay. One that has had it is long, and has slices.
fn left(is_long: bool, tick: Duration, used: Duration, held: Duration) -> Option<Duration> {
    let left = if is_long { SLICE.checked_sub(held) } else { tick.checked_sub(used + held) };
    left.filter(|left| *left >= MOMENT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_has_one_tick_and_then_slices() {
        const MORE: Duration = MOMENT.saturating_sub(Duration::from_nanos(1));
        for tick in [TICK, SLICE] {
            for (is_long, used, held, expected) in [
                (false, Duration::ZERO, Duration::ZERO, Some(tick)),
                (false, Duration::ZERO, tick - MOMENT, Some(MOMENT)),
                (false, Duration::ZERO, tick - MORE, None),
                (false, tick - MOMENT, Duration::ZERO, Some(MOMENT)),
                (false, tick - MOMENT, MOMENT - MORE, None),
                (false, tick * 3, Duration::ZERO, None),
                (true, tick * 3, Duration::ZERO, Some(SLICE)),
                (true, tick * 3, SLICE - MOMENT, Some(MOMENT)),
                (true, tick * 3, SLICE - MORE, None),
                (true, tick * 3, SLICE * 2, None),
            ] {
                assert_eq!(left(is_long, tick, used, held), expected, "{is_long} {used:?} {held:?}");
            }
        }
    }

    #[test]
    fn no_two_slices_are_the_same_and_a_nested_one_ends() {
        let ((outer, inner, again), _) = in_slice(TICK, || {
            let outer = Slice::now();
            let (inner, _) = in_slice(TICK, Slice::now);
            (outer, inner, Slice::now())
        });
        assert!(outer.is_some() && inner.is_some() && outer != inner);
        assert_eq!(outer, again);
        assert_eq!(Slice::now(), None);
        let elsewhere = std::thread::spawn(|| in_slice(TICK, Slice::now).0).join().expect("no panic");
        assert!(elsewhere != outer && elsewhere != inner);
    }
}
