//! Bodies flow both ways at the pace of the slower side, and stop when one side goes.

use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use shoal_runtime::fake::{FakeInvoke, always, echo};
use shoal_runtime::{Body, BodyError};

use crate::support::{
    Chunks, ask, config, connect, echo_whole, eventually, hangs, read_response, read_to_close, serve, status,
};

#[test]
fn a_large_body_streams_through_unchanged() {
    let edge = serve(config(), echo());
    let body: Vec<u8> = (0..8u32 << 20).map(|n| (n % 251) as u8).collect();
    let mut socket = connect(edge.address());
    let mut sender = socket.try_clone().unwrap();
    let sent = body.clone();
    let sending = std::thread::spawn(move || {
        let head = format!(
            "POST / HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
            sent.len()
        );
        sender.write_all(head.as_bytes()).unwrap();
        sender.write_all(&sent).unwrap();
    });
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer).unwrap();
    sending.join().unwrap();
    let head = answer.windows(4).position(|part| part == b"\r\n\r\n").unwrap() + 4;
    assert!(answer[head..] == body, "the body has changed");
}

#[test]
fn a_slow_reader_stops_the_workload() {
    const CHUNK: usize = 16 << 10;
    const COUNT: usize = 4096;
    let (taken, dropped) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let body = {
        let (taken, dropped) = (taken.clone(), dropped.clone());
        move || Chunks::new(COUNT, CHUNK, &taken, &dropped)
    };
    let edge = serve(
        config(),
        FakeInvoke::new(move |_, _| {
            let body = body();
            async move { Ok(Response::new(Body::stream(body))) }
        }),
    );
    let mut socket = connect(edge.address());
    socket.write_all(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").unwrap();
    // The workload is stopped when what it gave no longer grows while another client is served.
    let mut before = usize::MAX;
    eventually("the workload stops", || {
        let now = taken.load(SeqCst);
        let has_stopped = now > 0 && now == before;
        before = now;
        std::thread::yield_now();
        edge.await_metric("shoal_edge_requests_in_flight", 1.0);
        has_stopped
    });
    // Two kernels buffer some megabytes on loopback (tcp_wmem, tcp_rmem), the edge a quarter of one.
    assert!(taken.load(SeqCst) < COUNT * CHUNK / 2, "{} bytes were taken", taken.load(SeqCst));
    let mut rest = Vec::new();
    socket.read_to_end(&mut rest).unwrap();
    assert_eq!(taken.load(SeqCst), COUNT * CHUNK);
    assert!(rest.len() > COUNT * CHUNK && rest.ends_with(b"\r\n0\r\n\r\n"));
}

#[test]
fn a_workload_that_does_not_read_stops_the_client() {
    let reads = Arc::new(tokio::sync::Semaphore::new(0));
    let gate = reads.clone();
    let edge = serve(
        config(),
        FakeInvoke::new(move |request: Request<Body>, _| {
            let gate = gate.clone();
            async move {
                gate.acquire().await.unwrap().forget();
                let size = request.into_body().collect().await.unwrap().to_bytes().len();
                Ok(Response::new(Body::whole(size.to_string())))
            }
        }),
    );
    const SIZE: usize = 64 << 20;
    let mut socket = connect(edge.address());
    socket
        .write_all(format!("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: {SIZE}\r\n\r\n").as_bytes())
        .unwrap();
    socket.set_nonblocking(true).unwrap();
    let part = vec![b'x'; 64 << 10];
    let mut sent = 0;
    while let Ok(count) = socket.write(&part) {
        sent += count;
        assert!(sent < SIZE, "the edge took all of a body that nobody reads");
    }
    socket.set_nonblocking(false).unwrap();
    reads.add_permits(1);
    while sent < SIZE {
        sent += socket.write(&part[..part.len().min(SIZE - sent)]).unwrap();
    }
    assert!(read_response(&mut socket).ends_with(&SIZE.to_string()));
}

#[test]
fn trailers_go_both_ways() {
    let edge = serve(
        config(),
        FakeInvoke::new(|request: Request<Body>, _| async move {
            let body = request.into_body().collect().await.unwrap();
            let sum = body.trailers().and_then(|trailers| trailers.get("sum")).cloned().unwrap();
            let mut trailers = HeaderMap::new();
            trailers.insert("sum-back", sum);
            let frames = [Frame::data(Bytes::from("data")), Frame::trailers(trailers)];
            let frames = futures_util::stream::iter(frames.map(Ok::<_, BodyError>));
            let response = Response::builder().header("trailer", "sum-back");
            Ok(response.body(Body::stream(StreamBody::new(frames))).unwrap())
        }),
    );
    let text = ask(
        edge.address(),
        "POST / HTTP/1.1\r\nhost: a\r\nte: trailers\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n\
         3\r\nabc\r\n0\r\nSum: 42\r\n\r\n",
    );
    assert!(text.ends_with("4\r\ndata\r\n0\r\nsum-back: 42\r\n\r\n"), "{text}");
}

#[test]
fn a_client_that_waits_is_told_to_continue_when_the_body_is_read() {
    let edge = serve(config(), echo_whole());
    let mut socket = connect(edge.address());
    socket.write_all(b"POST / HTTP/1.1\r\nhost: a\r\nconnection: close\r\nexpect: 100-continue\r\ncontent-length: 3\r\n\r\n").unwrap();
    let mut go = [0; 25];
    socket.read_exact(&mut go).unwrap();
    assert_eq!(&go, b"HTTP/1.1 100 Continue\r\n\r\n");
    socket.write_all(b"abc").unwrap();
    assert!(read_to_close(&mut socket).ends_with("abc"));
}

#[test]
fn a_client_that_waits_is_answered_at_once_when_the_body_is_not_wanted() {
    let edge = serve(config(), always("no need"));
    let mut socket = connect(edge.address());
    socket
        .write_all(b"POST / HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 3\r\n\r\n")
        .unwrap();
    let text = read_to_close(&mut socket);
    assert!(text.starts_with("HTTP/1.1 200 OK") && text.ends_with("no need"), "{text}");
    let text = ask(
        edge.address(),
        "POST / HTTP/1.1\r\nhost: a\r\nexpect: a miracle\r\ncontent-length: 3\r\n\r\nabc",
    );
    assert_eq!(status(&text), 417);
}

#[test]
fn a_response_may_begin_before_the_request_has_ended() {
    let edge = serve(config(), echo());
    let mut socket = connect(edge.address());
    socket.write_all(b"POST / HTTP/1.1\r\nhost: a\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n3\r\none\r\n").unwrap();
    let mut so_far = String::new();
    while !so_far.ends_with("3\r\none\r\n") {
        let mut byte = [0];
        socket.read_exact(&mut byte).unwrap();
        so_far.push(char::from(byte[0]));
    }
    socket.write_all(b"3\r\ntwo\r\n0\r\n\r\n").unwrap();
    assert_eq!(read_to_close(&mut socket), "3\r\ntwo\r\n0\r\n\r\n");
}

#[test]
fn a_client_that_goes_away_stops_the_workload() {
    let (asked, stopped) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let edge = serve(config(), hangs(&asked, &stopped));
    let mut socket = connect(edge.address());
    socket.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
    eventually("the workload is at work", || asked.load(SeqCst) == 1);
    assert!(!stopped.load(SeqCst));
    drop(socket);
    eventually("the workload is stopped", || stopped.load(SeqCst));
    edge.await_metric("shoal_edge_failures_total{kind=\"cancelled\"}", 1.0);
    assert_eq!(edge.metric("shoal_edge_requests_total{class=\"4xx\",code=\"499\"}"), Some(1.0));
}

#[test]
fn a_client_that_goes_away_in_the_response_stops_its_body() {
    let (taken, dropped) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let body = {
        let (taken, dropped) = (taken.clone(), dropped.clone());
        move || Chunks::new(usize::MAX, 16 << 10, &taken, &dropped)
    };
    let edge = serve(
        config(),
        FakeInvoke::new(move |_, _| {
            let body = body();
            async move { Ok(Response::new(Body::stream(body))) }
        }),
    );
    let mut socket = connect(edge.address());
    socket.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
    eventually("the body flows", || taken.load(SeqCst) > 0);
    drop(socket);
    eventually("the body is dropped", || dropped.load(SeqCst));
    edge.await_metric("shoal_edge_failures_total{kind=\"cancelled\"}", 1.0);
}

#[test]
fn a_client_that_goes_away_in_the_request_stops_the_workload() {
    let edge = serve(config(), echo());
    let mut socket = connect(edge.address());
    socket.write_all(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\nabc").unwrap();
    let mut head = [0; 15];
    socket.read_exact(&mut head).unwrap();
    assert_eq!(&head, b"HTTP/1.1 200 OK");
    drop(socket);
    edge.await_metric("shoal_edge_failures_total{kind=\"cancelled\"}", 1.0);
    edge.await_metric("shoal_edge_connections_open", 0.0);
}
