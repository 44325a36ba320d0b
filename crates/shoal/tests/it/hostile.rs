//! Hostile guests over HTTP: the right status, one line in the log, never a clean end, and neighbours unharmed.

use crate::client::Broken;
use crate::process::{Place, Server, built};

/// Enough for a guest that behaves, also on a busy machine: what counts is the time on a core by the wall clock.
const LIMITS: [&str; 6] = ["--cpu-time", "500ms", "--timeout", "5s", "--memory", "16MiB"];

/// The lines of the log about failed requests.
fn failures(server: &Server) -> Vec<String> {
    server.lines().into_iter().filter(|line| line.contains("WARN") && line.contains("kind=")).collect()
}

/// Waits for the one line about a request, and checks that there is no second.
fn one_line(server: &Server, kind: &str, id: &str) {
    let is_it = |line: &str| line.contains(&format!("request={id}"));
    let line = server.wait_line(&format!("a line about {id}"), |line| is_it(line));
    assert!(line.contains(&format!("kind=\"{kind}\"")), "{line}");
    assert_eq!(failures(server).iter().filter(|line| is_it(line)).count(), 1, "{:#?}", server.lines());
}

fn fails_before_its_answer(guest: &str, cases: &[(&str, u16, &str)]) {
    let place = Place::new();
    let server = place.serve(guest, &LIMITS);
    let mut neighbour = server.client();
    for (path, status, kind) in cases {
        let response = server.client().send("GET", path, &[], b"").expect("an answer");
        assert_eq!(response.status, *status, "{path}: {}", response.text());
        let id = response.header("x-request-id").expect("an id").to_owned();
        assert!(response.text().contains(&format!("request: {id}")), "{}", response.text());
        one_line(&server, kind, &id);
        let response = neighbour.send("GET", "/hello", &[], b"").expect("an answer");
        assert_eq!((response.status, response.text().as_str()), (200, "Hello from Shoal\n"), "after {path}");
    }
    assert_eq!(failures(&server).len(), cases.len(), "{:#?}", server.lines());
    assert_eq!(server.stop().0.code(), Some(0));
}

#[test]
fn a_guest_that_gives_no_answer_gets_its_status() {
    fails_before_its_answer(
        "hostile",
        &[
            ("/loop", 504, "cpu_time"),
            ("/recurse", 500, "trap"),
            ("/trap", 500, "trap"),
            ("/panic", 500, "trap"),
            ("/never", 504, "deadline"),
            ("/no-answer", 502, "no_answer"),
        ],
    );
}

#[test]
fn a_guest_of_wasi_0_3_that_gives_no_answer_gets_its_status() {
    fails_before_its_answer(
        "hostile-p3",
        &[
            ("/loop", 504, "cpu_time"),
            ("/trap", 500, "trap"),
            ("/never", 504, "deadline"),
            ("/error", 502, "guest_error"),
        ],
    );
}

#[test]
fn a_guest_that_may_not_have_the_memory_it_needs_gets_507() {
    let place = Place::new();
    let server = place.serve("stateful", &LIMITS);
    let response = server.client().send("GET", "/grow?40", &[], b"").expect("an answer");
    assert_eq!(response.status, 507, "{}", response.text());
    one_line(&server, "memory", response.header("x-request-id").expect("an id"));
}

#[test]
fn a_guest_that_begins_with_more_than_it_may_have_is_not_served() {
    let place = Place::new();
    let hostile = built("hostile").display().to_string();
    let ended = place.output(&["run", &hostile, "--memory", "512KiB"]);
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(65), ""), "{}", ended.stderr);
    let what = "error: `hostile` begins with 1088KiB of memory, and its limit is 512KiB\nhint: raise the limit (--memory)\n";
    assert_eq!(ended.stderr, what);
    let (counter, store) = (built("counter").display().to_string(), place.arg("visits.db"));
    let ended = place.output(&["run", &counter, "--memory", "64KiB", "--kv", &format!("default={store}")]);
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(65), ""), "{}", ended.stderr);
    assert!(!place.path("visits.db").exists(), "nothing was made for it");
}

#[test]
fn a_guest_that_answers_twice_is_stopped_whatever_came_of_its_first_answer() {
    let place = Place::new();
    let server = place.serve("hostile", &LIMITS);
    let (status, text) = server.get("/twice");
    // The whole first answer may be on its way when the second one traps.
    assert!(status == 500 || (status, text.as_str()) == (200, "first\n"), "{status} {text}");
    server.wait_line("the trap", |line| line.contains("kind=\"trap\""));
    assert_eq!(failures(&server).len(), 1, "{:#?}", server.lines());
}

#[test]
fn a_guest_that_exits_harms_its_own_request_only() {
    let place = Place::new();
    let server = place.serve("hostile-exit", &[]);
    for _ in 0..3 {
        assert!(matches!(server.get("/").0, 500 | 502), "{:#?}", server.lines());
    }
    assert_eq!(server.stop().0.code(), Some(0));
}

/// The answer begins and never ends cleanly.
fn breaks_off(guest: &str, flags: &[&str], cases: &[(&str, &str)]) {
    let place = Place::new();
    let server = place.serve(guest, flags);
    for (path, kind) in cases {
        match server.client().send("GET", path, &[], b"") {
            // The reset may overtake what was sent before it.
            Err(Broken::Body { status: 200, .. } | Broken::NoResponse(_)) => {}
            // Where nothing was sent yet a status says it.
            Ok(response) if response.status >= 500 => {}
            other => panic!("{path} ended as {other:?}"),
        }
        server.wait_line(&format!("{path}: {kind}"), |line| line.contains(&format!("kind=\"{kind}\"")));
        assert_eq!(server.get("/hello"), (200, "Hello from Shoal\n".into()), "after {path}");
    }
    assert_eq!(failures(&server).len(), cases.len(), "one line each: {:#?}", server.lines());
    assert_eq!(server.stop().0.code(), Some(0));
}

#[test]
fn a_body_that_fails_half_way_never_ends_cleanly() {
    let flags = [&LIMITS[..], &["--response-body", "1MiB"]].concat();
    breaks_off(
        "hostile",
        &flags,
        &[
            ("/trap-mid-body", "trap"),
            ("/loop-mid-body", "cpu_time"),
            ("/drop-body", "no_answer"),
            ("/flood", "response_too_large"),
            ("/trickle", "deadline"),
        ],
    );
}

#[test]
fn a_body_of_wasi_0_3_that_fails_half_way_never_ends_cleanly() {
    let flags = [&LIMITS[..], &["--response-body", "1MiB"]].concat();
    breaks_off(
        "hostile-p3",
        &flags,
        &[
            ("/trap-mid-body", "trap"),
            ("/loop-mid-body", "cpu_time"),
            ("/flood", "response_too_large"),
            ("/trickle", "deadline"),
        ],
    );
}

#[test]
fn guests_that_loop_do_not_hold_up_their_neighbours() {
    let place = Place::new();
    let server = place.serve("hostile", &["--cpu-time", "none", "--timeout", "1h", "--drain", "10ms"]);
    let mut loops: Vec<_> = (0..4).map(|_| server.client()).collect();
    for client in &mut loops {
        client.write("GET", "/loop", &[], b"").expect("a request");
    }
    for _ in 0..20 {
        assert_eq!(server.get("/hello"), (200, "Hello from Shoal\n".into()));
    }
    let (status, _, lines) = server.stop();
    assert_eq!(status.code(), Some(69), "{lines:#?}");
}
