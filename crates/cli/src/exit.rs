//! How the process ends: the exit codes, and the last words with each.
//!
//! The codes follow `sysexits.h` where it has one. A command guest's own code passes through unchanged.

use std::io::Write as _;

use shoal_runtime::report::Verdict;
use shoal_runtime::{CommandExit, FailureKind, Refusal};

use crate::render;

/// All went well.
pub const OK: u8 = 0;
/// The command line or the configuration is wrong (`EX_USAGE`).
pub const USAGE: u8 = 64;
/// The artifact is malformed, of no kind that Shoal runs, or lacks a grant (`EX_DATAERR`).
pub const BAD_ARTIFACT: u8 = 65;
/// A file or directory that was named does not exist or cannot be read (`EX_NOINPUT`).
pub const NO_INPUT: u8 = 66;
/// Something needed is not to be had: a port in use, a directory that cannot be written, a bad verdict of
/// `shoal doctor` (`EX_UNAVAILABLE`).
pub const UNAVAILABLE: u8 = 69;
/// A defect of Shoal itself (`EX_SOFTWARE`).
pub const INTERNAL: u8 = 70;
/// A command guest was stopped at its CPU time or deadline; as timeout(1) ends.
pub const STOPPED: u8 = 124;
/// A command guest trapped; as a shell reports a program that aborted (128 + SIGABRT).
pub const TRAPPED: u8 = 134;

/// Why the process ends without doing what was asked, or after having said it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Exit {
    /// The answer was asked for (`--help`, `--version`): to standard output, code 0.
    Answer(String),
    /// It went wrong: to standard error.
    Error(Complaint),
}

/// What went wrong, and the ways out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Complaint {
    /// One of the codes of this module.
    pub code: u8,
    /// What, on which object. May have more lines, which are shown as they are.
    pub what: String,
    /// What to do next, one sentence each.
    pub hints: Vec<String>,
}

impl Exit {
    /// An error with this code.
    pub fn error(code: u8, what: impl Into<String>) -> Self {
        Self::Error(Complaint { code, what: what.into(), hints: Vec::new() })
    }

    /// Adds a way out; an answer stays as it is.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        if let Self::Error(complaint) = &mut self {
            complaint.hints.push(hint.into());
        }
        self
    }

    /// A refusal of this object (a path, an address), with this code.
    pub fn refusal(code: u8, object: impl std::fmt::Display, refusal: &Refusal) -> Self {
        let exit = Self::error(code, format!("{object}: {}", refusal.what));
        match &refusal.hint {
            Some(hint) => exit.hint(hint.as_str()),
            None => exit,
        }
    }

    /// The exit code.
    pub fn code(&self) -> u8 {
        match self {
            Self::Answer(_) => OK,
            Self::Error(complaint) => complaint.code,
        }
    }

    /// Says the last words on the stream they belong to and gives the code to exit with. A stream that is
    /// gone is no reason to end otherwise.
    pub fn say(&self) -> u8 {
        match self {
            Self::Answer(text) => drop(anstream::stdout().write_all(text.as_bytes())),
            Self::Error(complaint) => {
                drop(anstream::stderr().write_all(render::error::error(complaint).as_bytes()));
            }
        }
        self.code()
    }
}

/// The code to exit with after a command guest has ended.
pub fn of_command(exit: &CommandExit) -> u8 {
    match exit {
        CommandExit::Code(code) => *code,
        CommandExit::Failed(failure) => match failure.kind {
            FailureKind::CpuTime | FailureKind::Deadline => STOPPED,
            FailureKind::Overloaded
            | FailureKind::NoRoute
            | FailureKind::NoEndpoint
            | FailureKind::Busy
            | FailureKind::RequestTooLarge => UNAVAILABLE,
            FailureKind::Trap
            | FailureKind::Memory
            | FailureKind::NoAnswer
            | FailureKind::GuestError
            | FailureKind::ResponseTooLarge
            | FailureKind::Cancelled => TRAPPED,
        },
    }
}

/// The code to exit with after `shoal doctor` has shown a report with this verdict.
pub fn of_report(verdict: Verdict) -> u8 {
    match verdict {
        Verdict::Ok | Verdict::Warn => OK,
        Verdict::Bad => UNAVAILABLE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use shoal_runtime::Failure;

    #[test]
    fn a_guest_that_ends_by_itself_gives_its_own_code() {
        assert_eq!(of_command(&CommandExit::Code(0)), 0);
        assert_eq!(of_command(&CommandExit::Code(255)), 255);
    }

    #[test]
    fn a_guest_that_is_ended_gives_the_code_of_its_end() {
        for kind in FailureKind::ALL {
            let expected = match kind.name() {
                "cpu_time" | "deadline" => 124,
                "overloaded" | "no_route" | "no_endpoint" | "busy" | "request_too_large" => 69,
                _ => 134,
            };
            assert_eq!(of_command(&CommandExit::Failed(Failure::new(kind, "x"))), expected, "{kind}");
        }
    }

    #[test]
    fn a_refusal_names_its_object_and_keeps_its_hint() {
        let exit = Exit::refusal(BAD_ARTIFACT, "a.wasm", &Refusal::new("is empty").hint("build it"));
        let complaint =
            Complaint { code: 65, what: "a.wasm: is empty".into(), hints: vec!["build it".into()] };
        assert_eq!(exit, Exit::Error(complaint));
        assert_eq!(of_report(Verdict::Bad), 69);
        assert_eq!(of_report(Verdict::Warn), 0);
    }
}
