//! The tree under test, and what is found in it.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A broken rule.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Finding {
    pub(crate) file: String,
    /// From 1; 0 when the whole file is meant.
    pub(crate) line: usize,
    pub(crate) what: String,
    pub(crate) way_out: String,
}

impl Finding {
    pub(crate) fn new(file: &str, line: usize, what: impl Into<String>, way_out: impl Into<String>) -> Self {
        Self { file: file.into(), line, what: what.into(), way_out: way_out.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file)?;
        if self.line > 0 {
            write!(f, ":{}", self.line)?;
        }
        write!(f, ": {}\n    way out: {}", self.what, self.way_out)
    }
}

/// A file of the tree: its path from the root, with `/`, and its bytes.
pub(crate) struct File {
    pub(crate) path: String,
    pub(crate) bytes: Vec<u8>,
}

impl File {
    /// The text; none for a binary file.
    pub(crate) fn text(&self) -> Option<&str> {
        std::str::from_utf8(&self.bytes).ok()
    }
}

/// The root of the workspace.
pub(crate) fn root() -> PathBuf {
    let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
    xtask.parent().expect("xtask lies in the workspace").to_owned()
}

/// Every file that is tracked or would be: what git does not ignore.
pub(crate) fn files() -> Vec<File> {
    let list = Command::new("git")
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(root())
        .output()
        .expect("git runs: the rules look at the files it knows");
    assert!(list.status.success(), "git ls-files: {}", String::from_utf8_lossy(&list.stderr));
    let paths = list.stdout.split(|byte| *byte == 0).filter(|path| !path.is_empty());
    let mut files: Vec<File> = paths
        .map(|path| String::from_utf8(path.to_vec()).expect("paths of the tree are UTF-8"))
        // A file that was deleted but is still in the index is none.
        .filter_map(|path| Some(File { bytes: std::fs::read(root().join(&path)).ok()?, path }))
        .collect();
    files.sort_by(|a, b| a.path.cmp(&b.path));
    assert!(files.iter().any(|file| file.path == "Cargo.toml"), "the tree is not empty");
    files
}

/// The Rust files of the workspace itself: crates and tools, not guests, which have rules of their own.
pub(crate) fn rust_files() -> Vec<(String, String)> {
    let ours = |file: &File| {
        let of_workspace =
            ["crates/", "xtask/", "bench/", "sim/", "tests/"].iter().any(|dir| file.path.starts_with(dir));
        of_workspace && file.path.ends_with(".rs")
    };
    let text = |file: File| Some((file.path.clone(), file.text()?.to_string()));
    files().into_iter().filter(ours).filter_map(text).collect()
}

/// Whether all of a Rust file is test code, from its path: integration tests, benches, examples, and
/// modules called `tests`.
pub(crate) fn is_test_file(path: &str) -> bool {
    path.ends_with("/tests.rs")
        || ["tests", "benches", "examples"].iter().any(|dir| path.split('/').any(|part| part == *dir))
}

/// Fails with all findings, sorted.
pub(crate) fn hold(rule: &str, mut findings: Vec<Finding>) {
    findings.sort();
    let list: Vec<String> = findings.iter().map(ToString::to_string).collect();
    assert!(findings.is_empty(), "{rule}: {} found\n{}\n", findings.len(), list.join("\n"));
}

/// Findings as text, for fixtures.
pub(crate) fn show(findings: &[Finding]) -> String {
    findings.iter().map(|finding| format!("{finding}\n")).collect()
}

#[test]
fn test_files_are_known_by_their_paths() {
    for (path, expected) in [
        ("crates/base/src/units.rs", false),
        ("crates/base/tests/it/main.rs", true),
        ("crates/host/src/inspect/tests.rs", true),
        ("crates/host/src/inspect/tests/deep.rs", true),
        ("crates/host/src/contests.rs", false),
        ("bench/benches/hello.rs", true),
    ] {
        assert_eq!(is_test_file(path), expected, "{path}");
    }
}
