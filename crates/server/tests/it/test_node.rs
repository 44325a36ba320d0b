//! A node for tests: the endpoints of a kubelet, over TLS, for a server that shows its certificate.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use futures_util::stream;
use http::{Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use shoal_server::auth::Peer;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use crate::server::Server;

type Body = UnsyncBoxBody<Bytes, Infallible>;

/// A node that listens until it is dropped.
pub(crate) struct TestNode {
    /// Where.
    pub(crate) address: SocketAddr,
    /// Lines that followed logs may write, beside the first.
    pub(crate) lines: Arc<Semaphore>,
    _server: JoinSet<()>,
}

struct State {
    lines: Arc<Semaphore>,
    /// How often its metrics were read.
    read: AtomicU64,
}

impl TestNode {
    /// The node `n1` of a server, with the certificate that the authority gives to it.
    pub(crate) async fn start(server: &Server) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let names = [address.ip().to_string()];
        let tls = server.pki().node_config("n1", &names, Timestamp::now()).expect("a certificate");
        let acceptor = TlsAcceptor::from(tls);
        let lines = Arc::new(Semaphore::new(0));
        let state = Arc::new(State { lines: lines.clone(), read: AtomicU64::new(0) });
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, state) = (acceptor.clone(), state.clone());
                connections.spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    let peer = stream.get_ref().1.peer_certificates().and_then(Peer::from_chain);
                    let name = peer.map(|peer| peer.user.name).unwrap_or_default();
                    let service = service_fn(move |request| {
                        let (state, name) = (state.clone(), name.clone());
                        async move { Ok::<_, Infallible>(answer(&state, &name, request).await) }
                    });
                    // Whoever goes away is none of the node's business.
                    let _ = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service)
                        .with_upgrades()
                        .await;
                });
            }
        });
        Self { address, lines, _server: tasks }
    }
}

async fn answer(state: &Arc<State>, peer: &str, request: Request<Incoming>) -> Response<Body> {
    if peer != "kube-apiserver-kubelet-client" {
        return text(StatusCode::UNAUTHORIZED, format!("who is {peer:?}?"));
    }
    let target = request.uri().to_string();
    let path = request.uri().path().to_owned();
    match path.as_str() {
        "/containerLogs/default/p/c" if target.contains("follow=true") => followed(state.lines.clone()),
        "/containerLogs/default/p/c" => text(StatusCode::OK, format!("{target}\n")),
        "/portForward/default/p" => forwarded(request),
        "/metrics/resource" => metrics(state),
        path if path.starts_with("/echo/") => echoed(request).await,
        _ => text(StatusCode::NOT_FOUND, format!("nothing at {path}\n")),
    }
}

/// `one`, and more lines as the test lets them come.
fn followed(lines: Arc<Semaphore>) -> Response<Body> {
    let pieces = stream::unfold(true, move |is_first| {
        let lines = lines.clone();
        async move {
            let line = if is_first {
                "one\n"
            } else {
                lines.acquire().await.ok()?.forget();
                "more\n"
            };
            Some((Ok(Frame::data(Bytes::from_static(line.as_bytes()))), false))
        }
    });
    Response::new(StreamBody::new(pieces).boxed_unsync())
}

/// Answers what it hears in capital letters.
fn forwarded(request: Request<Incoming>) -> Response<Body> {
    let protocol = request.headers().get("x-stream-protocol-version").cloned();
    if request.method() != "POST" || request.headers()["upgrade"] != "SPDY/3.1" {
        return text(StatusCode::BAD_REQUEST, "Upgrade request required".into());
    }
    tokio::spawn(async move {
        let mut stream = TokioIo::new(hyper::upgrade::on(request).await.expect("an upgrade"));
        let mut piece = vec![0; 4096];
        while let Ok(read @ 1..) = stream.read(&mut piece).await {
            piece[..read].make_ascii_uppercase();
            if stream.write_all(&piece[..read]).await.is_err() {
                return;
            }
        }
    });
    let mut answer = text(StatusCode::SWITCHING_PROTOCOLS, String::new());
    let headers = answer.headers_mut();
    headers.insert("connection", "Upgrade".parse().expect("a value"));
    headers.insert("upgrade", "SPDY/3.1".parse().expect("a value"));
    headers.insert("x-stream-protocol-version", protocol.expect("a protocol"));
    answer
}

/// A tenth of a processor for the container, half of one for the node.
fn metrics(state: &State) -> Response<Body> {
    let seconds = state.read.fetch_add(1, Ordering::SeqCst) * 10;
    let at = 1_700_000_000_000 + seconds * 1000;
    let (container, node) = (seconds as f64 / 10.0, seconds as f64 / 2.0);
    let labels = "container=\"c\",namespace=\"default\",pod=\"p\"";
    text(
        StatusCode::OK,
        format!(
            "container_cpu_usage_seconds_total{{{labels}}} {container} {at}\n\
             container_memory_working_set_bytes{{{labels}}} 3145728 {at}\n\
             node_cpu_usage_seconds_total {node} {at}\nnode_memory_working_set_bytes 104857600 {at}\n"
        ),
    )
}

async fn echoed(request: Request<Incoming>) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let has = |name: &str| parts.headers.contains_key(name);
    let body = body.collect().await.expect("a body").to_bytes();
    text(
        StatusCode::IM_A_TEAPOT,
        format!(
            "{} {} authorization={} x-mine={} {}",
            parts.method,
            parts.uri,
            has("authorization"),
            has("x-mine"),
            String::from_utf8_lossy(&body)
        ),
    )
}

fn text(status: StatusCode, text: String) -> Response<Body> {
    Response::builder().status(status).body(Full::new(Bytes::from(text)).boxed_unsync()).expect("an answer")
}
