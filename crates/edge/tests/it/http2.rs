//! HTTP/2, with prior knowledge: the same promises as HTTP/1, and its own limits.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode, Version};
use http_body::Frame;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Empty, Full, StreamBody};
use hyper::body::Incoming;
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::rt::{TokioExecutor, TokioIo};
use shoal_base::units;
use shoal_runtime::fake::{FakeInvoke, always, echo};
use shoal_runtime::{Body, BodyError, Failure, FailureKind};
use tokio::net::TcpStream;

use crate::support::{Chunks, block_on, config, connect, hangs, limited, serve};

type Sent = BoxBody<Bytes, std::convert::Infallible>;

async fn client(address: SocketAddr) -> SendRequest<Sent> {
    let socket = TcpStream::connect(address).await.unwrap();
    let (sender, connection) = handshake(TokioExecutor::new(), TokioIo::new(socket)).await.unwrap();
    tokio::spawn(connection);
    sender
}

fn get(path: &str) -> Request<Sent> {
    Request::get(format!("http://a.test{path}")).body(Empty::new().boxed()).unwrap()
}

async fn text(response: Response<Incoming>) -> String {
    String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
}

#[test]
fn many_requests_share_a_connection() {
    let edge = serve(config(), always("hello"));
    block_on(async {
        let client = client(edge.address()).await;
        let asks = (0..50).map(|_| {
            let mut client = client.clone();
            async move {
                let response = client.send_request(get("/")).await.unwrap();
                assert_eq!((response.status(), response.version()), (StatusCode::OK, Version::HTTP_2));
                assert!(response.headers().contains_key("date"));
                assert_eq!(text(response).await, "hello");
            }
        });
        futures_util::future::join_all(asks).await;
    });
    assert_eq!(edge.metric("shoal_edge_connections_total"), Some(1.0));
    assert_eq!(edge.metric("shoal_edge_requests_total{class=\"2xx\",code=\"200\"}"), Some(50.0));
}

#[test]
fn bodies_and_trailers_go_both_ways() {
    let edge = serve(config(), echo());
    block_on(async {
        let mut trailers = HeaderMap::new();
        trailers.insert("sum", "42".parse().unwrap());
        let frames = [Ok(Frame::data(Bytes::from("data"))), Ok(Frame::trailers(trailers.clone()))];
        let body = StreamBody::new(futures_util::stream::iter(frames)).boxed();
        let request = Request::post("http://a.test/").body(body).unwrap();
        let response = client(edge.address()).await.send_request(request).await.unwrap();
        let whole = response.into_body().collect().await.unwrap();
        assert_eq!(whole.trailers(), Some(&trailers));
        assert_eq!(whole.to_bytes(), "data");
    });
}

#[test]
fn a_slow_reader_stops_the_workload() {
    const CHUNK: usize = 16 << 10;
    const COUNT: usize = 1024;
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
    block_on(async {
        let mut client = client(edge.address()).await;
        let mut slow = client.send_request(get("/")).await.unwrap().into_body();
        slow.frame().await.unwrap().unwrap();
        // The client's window for one stream is below 6 MiB; a second stream shows that the first is not
        // merely late: both have had their turns.
        let mut quick = client.send_request(get("/")).await.unwrap().into_body();
        quick.frame().await.unwrap().unwrap();
        assert!(taken.load(SeqCst) < CHUNK * COUNT, "{} bytes were taken", taken.load(SeqCst));
        drop(quick);
        let rest = slow.collect().await.unwrap().to_bytes().len();
        assert!(rest >= CHUNK * (COUNT - 1), "{rest}");
    });
}

#[test]
fn a_stream_that_is_reset_stops_its_workload_and_no_other() {
    let (asked, stopped) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let edge = serve(config(), hangs(&asked, &stopped));
    block_on(async {
        let mut client = client(edge.address()).await;
        let first = tokio::spawn(client.send_request(get("/")));
        eventually_async("the workload is at work", || asked.load(SeqCst) == 1).await;
        first.abort();
        eventually_async("the workload is stopped", || stopped.load(SeqCst)).await;
        edge.routes.replace(Arc::new(always("hello")));
        let response = client.send_request(get("/")).await.unwrap();
        assert_eq!(text(response).await, "hello");
    });
    assert_eq!(edge.metric("shoal_edge_failures_total{kind=\"cancelled\"}"), Some(1.0));
}

#[test]
fn a_body_that_fails_resets_its_stream() {
    let edge = serve(
        config(),
        FakeInvoke::new(|_, _| async {
            let failure = BodyError::Failed(Failure::new(FailureKind::Trap, "unreachable"));
            let frames = [Ok(Frame::data(Bytes::from("half"))), Err(failure)];
            Ok(Response::new(Body::stream(StreamBody::new(futures_util::stream::iter(frames)))))
        }),
    );
    block_on(async {
        let mut client = client(edge.address()).await;
        // The reset may overtake the head.
        if let Ok(response) = client.send_request(get("/")).await {
            assert!(response.into_body().collect().await.is_err());
        }
        edge.routes.replace(Arc::new(always("hello")));
        assert_eq!(text(client.send_request(get("/")).await.unwrap()).await, "hello");
    });
    assert_eq!(edge.metric("shoal_edge_failures_total{kind=\"trap\"}"), Some(1.0));
}

#[test]
fn malformed_requests_are_refused() {
    let edge = serve(config(), always("hello"));
    block_on(async {
        let mut client = client(edge.address()).await;
        let mut other_host = get("/");
        other_host.headers_mut().insert("host", "b.test".parse().unwrap());
        let mut expects = get("/");
        *expects.body_mut() = Full::from("body").boxed();
        expects.headers_mut().insert("expect", "miracles".parse().unwrap());
        for (request, status) in [(other_host, 400), (expects, 417)] {
            let response = client.send_request(request).await.unwrap();
            assert_eq!(response.status().as_u16(), status);
            assert!(response.headers().contains_key("x-request-id"));
        }
        let mut tunnel = Request::new(Empty::new().boxed());
        *tunnel.method_mut() = Method::CONNECT;
        *tunnel.uri_mut() = "a.test:443".parse().unwrap();
        assert_eq!(client.send_request(tunnel).await.unwrap().status(), StatusCode::BAD_REQUEST);
    });
}

#[test]
fn a_head_over_its_limits_is_refused() {
    let edge = serve(
        limited(|l| {
            l.header_list = units::Bytes::kib(4);
            l.header_count = 20;
            l.uri = units::Bytes(1000);
        }),
        always("hello"),
    );
    block_on(async {
        let mut client = client(edge.address()).await;
        let mut large = get("/");
        large.headers_mut().insert("x", "y".repeat(5000).parse().unwrap());
        let with_fields = |count: usize| {
            let mut many = get("/");
            for _ in 0..count {
                many.headers_mut().append("x", "y".parse().unwrap());
            }
            many
        };
        let long = get(&format!("/{}", "a".repeat(1000)));
        for (request, status) in [(large, 431), (with_fields(20), 200), (with_fields(21), 431), (long, 414)] {
            assert_eq!(client.send_request(request).await.unwrap().status().as_u16(), status);
        }
    });
}

#[test]
fn a_body_over_its_limit_is_refused() {
    let edge = serve(limited(|l| l.request_body = units::Bytes(100)), crate::support::echo_whole());
    block_on(async {
        let mut client = client(edge.address()).await;
        for (size, is_declared, status) in
            [(100, true, 200), (101, true, 413), (100, false, 200), (101, false, 413)]
        {
            let bytes = Bytes::from(vec![b'x'; size]);
            let body = if is_declared {
                Full::from(bytes).boxed()
            } else {
                StreamBody::new(futures_util::stream::iter([Ok(Frame::data(bytes))])).boxed()
            };
            let response =
                client.send_request(Request::post("http://a.test/").body(body).unwrap()).await.unwrap();
            assert_eq!(response.status().as_u16(), status, "{size} bytes, declared: {is_declared}");
        }
    });
}

#[test]
fn no_more_streams_than_the_limit_are_at_work() {
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let highest = most.clone();
    let edge = serve(
        limited(|l| l.h2_streams = 2),
        FakeInvoke::new(move |_, _| {
            let (now, most) = (now.clone(), most.clone());
            async move {
                most.fetch_max(now.fetch_add(1, SeqCst) + 1, SeqCst);
                for _ in 0..10 {
                    tokio::task::yield_now().await;
                }
                now.fetch_sub(1, SeqCst);
                Ok(Response::new(Body::whole("hello")))
            }
        }),
    );
    block_on(async {
        let mut client = client(edge.address()).await;
        // The first answer comes after the settings of the edge.
        client.send_request(get("/")).await.unwrap();
        let asks = (0..20).map(|_| client.clone()).map(|mut client| async move {
            client.send_request(get("/")).await.unwrap().into_body().collect().await.unwrap();
        });
        futures_util::future::join_all(asks).await;
    });
    assert_eq!(highest.load(SeqCst), 2);
}

#[test]
fn rapid_resets_end_the_connection() {
    let (asked, stopped) = (Arc::new(AtomicUsize::new(0)), Arc::default());
    let edge = serve(limited(|l| l.h2_resets = 10), hangs(&asked, &stopped));
    block_on(async {
        let mut client = client(edge.address()).await;
        for round in 1.. {
            assert!(round < 1000, "the connection is kept");
            let request = tokio::spawn(client.send_request(get("/")));
            eventually_async("it is at work or refused", || {
                asked.load(SeqCst) == round || request.is_finished()
            })
            .await;
            if request.is_finished() {
                break;
            }
            request.abort();
            eventually_async("it is stopped", || edge_in_flight(&edge) == 0.0).await;
        }
    });
    assert_eq!(edge.metric("shoal_edge_limits_total{limit=\"h2_resets\"}"), Some(1.0));
    assert_eq!(asked.load(SeqCst), 11);
}

#[test]
fn an_idle_connection_is_told_to_go() {
    let edge = serve(limited(|l| l.keep_alive = Duration::from_millis(150)), always("hello"));
    block_on(async {
        let mut client = client(edge.address()).await;
        assert_eq!(text(client.send_request(get("/")).await.unwrap()).await, "hello");
        while client.ready().await.is_ok() {
            tokio::task::yield_now().await;
        }
    });
    edge.await_metric("shoal_edge_connections_open", 0.0);
    assert_eq!(edge.metric("shoal_edge_limits_total{limit=\"keep_alive\"}"), Some(1.0));
}

/// HEADERS of stream 1 without an end, and CONTINUATION without one either.
#[test]
fn an_endless_head_ends_the_connection() {
    let edge = serve(limited(|l| l.header_list = units::Bytes::kib(4)), always("hello"));
    let mut socket = connect(edge.address());
    socket.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").unwrap();
    socket.write_all(&frame(4, 0, 0, &[])).unwrap();
    // `:method: GET`, `:scheme: http`, `:path: /`, from the static table.
    socket.write_all(&frame(1, 0, 1, &[0x82, 0x86, 0x84])).unwrap();
    let field = [&[0x00, 0x01, b'x', 0x64][..], &[b'y'; 100]].concat();
    let flood = frame(9, 0, 1, &field.repeat(100));
    let mut sent = 0;
    while socket.write_all(&flood).is_ok() {
        sent += flood.len();
        assert!(sent < 256 << 20, "the edge takes an endless head");
    }
    let mut rest = Vec::new();
    let _ = socket.read_to_end(&mut rest);
    edge.await_metric("shoal_edge_connections_open", 0.0);
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

fn edge_in_flight(edge: &crate::support::Running) -> f64 {
    edge.metric("shoal_edge_requests_in_flight").unwrap()
}

/// As [`eventually`], and lets the tasks of the client run meanwhile.
async fn eventually_async(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = std::time::Instant::now() + crate::support::PATIENCE;
    while !holds() {
        assert!(std::time::Instant::now() < deadline, "waited in vain until {what}");
        tokio::task::yield_now().await;
    }
}
