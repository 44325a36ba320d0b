//! Development tasks: `cargo xtask TASK`.

mod guests;

use std::process::ExitCode;

const USAGE: &str = "usage: cargo xtask guests [--check] [NAME…]";

#[expect(clippy::print_stderr, reason = "a command for people")]
fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let done = match words.split_first() {
        Some((task, rest)) if task == "guests" => guests::run(rest),
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(64);
        }
    };
    done.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}
