//! `/portForward/NAMESPACE/POD`: what `kubectl port-forward` reaches.
//!
//! Inside SPDY the client opens two streams for each connection: one of the type `error`, on which it hears in words what
//! went wrong, then one of the type `data` with the bytes. What answers requests in the pod has no port of its own: it is
//! asked in HTTP/1.1, whatever the port. A command is reached at the ports on which it may listen, and at no other: the
//! ports of this machine are not the pod's.

use std::collections::HashMap;
use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::uri::Scheme;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::Value;
use shoal_api::object;
use shoal_runtime::{Account, Body as GuestBody, BodyError, Call, Invoke};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::task::AbortOnDropHandle;

use super::spdy::{self, Frame, Frames};
use super::{Body, text};
use crate::pod::grants;
use crate::shared::Shared;

/// The framing that is spoken.
const SPDY: &str = "SPDY/3.1";
/// What is spoken inside.
const PROTOCOL: &str = "portforward.k8s.io";
const PROTOCOL_VERSION: &str = "x-stream-protocol-version";
/// Connections through one tunnel at the same time.
const FORWARDS_MAX: usize = 256;
/// Error streams that wait for their data streams.
const UNPAIRED_MAX: usize = 64;
/// Pieces that wait: of one connection for the pod, and of all for the client.
const QUEUE_MAX: usize = 16;
/// Bytes that are read at once.
const PIECE_BYTES: usize = 16 << 10;
/// For the head of a request that has begun.
const HEAD_TIME: Duration = Duration::from_secs(15);
/// For a connection to a command on this machine.
const CONNECT_TIME: Duration = Duration::from_secs(5);

/// Names requests in logs.
static REQUESTS: AtomicU64 = AtomicU64::new(0);

/// Changes to SPDY, where it is asked for and the pod is here. `held` is kept as long as the tunnel is.
pub(super) fn answer(
    shared: &Arc<Shared>,
    (namespace, name): (&str, &str),
    request: Request<Incoming>,
    held: impl Send + 'static,
) -> Response<Body> {
    if let Err(why) = asked(request.method(), request.headers()) {
        return text(StatusCode::BAD_REQUEST, why);
    }
    let Some(pod) = shared.pod(namespace, name) else {
        return text(StatusCode::NOT_FOUND, format!("pod {name:?} does not run on this node"));
    };
    let tunnel = Tunnel::new(Target { shared: shared.clone(), pod });
    let (drain, guard) = (shared.drain.clone(), shared.drain.guard());
    tokio::spawn(async move {
        let upgraded = match hyper::upgrade::on(request).await {
            Ok(upgraded) => TokioIo::new(upgraded),
            Err(error) => return tracing::debug!(%error, "a tunnel to a pod was not opened"),
        };
        tokio::select! {
            ended = tunnel.run(upgraded) => if let Err(error) = ended {
                tracing::debug!(%error, "a tunnel to a pod broke off");
            },
            () = drain.begun() => {}
        }
        drop((held, guard));
    });
    let mut answer = text(StatusCode::SWITCHING_PROTOCOLS, Bytes::new());
    let headers = answer.headers_mut();
    headers.remove(header::CONTENT_TYPE);
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static(SPDY));
    headers.insert(PROTOCOL_VERSION, HeaderValue::from_static(PROTOCOL));
    answer
}

/// Whether it is a tunnel of ports that is asked for.
fn asked(method: &Method, headers: &HeaderMap) -> Result<(), String> {
    let values = |name: &str| {
        let all = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
        all.flat_map(|line| line.split(',')).map(str::trim).map(str::to_owned).collect::<Vec<_>>()
    };
    if ![Method::POST, Method::GET].contains(method)
        || !values("upgrade").iter().any(|one| one.eq_ignore_ascii_case(SPDY))
    {
        return Err(format!("ports are forwarded over {SPDY}: ask for it with an Upgrade header"));
    }
    if !values(PROTOCOL_VERSION).iter().any(|one| one == PROTOCOL) {
        return Err(format!("ports are forwarded with {PROTOCOL}: name it in {PROTOCOL_VERSION}"));
    }
    Ok(())
}

/// One connection of a client, with all that goes through it.
struct Tunnel {
    target: Target,
    /// Frames for the client.
    out: mpsc::Sender<Bytes>,
    queue: mpsc::Receiver<Bytes>,
}

/// What the frames of a client lead to.
struct Streams {
    target: Target,
    out: mpsc::Sender<Bytes>,
    /// Error streams by what the client calls the connection.
    unpaired: HashMap<String, u32>,
    /// Connections by their data stream.
    forwards: HashMap<u32, Forward>,
    /// Data streams of connections that have ended.
    ended: mpsc::Receiver<u32>,
    ends: mpsc::Sender<u32>,
    has_replied: bool,
}

struct Forward {
    /// None: the client sends nothing more.
    to_pod: Option<mpsc::Sender<Bytes>>,
    _task: AbortOnDropHandle<()>,
}

impl Tunnel {
    fn new(target: Target) -> Self {
        let (out, queue) = mpsc::channel(QUEUE_MAX);
        Self { target, out, queue }
    }

    /// Goes on until the client goes away or makes no sense.
    async fn run(self, io: impl AsyncRead + AsyncWrite) -> io::Result<()> {
        let Self { target, out, mut queue } = self;
        let (mut from_client, mut to_client) = tokio::io::split(io);
        let (ends, ended) = mpsc::channel(FORWARDS_MAX);
        let mut streams = Streams {
            target,
            out,
            unpaired: HashMap::new(),
            forwards: HashMap::new(),
            ended,
            ends,
            has_replied: false,
        };
        let reading = async {
            let mut frames = Frames::default();
            loop {
                while let Some(frame) = frames.take().map_err(io::Error::other)? {
                    streams.take(frame).await;
                }
                if from_client.read_buf(frames.bytes()).await? == 0 {
                    return Ok::<_, io::Error>(());
                }
            }
        };
        let writing = async {
            while let Some(frame) = queue.recv().await {
                to_client.write_all(&frame).await?;
                to_client.flush().await?;
            }
            Ok::<_, io::Error>(())
        };
        tokio::select! {
            ended = reading => ended,
            ended = writing => ended,
        }
    }
}

impl Streams {
    async fn take(&mut self, frame: Frame) {
        while let Ok(ended) = self.ended.try_recv() {
            self.forwards.remove(&ended);
        }
        match frame {
            Frame::Open { stream, headers, .. } => self.open(stream, &headers).await,
            Frame::Data { stream, is_last, bytes } => {
                let Some(forward) = self.forwards.get_mut(&stream) else { return };
                if let Some(to_pod) = forward.to_pod.as_ref().filter(|_| !bytes.is_empty()) {
                    // A pod that reads slowly holds up its client. One that reads no more has ended.
                    drop(to_pod.send(bytes).await);
                }
                if is_last {
                    forward.to_pod = None;
                }
            }
            Frame::Reset(stream) => {
                self.forwards.remove(&stream);
                self.unpaired.retain(|_, error| *error != stream);
            }
            Frame::Ping(number) => self.send(spdy::pong(number)).await,
            Frame::Away | Frame::Other => {}
        }
    }

    async fn open(&mut self, stream: u32, headers: &[(String, String)]) {
        let header =
            |name: &str| headers.iter().find(|(one, _)| one == name).map(|(_, value)| value.as_str());
        let Some((is_data, connection)) = role(stream, header("streamtype"), header("requestid")) else {
            return self.send(spdy::reset(stream, spdy::PROTOCOL_ERROR)).await;
        };
        let is_room =
            if is_data { self.forwards.len() < FORWARDS_MAX } else { self.unpaired.len() < UNPAIRED_MAX };
        if !is_room {
            return self.send(spdy::reset(stream, spdy::REFUSED_STREAM)).await;
        }
        if !is_data {
            self.unpaired.insert(connection, stream);
            return self.reply(stream).await;
        }
        let Some(error) = self.unpaired.remove(&connection) else {
            return self.send(spdy::reset(stream, spdy::PROTOCOL_ERROR)).await;
        };
        self.reply(stream).await;
        let port = header("port").and_then(|port| port.parse().ok()).unwrap_or_default();
        let (to_pod, from_client) = mpsc::channel(QUEUE_MAX);
        let lane = Lane { stream, error, from_client, out: self.out.clone() };
        let (target, ends) = (self.target.clone(), self.ends.clone());
        let task = tokio::spawn(async move {
            lane.forward(&target, port).await;
            // Where nobody listens the tunnel is gone.
            let _ = ends.send(stream).await;
        });
        let forward = Forward { to_pod: Some(to_pod), _task: AbortOnDropHandle::new(task) };
        self.forwards.insert(stream, forward);
    }

    async fn reply(&mut self, stream: u32) {
        let is_first = !std::mem::replace(&mut self.has_replied, true);
        self.send(spdy::reply(stream, is_first)).await;
    }

    async fn send(&self, frame: Bytes) {
        // Where nobody writes it the tunnel is gone.
        drop(self.out.send(frame).await);
    }
}

/// Whether a stream has the bytes of a connection, and what the client calls the connection: clients that call it nothing
/// open the stream for errors right before it. None: it is neither.
fn role(stream: u32, kind: Option<&str>, connection: Option<&str>) -> Option<(bool, String)> {
    let called = |number: u32| connection.map_or_else(|| number.to_string(), str::to_owned);
    match kind? {
        "error" => Some((false, called(stream))),
        "data" => Some((true, called(stream.checked_sub(2)?))),
        _ => None,
    }
}

/// One connection: its two streams.
struct Lane {
    stream: u32,
    error: u32,
    from_client: mpsc::Receiver<Bytes>,
    out: mpsc::Sender<Bytes>,
}

impl Lane {
    /// Connects the client to a port of the pod until either has nothing more to say.
    async fn forward(mut self, target: &Target, port: u16) {
        let done = match target.serves() {
            Some(_) => {
                let (near, far) = tokio::io::duplex(PIECE_BYTES);
                let mut serving = JoinSet::new();
                serving.spawn(serve(target.clone(), far));
                self.pump(near).await
            }
            None => match target.connect(port).await {
                Ok(stream) => self.pump(stream).await,
                Err(why) => Err(why),
            },
        };
        if let Err(why) = done {
            drop(self.out.send(spdy::data(self.error, false, why.as_bytes())).await);
        }
        for stream in [self.stream, self.error] {
            drop(self.out.send(spdy::data(stream, true, b"")).await);
        }
    }

    /// Moves bytes both ways until the pod has said all.
    async fn pump(&mut self, pod: impl AsyncRead + AsyncWrite) -> Result<(), String> {
        let (mut from_pod, mut to_pod) = tokio::io::split(pod);
        let (from_client, out, stream) = (&mut self.from_client, &self.out, self.stream);
        let to = async {
            while let Some(bytes) = from_client.recv().await {
                to_pod.write_all(&bytes).await?;
            }
            to_pod.shutdown().await?;
            Ok::<_, io::Error>(())
        };
        let from = async {
            let mut piece = vec![0; PIECE_BYTES];
            loop {
                let length = from_pod.read(&mut piece).await?;
                if length == 0 || out.send(spdy::data(stream, false, &piece[..length])).await.is_err() {
                    return Ok::<_, io::Error>(());
                }
            }
        };
        let to = async {
            match to.await {
                // What the pod has to say is worth hearing all the same.
                Ok(()) => std::future::pending().await,
                Err(error) => error,
            }
        };
        tokio::pin!(from, to);
        let ended = tokio::select! {
            ended = &mut from => ended,
            // It may have said why before it closed.
            _ = &mut to => from.await,
        };
        ended.map_err(|error| format!("the connection to the pod broke off: {error}"))
    }
}

/// The pod that is forwarded.
#[derive(Clone)]
struct Target {
    shared: Arc<Shared>,
    pod: Arc<Value>,
}

impl Target {
    /// What answers requests in the pod now, if anything does.
    fn serves(&self) -> Option<Arc<dyn Invoke>> {
        self.shared.pods.lock().get(object::uid(&self.pod))?.serves.clone()
    }

    /// Connects to a command of the pod.
    async fn connect(&self, port: u16) -> Result<TcpStream, String> {
        let name = object::name(&self.pod);
        if !grants::listens(&self.pod).contains(&port) {
            return Err(format!(
                "pod {name:?} has nothing at port {port}: no container of it answers requests now, and its annotation {} does \
                 not name the port",
                grants::LISTEN
            ));
        }
        let connecting = TcpStream::connect((Ipv4Addr::LOCALHOST, port));
        match tokio::time::timeout(CONNECT_TIME, connecting).await {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(error)) => Err(format!("pod {name:?} does not listen on port {port}: {error}")),
            Err(_) => Err(format!("pod {name:?} does not answer at port {port}")),
        }
    }

    async fn ask(&self, request: Request<Incoming>) -> Response<GuestBody> {
        let Some(invoke) = self.serves() else {
            return told(StatusCode::SERVICE_UNAVAILABLE, "no container of the pod answers requests now");
        };
        // As every other request, it is waited for when the pod ends.
        let in_flight = self.shared.config.endpoints.replica(object::uid(&self.pod)).enter();
        let request = request
            .map(|body| GuestBody::stream(body.map_err(|error| BodyError::Disconnected(error.to_string()))));
        let call = Call {
            id: REQUESTS.fetch_add(1, Ordering::Relaxed),
            scheme: Scheme::HTTP,
            peer: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            received: Instant::now(),
            account: Arc::new(Account::default()),
        };
        match invoke.invoke(request, call).await {
            Ok(answer) => answer.map(|body| body.holding(in_flight)),
            Err(failure) => told(failure.kind.status(), &failure.to_string()),
        }
    }
}

/// Answers the requests of one connection.
async fn serve(target: Target, io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
    let service = service_fn(|request| {
        let target = target.clone();
        async move { Ok::<_, Infallible>(target.ask(request).await) }
    });
    let mut builder = http1::Builder::new();
    // A client that has asked may close its side and still read.
    builder.timer(TokioTimer::new()).header_read_timeout(HEAD_TIME).half_close(true);
    if let Err(error) = builder.serve_connection(TokioIo::new(io), service).await {
        tracing::debug!(%error, "a forwarded connection broke off");
    }
}

fn told(status: StatusCode, why: &str) -> Response<GuestBody> {
    let mut answer = Response::new(GuestBody::whole(format!("{why}\n")));
    *answer.status_mut() = status;
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tunnel_of_ports_is_asked_for_in_these_words() {
        let of = |method: Method, all: &[(&'static str, &str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in all {
                headers.append(*name, value.parse().expect("a value"));
            }
            asked(&method, &headers).is_ok()
        };
        let spdy = ("upgrade", "spdy/3.1");
        assert!(of(Method::POST, &[spdy, (PROTOCOL_VERSION, "v9.k8s.io, portforward.k8s.io")]));
        assert!(of(Method::GET, &[spdy, (PROTOCOL_VERSION, "x"), (PROTOCOL_VERSION, PROTOCOL)]));
        assert!(!of(Method::PUT, &[spdy, (PROTOCOL_VERSION, PROTOCOL)]));
        assert!(!of(Method::POST, &[("upgrade", "websocket"), (PROTOCOL_VERSION, PROTOCOL)]));
        assert!(!of(Method::POST, &[spdy]));
    }

    #[test]
    fn streams_are_paired_by_what_the_client_calls_them_or_by_their_order() {
        assert_eq!(role(1, Some("error"), Some("7")), Some((false, "7".into())));
        assert_eq!(role(9, Some("data"), Some("7")), Some((true, "7".into())));
        assert_eq!(role(1, Some("error"), None), Some((false, "1".into())));
        assert_eq!(role(3, Some("data"), None), Some((true, "1".into())));
        assert_eq!(role(1, Some("data"), None), None);
        assert_eq!(role(1, Some("x"), None), None);
        assert_eq!(role(1, None, Some("7")), None);
    }
}
