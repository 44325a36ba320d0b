//! What the API server asks of a node: logs, ports, health, what pods use. The paths are those of the kubelet.

mod forward;
mod logs;
pub mod spdy;
mod usage;

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls_pki_types::CertificateDer;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_rustls::TlsAcceptor;

use crate::shared::Shared;

/// Connections at once: followed logs and tunnels hold one each.
const CONNECTIONS_MAX: usize = 1024;
/// For a handshake, and for the head of a request.
const HEAD_TIME: Duration = Duration::from_secs(15);
/// Before accepting again when the process is out of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// The name in the certificate with which API servers ask nodes.
const API_SERVER: &str = "kube-apiserver-kubelet-client";
/// Whoever has this in their certificate may ask everything.
const MASTERS: &str = "system:masters";

/// The body of an answer.
pub(crate) type Body = UnsyncBoxBody<Bytes, io::Error>;

/// Answers what is asked of a node. Cheap to clone.
#[derive(Clone)]
pub struct Endpoint(Arc<Shared>);

impl Endpoint {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self(shared)
    }

    /// Serves until the drain begins. `tls` must ask for client certificates and believe those of the cluster's authority
    /// only: of these, the API server's own and those of administrators are let in.
    pub async fn serve(self, listener: TcpListener, tls: TlsAcceptor) {
        let drain = self.0.drain.clone();
        let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        loop {
            let Ok(permit) = room.clone().acquire_owned().await else { return };
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = drain.begun() => return,
            };
            match accepted {
                Ok((stream, _)) => {
                    let (endpoint, tls, guard) = (self.clone(), tls.clone(), drain.guard());
                    tokio::spawn(async move {
                        endpoint.connection(stream, tls, Arc::new(permit)).await;
                        drop(guard);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "the node cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    async fn connection(self, stream: TcpStream, tls: TlsAcceptor, permit: Arc<OwnedSemaphorePermit>) {
        let Ok(Ok(stream)) = tokio::time::timeout(HEAD_TIME, tls.accept(stream)).await else { return };
        let is_known = stream.get_ref().1.peer_certificates().and_then(<[_]>::first).is_some_and(may_ask);
        let drain = self.0.drain.clone();
        let service = service_fn(move |request: Request<Incoming>| {
            let (endpoint, permit) = (self.clone(), permit.clone());
            async move {
                let answer =
                    if is_known { endpoint.connected(request, permit).await } else { unauthorized() };
                Ok::<_, Infallible>(answer)
            }
        });
        let mut builder = http1::Builder::new();
        builder.timer(TokioTimer::new()).header_read_timeout(HEAD_TIME);
        let connection = builder.serve_connection(TokioIo::new(stream), service).with_upgrades();
        tokio::select! {
            ended = connection => {
                if let Err(error) = ended {
                    tracing::debug!(%error, "a connection to the node broke off");
                }
            }
            () = drain.begun() => {}
        }
    }

    /// Answers a request that came over a connection, which may become something else. The permit is that of the
    /// connection.
    async fn connected(
        &self,
        request: Request<Incoming>,
        permit: Arc<OwnedSemaphorePermit>,
    ) -> Response<Body> {
        let path = request.uri().path().to_owned();
        match path.trim_matches('/').split('/').collect::<Vec<_>>().as_slice() {
            ["portForward", namespace, pod] => forward::answer(&self.0, (*namespace, *pod), request, permit),
            _ => self.answer(&request).await,
        }
    }

    /// Answers one request of someone who may ask, over a connection that stays as it is.
    pub async fn answer<B>(&self, request: &Request<B>) -> Response<Body> {
        if request.method() != Method::GET {
            return text(StatusCode::METHOD_NOT_ALLOWED, "only GET is known here");
        }
        let path = request.uri().path();
        let query = request.uri().query().unwrap_or_default();
        match path.trim_matches('/').split('/').collect::<Vec<_>>().as_slice() {
            ["healthz"] => text(StatusCode::OK, "ok"),
            ["metrics", "resource"] => usage::metrics(&self.0),
            ["stats", "summary"] => usage::summary(&self.0),
            ["containerLogs", namespace, pod, container] => {
                logs::answer(&self.0, namespace, pod, container, query).await
            }
            _ => text(StatusCode::NOT_FOUND, "404 page not found"),
        }
    }
}

/// Whether this certificate is that of an API server or an administrator.
fn may_ask(certificate: &CertificateDer<'_>) -> bool {
    let Ok((_, certificate)) = x509_parser::parse_x509_certificate(certificate) else { return false };
    let subject = certificate.subject();
    let is_server =
        subject.iter_common_name().filter_map(|name| name.as_str().ok()).any(|name| name == API_SERVER);
    is_server || subject.iter_organization().filter_map(|name| name.as_str().ok()).any(|name| name == MASTERS)
}

fn unauthorized() -> Response<Body> {
    text(StatusCode::UNAUTHORIZED, "Unauthorized")
}

/// An answer in words.
pub(crate) fn text(status: StatusCode, text: impl Into<Bytes>) -> Response<Body> {
    with_body(
        status,
        "text/plain; charset=utf-8",
        Full::new(text.into()).map_err(|never| match never {}).boxed_unsync(),
    )
}

/// An answer.
pub(crate) fn with_body(status: StatusCode, media_type: &'static str, body: Body) -> Response<Body> {
    let mut answer = Response::new(body);
    *answer.status_mut() = status;
    answer.headers_mut().insert(header::CONTENT_TYPE, http::HeaderValue::from_static(media_type));
    answer
}
