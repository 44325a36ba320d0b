//! The seeds of a fuzz target, replayed by the tests of the crate that owns the parser.
#![allow(unreachable_pub, reason = "included as a module by the tests of several crates")]

use std::fs;
use std::path::Path;

/// Calls `check` with each seed of a target, in the order of their names, which it is told too.
pub fn replay(target: &str, mut check: impl FnMut(&str, &[u8])) {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds").join(target);
    let entries = fs::read_dir(&dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("the directory is readable").path()).collect();
    paths.sort();
    assert!(!paths.is_empty(), "{} has no seeds", dir.display());
    for path in paths {
        let bytes = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        check(&name, &bytes);
    }
}
