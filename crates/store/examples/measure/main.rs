//! Measures the store: both engines, and SQLite by itself with the same batches. Run by `bench/store`.
//!
//! `measure DIR [ETCD]` prints one line for each number: name, value, unit.

mod reads;
mod writes;

use std::path::Path;
use std::process::ExitCode;

/// Size of a value, in bytes: an object of Kubernetes.
const VALUE_BYTES: usize = 2048;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let result = runtime.map_err(|error| error.to_string()).and_then(|runtime| match words[..] {
        ["open", dir] => reads::open(Path::new(dir)),
        [dir] => runtime.block_on(all(Path::new(dir), None)),
        [dir, etcd] => runtime.block_on(all(Path::new(dir), Some(etcd))),
        _ => Err("measure DIR [ETCD]".into()),
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("error: {error}"));
            ExitCode::FAILURE
        }
    }
}

async fn all(dir: &Path, etcd: Option<&str>) -> Result<(), String> {
    writes::measure(dir, etcd).await?;
    reads::measure(dir).await
}

/// One number.
#[expect(clippy::print_stdout, reason = "this is the data of a command-line tool")]
fn tell(name: &str, value: f64, unit: &str) {
    println!("{name}\t{value:.3}\t{unit}");
}

/// The middle and the 99th percentile, as they are told.
fn tell_times(name: &str, mut seconds: Vec<f64>) {
    seconds.sort_by(f64::total_cmp);
    let at = |part: f64| seconds[((seconds.len() - 1) as f64 * part) as usize] * 1e3;
    tell(&format!("{name} p50"), at(0.5), "ms");
    tell(&format!("{name} p99"), at(0.99), "ms");
    tell(&format!("{name} max"), at(1.0), "ms");
}

#[expect(clippy::print_stderr, reason = "this is the talk of a command-line tool")]
fn say(line: &str) {
    eprintln!("{line}");
}
