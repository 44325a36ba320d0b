//! The tree tells nothing of the machine it was written on.

use std::path::{Path, PathBuf};

use crate::house::{self, File, Finding, files};

/// Directories that exist on one machine only. Put together here, so that this file does not hold them.
fn machine_paths() -> Vec<String> {
    let mut paths: Vec<String> = ["root", "work"].iter().map(|dir| format!("/{dir}/")).collect();
    if let Some(home) = std::env::var_os("HOME").filter(|home| home.len() > 1) {
        paths.push(format!("{}/", home.to_string_lossy()));
    }
    paths.sort();
    paths.dedup();
    paths
}

/// Where every package comes from.
const REGISTRY: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// Hosts of registries that everyone uses, which may be named.
const PUBLIC_HOSTS: &[&str] = &[
    "github.com",
    "index.crates.io",
    "static.crates.io",
    "crates.io",
    "pypi.org",
    "registry.npmjs.org",
    "deb.debian.org",
    "proxy.golang.org",
];

/// Files in which this machine may be told of registries of its own.
fn registry_settings() -> Vec<PathBuf> {
    let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
    let cargo = std::env::var_os("CARGO_HOME").map_or_else(|| home.join(".cargo"), PathBuf::from);
    let mut paths = vec![cargo.join("config.toml"), cargo.join("config"), PathBuf::from("/etc/pip.conf")];
    paths.extend([".npmrc", ".pip/pip.conf", ".config/pip/pip.conf"].map(|file| home.join(file)));
    paths
}

/// Hosts named in URLs of a text, without those that everyone uses.
fn private_hosts(text: &str) -> Vec<String> {
    let hosts = text.split("://").skip(1).map(|rest| {
        let authority = rest.split(['/', '"', '\'', '\n', ' ']).next().unwrap_or_default();
        authority.rsplit('@').next().unwrap_or_default().split(':').next().unwrap_or_default()
    });
    let is_private = |host: &&str| host.contains('.') && !PUBLIC_HOSTS.contains(host);
    hosts.filter(is_private).map(String::from).collect()
}

/// Words of `words` in a file, binary files among them: panics of a guest carry paths of their build.
fn check(file: &File, words: &[String], what: &str, way_out: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    for word in words {
        if let Some(at) = position(&file.bytes, word) {
            let line = if file.text().is_some() {
                1 + file.bytes[..at].iter().filter(|b| **b == b'\n').count()
            } else {
                0
            };
            findings.push(Finding::new(&file.path, line, format!("{what} `{word}`"), way_out));
        }
    }
    findings
}

/// Where the word stands, unless it goes on from a longer path: `frame/work/` is no machine path.
fn position(bytes: &[u8], word: &str) -> Option<usize> {
    let is_part =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b'$' | b'}' | b'>');
    bytes
        .windows(word.len())
        .enumerate()
        .filter(|(_, window)| *window == word.as_bytes())
        .map(|(at, _)| at)
        .find(|at| at.checked_sub(1).is_none_or(|before| !is_part(bytes[before])))
}

/// Packages of the lock file that come from elsewhere than the Rust registry.
fn check_lock(path: &str, text: &str) -> Vec<Finding> {
    let sources =
        text.lines().zip(1..).filter_map(|(line, number)| Some((line.strip_prefix("source = ")?, number)));
    sources
        .filter(|(source, _)| source.trim_matches('"') != REGISTRY)
        .map(|(source, number)| {
            let what = format!("a package from {source}");
            Finding::new(path, number, what, "take a release from the Rust registry, or write it here")
        })
        .collect()
}

#[test]
fn no_file_names_the_machine() {
    let paths = machine_paths();
    let way_out = "make it relative, or an argument; build guests with `--remap-path-prefix`";
    let findings =
        files().iter().flat_map(|file| check(file, &paths, "names the machine path", way_out)).collect();
    house::hold("the tree names no machine paths", findings);
}

#[test]
fn no_file_names_a_private_registry() {
    let settings = registry_settings();
    let texts = settings.iter().filter_map(|path| std::fs::read_to_string(path).ok());
    let hosts: Vec<String> = texts.flat_map(|text| private_hosts(&text)).collect();
    let way_out = "leave it to the settings of the machine";
    let findings =
        files().iter().flat_map(|file| check(file, &hosts, "names the registry", way_out)).collect();
    house::hold("the tree names no private registry", findings);
}

#[test]
fn every_package_comes_from_the_registry() {
    let locks = files().into_iter().filter(|file| Path::new(&file.path).ends_with("Cargo.lock"));
    let findings = locks.flat_map(|file| check_lock(&file.path, file.text().unwrap_or_default())).collect();
    house::hold("every package comes from the Rust registry", findings);
}

#[test]
fn a_machine_path_is_found_in_text_and_in_binaries() {
    let home = "/ro".to_string() + "ot/";
    let found = |bytes: &str| {
        let file = File { path: "a".into(), bytes: bytes.replace('@', &home).into_bytes() };
        check(&file, std::slice::from_ref(&home), "names", "x")
            .iter()
            .map(|finding| finding.line)
            .collect::<Vec<_>>()
    };
    assert_eq!(found("one\ntwo @x\n"), [2]);
    assert_eq!(found("@x"), [1]);
    assert_eq!(found("the tree{root}@x and dir@x and $HOME@"), Vec::<usize>::new());
    let binary = File { path: "a".into(), bytes: [b"\xff\0".as_slice(), home.as_bytes()].concat() };
    assert_eq!(check(&binary, &[home], "names", "x").len(), 1);
}

#[test]
fn hosts_are_read_from_settings() {
    let text = "index = \"sparse+https://user:secret@mirror.example.net:8443/index/\"\n\
                replace = \"https://github.com/rust-lang\"\nproxy = \"http://localhost:3128\"\n";
    assert_eq!(private_hosts(text), ["mirror.example.net"]);
}

#[test]
fn a_package_from_elsewhere_is_found() {
    let text = format!("source = \"{REGISTRY}\"\nsource = \"git+https://example.net/x#abc\"\n");
    let lines: Vec<usize> = check_lock("Cargo.lock", &text).iter().map(|finding| finding.line).collect();
    assert_eq!(lines, [2]);
}
