//! The admin listener: metrics and health, on a thread of its own so that a busy edge still answers.

use std::convert::Infallible;
use std::future::ready;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use shoal_base::drain::Drain;
use shoal_runtime::Body;
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::config::MoreMetrics;
use crate::exposition;
use crate::metrics::Metrics;
use crate::otlp::Delivery;
use crate::routes::Routes;

/// What the admin listener shows.
pub(crate) struct Admin {
    metrics: Vec<Arc<Metrics>>,
    routes: Routes,
    delivery: Arc<Delivery>,
    more: Option<MoreMetrics>,
    drain: Drain,
}

/// Connections at once. A scraper and a few probes need no more.
const CONNECTIONS: usize = 64;

/// How long one connection may last. Scrapers that keep theirs open come back.
const CONNECTION_TIME: Duration = Duration::from_secs(60);

/// How long a request head may take.
const HEADER_READ: Duration = Duration::from_secs(5);

/// How long the thread waits before it accepts again when it could not.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What there is.
const PATHS: &str = "/metrics  counters and latencies, as Prometheus text\n\
                     /livez    200 while the process runs\n\
                     /readyz   200 while it takes new work, 503 while it drains\n";

impl Admin {
    pub(crate) fn new(
        (metrics, routes): (Vec<Arc<Metrics>>, Routes),
        delivery: Arc<Delivery>,
        more: Option<MoreMetrics>,
        drain: Drain,
    ) -> Self {
        Self { metrics, routes, delivery, more, drain }
    }

    fn answer(&self, method: &Method, path: &str) -> Response<Body> {
        if method != Method::GET && method != Method::HEAD {
            let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD are answered here\n");
            response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return response;
        }
        match path {
            "/metrics" => {
                let mut response = text(StatusCode::OK, self.metrics());
                let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
                response.headers_mut().insert(CONTENT_TYPE, kind);
                response
            }
            "/livez" => text(StatusCode::OK, "ok\n"),
            "/readyz" if self.drain.has_begun() => text(StatusCode::SERVICE_UNAVAILABLE, "draining\n"),
            "/readyz" => text(StatusCode::OK, "ok\n"),
            _ => text(StatusCode::NOT_FOUND, format!("no such path; there are:\n{PATHS}")),
        }
    }

    fn metrics(&self) -> String {
        let mut text = exposition::render(&self.metrics, &self.delivery, self.drain.has_begun());
        exposition::services(&mut text, &self.routes.services());
        if let Some(MoreMetrics(more)) = &self.more {
            text.push_str(&more());
        }
        text
    }
}

/// Answers until told to stop.
pub(crate) fn serve(runtime: &Runtime, socket: TcpListener, admin: Admin, stop: &CancellationToken) {
    let admin = Arc::new(admin);
    runtime.block_on(async {
        let listener = match tokio::net::TcpListener::from_std(socket) {
            Ok(listener) => listener,
            Err(error) => return tracing::error!(%error, "the admin listener failed"),
        };
        let slots = Arc::new(Semaphore::new(CONNECTIONS));
        let accept = async {
            loop {
                match (slots.clone().acquire_owned().await, listener.accept().await) {
                    (Ok(slot), Ok((socket, _))) => {
                        let admin = admin.clone();
                        tokio::spawn(async move {
                            connection(socket, admin).await;
                            drop(slot);
                        });
                    }
                    (_, Err(_)) | (Err(_), _) => tokio::time::sleep(ACCEPT_PAUSE).await,
                }
            }
        };
        tokio::select! {
            () = stop.cancelled() => {}
            () = accept => {}
        }
    });
}

async fn connection(socket: TcpStream, admin: Arc<Admin>) {
    let service = service_fn(move |request: Request<Incoming>| {
        ready(Ok::<_, Infallible>(admin.answer(request.method(), request.uri().path())))
    });
    let http = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_READ)
        .serve_connection(TokioIo::new(socket), service);
    // A client that breaks off, or stays too long, has no one to complain to.
    let _ = tokio::time::timeout(CONNECTION_TIME, http).await;
}

fn text(status: StatusCode, text: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(Body::whole(text));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}
