//! Transcripts that are read as a guide, too: `tests/cmd/*.md`. Each runs in the directory of the guests, line by
//! line, and what it prints must be what stands there.
//!
//! In a block marked `console`, a line `$ shoal …` is a command, and the lines up to the next one are its output, both
//! streams one after the other. `? CODE` says that it ends with this code, and not with 0. `[..]` stands for any text
//! within a line, a line `...` for any lines. `SHOAL_TRANSCRIPTS=overwrite` writes what was printed.

use std::fmt::Write as _;
use std::path::Path;

use crate::process::{Place, guests};

/// One command of a transcript with what it should print.
struct Step<'a> {
    command: &'a str,
    expected: String,
}

#[test]
fn the_transcripts_are_true() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cmd");
    let mut found = 0;
    for entry in std::fs::read_dir(directory).expect("the transcripts") {
        let path = entry.expect("an entry").path();
        let text = std::fs::read_to_string(&path).expect("a transcript");
        found += 1;
        let printed = rewrite(&text, &Place::new());
        if std::env::var_os("SHOAL_TRANSCRIPTS").is_some_and(|value| value == "overwrite") {
            std::fs::write(&path, printed).expect("a transcript");
        } else {
            assert!(printed == text, "{} should be:\n{printed}", path.display());
        }
    }
    assert!(found > 0, "there is a transcript");
}

/// The transcript with what its commands print now; what fits stays as it was written.
fn rewrite(text: &str, place: &Place) -> String {
    let mut result = String::new();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        result.push_str(line);
        result.push('\n');
        if line != "```console" {
            continue;
        }
        let block: Vec<&str> = std::iter::from_fn(|| lines.next_if(|line| *line != "```")).collect();
        for step in steps(&block) {
            let printed = run(place, step.command);
            let kept = if fits(&step.expected, &printed) { step.expected } else { printed };
            let _ = write!(result, "$ {}\n{kept}", step.command);
        }
    }
    result
}

fn steps<'a>(block: &[&'a str]) -> Vec<Step<'a>> {
    let mut steps: Vec<Step<'a>> = Vec::new();
    for line in block {
        match (line.strip_prefix("$ "), steps.last_mut()) {
            (Some(command), _) => steps.push(Step { command, expected: String::new() }),
            (None, Some(step)) => {
                step.expected.push_str(line);
                step.expected.push('\n');
            }
            (None, None) => panic!("a block begins with a command, not with `{line}`"),
        }
    }
    steps
}

/// What a command prints, with `? CODE` before it when that is not 0.
fn run(place: &Place, command: &str) -> String {
    let words: Vec<&str> = command.split_whitespace().collect();
    let Some(("shoal", args)) = words.split_first().map(|(first, rest)| (*first, rest)) else {
        panic!("not a command of shoal: {command}");
    };
    let ended = place.output_in(&guests(), args);
    let code = ended.code.expect("it ended by itself");
    let head = if code == 0 { String::new() } else { format!("? {code}\n") };
    head + &ended.stdout + &ended.stderr
}

fn fits(expected: &str, printed: &str) -> bool {
    let (expected, printed): (Vec<&str>, Vec<&str>) = (expected.lines().collect(), printed.lines().collect());
    lines_fit(&expected, &printed)
}

fn lines_fit(expected: &[&str], printed: &[&str]) -> bool {
    match expected.split_first() {
        None => printed.is_empty(),
        Some((&"...", rest)) => (0..=printed.len()).any(|skipped| lines_fit(rest, &printed[skipped..])),
        Some((line, rest)) => {
            printed.split_first().is_some_and(|(found, left)| line_fits(line, found) && lines_fit(rest, left))
        }
    }
}

fn line_fits(expected: &str, found: &str) -> bool {
    let mut parts = expected.split("[..]");
    let first = parts.next().unwrap_or_default();
    let Some(mut left) = found.strip_prefix(first) else { return false };
    let rest: Vec<&str> = parts.collect();
    let Some((last, middle)) = rest.split_last() else { return left.is_empty() };
    for part in middle {
        let Some(at) = left.find(part) else { return false };
        left = &left[at + part.len()..];
    }
    left.ends_with(last)
}

#[test]
fn a_wildcard_stands_for_text_and_nothing_else() {
    assert!(fits("a [..] c\n", "a b c\n") && fits("...\nend\n", "1\n2\nend\n") && fits("a\n", "a\n"));
    assert!(!fits("a [..] c\n", "a b d\n") && !fits("a\n", "a\nb\n") && !fits("a\n", "") && !fits("a", "ab"));
}
