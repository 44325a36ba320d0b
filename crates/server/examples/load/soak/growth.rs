//! What a server holds as time goes by, and whether it holds more and more.

use std::fmt;
use std::fs;
use std::path::Path;

use crate::process::Process;
use crate::{Result, quantile, row};

/// The part of the samples in which a server warms up: caches and history fill.
const WARM_UP: f64 = 0.4;
/// Growth from the middle of the run to its end that is no leak, in parts of what was there.
const GROWTH_MAX: f64 = 0.10;

/// What a server holds at one moment.
pub(super) struct Sample {
    resident_mib: f64,
    descriptors: usize,
    database_mib: f64,
    log_mib: f64,
    audit_mib: f64,
}

/// What changed over time: for each thing its name, what it was after the start, and at the end.
pub(super) struct Growth(Vec<(&'static str, f64, f64)>);

impl Sample {
    /// `data` is the data directory of the server.
    pub(super) fn take(process: Process, data: &Path) -> Self {
        let mib = |name: &str| {
            fs::metadata(data.join(name)).map_or(0.0, |file| file.len() as f64 / f64::from(1 << 20))
        };
        Self {
            resident_mib: process.resident_mib(),
            descriptors: process.descriptors(),
            database_mib: mib("store/store.db"),
            log_mib: mib("store/store.db-wal"),
            audit_mib: mib("audit.log"),
        }
    }
}

impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { resident_mib, descriptors, database_mib, log_mib, audit_mib } = self;
        write!(
            f,
            "{resident_mib:.1} MiB, {descriptors} descriptors, database {database_mib:.1} MiB, its log {log_mib:.1} MiB, audit \
             {audit_mib:.1} MiB"
        )
    }
}

impl Growth {
    /// Between the part that follows the warm-up and the last part.
    pub(super) fn of(samples: &[Sample]) -> Self {
        let after = (samples.len() as f64 * WARM_UP) as usize;
        let rest = &samples[after.min(samples.len())..];
        let (early, late) = rest.split_at(rest.len() / 2);
        let middle = |of: &[Sample], value: fn(&Sample) -> f64| {
            let mut values: Vec<f64> = of.iter().map(value).collect();
            values.sort_by(f64::total_cmp);
            quantile(&values, 0.5)
        };
        let one = |name, value: fn(&Sample) -> f64| (name, middle(early, value), middle(late, value));
        Self(vec![
            one("resident MiB", |sample| sample.resident_mib),
            one("descriptors", |sample| sample.descriptors as f64),
            one("database MiB", |sample| sample.database_mib),
            one("write-ahead log MiB", |sample| sample.log_mib),
        ])
    }

    /// Rows for each; an error names what has grown.
    pub(super) fn tell(&self) -> Result<()> {
        let mut grown = Vec::new();
        for (name, early, late) in &self.0 {
            let has_grown = *late > early * (1.0 + GROWTH_MAX);
            row(
                &format!("{name}, after the warm-up and at the end"),
                &format!("{early:.1}, {late:.1}: {}", if has_grown { "**grown**" } else { "not grown" }),
            );
            if has_grown {
                grown.push(*name);
            }
        }
        if grown.is_empty() { Ok(()) } else { Err(format!("has grown: {}", grown.join(", "))) }
    }
}
