//! A connection and the task that drives it.

use std::sync::{Arc, Weak};
use std::time::Duration;

use http::header::HOST;
use http::uri::{Authority, PathAndQuery, Scheme as UriScheme, Uri};
use http::{HeaderValue, Request, Response, Version};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use shoal_base::units::Bytes;
use shoal_runtime::Body;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::AbortHandle;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::destination::{Destination, Scheme};
use super::idle::Idle;
use super::{OutboundError, error, tls};

/// A kept connection is free again as soon as its task has seen the end of the last exchange. One that is not
/// by now still sends the last request.
const READY_WAIT: Duration = Duration::from_millis(100);

/// The HTTP/1 parser takes no smaller buffer.
const BUFFER_BYTES_MIN: usize = 8 << 10;

/// An open connection, and whoever may use it.
pub(super) enum Connection {
    /// HTTP/1: one exchange at a time.
    One {
        sender: http1::SendRequest<Body>,
        /// The end of the connection.
        #[expect(dead_code, reason = "held for its drop")]
        driver: Arc<Driver>,
    },
    /// HTTP/2: many at a time.
    Two {
        sender: http2::SendRequest<Body>,
        /// The end of the connection, when its last user is gone.
        driver: Arc<Driver>,
    },
}

/// Ends the task that drives a connection, and so the connection.
pub(super) struct Driver(AbortHandle);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A request that brought no response.
pub(super) struct Unsent {
    pub(super) error: OutboundError,
    /// The request, when not a byte of it was sent.
    pub(super) request: Option<Box<Request<Body>>>,
    /// The connection ended, as kept ones may at any time.
    pub(super) stale: bool,
}

impl From<OutboundError> for Unsent {
    fn from(error: OutboundError) -> Self {
        Self { error, request: None, stale: false }
    }
}

/// Speaks TLS where the scheme asks for it, and then the HTTP that both sides know.
pub(super) async fn open(
    stream: TcpStream,
    destination: &Destination,
    connector: impl FnOnce() -> TlsConnector,
    header_list: Bytes,
    idle: Weak<Idle>,
) -> Result<Connection, OutboundError> {
    if destination.scheme == Scheme::Http {
        return one(stream, header_list, idle).await;
    }
    let name = tls::server_name(destination)?;
    let stream = connector().connect(name, stream).await.map_err(|error| OutboundError::of_tls(&error))?;
    if stream.get_ref().1.alpn_protocol() == Some(tls::ALPN_HTTP2) {
        two(stream, header_list, idle).await
    } else {
        one(stream, header_list, idle).await
    }
}

async fn one<S>(stream: S, header_list: Bytes, idle: Weak<Idle>) -> Result<Connection, OutboundError>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let handshake = http1::Builder::new()
        .max_buf_size(header_list.as_usize().max(BUFFER_BYTES_MIN))
        .handshake(TokioIo::new(stream))
        .await;
    let (sender, connection) = handshake.map_err(|error| OutboundError::of_exchange(&error))?;
    Ok(Connection::One { sender, driver: drive(connection, idle) })
}

async fn two<S>(stream: S, header_list: Bytes, idle: Weak<Idle>) -> Result<Connection, OutboundError>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let handshake = http2::Builder::new(TokioExecutor::new())
        .max_header_list_size(u32::try_from(header_list.0).unwrap_or(u32::MAX))
        .handshake(TokioIo::new(stream))
        .await;
    let (sender, connection) = handshake.map_err(|error| OutboundError::of_exchange(&error))?;
    Ok(Connection::Two { sender, driver: drive(connection, idle) })
}

/// Drives a connection in the current runtime until it ends or its last user is gone.
fn drive<C>(connection: C, idle: Weak<Idle>) -> Arc<Driver>
where
    C: Future<Output = hyper::Result<()>> + Send + 'static,
{
    let task = tokio::spawn(async move {
        tokio::select! {
            // Whoever waits for a response or a body on it gets the error too.
            ended = connection => if let Err(error) = ended {
                tracing::debug!(%error, "an outbound connection ended");
            },
            () = Idle::reap(idle) => {}
        }
    });
    Arc::new(Driver(task.abort_handle()))
}

impl Connection {
    /// Another hold on a connection that many can use at a time.
    pub(super) fn share(&self) -> Option<Self> {
        match self {
            Self::One { .. } => None,
            Self::Two { sender, driver } => {
                Some(Self::Two { sender: sender.clone(), driver: driver.clone() })
            }
        }
    }

    /// Whether it is certainly of no more use.
    pub(super) fn is_closed(&self) -> bool {
        match self {
            Self::One { sender, .. } => sender.is_closed(),
            Self::Two { sender, .. } => sender.is_closed(),
        }
    }

    /// Sends a request; the response's head comes back.
    pub(super) async fn send(
        &mut self,
        request: Request<Body>,
        destination: &Destination,
    ) -> Result<Response<Incoming>, Unsent> {
        match self {
            Self::One { sender, .. } => {
                let request = for_one(request, destination);
                if !matches!(timeout(READY_WAIT, sender.ready()).await, Ok(Ok(()))) {
                    return Err(Unsent {
                        error: OutboundError::ConnectionTerminated,
                        request: Some(Box::new(request)),
                        stale: true,
                    });
                }
                sender.try_send_request(request).await.map_err(unsent)
            }
            Self::Two { sender, .. } => {
                sender.try_send_request(for_two(request, destination)?).await.map_err(unsent)
            }
        }
    }
}

fn unsent(mut failed: hyper::client::conn::TrySendError<Request<Body>>) -> Unsent {
    let request = failed.take_message().map(Box::new);
    let error = failed.error();
    Unsent { error: OutboundError::of_exchange(error), request, stale: error::is_broken_off(error) }
}

/// Path in the request line, authority in `Host` (RFC 9112, 3.2.1).
pub(super) fn for_one(mut request: Request<Body>, destination: &Destination) -> Request<Body> {
    let path = path(&request);
    *request.uri_mut() = Uri::from(path);
    *request.version_mut() = Version::HTTP_11;
    let host =
        HeaderValue::try_from(destination.authority()).expect("a host that was in a URI is visible ASCII");
    request.headers_mut().insert(HOST, host);
    request
}

/// All of it in pseudo-fields (RFC 9113, 8.3.1).
fn for_two(mut request: Request<Body>, destination: &Destination) -> Result<Request<Body>, OutboundError> {
    let mut parts = http::uri::Parts::default();
    parts.scheme = Some(UriScheme::HTTPS);
    let authority = Authority::try_from(destination.authority());
    parts.authority = Some(authority.map_err(|_| OutboundError::HttpRequestUriInvalid)?);
    parts.path_and_query = Some(path(&request));
    *request.uri_mut() = Uri::from_parts(parts).map_err(|_| OutboundError::HttpRequestUriInvalid)?;
    *request.version_mut() = Version::HTTP_2;
    request.headers_mut().remove(HOST);
    Ok(request)
}

fn path(request: &Request<Body>) -> PathAndQuery {
    match request.uri().path_and_query() {
        Some(path) if path.as_str().starts_with('/') => path.clone(),
        Some(path) if path.as_str().starts_with('?') => {
            PathAndQuery::try_from(format!("/{path}")).unwrap_or(PathAndQuery::from_static("/"))
        }
        _ => PathAndQuery::from_static("/"),
    }
}
