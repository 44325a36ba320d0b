//! What was denied, said once.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use shoal_runtime::{Output, Stream};

/// Different destinations whose denial is logged; a guest that tries more would only fill the log.
const LOGGED_MAX: usize = 64;

/// The denials of one workload that were logged.
#[derive(Default)]
pub(super) struct Denials {
    logged: Mutex<HashSet<String>>,
    /// The workload's own log, where whoever deployed it reads.
    output: Option<Arc<dyn Output>>,
}

impl Denials {
    /// None yet, of a workload with this log.
    pub(super) fn new(output: Option<Arc<dyn Output>>) -> Self {
        Self { logged: Mutex::default(), output }
    }

    /// Logs the denial of a destination, given as the pattern that would grant it, unless it was logged before
    /// or too many others were.
    pub(super) fn log(&self, workload: &str, grant: &str, reason: &str) {
        if self.is_news(grant) {
            tracing::warn!(
                workload,
                reason,
                "outbound request denied; --allow-outbound {grant} would grant it"
            );
            if let Some(output) = &self.output {
                // Each kind of workload has its own word before this one.
                let line =
                    format!("outbound request denied: {reason}; allow-outbound {grant} would grant it");
                output.write(Stream::Stderr, line.as_bytes(), true);
            }
        }
    }

    fn is_news(&self, grant: &str) -> bool {
        let mut logged = self.logged.lock().unwrap_or_else(PoisonError::into_inner);
        logged.len() < LOGGED_MAX && logged.insert(grant.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Lines(Mutex<Vec<String>>);

    impl Output for Lines {
        fn write(&self, stream: Stream, piece: &[u8], is_end: bool) {
            assert!(stream == Stream::Stderr && is_end);
            self.0.lock().expect("nobody panics").push(String::from_utf8_lossy(piece).into_owned());
        }
    }

    #[test]
    fn the_workloads_own_log_has_each_denial_once() {
        let lines = Arc::new(Lines::default());
        let denials = Denials::new(Some(lines.clone()));
        for _ in 0..2 {
            denials.log("shop/web", "http://cart:80", "no pattern grants it");
        }
        let said =
            "outbound request denied: no pattern grants it; allow-outbound http://cart:80 would grant it";
        assert_eq!(*lines.0.lock().expect("nobody panics"), [said]);
    }

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
