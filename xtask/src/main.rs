//! Development tasks: `cargo xtask TASK`. The rules of the house are this package's tests.

mod crash;
mod guests;
mod schema;
mod test;

use std::process::ExitCode;

/// Tasks: the name, what it does, and the function that does it with the words after its name.
const TASKS: &[(&str, &str, Task)] = &[
    (
        "crash",
        "kills a process that writes to a store, again and again: [--rounds N] [--seed N] [--dir DIR]",
        crash::run,
    ),
    ("guests", "rebuilds guests: [--check] [NAME…]", guests::run),
    ("schema", "writes the table of built-in kinds from its sources: [--check]", schema::run),
    ("test", "everything that a change must pass: [STEP…]", test::run),
    ("tidy", "checks the rules of the house", tidy),
];

type Task = fn(&[String]) -> anyhow::Result<ExitCode>;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let (name, rest) = words.split_first().map_or(("", &[][..]), |(name, rest)| (name.as_str(), rest));
    let Some((_, _, task)) = TASKS.iter().find(|(known, ..)| *known == name) else {
        complain(&format!("no task `{name}`"));
        for (name, what, _) in TASKS {
            complain(&format!("  cargo xtask {name:<8} {what}"));
        }
        return ExitCode::from(64);
    };
    match task(rest) {
        Ok(code) => code,
        Err(error) => {
            complain(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// Runs the tests of this package.
fn tidy(words: &[String]) -> anyhow::Result<ExitCode> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = std::process::Command::new(cargo)
        .args(["test", "--quiet", "--package", "xtask", "--"])
        .args(words)
        .status()?;
    anyhow::ensure!(status.success(), "a rule of the house is broken: see above");
    Ok(ExitCode::SUCCESS)
}

#[expect(clippy::print_stderr, reason = "this is the talk of a command-line tool")]
fn complain(line: &str) {
    eprintln!("{line}");
}
