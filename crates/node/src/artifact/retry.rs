//! What may pass by itself, and how often and how long it is waited for.

use std::fmt;
use std::time::Duration;

use shoal_base::splitmix::SplitMix64;

use super::{FetchError, Problem};

/// Why a request has failed.
#[derive(Debug)]
pub(super) enum Trouble {
    /// It may succeed when it is made again.
    Passing {
        /// What is wrong.
        why: String,
        /// How long the registry says to wait.
        wait: Option<Duration>,
    },
    /// It will not.
    Final(FetchError),
}

impl Trouble {
    pub(super) fn passing(why: impl fmt::Display) -> Self {
        Self::Passing { why: why.to_string(), wait: None }
    }

    pub(super) fn last(problem: Problem, what: impl Into<String>) -> Self {
        Self::Final(FetchError::new(problem, what))
    }
}

impl From<FetchError> for Trouble {
    fn from(error: FetchError) -> Self {
        Self::Final(error)
    }
}

/// How often and how long something is tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry {
    /// How often in all, without any progress between.
    pub tries: u32,
    /// The wait before the second try; it doubles each time, and up to half of it is left to chance.
    pub wait: Duration,
    /// The longest wait, also where the registry asks for more.
    pub wait_max: Duration,
}

impl Default for Retry {
    /// Five tries in some six seconds: what is still wrong then is for whoever restarts containers, with waits of
    /// minutes. Ten seconds at most for one wait: a pod waits behind it.
    fn default() -> Self {
        Self { tries: 5, wait: Duration::from_millis(300), wait_max: Duration::from_secs(10) }
    }
}

/// Tries that were made.
pub(super) struct Tries {
    retry: Retry,
    made: u32,
    chance: SplitMix64,
}

impl Tries {
    /// The seed spreads those who begin at the same time.
    pub(super) fn new(retry: Retry, seed: u64) -> Self {
        Self { retry, made: 0, chance: SplitMix64::new(seed) }
    }

    /// There was progress: what follows counts anew.
    pub(super) fn progress(&mut self) {
        self.made = 0;
    }

    /// Waits before the next try.
    ///
    /// # Errors
    /// There is no next one.
    pub(super) async fn next(&mut self, trouble: Trouble) -> Result<(), FetchError> {
        let (why, asked) = match trouble {
            Trouble::Final(error) => return Err(error),
            Trouble::Passing { why, wait } => (why, wait),
        };
        self.made += 1;
        if self.made >= self.retry.tries {
            let tries = if self.made == 1 { "once".into() } else { format!("{} times", self.made) };
            return Err(FetchError::new(Problem::Registry, format!("{why} (tried {tries})")));
        }
        let wait = self.wait(asked);
        tracing::debug!("{why}; trying again in {} ms", wait.as_millis());
        tokio::time::sleep(wait).await;
        Ok(())
    }

    fn wait(&mut self, asked: Option<Duration>) -> Duration {
        let doubled = self.retry.wait.saturating_mul(1 << (self.made - 1).min(16)).min(self.retry.wait_max);
        let half = doubled / 2;
        let nanos = u64::try_from(half.as_nanos()).unwrap_or(u64::MAX);
        let wait = half + Duration::from_nanos(self.chance.below(nanos.max(1)));
        asked.map_or(wait, |asked| wait.max(asked.min(self.retry.wait_max)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_their_limit() {
        let mut tries = Tries::new(Retry::default(), 7);
        for (made, most) in [(1, 300), (2, 600), (3, 1200), (6, 9600), (7, 10_000), (100, 10_000)] {
            tries.made = made;
            let wait = tries.wait(None);
            let most = Duration::from_millis(most);
            assert!(wait >= most / 2 && wait <= most, "{made}: {wait:?}");
        }
        tries.made = 1;
        assert_eq!(tries.wait(Some(Duration::from_secs(3))), Duration::from_secs(3));
        assert_eq!(tries.wait(Some(Duration::from_secs(3600))), Duration::from_secs(10));
    }

    #[tokio::test]
    async fn tries_end_and_progress_begins_anew() {
        let retry = Retry { tries: 3, wait: Duration::ZERO, wait_max: Duration::ZERO };
        let mut tries = Tries::new(retry, 1);
        for _ in 0..2 {
            tries.next(Trouble::passing("x")).await.expect("another");
        }
        tries.progress();
        for _ in 0..2 {
            tries.next(Trouble::passing("x")).await.expect("another");
        }
        let error = tries.next(Trouble::passing("the wire is cut")).await.expect_err("no more");
        assert_eq!(error.to_string(), "the wire is cut (tried 3 times)");
        let mut once = Tries::new(retry, 1);
        let error = once.next(Trouble::last(Problem::Missing, "no such image")).await.expect_err("final");
        assert_eq!((error.problem, once.made), (Problem::Missing, 0));
    }
}
