//! The report of `shoal doctor`.

use serde::Serialize;
use shoal_runtime::report::{Report, Row, Section, Verdict};

use super::{BAD, Cell, GOOD, QUIET, TITLE, WARNING, columns, json, plain, styled};

/// For people: a block for each section; the reason stands beside each value.
pub fn doctor(report: &Report) -> String {
    let mut text: String = report.sections.iter().map(section).collect::<Vec<_>>().join("\n");
    if !report.sections.is_empty() {
        text.push('\n');
    }
    text.push_str(&summary(report));
    text
}

/// For programs: the report with its verdict; see docs/cli-json.md.
pub fn doctor_json(report: &Report) -> String {
    #[derive(Serialize)]
    struct WithVerdict<'a> {
        verdict: Verdict,
        #[serde(flatten)]
        report: &'a Report,
    }
    json(&WithVerdict { verdict: report.verdict(), report })
}

fn section(section: &Section) -> String {
    let rows: Vec<Vec<Cell>> = section.rows.iter().map(row).collect();
    format!("{}\n{}", styled(TITLE, &plain(&section.title)), columns("  ", &rows))
}

fn row(row: &Row) -> Vec<Cell> {
    let (style, mark) = match row.verdict {
        Verdict::Ok => (GOOD, "ok"),
        Verdict::Warn => (WARNING, "warn"),
        Verdict::Bad => (BAD, "bad"),
    };
    vec![
        Cell::new(style, mark),
        Cell::plain(plain(&row.key)),
        Cell::plain(plain(&row.value)),
        Cell::new(QUIET, plain(&row.why)),
    ]
}

fn summary(report: &Report) -> String {
    let count = |verdict: Verdict| {
        report.sections.iter().flat_map(|section| &section.rows).filter(|row| row.verdict == verdict).count()
    };
    match (count(Verdict::Warn), count(Verdict::Bad)) {
        (0, 0) => format!("{}\n", styled(GOOD, "All is well.")),
        (warn, 0) => format!("{}\n", styled(WARNING, &format!("It works; {warn} to look at."))),
        (0, bad) => format!("{}\n", styled(BAD, &format!("It does not work well here: {bad} bad."))),
        (warn, bad) => {
            format!(
                "{}\n",
                styled(BAD, &format!("It does not work well here: {bad} bad, {warn} to look at."))
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::stripped;
    use expect_test::expect;

    fn report() -> Report {
        let memory = vec![
            Row::ok("ram", "4GiB", "from /proc/meminfo"),
            Row::warn("swap", "on", "swapped memory is slow; turn swap off"),
        ];
        let disk =
            vec![Row::bad("data dir", "/var/lib/shoal", "not writable; run as root or give --data-dir")];
        Report { sections: vec![Section::new("Memory", memory), Section::new("Disk", disk)] }
    }

    #[test]
    fn every_row_has_its_verdict_and_its_reason() {
        expect![[r#"
            Memory
              ok    ram   4GiB  from /proc/meminfo
              warn  swap  on    swapped memory is slow; turn swap off

            Disk
              bad  data dir  /var/lib/shoal  not writable; run as root or give --data-dir

            It does not work well here: 1 bad, 1 to look at.
        "#]]
        .assert_eq(&stripped(&doctor(&report())));
    }

    #[test]
    fn the_last_line_sums_up() {
        let mut report = report();
        report.sections.pop();
        assert!(stripped(&doctor(&report)).ends_with("It works; 1 to look at.\n"));
        report.sections[0].rows.pop();
        assert!(stripped(&doctor(&report)).ends_with("\n\nAll is well.\n"));
        assert_eq!(stripped(&doctor(&Report::default())), "All is well.\n");
    }

    #[test]
    fn programs_get_the_verdict_first() {
        expect![[r#"
            {
              "verdict": "bad",
              "sections": [
                {
                  "title": "Memory",
                  "rows": [
                    {
                      "key": "ram",
                      "value": "4GiB",
                      "why": "from /proc/meminfo",
                      "verdict": "ok"
                    },
                    {
                      "key": "swap",
                      "value": "on",
                      "why": "swapped memory is slow; turn swap off",
                      "verdict": "warn"
                    }
                  ]
                },
                {
                  "title": "Disk",
                  "rows": [
                    {
                      "key": "data dir",
                      "value": "/var/lib/shoal",
                      "why": "not writable; run as root or give --data-dir",
                      "verdict": "bad"
                    }
                  ]
                }
              ]
            }
        "#]]
        .assert_eq(&doctor_json(&report()));
    }
}
