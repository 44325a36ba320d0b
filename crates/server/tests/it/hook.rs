//! A webhook for tests: answers reviews over TLS, by a function that may be changed.

use std::convert::Infallible;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use base64::prelude::{BASE64_STANDARD, Engine as _};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use shoal_server::pki::Pki;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

/// What a webhook answers: the `response` for a `request`, without its `uid`.
type Answer = Box<dyn Fn(&Value) -> Value + Send>;

/// A webhook that listens until it is dropped.
pub(crate) struct Hook {
    /// `url` and `caBundle`.
    pub(crate) config: Value,
    asked: Arc<AtomicUsize>,
    answer: Arc<Mutex<Answer>>,
    _server: JoinSet<()>,
    _dir: tempfile::TempDir,
}

impl Hook {
    /// A webhook that answers so.
    pub(crate) async fn start(answer: impl Fn(&Value) -> Value + Send + 'static) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let pki = Pki::open(dir.path(), &[], jiff::Timestamp::now()).expect("made");
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let config = json!({
            "url": format!("https://localhost:{port}/review"),
            "caBundle": BASE64_STANDARD.encode(pki.authority().pem()),
        });
        let asked = Arc::new(AtomicUsize::new(0));
        let answer: Arc<Mutex<Answer>> = Arc::new(Mutex::new(Box::new(answer)));
        let acceptor = TlsAcceptor::from(pki.server_config());
        let (count, how) = (asked.clone(), answer.clone());
        let mut server = JoinSet::new();
        server.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, count, how) = (acceptor.clone(), count.clone(), how.clone());
                connections.spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    let service = service_fn(move |request| {
                        count.fetch_add(1, Ordering::SeqCst);
                        answered(how.clone(), request)
                    });
                    // Whoever goes away is none of the webhook's business.
                    let _ = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        });
        Self { config, asked, answer, _server: server, _dir: dir }
    }

    /// Answers otherwise from now on.
    pub(crate) fn answer(&self, answer: impl Fn(&Value) -> Value + Send + 'static) {
        *self.answer.lock().expect("no test panics with it") = Box::new(answer);
    }

    /// How often it was asked.
    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

async fn answered(
    how: Arc<Mutex<Answer>>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let body = request.into_body().collect().await.expect("a body").to_bytes();
    let mut review: Value = serde_json::from_slice(&body).expect("a review");
    let mut response = how.lock().expect("no test panics with it")(&review["request"]);
    response["uid"] = review["request"]["uid"].take();
    let answer = json!({"kind": review["kind"], "apiVersion": review["apiVersion"], "response": response});
    Ok(Response::new(Full::new(Bytes::from(answer.to_string()))))
}
