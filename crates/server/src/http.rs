//! The socket: TLS, HTTP/1.1 and HTTP/2, limits, and the end.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use shoal_api::Status;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;

use crate::answer::{self, Answer};
use crate::api::Api;
use crate::front::{self, Caller};

/// Bytes of a request's body, as in Kubernetes.
pub const BODY_BYTES_MAX: usize = 3 << 20;
/// Connections at once. A node or controller holds one or two.
pub const CONNECTIONS_MAX: usize = 20_000;
/// Requests at once on one HTTP/2 connection: watches of a client count.
const STREAMS_MAX: u32 = 1000;
/// For a handshake.
const HANDSHAKE_TIME: Duration = Duration::from_secs(15);
/// On HTTP/1.1, from one answer to the head of the next request: as long as kube-apiserver keeps what is idle.
const IDLE_TIME: Duration = Duration::from_secs(90);
/// For the body of a request.
const BODY_TIME: Duration = Duration::from_secs(60);
/// Between pings on HTTP/2, so that dead peers are found.
const PING_EVERY: Duration = Duration::from_secs(30);
/// Before accepting again when the process is out of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves until the drain begins; connections then finish what they are at.
pub async fn serve(api: Arc<Api>, listener: TcpListener, tls: TlsAcceptor) {
    let drain = api.drain.clone();
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(permit) = room.clone().acquire_owned().await else { return };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = drain.begun() => return,
        };
        match accepted {
            Ok((stream, address)) => {
                let (api, tls, guard) = (api.clone(), tls.clone(), drain.guard());
                tokio::spawn(async move {
                    connection(api, stream, address, tls).await;
                    drop((permit, guard));
                });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn connection(api: Arc<Api>, stream: TcpStream, address: SocketAddr, tls: TlsAcceptor) {
    // Small answers should not wait for more.
    let _ = stream.set_nodelay(true);
    let Ok(Ok(stream)) = tokio::time::timeout(HANDSHAKE_TIME, tls.accept(stream)).await else { return };
    let certificates = stream.get_ref().1.peer_certificates();
    let caller = Arc::new(Caller::new(address, certificates.unwrap_or_default()));
    let drain = api.drain.clone();
    let service = service_fn(move |request| {
        let (api, caller) = (api.clone(), caller.clone());
        async move { Ok::<_, Infallible>(answered(&api, &caller, request).await) }
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(IDLE_TIME);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_EVERY);
    let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = &mut connection => ended,
        () = drain.begun() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, peer = %address, "a connection broke off");
    }
}

async fn answered(api: &Arc<Api>, caller: &Caller, request: Request<Incoming>) -> Answer {
    let (parts, body) = request.into_parts();
    match read(body).await {
        Ok(body) => front::answer(api, caller, Request::from_parts(parts, body)).await,
        Err(status) => answer::failure(&status),
    }
}

/// The whole body of a request.
async fn read(body: Incoming) -> Result<Bytes, Status> {
    use hyper::body::Body as _;
    if body.is_end_stream() {
        return Ok(Bytes::new());
    }
    let whole = tokio::time::timeout(BODY_TIME, Limited::new(body, BODY_BYTES_MAX).collect()).await;
    match whole {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            Err(Status::too_large(format!("Request entity too large: limit is {BODY_BYTES_MAX}")))
        }
        Ok(Err(error)) => Err(Status::bad_request(format!("the body cannot be read: {error}"))),
        Err(_) => {
            Err(Status::new(StatusCode::REQUEST_TIMEOUT.as_u16(), "Timeout", "the body did not come in time"))
        }
    }
}
