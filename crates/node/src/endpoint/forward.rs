//! `/portForward/NAMESPACE/POD`: what `kubectl port-forward` reaches.
//!
//! Inside SPDY the client opens two streams for each connection: one of the type `error`, on which it hears in words what
//! went wrong, then one of the type `data` with the bytes. What answers requests in the pod has no port of its own: it is
//! asked in HTTP/1.1, whatever the port. A command is reached on the loopback of this machine, while it runs, at the ports
//! on which it may listen, and at no other.

use std::collections::HashMap;
use std::convert::Infallible;
use std::io;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
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
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio_util::task::AbortOnDropHandle;

use super::spdy::{self, Frame, Frames};
use super::{Body, text};
use crate::pod::grants;
use crate::shared::{Here, Shared};

/// The framing that is spoken.
const SPDY: &str = "SPDY/3.1";
/// What is spoken inside.
const PROTOCOL: &str = "portforward.k8s.io";
const PROTOCOL_VERSION: &str = "x-stream-protocol-version";
/// Connections through one tunnel at the same time.
const FORWARDS_MAX: usize = 256;
/// Error streams that wait for their data streams.
const UNPAIRED_MAX: usize = 64;
/// Pieces that wait: of one connection for the pod, within the bytes of all, and of all for the client.
const QUEUE_MAX: usize = 16;
/// Bytes of one tunnel that wait for its pods, over all of its connections. It has room for the longest frame.
const WAITING_BYTES_MAX: usize = 4 << 20;
const _: () = assert!(spdy::FRAME_BYTES_MAX <= WAITING_BYTES_MAX);
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
    /// The bytes that may still wait for pods.
    room: Arc<Semaphore>,
    has_replied: bool,
}

struct Forward {
    /// None: the client sends nothing more.
    to_pod: Option<mpsc::Sender<Piece>>,
    _task: AbortOnDropHandle<()>,
}

/// Bytes on their way to a pod, with the room that they take.
struct Piece {
    bytes: Bytes,
    _room: OwnedSemaphorePermit,
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
        let mut streams = Streams::new(target, out);
        let reading = async {
            let mut frames = Frames::default();
            loop {
                while let Some(frame) = frames.take().map_err(io::Error::other)? {
                    streams.take(frame).await;
                }
                frames.bytes().reserve(PIECE_BYTES);
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
    fn new(target: Target, out: mpsc::Sender<Bytes>) -> Self {
        let (ends, ended) = mpsc::channel(FORWARDS_MAX);
        Self {
            target,
            out,
            unpaired: HashMap::new(),
            forwards: HashMap::new(),
            ended,
            ends,
            room: Arc::new(Semaphore::new(WAITING_BYTES_MAX)),
            has_replied: false,
        }
    }

    async fn take(&mut self, frame: Frame) {
        while let Ok(ended) = self.ended.try_recv() {
            self.forwards.remove(&ended);
        }
        match frame {
            Frame::Open { stream, is_last, headers } => self.open(stream, is_last, &headers).await,
            Frame::Data { stream, is_last, bytes } => {
                let Some(forward) = self.forwards.get_mut(&stream) else { return };
                if let Some(to_pod) = forward.to_pod.as_ref().filter(|_| !bytes.is_empty()) {
                    // A connection whose pod reads slowly holds up the whole tunnel, the other connections, too: this
                    // version of SPDY is spoken without windows, so the client can be held up in no other way. One
                    // that reads no more has ended.
                    if let Some(piece) = piece(&self.room, &bytes).await {
                        drop(to_pod.send(piece).await);
                    }
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

    async fn open(&mut self, stream: u32, is_last: bool, headers: &[(String, String)]) {
        let header =
            |name: &str| headers.iter().find(|(one, _)| one == name).map(|(_, value)| value.as_str());
        let Some((is_data, connection)) = role(stream, header("streamtype"), header("requestid")) else {
            return self.send(spdy::reset(stream, spdy::PROTOCOL_ERROR)).await;
        };
        if !is_data {
            if self.unpaired.len() >= UNPAIRED_MAX {
                return self.send(spdy::reset(stream, spdy::REFUSED_STREAM)).await;
            }
            self.unpaired.insert(connection, stream);
            return self.reply(stream).await;
        }
        // Whatever becomes of the connection, its error stream waits no more.
        let Some(error) = self.unpaired.remove(&connection) else {
            return self.send(spdy::reset(stream, spdy::PROTOCOL_ERROR)).await;
        };
        if self.forwards.len() >= FORWARDS_MAX {
            self.send(spdy::reset(stream, spdy::REFUSED_STREAM)).await;
            let why = format!(
                "there are {FORWARDS_MAX} connections through this tunnel: end one, or open another tunnel"
            );
            return self.close(error, &why).await;
        }
        self.reply(stream).await;
        let said = header("port").unwrap_or_default();
        let Ok(port) = said.parse() else {
            self.close(
                error,
                &format!("the port {said:?} of the connection is no port: name one from 1 to 65535"),
            )
            .await;
            return self.send(spdy::data(stream, true, b"")).await;
        };
        let (to_pod, from_client) = mpsc::channel(QUEUE_MAX);
        let lane = Lane { stream, error, from_client, out: self.out.clone() };
        let (target, ends) = (self.target.clone(), self.ends.clone());
        let task = tokio::spawn(async move {
            lane.forward(&target, port).await;
            // Where nobody listens the tunnel is gone.
            let _ = ends.send(stream).await;
        });
        let to_pod = (!is_last).then_some(to_pod);
        let forward = Forward { to_pod, _task: AbortOnDropHandle::new(task) };
        self.forwards.insert(stream, forward);
    }

    /// Says on an error stream what went wrong, and ends it.
    async fn close(&self, error: u32, why: &str) {
        self.send(spdy::data(error, false, why.as_bytes())).await;
        self.send(spdy::data(error, true, b"")).await;
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

/// A piece for a pod, as soon as there is room for it.
async fn piece(room: &Arc<Semaphore>, bytes: &Bytes) -> Option<Piece> {
    // Frames are shorter than the room, which is never closed.
    let length = u32::try_from(bytes.len()).ok()?;
    let room = room.clone().acquire_many_owned(length).await.ok()?;
    // A copy: what was read with it, for other connections, must not wait with it.
    Some(Piece { bytes: Bytes::copy_from_slice(bytes), _room: room })
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
    from_client: mpsc::Receiver<Piece>,
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
            while let Some(piece) = from_client.recv().await {
                to_pod.write_all(&piece.bytes).await?;
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

    /// Connects to a command of the pod: to what listens at the port on this machine, which should be the command. Nobody
    /// here knows whether it has bound the port that it was granted.
    async fn connect(&self, port: u16) -> Result<TcpStream, String> {
        let name = object::name(&self.pod);
        // As it is now: the tunnel may be older than what runs.
        let may_listen = |here: &Here| here.listens.contains(&port);
        if !self.shared.pods.lock().get(object::uid(&self.pod)).is_some_and(may_listen) {
            return Err(format!(
                "pod {name:?} has nothing at port {port}: no container of it answers requests now, and none runs a command \
                 now that was granted the port with its annotation {}",
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
        let call = Call::local(REQUESTS.fetch_add(1, Ordering::Relaxed), Instant::now(), Account::default());
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
mod tests;
