//! Ordinary requests get ordinary answers.

use std::collections::HashSet;
use std::io::Write;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex};

use http::{Request, Response};
use shoal_edge::Config;
use shoal_runtime::fake::{FakeInvoke, always, echo};
use shoal_runtime::{Body, Call};

use crate::support::{ask, config, connect, eventually, read_response, serve, status};

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

#[test]
fn a_workload_sees_the_request_as_it_was_sent() {
    let edge = serve(
        config(),
        FakeInvoke::new(|request: Request<Body>, call: Call| async move {
            let header =
                |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or("-");
            let text = format!(
                "{} {} {} {} {} {} {}",
                call.id,
                call.scheme,
                call.peer,
                request.method(),
                request.uri(),
                header("host"),
                header("traceparent"),
            );
            Ok(Response::new(Body::whole(text)))
        }),
    );
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let mut socket = connect(edge.address());
    let peer = socket.local_addr().unwrap();
    for id in [1, 2] {
        let request = format!("PURGE /a%20b?c=d HTTP/1.1\r\nhost: a.test\r\ntraceparent: {trace}\r\n\r\n");
        socket.write_all(request.as_bytes()).unwrap();
        let text = read_response(&mut socket);
        let expected = format!("{id} http {peer} PURGE /a%20b?c=d a.test {trace}");
        assert!(text.ends_with(&expected), "{text}");
    }
}

#[test]
fn every_thread_serves_every_listener() {
    let any = config().listeners[0].clone();
    let config = Config { listeners: vec![any.clone(), any], threads: NonZeroUsize::new(2), ..config() };
    let threads: Arc<Mutex<HashSet<String>>> = Arc::default();
    let seen = threads.clone();
    let edge = serve(
        config,
        FakeInvoke::new(move |_, _| {
            let thread = std::thread::current().name().unwrap_or_default().to_owned();
            seen.lock().unwrap().insert(thread);
            async { Ok(Response::new(Body::whole("hello"))) }
        }),
    );
    assert_ne!(edge.addresses[0], edge.addresses[1]);
    for address in edge.addresses.clone() {
        threads.lock().unwrap().clear();
        // The kernel spreads connections by a hash of their ports.
        eventually("both threads have served", || {
            assert_eq!(status(&ask(address, "GET / HTTP/1.0\r\n\r\n")), 200);
            threads.lock().unwrap().len() == 2
        });
        assert_eq!(*threads.lock().unwrap(), HashSet::from(["edge-0".to_owned(), "edge-1".to_owned()]));
    }
}
