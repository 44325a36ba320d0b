//! A drain loses no request: what is in flight ends, what is idle closes, and one deadline ends the rest.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::{TokioExecutor, TokioIo};
use shoal_base::drain::Drained;
use shoal_edge::{Config, Edge, Listener};
use shoal_runtime::Body;
use shoal_runtime::fake::{FakeInvoke, always};
use tokio::sync::Semaphore;

use crate::support::{
    Chunks, PATIENCE, ask, block_on, config, connect, eventually, hangs, read_response, read_to_close, serve,
    status,
};

/// Answers once it is let.
fn waits(asked: &Arc<AtomicUsize>, gate: &Arc<Semaphore>) -> impl shoal_runtime::Invoke + use<> {
    let (asked, gate) = (asked.clone(), gate.clone());
    FakeInvoke::new(move |_, _| {
        asked.fetch_add(1, SeqCst);
        let gate = gate.clone();
        async move {
            gate.acquire().await.unwrap().forget();
            Ok(Response::new(Body::whole("late")))
        }
    })
}

#[test]
fn a_request_in_flight_is_finished_and_told_that_it_is_the_last() {
    let (asked, gate) = (Arc::new(AtomicUsize::new(0)), Arc::new(Semaphore::new(0)));
    let edge = serve(config(), waits(&asked, &gate));
    let mut busy = connect(edge.address());
    busy.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
    eventually("the request is at work", || asked.load(SeqCst) == 1);
    let mut idle = connect(edge.address());
    edge.await_metric("shoal_edge_connections_open", 2.0);
    edge.drain.begin();
    assert_eq!(status(&ask(edge.admin, "GET /readyz HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")), 503);
    assert_eq!(status(&ask(edge.admin, "GET /livez HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")), 200);
    assert_eq!(read_to_close(&mut idle), "", "an idle connection is closed");
    eventually("no one listens any more", || TcpStream::connect(edge.address()).is_err());
    gate.add_permits(1);
    let text = read_to_close(&mut busy);
    assert!(text.contains("connection: close\r\n") && text.ends_with("late"), "{text}");
    let served = edge.stop();
    assert_eq!((served.requests, served.drained), (1, Drained::Clean));
}

#[test]
fn a_body_in_flight_is_finished() {
    let (taken, dropped) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let edge = serve(
        config(),
        FakeInvoke::new(move |_, _| {
            let body = Chunks::new(1024, 16 << 10, &taken, &dropped);
            async move { Ok(Response::new(Body::stream(body))) }
        }),
    );
    let mut socket = connect(edge.address());
    socket.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
    let mut first = [0; 1024];
    socket.read_exact(&mut first).unwrap();
    edge.drain.begin();
    let mut rest = Vec::new();
    socket.read_to_end(&mut rest).unwrap();
    assert!(rest.len() > (16 << 20) - 1024, "{}", rest.len());
    assert_eq!(edge.stop().drained, Drained::Clean);
}

#[test]
fn a_request_that_is_under_way_when_the_drain_begins_is_answered() {
    let edge = serve(config(), always("hello"));
    let mut socket = connect(edge.address());
    socket.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\nGET / HTTP/1.1\r\n").unwrap();
    assert!(read_response(&mut socket).ends_with("hello"));
    edge.drain.begin();
    eventually("no one listens any more", || TcpStream::connect(edge.address()).is_err());
    socket.write_all(b"host: a\r\n\r\n").unwrap();
    let text = read_to_close(&mut socket);
    assert!(text.contains("connection: close\r\n") && text.ends_with("hello"), "{text}");
}

#[test]
fn what_is_not_done_at_the_deadline_is_stopped_and_counted() {
    let (asked, stopped) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let deadline = Duration::from_millis(300);
    let edge = serve(Config { drain_deadline: deadline, ..config() }, hangs(&asked, &stopped));
    let mut sockets: Vec<_> = (0..3).map(|_| connect(edge.address())).collect();
    sockets.iter_mut().for_each(|socket| socket.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").unwrap());
    eventually("all are at work", || asked.load(SeqCst) == 3);
    let begun = Instant::now();
    let served = edge.stop();
    assert_eq!(served.drained, Drained::Late { left: 3 });
    assert!(begun.elapsed() >= deadline && begun.elapsed() < PATIENCE);
    assert!(stopped.load(SeqCst));
}

#[test]
fn a_call_that_never_returns_does_not_keep_the_edge() {
    let entered = Arc::new(AtomicBool::new(false));
    let (keep_waiting, waits) = std::sync::mpsc::sync_channel::<()>(1);
    let waits = Arc::new(std::sync::Mutex::new(waits));
    let seen = entered.clone();
    let workload = FakeInvoke::new(move |_, _| {
        let (entered, waits) = (seen.clone(), waits.clone());
        // As the open of a pipe that nobody writes to.
        drop(tokio::task::spawn_blocking(move || {
            entered.store(true, SeqCst);
            let _ = waits.lock().unwrap().recv_timeout(PATIENCE);
        }));
        async { Ok(Response::new(Body::whole("gone on without it"))) }
    });
    let edge = serve(config(), workload);
    let text = ask(edge.address(), "GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
    assert!(text.ends_with("gone on without it"), "{text}");
    eventually("the call is being made", || entered.load(SeqCst));
    let begun = Instant::now();
    assert_eq!(edge.stop().drained, Drained::Clean);
    assert!(begun.elapsed() < PATIENCE / 2, "the edge ended while the call went on");
    drop(keep_waiting);
}

#[test]
fn an_http2_connection_finishes_its_streams_and_takes_no_more() {
    let (asked, gate) = (Arc::new(AtomicUsize::new(0)), Arc::new(Semaphore::new(0)));
    let edge = serve(config(), waits(&asked, &gate));
    let drain = edge.drain.clone();
    block_on(async {
        let socket = tokio::net::TcpStream::connect(edge.address()).await.unwrap();
        let (mut client, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(socket)).await.unwrap();
        let connection = tokio::spawn(connection);
        let get = || Request::get("http://a.test/").body(Empty::<Bytes>::new()).unwrap();
        let answer = tokio::spawn(client.send_request(get()));
        while asked.load(SeqCst) < 1 {
            tokio::task::yield_now().await;
        }
        drain.begin();
        while TcpStream::connect(edge.address()).is_ok() {
            tokio::task::yield_now().await;
        }
        gate.add_permits(1);
        let body = answer.await.unwrap().unwrap().into_body().collect().await.unwrap().to_bytes();
        assert_eq!(body, "late");
        connection.await.unwrap().unwrap();
        assert!(client.send_request(get()).await.is_err());
    });
    let served = edge.stop();
    assert_eq!((served.requests, served.drained), (1, Drained::Clean));
}

/// What one client saw until its server was gone.
#[derive(Default)]
struct Seen {
    answered: usize,
    broken: Vec<String>,
}

/// Clients ask one request after the other on kept connections, and open a new one when told to; the drain
/// begins in their midst. Not one request that reached the edge may go without its whole answer.
#[test]
fn no_request_is_lost_under_load() {
    let invoked = Arc::new(AtomicUsize::new(0));
    let count = invoked.clone();
    let workload = FakeInvoke::new(move |_, _| {
        let turn = count.fetch_add(1, SeqCst);
        async move {
            for _ in 0..turn % 7 {
                tokio::task::yield_now().await;
            }
            Ok(Response::new(Body::whole("hello")))
        }
    });
    let edge = serve(Config { threads: NonZeroUsize::new(2), ..config() }, workload);
    let address = edge.address();
    let answered = Arc::new(AtomicUsize::new(0));
    let clients: Vec<_> = (0..8)
        .map(|_| {
            let answered = answered.clone();
            std::thread::spawn(move || ask_until_closed(address, &answered))
        })
        .collect();
    eventually("the load is on", || answered.load(SeqCst) > 500);
    let served = edge.stop();
    let seen: Vec<Seen> = clients.into_iter().map(|client| client.join().unwrap()).collect();
    let broken: Vec<_> = seen.iter().flat_map(|seen| &seen.broken).collect();
    assert!(broken.is_empty(), "{broken:?}");
    assert_eq!(served.drained, Drained::Clean);
    let whole: usize = seen.iter().map(|seen| seen.answered).sum();
    assert_eq!(invoked.load(SeqCst), whole, "each request that a workload saw was answered");
    assert_eq!(served.requests, whole as u64);
}

/// Asks until no one listens.
fn ask_until_closed(address: SocketAddr, answered: &AtomicUsize) -> Seen {
    let mut seen = Seen::default();
    while let Ok(mut socket) = TcpStream::connect(address) {
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        loop {
            let mut answer = Vec::new();
            let sent = socket.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n");
            let mut part = [0; 1024];
            while sent.is_ok() && !answer.ends_with(b"hello") {
                match socket.read(&mut part) {
                    Ok(0) | Err(_) => break,
                    Ok(count) => answer.extend_from_slice(&part[..count]),
                }
            }
            let text = String::from_utf8(answer).unwrap();
            if !text.ends_with("hello") {
                // A connection of which the edge never read a byte may close without one; then the client
                // asks again elsewhere. An answer that breaks off is a lost request.
                if !text.is_empty() {
                    seen.broken.push(text);
                }
                break;
            }
            seen.answered += 1;
            answered.fetch_add(1, SeqCst);
            if text.contains("connection: close") {
                break;
            }
        }
    }
    seen
}

#[test]
fn connections_that_the_kernel_has_accepted_are_served() {
    let edge = Edge::bind(config()).unwrap();
    let address = edge.local_addrs()[0];
    let drain = shoal_base::drain::Drain::new();
    // Nobody accepts yet; the kernel completes these by itself.
    let mut sockets: Vec<_> = (0..20).map(|_| connect(address)).collect();
    sockets.iter_mut().for_each(|socket| socket.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").unwrap());
    drain.begin();
    let routes = shoal_edge::Routes::to(Arc::new(always("hello")));
    let served = edge.serve(&routes, &drain).unwrap();
    for socket in &mut sockets {
        let text = read_to_close(socket);
        assert!(text.contains("connection: close\r\n") && text.ends_with("hello"), "{text}");
    }
    assert_eq!((served.requests, served.drained), (20, Drained::Clean));
}

#[test]
fn two_edges_do_not_share_a_port() {
    let first = Edge::bind(config()).unwrap();
    let address = first.local_addrs()[0];
    let again = Config { listeners: vec![Listener::plain(address)], admin: None, ..config() };
    let error = Edge::bind(again).unwrap_err();
    assert_eq!(error.to_string(), format!("cannot listen on {address}: another process does"));
    assert!(error.hint().unwrap().contains(&address.port().to_string()));
}
