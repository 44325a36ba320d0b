//! The README says what is: every `console` block is run, and what it shows is what comes out.
//!
//! A line `$ COMMAND` is run by `sh` in a scratch directory with the guests in it; the lines below it are its output, both
//! streams together, without the line about a compile that takes long; of a server, without its log. `…` stands for any text within a line; a line of it
//! alone, for any lines. Three kinds are special:
//!
//! - `$ shoal …` whose output begins with `Serving on` keeps serving until the next heading. It gets ports that the
//!   system picks, which later commands of the section are given in place of those in the text.
//!   `shoal up` does so, too; `KUBECONFIG` is the file that it names. Blocks with kubectl are left out where there is none.
//! - `$ curl [-d DATA] [-H 'Host: NAME'] URL` is done by the test itself, and shows the body.
//! - A comment `<!-- eventually -->` above a block: its requests are repeated until they show what they should;
//!   `<!-- not run: REASON -->`: the block is left alone.

mod client;
mod run;

use crate::house::{self, Finding};

const README: &str = "README.md";

/// A fenced block of the language `console`.
#[derive(Debug, PartialEq, Eq)]
struct Block {
    /// Of its first command, from 1.
    line: usize,
    eventually: bool,
    /// Whether a heading lies between it and the block before.
    begins_section: bool,
    steps: Vec<Step>,
}

/// A command and what it shows.
#[derive(Debug, PartialEq, Eq)]
struct Step {
    line: usize,
    command: String,
    output: Vec<String>,
}

/// The blocks that are to be run.
fn blocks(text: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let (mut begins_section, mut remark) = (true, "");
    let mut lines = (1..).zip(text.lines());
    while let Some((number, line)) = lines.next() {
        if line.starts_with('#') {
            begins_section = true;
        } else if let Some(comment) = line.strip_prefix("<!-- ") {
            remark = comment.trim_end_matches("-->").trim();
        } else if line.starts_with("```") {
            let body: Vec<&str> =
                lines.by_ref().map(|(_, line)| line).take_while(|line| *line != "```").collect();
            if line == "```console" && !remark.starts_with("not run:") {
                let steps = steps(number + 1, &body);
                blocks.push(Block {
                    line: number + 1,
                    eventually: remark == "eventually",
                    begins_section,
                    steps,
                });
                begins_section = false;
            }
            remark = "";
        }
    }
    blocks
}

fn steps(first: usize, body: &[&str]) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    for (number, line) in (first..).zip(body) {
        match (line.strip_prefix("$ "), steps.last_mut()) {
            (Some(command), _) => {
                steps.push(Step { line: number, command: command.into(), output: Vec::new() });
            }
            (None, Some(step)) => step.output.push((*line).to_owned()),
            (None, None) => {}
        }
    }
    steps
}

/// Whether `actual` is what `expected` shows, with its `…`.
fn matches(expected: &[String], actual: &[String]) -> bool {
    match expected.split_first() {
        None => actual.is_empty(),
        Some((any, rest)) if any == "…" => (0..=actual.len()).any(|skip| matches(rest, &actual[skip..])),
        Some((line, rest)) => {
            actual.split_first().is_some_and(|(first, others)| fits(line, first) && matches(rest, others))
        }
    }
}

fn fits(expected: &str, actual: &str) -> bool {
    match expected.split_once('…') {
        None => expected == actual,
        Some((before, after)) => actual.strip_prefix(before).is_some_and(|rest| {
            rest.char_indices().map(|(at, _)| at).chain([rest.len()]).any(|at| fits(after, &rest[at..]))
        }),
    }
}

#[test]
fn every_block_of_the_readme_is_true() {
    let text = std::fs::read_to_string(house::root().join(README)).expect("the README can be read");
    let blocks = blocks(&text);
    assert!(blocks.iter().any(|block| block.steps.iter().any(|step| step.command.starts_with("shoal "))));
    house::hold("the README shows what happens", run::check(&run::shoal(), &blocks));
}

#[test]
fn what_the_readme_shows_wrongly_is_found() {
    let text = "```console\n$ echo one; echo two >&2\none\ntwo\n$ echo o…e\nthree\n```\n";
    let findings = run::check(std::path::Path::new("/nowhere/shoal"), &blocks(text));
    expect_test::expect![[r#"
        README.md:5: `echo o…e` shows
        o…e
            way out: show what it shows now, or mend what it does
    "#]]
    .assert_eq(&house::show(&findings));
}

#[test]
fn blocks_are_found_with_their_remarks() {
    let text = "# A\n```console\n$ one\n```\n<!-- not run: it takes an hour -->\n```console\n$ two\n```\n\
        ```text\n$ three\n```\n## B\n<!-- eventually -->\n```console\n$ four\nout\n\n$ five\n```\n";
    let found: Vec<String> = blocks(text)
        .iter()
        .map(|block| {
            let steps: Vec<String> = block
                .steps
                .iter()
                .map(|step| format!("{}:{}{:?}", step.line, step.command, step.output))
                .collect();
            format!("{} {} {}", block.begins_section, block.eventually, steps.join(" "))
        })
        .collect();
    assert_eq!(found, ["true false 3:one[]", "true true 15:four[\"out\", \"\"] 18:five[]"]);
}

#[test]
fn dots_stand_for_any_text_and_any_lines() {
    let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
    for (expected, actual, fit) in [
        ("a…c", "abc", true),
        ("a…", "a", true),
        ("a…c…e", "abcde", true),
        ("a…c", "abd", false),
        ("a\n…\nd", "a\nb\nc\nd", true),
        ("a\n…\nd", "a\nd", true),
        ("a\n…", "a\nb", true),
        ("a", "a\nb", false),
        ("…\nd", "a", false),
    ] {
        assert_eq!(matches(&lines(expected), &lines(actual)), fit, "{expected:?} {actual:?}");
    }
}

/// A finding at a line of the README.
fn finding(line: usize, what: impl Into<String>) -> Finding {
    Finding::new(README, line, what, "show what it shows now, or mend what it does")
}
