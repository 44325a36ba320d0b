//! Fairness on one core: short requests first, long ones in turn.
//!
//! A guest that has run for a whole tick is asked to yield. It then waits for the core's one turn for long guests, after
//! that until the reactor has looked at the sockets, and then for what that found to be read, run and answered. So
//! between two slices of long guests, however many there are, every request that has arrived gets to run.

use std::cell::RefCell;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::guest::begin_slice;

/// Tasks on the way of a request, each woken by the one before: its connection is accepted, its head is read, its guest
/// runs, its answer is written. A slice that began behind the first of them would come before the others.
const STEPS_OF_A_REQUEST: u32 = 4;

thread_local! {
    static CORE: RefCell<Arc<Semaphore>> = RefCell::new(Arc::new(Semaphore::new(1)));
}

/// A guest's hold on its core's turn for long guests; most never take it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Turn(Arc<Mutex<Guest>>);

#[derive(Debug, Default)]
struct Guest {
    hold: Hold,
    /// Whether it was ever asked to yield.
    long: bool,
    /// Whether it waits for its next slice.
    awaits: bool,
}

#[derive(Debug, Default)]
enum Hold {
    /// A short guest, or one that waits.
    #[default]
    None,
    /// Its slice is the next one.
    Next(OwnedSemaphorePermit),
    /// Its slice is running.
    Running(#[expect(dead_code, reason = "held for its drop")] OwnedSemaphorePermit),
}

impl Turn {
    /// Ends this guest's slice; the future resolves when the next one begins.
    pub(crate) fn next(&self) -> impl Future<Output = ()> + Send + 'static {
        let guest = Arc::clone(&self.0);
        *lock(&guest) = Guest { hold: Hold::None, long: true, awaits: true };
        let core = CORE.with_borrow(Arc::clone);
        async move {
            if let Ok(permit) = core.acquire_owned().await {
                lock(&guest).hold = Hold::Next(permit);
            }
            // Resumes after the reactor's next look at the sockets, behind all it found.
            tokio::task::yield_now().await;
            for _ in 0..STEPS_OF_A_REQUEST {
                behind_the_others().await;
            }
            begin_slice();
            let mut guest = lock(&guest);
            guest.awaits = false;
            if let Hold::Next(permit) = std::mem::take(&mut guest.hold) {
                guest.hold = Hold::Running(permit);
            }
        }
    }

    /// Whether the guest has ended a slice and its next one has not begun.
    pub(crate) fn is_awaited(&self) -> bool {
        lock(&self.0).awaits
    }

    /// The guest has left the core: a slice that was running is over. Whether it is a long one.
    pub(crate) fn release(&self) -> bool {
        let mut guest = lock(&self.0);
        if matches!(guest.hold, Hold::Running(_)) {
            guest.hold = Hold::None;
        }
        guest.long
    }
}

/// Resumes behind all tasks that are ready now.
async fn behind_the_others() {
    let mut was_polled = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut was_polled, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

fn lock(mutex: &Mutex<Guest>) -> std::sync::MutexGuard<'_, Guest> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::rc::Rc;

    use super::*;

    #[tokio::test(flavor = "current_thread")]
    async fn one_slice_of_one_long_guest_between_two_looks_at_the_sockets() {
        let slices = Rc::new(Cell::new(0));
        let tasks = tokio::task::LocalSet::new();
        for _ in 0..8 {
            let slices = Rc::clone(&slices);
            tasks.spawn_local(async move {
                let turn = Turn::default();
                for _ in 0..4 {
                    turn.next().await;
                    slices.set(slices.get() + 1);
                }
                turn.release();
            });
        }
        tasks.await;
        assert_eq!(slices.get(), 32, "every guest gets all its slices");
    }

    /// Each step of a request is a task that the one before wakes; the first is woken by the reactor.
    #[tokio::test(flavor = "current_thread")]
    async fn a_request_that_the_reactor_finds_is_answered_before_the_next_slice() {
        let told = Arc::new(Mutex::new(Vec::new()));
        let tell = |what: &'static str| {
            let told = Arc::clone(&told);
            move || told.lock().expect("no panic").push(what)
        };
        let (slice, accept, read, run, answer) =
            (tell("slice"), tell("accept"), tell("read"), tell("run"), tell("answer"));
        let long = tokio::spawn(async move {
            for _ in 0..3 {
                Turn::default().next().await;
                slice();
            }
        });
        let request = tokio::spawn(async move {
            // As a socket does that was found ready: this wakes after the reactor has looked.
            tokio::task::yield_now().await;
            accept();
            tokio::spawn(async move {
                read();
                tokio::spawn(async move { run() }).await.expect("no panic");
                answer();
            });
        });
        long.await.expect("no panic");
        request.await.expect("no panic");
        let told = told.lock().expect("no panic").clone();
        assert_eq!(told, ["accept", "read", "run", "answer", "slice", "slice", "slice"]);
    }
}
