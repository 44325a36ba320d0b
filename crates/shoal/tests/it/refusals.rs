//! What is refused, in which words, and with which code.

use std::net::TcpListener;

use crate::process::{Place, built, guests};

fn hello() -> String {
    built("hello").display().to_string()
}

/// What is said of a malformed guest: the code, and the first line with the file's directory left out.
fn said_of(place: &Place, name: &str) -> (Option<i32>, String) {
    let directory = guests().join("malformed").display().to_string();
    let ended = place.output(&["run", &format!("{directory}/{name}"), "--listen", "127.0.0.1:0"]);
    assert_eq!(ended.stdout, "", "{name}");
    let text = ended.stderr.replace(&format!("{directory}/"), "");
    assert!(!text.contains("panicked"), "{text}");
    (ended.code, text)
}

#[test]
fn malformed_guests_are_refused_with_what_is_wrong() {
    let place = Place::new();
    let again = "hint: the file is damaged or was cut off; build or fetch it again\n";
    let kinds = "hint: an artifact is a WebAssembly binary (.wasm) or its text (.wat)\n";
    let inspect = "hint: `shoal inspect` shows all imports of the artifact\n";
    for (name, what, hint) in [
        (
            "elf.wasm",
            "elf.wasm: not valid WebAssembly text: line 1, column 1: unexpected character '\\u{7f}'",
            kinds,
        ),
        ("empty.wasm", "empty.wasm: the file is empty", "hint: build or fetch it again\n"),
        (
            "long-section.wasm",
            "long-section.wasm: not a valid WebAssembly binary: unexpected end-of-file (at offset 0xe)",
            again,
        ),
        (
            "magic-only.wasm",
            "magic-only.wasm: not a valid WebAssembly binary: unexpected end-of-file (at offset 0x4)",
            again,
        ),
        (
            "truncated.wasm",
            "truncated.wasm: not a valid WebAssembly binary: the section at offset 0x889 goes past the end of the file",
            "hint: the file was cut off; build or fetch it again\n",
        ),
        (
            "syntax-error.wat",
            "syntax-error.wat: not valid WebAssembly text: line 3, column 28: unknown operator or unexpected token",
            kinds,
        ),
        ("wrong-magic.wasm", "wrong-magic.wasm: not WebAssembly: it starts with 00 41 53 4d", kinds),
        (
            "wrong-version.wasm",
            "wrong-version.wasm: not a valid WebAssembly binary: unknown binary version:       0x63 (at offset 0x4)",
            again,
        ),
        (
            "unknown-import.wat",
            "`unknown-import` imports `nobody::has_this`, which Shoal does not provide",
            inspect,
        ),
        (
            "unknown-import-component.wat",
            "`unknown-import-component` imports `nobody:here/missing@1.0.0`, which Shoal does not provide",
            inspect,
        ),
    ] {
        let (code, text) = said_of(&place, name);
        assert_eq!((code, text), (Some(65), format!("error: {what}\n{hint}")), "{name}");
    }
}

#[test]
fn sound_artifacts_that_nothing_runs_are_refused_with_what_is_missing() {
    let place = Place::new();
    for (name, parts) in [
        (
            "invalid.wat",
            &[
                "error: invalid.wat is not valid WebAssembly: ",
                "type mismatch: expected i32 but nothing on stack",
            ][..],
        ),
        (
            "no-known-export.wat",
            &[
                "error: no-known-export.wat: the component has no entry point that Shoal runs\n  exports:\n    shoal:guest/sums@1.0.0\n  imports: nothing\n",
                "hint: export wasi:http/incoming-handler@0.2.x",
            ],
        ),
        (
            "no-start.wat",
            &[
                "error: no-start.wat: the core module has no entry point that Shoal runs\n  exports:\n    memory\n    add\n  imports: nothing\n",
                "hint: export the function `_start`",
            ],
        ),
        ("wrong-handler.wat", &["error: ", "wasi:http/incoming-handler@0.2.12", "hint: "]),
    ] {
        let (code, text) = said_of(&place, name);
        assert_eq!(code, Some(65), "{name}: {text}");
        for part in parts {
            assert!(text.contains(part), "{name}: no `{part}` in {text}");
        }
    }
}

#[test]
fn every_malformed_guest_has_its_test() {
    let tests = include_str!("refusals.rs");
    for entry in std::fs::read_dir(guests().join("malformed")).expect("a directory") {
        let name = entry.expect("an entry").file_name().to_string_lossy().into_owned();
        if name.ends_with(".wasm") || name.ends_with(".wat") {
            assert!(tests.contains(&format!("\"{name}\",")), "{name}");
        }
    }
}

#[test]
fn a_port_in_use_is_named() {
    let place = Place::new();
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    for flag in ["--listen", "--admin"] {
        let flags = if flag == "--admin" { &["--listen", "127.0.0.1:0"][..] } else { &[] };
        let ended = place.output(&[&["run", &hello(), flag, &address], flags].concat());
        assert_eq!(ended.code, Some(69), "{ended:?}");
        assert!(ended.stderr.starts_with("error: ") && ended.stderr.contains(&address), "{}", ended.stderr);
    }
}

#[test]
fn what_is_not_there_is_named() {
    let place = Place::new();
    let absent = place.arg("absent");
    let grant = format!("{absent}:/data");
    for args in [
        &["run", &absent][..],
        &["inspect", &absent],
        &["compile", &absent],
        &["run", &hello(), "--dir", &grant],
    ] {
        let ended = place.output(args);
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(66), ""), "{args:?}: {}", ended.stderr);
        assert!(ended.stderr.starts_with("error: ") && ended.stderr.contains(&absent), "{}", ended.stderr);
    }
    let empty = place.arg("empty");
    std::fs::create_dir(&empty).expect("a directory");
    let ended = place.output(&["run", &empty]);
    assert_eq!(ended.code, Some(66));
    assert_eq!(
        ended.stderr,
        format!(
            "error: no artifact in {empty}\nhint: build it first, or name a .wasm, .wat or .cwasm file\n"
        )
    );
}

#[test]
fn a_data_directory_that_cannot_be_made_is_named() {
    let place = Place::new();
    let below = format!("{}/data", place.file("file", "").display());
    let ended = place.output(&["run", &hello(), "--data-dir", &below]);
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(69), ""));
    assert!(ended.stderr.starts_with("error: ") && ended.stderr.contains(&below), "{}", ended.stderr);
}

#[test]
fn a_directory_that_may_not_be_read_is_named() {
    use std::os::unix::fs::PermissionsExt as _;
    let place = Place::new();
    let closed = place.arg("closed");
    std::fs::create_dir(&closed).expect("a directory");
    std::fs::set_permissions(&closed, std::fs::Permissions::from_mode(0o000)).expect("a mode");
    // Root reads everything: then there is nothing to find in it.
    let reason = if std::fs::read_dir(&closed).is_ok() { "no artifact in " } else { "cannot read " };
    let ended = place.output(&["run", &closed]);
    std::fs::set_permissions(&closed, std::fs::Permissions::from_mode(0o700)).expect("a mode");
    assert_eq!(ended.code, Some(66));
    assert!(ended.stderr.starts_with(&format!("error: {reason}{closed}")), "{}", ended.stderr);
}

#[test]
fn bad_words_are_refused_before_anything_starts() {
    let place = Place::new();
    let hello = hello();
    for (args, what) in [
        (&["frob"][..], "unrecognized subcommand 'frob'"),
        (&["run"], "required arguments were not provided: <FILE|DIR>"),
        (&["run", &hello, "--frob"], "unexpected argument '--frob'"),
        (&["run", &hello, "--listen", "300.1.1.1:0"], "invalid value '300.1.1.1:0' for '--listen"),
        (&["run", &hello, "--memory", "3zb"], "`3zb` has the unit `zb`"),
        (&["run", &hello, "--timeout", "soon"], "'--timeout"),
        (&["run", &hello, "--env", "novalue"], "it is not NAME=VALUE"),
        (&["run", &hello, "--env", "A=1", "--env", "A=2"], "--env names `A` twice"),
        (&["run", &hello, "--allow-outbound", "http://127.0.0.1/path"], "has no usable host"),
        (&["run", &hello, "--tls-cert", "a"], "--tls-key"),
        (&["run", &hello, "--reuse", "0"], "'--reuse"),
        (&["run", &hello, "--log", "frob==frob"], "is no log filter"),
    ] {
        let ended = place.output(args);
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(64), ""), "{args:?}: {}", ended.stderr);
        assert!(
            ended.stderr.starts_with("error: ") && ended.stderr.contains(what),
            "{args:?}: {}",
            ended.stderr
        );
        assert!(ended.stderr.contains("hint: "), "{args:?}: {}", ended.stderr);
    }
    assert!(!place.path("data").exists(), "nothing was made");
}

#[test]
fn a_store_that_is_not_to_be_had_is_no_fault_of_the_artifact() {
    let place = Place::new();
    let (counter, blobs) = (built("counter").display().to_string(), built("blobs").display().to_string());
    let absent = place.arg("absent/store");
    for (artifact, flag) in [(&counter, "--kv"), (&blobs, "--blobs")] {
        let ended =
            place.output(&["run", artifact, flag, &format!("default={absent}"), "--listen", "127.0.0.1:0"]);
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(69), ""), "{flag}: {}", ended.stderr);
        assert!(ended.stderr.contains(&absent) && ended.stderr.contains("hint: "), "{}", ended.stderr);
    }
    // Without the grant, it is.
    assert_eq!(place.output(&["run", &counter]).code, Some(65));
}

#[test]
fn output_that_cannot_be_written_is_said() {
    let place = Place::new();
    for args in [&["version"][..], &["inspect", &hello()], &["doctor"], &["completions", "bash"]] {
        let full = std::fs::File::options().write(true).open("/dev/full").expect("a full device");
        let output = place.shoal().args(args).stdout(full).output().expect("an end");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(69), "{args:?}: {stderr}");
        assert!(stderr.starts_with("error: cannot write standard output: "), "{args:?}: {stderr}");
    }
}

#[test]
fn an_error_has_the_colours_that_were_asked_for() {
    let place = Place::new();
    let absent = place.arg("absent");
    let plain = format!("error: no such file or directory: {absent}\n");
    assert!(place.output(&["run", &absent]).stderr.starts_with(&plain), "no terminal, no colours");
    for typed in [&["--color", "always", "run", &absent][..], &["run", &absent, "--color=always"]] {
        let output = place.shoal().env("NO_COLOR", "1").args(typed).output().expect("an end");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(stderr.starts_with('\u{1b}'), "{typed:?}: {stderr:?}");
    }
}
