//! What is expected of a workload's next request: that it is short like most, or long like one of the last.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use crate::ticker::{SLICE, TICK};

/// Requests of a workload that begin with a slice instead of a tick after one that was long. Whoever sends a request
/// that loops each time the last was stopped gets the tick of a newcomer once.
const WARY_REQUESTS: u32 = 16;

/// How many of a workload's next requests may be long.
#[derive(Debug, Default)]
pub(crate) struct Habit(AtomicU32);

impl Habit {
    /// How long the next request may hold its core at first.
    pub(crate) fn first_stay(&self) -> Duration {
        if self.0.load(Relaxed) == 0 { TICK } else { SLICE }
    }

    /// A request had `used` so much CPU time when it ended, or has by now.
    ///
    /// Two that do so at the same time may count as one: the number is no promise.
    pub(crate) fn note(&self, used: Duration) {
        let left = self.0.load(Relaxed);
        if used >= TICK {
            self.0.store(WARY_REQUESTS, Relaxed);
        } else if left > 0 {
            self.0.store(left - 1, Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_a_long_request_some_begin_with_a_slice() {
        let habit = Habit::default();
        let short = TICK - Duration::from_nanos(1);
        habit.note(short);
        assert_eq!(habit.first_stay(), TICK);
        habit.note(TICK);
        for _ in 0..WARY_REQUESTS {
            assert_eq!(habit.first_stay(), SLICE);
            habit.note(short);
        }
        assert_eq!(habit.first_stay(), TICK);
    }
}
