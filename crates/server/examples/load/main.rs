//! A light load generator for an API server, so that the server is measured and not its client. Run by `bench/api`.
//!
//! `load URL CERTIFICATES PID WHAT [NUMBER...]`: the directory holds `certificate-authority`, `client-certificate` and
//! `client-key` in PEM, and PID is the process whose CPU time and memory are read. One thread does everything; start it
//! under `taskset` to keep it away from the server. Prints rows of a table.

mod burst;
mod client;
mod fair;
mod lists;
mod pages;
mod process;
mod soak;
mod watch;

use std::path::Path;
use std::process::ExitCode;
use std::str::FromStr;
use std::sync::Arc;

use client::Server;

/// What this does, for those who ask wrongly.
const USAGE: &str = "load URL CERTIFICATES PID WHAT [NUMBER...], where WHAT is one of
  burst create|get|update|patch|delete COUNT CONNECTIONS
  lists                                    lists of all there is
  watch WATCHERS EVENTS PAUSE_MS           how long a change takes to each watcher
  pages                                    a long list, page by page
  fair SECONDS CONNECTIONS                 a flood of one user, and what another notices
  soak SECONDS DATA_DIR                    churn, and a verdict about growth";

/// The namespace of all that is made here.
const NAMESPACE: &str = "bench";

type Result<T, E = String> = std::result::Result<T, E>;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    process::raise_file_limit();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let done = runtime.map_err(|error| error.to_string()).and_then(|runtime| runtime.block_on(run(&words)));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("error: {error}"));
            ExitCode::FAILURE
        }
    }
}

async fn run(words: &[&str]) -> Result<()> {
    let [url, certificates, pid, what @ ..] = words else { return Err(USAGE.into()) };
    let server = Arc::new(Server::new(url, Path::new(certificates), number(pid)?)?);
    match what {
        ["burst", operation, count, connections] => {
            burst::run(&server, operation, number(count)?, number(connections)?).await
        }
        ["lists"] => lists::run(&server).await,
        ["watch", watchers, events, pause_ms] => {
            watch::run(&server, number(watchers)?, number(events)?, number(pause_ms)?).await
        }
        ["pages"] => pages::run(&server).await,
        ["fair", seconds, connections] => fair::run(&server, number(seconds)?, number(connections)?).await,
        ["soak", seconds, data] => soak::run(&server, number(seconds)?, Path::new(data)).await,
        _ => Err(USAGE.into()),
    }
}

fn number<T: FromStr>(word: &str) -> Result<T> {
    word.parse().map_err(|_| format!("`{word}` is no number; {USAGE}"))
}

/// A row of the table.
#[expect(clippy::print_stdout, reason = "this is the data of a command-line tool")]
fn row(what: &str, result: &str) {
    println!("| {what} | {result} |");
}

#[expect(clippy::print_stderr, reason = "this is the talk of a command-line tool")]
fn say(line: &str) {
    eprintln!("{line}");
}

/// The value below which this part of all lies; 0 of none.
fn quantile(sorted: &[f64], part: f64) -> f64 {
    sorted.get((sorted.len().saturating_sub(1) as f64 * part) as usize).copied().unwrap_or(0.0)
}

/// As times are shown, in milliseconds.
fn times(mut seconds: Vec<f64>) -> String {
    seconds.sort_by(f64::total_cmp);
    let at = |part| quantile(&seconds, part) * 1e3;
    format!("p50 {:.2} ms, p99 {:.2} ms", at(0.5), at(0.99))
}

/// As times of a few repetitions are shown, in milliseconds.
fn spread(mut seconds: Vec<f64>) -> String {
    seconds.sort_by(f64::total_cmp);
    let at = |part| quantile(&seconds, part) * 1e3;
    format!("{:.1} [{:.1}-{:.1}] ms", at(0.5), at(0.0), at(1.0))
}
