//! A node in a directory of its own, with an API in memory. What an image does, its name says:
//! `/http`, `/hang` (never answers), `/exit-3`, `/run` (until it is stopped), `/wait` (until it is told to exit), `/last`
//! (so, too, and the process ends with it), `/say-WORD` (then exits), `/panic`, `/refuse`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http_body_util::{BodyExt as _, Full};
use parking_lot::Mutex;
use serde_json::{Value, json};
use shoal_base::drain::{Drain, Drained};
use shoal_client::fake::Fake;
use shoal_client::{Client, Error, Patch, Transport, kinds};
use shoal_node::{Agent, Config, Fetch, FetchFailure, Fetched, Image, Machine};
use shoal_runtime::fake::{FakeInvoke, FakeRuntime, command};
use shoal_runtime::{Body, CommandExit, Endpoints, Refusal, Stream, Workload, WorkloadSpec};
use tempfile::TempDir;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

const WITHIN: Duration = Duration::from_secs(40);

/// A node and its API.
pub(crate) struct World {
    pub(crate) api: Fake,
    pub(crate) client: Client,
    pub(crate) endpoints: Endpoints,
    pub(crate) endpoint: shoal_node::endpoint::Endpoint,
    /// What was loaded, newest last.
    pub(crate) loaded: Arc<Mutex<Vec<WorkloadSpec>>>,
    /// Commands that have begun, newest last.
    pub(crate) begun: Arc<Mutex<Vec<String>>>,
    /// The images that were in use each time that artifacts were tidied.
    pub(crate) tidied: Arc<Mutex<Vec<Vec<String>>>>,
    /// What was asked for, newest last.
    pub(crate) asked: Arc<Mutex<Vec<Image>>>,
    /// Tells the commands that wait to exit.
    pub(crate) enough: Arc<Notify>,
    dir: TempDir,
    drain: Drain,
    running: JoinHandle<()>,
}

/// What was asked for, and what was in use each time that artifacts were tidied.
#[derive(Clone, Default)]
struct Images {
    asked: Arc<Mutex<Vec<Image>>>,
    tidied: Arc<Mutex<Vec<Vec<String>>>>,
}

impl Fetch for Images {
    fn fetch(&self, image: Image) -> BoxFuture<'static, Result<Fetched, FetchFailure>> {
        self.asked.lock().push(image.clone());
        let found = if image.reference == "/none" {
            Err(FetchFailure { reason: "ErrImagePull", message: "there is no such image".into() })
        } else {
            let path = PathBuf::from(&image.reference);
            Ok(Fetched {
                path,
                id: format!("{}@sha256:1", image.reference),
                size_bytes: 1,
                pulled: None,
                unasked: None,
            })
        };
        Box::pin(async move { found })
    }

    fn tidy(&self, in_use: Vec<String>) -> BoxFuture<'static, ()> {
        self.tidied.lock().push(in_use);
        Box::pin(async {})
    }
}

/// An API in memory that answers some requests otherwise.
struct Odd<F> {
    api: Fake,
    answer: F,
}

impl<F> Transport for Odd<F>
where
    F: Fn(&http::Request<Bytes>) -> Option<(u16, Value)> + Send + Sync + 'static,
{
    fn send(
        &self,
        request: http::Request<Bytes>,
    ) -> BoxFuture<'static, Result<http::Response<shoal_client::Body>, Error>> {
        let Some((status, value)) = (self.answer)(&request) else { return self.api.send(request) };
        let body = Full::new(Bytes::from(value.to_string())).map_err(|never| match never {}).boxed_unsync();
        let answer = http::Response::builder().status(status).body(body).expect("an answer");
        Box::pin(async move { Ok(answer) })
    }

    fn server(&self) -> &str {
        "the odd one"
    }
}

fn load(
    spec: &WorkloadSpec,
    begun: &Arc<Mutex<Vec<String>>>,
    enough: &Arc<Notify>,
    drain: &Drain,
) -> Result<Workload, Refusal> {
    let (begins, own) = (begun.clone(), spec.name.clone());
    let name = spec.artifact.to_string_lossy().into_owned();
    let output = spec.output.clone().expect("a pod has a log");
    if let Some(word) = name.strip_prefix("/say-") {
        output.write(Stream::Stdout, word.as_bytes(), true);
        return Ok(command(async { CommandExit::Code(0) }));
    }
    if let Some(code) = name.strip_prefix("/exit-") {
        let code = code.parse().expect("a code");
        return Ok(command(async move {
            begins.lock().push(own);
            CommandExit::Code(code)
        }));
    }
    match name.as_str() {
        "/http" => {
            Ok(Workload::Http(Arc::new(FakeInvoke::new(|request: http::Request<Body>, _| async move {
                let status = if request.uri().path() == "/bad" { 500 } else { 200 };
                Ok(http::Response::builder().status(status).body(Body::whole("hello")).expect("an answer"))
            }))))
        }
        "/hang" => Ok(Workload::Http(Arc::new(FakeInvoke::new(|_, _| std::future::pending())))),
        "/wait" | "/last" => {
            let enough = enough.clone().notified_owned();
            let drain = (name == "/last").then(|| drain.clone());
            Ok(command(async move {
                begins.lock().push(own);
                enough.await;
                if let Some(drain) = drain {
                    drain.begin();
                }
                CommandExit::Code(0)
            }))
        }
        "/run" => Ok(command(async move {
            begins.lock().push(own);
            std::future::pending().await
        })),
        "/panic" => Ok(command(async { panic!("the guest was too much for us") })),
        _ => Err(Refusal::new(format!("`{name}` is no WebAssembly")).hint("build it first")),
    }
}

impl World {
    /// A node that has just started, and its API.
    pub(crate) async fn start() -> Self {
        Self::start_with(|_| ()).await
    }

    /// A node that is given something else.
    pub(crate) async fn start_with(change: impl FnOnce(&mut Config)) -> Self {
        Self::start_in(tempfile::tempdir().expect("a directory"), Fake::new(), true, change).await
    }

    /// A node whose API answers some requests otherwise: with this status and object.
    pub(crate) async fn start_at<F>(answer: F) -> Self
    where
        F: Fn(&http::Request<Bytes>) -> Option<(u16, Value)> + Send + Sync + 'static,
    {
        let api = Fake::new();
        let odd = Client::new(Arc::new(Odd { api: api.clone(), answer }), "test");
        let dir = tempfile::tempdir().expect("a directory");
        Self::start_in(dir, api, true, |config| config.client = odd).await
    }

    async fn start_in(dir: TempDir, api: Fake, wait: bool, change: impl FnOnce(&mut Config)) -> Self {
        let (loaded, begun) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(Vec::new())));
        let enough = Arc::new(Notify::new());
        let drain = Drain::new();
        let (seen, begins, waits, ends) = (loaded.clone(), begun.clone(), enough.clone(), drain.clone());
        let runtime = FakeRuntime::new(move |spec: &WorkloadSpec| {
            seen.lock().push(spec.clone());
            load(spec, &begins, &waits, &ends)
        });
        let (endpoints, images) = (Endpoints::default(), Images::default());
        let mut config = Config {
            name: "edge-1".into(),
            data: dir.path().join("node"),
            client: api.client(),
            runtime: Arc::new(runtime),
            endpoints: endpoints.clone(),
            mesh: None,
            fetch: Arc::new(images.clone()),
            machine: Machine {
                addresses: vec!["192.0.2.1".parse().expect("an address")],
                ..Machine::here(Vec::new(), 1 << 30, "1")
            },
            pod_cidr: "10.1.0.0/24".parse().expect("a net"),
            labels: BTreeMap::new(),
            port: Some(10250),
        };
        change(&mut config);
        let agent = Agent::new(config, drain.clone()).expect("an agent");
        let endpoint = agent.endpoint();
        let running = tokio::spawn(agent.run());
        let world = Self {
            client: api.client(),
            api,
            endpoints,
            endpoint,
            loaded,
            begun,
            tidied: images.tidied,
            asked: images.asked,
            enough,
            dir,
            drain,
            running,
        };
        if wait {
            world.until("the node", || world.api.requests().iter().any(|one| one.contains("leases"))).await;
        }
        world
    }

    /// Ends the agent as a process ends, and starts another in the same place.
    pub(crate) async fn restart(self, api_is_away: bool) -> Self {
        self.api.set_away(api_is_away);
        let (dir, api) = (self.dir, self.api);
        assert_eq!(self.drain.finish(WITHIN).await, Drained::Clean);
        tokio::time::timeout(WITHIN, self.running).await.expect("it ends").expect("it ends well");
        Self::start_in(dir, api, false, |_| ()).await
    }

    /// Waits until the process begins to end.
    pub(crate) async fn until_ending(&self) {
        tokio::time::timeout(WITHIN, self.drain.begun()).await.expect("the process ends");
    }

    /// Ends the agent.
    pub(crate) async fn end(self) {
        self.drain.begin();
        tokio::time::timeout(WITHIN, self.running).await.expect("it ends").expect("it ends well");
    }

    /// Binds a pod to the node.
    pub(crate) async fn pod(&self, name: &str, mut spec: Value) {
        spec["nodeName"] = json!("edge-1");
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "shop", "labels": {"app": name}},
            "spec": spec,
        });
        self.client.create(&kinds::PODS, &pod).await.expect("a pod");
    }

    /// The pod, as the API has it.
    pub(crate) async fn get(&self, name: &str) -> Option<Value> {
        self.client.get(&kinds::PODS, "shop", name).await.ok()
    }

    /// Waits until an event begins so.
    pub(crate) async fn until_event(&self, what: &str) {
        let told = async {
            while !self.reasons().await.iter().any(|one| one.starts_with(what)) {
                self.moment().await;
            }
        };
        if tokio::time::timeout(WITHIN, told).await.is_err() {
            panic!("never: {what}; {:#?}", self.reasons().await);
        }
    }

    /// Waits until the pod is as wanted.
    pub(crate) async fn until_pod(&self, name: &str, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
        let mut last = None;
        let so = async {
            loop {
                last = self.get(name).await;
                if let Some(pod) = last.as_ref().filter(|pod| is_so(pod)) {
                    return pod.clone();
                }
                self.moment().await;
            }
        };
        match tokio::time::timeout(WITHIN, so).await {
            Ok(pod) => pod,
            Err(_) => panic!("{name} never: {what}; {last:#?}; {:#?}", self.reasons().await),
        }
    }

    /// Waits until something is so.
    pub(crate) async fn until(&self, what: &str, is_so: impl Fn() -> bool) {
        let so = async {
            while !is_so() {
                self.moment().await;
            }
        };
        assert!(tokio::time::timeout(WITHIN, so).await.is_ok(), "never: {what}");
    }

    /// Waits until a pod is no longer there.
    pub(crate) async fn until_gone(&self, name: &str) {
        let gone = async {
            while self.get(name).await.is_some() {
                self.moment().await;
            }
        };
        if tokio::time::timeout(WITHIN, gone).await.is_err() {
            let requests = self.api.requests();
            let last = &requests[requests.len().saturating_sub(20)..];
            panic!("{name} never went: {:#?}; {:#?}; {last:#?}", self.get(name).await, self.reasons().await);
        }
    }

    /// Changes a pod.
    pub(crate) async fn patch(&self, name: &str, change: Value) {
        self.client.patch(&kinds::PODS, "shop", name, "", &Patch::Merge(change)).await.expect("patched");
    }

    /// Type, reason and message of all events.
    pub(crate) async fn reasons(&self) -> Vec<String> {
        let list =
            self.client.list(&kinds::EVENTS, "", &shoal_client::Select::default()).await.expect("events");
        let of = |event: &Value| {
            ["type", "reason", "message"].map(|field| event[field].as_str().unwrap_or_default().to_owned())
        };
        list.items.iter().map(|event| of(event).join(" ")).collect()
    }

    /// Where the agent's data is.
    pub(crate) fn data(&self) -> PathBuf {
        self.dir.path().join("node")
    }

    async fn moment(&self) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// A container of this image, with more fields.
pub(crate) fn container(name: &str, image: &str, more: &Value) -> Value {
    let mut container = json!({"name": name, "image": image});
    let fields = more.as_object().cloned().unwrap_or_default();
    container.as_object_mut().expect("an object").extend(fields);
    container
}

/// Whether the pod has this phase.
pub(crate) fn has_phase(phase: &'static str) -> impl Fn(&Value) -> bool {
    move |pod| pod["status"]["phase"] == phase
}

/// Whether the condition is `True`.
pub(crate) fn is_true(pod: &Value, condition: &str) -> bool {
    let conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
    conditions.into_iter().any(|one| one["type"] == condition && one["status"] == "True")
}
