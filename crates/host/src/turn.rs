//! Fairness on one core: short requests first, long ones in turn.
//!
//! A guest that has run for a whole tick is asked to yield. It then waits for the core's one turn for long
//! guests, and after that until the reactor has looked at the sockets. So between two slices of long
//! guests, however many there are, every request that has arrived gets to run.

use std::cell::RefCell;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

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
        *lock(&guest) = Guest { hold: Hold::None, long: true };
        let core = CORE.with_borrow(Arc::clone);
        async move {
            if let Ok(permit) = core.acquire_owned().await {
                lock(&guest).hold = Hold::Next(permit);
            }
            // Resumes after the reactor's next look at the sockets, behind all it found.
            tokio::task::yield_now().await;
            let mut guest = lock(&guest);
            if let Hold::Next(permit) = std::mem::take(&mut guest.hold) {
                guest.hold = Hold::Running(permit);
            }
        }
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
}
