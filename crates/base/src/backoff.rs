//! How long to wait before the next try.

use std::time::Duration;

/// Waits that double, from a first to a longest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    first: Duration,
    longest: Duration,
    tries: u32,
}

impl Backoff {
    /// `first`, twice that, and so on, but never more than `longest`.
    pub const fn new(first: Duration, longest: Duration) -> Self {
        Self { first, longest, tries: 0 }
    }

    /// The next wait.
    pub fn wait(&mut self) -> Duration {
        let wait = self.peek();
        self.tries = self.tries.saturating_add(1);
        wait
    }

    /// What [`Backoff::wait`] would say.
    pub fn peek(&self) -> Duration {
        let times = 1_u32.checked_shl(self.tries).unwrap_or(u32::MAX);
        self.first.saturating_mul(times).min(self.longest)
    }

    /// The next wait, of which between a half and all is waited: many that failed together come back apart.
    /// `random` is any number that looks random.
    pub fn wait_apart(&mut self, random: u64) -> Duration {
        let wait = self.wait();
        let half = wait / 2;
        let nanos = u64::try_from(half.as_nanos()).unwrap_or(u64::MAX);
        half + Duration::from_nanos(random % nanos.max(1))
    }

    /// It went well: the next wait is the first again.
    pub fn reset(&mut self) {
        self.tries = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_until_the_longest_and_begin_anew() {
        let seconds = |backoff: &mut Backoff| backoff.wait().as_secs();
        let mut backoff = Backoff::new(Duration::from_secs(10), Duration::from_secs(300));
        let waits: Vec<u64> = (0..7).map(|_| seconds(&mut backoff)).collect();
        assert_eq!(waits, [10, 20, 40, 80, 160, 300, 300]);
        for _ in 0..100 {
            assert_eq!(seconds(&mut backoff), 300);
        }
        backoff.reset();
        assert_eq!((backoff.peek().as_secs(), seconds(&mut backoff)), (10, 10));
        for random in [0, 1, u64::MAX] {
            let mut backoff = Backoff::new(Duration::from_secs(10), Duration::from_secs(300));
            let wait = backoff.wait_apart(random);
            assert!((5..=10).contains(&wait.as_secs()), "{wait:?}");
        }
    }
}
