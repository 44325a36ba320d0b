//! Every ban names its replacement; every fuzz target is built.

use std::collections::BTreeSet;

use crate::house::{self, Finding, files, root};

/// Bans of clippy.toml without a reason that names what to use instead.
fn check_clippy(text: &str) -> Vec<Finding> {
    let table: toml::Table = text.parse().expect("clippy has read it before");
    let lists = ["disallowed-methods", "disallowed-types", "disallowed-macros"];
    let bans = lists.iter().filter_map(|list| table.get(*list)?.as_array()).flatten();
    bans.filter_map(|ban| {
        let path = ban.get("path").or(Some(ban)).and_then(toml::Value::as_str).unwrap_or("?");
        let reason = ban.get("reason").and_then(toml::Value::as_str).unwrap_or_default();
        (!names_replacement(reason)).then(|| {
            let what = format!("the ban of `{path}` names no replacement");
            Finding::new("clippy.toml", line_of(text, path), what, "write reason = \"use X: because\"")
        })
    })
    .collect()
}

/// Bans of deny.toml without a replacement.
fn check_deny(text: &str) -> Vec<Finding> {
    let table: toml::Table = text.parse().expect("cargo-deny has read it before");
    let bans = table.get("bans").and_then(|bans| bans.get("deny")).and_then(toml::Value::as_array);
    bans.into_iter()
        .flatten()
        .filter_map(|ban| {
            let name = ban.get("crate").and_then(toml::Value::as_str).unwrap_or("?");
            let reason = ban.get("reason").and_then(toml::Value::as_str).unwrap_or_default();
            let is_replaced = ban.get("use-instead").is_some() || names_replacement(reason);
            (!is_replaced).then(|| {
                let what = format!("the ban of `{name}` names no replacement");
                Finding::new(
                    "deny.toml",
                    line_of(text, name),
                    what,
                    "write use-instead = \"X\" or reason = \"use X\"",
                )
            })
        })
        .collect()
}

fn names_replacement(reason: &str) -> bool {
    reason.starts_with("use ") && reason.len() > "use ".len()
}

fn line_of(text: &str, word: &str) -> usize {
    text.lines().zip(1..).find(|(line, _)| line.contains(word)).map_or(0, |(_, number)| number)
}

/// Fuzz targets that no one builds, and built ones that are not there. `sources` are the names of files in
/// `fuzz/fuzz_targets`, `manifest` is fuzz/Cargo.toml.
fn check_fuzz(sources: &BTreeSet<String>, manifest: &str) -> Vec<Finding> {
    let table: toml::Table = manifest.parse().expect("cargo has read it before");
    let bins = table.get("bin").and_then(toml::Value::as_array);
    let paths = bins.into_iter().flatten().filter_map(|bin| bin.get("path").and_then(toml::Value::as_str));
    let listed: BTreeSet<String> =
        paths.map(|path| path.trim_start_matches("fuzz_targets/").to_string()).collect();
    let unlisted = sources.difference(&listed).map(|file| {
        let what = "this fuzz target is not built";
        Finding::new(&format!("fuzz/fuzz_targets/{file}"), 0, what, "list it as [[bin]] in fuzz/Cargo.toml")
    });
    let gone = listed.difference(sources).map(|file| {
        Finding::new(
            "fuzz/Cargo.toml",
            line_of(manifest, file),
            format!("`{file}` does not exist"),
            "remove its [[bin]]",
        )
    });
    unlisted.chain(gone).collect()
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

#[test]
fn every_ban_names_its_replacement() {
    let findings = [check_clippy(&read("clippy.toml")), check_deny(&read("deny.toml"))].concat();
    house::hold("every ban names its replacement", findings);
}

#[test]
fn every_fuzz_target_is_built() {
    let prefix = "fuzz/fuzz_targets/";
    let sources: BTreeSet<String> = files()
        .iter()
        .filter_map(|file| file.path.strip_prefix(prefix))
        .filter(|f| f.ends_with(".rs"))
        .map(String::from)
        .collect();
    let manifest = if sources.is_empty() { String::new() } else { read("fuzz/Cargo.toml") };
    house::hold("every fuzz target is built", check_fuzz(&sources, &manifest));
}

#[test]
fn a_ban_without_a_replacement_is_found() {
    let clippy = "disallowed-methods = [\n    \"std::env::set_var\",\n    { path = \"a::b\", reason = \"slow\" },\n    \
                  { path = \"a::c\", reason = \"use d: it is quick\" },\n]\n";
    let lines = |findings: Vec<Finding>| findings.iter().map(|finding| finding.line).collect::<Vec<_>>();
    assert_eq!(lines(check_clippy(clippy)), [2, 3]);
    let deny = "[bans]\ndeny = [\n    { crate = \"ring\", use-instead = \"aws-lc-rs\" },\n    { crate = \"md5\" },\n]\n";
    assert_eq!(lines(check_deny(deny)), [4]);
}

#[test]
fn a_fuzz_target_that_nobody_builds_is_found() {
    let sources = BTreeSet::from(["http.rs".to_string(), "wasm.rs".to_string()]);
    let manifest = "[[bin]]\nname = \"http\"\npath = \"fuzz_targets/http.rs\"\n[[bin]]\nname = \"x\"\npath = \"fuzz_targets/x.rs\"\n";
    let findings = check_fuzz(&sources, manifest);
    let files: Vec<(&str, usize)> =
        findings.iter().map(|finding| (finding.file.as_str(), finding.line)).collect();
    assert_eq!(files, [("fuzz/fuzz_targets/wasm.rs", 0), ("fuzz/Cargo.toml", 6)]);
}
