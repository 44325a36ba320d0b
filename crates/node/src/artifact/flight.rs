//! Work that several want at the same moment is done once.

use std::collections::HashMap;
use std::future::Future;
use std::hash::Hash;
use std::sync::{Arc, Weak};
use std::time::Instant;

use parking_lot::Mutex;

/// Work under way, by what it is for.
pub(super) struct Flights<K, V>(Mutex<HashMap<K, Weak<Flight<V>>>>);

/// The outcome of the last one who did it, and when that was.
type Flight<V> = tokio::sync::Mutex<Option<(Instant, V)>>;

impl<K, V> Default for Flights<K, V> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Eq + Hash, V: Clone> Flights<K, V> {
    /// Does the work, or waits for who does it already and takes what comes of it. When that one is dropped, the next
    /// does it anew.
    pub(super) async fn join(&self, key: K, work: impl Future<Output = V>) -> V {
        let arrived = Instant::now();
        let flight = self.flight(key);
        let mut turn = flight.lock().await;
        if let Some((at, outcome)) = turn.as_ref()
            && *at >= arrived
        {
            return outcome.clone();
        }
        let outcome = work.await;
        *turn = Some((Instant::now(), outcome.clone()));
        outcome
    }

    fn flight(&self, key: K) -> Arc<Flight<V>> {
        let mut flights = self.0.lock();
        flights.retain(|_, flight| flight.strong_count() > 0);
        if let Some(flight) = flights.get(&key).and_then(Weak::upgrade) {
            return flight;
        }
        let flight = Arc::default();
        flights.insert(key, Arc::downgrade(&flight));
        flight
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[tokio::test]
    async fn work_is_done_once_for_all_who_wait() {
        let flights = Flights::<&str, u32>::default();
        let (done, go) = (AtomicU32::new(0), tokio::sync::Semaphore::new(0));
        let work = || async {
            go.acquire().await.expect("it is never closed").forget();
            done.fetch_add(1, Ordering::SeqCst) + 1
        };
        let all = futures_util::future::join_all((0..10).map(|_| flights.join("a", work())));
        let other = flights.join("b", async { 7 });
        let release = async { go.add_permits(1) };
        let (all, other, ()) = tokio::join!(all, other, release);
        assert_eq!((all, other), (vec![1; 10], 7));
        go.add_permits(1);
        assert_eq!(flights.join("a", work()).await, 2, "whoever comes later has it done anew");
        assert_eq!(flights.0.lock().len(), 1);
    }

    #[tokio::test]
    async fn the_next_goes_on_when_the_first_is_dropped() {
        let flights = Flights::<&str, u32>::default();
        let first = Box::pin(flights.join("a", std::future::pending()));
        let second = flights.join("a", async { 2 });
        let mut first = Some(first);
        let (outcome, ()) = tokio::join!(second, async {
            let started = std::future::poll_fn(|context| {
                let poll = first.as_mut().expect("it is there").as_mut().poll(context);
                std::task::Poll::Ready(poll.is_pending())
            });
            started.await;
            first = None;
        });
        assert_eq!(outcome, 2);
    }
}
