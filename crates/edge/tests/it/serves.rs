//! Ordinary requests get ordinary answers.

use std::io::Write;
use std::sync::Arc;

use shoal_runtime::fake::{always, echo};

use crate::support::{ask, config, connect, read_response, serve, status};

#[test]
fn a_request_is_answered_and_the_connection_kept() {
    let edge = serve(config(), always("hello\n"));
    let mut socket = connect(edge.address());
    for _ in 0..3 {
        socket.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
        let response = read_response(&mut socket);
        assert_eq!(status(&response), 200);
        assert!(
            response.ends_with("content-length: 6\r\n\r\nhello\n") || response.ends_with("hello\n"),
            "{response}"
        );
    }
    drop(socket);
    let served = edge.stop();
    assert_eq!(served.requests, 3);
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let edge = serve(config(), echo());
    let one = "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\none";
    let two = "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\ntwo\r\n0\r\n\r\n";
    let last = "GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    let text = ask(edge.address(), [one, two, last].concat());
    assert_eq!(text.matches("HTTP/1.1 200 OK").count(), 3, "{text}");
    assert!(text.find("one").unwrap() < text.find("two").unwrap(), "{text}");
}

#[test]
fn a_workload_is_replaced_while_it_serves() {
    let edge = serve(config(), always("old"));
    let mut socket = connect(edge.address());
    socket.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
    assert!(read_response(&mut socket).ends_with("old"));
    edge.routes.replace(Arc::new(always("new")));
    socket.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
    assert!(read_response(&mut socket).ends_with("new"));
}

#[test]
fn head_gets_the_head_alone() {
    let edge = serve(config(), always("hello"));
    let text = ask(edge.address(), "HEAD / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
    assert!(text.contains("content-length: 5\r\n"), "{text}");
    assert!(text.ends_with("\r\n\r\n"), "{text}");
}

#[test]
fn old_clients_are_served() {
    let edge = serve(config(), always("hello"));
    let text = ask(edge.address(), "GET / HTTP/1.0\r\n\r\n");
    assert!(text.starts_with("HTTP/1.0 200 OK\r\n") && text.ends_with("hello"), "{text}");
}
