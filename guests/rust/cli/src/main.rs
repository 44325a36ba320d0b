//! A program for WASI preview 1: shows what a process sees, and exits as it is told.
//!
//! - `cli [CODE [ARG…]]` prints arguments, environment, clock and random bytes, then exits with CODE (0 when absent)
//! - `cli cat` copies stdin to stdout; `cli stderr TEXT` prints on stderr
//! - `cli ls DIR`, `cli read FILE`, `cli write FILE TEXT` use the granted directories; a failure exits with 1
//! - `cli trap` traps; `cli spin` loops for ever; `cli sleep MS` sleeps

use std::hash::{BuildHasher, RandomState};
use std::io::{Read, Write};
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        ["cat"] => cat(),
        ["stderr", text] => writeln!(std::io::stderr(), "{text}"),
        ["ls", directory] => list(directory),
        ["read", file] => std::fs::read(file).and_then(|bytes| std::io::stdout().write_all(&bytes)),
        ["write", file, text] => std::fs::write(file, text),
        ["sleep", milliseconds] => {
            std::thread::sleep(Duration::from_millis(milliseconds.parse().unwrap_or(0)));
            Ok(())
        }
        ["trap"] => core::arch::wasm32::unreachable(),
        ["spin"] => loop {
            core::hint::black_box(());
        },
        _ => return show(&args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn show(args: &[String]) -> ExitCode {
    println!("args: {args:?}");
    for (name, value) in std::env::vars() {
        println!("env: {name}={value}");
    }
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    println!("clock: {} s", since_epoch.as_secs());
    let start = Instant::now();
    println!("monotonic: {}", Instant::now() >= start);
    // The seed of a hash map is the standard library's one use of the host's random bytes.
    println!("random: {:016x}", RandomState::new().hash_one(0));
    ExitCode::from(args.first().and_then(|code| code.parse().ok()).unwrap_or(0))
}

fn cat() -> std::io::Result<()> {
    let mut buffer = [0; 16 * 1024];
    let (mut input, mut output) = (std::io::stdin().lock(), std::io::stdout().lock());
    loop {
        match input.read(&mut buffer)? {
            0 => return output.flush(),
            count => output.write_all(&buffer[..count])?,
        }
    }
}

fn list(directory: &str) -> std::io::Result<()> {
    let mut names: Vec<String> = std::fs::read_dir(directory)?
        .map(|entry| entry.map(|entry| entry.file_name().to_string_lossy().into_owned()))
        .collect::<Result<_, _>>()?;
    names.sort();
    names.iter().for_each(|name| println!("{name}"));
    Ok(())
}
