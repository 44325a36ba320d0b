//! The seeds of a fuzz target, and simple changes of them, for the tests of the crate that owns the parser.
//!
//! The changes are the same in every run. They need no other compiler, but know nothing of the code under test; that is
//! what the fuzz targets themselves are for.
#![allow(unreachable_pub, clippy::print_stderr, reason = "a module of the tests of several crates")]

use std::fs;
use std::path::Path;

use splitmix::SplitMix64;

// By its file, since crates of the lowest level may not depend on each other.
#[allow(dead_code, reason = "not all of it is needed here")]
#[path = "../../crates/base/src/splitmix.rs"]
mod splitmix;

/// Calls `check` with each seed of a target, in the order of their names, which it is told too.
pub fn replay(target: &str, mut check: impl FnMut(&str, &[u8])) {
    for (name, bytes) in seeds(target) {
        let _shown = Shown { target, bytes: &bytes };
        check(&name, &bytes);
    }
}

/// Calls `check` with each seed of a target, and with as many changed ones as a test has time for; the environment
/// variable `SHOAL_FUZZ_INPUTS` gives another number.
pub fn vary(target: &str, mut check: impl FnMut(&[u8])) {
    let asked = std::env::var("SHOAL_FUZZ_INPUTS").ok().map(|text| text.parse().expect("a number of inputs"));
    let seeds = seeds(target);
    let mut lot = Lot(SplitMix64::new(0x5EED));
    replay(target, |_, bytes| check(bytes));
    for _ in 0..asked.unwrap_or(INPUTS) {
        let mut bytes = lot.one_of(&seeds).1.clone();
        for _ in 0..=lot.below(4) {
            change(&mut bytes, &lot.one_of(&seeds).1.clone(), &mut lot);
        }
        let _shown = Shown { target, bytes: &bytes };
        check(&bytes);
    }
}

/// Changed inputs per target in an ordinary run of the tests: less than a second for the slowest.
const INPUTS: usize = 200;

/// Longest input that changes make.
const BYTES_MAX: usize = 16 << 10;

fn seeds(target: &str) -> Vec<(String, Vec<u8>)> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds").join(target);
    let entries = fs::read_dir(&dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("the directory is readable").path()).collect();
    paths.sort();
    assert!(!paths.is_empty(), "{} has no seeds", dir.display());
    let read = |path: &Path| fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    paths.iter().map(|path| (name(path), read(path))).collect()
}

/// One change: a byte, a bit, bytes removed, doubled or put in, a piece of another seed, a telling number.
fn change(bytes: &mut Vec<u8>, other: &[u8], lot: &mut Lot) {
    const TELLING: [&[u8]; 8] =
        [b"\0", b"\xff\xff\xff\xff\x0f", b"\x80", b"\r\n", b"18446744073709551615", b"-1", b"\xc3\xa9", b":"];
    let at = lot.below(bytes.len() + 1);
    let end = at + lot.below((bytes.len() - at).min(64) + 1);
    match lot.below(7) {
        0 if at < bytes.len() => bytes[at] = lot.0.draw().to_le_bytes()[0],
        1 if at < bytes.len() => bytes[at] ^= 1 << lot.below(8),
        2 => drop(bytes.drain(at..end)),
        3 => bytes.extend_from_within(at..end),
        4 => {
            let from = lot.below(other.len() + 1);
            let to = from + lot.below(other.len() - from + 1);
            bytes.splice(at..end, other[from..to].iter().copied());
        }
        5 => bytes.truncate(at),
        _ => drop(bytes.splice(at..at, TELLING[lot.below(TELLING.len())].iter().copied())),
    }
    bytes.truncate(BYTES_MAX);
}

/// Numbers that look random and are the same in every run.
struct Lot(SplitMix64);

impl Lot {
    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.0.below(end as u64)).expect("it is below a usize")
    }

    fn one_of<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len())]
    }
}

/// Shows an input when its check fails, so that it can become a seed.
struct Shown<'a> {
    target: &'a str,
    bytes: &'a [u8],
}

impl Drop for Shown<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the input for {} was: {}", self.target, self.bytes.escape_ascii());
        }
    }
}
