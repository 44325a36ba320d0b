//! Every limit at its edge: what is just within passes, what is just beyond is refused and counted.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use http::Response;
use http_body_util::BodyExt as _;
use shoal_base::units::Bytes;
use shoal_runtime::fake::{FakeInvoke, always};
use shoal_runtime::{Body, BodyError, Failure, FailureKind};

use crate::support::{
    Chunks, Running, ask, connect, echo_whole, eventually, hangs, limited, read_response, read_to_close,
    serve, status,
};

/// A time limit that tests wait for.
const SHORT: Duration = Duration::from_millis(150);

fn hits(edge: &Running, limit: &str) -> f64 {
    edge.metric(&format!("shoal_edge_limits_total{{limit=\"{limit}\"}}")).unwrap()
}

/// A GET whose head has exactly this many bytes.
fn head_of(bytes: usize) -> String {
    let (start, end) = ("GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\nx: ", "\r\n\r\n");
    format!("{start}{}{end}", "y".repeat(bytes - start.len() - end.len()))
}

#[test]
fn a_head_that_drips_is_given_up() {
    let edge = serve(limited(|l| l.header_read = SHORT), always("hello"));
    let mut socket = connect(edge.address());
    socket.write_all(b"GET / HTTP/1.1\r\nhost: a\r\nx: ").unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(10))).unwrap();
    let mut answer = [0; 1024];
    let count = loop {
        match socket.read(&mut answer) {
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                let _ = socket.write_all(b"y");
            }
            read => break read.unwrap(),
        }
    };
    assert_eq!(status(std::str::from_utf8(&answer[..count]).unwrap()), 408);
    edge.await_metric("shoal_edge_connections_open", 0.0);
    assert_eq!(hits(&edge, "header_read"), 1.0);
}

#[test]
fn a_connection_that_says_nothing_is_closed() {
    let edge = serve(limited(|l| l.header_read = SHORT), always("hello"));
    assert_eq!(read_to_close(&mut connect(edge.address())), "");
    // Nor one that begins like HTTP/2 and stops.
    assert_eq!(ask(edge.address(), "PR"), "");
    assert_eq!(hits(&edge, "header_read"), 2.0);
}

#[test]
fn an_idle_connection_is_closed() {
    let edge = serve(limited(|l| l.keep_alive = SHORT), always("hello"));
    let mut socket = connect(edge.address());
    socket.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
    assert_eq!(status(&read_response(&mut socket)), 200);
    assert_eq!(read_to_close(&mut socket), "");
    assert_eq!(hits(&edge, "keep_alive"), 1.0);
}

#[test]
fn a_busy_connection_is_not_closed_for_being_idle() {
    let edge = serve(
        limited(|l| l.keep_alive = SHORT),
        FakeInvoke::new(|_, _| async {
            tokio::time::sleep(3 * SHORT).await;
            Ok(Response::new(Body::whole("late")))
        }),
    );
    let mut socket = connect(edge.address());
    for _ in 0..2 {
        socket.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
        assert!(read_response(&mut socket).ends_with("late"));
    }
    assert_eq!(hits(&edge, "keep_alive"), 0.0);
}

#[test]
fn a_body_that_stalls_is_given_up() {
    let edge = serve(limited(|l| l.body_stall = SHORT), echo_whole());
    let mut socket = connect(edge.address());
    socket.write_all(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\nabc").unwrap();
    let text = read_to_close(&mut socket);
    assert_eq!(status(&text), 408, "{text}");
    assert_eq!(hits(&edge, "body_stall"), 1.0);
}

#[test]
fn what_a_client_does_wrong_while_it_is_answered_is_not_the_fault_of_the_workload() {
    // As a guest that streams the body back, and drops its own when that one ends in an error.
    let echo = FakeInvoke::new(|request: http::Request<Body>, _| async move {
        let body = request.into_body().map_err(|_| {
            BodyError::Failed(Failure::new(
                FailureKind::NoAnswer,
                "it dropped its body before it was finished",
            ))
        });
        Ok(Response::new(Body::stream(body)))
    });
    let edge = serve(limited(|l| (l.body_stall, l.request_body) = (SHORT, Bytes(9))), echo);
    let begun = "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n";
    for rest in ["", "wrong\r\n", "7\r\ntoo long\r\n"] {
        let mut socket = connect(edge.address());
        socket.write_all(begun.as_bytes()).unwrap();
        let mut first = [0; 1];
        socket.read_exact(&mut first).unwrap();
        socket.write_all(rest.as_bytes()).unwrap();
        assert!(read_to_close(&mut socket).ends_with("<reset>"));
    }
    edge.await_metric("shoal_edge_limits_total{limit=\"body_stall\"}", 1.0);
    edge.await_metric("shoal_edge_limits_total{limit=\"request_body\"}", 1.0);
    edge.await_metric("shoal_edge_requests_malformed_total", 1.0);
    assert_eq!(edge.metric("shoal_edge_failures_total{kind=\"no_answer\"}"), Some(0.0));
}

#[test]
fn a_client_that_takes_nothing_is_given_up() {
    let (taken, dropped) = (Arc::default(), Arc::new(AtomicBool::new(false)));
    let edge = serve(limited(|l| l.write_stall = SHORT), endless(&taken, &dropped));
    let mut socket = connect(edge.address());
    socket.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
    eventually("the guest is stopped", || dropped.load(SeqCst));
    edge.await_metric("shoal_edge_limits_total{limit=\"write_stall\"}", 1.0);
    assert!(read_to_close(&mut socket).ends_with("<reset>"));
}

#[test]
fn the_head_may_be_as_large_as_its_limit() {
    let edge = serve(limited(|l| l.header_list = Bytes::kib(4)), always("hello"));
    assert_eq!(status(&ask(edge.address(), head_of(4096))), 200);
    assert_eq!(hits(&edge, "header_list"), 0.0);
    assert_eq!(status(&ask(edge.address(), head_of(4097))), 431);
    // Nor does it help never to end it.
    assert_eq!(status(&ask(edge.address(), &head_of(100_000)[..99_000])), 431);
    assert_eq!(hits(&edge, "header_list"), 2.0);
}

#[test]
fn the_head_may_have_as_many_fields_as_its_limit() {
    for count in [10, 100] {
        let edge = serve(limited(|l| l.header_count = count), always("hello"));
        let head = |fields: usize| {
            let rest: String = (2..fields).map(|n| format!("x{n}: y\r\n")).collect();
            format!("GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n{rest}\r\n")
        };
        assert_eq!(status(&ask(edge.address(), head(count))), 200, "{count}");
        assert_eq!(status(&ask(edge.address(), head(count + 1))), 431, "{count}");
        assert_eq!(hits(&edge, "header_list"), 1.0);
    }
}

#[test]
fn the_target_may_be_as_long_as_its_limit() {
    let edge = serve(limited(|l| l.uri = Bytes(100)), always("hello"));
    let get = |bytes: usize| {
        let path = "a".repeat(bytes - 1);
        ask(edge.address(), format!("GET /{path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n"))
    };
    assert_eq!(status(&get(100)), 200);
    assert_eq!(status(&get(101)), 414);
    assert_eq!(hits(&edge, "uri"), 1.0);
}

#[test]
fn a_declared_body_may_be_as_large_as_its_limit() {
    let edge = serve(limited(|l| l.request_body = Bytes(100)), echo_whole());
    let head = |bytes: usize| {
        format!("POST / HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: {bytes}\r\n\r\n")
    };
    assert_eq!(status(&ask(edge.address(), head(100) + &"x".repeat(100))), 200);
    // Refused before any of it was sent.
    assert_eq!(status(&ask(edge.address(), head(101))), 413);
    assert_eq!(hits(&edge, "request_body"), 1.0);
}

#[test]
fn a_streamed_body_may_be_as_large_as_its_limit() {
    let edge = serve(limited(|l| l.request_body = Bytes(100)), echo_whole());
    let head = "POST / HTTP/1.1\r\nhost: a\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n";
    let chunk = |bytes: usize| format!("{bytes:x}\r\n{}\r\n", "x".repeat(bytes));
    let passes = ask(edge.address(), format!("{head}{}{}0\r\n\r\n", chunk(60), chunk(40)));
    assert_eq!(status(&passes), 200);
    assert!(passes.ends_with(&"x".repeat(100)));
    let refused = ask(edge.address(), format!("{head}{}{}0\r\n\r\n", chunk(60), chunk(41)));
    assert_eq!(status(&refused), 413, "{refused}");
    assert_eq!(hits(&edge, "request_body"), 1.0);
}

#[test]
fn a_refusal_reaches_a_client_that_is_still_sending() {
    let edge = serve(limited(|l| l.request_body = Bytes(100)), echo_whole());
    let body = vec![b'x'; 2 << 20];
    let mut request =
        format!("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n", body.len()).into_bytes();
    request.extend_from_slice(&body);
    let text = ask(edge.address(), request);
    assert_eq!(status(&text), 413);
    assert!(!text.contains("<reset>"), "{text}");
}

#[test]
fn a_listener_has_as_many_connections_as_its_limit() {
    for per_peer in [false, true] {
        let config = limited(|l| if per_peer { l.connections_per_peer = 2 } else { l.connections = 2 });
        let edge = serve(config, always("hello"));
        let mut kept: Vec<TcpStream> = (0..2).map(|_| connect(edge.address())).collect();
        for socket in &mut kept {
            socket.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
            assert_eq!(status(&read_response(socket)), 200);
        }
        let text = read_to_close(&mut connect(edge.address()));
        assert_eq!(status(&text), 503, "{text}");
        assert!(text.contains("retry-after: 1\r\n"), "{text}");
        assert_eq!(hits(&edge, if per_peer { "connections_per_peer" } else { "connections" }), 1.0);
        kept.pop();
        edge.await_metric("shoal_edge_connections_open", 1.0);
        let text = ask(edge.address(), "GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
        assert_eq!(status(&text), 200);
    }
}

#[test]
fn a_thread_has_as_many_requests_as_its_limit() {
    let (asked, stopped) = (Arc::new(AtomicUsize::new(0)), Arc::default());
    let edge = serve(limited(|l| l.requests_per_thread = 2), hangs(&asked, &stopped));
    let request = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n";
    let mut waiting: Vec<TcpStream> = (0..2).map(|_| connect(edge.address())).collect();
    waiting.iter_mut().for_each(|socket| socket.write_all(request).unwrap());
    eventually("both are at work", || asked.load(SeqCst) == 2);
    let mut socket = connect(edge.address());
    for _ in 0..2 {
        socket.write_all(request).unwrap();
        let text = read_response(&mut socket);
        assert_eq!(status(&text), 503, "the connection is kept: {text}");
        assert!(text.contains("retry-after: 1\r\n"), "{text}");
    }
    assert_eq!(hits(&edge, "requests_per_thread"), 2.0);
    waiting.pop();
    edge.await_metric("shoal_edge_requests_in_flight", 1.0);
    socket.write_all(request).unwrap();
    eventually("there is room again", || asked.load(SeqCst) == 3);
    drop((waiting, socket));
    edge.await_metric("shoal_edge_requests_in_flight", 0.0);
}

#[test]
fn a_small_rest_of_a_body_is_read_and_a_large_one_closes() {
    let edge = serve(limited(|l| l.early_response_drain = Bytes::kib(32)), always("early"));
    let post = |bytes: usize| format!("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: {bytes}\r\n\r\n");
    let mut socket = connect(edge.address());
    for _ in 0..2 {
        // The head alone, so that the answer is there before the body is.
        socket.write_all(post(32 << 10).as_bytes()).unwrap();
        assert!(read_response(&mut socket).ends_with("early"));
        socket.write_all(&vec![b'x'; 32 << 10]).unwrap();
    }
    socket.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
    assert!(read_response(&mut socket).ends_with("early"), "the connection was kept");

    let mut socket = connect(edge.address());
    socket.write_all(post((32 << 10) + 1).as_bytes()).unwrap();
    assert!(read_response(&mut socket).ends_with("early"));
    let _ = socket.write_all(&vec![b'x'; (32 << 10) + 1]);
    let _ = socket.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    assert_eq!(read_to_close(&mut socket).matches("early").count(), 0, "the connection was closed");
}

fn endless(taken: &Arc<AtomicUsize>, dropped: &Arc<AtomicBool>) -> impl shoal_runtime::Invoke + use<> {
    let (taken, dropped) = (taken.clone(), dropped.clone());
    FakeInvoke::new(move |_, _| {
        let body = Chunks::new(usize::MAX, 16 << 10, &taken, &dropped);
        async move { Ok(Response::new(Body::stream(body))) }
    })
}
