//! What the tests share.

use serde_json::{Value, json};
use shoal_api::field::Error;
use shoal_api::{GroupVersion, GroupVersionKind, Status};
use shoal_control::access::{Authorize, User};
use shoal_control::admission::{self, Attributes, Operation};
use shoal_control::bootstrap::ApiServer;
use shoal_control::controllers::{self, Surroundings};
use shoal_control::plan::Controller;
use shoal_control::rbac::Attributes as Asked;
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
pub(crate) struct Rule(pub(crate) fn(&User, &Asked<'_>) -> bool);

impl Authorize for Rule {
    fn allows(&self, user: &User, access: &Asked<'_>) -> bool {
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
    World::new(controllers::of_the_api(Surroundings {
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

/// A request as admission sees it.
pub(crate) struct Request {
    pub(crate) group: &'static str,
    pub(crate) resource: &'static str,
    pub(crate) subresource: &'static str,
    pub(crate) name: &'static str,
    pub(crate) operation: Operation,
    pub(crate) user: User,
    pub(crate) allows: fn(&User, &Asked<'_>) -> bool,
    pub(crate) dry_run: bool,
}

impl Request {
    /// Somebody makes or changes an object in `demo`.
    pub(crate) fn new(operation: Operation, group: &'static str, resource: &'static str) -> Self {
        Self {
            group,
            resource,
            subresource: "",
            name: "",
            operation,
            user: User { name: "jane".into(), ..User::default() },
            allows: |_, _| false,
            dry_run: false,
        }
    }

    /// Runs something that asks for attributes.
    pub(crate) fn with<T>(&self, world: &World, run: impl FnOnce(&Attributes<'_>) -> T) -> T {
        let of_cluster = ["namespaces", "nodes", "certificatesigningrequests", "priorityclasses", "csinodes"];
        let kind = GroupVersionKind::new(self.group, "v1", "Any");
        run(&Attributes {
            kind: &kind,
            group: self.group,
            resource: self.resource,
            subresource: self.subresource,
            namespace: if of_cluster.contains(&self.resource) { "" } else { "demo" },
            name: self.name,
            operation: self.operation,
            user: &self.user,
            authorizer: &Rule(self.allows),
            dry_run: self.dry_run,
            seed: 123_456_789,
            now: world.now(),
        })
    }

    /// Runs all steps: what the object becomes and the warnings, or why it is refused.
    pub(crate) fn admit(
        &self,
        world: &World,
        mut object: Value,
        old: Option<&Value>,
    ) -> Result<(Value, Vec<String>), String> {
        self.with(world, |attributes| {
            let mut warnings = admission::mutate(attributes, &mut object, old, world)?;
            warnings.extend(admission::validate(attributes, &object, old, world)?);
            Ok((object, warnings))
        })
        .map_err(|status: Status| status.message)
    }

    /// Why the object is refused; what it becomes is of no interest.
    pub(crate) fn refusal(&self, world: &World, object: Value, old: Option<&Value>) -> String {
        self.admit(world, object, old).expect_err("it is refused")
    }
}

/// A world without controllers, with the namespace `demo` and its account.
pub(crate) fn still_world() -> World {
    let mut world = World::new(Vec::new());
    world.apply(namespace("demo"));
    world.apply(object("v1", "ServiceAccount", "default"));
    world
}

/// The part of an object that a request changed or added.
pub(crate) fn change(before: &Value, after: &Value) -> Value {
    let (Value::Object(before), Value::Object(after)) = (before, after) else { return after.clone() };
    let changed = after.iter().filter(|(field, value)| before.get(*field) != Some(value));
    changed
        .map(|(field, value)| (field.clone(), change(before.get(field).unwrap_or(&json!({})), value)))
        .collect()
}
