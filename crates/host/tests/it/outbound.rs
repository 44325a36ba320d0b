//! Outbound HTTP against servers on loopback, which are granted by address, and a resolver that says what the
//! test wants.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{Method, Request, Response, Version};
use http_body::Body as _;
use http_body_util::BodyExt;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use shoal_host::outbound::{Outbound, OutboundError, OutboundSetup, Resolve, SendOptions};
use shoal_runtime::{Body, BodyError, OutboundRules};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// No test waits longer for what must happen.
const DEADLINE: Duration = Duration::from_secs(20);

/// A resolver that gives the next answer of a script for each name, the last one again and again.
#[derive(Default)]
pub(crate) struct Script {
    answers: Mutex<HashMap<String, Vec<Vec<IpAddr>>>>,
    pub(crate) asked: AtomicUsize,
}

impl Script {
    pub(crate) fn new(name: &str, answers: &[&[&str]]) -> Arc<Self> {
        let parse = |answer: &&[&str]| answer.iter().map(|ip| ip.parse().expect("an address")).collect();
        let answers = answers.iter().map(parse).rev().collect();
        Arc::new(Self { answers: Mutex::new(HashMap::from([(name.to_string(), answers)])), asked: 0.into() })
    }
}

impl Resolve for Script {
    fn resolve(&self, host: &str, port: u16) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let mut answers = self.answers.lock().expect("no panic");
        let answer = answers.get_mut(host).map(|answers| {
            let last = answers.last().cloned().unwrap_or_default();
            if answers.len() > 1 {
                answers.pop();
            }
            last.into_iter().map(|ip| SocketAddr::new(ip, port)).collect()
        });
        Box::pin(std::future::ready(answer.ok_or_else(|| io::Error::other("no such name"))))
    }
}

/// Never answers.
struct Silent;

impl Resolve for Silent {
    fn resolve(&self, _: &str, _: u16) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> {
        Box::pin(std::future::pending())
    }
}

fn outbound(patterns: &[String], setup: OutboundSetup) -> Outbound {
    let rules = patterns.iter().map(|pattern| pattern.parse().expect("a pattern")).collect();
    Outbound::new(OutboundRules(rules), setup).expect("usable")
}

fn granted(address: SocketAddr) -> Outbound {
    outbound(&[format!("http://{address}")], OutboundSetup::default())
}

fn get(uri: &str) -> Request<Body> {
    Request::get(uri).body(Body::empty()).expect("a request")
}

async fn send(outbound: &Outbound, request: Request<Body>) -> Result<Response<Body>, OutboundError> {
    let sent = outbound.send(request, SendOptions::default());
    tokio::time::timeout(DEADLINE, sent).await.expect("in time")
}

async fn text(response: Response<Body>) -> String {
    let bytes = tokio::time::timeout(DEADLINE, response.into_body().collect()).await.expect("in time");
    String::from_utf8(bytes.expect("a whole body").to_bytes().to_vec()).expect("text")
}

/// Serves every connection with hyper; the body of the answer tells the connection's number and the request.
struct Server {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn told(connection: usize, request: Request<hyper::body::Incoming>) -> Response<String> {
    let (parts, body) = request.into_parts();
    let mut headers: Vec<_> = parts
        .headers
        .iter()
        .map(|(name, value)| format!("{name}={}", value.to_str().expect("text")))
        .collect();
    headers.sort();
    let body = body.collect().await.expect("a whole body").to_bytes();
    let told = format!(
        "#{connection} {:?} {} {} [{}] {}",
        parts.version,
        parts.method,
        parts.uri,
        headers.join(" "),
        String::from_utf8_lossy(&body)
    );
    let mut response = Response::new(told);
    response.headers_mut().insert("keep-alive", "timeout=5".parse().expect("a value"));
    response.headers_mut().insert("x-kept", "yes".parse().expect("a value"));
    response
}

async fn server_at(ip: Ipv4Addr, tls: Option<tokio_rustls::TlsAcceptor>) -> Server {
    let listener = TcpListener::bind((ip, 0)).await.expect("bound");
    let address = listener.local_addr().expect("its address");
    let connections = Arc::new(AtomicUsize::new(0));
    let count = connections.clone();
    let task = tokio::spawn(async move {
        let mut serving = tokio::task::JoinSet::new();
        loop {
            let (stream, _) = listener.accept().await.expect("accepted");
            let number = count.fetch_add(1, Ordering::Relaxed);
            let tls = tls.clone();
            serving.spawn(async move {
                let service = service_fn(move |request| async move {
                    Ok::<_, std::convert::Infallible>(told(number, request).await)
                });
                let builder = auto::Builder::new(TokioExecutor::new());
                match tls {
                    None => drop(builder.serve_connection(TokioIo::new(stream), service).await),
                    Some(tls) => {
                        let Ok(stream) = tls.accept(stream).await else { return };
                        drop(builder.serve_connection(TokioIo::new(stream), service).await);
                    }
                }
            });
        }
    });
    Server { address, connections, task }
}

async fn server() -> Server {
    server_at(Ipv4Addr::LOCALHOST, None).await
}

/// Answers the Nth connection with the Nth script: for each request head it reads, the next bytes; closes at
/// the end of a script, or stays open and silent after a `None`.
async fn scripted(scripts: Vec<Vec<Option<&'static str>>>) -> (SocketAddr, JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let address = listener.local_addr().expect("its address");
    let task = tokio::spawn(async move {
        let mut heads = Vec::new();
        let mut open = Vec::new();
        for script in scripts {
            let (mut stream, _) = listener.accept().await.expect("accepted");
            let mut closed = true;
            for answer in script {
                heads.push(head(&mut stream).await);
                match answer {
                    Some(answer) => stream.write_all(answer.as_bytes()).await.expect("written"),
                    None => closed = false,
                }
            }
            if !closed {
                open.push(stream);
            }
        }
        heads
    });
    (address, task)
}

async fn head(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => bytes.push(byte),
            Err(_) => break,
        }
    }
    String::from_utf8(bytes).expect("text")
}

const HELLO: &str = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello";

#[tokio::test]
async fn a_request_goes_out_and_comes_back_without_hop_by_hop_fields() {
    let server = server().await;
    let uri = format!("http://{}/path?query", server.address);
    let request = Request::post(&uri)
        .header("connection", "x-secret")
        .header("x-secret", "1")
        .header("host", "another.test")
        .header("traceparent", "00-1-2-01")
        .body(Body::whole("payload"))
        .expect("a request");
    let response = send(&granted(server.address), request).await.expect("answered");
    assert_eq!(response.headers().get("x-kept").map(|value| value.as_bytes()), Some(&b"yes"[..]));
    assert!(!response.headers().contains_key("keep-alive"));
    assert_eq!(
        text(response).await,
        format!(
            "#0 HTTP/1.1 POST /path?query [content-length=7 host={} traceparent=00-1-2-01] payload",
            server.address
        )
    );
}

#[tokio::test]
async fn what_is_not_granted_is_denied_before_a_name_is_resolved() {
    let script = Script::new("api.test", &[&["127.0.0.1"]]);
    let setup = OutboundSetup { resolver: script.clone(), ..OutboundSetup::default() };
    let outbound = outbound(&["https://api.test".to_string()], setup);
    for (uri, grant) in [
        ("http://api.test/", "http://api.test:80"),
        ("https://api.test:8443/", "https://api.test:8443"),
        ("https://evil.test/", "https://evil.test:443"),
        ("http://127.0.0.1:9/", "http://127.0.0.1:9"),
        ("http://[::1]:9/", "http://[::1]:9"),
    ] {
        let error = send(&outbound, get(uri)).await.err();
        assert_eq!(error, Some(OutboundError::HttpRequestDenied { grant: grant.into() }), "{uri}");
    }
    assert_eq!(script.asked.load(Ordering::Relaxed), 0);
    assert_eq!(send(&outbound, get("/")).await.err(), Some(OutboundError::HttpRequestUriInvalid));
    let nothing = OutboundRules::default();
    let nothing = Outbound::new(nothing, OutboundSetup::default()).expect("usable");
    assert!(matches!(send(&nothing, get("https://a/")).await, Err(OutboundError::HttpRequestDenied { .. })));
}

#[tokio::test]
async fn a_name_that_resolves_inside_is_prohibited_unless_the_address_is_granted() {
    let server = server().await;
    let port = server.address.port();
    let name = format!("http://api.test:{port}");
    let setup =
        || OutboundSetup { resolver: Script::new("api.test", &[&["127.0.0.1"]]), ..OutboundSetup::default() };
    let by_name = outbound(std::slice::from_ref(&name), setup());
    let error = send(&by_name, get(&name)).await.err();
    assert_eq!(
        error,
        Some(OutboundError::DestinationIpProhibited { grant: format!("http://127.0.0.1:{port}") })
    );
    assert_eq!(server.connections.load(Ordering::Relaxed), 0);

    let by_both = outbound(&[name.clone(), format!("http://127.0.0.1:{port}")], setup());
    let response = send(&by_both, get(&name)).await.expect("answered");
    assert!(text(response).await.contains(&format!("host=api.test:{port}")));
}

/// The classic: the first answer is fine, the second one points inside.
#[tokio::test]
async fn a_second_answer_of_the_resolver_is_never_asked_for() {
    let outside = server_at(Ipv4Addr::new(127, 0, 0, 2), None).await;
    let port = outside.address.port();
    let inside = TcpListener::bind(("127.0.0.1", port)).await.expect("the same port inside");
    let script = Script::new("api.test", &[&["127.0.0.2"], &["127.0.0.1"]]);
    let setup = OutboundSetup { resolver: script.clone(), ..OutboundSetup::default() };
    let uri = format!("http://api.test:{port}/");
    let outbound = outbound(&[uri.clone(), format!("http://127.0.0.2:{port}")], setup);
    text(send(&outbound, get(&uri)).await.expect("answered")).await;
    assert_eq!(script.asked.load(Ordering::Relaxed), 1, "one look-up for one connection");

    // A new connection asks again, and is refused what it is told.
    let fresh = Request::get(&uri).body(Body::empty()).expect("a request");
    drop(outside);
    let error = loop {
        match send(&outbound, get(&uri)).await {
            Ok(_) => tokio::task::yield_now().await,
            Err(error) => break error,
        }
    };
    assert!(matches!(error, OutboundError::DestinationIpProhibited { .. }), "{error}");
    assert!(matches!(send(&outbound, fresh).await, Err(OutboundError::DestinationIpProhibited { .. })));
    let knock = tokio::time::timeout(Duration::from_millis(50), inside.accept()).await;
    assert!(knock.is_err(), "nobody came inside");
}

#[tokio::test]
async fn of_several_addresses_only_the_granted_are_tried() {
    let good = server_at(Ipv4Addr::new(127, 0, 0, 2), None).await;
    let port = good.address.port();
    let inside = TcpListener::bind(("127.0.0.1", port)).await.expect("the same port inside");
    let answer: &[&[&str]] = &[&["127.0.0.1", "10.0.0.1", "127.0.0.3", "127.0.0.2"]];
    let setup = OutboundSetup { resolver: Script::new("api.test", answer), ..OutboundSetup::default() };
    let uri = format!("http://api.test:{port}/");
    // 127.0.0.3 is granted too, but refuses; the next one is tried.
    let patterns = [uri.clone(), format!("http://127.0.0.2/31:{port}")];
    let response = send(&outbound(&patterns, setup), get(&uri)).await.expect("answered");
    assert!(text(response).await.starts_with("#0 "));
    let knock = tokio::time::timeout(Duration::from_millis(50), inside.accept()).await;
    assert!(knock.is_err(), "nobody came inside");
}

#[tokio::test]
async fn what_the_resolver_says_reaches_the_guest() {
    let setup = |resolver: Arc<dyn Resolve>| OutboundSetup { resolver, ..OutboundSetup::default() };
    let patterns = ["http://*:*".to_string()];
    let unknown = outbound(&patterns, setup(Script::new("other.test", &[&[]])));
    let error = send(&unknown, get("http://api.test/")).await.err();
    assert_eq!(error, Some(OutboundError::DnsError("no such name".into())));
    let empty = outbound(&patterns, setup(Script::new("api.test", &[&[]])));
    assert_eq!(send(&empty, get("http://api.test/")).await.err(), Some(OutboundError::DestinationNotFound));
    let silent = outbound(&patterns, setup(Arc::new(Silent)));
    let options = SendOptions { connect_timeout: Some(Duration::from_millis(1)), ..SendOptions::default() };
    let error = silent.send(get("http://api.test/"), options).await.err();
    assert_eq!(error, Some(OutboundError::DnsTimeout));
}

#[tokio::test]
async fn nobody_listening_is_a_refused_connection() {
    let closed = TcpListener::bind("127.0.0.1:0").await.expect("bound").local_addr().expect("its address");
    let error = send(&granted(closed), get(&format!("http://{closed}/"))).await.err();
    assert_eq!(error, Some(OutboundError::ConnectionRefused));
}

#[tokio::test]
async fn connections_are_used_again_and_not_shared_between_workloads() {
    let server = server().await;
    let uri = format!("http://{}/", server.address);
    let (one, two) = (granted(server.address), granted(server.address));
    for _ in 0..3 {
        assert!(text(send(&one, get(&uri)).await.expect("answered")).await.starts_with("#0 "));
    }
    assert!(text(send(&two, get(&uri)).await.expect("answered")).await.starts_with("#1 "));
    // Two at once need two.
    let (a, b) = tokio::join!(send(&one, get(&uri)), send(&one, get(&uri)));
    text(a.expect("answered")).await;
    text(b.expect("answered")).await;
    assert_eq!(server.connections.load(Ordering::Relaxed), 3);
}

#[test]
fn connections_stay_in_their_runtime() {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let home = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime");
    let server = home.block_on(server());
    let (uri, outbound) = (format!("http://{}/", server.address), granted(server.address));
    let (first, second) = (runtime(), runtime());
    for (runtime, connection) in [(&first, "#0 "), (&second, "#1 "), (&first, "#0 "), (&second, "#1 ")] {
        let told =
            runtime.block_on(async { text(send(&outbound, get(&uri)).await.expect("answered")).await });
        assert!(told.starts_with(connection), "{told}");
    }
    // A runtime that ends takes its connections with it.
    drop(first);
    let told = second.block_on(async { text(send(&outbound, get(&uri)).await.expect("answered")).await });
    assert!(told.starts_with("#1 "), "{told}");
}

#[tokio::test]
async fn a_body_that_is_dropped_ends_its_connection() {
    let head = "HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\nbegin";
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let address = listener.local_addr().expect("its address");
    let outbound = granted(address);
    let ended = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("accepted");
        super::outbound::head(&mut stream).await;
        stream.write_all(head.as_bytes()).await.expect("written");
        stream.read(&mut [0; 16]).await
    });
    let response = send(&outbound, get(&format!("http://{address}/"))).await.expect("answered");
    drop(response);
    let read = tokio::time::timeout(DEADLINE, ended).await.expect("in time").expect("no panic");
    assert!(matches!(read, Ok(0) | Err(_)), "the connection is closed: {read:?}");
}

#[tokio::test]
async fn a_request_that_is_dropped_ends_its_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let address = listener.local_addr().expect("its address");
    let outbound = granted(address);
    let request = tokio::spawn(async move {
        outbound.send(get(&format!("http://{address}/")), SendOptions::default()).await
    });
    let (mut stream, _) = listener.accept().await.expect("accepted");
    head(&mut stream).await;
    request.abort();
    let read = tokio::time::timeout(DEADLINE, stream.read(&mut [0; 16])).await.expect("in time");
    assert!(matches!(read, Ok(0) | Err(_)), "the connection is closed: {read:?}");
}

#[tokio::test]
async fn a_kept_connection_that_was_closed_is_replaced_once() {
    let (address, heads) = scripted(vec![vec![Some(HELLO)], vec![Some(HELLO)]]).await;
    let outbound = granted(address);
    let uri = format!("http://{address}/");
    assert_eq!(text(send(&outbound, get(&uri)).await.expect("answered")).await, "hello");
    assert_eq!(text(send(&outbound, get(&uri)).await.expect("answered")).await, "hello");
    assert_eq!(heads.await.expect("no panic").len(), 2);
}

/// The other side takes the second request and closes without an answer: whether it acted on it is unknown.
#[tokio::test]
async fn what_may_have_been_done_is_not_done_twice() {
    let uri = |address: SocketAddr| format!("http://{address}/");
    let post = |address| Request::post(uri(address)).body(Body::whole("pay")).expect("a request");
    let scripts = || vec![vec![Some(HELLO), Some("")], vec![Some(HELLO)]];

    let (address, _heads) = scripted(scripts()).await;
    let outbound = granted(address);
    text(send(&outbound, get(&uri(address))).await.expect("answered")).await;
    let again = send(&outbound, get(&uri(address))).await.expect("a GET is sent again");
    assert_eq!(text(again).await, "hello");

    let (address, heads) = scripted(scripts()).await;
    let outbound = granted(address);
    text(send(&outbound, get(&uri(address))).await.expect("answered")).await;
    let error = send(&outbound, post(address)).await.err();
    assert_eq!(error, Some(OutboundError::ConnectionTerminated), "a POST is not");
    heads.abort();
}

#[tokio::test]
async fn a_silent_server_and_a_stalled_body_time_out() {
    let (address, _heads) =
        scripted(vec![vec![None], vec![Some("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nbegin"), None]])
            .await;
    let outbound = granted(address);
    let uri = format!("http://{address}/");
    let soon = Some(Duration::from_millis(30));
    let options = SendOptions { first_byte_timeout: soon, ..SendOptions::default() };
    assert_eq!(outbound.send(get(&uri), options).await.err(), Some(OutboundError::ConnectionReadTimeout));

    let options = SendOptions { between_bytes_timeout: soon, ..SendOptions::default() };
    let mut body = outbound.send(get(&uri), options).await.expect("answered").into_body();
    let first = body.frame().await.expect("a frame").expect("no error").into_data().expect("data");
    assert_eq!(first, "begin");
    let error = body.frame().await.expect("a frame").expect_err("stalled");
    assert!(matches!(error, BodyError::Stalled), "{error}");
    assert_eq!(OutboundError::from(&error), OutboundError::ConnectionReadTimeout);
}

#[tokio::test]
async fn a_response_that_breaks_off_or_is_not_http_says_so() {
    let (address, _heads) = scripted(vec![
        vec![Some("")],
        vec![Some("SSH-2.0-OpenSSH_9.9\r\n\r\n")],
        vec![Some("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nbegin")],
        vec![Some("HTTP/1.1 101 Switching Protocols\r\nupgrade: chat\r\nconnection: upgrade\r\n\r\n"), None],
    ])
    .await;
    let outbound = granted(address);
    let uri = format!("http://{address}/");
    assert_eq!(send(&outbound, get(&uri)).await.err(), Some(OutboundError::ConnectionTerminated));
    let error = send(&outbound, get(&uri)).await.err();
    assert!(matches!(error, Some(OutboundError::HttpProtocolError(_))), "{error:?}");
    let body = send(&outbound, get(&uri)).await.expect("answered").into_body();
    let error = body.collect().await.expect_err("broken off");
    assert!(matches!(error, BodyError::Disconnected(_)), "{error}");
    assert_eq!(OutboundError::from(&error), OutboundError::HttpResponseIncomplete);
    assert_eq!(send(&outbound, get(&uri)).await.err(), Some(OutboundError::HttpUpgradeFailed));
}

/// The head of a response is counted as its limit says: names, values and 32 for each field.
#[tokio::test]
async fn the_head_of_a_response_has_a_limit() {
    let limit = 64 << 10;
    let answer = |padding: usize| {
        let head = format!("HTTP/1.1 200 OK\r\nx: {}\r\ncontent-length: 0\r\n\r\n", "y".repeat(padding));
        &*Box::leak(head.into_boxed_str())
    };
    let fields = "x".len() + 32 + "content-length".len() + "0".len() + 32;
    for (padding, allowed) in [(limit - fields, true), (limit - fields + 1, false), (1 << 20, false)] {
        let (address, heads) = scripted(vec![vec![Some(answer(padding))]]).await;
        let answered = send(&granted(address), get(&format!("http://{address}/"))).await;
        match answered {
            Ok(response) => assert!(allowed && response.body().is_end_stream(), "{padding}"),
            Err(OutboundError::HttpResponseHeaderSectionSize(_)) => assert!(!allowed, "{padding}"),
            Err(error) => panic!("{padding}: {error}"),
        }
        heads.abort();
    }
}

#[tokio::test]
async fn bodies_stream_both_ways_with_back_pressure() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let address = listener.local_addr().expect("its address");
    let echo = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.expect("accepted");
        let service = service_fn(|request: Request<hyper::body::Incoming>| async move {
            Ok::<_, std::convert::Infallible>(Response::new(request.into_body()))
        });
        drop(
            hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await,
        );
    });
    let made = Arc::new(AtomicUsize::new(0));
    let count = made.clone();
    let piece = Bytes::from(vec![7; 1 << 16]);
    let pieces = futures_util::stream::iter((0..1600).map(move |_| {
        count.fetch_add(1, Ordering::Relaxed);
        Ok::<_, BodyError>(http_body::Frame::data(piece.clone()))
    }));
    let body = Body::stream(http_body_util::StreamBody::new(pieces));
    let request = Request::post(format!("http://{address}/")).body(body).expect("a request");
    let mut body = send(&granted(address), request).await.expect("answered").into_body();
    let mut got = 0;
    while let Some(frame) = tokio::time::timeout(DEADLINE, body.frame()).await.expect("in time") {
        got += frame.expect("no error").into_data().expect("data").len();
        let ahead = made.load(Ordering::Relaxed) * (1 << 16) - got;
        assert!(ahead < 32 << 20, "{ahead} bytes are under way: nobody holds them back");
    }
    assert_eq!(got, 1600 << 16);
    echo.abort();
}

#[tokio::test]
async fn a_request_body_that_fails_is_told_apart() {
    let server = server().await;
    let failing = |error| {
        let body = http_body_util::StreamBody::new(futures_util::stream::iter([Err::<
            http_body::Frame<Bytes>,
            _,
        >(error)]));
        Request::post(format!("http://{}/", server.address)).body(Body::stream(body)).expect("a request")
    };
    let outbound = granted(server.address);
    let error = send(&outbound, failing(BodyError::TooLarge { limit_bytes: 9 })).await.err();
    assert_eq!(error, Some(OutboundError::HttpRequestBodySize(9)));
    let error = send(&outbound, failing(BodyError::Stalled)).await.err();
    assert!(matches!(error, Some(OutboundError::InternalError(_))), "{error:?}");
}

/// A certificate for this name, with its authority in PEM.
fn certificate(name: &str, alpn: &[&str]) -> (tokio_rustls::TlsAcceptor, Vec<u8>) {
    let made = rcgen::generate_simple_self_signed([name.to_string()]).expect("a certificate");
    let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).expect("a key");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .expect("usable");
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    (tokio_rustls::TlsAcceptor::from(Arc::new(config)), made.cert.pem().into_bytes())
}

fn tls_outbound(port: u16, roots: Option<Vec<u8>>) -> Outbound {
    let setup = OutboundSetup {
        extra_roots: roots,
        resolver: Script::new("api.test", &[&["127.0.0.1"]]),
        ..OutboundSetup::default()
    };
    outbound(&[format!("https://api.test:{port}"), format!("https://127.0.0.1:{port}")], setup)
}

#[tokio::test]
async fn tls_speaks_http2_or_http1_as_the_server_wants() {
    for (alpn, version) in
        [(&["h2", "http/1.1"][..], "HTTP/2.0"), (&["http/1.1"], "HTTP/1.1"), (&[], "HTTP/1.1")]
    {
        let (acceptor, root) = certificate("api.test", alpn);
        let server = server_at(Ipv4Addr::LOCALHOST, Some(acceptor)).await;
        let port = server.address.port();
        let outbound = tls_outbound(port, Some(root));
        let uri = format!("https://api.test:{port}/a");
        for _ in 0..2 {
            let response = send(&outbound, get(&uri)).await.expect("answered");
            let expected = Version::HTTP_2;
            assert_eq!(response.version() == expected, version == "HTTP/2.0");
            assert!(text(response).await.starts_with(&format!("#0 {version} GET ")), "{alpn:?}");
        }
        if version == "HTTP/2.0" {
            let (a, b) = tokio::join!(send(&outbound, get(&uri)), send(&outbound, get(&uri)));
            assert!(text(a.expect("answered")).await.starts_with("#0 "));
            assert!(text(b.expect("answered")).await.starts_with("#0 "), "one connection carries both");
        }
    }
}

#[tokio::test]
async fn a_certificate_that_is_not_trusted_or_for_another_name_is_refused() {
    let (acceptor, root) = certificate("other.test", &[]);
    let server = server_at(Ipv4Addr::LOCALHOST, Some(acceptor)).await;
    let port = server.address.port();
    for roots in [None, Some(root)] {
        let error = send(&tls_outbound(port, roots), get(&format!("https://api.test:{port}/"))).await.err();
        assert!(matches!(error, Some(OutboundError::TlsCertificateError(_))), "{error:?}");
    }
    let plain = super::outbound::server().await;
    let port = plain.address.port();
    let error = send(&tls_outbound(port, None), get(&format!("https://api.test:{port}/"))).await.err();
    assert!(
        matches!(error, Some(OutboundError::TlsProtocolError(_) | OutboundError::ConnectionTerminated)),
        "{error:?}"
    );
    let unusable = OutboundSetup { extra_roots: Some(b"nothing".to_vec()), ..OutboundSetup::default() };
    let refusal = Outbound::new(OutboundRules::default(), unusable).err().expect("refused");
    assert!(refusal.what.contains("hold no certificate"), "{refusal}");
}

#[tokio::test]
async fn redirects_are_left_to_the_guest_and_tunnels_are_refused() {
    let (address, _heads) = scripted(vec![vec![Some(
        "HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n",
    )]])
    .await;
    let outbound = granted(address);
    let response = send(&outbound, get(&format!("http://{address}/"))).await.expect("answered");
    assert_eq!(response.status(), 302);
    assert!(response.headers().contains_key("location"));
    let tunnel = Request::builder().method(Method::CONNECT).uri(format!("http://{address}/"));
    let error = send(&outbound, tunnel.body(Body::empty()).expect("a request")).await.err();
    assert_eq!(error, Some(OutboundError::HttpRequestMethodInvalid));
}
