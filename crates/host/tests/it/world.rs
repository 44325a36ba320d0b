//! What the tests share: a host, the guests, and a request in a line.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use bytes::Bytes;
use futures_util::StreamExt;
use http::{Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use shoal_base::drain::Drain;
use shoal_host::pool::PoolWish;
use shoal_host::{Host, HostConfig};
use shoal_runtime::{
    Account, Body, BodyError, Call, Failure, Grants, Instances, Invoke, LimitsByKind, Quiet, Refusal,
    Runtime, Workload, WorkloadSpec,
};

/// A host of its own for one test.
pub(crate) struct World {
    pub(crate) host: Host,
    pub(crate) drain: Drain,
    data: tempfile::TempDir,
}

static NEXT_ID: AtomicU64 = AtomicU64::new(1);

impl World {
    pub(crate) fn new() -> Self {
        Self::with_slots(64)
    }

    /// With pools of this many slots.
    pub(crate) fn with_slots(slots: u32) -> Self {
        Self::with_pool(PoolWish { slots_max: Some(slots), ..PoolWish::default() })
    }

    /// With pools as wished for.
    pub(crate) fn with_pool(pool: PoolWish) -> Self {
        let data = tempfile::tempdir().expect("a directory");
        let drain = Drain::new();
        let config = HostConfig { data_dir: data.path().into(), key: None, pool, drain: drain.clone() };
        Self { host: Host::new(&config).expect("a host"), drain, data }
    }

    pub(crate) fn data(&self) -> &std::path::Path {
        self.data.path()
    }

    /// Waits until no guest runs any more: one may outlive its answer by some turns.
    pub(crate) async fn idle(&self) {
        while self.drain.running() > 0 {
            tokio::task::yield_now().await;
        }
    }

    /// A metric of the host; `name` with its labels.
    pub(crate) fn metric(&self, name: &str) -> u64 {
        let metrics = self.host.metrics();
        let line = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("no {name} in {metrics}"))
    }

    pub(crate) fn load(&self, spec: &WorkloadSpec) -> Result<Workload, Refusal> {
        self.host.load(spec, &Quiet)
    }

    /// Loads a guest that answers requests.
    pub(crate) fn serve(&self, spec: &WorkloadSpec) -> Arc<dyn Invoke> {
        match self.load(spec) {
            Ok(Workload::Http(invoke)) => invoke,
            Ok(Workload::Command(_)) => panic!("{} is a command", spec.name),
            Err(refusal) => panic!("{refusal} (hint: {:?})", refusal.hint),
        }
    }
}

/// The path of a built guest.
pub(crate) fn guest(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../guests/built").join(format!("{name}.wasm"))
}

/// A guest with no grants and the default limits.
pub(crate) fn spec(name: &str) -> WorkloadSpec {
    WorkloadSpec {
        name: name.into(),
        artifact: guest(name),
        args: Vec::new(),
        grants: Grants::default(),
        limits: LimitsByKind::default(),
        instances: Instances::default(),
        namespace: String::new(),
        mesh: None,
        output: None,
    }
}

/// The context of a request that arrived just now.
pub(crate) fn call() -> Call {
    Call {
        id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
        scheme: http::uri::Scheme::HTTP,
        peer: ([127, 0, 0, 1], 40_000).into(),
        received: Instant::now(),
        account: Arc::new(Account::default()),
    }
}

/// A request for a path on `shop.test`.
pub(crate) fn request(method: &str, path: &str, body: Body) -> Request<Body> {
    Request::builder().method(method).uri(path).header("host", "shop.test").body(body).expect("a request")
}

/// A body that begins with `first` and never ends.
pub(crate) fn endless() -> Body {
    let first = Frame::data(Bytes::from_static(b"first"));
    let frames = futures_util::stream::iter([Ok::<_, BodyError>(first)]);
    Body::stream(StreamBody::new(frames.chain(futures_util::stream::pending())))
}

/// Sends a request and reads the whole answer.
pub(crate) async fn send(
    invoke: &Arc<dyn Invoke>,
    request: Request<Body>,
) -> Result<Response<Vec<u8>>, Failure> {
    let (parts, body) = invoke.invoke(request, call()).await?.into_parts();
    let body = body.collect().await.map_err(|error| match error {
        BodyError::Failed(failure) => failure,
        other => panic!("{other}"),
    })?;
    Ok(Response::from_parts(parts, body.to_bytes().to_vec()))
}

/// Gets a path and reads the answer as text.
pub(crate) async fn get(invoke: &Arc<dyn Invoke>, path: &str) -> Result<String, Failure> {
    let response = send(invoke, request("GET", path, Body::empty())).await?;
    Ok(String::from_utf8_lossy(response.body()).into_owned())
}

/// Collects what is logged on this thread.
#[derive(Clone, Default)]
pub(crate) struct Lines(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("not poisoned").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Lines {
    pub(crate) fn listen(&self) -> tracing::subscriber::DefaultGuard {
        let lines = self.clone();
        let log =
            tracing_subscriber::fmt().with_ansi(false).without_time().with_writer(move || lines.clone());
        tracing::subscriber::set_default(log.with_max_level(tracing::Level::INFO).finish())
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().expect("not poisoned")).into_owned()
    }
}
