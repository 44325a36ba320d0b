//! `cargo xtask crash [--rounds 200] [--seed 1] [--dir DIR]`: kills a process that writes to a store, and looks for what
//! it was told.

use std::process::{Command, ExitCode};

use anyhow::Result;

/// Builds the campaign and runs it with these words.
///
/// # Errors
/// Cargo cannot be started. What the campaign finds is a failing exit code.
pub(crate) fn run(words: &[String]) -> Result<ExitCode> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .current_dir(crate::guests::root())
        .args(["run", "--quiet", "--package", "shoal-store", "--example", "crash", "--"])
        .args(words)
        .status()?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
