//! Programs: arguments, environment, streams, exit codes, and how they are stopped.

use crate::process::{Place, guests};

/// Lines that are the same at every run.
fn steady(text: &str) -> Vec<&str> {
    text.lines().filter(|line| !line.starts_with("clock: ") && !line.starts_with("random: ")).collect()
}

fn guest(name: &str) -> String {
    crate::process::built(name).display().to_string()
}

#[test]
fn arguments_environment_and_exit_code_pass_through() {
    let place = Place::new();
    // WASI 0.2 has no stable way to exit with a code of one's own.
    for (name, code) in [("cli", 7), ("cli-p2", 1), ("cli-p3", 7)] {
        let path = guest(name);
        let ended = place.output(&["run", &path, "--env", "A=b", "--env", "C=d e", "--", "7", "two"]);
        let expected = ["args: [\"7\", \"two\"]", "env: A=b", "env: C=d e", "monotonic: true"];
        assert_eq!(steady(&ended.stdout), expected, "{name}: {ended:?}");
        assert_eq!((ended.code, ended.stderr.as_str()), (Some(code), ""), "{name}");
        let ended = place.output(&["run", &path]);
        assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{name}");
        assert_eq!(steady(&ended.stdout), ["args: []", "monotonic: true"], "{name}");
    }
}

#[test]
fn a_program_sees_nothing_of_the_environment_around_it() {
    let place = Place::new();
    let output = place.shoal().env("SECRET", "x").arg("run").arg(guest("cli")).output().expect("an end");
    assert_eq!(steady(&String::from_utf8_lossy(&output.stdout)), ["args: []", "monotonic: true"]);
}

#[test]
fn standard_input_and_output_pass_through() {
    let place = Place::new();
    let input = "line\n".repeat(50_000);
    for name in ["cli", "cli-p2", "cli-p3"] {
        let ended = place.output_of(&["run", &guest(name), "--", "cat"], input.as_bytes());
        assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{name}");
        assert!(ended.stdout == input, "{name}: {} bytes came out", ended.stdout.len());
    }
    let ended = place.output(&["run", &guest("cli"), "--", "stderr", "a word"]);
    assert_eq!((ended.code, ended.stdout.as_str(), ended.stderr.as_str()), (Some(0), "", "a word\n"));
}

#[test]
fn a_failure_of_the_program_is_its_exit_code() {
    let place = Place::new();
    let ended = place.output(&["run", &guest("cli-p3"), "--", "fail"]);
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(1), ""));
    let ended = place.output(&["run", &guest("cli"), "--", "read", "/absent"]);
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.starts_with("error: "), "{}", ended.stderr);
}

#[test]
fn a_trap_ends_like_an_abort() {
    let place = Place::new();
    for name in ["cli", "cli-p2"] {
        let ended = place.output(&["run", &guest(name), "--", "trap"]);
        assert_eq!(ended.code, Some(134), "{name}: {ended:?}");
        assert!(ended.stderr.starts_with("error: the guest trapped: "), "{name}: {}", ended.stderr);
        assert!(ended.stderr.contains("unreachable"), "{name}: {}", ended.stderr);
    }
}

#[test]
fn limits_of_time_stop_a_program() {
    let place = Place::new();
    for (flag, words, reason) in [
        ("--timeout=200ms", &["spin"][..], "200ms (--timeout)"),
        ("--timeout=200ms", &["sleep", "3600000"], "200ms (--timeout)"),
        ("--cpu-time=50ms", &["spin"], "50ms (--cpu-time)"),
    ] {
        for name in ["cli", "cli-p2"] {
            let path = guest(name);
            let ended = place.output(&[&["run", &path, flag, "--"], words].concat());
            assert_eq!(ended.code, Some(124), "{name} {flag} {words:?}: {ended:?}");
            assert!(ended.stderr.contains(reason), "{name} {flag} {words:?}: {}", ended.stderr);
        }
    }
}

#[test]
fn text_runs_as_it_is() {
    let place = Place::new();
    let text = guests().join("wat/cli-wat/cli.wat").display().to_string();
    let of_text = place.output(&["run", &text]);
    let of_binary = place.output(&["run", &guest("cli-wat")]);
    assert_eq!((of_text.code, of_text.stderr.as_str()), (Some(0), ""));
    assert_eq!(of_text.stdout, of_binary.stdout);
    assert!(of_text.stdout.starts_with("Hello"), "{}", of_text.stdout);
}

#[test]
fn a_program_in_c_runs() {
    let place = Place::new();
    let ended = place.output(&["run", &guest("cli-c"), "--env", "NAME=shoal", "--", "one", "two"]);
    assert_eq!(ended.stdout, "Hello from C\nargument: one\nargument: two\nNAME: shoal\n");
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(2), ""));
}

#[test]
fn directories_are_granted_read_only_or_whole() {
    let place = Place::new();
    place.file("file.txt", "of the host\n");
    let whole = format!("{}:/data", place.arg(""));
    let read_only = format!("{whole}:ro");
    let run = |dir: &str, words: &[&str]| {
        place.output(&[&["run", &guest("cli"), "--dir", dir, "--"], words].concat())
    };
    let ended = run(&read_only, &["read", "/data/file.txt"]);
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(0), "of the host\n"), "{}", ended.stderr);
    let ended = run(&read_only, &["write", "/data/new.txt", "text"]);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(!place.path("new.txt").exists());
    assert_eq!(run(&whole, &["write", "/data/new.txt", "text"]).code, Some(0));
    assert_eq!(std::fs::read_to_string(place.path("new.txt")).ok().as_deref(), Some("text"));
    assert_eq!(run(&whole, &["read", "/data/../../etc/hostname"]).code, Some(1));
}

#[test]
fn a_call_that_never_returns_is_no_way_around_the_limit_of_time() {
    let place = Place::new();
    let (pipe, mode) = (place.path("pipe"), rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR);
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, mode, 0).expect("a pipe");
    let grant = format!("{}:/d", place.arg(""));
    for name in ["cli", "cli-p2"] {
        // Opening a pipe waits for somebody who writes to it, in a call that cannot be interrupted.
        let ended = place.output(&[
            "run",
            &guest(name),
            "--dir",
            &grant,
            "--timeout",
            "200ms",
            "--",
            "read",
            "/d/pipe",
        ]);
        assert_eq!(ended.code, Some(124), "{name}: {ended:?}");
        assert_eq!(ended.stderr, "error: the guest was not done within 200ms (--timeout)\n", "{name}");
    }
}

#[test]
fn flags_that_mean_nothing_to_a_command_are_named() {
    let place = Place::new();
    let ended = place.output(&["run", &guest("cli"), "--admin", "0", "--watch", "--env", "A=b", "--", "3"]);
    assert_eq!(ended.code, Some(3), "{ended:?}");
    let said = |flag| format!("warning: `cli` is a command, which runs to its end: {flag} has no effect\n");
    assert_eq!(ended.stderr, said("--watch") + &said("--admin"));
}
