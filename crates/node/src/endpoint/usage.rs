//! What pods use: `/metrics/resource` as metrics-server reads it, `/stats/summary` as older readers do.

use std::fmt::Write as _;

use bytes::Bytes;
use http::{Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use serde_json::{Value, json};
use shoal_api::object;

use super::{Body, with_body};
use crate::node::now;
use crate::read::text;
use crate::shared::Shared;

/// What one container uses.
struct Used {
    namespace: String,
    pod: String,
    uid: String,
    container: String,
    cpu_ns: u64,
    memory_bytes: u64,
}

fn all(shared: &Shared) -> Vec<Used> {
    let pods = shared.pods.lock();
    let mut all: Vec<Used> = pods
        .values()
        .flat_map(|here| {
            let pod = here.wanted.borrow().pod.clone();
            // What is over uses nothing, and is not shown in Kubernetes either.
            let is_over = matches!(text(&pod["status"]["phase"]), "Succeeded" | "Failed");
            here.meters.iter().filter(move |_| !is_over).map(move |(container, meter)| {
                let (cpu_ns, memory_bytes) = meter.usage();
                let (namespace, name) = (object::namespace(&pod).into(), object::name(&pod).into());
                let uid = object::uid(&pod).into();
                Used { namespace, pod: name, uid, container: container.clone(), cpu_ns, memory_bytes }
            })
        })
        .collect();
    all.sort_by(|one, other| {
        (&one.namespace, &one.pod, &one.container).cmp(&(&other.namespace, &other.pod, &other.container))
    });
    all
}

/// Seconds on the core and bytes of memory of this process, which all guests share.
fn of_process() -> (f64, u64) {
    let cpu = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: u64 = pages.split(' ').nth(1).and_then(|text| text.parse().ok()).unwrap_or_default();
    let seconds = cpu.tv_sec as f64 + cpu.tv_nsec as f64 / 1e9;
    (seconds, pages.saturating_mul(rustix::param::page_size() as u64))
}

pub(super) fn metrics(shared: &Shared) -> Response<Body> {
    let millis = now().micros() / 1000;
    let mut out = String::new();
    let mut family = |name: &str, kind: &str, help: &str, lines: &[(String, f64)]| {
        // Writing to a text does not fail.
        let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
        for (labels, value) in lines {
            let _ = writeln!(out, "{name}{labels} {value} {millis}");
        }
    };
    let used = all(shared);
    let labels = |one: &Used| {
        format!("{{container={:?},namespace={:?},pod={:?}}}", one.container, one.namespace, one.pod)
    };
    let (cpu, memory) = of_process();
    let seconds = |ns: u64| ns as f64 / 1e9;
    let cpus: Vec<_> = used.iter().map(|one| (labels(one), seconds(one.cpu_ns))).collect();
    let memories: Vec<_> = used.iter().map(|one| (labels(one), one.memory_bytes as f64)).collect();
    family("container_cpu_usage_seconds_total", "counter", "Time on the core.", &cpus);
    family("container_memory_working_set_bytes", "gauge", "Largest memory of an instance.", &memories);
    family(
        "node_cpu_usage_seconds_total",
        "counter",
        "Time on the core of this process.",
        &[(String::new(), cpu)],
    );
    family(
        "node_memory_working_set_bytes",
        "gauge",
        "Memory of this process.",
        &[(String::new(), memory as f64)],
    );
    family("resource_scrape_error", "gauge", "Whether something could not be read.", &[(String::new(), 0.0)]);
    answer("text/plain; version=0.0.4; charset=utf-8", out)
}

pub(super) fn summary(shared: &Shared) -> Response<Body> {
    let time = now().to_time();
    let (cpu, memory) = of_process();
    let mut pods: Vec<Value> = Vec::new();
    for one in all(shared) {
        let container = json!({
            "name": one.container, "cpu": {"time": time, "usageCoreNanoSeconds": one.cpu_ns},
            "memory": {"time": time, "workingSetBytes": one.memory_bytes},
        });
        match pods.last_mut().filter(|pod| pod["podRef"]["uid"] == one.uid) {
            Some(pod) => pod["containers"].as_array_mut().into_iter().for_each(|list| list.push(container.clone())),
            None => pods.push(json!({
                "podRef": {"name": one.pod, "namespace": one.namespace, "uid": one.uid}, "containers": [container],
            })),
        }
    }
    let summary = json!({
        "node": {
            "nodeName": shared.config.name, "cpu": {"time": time, "usageCoreNanoSeconds": (cpu * 1e9) as u64},
            "memory": {"time": time, "workingSetBytes": memory},
        },
        "pods": pods,
    });
    answer("application/json", summary.to_string())
}

fn answer(media_type: &'static str, text: String) -> Response<Body> {
    with_body(
        StatusCode::OK,
        media_type,
        Full::new(Bytes::from(text)).map_err(|never| match never {}).boxed_unsync(),
    )
}
