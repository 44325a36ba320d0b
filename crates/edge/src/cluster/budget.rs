//! How often requests may be tried again: so rarely that a service which is overloaded is not loaded further.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The tries again of one service. Costs nothing until there is one.
#[derive(Debug, Default)]
pub(crate) struct Budget(Mutex<Option<Window>>);

#[derive(Clone, Copy, Debug)]
struct Window {
    began: Instant,
    /// Requests that the service had had by then.
    requests: u64,
    retries: u64,
}

/// How long tries again are remembered. Long enough to mean something at few requests per second.
const WINDOW: Duration = Duration::from_secs(10);

/// In a window, whatever the traffic: a service with few requests may try again as well.
const RETRIES_MIN: u64 = 10;

/// In a window, one try again for so many requests: at most a fifth of load on top.
const REQUESTS_PER_RETRY: u64 = 5;

/// Tries of one request, the first among them.
pub(crate) const TRIES_MAX: u32 = 3;

impl Budget {
    /// Takes one try again, if there is one. `requests`: all that the service had so far.
    pub(crate) fn take(&self, now: Instant, requests: u64) -> bool {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = Window { began: now, requests, retries: 0 };
        let window = held.get_or_insert(fresh);
        if now.saturating_duration_since(window.began) >= WINDOW {
            *window = fresh;
        }
        let most = RETRIES_MIN + requests.saturating_sub(window.requests) / REQUESTS_PER_RETRY;
        let is_left = window.retries < most;
        window.retries += u64::from(is_left);
        is_left
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_as_many_tries_again_as_the_budget_and_more_with_traffic_and_time() {
        let (budget, start) = (Budget::default(), Instant::now());
        let taken = |now, requests| (0..1000).take_while(|_| budget.take(now, requests)).count() as u64;
        assert_eq!(taken(start, 100), RETRIES_MIN);
        assert_eq!(taken(start, 100 + REQUESTS_PER_RETRY - 1), 0);
        assert_eq!(taken(start, 100 + REQUESTS_PER_RETRY), 1);
        assert_eq!(taken(start, 100 + 7 * REQUESTS_PER_RETRY), 6);
        assert_eq!(taken(start + WINDOW - Duration::from_nanos(1), 135), 0);
        assert_eq!(taken(start + WINDOW, 135), RETRIES_MIN);
    }
}
