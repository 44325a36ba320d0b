//! One line over HTTP, from every language.

use std::path::{Path, PathBuf};

use crate::process::{Place, built};

/// Guest, its line, and whether it sends the body of a POST back.
fn answers(artifact: &Path, line: &str, sends_back: bool) {
    let place = Place::new();
    let server = place.serve_file(artifact, &[]);
    let mut client = server.client();
    for _ in 0..3 {
        let response = client.send("GET", "/", &[], b"").expect("an answer");
        assert_eq!((response.status, response.text().as_str()), (200, line));
    }
    let response = client.send("POST", "/", &[], b"a body").expect("an answer");
    let expected = if sends_back { "a body" } else { line };
    assert_eq!((response.status, response.text().as_str()), (200, expected));
    let (status, _, lines) = server.stop();
    assert_eq!(status.code(), Some(0), "{lines:#?}");
}

#[test]
fn rust() {
    answers(&built("hello"), "Hello from Shoal\n", false);
}

#[test]
fn rust_in_little_memory() {
    answers(&built("hello-small"), "Hello from Shoal\n", false);
}

#[test]
fn rust_over_wasi_0_3() {
    answers(&built("hello-p3"), "Hello from Shoal\n", false);
}

#[test]
fn c() {
    answers(&built("hello-c"), "Hello from C\n", false);
}

#[test]
fn cpp() {
    answers(&built("hello-cpp"), "Hello from C++\n", false);
}

#[test]
fn zig() {
    answers(&built("hello-zig"), "Hello from Zig\n", false);
}

#[test]
fn wat() {
    answers(&built("hello-wat"), "Hello from WAT\n", false);
}

#[test]
fn assemblyscript() {
    answers(&built("hello-assemblyscript"), "Hello from AssemblyScript\n", false);
}

/// Large guests are built on demand: in `guests/built`, or where `SHOAL_BIG_GUESTS` says.
fn large(language: &str) -> Option<PathBuf> {
    let elsewhere = std::env::var_os("SHOAL_BIG_GUESTS")
        .map(|directory| PathBuf::from(directory).join(format!("{language}.wasm")));
    let found = [elsewhere, Some(built(&format!("hello-{language}")))]
        .into_iter()
        .flatten()
        .find(|path| path.is_file());
    if found.is_none() {
        skipped(language);
    }
    found
}

#[expect(clippy::print_stderr, reason = "who runs the tests sees what was not tested")]
fn skipped(language: &str) {
    eprintln!("skipped: `cargo xtask guests hello-{language}` builds the guest of this test");
}

#[test]
fn go() {
    if let Some(artifact) = large("go") {
        answers(&artifact, "Hello from Go\n", false);
    }
}

#[test]
fn javascript() {
    if let Some(artifact) = large("js") {
        answers(&artifact, "Hello from JavaScript\n", true);
    }
}

#[test]
fn python() {
    if let Some(artifact) = large("python") {
        answers(&artifact, "Hello from Python\n", true);
    }
}

#[test]
fn a_body_comes_back_over_both_versions() {
    for guest in ["echo", "echo-p3"] {
        let place = Place::new();
        let server = place.serve(guest, &[]);
        let body: Vec<u8> = (0..40_000_u32).flat_map(u32::to_le_bytes).collect();
        let response = server.client().send("POST", "/", &[], &body).expect("an answer");
        assert_eq!(response.status, 200, "{guest}");
        assert!(response.body == body, "{guest}: {} bytes came back", response.body.len());
    }
}
