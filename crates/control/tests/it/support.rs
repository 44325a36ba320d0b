//! What the tests share.

use serde_json::{Value, json};
use shoal_api::field::Error;
use shoal_api::{GroupVersion, GroupVersionKind};
use shoal_control::access::{Access, Authorize, User};
use shoal_control::bootstrap::ApiServer;
use shoal_control::controllers::{self, Surroundings};
use shoal_control::plan::Controller;
use shoal_control::world::World;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// `shared/golden/NAME` in a directory above this crate: what real servers were recorded to say. It stands beside the
/// repository and not in it.
pub(crate) fn golden(name: &str) -> Option<PathBuf> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().map(|directory| directory.join("shared/golden").join(name)).find(|path| path.exists())
}

/// The kind that an object says it is.
pub(crate) fn kind_of(object: &Value) -> GroupVersionKind {
    let version = object["apiVersion"].as_str().unwrap_or_default();
    let version: GroupVersion = version.parse().expect("an apiVersion");
    version.kind(object["kind"].as_str().unwrap_or_default())
}

/// Each mistake as it is read, in lines.
pub(crate) fn lines(errors: &[Error]) -> String {
    errors.iter().map(|error| format!("{error}\n")).collect()
}

/// Allows whatever its function allows.
pub(crate) struct Rule(pub(crate) fn(&User, &Access<'_>) -> bool);

impl Authorize for Rule {
    fn allows(&self, user: &User, access: &Access<'_>) -> bool {
        (self.0)(user, access)
    }
}

/// A world with one controller, with the namespace `demo`.
pub(crate) fn world(controller: impl Controller + 'static) -> World {
    let mut world = World::new(vec![Box::new(controller)]);
    world.apply(namespace("demo"));
    world.settle();
    world
}

/// A world with every controller.
pub(crate) fn whole_world() -> World {
    World::new(controllers::all(Surroundings {
        root_ca: "CERTIFICATES".into(),
        server: ApiServer {
            addresses: vec![IpAddr::from([192, 0, 2, 1])],
            port: 6443,
            service_ip: IpAddr::from([10, 96, 0, 1]),
        },
        authorizer: Arc::new(Rule(|_, _| true)),
        definition_status: |_, _, _| None,
    }))
}

pub(crate) fn namespace(name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "uid": format!("ns-{name}")},
        "spec": {"finalizers": ["kubernetes"]}, "status": {"phase": "Active"},
    })
}

/// An object of the namespace `demo` whose identity is its name.
pub(crate) fn object(api_version: &str, kind: &str, name: &str) -> Value {
    json!({
        "apiVersion": api_version, "kind": kind,
        "metadata": {"namespace": "demo", "name": name, "uid": name},
    })
}

/// The same with owners: each kind, name and whether it blocks; all are of `apps/v1`.
pub(crate) fn owned(mut object: Value, owners: &[(&str, &str, bool)]) -> Value {
    let references: Vec<Value> = owners
        .iter()
        .map(|(kind, name, blocks)| {
            json!({
                "apiVersion": "apps/v1", "kind": kind, "name": name, "uid": name, "controller": true,
                "blockOwnerDeletion": blocks,
            })
        })
        .collect();
    object["metadata"]["ownerReferences"] = json!(references);
    object
}

/// A pod with an address that is ready or not.
pub(crate) fn pod(name: &str, ip: &str, ready: bool) -> Value {
    let mut pod = object("v1", "Pod", name);
    pod["metadata"]["labels"] = json!({"app": "web"});
    pod["spec"] = json!({
        "nodeName": "n1",
        "containers": [{"name": "c", "ports": [{"name": "http", "containerPort": 8080, "protocol": "TCP"}]}],
    });
    pod["status"] = json!({
        "phase": "Running", "podIP": ip,
        "conditions": [{"type": "Ready", "status": if ready { "True" } else { "False" }}],
    });
    pod
}
