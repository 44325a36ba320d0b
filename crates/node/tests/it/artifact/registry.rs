//! A registry in this process. It holds what it is given, takes what is pushed, notes what it is asked, and fails as it
//! is told to.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt as _;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use serde_json::{Value, json};
use shoal_node::artifact::Digest;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_util::task::AbortOnDropHandle;

/// A request that came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) method: Method,
    /// Path and query.
    pub(crate) path: String,
    pub(crate) authorization: Option<String>,
    pub(crate) range: Option<String>,
    pub(crate) body: Bytes,
    /// How many of this method and path came before.
    pub(crate) before: usize,
}

impl Seen {
    /// Whether it is this, as in `GET /v2/`.
    pub(crate) fn is(&self, method: &str, part: &str) -> bool {
        self.method == method && self.path.contains(part)
    }
}

/// What is done instead of what should be.
pub(crate) enum Fault {
    /// An answer without a body that matters.
    Status(u16, Vec<(&'static str, String)>),
    /// Another body, under the status 200.
    Body(Bytes),
    /// The right answer, cut off after so many bytes.
    Cut(usize),
    /// The right answer, after so many bytes of which nothing comes any more.
    Stall(usize),
}

type Rule = Box<dyn Fn(&Seen) -> Option<Fault> + Send + Sync>;
type Body = UnsyncBoxBody<Bytes, std::io::Error>;

#[derive(Default)]
struct State {
    manifests: Mutex<HashMap<String, (String, Bytes)>>,
    blobs: Mutex<HashMap<Digest, Bytes>>,
    seen: Mutex<Vec<Seen>>,
    rule: Mutex<Option<Rule>>,
}

/// A registry that serves while it is there.
pub(crate) struct Registry {
    pub(crate) address: SocketAddr,
    state: Arc<State>,
    _server: AbortOnDropHandle<()>,
}

impl Registry {
    pub(crate) async fn start() -> Self {
        Self::serve(None).await
    }

    pub(crate) async fn serve(tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let address = listener.local_addr().expect("its address");
        let state = Arc::<State>::default();
        let server = tokio::spawn(accept(listener, tls, state.clone()));
        Self { address, state, _server: AbortOnDropHandle::new(server) }
    }

    /// The name of an image here.
    pub(crate) fn name(&self, rest: &str) -> String {
        format!("{}/{rest}", self.address)
    }

    pub(crate) fn fail(&self, rule: impl Fn(&Seen) -> Option<Fault> + Send + Sync + 'static) {
        *self.state.rule.lock() = Some(Box::new(rule));
    }

    pub(crate) fn heal(&self) {
        *self.state.rule.lock() = None;
    }

    /// What was asked, as in `GET /v2/app/manifests/1`.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.seen().iter().map(|seen| format!("{} {}", seen.method, seen.path)).collect()
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.state.seen.lock().clone()
    }

    pub(crate) fn forget(&self) {
        self.state.seen.lock().clear();
    }

    pub(crate) fn blob(&self, content: impl Into<Bytes>) -> Value {
        let content = content.into();
        let digest = Digest::of(&content);
        let descriptor = json!({"mediaType": "application/wasm", "digest": digest, "size": content.len()});
        self.state.blobs.lock().insert(digest, content);
        descriptor
    }

    /// Puts a document under a name, as in `app:1`, and under its digest.
    pub(crate) fn document(&self, name: &str, media_type: &str, document: &Value) -> Digest {
        let (repository, tag) = name.split_once(':').expect("a tag");
        let body = Bytes::from(document.to_string());
        let digest = Digest::of(&body);
        for version in [tag.to_string(), digest.to_string()] {
            let path = format!("/v2/{repository}/manifests/{version}");
            self.state.manifests.lock().insert(path, (media_type.into(), body.clone()));
        }
        digest
    }

    /// Puts a Wasm artifact under a name. Comes back with the digest of its manifest.
    pub(crate) fn wasm(&self, name: &str, content: &[u8]) -> Digest {
        let layer = self.blob(content.to_vec());
        let mut config = self.blob("{}");
        config["mediaType"] = json!("application/vnd.wasm.config.v0+json");
        let manifest =
            json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [layer]});
        self.document(name, MANIFEST, &manifest)
    }

    pub(crate) fn pushed(&self, path: &str) -> Option<Value> {
        let manifests = self.state.manifests.lock();
        manifests.get(path).and_then(|(_, body)| serde_json::from_slice(body).ok())
    }

    pub(crate) fn content(&self, digest: &str) -> Option<Bytes> {
        self.state.blobs.lock().get(&digest.parse().ok()?).cloned()
    }
}

pub(crate) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const INDEX: &str = "application/vnd.oci.image.index.v1+json";

async fn accept(listener: TcpListener, tls: Option<TlsAcceptor>, state: Arc<State>) {
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let (tls, state) = (tls.clone(), state.clone());
        connections.spawn(async move {
            let service = service_fn(move |request| answer(state.clone(), request));
            let http = hyper::server::conn::http1::Builder::new();
            match tls {
                None => drop(http.serve_connection(TokioIo::new(stream), service).await),
                Some(tls) => {
                    let Ok(stream) = tls.accept(stream).await else { return };
                    drop(http.serve_connection(TokioIo::new(stream), service).await);
                }
            }
        });
    }
}

async fn answer(state: Arc<State>, request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
    let (head, body) = request.into_parts();
    let Ok(body) = body.collect().await else { return Ok(plain(StatusCode::BAD_REQUEST, "")) };
    let path = head.uri.path_and_query().map_or("/", |path| path.as_str()).to_string();
    let text = |name| head.headers.get(name).and_then(|value| value.to_str().ok()).map(String::from);
    let mut seen = Seen {
        method: head.method.clone(),
        path,
        authorization: text(header::AUTHORIZATION),
        range: text(header::RANGE),
        body: body.to_bytes(),
        before: 0,
    };
    {
        let mut all = state.seen.lock();
        seen.before = all.iter().filter(|old| old.method == seen.method && old.path == seen.path).count();
        all.push(seen.clone());
    }
    let fault = state.rule.lock().as_ref().and_then(|rule| rule(&seen));
    Ok(match fault {
        Some(Fault::Status(status, headers)) => {
            let mut response = plain(StatusCode::from_u16(status).expect("a status"), "{}");
            for (name, value) in headers {
                response.headers_mut().append(name, value.parse().expect("a value"));
            }
            response
        }
        Some(Fault::Body(body)) => plain(StatusCode::OK, body),
        Some(Fault::Cut(length)) => broken(right(&state, &seen), length, true).await,
        Some(Fault::Stall(length)) => broken(right(&state, &seen), length, false).await,
        None => right(&state, &seen),
    })
}

/// The answer of a registry that works.
fn right(state: &State, seen: &Seen) -> Response<Body> {
    let path = seen.path.split('?').next().expect("a path");
    match seen.method {
        Method::GET | Method::HEAD if path.contains("/manifests/") => {
            let manifests = state.manifests.lock();
            let Some((media_type, body)) = manifests.get(path) else { return missing() };
            let mut response = plain(StatusCode::OK, body.clone());
            let digest = Digest::of(body).to_string();
            response.headers_mut().insert(header::CONTENT_TYPE, media_type.parse().expect("a value"));
            response.headers_mut().insert("docker-content-digest", digest.parse().expect("a value"));
            response
        }
        Method::GET | Method::HEAD => {
            let digest = path.rsplit('/').next().and_then(|digest| digest.parse().ok());
            match digest.and_then(|digest: Digest| state.blobs.lock().get(&digest).cloned()) {
                Some(content) => ranged(content, seen.range.as_deref()),
                None => missing(),
            }
        }
        Method::POST => {
            with(plain(StatusCode::ACCEPTED, ""), header::LOCATION, &format!("{path}one?state=x"))
        }
        Method::PUT if path.contains("/manifests/") => {
            let digest = Digest::of(&seen.body);
            let (repository, _) = path.rsplit_once('/').expect("a version");
            for path in [path.to_string(), format!("{repository}/{digest}")] {
                state.manifests.lock().insert(path, (MANIFEST.into(), seen.body.clone()));
            }
            plain(StatusCode::CREATED, "")
        }
        Method::PUT => {
            let digest = Digest::of(&seen.body);
            if !seen.path.ends_with(&format!("?state=x&digest={digest}")) {
                return plain(StatusCode::BAD_REQUEST, "another digest");
            }
            state.blobs.lock().insert(digest, seen.body.clone());
            plain(StatusCode::CREATED, "")
        }
        _ => plain(StatusCode::METHOD_NOT_ALLOWED, ""),
    }
}

fn ranged(content: Bytes, range: Option<&str>) -> Response<Body> {
    let from = range.and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse::<usize>().ok());
    match from {
        None => plain(StatusCode::OK, content),
        Some(from) if from >= content.len() => plain(StatusCode::RANGE_NOT_SATISFIABLE, ""),
        Some(from) => {
            let range = format!("bytes {from}-{}/{}", content.len() - 1, content.len());
            with(plain(StatusCode::PARTIAL_CONTENT, content.slice(from..)), header::CONTENT_RANGE, &range)
        }
    }
}

fn missing() -> Response<Body> {
    let body = json!({"errors": [{"code": "MANIFEST_UNKNOWN", "message": "manifest unknown"}]});
    plain(StatusCode::NOT_FOUND, body.to_string())
}

fn plain(status: StatusCode, body: impl Into<Bytes>) -> Response<Body> {
    let body = Full::new(body.into()).map_err(|never| match never {}).boxed_unsync();
    Response::builder().status(status).body(body).expect("an answer")
}

fn with(mut response: Response<Body>, name: header::HeaderName, value: &str) -> Response<Body> {
    response.headers_mut().insert(name, value.parse().expect("a value"));
    response
}

/// The answer with its length, of which only a part comes.
async fn broken(response: Response<Body>, length: usize, hangs_up: bool) -> Response<Body> {
    let (mut head, body) = response.into_parts();
    let body = body.collect().await.expect("it is whole").to_bytes();
    head.headers.insert(header::CONTENT_LENGTH, body.len().into());
    let first = futures_util::stream::iter([Ok(Frame::data(body.slice(..length.min(body.len()))))]);
    let end = async move {
        if !hangs_up {
            std::future::pending::<()>().await;
        }
        // What was written before goes out.
        tokio::task::yield_now().await;
        Err(std::io::Error::other("cut"))
    };
    let body = StreamBody::new(first.chain(futures_util::stream::once(end))).boxed_unsync();
    Response::from_parts(head, body)
}
