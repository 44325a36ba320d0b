//! Driving one request's guest: metering, deadline, the moment of its answer, and what is left after it.

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use shoal_runtime::{Account, Failure};
use wasmtime::{Engine, Store, StoreContextMut, UpdateDeadline};

use crate::failure::deadline_passed;
use crate::state::{Context as WorkloadContext, State};
use crate::ticker::{EPOCHS_PER_SLICE, EPOCHS_PER_TICK, TICK, Ticker};
use crate::turn::Turn;

/// How a guest's run ended.
pub(crate) type Outcome = Result<(), Failure>;

/// The guest used up its CPU time.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the guest used more than its CPU time")]
pub(crate) struct CpuTimeExceeded;

/// The guest was not done by its deadline.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the guest was not done in time")]
pub(crate) struct DeadlinePassed;

thread_local! {
    /// When the guest that now runs on this core was last resumed.
    static RESUMED: Cell<Option<Resumed>> = const { Cell::new(None) };
}

/// The beginning of a guest's slice.
///
/// What a guest is charged for is CPU time: on a busy machine its core may be taken away for a while. Asking the
/// kernel costs as much as a short guest, so that is done only for guests that were asked to yield before.
/// Others are charged the time that passed, and a tick at most: one that ran longer would have been asked.
#[derive(Clone, Copy)]
struct Resumed {
    wall: Instant,
    cpu: Option<Duration>,
}

impl Resumed {
    fn now(long: bool) -> Self {
        Self { wall: Instant::now(), cpu: long.then(thread_cpu_time) }
    }

    /// What the slice has cost so far.
    fn spent(&self) -> Duration {
        match self.cpu {
            Some(cpu) => thread_cpu_time().saturating_sub(cpu),
            None => self.wall.elapsed().min(TICK),
        }
    }
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
        Self { run, context, account, ticker, turn, long: false, used: Duration::ZERO, deadline, timer: None }
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
        let resumed = Resumed::now(self.long);
        let outer = RESUMED.replace(Some(resumed));
        let in_guest = self.ticker.enter();
        let outcome = self.run.as_mut().poll(cx);
        drop(in_guest);
        RESUMED.set(outer);
        self.long = self.turn.release();
        if self.long {
            self.ticker.long_guest();
        }
        self.used += resumed.spent();
        self.account.set_on_core(self.used);
        outcome
    }
}

/// A store with the interrupts of its workload: a guest yields after each tick, and ends when its CPU time
/// or its wall time is used up.
pub(crate) fn store(engine: &Engine, state: State, deadline: Option<Instant>) -> Store<State> {
    let mut store = Store::new(engine, state);
    store.limiter(|state| &mut state.limiter);
    limit(&mut store, deadline);
    store
}

/// Sets the interrupts of a store for its next request.
pub(crate) fn limit(store: &mut Store<State>, deadline: Option<Instant>) {
    let cpu_time = store.data().context.limits.cpu_time;
    store.set_epoch_deadline(EPOCHS_PER_TICK);
    store.epoch_deadline_callback(move |context| interrupt(context, cpu_time, deadline));
}

fn interrupt(
    mut context: StoreContextMut<'_, State>,
    cpu_time: Option<Duration>,
    deadline: Option<Instant>,
) -> wasmtime::Result<UpdateDeadline> {
    let state = context.data_mut();
    let slice = RESUMED.get().map_or(Duration::ZERO, |resumed| resumed.spent());
    if cpu_time.is_some_and(|limit| state.account.usage().on_core + slice > limit) {
        return Err(CpuTimeExceeded.into());
    }
    if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
        return Err(DeadlinePassed.into());
    }
    Ok(UpdateDeadline::YieldCustom(EPOCHS_PER_SLICE, Box::pin(state.turn.next())))
}
