//! What the client gets when the workload fails: the right status, no insides, never a clean but short body.

use std::io::Write;

use bytes::Bytes;
use expect_test::expect;
use http::{Response, StatusCode};
use http_body::Frame;
use http_body_util::StreamBody;
use shoal_runtime::fake::FakeInvoke;
use shoal_runtime::{Body, BodyError, Failure, FailureKind};

use crate::support::{Running, ask, config, connect, read_response, serve, status};

/// Fails in the way that the path names.
fn failing() -> Running {
    serve(
        config(),
        FakeInvoke::new(|request: http::Request<Body>, _| async move {
            let name = request.uri().path().trim_start_matches('/').to_owned();
            let kind = FailureKind::ALL.into_iter().find(|kind| kind.name() == name);
            Err(Failure::new(kind.expect("a kind"), "secret: at 0xdeadbeef in guest.rs"))
        }),
    )
}

/// Answers with this body.
fn answering(response: impl Fn() -> Response<Body> + Send + Sync + 'static) -> Running {
    serve(
        config(),
        FakeInvoke::new(move |_, _| {
            let response = response();
            async move { Ok(response) }
        }),
    )
}

fn broken_body() -> Body {
    let failure = BodyError::Failed(Failure::new(FailureKind::Trap, "unreachable"));
    let frames = [Ok(Frame::data(Bytes::from("half"))), Err(failure)];
    Body::stream(StreamBody::new(futures_util::stream::iter(frames)))
}

#[test]
fn every_kind_has_its_status_and_is_counted() {
    let edge = failing();
    let mut socket = connect(edge.address());
    for kind in FailureKind::ALL {
        socket.write_all(format!("GET /{kind} HTTP/1.1\r\nhost: a\r\n\r\n").as_bytes()).unwrap();
        let text = read_response(&mut socket);
        assert_eq!(status(&text), kind.status().as_u16(), "{text}");
        assert!(text.contains("x-request-id: 000000000000000"), "{text}");
        // What the edge itself found is told; what happened inside of a guest is not.
        assert_eq!(text.contains("secret") || text.contains("deadbeef"), kind.is_told(), "{text}");
        assert_eq!(
            text.contains("retry-after: 1"),
            kind.status() == StatusCode::SERVICE_UNAVAILABLE,
            "{text}"
        );
        assert_eq!(edge.metric(&format!("shoal_edge_failures_total{{kind=\"{kind}\"}}")), Some(1.0));
    }
}

#[test]
fn failures_are_explained_as_the_client_asks() {
    let edge = failing();
    let body = |accept: &str| {
        let text = ask(
            edge.address(),
            format!("GET /cpu_time HTTP/1.1\r\nhost: a\r\nconnection: close\r\n{accept}\r\n"),
        );
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        let kind = head.lines().find(|line| line.starts_with("content-type")).unwrap();
        format!("{kind}\n{body}")
    };
    expect![[r#"
        content-type: text/plain; charset=utf-8
        504 the workload used up its CPU time
        request: 0000000000000001
    "#]]
    .assert_eq(&body("accept: */*\r\n"));
    expect![[r#"
        content-type: application/json
        {"error":"cpu_time","message":"the workload used up its CPU time","request":"0000000000000002","status":504}
    "#]]
    .assert_eq(&body("accept: text/html, Application/JSON;q=0.9\r\n"));
}

#[test]
fn a_body_that_fails_is_never_a_clean_end() {
    let edge = answering(|| Response::new(broken_body()));
    let chunked = ask(edge.address(), "GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    assert!(!chunked.contains("0\r\n\r\n"), "{chunked}");
    assert!(chunked.ends_with("<reset>"), "{chunked}");
    // Without chunks only the reset tells.
    let to_close = ask(edge.address(), "GET / HTTP/1.0\r\n\r\n");
    assert!(to_close.ends_with("<reset>"), "{to_close}");
    edge.await_metric("shoal_edge_failures_total{kind=\"trap\"}", 2.0);
}

#[test]
fn a_body_shorter_than_it_said_breaks_the_connection() {
    let edge = answering(|| {
        let frames = [Ok::<_, BodyError>(Frame::data(Bytes::from("four")))];
        let body = Body::stream(StreamBody::new(futures_util::stream::iter(frames)));
        Response::builder().header("content-length", "10").body(body).unwrap()
    });
    let mut socket = connect(edge.address());
    socket.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\nGET / HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
    let text = crate::support::read_to_close(&mut socket);
    assert_eq!(text.matches("HTTP/1.1 ").count().min(1), text.matches("HTTP/1.1 ").count(), "{text}");
    edge.await_metric("shoal_edge_connections_open", 0.0);
}

#[test]
fn an_answer_that_lies_about_its_length_is_no_answer() {
    for (lengths, body) in
        [(&["3"][..], "four"), (&["5"], "four"), (&["4", "4"], "four"), (&["four"], "four"), (&["1"], "")]
    {
        let edge = answering(move || {
            let mut response = Response::new(Body::whole(body));
            for length in lengths {
                response.headers_mut().append("content-length", length.parse().unwrap());
            }
            response
        });
        let text = ask(edge.address(), "GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
        assert_eq!(status(&text), 502, "{lengths:?} {body:?}: {text}");
        assert_eq!(edge.metric("shoal_edge_failures_total{kind=\"no_answer\"}"), Some(1.0));
    }
}

#[test]
fn a_true_length_is_kept_and_head_may_speak_of_another_body() {
    let edge =
        answering(|| Response::builder().header("content-length", "4").body(Body::whole("four")).unwrap());
    let text = ask(edge.address(), "GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
    assert!(text.contains("content-length: 4\r\n") && text.ends_with("four"), "{text}");
    let edge =
        answering(|| Response::builder().header("content-length", "1234").body(Body::empty()).unwrap());
    let text = ask(edge.address(), "HEAD / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
    assert!(text.contains("content-length: 1234\r\n") && status(&text) == 200, "{text}");
}

#[test]
fn a_workload_has_no_say_in_the_connection() {
    let edge = answering(|| {
        Response::builder()
            .header("connection", "upgrade, x-inner")
            .header("upgrade", "websocket")
            .header("keep-alive", "timeout=1000")
            .header("transfer-encoding", "gzip")
            .body(Body::whole("four"))
            .unwrap()
    });
    let mut socket = connect(edge.address());
    socket.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
    let text = read_response(&mut socket).to_ascii_lowercase();
    for field in ["connection", "upgrade", "keep-alive", "transfer-encoding"] {
        assert!(!text.contains(&format!("\r\n{field}:")), "{field} in {text}");
    }
}

#[test]
fn a_workload_cannot_switch_protocols() {
    for code in [100, 101, 103] {
        let edge = answering(move || {
            let mut response = Response::new(Body::empty());
            *response.status_mut() = StatusCode::from_u16(code).unwrap();
            response
        });
        let request = "GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";
        let mut socket = connect(edge.address());
        for _ in 0..2 {
            socket.write_all(request.as_bytes()).unwrap();
            assert_eq!(status(&read_response(&mut socket)), 502, "{code}");
        }
    }
}

#[test]
fn a_panic_ends_one_request() {
    let edge = serve(
        config(),
        FakeInvoke::new(|request: http::Request<Body>, _| async move {
            assert_ne!(request.uri().path(), "/panic", "as the test asks for");
            Ok(Response::new(Body::whole("fine")))
        }),
    );
    let mut socket = connect(edge.address());
    for (path, expected) in [("/", 200), ("/panic", 500), ("/", 200)] {
        socket.write_all(format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n").as_bytes()).unwrap();
        assert_eq!(status(&read_response(&mut socket)), expected);
    }
    assert_eq!(edge.metric("shoal_edge_requests_panicked_total"), Some(1.0));
}
