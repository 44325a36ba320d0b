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
use crate::ticker::Ticker;
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
    static RESUMED: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// A guest being run. Dropping it stops it.
pub(crate) struct Guest {
    run: BoxFuture<'static, Outcome>,
    context: Arc<WorkloadContext>,
    account: Arc<Account>,
    ticker: Arc<Ticker>,
    turn: Turn,
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
        Self { run, context, account, ticker, turn, used: Duration::ZERO, deadline, timer: None }
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
        let started = Instant::now();
        let outer = RESUMED.replace(Some(started));
        let in_guest = self.ticker.enter();
        let outcome = self.run.as_mut().poll(cx);
        drop(in_guest);
        RESUMED.set(outer);
        self.turn.release();
        self.used += started.elapsed();
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
    store.set_epoch_deadline(1);
    store.epoch_deadline_callback(move |context| interrupt(context, cpu_time, deadline));
}

fn interrupt(
    mut context: StoreContextMut<'_, State>,
    cpu_time: Option<Duration>,
    deadline: Option<Instant>,
) -> wasmtime::Result<UpdateDeadline> {
    let state = context.data_mut();
    let now = Instant::now();
    let slice = RESUMED.get().map_or(Duration::ZERO, |resumed| now - resumed);
    if cpu_time.is_some_and(|limit| state.account.usage().on_core + slice > limit) {
        return Err(CpuTimeExceeded.into());
    }
    if deadline.is_some_and(|deadline| now >= deadline) {
        return Err(DeadlinePassed.into());
    }
    Ok(UpdateDeadline::YieldCustom(1, Box::pin(state.turn.next())))
}
