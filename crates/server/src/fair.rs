//! Fairness: whoever floods the server waits for himself, not others for him.
//!
//! So many requests run at once. When all places are taken, requests wait in a queue of their user, and each place that
//! becomes free goes to the next user in turn. A user's queue has an end, past which requests are turned away at once.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use parking_lot::Mutex;
use shoal_api::Status;
use tokio::sync::oneshot;

/// Requests that run at once. Reads are short; writes wait for the disk together.
pub const PLACES: usize = 64;
/// Requests of one user that wait. A client that has more in flight is told to slow down.
pub const QUEUE_MAX: usize = 128;
/// When a client that was turned away should come again, in seconds.
const RETRY_SECONDS: u32 = 1;

/// Gives out places.
#[derive(Clone, Default)]
pub struct Fair(Arc<Mutex<State>>);

/// Held while a request runs.
#[must_use]
pub struct Place(Fair);

#[derive(Default)]
struct State {
    running: usize,
    waiting: HashMap<Arc<str>, VecDeque<oneshot::Sender<Place>>>,
    /// Users that wait, the next first; each once.
    turns: VecDeque<Arc<str>>,
}

impl Fair {
    /// A place for a request of a user. Dropping the future gives up the place in the queue.
    ///
    /// # Errors
    /// 429: too many requests of this user wait already.
    pub async fn place(&self, user: &str) -> Result<Place, Status> {
        let turn = {
            let mut state = self.0.lock();
            if state.running < PLACES {
                state.running += 1;
                return Ok(Place(self.clone()));
            }
            state.wait(user)?
        };
        // A sender is dropped only with the server.
        turn.await.map_err(|_| Status::unavailable("the server is shutting down"))
    }

    /// Requests that run, and that wait.
    pub fn load(&self) -> (usize, usize) {
        let state = self.0.lock();
        (state.running, state.waiting.values().map(VecDeque::len).sum())
    }
}

impl State {
    fn wait(&mut self, user: &str) -> Result<oneshot::Receiver<Place>, Status> {
        if let Some(queue) = self.waiting.get_mut(user) {
            queue.retain(|turn| !turn.is_closed());
            if queue.len() >= QUEUE_MAX {
                return Err(Status::too_many_requests(
                    "too many requests, please try again later",
                    RETRY_SECONDS,
                ));
            }
        }
        let user: Arc<str> = user.into();
        let (turn, taken) = oneshot::channel();
        if !self.turns.contains(&user) {
            self.turns.push_back(user.clone());
        }
        self.waiting.entry(user).or_default().push_back(turn);
        Ok(taken)
    }

    /// Who is next; users that wait for more go to the end.
    fn next(&mut self) -> Option<oneshot::Sender<Place>> {
        while let Some(user) = self.turns.pop_front() {
            let Some(queue) = self.waiting.get_mut(&user) else { continue };
            let turn = queue.pop_front();
            if queue.is_empty() {
                self.waiting.remove(&user);
            } else {
                self.turns.push_back(user);
            }
            if turn.as_ref().is_some_and(|turn| !turn.is_closed()) {
                return turn;
            }
        }
        None
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let next = {
            let mut state = self.0.0.lock();
            let next = state.next();
            if next.is_none() {
                state.running -= 1;
            }
            next
        };
        if let Some(turn) = next {
            // Whoever gave up meanwhile drops the place, which goes on to the next.
            drop(turn.send(Self(self.0.clone())));
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    async fn fill(fair: &Fair, user: &str) -> Vec<Place> {
        let mut places = Vec::new();
        for _ in 0..PLACES {
            places.push(fair.place(user).await.expect("room"));
        }
        places
    }

    #[tokio::test]
    async fn a_flood_waits_for_itself() {
        let fair = Fair::default();
        let mut places = fill(&fair, "flood").await;
        let mut flood: Vec<_> = (0..QUEUE_MAX).map(|_| Box::pin(fair.place("flood"))).collect();
        for one in &mut flood {
            assert!(one.now_or_never().is_none());
        }
        assert_eq!(fair.place("flood").await.err().map(|status| status.code), Some(429));
        let mut other = Box::pin(fair.place("other"));
        assert!((&mut other).now_or_never().is_none());

        // The first place goes to the flood, which has waited longer; the second to the other.
        drop(places.pop());
        assert!((&mut other).now_or_never().is_none());
        drop(places.pop());
        assert!((&mut other).now_or_never().is_some_and(|place| place.is_ok()));
    }

    #[tokio::test]
    async fn who_gives_up_takes_no_place() {
        let fair = Fair::default();
        let mut places = fill(&fair, "a").await;
        let mut gone = Box::pin(fair.place("b"));
        assert!((&mut gone).now_or_never().is_none());
        let mut stays = Box::pin(fair.place("c"));
        assert!((&mut stays).now_or_never().is_none());
        drop(gone);
        drop(places.pop());
        assert!((&mut stays).now_or_never().is_some_and(|place| place.is_ok()));
        drop(places);
        assert_eq!(fair.load(), (0, 0));
    }
}
