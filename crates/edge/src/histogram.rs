//! Latencies in buckets of powers of two: one microsecond, two, four, up to some seventeen seconds.

use std::time::Duration;

use crate::metrics::Counter;

/// Buckets with an upper bound; the last is 2^24 µs, longer than most deadlines.
pub(crate) const BUCKETS: usize = 25;

/// Counts of durations. One writer.
#[derive(Debug, Default)]
pub(crate) struct Histogram {
    /// Not cumulative; the last counts what is above all bounds.
    counts: [Counter; BUCKETS + 1],
    sum_ns: Counter,
}

/// A reading, added up over threads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reading {
    pub(crate) counts: [u64; BUCKETS + 1],
    pub(crate) sum_ns: u64,
}

impl Histogram {
    pub(crate) fn record(&self, duration: Duration) {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        self.counts[bucket(nanos)].add(1);
        self.sum_ns.add(nanos);
    }

    pub(crate) fn add_to(&self, reading: &mut Reading) {
        for (total, count) in reading.counts.iter_mut().zip(&self.counts) {
            *total += count.get();
        }
        reading.sum_ns += self.sum_ns.get();
    }
}

/// The upper bound of a bucket, inclusive, in seconds.
pub(crate) fn bound_seconds(bucket: usize) -> f64 {
    (1u64 << bucket) as f64 / 1e6
}

/// The first bucket whose bound is no less.
fn bucket(nanos: u64) -> usize {
    let micros = nanos.div_ceil(1000);
    let index = micros.saturating_sub(1).checked_ilog2().map_or(0, |log| log as usize + 1);
    index.min(BUCKETS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_falls_into_the_first_bucket_that_holds_it() {
        for (nanos, expected) in [
            (0, 0),
            (1, 0),
            (1_000, 0),
            (1_001, 1),
            (2_000, 1),
            (2_001, 2),
            (4_000, 2),
            (4_001, 3),
            (16_777_216_000, 24),
            (16_777_216_001, BUCKETS),
            (u64::MAX, BUCKETS),
        ] {
            assert_eq!(bucket(nanos), expected, "{nanos} ns");
            if expected < BUCKETS {
                assert!(nanos as f64 / 1e9 <= bound_seconds(expected), "{nanos} ns");
            }
        }
    }

    #[test]
    fn readings_add_up() {
        let (one, other) = (Histogram::default(), Histogram::default());
        one.record(Duration::from_micros(3));
        other.record(Duration::from_micros(3));
        other.record(Duration::from_secs(60));
        let mut reading = Reading::default();
        one.add_to(&mut reading);
        other.add_to(&mut reading);
        assert_eq!((reading.counts[2], reading.counts[BUCKETS]), (2, 1));
        assert_eq!(reading.sum_ns, 60_000_006_000);
    }
}
