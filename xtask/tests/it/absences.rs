//! What is absent from a crate: sockets, files and clocks, where the crate says so.

use crate::house::{self, Finding, is_test_file, rust_files};

/// A directory of sources and the words that never stand in its code.
struct Absence {
    dir: &'static str,
    words: &'static [&'static str],
    way_out: &'static str,
}

const FILES: &[&str] = &["std::fs", "fs::", "tokio::fs", "std::process", "std::env"];
const SOCKETS: &[&str] =
    &["tokio::net", "TcpListener", "TcpStream", "UdpSocket", "UnixListener", "UnixStream"];
const CLOCKS: &[&str] = &["Instant::now", "SystemTime::now"];

const ABSENCES: &[(&[Absence], &[&[&str]])] = &[
    (
        &[
            Absence {
                dir: "crates/base/src/",
                words: &["std::net"],
                way_out: "time, disk and sockets come in as arguments",
            },
            Absence {
                dir: "crates/control/src/",
                words: &["tokio", "std::net", "std::thread"],
                way_out: "a plan is pure: give it a snapshot and the time, let the driver do the rest",
            },
        ],
        &[FILES, SOCKETS, CLOCKS],
    ),
    (
        &[Absence {
            dir: "crates/runtime/src/",
            words: &[],
            way_out: "the wall has types and traits only; `edge` opens sockets and `host` opens files",
        }],
        &[FILES, SOCKETS, CLOCKS],
    ),
    (
        &[Absence {
            dir: "crates/cli/src/",
            words: &["hyper", "tokio"],
            way_out: "`cli` says what is to be done; the binary does it",
        }],
        &[SOCKETS],
    ),
];

fn check(path: &str, text: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (absences, lists) in ABSENCES {
        for absence in absences.iter().filter(|absence| path.starts_with(absence.dir)) {
            let words = || lists.iter().flat_map(|list| list.iter()).chain(absence.words);
            for (number, line) in code_lines(text) {
                if let Some(word) = words().find(|word| has_word(line, word)) {
                    let what = format!("`{word}` in a crate from which it is absent");
                    findings.push(Finding::new(path, number, what, absence.way_out));
                }
            }
        }
    }
    findings
}

/// Lines of code with their numbers: no comments, and nothing from the unit tests on.
fn code_lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let is_code = |line: &&str| !line.trim_start().starts_with("//");
    let lines = text.lines().zip(1..).take_while(|(line, _)| !line.starts_with("#[cfg(test)]"));
    lines
        .filter(move |(line, _)| is_code(line))
        .map(|(line, number)| (number, line.split_once(" // ").map_or(line, |(code, _)| code)))
}

/// Whether the word stands in the line, not as the end of a longer one.
fn has_word(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + word.len()..].chars().next();
        let is_part = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
        let continues = !word.ends_with(':') && is_part(after);
        !is_part(before) && !continues
    })
}

#[test]
fn what_is_absent_stays_absent() {
    let sources = rust_files().into_iter().filter(|(path, _)| !is_test_file(path));
    let findings = sources.flat_map(|(path, text)| check(&path, &text)).collect();
    house::hold("pure crates do no IO", findings);
}

#[test]
fn a_socket_in_a_pure_crate_is_found() {
    let lines = |path: &str, text: &str| -> Vec<usize> { check(path, text).iter().map(|f| f.line).collect() };
    let text = "//! std::fs\nuse std::fs;\nlet now = Instant::now(); // why\nuse tokio::net::TcpListener;\n\
                #[cfg(test)]\nuse std::fs;\n";
    assert_eq!(lines("crates/base/src/x.rs", text), [2, 3, 4]);
    assert_eq!(lines("crates/cli/src/x.rs", text), [4]);
    assert_eq!(lines("crates/edge/src/x.rs", text), Vec::<usize>::new());
    assert_eq!(lines("crates/base/src/x.rs", "let x = my_std::fsx; // std::fs\n"), Vec::<usize>::new());
}
