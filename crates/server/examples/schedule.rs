//! Measures the scheduler: pods that wait, onto nodes, through the API and onto the disk. `bench/schedule` runs it.
//!
//! `schedule [NODES] [PODS] [DIRECTORY]`. Pods are made while no scheduler runs; the clock runs from when one starts.

#![allow(clippy::print_stdout, reason = "a table of numbers is what it is for")]

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http::{Method, Request};
use serde_json::{Value, json};
use shoal_base::drain::Drain;
use shoal_client::Transport as _;
use shoal_control::controllers::scheduler::Scheduler;
use shoal_control::known::{NODE, POD};
use shoal_control::plan::{Controller as _, Key};
use shoal_control::snapshot::Snapshot as _;
use shoal_server::{Config, Controllers, Local, Running, start};
use shoal_store::sqlite::{Options, SqliteStore};

/// That of the binary.
#[global_allocator]
static ALLOCATOR: shoal_base::allocator::Allocator = shoal_base::allocator::Allocator;

/// Requests that make objects at the same time.
const AT_ONCE: usize = 64;
/// For anything to be done.
const WITHIN: Duration = Duration::from_secs(300);

/// A server that runs, and how it is ended.
struct Server {
    running: Running,
    drain: Drain,
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number =
        |at: usize, default: usize| arguments.get(at).and_then(|text| text.parse().ok()).unwrap_or(default);
    let (nodes, pods) = (number(0, 1000), number(1, 5000));
    let directory = arguments.get(2).cloned().unwrap_or_else(|| "target".into());
    let place = tempfile::tempdir_in(directory).expect("a directory on the disk to measure");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(measure(place.path(), nodes, pods));
}

async fn measure(place: &Path, nodes: usize, pods: usize) {
    // Nodes become ready.
    let server = Server::start(place, Controllers::All).await;
    server.create("/api/v1/nodes", (0..nodes).map(node)).await;
    let tainted = |node: &Value| node["spec"]["taints"].as_array().is_some_and(|taints| !taints.is_empty());
    server
        .until(|| !server.running.api.world.view().list(&NODE, None).iter().any(|node| tainted(node)))
        .await;
    server.end().await;
    // Pods wait.
    let server = Server::start(place, Controllers::Api).await;
    let account = Key::new(&shoal_control::known::SERVICE_ACCOUNT, "default", "default");
    server.until(|| server.running.api.world.view().get(&account.kind, "default", "default").is_some()).await;
    let began = Instant::now();
    server.create("/api/v1/namespaces/default/pods", (0..pods).map(pod)).await;
    println!("| pods made through the API, {AT_ONCE} at a time | {:.0} /s |", rate(pods, began));
    plan_alone(&server);
    server.end().await;
    // The scheduler comes.
    let server = Server::start(place, Controllers::All).await;
    let (began, cpu) = (Instant::now(), cpu_seconds());
    server.until_bound().await;
    let each = 1e6 * (cpu_seconds() - cpu) / f64::from(u32::try_from(pods).unwrap_or(u32::MAX));
    println!(
        "| pods bound to {nodes} nodes, on the disk | {:.0} /s, {each:.0} µs CPU each |",
        rate(pods, began)
    );
    server.end().await;
}

/// The CPU time of this process so far, of all its threads.
fn cpu_seconds() -> f64 {
    let usage = std::fs::read_to_string("/proc/self/stat").expect("Linux says it");
    let fields: Vec<&str> = usage.rsplit(") ").next().unwrap_or_default().split(' ').collect();
    // In hundredths, by the user and by the system.
    fields[11..13].iter().map(|ticks| ticks.parse().unwrap_or(0.0)).sum::<f64>() / 100.0
}

/// What deciding costs without writing.
fn plan_alone(server: &Server) {
    let (scheduler, key, now) = (Scheduler::default(), Key::new(&POD, "", ""), server.running.api.moment());
    let view = server.running.api.world.view();
    scheduler.plan(&view, &key, now);
    let began = Instant::now();
    let plan = scheduler.plan(&view, &key, now);
    let (count, took) = (plan.writes.len(), began.elapsed());
    println!(
        "| pods decided in one plan, nothing written | {:.0} /s ({count} in {took:.1?}) |",
        rate(count, began)
    );
}

fn rate(count: usize, since: Instant) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX)) / since.elapsed().as_secs_f64()
}

fn node(at: usize) -> Value {
    let capacity = json!({"cpu": "32", "memory": "64Gi", "pods": "110"});
    let range = format!("10.{}.{}.0/24", 64 + at / 256, at % 256);
    json!({
        "apiVersion": "v1", "kind": "Node", "metadata": {"name": format!("node-{at}")},
        "spec": {"podCIDR": range},
        "status": {
            "capacity": capacity, "allocatable": capacity,
            "conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady"}],
        },
    })
}

fn pod(at: usize) -> Value {
    let requests = json!({"cpu": "100m", "memory": "64Mi"});
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": format!("pod-{at}"), "labels": {"app": format!("app-{}", at % 10)}},
        "spec": {"containers": [{"name": "c", "image": "web:1", "resources": {"requests": requests}}]},
    })
}

impl Server {
    async fn start(place: &Path, controllers: Controllers) -> Self {
        let store = SqliteStore::open(&Options::new(place.join("store"))).expect("a store");
        let drain = Drain::new();
        let config = Config {
            data: place.to_owned(),
            listen: "127.0.0.1:0".parse().expect("an address"),
            names: Vec::new(),
            issuers: Vec::new(),
            controllers,
        };
        let running = start(config, Arc::new(store), drain.clone()).await.expect("a server");
        Self { running, drain }
    }

    async fn create(&self, path: &str, objects: impl Iterator<Item = Value>) {
        let local = Local::master(self.running.api.clone(), "bench");
        let requests = objects.map(|object| {
            let request = Request::builder()
                .method(Method::POST)
                .uri(path)
                .header("content-type", "application/json")
                .body(Bytes::from(object.to_string()))
                .expect("a request");
            local.send(request)
        });
        let mut answers = stream::iter(requests).buffer_unordered(AT_ONCE);
        while let Some(answer) = answers.next().await {
            let answer = answer.expect("an answer");
            assert!(answer.status().is_success(), "{}", answer.status());
        }
    }

    async fn until(&self, is_so: impl Fn() -> bool) {
        let began = Instant::now();
        while !is_so() {
            assert!(began.elapsed() < WITHIN, "it takes too long");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Until no pod waits. Each look goes no farther than to the first that does.
    async fn until_bound(&self) {
        let mut names: Vec<String> = {
            let pods = self.running.api.world.view().list(&POD, None);
            pods.iter().map(|pod| shoal_api::object::name(pod).to_owned()).collect()
        };
        let began = Instant::now();
        loop {
            {
                let view = self.running.api.world.view();
                let is_bound = |name: &str| {
                    let pod = view.get(&POD, "default", name).expect("it stays");
                    pod["spec"]["nodeName"].is_string()
                };
                while names.pop_if(|name| is_bound(name)).is_some() {}
            }
            if names.is_empty() {
                return;
            }
            assert!(began.elapsed() < WITHIN, "it takes too long");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn end(self) {
        self.drain.finish(Duration::from_secs(10)).await;
        self.running.ended().await;
    }
}
