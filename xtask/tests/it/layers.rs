//! Dependencies point down only; crates of one level do not know each other.

use std::collections::BTreeMap;
use std::process::Command;

use serde_json::Value;

use crate::house::{self, Finding};

/// The levels of the house (ARCHITECTURE.md). A crate depends on crates of lower levels only.
const LEVELS: &[(&str, u32)] = &[
    ("shoal-base", 0),
    ("shoal-api", 0),
    ("shoal-store", 1),
    ("shoal-client", 1),
    ("shoal-runtime", 1),
    ("shoal-control", 2),
    ("shoal-server", 3),
    ("shoal-docker", 3),
    ("shoal-node", 3),
    ("shoal-edge", 3),
    ("shoal-host", 3),
    ("shoal-cli", 3),
    ("shoal", 4),
];

/// A crate of the workspace and what its manifest names.
pub(crate) struct Member {
    pub(crate) name: String,
    /// Path of the manifest from the root.
    pub(crate) manifest: String,
    pub(crate) dependencies: Vec<String>,
}

/// What `cargo metadata` says, once for all tests of a process. Of the dependencies for this machine alone: building the tests
/// has fetched no others.
pub(crate) fn metadata() -> Value {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let here = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let output = Command::new(cargo)
        .args(["metadata", "--format-version", "1", "--locked", "--offline", "--filter-platform", &here])
        .current_dir(house::root())
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("cargo metadata is JSON")
}

/// The crates of the workspace.
pub(crate) fn members(metadata: &Value) -> Vec<Member> {
    let root = house::root();
    let text = |value: &Value| value.as_str().expect("a string of cargo metadata").to_string();
    let ids: Vec<String> = list(&metadata["workspace_members"]).map(text).collect();
    list(&metadata["packages"])
        .filter(|package| ids.contains(&text(&package["id"])))
        .map(|package| {
            let manifest = text(&package["manifest_path"]);
            let manifest =
                manifest.strip_prefix(&format!("{}/", root.display())).unwrap_or(&manifest).to_string();
            let dependencies =
                list(&package["dependencies"]).map(|dependency| text(&dependency["name"])).collect();
            Member { name: text(&package["name"]), manifest, dependencies }
        })
        .collect()
}

/// The elements of an array.
pub(crate) fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().expect("an array of cargo metadata").iter()
}

fn check(members: &[Member]) -> Vec<Finding> {
    let levels: BTreeMap<&str, u32> = LEVELS.iter().copied().collect();
    let mut findings = Vec::new();
    for member in members {
        let is_crate = member.manifest.starts_with("crates/");
        let level = levels.get(member.name.as_str()).copied();
        if is_crate && level.is_none() {
            findings.push(Finding::new(
                &member.manifest,
                0,
                format!("the crate {} has no level", member.name),
                "add it to LEVELS in xtask/tests/it/layers.rs and to ARCHITECTURE.md, or make it a module",
            ));
        }
        let ours = |name: &&String| members.iter().any(|other| other.name == **name);
        for dependency in member.dependencies.iter().filter(ours) {
            let below = levels.get(dependency.as_str()).copied();
            let fits = match (level, below) {
                (Some(level), Some(below)) => below < level,
                // Tools may know every crate; no crate may know a tool.
                (None, _) => true,
                (Some(_), None) => false,
            };
            if !fits {
                findings.push(Finding::new(
                    &member.manifest,
                    0,
                    format!("{} depends on {dependency}, which is not below it", member.name),
                    "move what is shared to a lower crate, or pass it through a trait of the wall between them",
                ));
            }
        }
    }
    findings
}

#[test]
fn dependencies_point_down() {
    house::hold("dependencies point down only", check(&members(&metadata())));
}

#[test]
fn an_edge_up_or_sideways_is_found() {
    let member = |name: &str, manifest: &str, dependencies: &[&str]| Member {
        name: name.into(),
        manifest: manifest.into(),
        dependencies: dependencies.iter().map(ToString::to_string).collect(),
    };
    let findings = check(&[
        member("shoal-base", "crates/base/Cargo.toml", &["shoal-runtime", "serde"]),
        member("shoal-runtime", "crates/runtime/Cargo.toml", &["shoal-base"]),
        member("shoal-edge", "crates/edge/Cargo.toml", &["shoal-host", "shoal-runtime", "xtask"]),
        member("shoal-host", "crates/host/Cargo.toml", &["shoal-runtime"]),
        member("shoal-misc", "crates/misc/Cargo.toml", &[]),
        member("xtask", "xtask/Cargo.toml", &["shoal-edge"]),
    ]);
    let whats: Vec<&str> = findings.iter().map(|finding| finding.what.as_str()).collect();
    assert_eq!(
        whats,
        [
            "shoal-base depends on shoal-runtime, which is not below it",
            "shoal-edge depends on shoal-host, which is not below it",
            "shoal-edge depends on xtask, which is not below it",
            "the crate shoal-misc has no level",
        ]
    );
}
