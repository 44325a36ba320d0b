//! How much a workload may log: a token bucket over bytes, shared by its instances and threads. What counts is the
//! line as it is written, with time, level and fields, but for colours: many short lines fill a disk, too.
//!
//! A line is passed whole or dropped whole. Once a line is dropped, all are dropped until half of the bucket
//! is free again, and the line that passes then is preceded by one that says how many bytes are missing. So a
//! flood makes about two such lines a second, not one per line.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use shoal_base::units::Bytes;

/// How much may come at once after silence, as time at the full rate.
const BURST: Duration = Duration::from_secs(1);

/// Time, level and target before the message, and the end of the line, as the log of `shoal run` has them:
/// `2026-11-23T00:00:32.476423Z  INFO guest: `.
const FRAME_BYTES: usize = 42;

/// A line about a workload.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Line<'a> {
    /// The workload.
    pub(crate) workload: &'a str,
    /// Fields beside it, each with its name.
    pub(crate) fields: &'a [(&'a str, &'a str)],
    /// What is said.
    pub(crate) message: &'a str,
}

impl Line<'_> {
    /// Bytes of the line as it is written.
    fn bytes(&self) -> u64 {
        // ` name="value"`
        let field = |(name, value): (&str, &str)| name.len() + value.len() + 4;
        let fields =
            field(("workload", self.workload)) + self.fields.iter().copied().map(field).sum::<usize>();
        (FRAME_BYTES + self.message.len() + fields) as u64
    }
}

/// The log allowance of one workload.
#[derive(Debug)]
pub(crate) struct LogBudget {
    /// Bytes per second; also the size of the bucket, since the burst is one second.
    rate: Bytes,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// Bytes that may be logged now; below zero after a line larger than what was left.
    tokens: i128,
    /// When `tokens` was right.
    at: Instant,
    /// Bytes dropped and not yet reported.
    dropped: u64,
    dropping: bool,
}

/// What becomes of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It passes.
    Pass,
    /// It passes; say first that this many bytes were dropped.
    PassAfter {
        /// Bytes dropped since the last report.
        dropped_bytes: u64,
    },
    /// It is dropped, and counted.
    Drop,
}

impl LogBudget {
    /// An allowance of `rate` bytes per second, full at `now`.
    pub(crate) fn new(rate: Bytes, now: Instant) -> Self {
        let tokens = i128::from(rate.0) * i128::from(BURST.as_secs());
        Self { rate, state: Mutex::new(State { tokens, at: now, dropped: 0, dropping: false }) }
    }

    /// Asks to write a line at `now`. The line that reports what was dropped before counts as well.
    pub(crate) fn ask(&self, line: &Line<'_>, now: Instant) -> Verdict {
        let verdict = self.ask_bytes(line.bytes(), now);
        if let Verdict::PassAfter { dropped_bytes } = verdict {
            let message = self.notice(dropped_bytes);
            let notice = Line { workload: line.workload, fields: &[], message: &message };
            self.state.lock().unwrap_or_else(PoisonError::into_inner).tokens -= i128::from(notice.bytes());
        }
        verdict
    }

    /// Asks for `bytes` at `now`. A line may overdraw the bucket, so that none is too long to ever pass; the
    /// debt is paid off before the next.
    pub(crate) fn ask_bytes(&self, bytes: u64, now: Instant) -> Verdict {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let full = i128::from(self.rate.0) * i128::from(BURST.as_secs());
        let passed = now.saturating_duration_since(state.at);
        let earned = u128::from(self.rate.0).saturating_mul(passed.as_nanos()) / 1_000_000_000;
        // Time that earns nothing yet is kept, or a busy log would never earn anything.
        if earned > 0 {
            state.tokens = state.tokens.saturating_add(i128::try_from(earned).unwrap_or(i128::MAX)).min(full);
            state.at = now;
        }
        let needed = if state.dropping { full / 2 } else { 0 };
        if state.tokens <= needed {
            state.dropping = true;
            state.dropped = state.dropped.saturating_add(bytes);
            return Verdict::Drop;
        }
        state.dropping = false;
        state.tokens -= i128::from(bytes);
        match std::mem::take(&mut state.dropped) {
            0 => Verdict::Pass,
            dropped_bytes => Verdict::PassAfter { dropped_bytes },
        }
    }

    /// Bytes that may still be written.
    #[cfg(test)]
    pub(crate) fn left_bytes(&self) -> i128 {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).tokens
    }

    /// The line that reports dropped bytes.
    pub(crate) fn notice(&self, dropped_bytes: u64) -> String {
        format!(
            "{dropped_bytes} bytes of log dropped: over the limit of {} per second (--log-rate)",
            self.rate
        )
    }

    /// Bytes dropped and not yet reported, for a last report when the workload ends.
    pub(crate) fn take_dropped(&self) -> Option<u64> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        Some(std::mem::take(&mut state.dropped)).filter(|dropped| *dropped > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn passes(verdict: Verdict) -> bool {
        verdict != Verdict::Drop
    }

    #[test]
    fn a_burst_passes_up_to_the_rate_and_the_next_byte_does_not() {
        let start = Instant::now();
        let budget = LogBudget::new(Bytes(1000), start);
        assert_eq!(budget.ask_bytes(999, start), Verdict::Pass);
        assert_eq!(budget.ask_bytes(1, start), Verdict::Pass, "the last byte of the bucket");
        assert_eq!(budget.ask_bytes(1, start), Verdict::Drop);
    }

    #[test]
    fn what_was_dropped_is_said_once_when_half_the_bucket_is_free() {
        let start = Instant::now();
        let budget = LogBudget::new(Bytes(1000), start);
        assert_eq!(budget.ask_bytes(1000, start), Verdict::Pass);
        assert_eq!(budget.ask_bytes(70, start), Verdict::Drop);
        assert_eq!(budget.ask_bytes(7, start + SECOND / 2), Verdict::Drop, "exactly half is not yet enough");
        let later = start + Duration::from_millis(501);
        assert_eq!(budget.ask_bytes(10, later), Verdict::PassAfter { dropped_bytes: 77 });
        assert_eq!(budget.ask_bytes(10, later), Verdict::Pass);
        assert_eq!(budget.take_dropped(), None);
    }

    #[test]
    fn a_line_larger_than_the_bucket_passes_and_is_paid_off() {
        let start = Instant::now();
        let budget = LogBudget::new(Bytes(1000), start);
        assert_eq!(budget.ask_bytes(5000, start), Verdict::Pass);
        assert_eq!(
            budget.ask_bytes(1, start + 4 * SECOND),
            Verdict::Drop,
            "4,000 of 5,000 are earned: nothing is left"
        );
        assert_eq!(budget.take_dropped(), Some(1));
        assert_eq!(budget.ask_bytes(1, start + 5 * SECOND), Verdict::Pass);
    }

    #[test]
    fn a_log_that_asks_often_still_earns() {
        let start = Instant::now();
        let budget = LogBudget::new(Bytes(1000), start);
        assert!(passes(budget.ask_bytes(1000, start)));
        let passed: u64 = (0..2_000_000u64)
            .map(|micros| u64::from(passes(budget.ask_bytes(1, start + Duration::from_micros(micros)))))
            .sum();
        assert!(
            (1_400..=2_000).contains(&passed),
            "2 s at 1,000 bytes/s, less the wait for half a bucket: {passed}"
        );
    }

    #[test]
    fn time_that_runs_backwards_changes_nothing() {
        let start = Instant::now() + SECOND;
        let budget = LogBudget::new(Bytes(10), start);
        assert_eq!(budget.ask_bytes(10, start), Verdict::Pass);
        assert_eq!(budget.ask_bytes(1, start - SECOND), Verdict::Drop);
    }

    #[test]
    fn the_line_that_reports_what_was_dropped_counts_too() {
        let start = Instant::now();
        let budget = LogBudget::new(Bytes(1000), start);
        let line = Line { workload: "web", fields: &[("stream", "stdout")], message: "0123456789" };
        assert_eq!(line.bytes(), 42 + 15 + 16 + 10, "frame, workload, stream, message");
        assert_eq!(budget.ask_bytes(1000, start), Verdict::Pass);
        assert_eq!(budget.ask(&line, start), Verdict::Drop);
        assert_eq!(budget.ask(&line, start + SECOND), Verdict::PassAfter { dropped_bytes: 83 });
        let notice = "83 bytes of log dropped: over the limit of 1000B per second (--log-rate)";
        assert_eq!(budget.notice(83), notice);
        assert_eq!(budget.left_bytes(), 1000 - 83 - (42 + 15 + notice.len() as i128));
    }

    #[test]
    fn a_rate_of_zero_logs_nothing() {
        let start = Instant::now();
        let budget = LogBudget::new(Bytes(0), start);
        assert_eq!(budget.ask_bytes(1, start + 100 * SECOND), Verdict::Drop);
    }
}
