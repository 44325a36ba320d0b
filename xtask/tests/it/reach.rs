//! What no crate may reach, directly or through others: the engine is fenced into `host`.

use std::collections::{BTreeMap, VecDeque};

use serde_json::Value;

use crate::house::{self, Finding};
use crate::layers::{list, metadata};

/// A fence: packages whose names start so, and the only crates of the workspace that may reach them.
struct Fence {
    prefixes: &'static [&'static str],
    inside: &'static [&'static str],
    way_out: &'static str,
}

const FENCES: &[Fence] = &[
    Fence {
        prefixes: &["wasmtime", "cranelift", "wasmparser", "wit-"],
        inside: &["shoal-host", "shoal"],
        way_out: "go through shoal_runtime::{Invoke, Runtime}; only `host` knows the engine, only `shoal` wires it in",
    },
    Fence {
        prefixes: &["rusqlite", "libsqlite3"],
        inside: &["shoal-store", "shoal-host", "shoal-server", "shoal-node", "shoal"],
        way_out: "keep data behind the Store trait or a capability of `host`",
    },
    Fence {
        prefixes: &["clap", "indicatif"],
        inside: &["shoal-cli", "shoal"],
        way_out: "what was typed is read in `cli`, which hands on plain data",
    },
];

/// The graph of packages by name, those from elsewhere with their version, since two versions reach different things; without
/// dev-dependencies. And the members of the workspace under `crates`.
struct Graph {
    edges: BTreeMap<String, Vec<String>>,
    crates: Vec<String>,
}

fn graph(metadata: &Value) -> Graph {
    let text = |value: &Value| value.as_str().expect("a string of cargo metadata").to_string();
    let name = |package: &Value| match &package["source"] {
        Value::Null => text(&package["name"]),
        _ => format!("{} {}", text(&package["name"]), text(&package["version"])),
    };
    let names: BTreeMap<String, String> =
        list(&metadata["packages"]).map(|package| (text(&package["id"]), name(package))).collect();
    let mut edges = BTreeMap::<String, Vec<String>>::new();
    for node in list(&metadata["resolve"]["nodes"]) {
        let is_built = |dependency: &&Value| list(&dependency["dep_kinds"]).any(|kind| kind["kind"] != "dev");
        let below =
            list(&node["deps"]).filter(is_built).map(|dependency| names[&text(&dependency["pkg"])].clone());
        edges.entry(names[&text(&node["id"])].clone()).or_default().extend(below);
    }
    let crates = list(&metadata["packages"])
        .filter(|package| {
            text(&package["manifest_path"]).starts_with(&house::root().join("crates").display().to_string())
        })
        .map(|package| text(&package["name"]))
        .collect();
    Graph { edges, crates }
}

/// The shortest way from a package to one whose name starts with a prefix.
fn path(graph: &Graph, from: &str, prefixes: &[&str]) -> Option<Vec<String>> {
    let mut came_from = BTreeMap::from([(from.to_string(), None::<String>)]);
    let mut next = VecDeque::from([from.to_string()]);
    while let Some(at) = next.pop_front() {
        if at != from && prefixes.iter().any(|prefix| at.starts_with(prefix)) {
            let mut path = vec![at];
            while let Some(Some(before)) = path.last().and_then(|last| came_from.get(last)) {
                path.push(before.clone());
            }
            path.reverse();
            return Some(path);
        }
        for below in graph.edges.get(&at).into_iter().flatten() {
            if !came_from.contains_key(below) {
                came_from.insert(below.clone(), Some(at.clone()));
                next.push_back(below.clone());
            }
        }
    }
    None
}

fn check(graph: &Graph) -> Vec<Finding> {
    let mut findings = Vec::new();
    for fence in FENCES {
        for outside in graph.crates.iter().filter(|name| !fence.inside.contains(&name.as_str())) {
            if let Some(path) = path(graph, outside, fence.prefixes) {
                let what = format!("{outside} reaches {}: {}", path[path.len() - 1], path.join(" -> "));
                let manifest = format!("crates/{}/Cargo.toml", outside.trim_start_matches("shoal-"));
                findings.push(Finding::new(&manifest, 0, what, fence.way_out));
            }
        }
    }
    findings
}

#[test]
fn every_fence_holds() {
    let graph = graph(&metadata());
    house::hold("heavy dependencies stay behind their fences", check(&graph));
    assert!(
        path(&graph, "shoal-host", &["wasmtime"]).is_some(),
        "the graph is real: host does reach the engine"
    );
}

#[test]
fn a_way_around_a_fence_is_shown() {
    let edge = |from: &str, to: &[&str]| (from.to_string(), to.iter().map(ToString::to_string).collect());
    let graph = Graph {
        edges: BTreeMap::from([
            edge("shoal-edge", &["tokio", "helper"]),
            edge("helper", &["wasmtime-wasi"]),
            edge("shoal-host", &["wasmtime"]),
        ]),
        crates: vec!["shoal-edge".into(), "shoal-host".into()],
    };
    let findings = check(&graph);
    assert_eq!(findings.len(), 1);
    assert_eq!(findings[0].what, "shoal-edge reaches wasmtime-wasi: shoal-edge -> helper -> wasmtime-wasi");
}
