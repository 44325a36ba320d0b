//! Documents keep their promises: every number has its witness, every release its notes.

use std::collections::BTreeSet;

use expect_test::expect;

use crate::house::{self, File, Finding, files, show};

const SPECIFICATION: &str = "SPECIFICATION.md";
const CONFORMANCE: &str = "docs/conformance.md";
const CHANGELOG: &str = "CHANGELOG.md";

/// What a witness can be: a file of the tree, or a function in it.
struct Witnesses {
    files: BTreeSet<String>,
    functions: BTreeSet<String>,
}

impl Witnesses {
    fn of(files: &[File]) -> Self {
        let texts = || files.iter().filter(|file| file.path.ends_with(".rs")).filter_map(File::text);
        let functions = texts().flat_map(str::lines).filter_map(|line| {
            let (_, after) = line.split_once("fn ")?;
            let name: String = after.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            (!name.is_empty()).then_some(name)
        });
        Self { files: files.iter().map(|file| file.path.clone()).collect(), functions: functions.collect() }
    }

    /// Whether a name in backticks is one: `path`, `path::function`, `function`, or a directory `path/`.
    fn has(&self, name: &str) -> bool {
        let is_file = |path: &str| {
            self.files.contains(path)
                || (path.ends_with('/') && self.files.iter().any(|file| file.starts_with(path)))
        };
        let function = name.rsplit("::").next().unwrap_or(name);
        match name.split_once("::") {
            Some((path, _)) if path.contains('/') => is_file(path) && self.functions.contains(function),
            _ => is_file(name) || self.functions.contains(function),
        }
    }
}

/// Rows with a number but without a witness that exists.
fn check_specification(text: &str, witnesses: &Witnesses) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut find =
        |line, what: String, way_out: &str| findings.push(Finding::new(SPECIFICATION, line, what, way_out));
    let lines: Vec<&str> = text.lines().collect();
    let mut column = None;
    for (number, line) in lines.iter().enumerate() {
        if !line.starts_with('|') {
            column = None;
            continue;
        }
        let cells = cells(line);
        let is_head = lines.get(number + 1).is_some_and(|next| is_rule(next));
        if is_head {
            column = cells.iter().position(|cell| cell.eq_ignore_ascii_case("witness"));
            if column.is_none() {
                let way_out = "add a column `Witness` that names a test or a bench, or `pending`";
                find(number + 1, "a table without a witness for its numbers".into(), way_out);
            }
            continue;
        }
        let Some(column) = column.filter(|_| !is_rule(line)) else { continue };
        let promises = cells.iter().enumerate().filter(|(at, _)| *at != column);
        let has_number = promises.clone().any(|(_, cell)| cell.contains(|c: char| c.is_ascii_digit()));
        let witness = cells.get(column).copied().unwrap_or_default();
        if !has_number || witness.split(|c: char| !c.is_alphabetic()).any(|word| word == "pending") {
            continue;
        }
        let named: Vec<&str> = witness.split('`').skip(1).step_by(2).collect();
        match named.iter().find(|name| !witnesses.has(name)) {
            Some(gone) => {
                let way_out = "name a file, `path::function` or function that exists, or `pending`";
                find(number + 1, format!("the witness `{gone}` does not exist"), way_out);
            }
            None if named.is_empty() => {
                let way_out = "name in backticks the test or bench that shows it, or write `pending`";
                find(number + 1, "a number without a witness".into(), way_out);
            }
            None => {}
        }
    }
    findings
}

/// Rows of the table of Kubernetes that say that something works, without a witness that exists.
fn check_conformance(text: &str, witnesses: &Witnesses) -> Vec<Finding> {
    let rows = text.lines().enumerate().filter(|(_, line)| line.starts_with('|') && !is_rule(line));
    let rows = rows.map(|(number, line)| (number, cells(line))).filter(|(_, cells)| cells.len() == 3);
    let mut findings = Vec::new();
    for (number, cells) in rows.filter(|(_, cells)| cells[2] != "Witness") {
        let named: Vec<&str> = cells[2].split('`').skip(1).step_by(2).collect();
        let gone = named.iter().find(|name| !witnesses.has(name));
        if gone.is_some() || named.is_empty() && cells[1].contains("works") {
            let what = gone
                .map_or_else(|| "no witness".into(), |name| format!("the witness `{name}` does not exist"));
            findings.push(Finding::new(
                CONFORMANCE,
                number + 1,
                what,
                "name a test that shows it, or say that it does not",
            ));
        }
    }
    findings
}

fn cells(line: &str) -> Vec<&str> {
    line.trim().trim_matches('|').split('|').map(str::trim).collect()
}

/// The line below the head of a table.
fn is_rule(line: &str) -> bool {
    line.starts_with('|') && line.contains('-') && line.chars().all(|c| matches!(c, '|' | '-' | ':' | ' '))
}

fn check_changelog(text: &str) -> Option<Finding> {
    let has_unreleased = text
        .lines()
        .any(|line| line.trim_start_matches('#').trim() == "Unreleased" && line.starts_with("##"));
    (!has_unreleased).then(|| {
        Finding::new(
            CHANGELOG,
            0,
            "no section for what is not released",
            "add a heading `## Unreleased` on top",
        )
    })
}

/// The text of a document at the root, or that it is missing.
fn document(path: &str, way_out: &str) -> Result<String, Vec<Finding>> {
    std::fs::read_to_string(house::root().join(path))
        .map_err(|_| vec![Finding::new(path, 0, "is missing", way_out)])
}

#[test]
fn every_number_has_its_witness() {
    let text = document(SPECIFICATION, "write it: every promised number in a table with a column `Witness`");
    let findings = match text {
        Ok(text) => check_specification(&text, &Witnesses::of(&files())),
        Err(missing) => missing,
    };
    house::hold("every promised number has its witness", findings);
}

#[test]
fn what_works_of_kubernetes_has_its_witness() {
    let findings = match document(CONFORMANCE, "write it, with a table of what works of Kubernetes' list") {
        Ok(text) => check_conformance(&text, &Witnesses::of(&files())),
        Err(missing) => missing,
    };
    house::hold("what works of Kubernetes has its witness", findings);
}

#[test]
fn the_changelog_says_what_is_new() {
    let text = document(CHANGELOG, "write it, with a heading `## Unreleased`");
    let findings = match text {
        Ok(text) => check_changelog(&text).into_iter().collect(),
        Err(missing) => missing,
    };
    house::hold("the changelog has a place for what is new", findings);
}

#[test]
fn a_number_without_a_witness_is_found() {
    let witnesses = Witnesses::of(&[File {
        path: "crates/edge/tests/it/drain.rs".into(),
        bytes: b"async fn no_request_is_lost() {\n".to_vec(),
    }]);
    let text = "\
| Promise | Value | Witness |
|---|---:|---|
| a drain loses | 0 requests | `crates/edge/tests/it/drain.rs::no_request_is_lost` |
| starts in | 30 ms | `no_request_is_lost`, `crates/edge/tests/` |
| serves | 40 µs | pending |
| words only | many | |
| idle app | 48 KiB | |
| live instance | 40 KiB | `crates/edge/tests/it/gone.rs` |
| busy | 9 | `crates/edge/tests/it/drain.rs::gone` |

| Goal | Value |
|---|---|
| speed | 4x |
";
    expect![[r#"
        SPECIFICATION.md:7: a number without a witness
            way out: name in backticks the test or bench that shows it, or write `pending`
        SPECIFICATION.md:8: the witness `crates/edge/tests/it/gone.rs` does not exist
            way out: name a file, `path::function` or function that exists, or `pending`
        SPECIFICATION.md:9: the witness `crates/edge/tests/it/drain.rs::gone` does not exist
            way out: name a file, `path::function` or function that exists, or `pending`
        SPECIFICATION.md:11: a table without a witness for its numbers
            way out: add a column `Witness` that names a test or a bench, or `pending`
    "#]]
    .assert_eq(&show(&check_specification(text, &witnesses)));
}

#[test]
fn what_works_without_a_witness_is_found() {
    let witnesses = Witnesses::of(&[File {
        path: "crates/server/tests/it/walls.rs".into(),
        bytes: b"async fn no_route_is_open() {\n".to_vec(),
    }]);
    let text = "\
| What is asked | Result | Witness |
|---|---|---|
| walls | works | `crates/server/tests/it/walls.rs::no_route_is_open` |
| doors | does not | |
| roofs | works | |
| cellars | works, but for rain | `crates/server/tests/it/cellars.rs` |
";
    expect![[r#"
        docs/conformance.md:5: no witness
            way out: name a test that shows it, or say that it does not
        docs/conformance.md:6: the witness `crates/server/tests/it/cellars.rs` does not exist
            way out: name a test that shows it, or say that it does not
    "#]]
    .assert_eq(&show(&check_conformance(text, &witnesses)));
}

#[test]
fn a_changelog_without_its_section_is_found() {
    assert_eq!(check_changelog("# Changes\n\n## Unreleased\n\n- it runs\n"), None);
    assert!(check_changelog("# Changes\n\n## 0.1.0\n\nUnreleased\n").is_some());
}
