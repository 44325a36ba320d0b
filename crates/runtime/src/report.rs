//! What a part of the node found out about itself, as plain rows: the host and the binary fill them in, the
//! command line shows them (`shoal doctor`).

use serde::Serialize;

/// A report: sections of rows, in reading order. Serializes as `{"sections": [...]}`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The sections, in reading order.
    pub sections: Vec<Section>,
}

/// One subject of a report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Section {
    /// The subject in a word or two, as in `Memory`.
    pub title: String,
    /// What was found, in reading order.
    pub rows: Vec<Row>,
}

/// One thing found or chosen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Row {
    /// What it is, as in `instance slots`.
    pub key: String,
    /// Its value with its unit, as in `1000` or `512MiB`.
    pub value: String,
    /// Why it has this value and, where the verdict is not good, what to do. May be empty.
    pub why: String,
    /// Whether it is as it should be.
    pub verdict: Verdict,
}

/// Whether a row is as it should be. Ordered from good to bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// As it should be.
    Ok,
    /// It works, but something is lost.
    Warn,
    /// It does not work, or not safely.
    Bad,
}

impl Report {
    /// The worst verdict of all rows; [`Verdict::Ok`] for an empty report.
    pub fn verdict(&self) -> Verdict {
        let rows = self.sections.iter().flat_map(|section| &section.rows);
        rows.map(|row| row.verdict).max().unwrap_or(Verdict::Ok)
    }
}

impl Section {
    /// A section with these rows.
    pub fn new(title: impl Into<String>, rows: Vec<Row>) -> Self {
        Self { title: title.into(), rows }
    }
}

impl Row {
    /// A row that is as it should be.
    pub fn ok(key: impl Into<String>, value: impl Into<String>, why: impl Into<String>) -> Self {
        Self { key: key.into(), value: value.into(), why: why.into(), verdict: Verdict::Ok }
    }

    /// A row that costs something; `why` says what and the way out.
    pub fn warn(key: impl Into<String>, value: impl Into<String>, why: impl Into<String>) -> Self {
        Self { verdict: Verdict::Warn, ..Self::ok(key, value, why) }
    }

    /// A row that does not work; `why` says what and the way out.
    pub fn bad(key: impl Into<String>, value: impl Into<String>, why: impl Into<String>) -> Self {
        Self { verdict: Verdict::Bad, ..Self::ok(key, value, why) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_as_bad_as_its_worst_row() {
        let mut report = Report::default();
        assert_eq!(report.verdict(), Verdict::Ok);
        report
            .sections
            .push(Section::new("Memory", vec![Row::ok("ram", "4GiB", ""), Row::warn("swap", "on", "slow")]));
        assert_eq!(report.verdict(), Verdict::Warn);
        report.sections.push(Section::new("Disk", vec![Row::bad("data dir", "missing", "make it")]));
        assert_eq!(report.verdict(), Verdict::Bad);
    }
}
