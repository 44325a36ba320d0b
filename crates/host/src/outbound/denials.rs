//! What was denied, said once.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

/// Different destinations whose denial is logged; a guest that tries more would only fill the log.
const LOGGED_MAX: usize = 64;

/// The denials of one workload that were logged.
#[derive(Debug, Default)]
pub(super) struct Denials(Mutex<HashSet<String>>);

impl Denials {
    /// Logs the denial of a destination, given as the pattern that would grant it, unless it was logged before
    /// or too many others were.
    pub(super) fn log(&self, workload: &str, grant: &str, reason: &str) {
        if self.is_news(grant) {
            tracing::warn!(
                workload,
                reason,
                "outbound request denied; --allow-outbound {grant} would grant it"
            );
        }
    }

    fn is_news(&self, grant: &str) -> bool {
        let mut logged = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        logged.len() < LOGGED_MAX && logged.insert(grant.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_denial_is_news_once_and_only_so_many_are() {
        let denials = Denials::default();
        for number in 0..LOGGED_MAX {
            assert!(denials.is_news(&number.to_string()));
            assert!(!denials.is_news(&number.to_string()));
        }
        assert!(!denials.is_news("one more"));
    }
}
