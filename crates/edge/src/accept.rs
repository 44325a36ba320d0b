//! Phase *accept*: from a listening socket to a connection that speaks HTTP.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::uri::Scheme;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::connection::{Connection, DRAIN_IDLE, Protocol};
use crate::gate::{Gate, Pass};
use crate::limits::Limit;
use crate::routes::Entry;
use crate::wire::{Transport, Wire};
use crate::worker::Worker;
use crate::{http1, http2};

/// One listening socket of one thread.
pub(crate) struct Door {
    pub(crate) listener: std::net::TcpListener,
    pub(crate) tls: Option<TlsAcceptor>,
    pub(crate) gate: Arc<Gate>,
    pub(crate) entry: Entry,
    /// Ends the wait for connections; those that are open stay.
    pub(crate) closed: CancellationToken,
}

/// How long a thread that has no file descriptors left waits before it accepts again.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);

/// Said to a client that finds the edge full, as far as it fits into the socket at once.
const FULL: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";

/// How an HTTP/2 connection begins, RFC 9113 §3.4. No HTTP/1 method begins so.
const H2_START: &[u8] = b"PRI";

/// Bytes read before the protocol is known: an ordinary request head in one read.
const FIRST_READ_BYTES: usize = 2 << 10;

/// Accepts connections until the drain begins or the door is closed, then those that the kernel has already accepted.
///
/// # Errors
/// When the socket cannot be watched; it was opened by us, so that is a bug or the end of the process.
pub(crate) async fn accept(door: Door, worker: Arc<Worker>, tracker: TaskTracker) -> io::Result<()> {
    let listener = TcpListener::from_std(door.listener.try_clone()?)?;
    loop {
        let accepted = tokio::select! {
            biased;
            () = worker.drain_begun.cancelled() => break,
            () = door.closed.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((socket, peer)) => admit(socket, peer, &door, &worker, &tracker),
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                tracing::warn!(%error, "cannot accept connections; trying again");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    while let Ok((socket, peer)) = door.listener.accept() {
        socket.set_nonblocking(true)?;
        admit(TcpStream::from_std(socket)?, peer, &door, &worker, &tracker);
    }
    Ok(())
}

/// Lets a connection in, or turns it away.
fn admit(socket: TcpStream, peer: SocketAddr, door: &Door, worker: &Arc<Worker>, tracker: &TaskTracker) {
    worker.metrics.connections.add(1);
    match door.gate.enter(peer) {
        Err(limit) => {
            worker.metrics.limit(limit);
            if door.tls.is_none() {
                // Whoever cannot take it finds a closed connection, which says the same.
                let _ = socket.try_write(FULL);
            }
        }
        Ok(pass) => {
            let open = Open::new(worker.clone(), door.entry, pass);
            match door.tls.clone() {
                None => tracker.spawn(plain(socket, peer, open, tracker.clone())),
                Some(acceptor) => tracker.spawn(encrypted(acceptor, socket, peer, open, tracker.clone())),
            };
        }
    }
}

/// A connection, counted while it is open.
struct Open {
    worker: Arc<Worker>,
    entry: Entry,
    _pass: Pass,
}

impl Open {
    fn new(worker: Arc<Worker>, entry: Entry, pass: Pass) -> Self {
        worker.metrics.connections_open.add(1);
        Self { worker, entry, _pass: pass }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.worker.metrics.connections_open.subtract(1);
    }
}

async fn plain(mut socket: TcpStream, peer: SocketAddr, open: Open, tracker: TaskTracker) {
    let worker = &open.worker;
    let first = tokio::select! {
        biased;
        first = timeout(worker.limits.header_read, first_bytes(&mut socket)) => first,
        () = idle_while_draining(worker) => return,
    };
    let (first, protocol) = match first {
        Ok(Ok(Some(known))) => known,
        // Nothing was asked, so nothing is answered.
        Ok(Ok(None) | Err(_)) => return,
        Err(_elapsed) => return worker.metrics.limit(Limit::HeaderRead),
    };
    serve(socket, first, peer, Scheme::HTTP, protocol, &open, tracker).await;
}

/// Phase *TLS*.
async fn encrypted(
    acceptor: TlsAcceptor,
    socket: TcpStream,
    peer: SocketAddr,
    open: Open,
    tracker: TaskTracker,
) {
    let worker = &open.worker;
    let stream: TlsStream<TcpStream> =
        match timeout(worker.limits.tls_handshake, acceptor.accept(socket)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => {
                tracing::debug!(%peer, %error, "the TLS handshake failed");
                return worker.metrics.handshake_errors.add(1);
            }
            Err(_elapsed) => return worker.metrics.limit(Limit::TlsHandshake),
        };
    let protocol = match stream.get_ref().1.alpn_protocol() {
        Some(b"h2") => Protocol::Http2,
        _ => Protocol::Http1,
    };
    serve(stream, Vec::new(), peer, Scheme::HTTPS, protocol, &open, tracker).await;
}

async fn serve<T: Transport>(
    transport: T,
    first: Vec<u8>,
    peer: SocketAddr,
    scheme: Scheme,
    protocol: Protocol,
    open: &Open,
    tracker: TaskTracker,
) {
    let connection = Arc::new(Connection::new(open.worker.clone(), open.entry, peer, scheme, protocol));
    let wire = Wire::new(transport, first, connection.clone());
    match protocol {
        Protocol::Http1 => http1::serve(wire, connection).await,
        Protocol::Http2 => http2::serve(wire, connection, tracker).await,
    }
}

/// Reads until it is known which HTTP the client speaks. None: it closed without a word.
async fn first_bytes(socket: &mut TcpStream) -> io::Result<Option<(Vec<u8>, Protocol)>> {
    let mut first = Vec::with_capacity(FIRST_READ_BYTES);
    loop {
        if socket.read_buf(&mut first).await? == 0 {
            return Ok(None);
        }
        if first.starts_with(H2_START) {
            return Ok(Some((first, Protocol::Http2)));
        }
        if !H2_START.starts_with(&first) {
            return Ok(Some((first, Protocol::Http1)));
        }
    }
}

/// Resolves when a connection that has said nothing should be closed.
async fn idle_while_draining(worker: &Worker) {
    worker.drain_begun.cancelled().await;
    sleep(DRAIN_IDLE).await;
}

/// Whether only the connection that was to be accepted has a problem, not the socket that listens.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted
    )
}
