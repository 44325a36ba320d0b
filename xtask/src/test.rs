//! `cargo xtask test [STEP…]`: everything that a change must pass, or the named steps of it, each with its time.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// One thing that must hold.
struct Step {
    name: &'static str,
    run: fn(&Path) -> Result<Outcome>,
}

/// How a step ended.
enum Outcome {
    Passed,
    Failed,
    /// A tool is not installed; what says how to get it.
    Skipped(&'static str),
}

/// In this order: what is quickest to fail comes first, and the binary before the tests that run it.
const STEPS: &[Step] = &[
    Step { name: "format", run: format },
    Step { name: "deny", run: deny },
    Step { name: "schema", run: schema },
    Step { name: "clippy", run: clippy },
    Step { name: "build", run: build },
    Step { name: "nextest", run: nextest },
    Step { name: "crash", run: crash },
    Step { name: "doctests", run: doctests },
    Step { name: "adapter", run: adapter },
];

/// Runs the steps; all of them when none is named. A step that fails does not keep the others from running.
///
/// # Errors
/// A step is unknown, or its program cannot be started. A step that fails is a failing exit code.
pub(crate) fn run(names: &[String]) -> Result<ExitCode> {
    let root = crate::guests::root();
    let mut ran = Vec::new();
    for step in choose(names)? {
        say(&format!("\n== {}", step.name));
        let began = Instant::now();
        let outcome = (step.run)(&root).with_context(|| format!("step {}", step.name))?;
        ran.push((step.name, began.elapsed(), outcome));
    }
    say("");
    for (name, took, outcome) in &ran {
        say(&line(name, *took, outcome));
    }
    let failed = ran.iter().any(|(.., outcome)| matches!(outcome, Outcome::Failed));
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn choose(names: &[String]) -> Result<Vec<&'static Step>> {
    if names.is_empty() {
        return Ok(STEPS.iter().collect());
    }
    let known = || STEPS.iter().map(|step| step.name).collect::<Vec<_>>().join(", ");
    let find = |name: &String| {
        let step = STEPS.iter().find(|step| step.name == name);
        step.with_context(|| format!("no step `{name}`; there are {}", known()))
    };
    names.iter().map(find).collect()
}

/// One line of the summary.
fn line(name: &str, took: Duration, outcome: &Outcome) -> String {
    let (word, why) = match outcome {
        Outcome::Passed => ("passed", ""),
        Outcome::Failed => ("FAILED", ""),
        Outcome::Skipped(why) => ("skipped", *why),
    };
    format!("{name:<9} {word:<8} {:>6.1} s  {why}", took.as_secs_f64()).trim_end().to_owned()
}

fn format(root: &Path) -> Result<Outcome> {
    finish(cargo(root, "fmt", &["--all", "--check"]))
}

fn deny(root: &Path) -> Result<Outcome> {
    if !is_there(cargo(root, "deny", &["--version"])) {
        return Ok(Outcome::Skipped("cargo-deny is not installed: `cargo install --locked cargo-deny`"));
    }
    finish(cargo(root, "deny", &["check", "bans", "licenses", "sources"]))
}

/// The table of built-in kinds is what its sources say; only where they are at hand, since they are large.
fn schema(root: &Path) -> Result<Outcome> {
    if !crate::schema::sources_are_here(root) {
        return Ok(Outcome::Skipped("the sources are not here: `cargo xtask schema --check` fetches them"));
    }
    match crate::schema::run(&["--check".into()]) {
        Ok(_) => Ok(Outcome::Passed),
        Err(error) => {
            say(&format!("{error:#}"));
            Ok(Outcome::Failed)
        }
    }
}

fn clippy(root: &Path) -> Result<Outcome> {
    finish(cargo(root, "clippy", &["--workspace", "--all-targets", "--quiet", "--", "-D", "warnings"]))
}

/// The binary with the same dependencies as the tests: `--tests` gives both the same features, so that nothing is
/// built twice.
fn build(root: &Path) -> Result<Outcome> {
    finish(cargo(root, "build", &["--workspace", "--bins", "--tests", "--quiet"]))
}

fn nextest(root: &Path) -> Result<Outcome> {
    if !is_there(cargo(root, "nextest", &["--version"])) {
        say("installing cargo-nextest");
        if let Outcome::Failed = finish(cargo(root, "install", &["--locked", "--quiet", "cargo-nextest"]))? {
            bail!("cargo-nextest cannot be installed: see above");
        }
    }
    let mut command = cargo(root, "nextest", &["run", "--workspace", "--no-fail-fast"]);
    command.env("SHOAL", binary(root)).args(["--status-level", "slow", "--final-status-level", "fail"]);
    finish(command)
}

/// A few rounds of the crash campaign; `cargo xtask crash` runs more.
fn crash(root: &Path) -> Result<Outcome> {
    let words = ["--quiet", "--package", "shoal-store", "--example", "crash", "--", "--rounds", "10"];
    finish(cargo(root, "run", &words))
}

fn doctests(root: &Path) -> Result<Outcome> {
    finish(cargo(root, "test", &["--workspace", "--doc", "--quiet"]))
}

/// The tests of the adapter for the WASI test suite, with the binary that was just built.
fn adapter(root: &Path) -> Result<Outcome> {
    let python = |words: &[&str]| {
        let mut command = Command::new("python3");
        command.current_dir(root).args(words).env("SHOAL", binary(root));
        command.env("PYTHONDONTWRITEBYTECODE", "1");
        command
    };
    if !is_there(python(&["--version"])) {
        return Ok(Outcome::Skipped("python3 is not installed"));
    }
    finish(python(&["-m", "unittest", "discover", "tests/adapters"]))
}

fn cargo(root: &Path, verb: &str, words: &[&str]) -> Command {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    let mut command = Command::new(program);
    command.current_dir(root).arg(verb).args(words);
    command
}

/// `shoal` of the debug profile.
fn binary(root: &Path) -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    root.join(target).join("debug/shoal")
}

fn is_there(mut command: Command) -> bool {
    command.output().is_ok_and(|output| output.status.success())
}

fn finish(mut command: Command) -> Result<Outcome> {
    let status =
        command.status().with_context(|| format!("cannot start {}", command.get_program().display()))?;
    Ok(if status.success() { Outcome::Passed } else { Outcome::Failed })
}

#[expect(clippy::print_stderr, reason = "this is the talk of a command-line tool")]
fn say(line: &str) {
    eprintln!("{line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_names_all_steps_run_and_an_unknown_one_is_refused() {
        assert_eq!(choose(&[]).map(|steps| steps.len()).ok(), Some(STEPS.len()));
        let named = choose(&["clippy".into(), "format".into()]).expect("both exist");
        assert_eq!(named.iter().map(|step| step.name).collect::<Vec<_>>(), ["clippy", "format"]);
        let error = choose(&["lint".into()]).err().map(|error| error.to_string()).unwrap_or_default();
        assert!(error.starts_with("no step `lint`; there are format, deny, schema, clippy,"), "{error}");
    }

    #[test]
    fn a_skipped_step_says_why() {
        let took = Duration::from_millis(1240);
        assert_eq!(line("deny", took, &Outcome::Skipped("no tool")), "deny      skipped     1.2 s  no tool");
        assert_eq!(line("nextest", took, &Outcome::Failed), "nextest   FAILED      1.2 s");
    }
}
