//! An edge to test, and clients that say exactly what they are told.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::num::NonZeroUsize;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::task::{Context, Poll};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Response;
use http_body::Frame;
use shoal_base::drain::Drain;
use shoal_edge::{Config, Edge, Error, Limits, Listener, Ports, Routes, Served};
use shoal_runtime::fake::FakeInvoke;
use shoal_runtime::{Body, BodyError, Invoke};

/// How long a test waits for what must happen: long, since a loaded machine is slow, and no test that
/// passes waits for its end.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// An edge that serves on its own threads until it is dropped.
pub(crate) struct Running {
    pub(crate) addresses: Vec<SocketAddr>,
    pub(crate) admin: SocketAddr,
    pub(crate) drain: Drain,
    pub(crate) routes: Routes,
    pub(crate) ports: Ports,
    thread: Option<JoinHandle<Result<Served, Error>>>,
}

/// One thread, loopback, any port, an admin listener.
pub(crate) fn config() -> Config {
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    Config {
        listeners: vec![Listener::plain(any)],
        admin: Some(any),
        threads: NonZeroUsize::new(1),
        drain_deadline: PATIENCE,
        ..Config::default()
    }
}

/// The same, with other limits.
pub(crate) fn limited(change: impl FnOnce(&mut Limits)) -> Config {
    let mut config = config();
    change(&mut config.limits);
    config
}

pub(crate) fn serve(config: Config, workload: impl Invoke) -> Running {
    serve_routes(config, Routes::to(Arc::new(workload)))
}

pub(crate) fn serve_routes(config: Config, routes: Routes) -> Running {
    let edge = Edge::bind(config).unwrap();
    let (addresses, admin) = (edge.local_addrs(), edge.admin_addr().unwrap());
    let (drain, ports) = (Drain::new(), edge.ports());
    let thread = {
        let (routes, drain) = (routes.clone(), drain.clone());
        std::thread::spawn(move || edge.serve(&routes, &drain))
    };
    Running { addresses, admin, drain, routes, ports, thread: Some(thread) }
}

impl Running {
    pub(crate) fn address(&self) -> SocketAddr {
        self.addresses[0]
    }

    /// Drains, and tells how that went.
    pub(crate) fn stop(mut self) -> Served {
        self.drain.begin();
        self.thread.take().unwrap().join().unwrap().unwrap()
    }

    pub(crate) fn metrics(&self) -> String {
        let text = ask(self.admin, "GET /metrics HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
        text.split_once("\r\n\r\n").unwrap().1.to_owned()
    }

    /// The value of a metric line, `name{labels}`; none if there is no such line.
    pub(crate) fn metric(&self, line: &str) -> Option<f64> {
        let metrics = self.metrics();
        let value = metrics.lines().find_map(|found| found.strip_prefix(line)?.strip_prefix(' '))?;
        Some(value.parse().unwrap())
    }

    /// Waits until a metric has this value.
    pub(crate) fn await_metric(&self, line: &str, value: f64) {
        eventually(&format!("{line} is {value}"), || self.metric(line) == Some(value));
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.drain.begin();
        if let Some(thread) = self.thread.take() {
            let served = thread.join();
            if !std::thread::panicking() {
                served.unwrap().unwrap();
            }
        }
    }
}

/// Waits until this holds.
pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        std::thread::yield_now();
    }
}

/// A connection whose reads end in time.
pub(crate) fn connect(address: SocketAddr) -> TcpStream {
    let socket = TcpStream::connect(address).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.set_write_timeout(Some(PATIENCE)).unwrap();
    socket
}

/// Sends these bytes, and reads until the edge closes.
pub(crate) fn ask(address: SocketAddr, request: impl AsRef<[u8]>) -> String {
    let mut socket = connect(address);
    // The edge may refuse before it has read all.
    let _ = socket.write_all(request.as_ref());
    read_to_close(&mut socket)
}

/// Everything up to the end of the connection. A reset shows as `<reset>`.
pub(crate) fn read_to_close(socket: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let mut part = vec![0; 64 << 10];
    loop {
        match socket.read(&mut part) {
            Ok(0) => break,
            Ok(count) => bytes.extend_from_slice(&part[..count]),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => {
                bytes.extend_from_slice(b"<reset>");
                break;
            }
            Err(error) => {
                panic!("the edge does not close: {error}; so far: {:?}", String::from_utf8_lossy(&bytes))
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Reads one response whose body has a length.
pub(crate) fn read_response(socket: &mut TcpStream) -> String {
    let mut text = String::new();
    let mut byte = [0];
    while !text.ends_with("\r\n\r\n") {
        assert_eq!(socket.read(&mut byte).unwrap(), 1, "the connection ended in a head: {text:?}");
        text.push(char::from(byte[0]));
    }
    let length = text
        .lines()
        .find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse::<usize>().ok())
        .unwrap_or(0);
    let mut body = vec![0; length];
    socket.read_exact(&mut body).unwrap();
    text + std::str::from_utf8(&body).unwrap()
}

/// The status of a response.
pub(crate) fn status(response: &str) -> u16 {
    response
        .split(' ')
        .nth(1)
        .and_then(|code| code.parse().ok())
        .unwrap_or_else(|| panic!("no status in {response:?}"))
}

/// A body of equal chunks that counts what was taken from it, and tells when it was dropped.
pub(crate) struct Chunks {
    left: usize,
    chunk: Bytes,
    pub(crate) taken: Arc<AtomicUsize>,
    _dropped: Dropped,
}

/// Sets a flag when it is dropped.
pub(crate) struct Dropped(pub(crate) Arc<AtomicBool>);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.store(true, SeqCst);
    }
}

impl Chunks {
    pub(crate) fn new(
        count: usize,
        size: usize,
        taken: &Arc<AtomicUsize>,
        dropped: &Arc<AtomicBool>,
    ) -> Self {
        let chunk = Bytes::from(vec![b'x'; size]);
        Self { left: count, chunk, taken: taken.clone(), _dropped: Dropped(dropped.clone()) }
    }
}

impl http_body::Body for Chunks {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        self.left -= 1;
        self.taken.fetch_add(self.chunk.len(), SeqCst);
        Poll::Ready(Some(Ok(Frame::data(self.chunk.clone()))))
    }
}

/// A workload that never answers, and tells how often it was asked and whether it was stopped.
pub(crate) fn hangs(asked: &Arc<AtomicUsize>, stopped: &Arc<AtomicBool>) -> impl Invoke {
    let (asked, stopped) = (asked.clone(), stopped.clone());
    FakeInvoke::new(move |_, _| {
        asked.fetch_add(1, SeqCst);
        let stops = Dropped(stopped.clone());
        async move {
            let _stops = stops;
            std::future::pending().await
        }
    })
}

/// Reads the whole body, then answers with it.
pub(crate) fn echo_whole() -> impl Invoke {
    FakeInvoke::new(|request: http::Request<Body>, _| async move {
        use http_body_util::BodyExt;
        match request.into_body().collect().await {
            Ok(body) => Ok(Response::new(Body::whole(body.to_bytes()))),
            Err(_) => Ok(Response::new(Body::whole("broken"))),
        }
    })
}

/// A runtime for clients that speak more than raw bytes.
pub(crate) fn block_on<R>(work: impl Future<Output = R>) -> R {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(PATIENCE, work).await.expect("the test ends in time") })
}
