//! Ending: nothing in flight is lost, a second signal does not wait, and what was cut off is said.

use std::process::ExitStatus;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rustix::process::Signal;

use crate::client::Broken;
use crate::process::{Place, Server, wait_until};

/// Connections that ask without pause while the process is told to end.
const CONNECTIONS: usize = 16;

/// Asks over one connection after the other until the port is closed; how many requests were answered.
fn ask_until_closed(server: &Server, expected: &str, answered: &AtomicU64, is_ending: &AtomicBool) {
    'connections: loop {
        let Ok(stream) = std::net::TcpStream::connect(server.address) else {
            assert!(is_ending.load(Ordering::SeqCst), "a connection was refused before the end");
            return;
        };
        stream.set_read_timeout(Some(crate::process::DEADLINE)).expect("a deadline");
        let mut client = crate::client::Client::over(stream);
        let mut is_first = true;
        loop {
            match client.send("GET", "/", &[], b"") {
                Ok(response) => {
                    assert_eq!((response.status, response.text().as_str()), (200, expected));
                    answered.fetch_add(1, Ordering::SeqCst);
                    if response.header("connection") == Some("close") {
                        continue 'connections;
                    }
                    is_first = false;
                }
                // The kernel had taken the connection, or the server closed it while it was idle: a request
                // that was never read may be sent again. One that was read must be answered.
                Err(Broken::NoResponse(error)) => {
                    assert!(is_ending.load(Ordering::SeqCst), "first {is_first}: {error}");
                    continue 'connections;
                }
                Err(broken @ Broken::Body { .. }) => panic!("an answer was cut off: {broken:?}"),
            }
        }
    }
}

/// Tells the process to end while many ask: exit status, standard output, lines on standard error, and how many requests
/// were answered. A request that was read and not answered as expected fails the test.
pub(crate) fn end_under_load(server: Server, expected: &str) -> (ExitStatus, String, Vec<String>, u64) {
    let (answered, is_ending) = (AtomicU64::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        for _ in 0..CONNECTIONS {
            scope.spawn(|| ask_until_closed(&server, expected, &answered, &is_ending));
        }
        wait_until("the load", || answered.load(Ordering::SeqCst) > 200);
        is_ending.store(true, Ordering::SeqCst);
        server.signal(Signal::TERM);
    });
    let (status, log, lines) = server.ended();
    (status, log, lines, answered.into_inner())
}

#[test]
fn a_drain_under_load_loses_no_request() {
    let place = Place::new();
    let server = place.serve("hello", &["--access-log", "json"]);
    let (status, log, lines, answered) = end_under_load(server, "Hello from Shoal\n");
    assert_eq!(status.code(), Some(0), "{lines:#?}");
    // What the server read it answered, and what it answered arrived.
    let served = log.lines().filter(|line| line.contains("\"status\":200")).count() as u64;
    assert_eq!(served, answered);
    assert_eq!(log.lines().count() as u64, served, "nothing but whole answers: {log}");
}

#[test]
fn a_request_in_flight_is_answered_after_the_signal() {
    let place = Place::new();
    let server = place.serve("hostile", &[]);
    let mut client = server.client();
    client.write("GET", "/sleep?ms=700", &[], b"").expect("a request");
    // The first is under way when the second, on a thread of its own or after it, was answered.
    assert_eq!(server.get("/hello").0, 200);
    server.signal(Signal::TERM);
    let response = client.read().expect("an answer");
    assert_eq!((response.status, response.text().as_str()), (200, "done\n"));
    assert_eq!(server.ended().0.code(), Some(0));
}

#[test]
fn a_second_signal_ends_at_once() {
    let place = Place::new();
    let server = place.serve("hostile", &["--timeout", "1h", "--drain", "1h"]);
    let mut client = server.client();
    client.write("GET", "/trickle", &[], b"").expect("a request");
    assert_eq!(client.head().expect("a head").0, 200);
    server.signal(Signal::TERM);
    server.wait_line("the drain", |line| line.contains("draining; a second signal ends at once"));
    server.signal(Signal::TERM);
    let (status, _, lines) = server.ended();
    assert_eq!(status.code(), Some(143), "{lines:#?}");
}

#[test]
fn a_request_that_outlives_the_drain_is_counted() {
    let place = Place::new();
    let server = place.serve("hostile", &["--timeout", "1h", "--drain", "300ms"]);
    let mut client = server.client();
    client.write("GET", "/trickle", &[], b"").expect("a request");
    assert_eq!(client.head().expect("a head").0, 200);
    let (status, _, lines) = server.stop();
    assert_eq!(status.code(), Some(69), "{lines:#?}");
    let said = lines.iter().find(|line| line.contains("in flight at the drain deadline"));
    assert!(said.is_some_and(|line| line.contains(" 1 request")), "{lines:#?}");
    assert!(lines.iter().any(|line| line.starts_with("hint: ") && line.contains("--drain")), "{lines:#?}");
}

#[test]
fn a_signal_right_after_the_first_line_is_obeyed() {
    let place = Place::new();
    for signal in [Signal::TERM, Signal::INT] {
        for _ in 0..5 {
            let server = place.serve("hello", &[]);
            server.signal(signal);
            let (status, _, lines) = server.ended();
            assert_eq!(status.code(), Some(0), "{signal:?}: {lines:#?}");
        }
    }
}
