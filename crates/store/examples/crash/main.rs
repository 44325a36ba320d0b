//! The crash campaign: a process with concurrent writers is killed with `kill -9` again and again, and after each time
//! everything that it was told is looked for.
//!
//! `cargo xtask crash [--rounds 200] [--seed 1] [--dir DIR]`

mod campaign;
mod worker;

use std::process::ExitCode;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let result = match words.as_slice() {
        ["worker", dir, seed] => worker::run(dir, seed.parse().unwrap_or(0)),
        _ => campaign::run(&words),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(what) => {
            say(&format!("FAILED: {what}"));
            ExitCode::FAILURE
        }
    }
}

/// Tells values apart (FNV-1a).
fn hash(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xCBF2_9CE4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01B3))
}

#[expect(clippy::print_stderr, reason = "this is the talk of a command-line tool")]
fn say(line: &str) {
    eprintln!("{line}");
}
