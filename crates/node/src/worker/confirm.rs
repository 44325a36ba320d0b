//! Telling the API that a pod that was deleted may go, as soon as the disk has forgotten it.

use std::time::Duration;

use shoal_api::object;
use shoal_base::backoff::Backoff;
use shoal_client::{Deletion, kinds};
use tokio::time::Instant;

use super::Worker;

/// Before the API is told again that would not hear of it.
const RETRY_FIRST: Duration = Duration::from_secs(1);
/// The longest wait before that.
const RETRY_LONGEST: Duration = Duration::from_secs(30);
/// So often the API may refuse: rights of nodes take a moment to follow their pods, but what is refused for minutes
/// stays so, and the next process of the node tries anew.
const REFUSALS_MAX: u32 = 8;

/// How far it is.
pub(super) struct Confirming {
    backoff: Backoff,
    refusals: u32,
    /// Not before.
    again: Option<Instant>,
}

impl Confirming {
    pub(super) fn new() -> Self {
        Self { backoff: Backoff::new(RETRY_FIRST, RETRY_LONGEST), refusals: 0, again: None }
    }

    /// How long it rests.
    pub(super) fn rest(&self, now: Instant) -> Duration {
        // What is due has been tried, or waits for something else.
        let again = self.again.filter(|again| now < *again);
        again.map_or(Duration::MAX, |again| again.saturating_duration_since(now))
    }

    /// Whether it is not time yet for the next try.
    pub(super) fn waits(&self, now: Instant) -> bool {
        self.again.is_some_and(|again| now < again)
    }

    /// It could not be tried, but may be later.
    pub(super) fn put_off(&mut self, now: Instant) {
        self.again = Some(now + self.backoff.wait());
    }

    /// The API did not do it; whether that is the last word.
    fn failed(&mut self, may_pass: bool, now: Instant) -> bool {
        self.refusals = if may_pass { 0 } else { self.refusals.saturating_add(1) };
        self.put_off(now);
        self.refusals >= REFUSALS_MAX
    }
}

impl Worker {
    /// Tells the API that nothing of the pod runs any more. Whether nothing more is to be told.
    pub(super) async fn confirmed(&mut self) -> bool {
        if self.confirming.waits(Instant::now()) {
            return false;
        }
        let (namespace, name) = (object::namespace(&self.pod), object::name(&self.pod));
        let (pods, deletion) = (kinds::PODS, Deletion::confirmed(object::uid(&self.pod)));
        let (client, drain) = (&self.shared.config.client, self.shared.drain.clone());
        let done = tokio::select! {
            done = client.delete(&pods, namespace, name, &deletion) => done,
            () = drain.begun() => return false,
        };
        let Err(error) = done else { return true };
        // It is gone, or another has its name.
        if error.is_not_found() || error.is_conflict() {
            return true;
        }
        let is_last = self.confirming.failed(error.may_pass(), Instant::now());
        if is_last {
            tracing::warn!(
                %error, pod = name, namespace,
                "the API refuses to let an ended pod go: give the node its rights, then start it anew, or delete the pod with --force"
            );
        } else {
            tracing::debug!(%error, pod = name, "the end of a pod is not confirmed yet");
        }
        is_last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_is_refused_is_tried_again_but_not_for_ever() {
        let now = Instant::now();
        let mut confirming = Confirming::new();
        assert_eq!(confirming.rest(now), Duration::MAX);
        let mut rests = Vec::new();
        while !confirming.failed(false, now) {
            rests.push(confirming.rest(now).as_secs());
        }
        assert_eq!(rests, [1, 2, 4, 8, 16, 30, 30]);
        // An API that is away is no refusal.
        let mut confirming = Confirming::new();
        assert!((0..100).all(|_| !confirming.failed(true, now)));
        assert_eq!(confirming.rest(now), RETRY_LONGEST);
        assert_eq!(confirming.rest(now + RETRY_LONGEST), Duration::MAX, "it is due");
    }
}
