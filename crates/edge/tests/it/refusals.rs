//! Requests that must not reach a workload: malformed, ambiguous, or made to be read differently by the next
//! server (request smuggling). Each is answered with the status in the table, and the connection is closed.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use http::Response;
use shoal_runtime::Body;
use shoal_runtime::fake::FakeInvoke;

use crate::support::{Running, ask, config, connect, read_response, serve, status};

/// Counts the requests that reach it, and reads their bodies.
fn counting() -> (Running, Arc<AtomicUsize>) {
    let reached = Arc::new(AtomicUsize::new(0));
    let count = reached.clone();
    let workload = FakeInvoke::new(move |request: http::Request<Body>, _| {
        let count = count.clone();
        async move {
            use http_body_util::BodyExt;
            count.fetch_add(1, Relaxed);
            let whole = request.into_body().collect().await;
            Ok(Response::new(Body::whole(if whole.is_ok() { "whole" } else { "broken" })))
        }
    });
    (serve(config(), workload), reached)
}

/// What follows every refused request on its connection: it must never be answered.
const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n";

fn check_refused(expected: u16, table: &[(&str, &str)]) {
    let (edge, reached) = counting();
    for (what, request) in table {
        let text = ask(edge.address(), format!("{request}{SMUGGLED}"));
        assert_eq!(status(&text), expected, "{what}: {request:?} got {text:?}");
        assert_eq!(text.matches("HTTP/1.1 ").count(), 1, "{what}: more than one answer: {text:?}");
        assert!(!text.contains("<reset>"), "{what}: the answer was cut off: {text:?}");
        assert!(text.contains("connection: close"), "{what}: does not say that it closes: {text:?}");
        assert_eq!(reached.load(Relaxed), 0, "{what}: the workload saw {request:?}");
    }
}

#[test]
fn ambiguous_lengths_are_refused() {
    check_refused(
        400,
        &[
            (
                "length, then chunked",
                "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            ),
            (
                "chunked, then length",
                "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
            ),
            (
                "chunked and length 0",
                "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            ),
            (
                "the same on GET",
                "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            ),
            (
                "two lengths",
                "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
            ),
            (
                "two equal lengths",
                "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
            ),
            ("a list of lengths", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3, 3\r\n\r\nabc"),
            ("a negative length", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n"),
            ("a signed length", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +3\r\n\r\nabc"),
            ("a hexadecimal length", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x3\r\n\r\nabc"),
            ("an empty length", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: \r\n\r\n"),
            (
                "an enormous length",
                "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\n",
            ),
            ("a length split by a space", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1 2\r\n\r\nabc"),
        ],
    );
}

#[test]
fn other_transfer_encodings_are_refused() {
    check_refused(
        400,
        &[
            ("identity", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\n\r\n"),
            ("gzip", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n"),
            (
                "chunked not last",
                "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
            ),
            (
                "gzip before chunked",
                "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
            ),
            (
                "chunked twice",
                "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
            ),
            (
                "two fields",
                "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
            ),
            (
                "two fields, chunked last",
                "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            ),
            ("quoted", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n"),
            (
                "with a parameter",
                "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked;q=1\r\n\r\n0\r\n\r\n",
            ),
            (
                "with a vertical tab",
                "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
            ),
            ("misspelt", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"),
        ],
    );
}

#[test]
fn transfer_encoding_in_http_1_0_is_refused() {
    let (edge, reached) = counting();
    let text = ask(
        edge.address(),
        format!("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{SMUGGLED}"),
    );
    assert!(text.starts_with("HTTP/1.1 400") || text.starts_with("HTTP/1.0 400"), "{text}");
    assert_eq!(reached.load(Relaxed), 0);
}

#[test]
fn malformed_lines_are_refused() {
    check_refused(
        400,
        &[
            ("a bare line feed after the request line", "GET / HTTP/1.1\nHost: a\r\n\r\n"),
            ("a bare line feed after a field", "GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n"),
            ("bare line feeds at the end", "GET / HTTP/1.1\r\nHost: a\r\nX: b\n\n"),
            ("a bare carriage return in a value", "GET / HTTP/1.1\r\nHost: a\r\nX: b\rc\r\n\r\n"),
            ("a bare carriage return in the target", "GET /\r HTTP/1.1\r\nHost: a\r\n\r\n"),
            ("a folded field", "GET / HTTP/1.1\r\nHost: a\r\nX: b\r\n c\r\n\r\n"),
            ("a folded first field", "GET / HTTP/1.1\r\n Host: a\r\nHost: a\r\n\r\n"),
            (
                "a folded encoding",
                "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
            ),
            ("a space before the colon", "GET / HTTP/1.1\r\nHost : a\r\n\r\n"),
            ("a tab before the colon", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length\t: 3\r\n\r\nabc"),
            (
                "a space before the colon of the encoding",
                "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
            ),
            ("a field without a colon", "GET / HTTP/1.1\r\nHost: a\r\nnonsense\r\n\r\n"),
            ("a field without a name", "GET / HTTP/1.1\r\nHost: a\r\n: b\r\n\r\n"),
            ("a NUL in a value", "GET / HTTP/1.1\r\nHost: a\r\nX: b\0c\r\n\r\n"),
            ("a NUL in a name", "GET / HTTP/1.1\r\nHost: a\r\nX\0: b\r\n\r\n"),
            ("a NUL in the target", "GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n"),
            ("a control character in a value", "GET / HTTP/1.1\r\nHost: a\r\nX: b\x01\r\n\r\n"),
            ("a DEL in a value", "GET / HTTP/1.1\r\nHost: a\r\nX: b\x7f\r\n\r\n"),
            ("a space in the target", "GET /a b HTTP/1.1\r\nHost: a\r\n\r\n"),
            ("an unknown version", "GET / HTTP/1.2\r\nHost: a\r\n\r\n"),
            ("a lower-case version", "GET / http/1.1\r\nHost: a\r\n\r\n"),
            ("no version", "GET /\r\nHost: a\r\n\r\n"),
            ("HTTP/2 without its preface", "GET / HTTP/2.0\r\nHost: a\r\n\r\n"),
            ("a method with a slash", "GE/T / HTTP/1.1\r\nHost: a\r\n\r\n"),
            ("TLS", "\x16\x03\x01\x02\x00\x01\x00\x01\r\n\r\n"),
        ],
    );
}

#[test]
fn wrong_targets_and_hosts_are_refused() {
    check_refused(
        400,
        &[
            ("no host", "GET / HTTP/1.1\r\nX: a\r\n\r\n"),
            ("two hosts", "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"),
            ("two equal hosts", "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n"),
            ("a list of hosts", "GET / HTTP/1.1\r\nHost: a, b\r\n\r\n"),
            ("a user in the host", "GET / HTTP/1.1\r\nHost: a@b\r\n\r\n"),
            ("a path in the host", "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n"),
            ("another host in the target", "GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n"),
            ("another port in the target", "GET http://a:81/ HTTP/1.1\r\nHost: a\r\n\r\n"),
            ("a target of another scheme", "GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n"),
            ("a target without a path", "GET a HTTP/1.1\r\nHost: a\r\n\r\n"),
            ("an asterisk for GET", "GET * HTTP/1.1\r\nHost: a\r\n\r\n"),
            ("a tunnel", "CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n"),
            ("a tunnel with a path", "CONNECT / HTTP/1.1\r\nHost: a\r\n\r\n"),
        ],
    );
}

#[test]
fn broken_chunks_are_refused_over_the_answer_of_the_workload() {
    let (edge, _) = counting();
    let head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    let flood = format!("1;{}\r\na\r\n0\r\n\r\n", "x".repeat(20_000));
    let trailers = format!("1\r\na\r\n0\r\nX: {}\r\n\r\n", "x".repeat(70_000));
    for (what, chunks) in [
        ("no size", "\r\nabc\r\n0\r\n\r\n"),
        ("a size in words", "three\r\nabc\r\n0\r\n\r\n"),
        ("a negative size", "-1\r\nabc\r\n0\r\n\r\n"),
        ("a size with 0x", "0x3\r\nabc\r\n0\r\n\r\n"),
        ("a size beyond all", "fffffffffffffffff\r\nabc\r\n0\r\n\r\n"),
        ("a size with a bare line feed", "3\nabc\r\n0\r\n\r\n"),
        ("digits behind a space", "3 3\r\nabc\r\n0\r\n\r\n"),
        ("a chunk longer than its size", "3\r\nabcd\r\n0\r\n\r\n"),
        ("a chunk that ends in a bare line feed", "3\r\nabc\n0\r\n\r\n"),
        ("an extension with a bare line feed", "3;a\nb\r\nabc\r\n0\r\n\r\n"),
        ("a flood of extensions", &flood),
        ("a flood of trailers", &trailers),
    ] {
        let text = ask(edge.address(), format!("{head}{chunks}{SMUGGLED}"));
        assert_eq!(status(&text), 400, "{what}: {chunks:.40?} got {text:?}");
        assert_eq!(text.matches("HTTP/1.1 ").count(), 1, "{what}: {text:?}");
        assert!(!text.contains("<reset>"), "{what}: {text:?}");
    }
}

#[test]
fn what_only_looks_dangerous_is_served() {
    let (edge, _) = counting();
    for (what, request) in [
        ("an empty line before the request", "\r\nGET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"),
        ("an absolute target", "GET http://a/ HTTP/1.1\r\nHost: A\r\nConnection: close\r\n\r\n"),
        (
            "chunked with extensions",
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\nConnection: close\r\n\r\n3;a=b\r\nabc\r\n0;c\r\n\r\n",
        ),
        (
            "a body that looks like a request",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 20\r\nConnection: close\r\n\r\nGET /\nContent-Length",
        ),
        ("latin-1 in a value", "GET / HTTP/1.1\r\nHost: a\r\nX: caf\u{e9}\r\nConnection: close\r\n\r\n"),
        (
            "an upgrade, which is ignored",
            "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade, close\r\nUpgrade: h2c\r\n\r\n",
        ),
        ("all options", "OPTIONS * HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"),
    ] {
        let text = ask(edge.address(), request);
        assert_eq!(status(&text), 200, "{what}: {text}");
        assert!(text.ends_with("whole"), "{what}: {text}");
    }
}

#[test]
fn the_second_request_is_judged_as_the_first_is() {
    let (edge, reached) = counting();
    let mut socket = connect(edge.address());
    socket
        .write_all(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n")
        .unwrap();
    assert_eq!(status(&read_response(&mut socket)), 200);
    socket
        .write_all(
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        )
        .unwrap();
    assert_eq!(status(&read_response(&mut socket)), 400);
    assert_eq!(reached.load(Relaxed), 1);
    // Both in one packet, and the ambiguity between two good ones.
    let good = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    let bad =
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    let text = ask(edge.address(), [good, bad, good].concat());
    assert_eq!(text.matches("HTTP/1.1 200").count(), 1, "{text}");
    assert_eq!(text.matches("HTTP/1.1 400").count(), 1, "{text}");
    assert_eq!(reached.load(Relaxed), 2);
}
