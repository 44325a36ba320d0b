//! `shoal-sim --seeds 1000 [--from 0]`: tells the stories of many seeds. `shoal-sim --seed 7`: one, with its lines.
//! `shoal-sim FILE…`: stories from files.

#![allow(clippy::print_stdout, reason = "what it finds is its output")]

use std::process::ExitCode;

use shoal_sim::{chaos, story};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |name: &str| {
        let at = arguments.iter().position(|argument| argument == name)?;
        arguments.get(at + 1)?.parse::<u64>().ok()
    };
    if let Some(seed) = number("--seed") {
        return tell_one(seed);
    }
    if let Some(count) = number("--seeds") {
        return tell_many(number("--from").unwrap_or(0), count);
    }
    if arguments.is_empty() || arguments.iter().any(|argument| argument.starts_with('-')) {
        println!("usage: shoal-sim --seeds COUNT [--from SEED] | --seed SEED | FILE…");
        return ExitCode::from(64);
    }
    let mut fine = true;
    for file in &arguments {
        let told = std::fs::read_to_string(file).map_err(|error| format!("{file}: {error}"));
        match told.and_then(|script| story::tell(0, &script)) {
            Ok(told) => println!("{told}"),
            Err(why) => {
                fine = false;
                println!("{why}");
            }
        }
    }
    if fine { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn tell_one(seed: u64) -> ExitCode {
    let told = chaos::tell(seed);
    println!("{}", told.lines.join("\n"));
    let Some(failure) = told.failure else { return ExitCode::SUCCESS };
    let last = told.trace.len().saturating_sub(200);
    println!("{}\nseed {seed}: {failure}", told.trace[last..].join("\n"));
    ExitCode::FAILURE
}

fn tell_many(from: u64, count: u64) -> ExitCode {
    let mut failed = 0;
    for seed in from..from.saturating_add(count) {
        if let Some(failure) = chaos::tell(seed).failure {
            failed += 1;
            println!("seed {seed}: {failure}");
        }
    }
    println!("{count} seeds, {failed} failed; --seed SEED tells one again");
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
