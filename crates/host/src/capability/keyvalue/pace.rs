//! How long a group of writes waits for more before it is committed.
//!
//! A commit costs one fsync, however many writes it has. Guests that write one after the other come back soon after
//! their last write was answered: a group that went ahead with the first of them would leave the others to the
//! next fsync, and half of all fsyncs would be for one write. So a group waits until as many writes are there as
//! the last one had, as long as they keep coming, and never longer than the fsync that this saves. It does not wait
//! at all when nobody else wrote lately.

use std::time::{Duration, Instant};

/// The part of the last commit's time that a group waits for one more write.
const GAP_PART: u32 = 2;

/// Most that a group waits for one more write, however slow the disk is: a writer that does not come back by
/// then is busy elsewhere.
const GAP_MAX: Duration = Duration::from_millis(5);

/// What the last commit tells about the next.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pace(Option<Last>);

#[derive(Clone, Copy, Debug)]
struct Last {
    writes: usize,
    took: Duration,
    ended: Instant,
}

impl Pace {
    /// A commit of so many writes began and ended.
    pub(super) fn committed(&mut self, writes: usize, began: Instant, ended: Instant) {
        self.0 = Some(Last { writes, took: ended.saturating_duration_since(began), ended });
    }

    /// How long a group with so many writes, begun at `began`, waits for the next one; none: it does not.
    pub(super) fn wait(&self, writes: usize, began: Instant, now: Instant) -> Option<Duration> {
        let last = self.0.as_ref()?;
        let gap = (last.took / GAP_PART).min(GAP_MAX);
        let is_recent = began.saturating_duration_since(last.ended) <= gap;
        if writes >= last.writes || !is_recent {
            return None;
        }
        let left = last.took.checked_sub(now.saturating_duration_since(began))?;
        Some(left.min(gap)).filter(|wait| !wait.is_zero())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLI: Duration = Duration::from_millis(1);

    #[test]
    fn a_group_waits_for_as_many_as_the_last_one_had() {
        let start = Instant::now();
        let mut pace = Pace::default();
        assert_eq!(pace.wait(1, start, start), None, "nobody wrote before");
        pace.committed(16, start - 8 * MILLI, start);
        assert_eq!(pace.wait(15, start, start), Some(4 * MILLI), "half of a commit");
        assert_eq!(pace.wait(15, start, start + 7 * MILLI), Some(MILLI));
        assert_eq!(pace.wait(15, start, start + 8 * MILLI), None, "no longer than a commit in all");
        assert_eq!(pace.wait(16, start, start), None, "all are there");
        pace.committed(1, start, start + 8 * MILLI);
        assert_eq!(pace.wait(1, start + 8 * MILLI, start + 8 * MILLI), None, "a writer alone never waits");
    }

    #[test]
    fn a_slow_disk_and_an_old_commit_make_no_long_wait() {
        let start = Instant::now();
        let mut pace = Pace::default();
        pace.committed(2, start - 100 * MILLI, start);
        assert_eq!(pace.wait(1, start, start), Some(GAP_MAX));
        assert_eq!(pace.wait(1, start + GAP_MAX, start + GAP_MAX), Some(GAP_MAX));
        let later = start + GAP_MAX + MILLI;
        assert_eq!(pace.wait(1, later, later), None, "the others have gone");
    }
}
