//! The replicas that this process serves, found by the uid of their pod.
//!
//! The node agent says which replicas may serve; the edge sends them requests. Neither knows the other, and
//! neither waits for the other: a route may name a replica before it is there, and one that is taken away
//! finishes the requests that it has.

use std::collections::HashMap;
use std::fmt;
use std::ops::Deref;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::task::{Poll, Waker};

use arc_swap::{ArcSwapOption, Guard};

use crate::Invoke;

/// A handle on the replicas of this process; clones are the same set.
///
/// On the path of a request use [`Endpoints::replica`] once and keep what it gives: reading it then takes no
/// lock and no search.
#[derive(Clone, Default)]
pub struct Endpoints(Arc<RwLock<Places>>);

#[derive(Default)]
struct Places {
    by_uid: HashMap<Box<str>, Arc<Replica>>,
    /// Places when those that nobody needs were last looked for.
    swept: usize,
}

/// The place of one replica, which may be empty.
pub struct Replica {
    serves: ArcSwapOption<Arc<dyn Invoke>>,
    in_flight: AtomicUsize,
    /// Woken when the last request ends.
    waiting: Mutex<Vec<Waker>>,
    /// Whether anybody waits, so that other requests end without a lock.
    is_waited: AtomicBool,
}

/// A request at a replica; dropping it ends the request.
pub struct InFlight(Arc<Replica>);

/// What serves at a replica, to be called at once and then dropped. No reference to it is counted, since all cores
/// would count at the same place.
pub struct Serving(Guard<Option<Arc<Arc<dyn Invoke>>>>);

/// Places below which nobody looks for empty ones.
const SWEEP_MIN: usize = 64;

impl Endpoints {
    /// The replica of this pod serves from now on. One that was there under the same uid is replaced: it
    /// finishes the requests that it has.
    pub fn insert(&self, uid: &str, invoke: Arc<dyn Invoke>) {
        self.replica(uid).serves.store(Some(Arc::new(invoke)));
    }

    /// The replica of this pod gets no further request; those that it has go on. None: there was none.
    ///
    /// Wait for [`Replica::idle`] of what comes back, under a deadline of your own, before the replica ends.
    pub fn remove(&self, uid: &str) -> Option<Arc<Replica>> {
        let replica = self.read(|places| places.by_uid.get(uid).cloned())?;
        let was_there = replica.serves.swap(None).is_some();
        let mut places = self.0.write().unwrap_or_else(PoisonError::into_inner);
        // One in the set, one here: no route holds it, so no request can find it.
        if !replica.is_serving() && Arc::strong_count(&replica) == 2 {
            places.by_uid.remove(uid);
        }
        was_there.then_some(replica)
    }

    /// What serves for this pod, if anything.
    pub fn get(&self, uid: &str) -> Option<Arc<dyn Invoke>> {
        let replica = self.read(|places| places.by_uid.get(uid).cloned())?;
        replica.invoke()
    }

    /// The place of this pod's replica, whether anything serves there yet or not.
    pub fn replica(&self, uid: &str) -> Arc<Replica> {
        if let Some(replica) = self.read(|places| places.by_uid.get(uid).cloned()) {
            return replica;
        }
        let mut places = self.0.write().unwrap_or_else(PoisonError::into_inner);
        places.sweep();
        places.by_uid.entry(uid.into()).or_default().clone()
    }

    /// How many replicas serve.
    pub fn count(&self) -> usize {
        self.read(|places| places.by_uid.values().filter(|replica| replica.is_serving()).count())
    }

    fn read<R>(&self, look: impl FnOnce(&Places) -> R) -> R {
        look(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Places {
    /// Forgets places that are empty and that no route names any more, now and then: on average each place
    /// is looked at once.
    fn sweep(&mut self) {
        if self.by_uid.len() < SWEEP_MIN.max(2 * self.swept) {
            return;
        }
        self.by_uid.retain(|_, replica| replica.is_serving() || Arc::strong_count(replica) > 1);
        self.swept = self.by_uid.len();
    }
}

impl Default for Replica {
    fn default() -> Self {
        Self {
            serves: ArcSwapOption::empty(),
            in_flight: AtomicUsize::new(0),
            waiting: Mutex::default(),
            is_waited: AtomicBool::new(false),
        }
    }
}

impl Replica {
    /// Whether requests may be sent to it.
    pub fn is_serving(&self) -> bool {
        self.serves.load().is_some()
    }

    /// What serves here, if anything.
    pub fn invoke(&self) -> Option<Arc<dyn Invoke>> {
        self.serves.load().as_deref().cloned()
    }

    /// What serves here, if anything, with a request counted for it. It is counted before it is known what serves:
    /// so whoever has taken the replica away, and then found it [`Replica::idle`], knows that nobody comes any more.
    pub fn begin(self: &Arc<Self>) -> Option<(InFlight, Serving)> {
        let in_flight = self.enter();
        let serves = self.serves.load();
        serves.is_some().then(|| (in_flight, Serving(serves)))
    }

    /// Calls `with` on what serves here, without counting a reference to it. None: nothing does.
    pub fn with<R>(&self, with: impl FnOnce(&dyn Invoke) -> R) -> Option<R> {
        self.serves.load().as_ref().map(|invoke| with(invoke.as_ref().as_ref()))
    }

    /// Requests that came by way of [`Replica::enter`] and have not ended.
    pub fn in_flight(&self) -> usize {
        self.in_flight.load(SeqCst)
    }

    /// Counts a request until what comes back is dropped.
    pub fn enter(self: &Arc<Self>) -> InFlight {
        self.in_flight.fetch_add(1, SeqCst);
        InFlight(Arc::clone(self))
    }

    /// Resolves when no request is in flight.
    pub async fn idle(&self) {
        std::future::poll_fn(|cx| {
            if self.in_flight() == 0 {
                return Poll::Ready(());
            }
            self.lock().push(cx.waker().clone());
            self.is_waited.store(true, SeqCst);
            // The last one may have ended before it could see this waker.
            if self.in_flight() == 0 { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Waker>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl InFlight {
    /// Where it is in flight.
    pub fn replica(&self) -> &Arc<Replica> {
        &self.0
    }
}

impl Deref for Serving {
    type Target = dyn Invoke;

    fn deref(&self) -> &Self::Target {
        &***self.0.as_ref().expect("it is made only where something serves")
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let replica = &self.0;
        if replica.in_flight.fetch_sub(1, SeqCst) == 1 && replica.is_waited.load(SeqCst) {
            replica.lock().drain(..).for_each(Waker::wake);
        }
    }
}

impl fmt::Debug for Endpoints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.read(|places| f.debug_set().entries(places.by_uid.keys()).finish())
    }
}

impl fmt::Debug for Replica {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Replica")
            .field("is_serving", &self.is_serving())
            .field("in_flight", &self.in_flight())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures_util::FutureExt;
    use futures_util::task::noop_waker_ref;

    use super::*;
    use crate::fake::always;

    fn endpoints() -> (Endpoints, Arc<dyn Invoke>) {
        (Endpoints::default(), Arc::new(always("hello")))
    }

    #[test]
    fn a_replica_is_there_from_insert_to_remove() {
        let (endpoints, invoke) = endpoints();
        assert!(endpoints.get("a").is_none() && endpoints.remove("a").is_none());
        endpoints.clone().insert("a", invoke);
        assert!(endpoints.get("a").is_some() && endpoints.get("b").is_none());
        assert_eq!(endpoints.count(), 1);
        assert!(endpoints.remove("a").is_some());
        assert!(endpoints.get("a").is_none() && endpoints.remove("a").is_none());
        assert_eq!(endpoints.count(), 0);
    }

    #[test]
    fn a_place_that_is_held_sees_replicas_come_and_go() {
        let (endpoints, invoke) = endpoints();
        let place = endpoints.replica("a");
        assert!(!place.is_serving());
        for _ in 0..2 {
            endpoints.insert("a", invoke.clone());
            assert!(place.with(|_| ()).is_some() && place.invoke().is_some());
            endpoints.remove("a");
            assert!(place.with(|_| ()).is_none() && !place.is_serving());
        }
    }

    #[test]
    fn a_removed_replica_is_idle_when_its_last_request_has_ended() {
        let (endpoints, invoke) = endpoints();
        endpoints.insert("a", invoke);
        let place = endpoints.replica("a");
        let (first, second) = (place.enter(), place.enter());
        let removed = endpoints.remove("a").expect("it was there");
        assert_eq!(removed.in_flight(), 2);
        let mut idle = pin!(removed.idle());
        let mut cx = std::task::Context::from_waker(noop_waker_ref());
        assert!(idle.poll_unpin(&mut cx).is_pending());
        drop(first);
        assert!(idle.poll_unpin(&mut cx).is_pending());
        drop(second);
        assert!(idle.poll_unpin(&mut cx).is_ready());
        assert!(removed.lock().is_empty(), "whoever waited was woken");
    }

    #[test]
    fn a_request_begins_only_where_something_serves() {
        let (endpoints, invoke) = endpoints();
        let place = endpoints.replica("a");
        assert!(place.begin().is_none());
        assert_eq!(place.in_flight(), 0, "what has not begun is not counted");
        endpoints.insert("a", invoke);
        let (in_flight, _) = place.begin().expect("it serves");
        assert!(Arc::ptr_eq(in_flight.replica(), &place));
        assert_eq!(place.in_flight(), 1);
        drop(in_flight);
        assert_eq!(place.in_flight(), 0);
    }

    #[test]
    fn places_that_nobody_needs_are_forgotten() {
        let (endpoints, invoke) = endpoints();
        let held = endpoints.replica("held");
        endpoints.insert("serving", invoke);
        for pod in 0..10 * SWEEP_MIN {
            drop(endpoints.replica(&format!("pod-{pod}")));
        }
        assert!(endpoints.read(|places| places.by_uid.len()) <= SWEEP_MIN + 2);
        assert!(endpoints.get("serving").is_some());
        assert!(Arc::ptr_eq(&held, &endpoints.replica("held")));
    }
}
