//! `--watch`: a new artifact answers, no request is lost, and a broken one changes nothing.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::process::{Place, built, wait_until};

/// Puts a file in place as build tools do: whole, under its name.
fn replace(path: &Path, bytes: &[u8]) {
    let beside = path.with_extension("new");
    std::fs::write(&beside, bytes).expect("a file");
    std::fs::rename(&beside, path).expect("a renamed file");
}

fn guest(name: &str) -> Vec<u8> {
    std::fs::read(built(name)).expect("a built guest")
}

#[test]
fn a_new_file_answers_and_no_request_is_lost() {
    let place = Place::new();
    let artifact = place.file("app.wasm", guest("hello-c"));
    let server = place.serve_file(&artifact, &["--watch"]);
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let askers: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let mut client = server.client();
                    let mut last = String::new();
                    while !is_over.load(Ordering::SeqCst) {
                        let response = client.send("GET", "/", &[], b"").expect("an answer");
                        assert_eq!(response.status, 200);
                        last = response.text();
                        assert!(["Hello from C\n", "Hello from Zig\n"].contains(&last.as_str()), "{last}");
                    }
                    last
                })
            })
            .collect();
        let has_answered = |line: &str| wait_until(line, || server.get("/").1 == line);
        has_answered("Hello from C\n");
        replace(&artifact, &guest("hello-zig"));
        has_answered("Hello from Zig\n");
        // Written in place, in steps, as a slow linker does.
        std::fs::write(&artifact, &guest("hello-c")[..100]).expect("a file");
        std::fs::write(&artifact, guest("hello-c")).expect("a file");
        has_answered("Hello from C\n");
        is_over.store(true, Ordering::SeqCst);
        for asker in askers {
            asker.join().expect("no request was lost");
        }
    });
    let reloaded = server.lines().iter().filter(|line| line.starts_with("Reloaded ")).count();
    assert!(reloaded >= 2, "{:#?}", server.lines());
    assert_eq!(server.stop().0.code(), Some(0));
}

#[test]
fn a_broken_file_keeps_the_old_one_serving() {
    let place = Place::new();
    let artifact = place.file("app.wasm", guest("hello-c"));
    let server = place.serve_file(&artifact, &["--watch"]);
    for (bytes, reason) in [
        (b"not a component".to_vec(), "not valid WebAssembly"),
        (guest("counter"), "which is not granted"),
        (guest("cli"), "it is a command now"),
    ] {
        replace(&artifact, &bytes);
        let line = server.wait_line(reason, |line| line.contains("not reloaded: ") && line.contains(reason));
        assert!(line.starts_with("warning: "), "{line}");
        assert_eq!(server.get("/"), (200, "Hello from C\n".into()), "{reason}");
    }
    std::fs::remove_file(&artifact).expect("a file to remove");
    server.wait_line("the absence", |line| line.contains("not reloaded: ") && line.contains("cannot read"));
    assert_eq!(server.get("/"), (200, "Hello from C\n".into()));
    replace(&artifact, &guest("hello-zig"));
    wait_until("the new answer", || server.get("/").1 == "Hello from Zig\n");
}
