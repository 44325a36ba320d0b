//! Files of Rust: how long they are, how they begin; manifests: what they inherit.

use crate::house::{self, File, Finding, files, rust_files};

/// Longest file. Typical ones have 110 to 180 lines.
const FILE_LINES_MAX: usize = 800;

/// Files that may be longer, each with its reason.
const LONGER: &[(&str, &str)] = &[];

/// Too long a file, or an exception that is not needed.
fn check_length(path: &str, text: &str) -> Option<Finding> {
    let lines = text.lines().count();
    let excepted = LONGER.iter().any(|(file, _)| *file == path);
    if lines > FILE_LINES_MAX && !excepted {
        let way_out = "split it by subject into modules; as a last resort list it with its reason in \
                       xtask/tests/it/sources.rs";
        return Some(Finding::new(path, 0, format!("{lines} lines, more than {FILE_LINES_MAX}"), way_out));
    }
    (lines <= FILE_LINES_MAX && excepted).then(|| {
        Finding::new(path, 0, "is no longer too long", "remove it from LONGER in xtask/tests/it/sources.rs")
    })
}

/// A source file without a first line that says what it is.
fn check_beginning(path: &str, text: &str) -> Option<Finding> {
    let is_source = path.starts_with("crates/") && path.contains("/src/");
    let begins = text.lines().next().is_some_and(|line| line.starts_with("//! ") && line.len() > 10);
    (is_source && !begins).then(|| {
        Finding::new(
            path,
            1,
            "does not say what it is",
            "begin it with a line `//! What this file is about.`",
        )
    })
}

/// A manifest of the workspace that does not take over the lints.
fn check_lints(path: &str, text: &str) -> Option<Finding> {
    let manifest: toml::Table = text.parse().expect("cargo has read it before");
    let inherits =
        manifest.get("lints").and_then(|lints| lints.get("workspace")).and_then(toml::Value::as_bool);
    (manifest.contains_key("package") && inherits != Some(true)).then(|| {
        Finding::new(
            path,
            0,
            "does not take over the lints of the workspace",
            "add `[lints]` with `workspace = true`",
        )
    })
}

/// The manifests of the workspace's own packages.
fn manifests() -> impl Iterator<Item = (String, String)> {
    let ours = |file: &File| {
        let of_workspace =
            ["crates/", "xtask/", "bench/", "sim/"].iter().any(|dir| file.path.starts_with(dir));
        of_workspace && file.path.ends_with("Cargo.toml")
    };
    files().into_iter().filter(ours).filter_map(|file| Some((file.path.clone(), file.text()?.to_string())))
}

#[test]
fn files_are_short() {
    let findings = rust_files().iter().filter_map(|(path, text)| check_length(path, text)).collect();
    house::hold("files have at most 800 lines", findings);
}

#[test]
fn files_say_what_they_are() {
    let findings = rust_files().iter().filter_map(|(path, text)| check_beginning(path, text)).collect();
    house::hold("source files begin with what they are about", findings);
}

#[test]
fn manifests_take_over_the_lints() {
    let findings = manifests().filter_map(|(path, text)| check_lints(&path, &text)).collect();
    house::hold("every package takes over the lints of the workspace", findings);
}

#[test]
fn a_file_that_is_one_line_too_long_is_found() {
    assert_eq!(check_length("a.rs", &"x\n".repeat(FILE_LINES_MAX)), None);
    let finding = check_length("a.rs", &"x\n".repeat(FILE_LINES_MAX + 1)).expect("too long");
    assert_eq!(finding.what, "801 lines, more than 800");
}

#[test]
fn a_file_or_manifest_without_its_beginning_is_found() {
    assert_eq!(check_beginning("crates/base/src/a.rs", "//! What it is.\nmod b;\n"), None);
    assert_eq!(check_beginning("crates/base/tests/it/a.rs", "mod b;\n"), None);
    for text in ["", "mod b;\n", "// What it is.\n", "//!\n"] {
        assert!(check_beginning("crates/base/src/a.rs", text).is_some(), "{text:?}");
    }
    assert_eq!(check_lints("Cargo.toml", "[package]\nname = \"a\"\n[lints]\nworkspace = true\n"), None);
    assert_eq!(check_lints("Cargo.toml", "[workspace]\n"), None);
    assert!(check_lints("Cargo.toml", "[package]\nname = \"a\"\n").is_some());
}
