//! `managedFields` of the `scale` subresource: of all that an object has, `Scale` shows only who owns the replicas.

use serde_json::Value;

use super::managed::{Id, Managed, Operation, Owned};
use super::set::{Element, Set};
use super::track::put_managed;

/// Where each version of a kind has its number of replicas: `("apps/v1", ["spec", "replicas"])`.
pub type ReplicasPaths = [(String, Vec<String>)];

/// The version of `Scale`.
const SCALE_VERSION: &str = "autoscaling/v1";

/// The entries of a `Scale`, from those of the object.
pub fn scale_to_subresource(parent: &Value, paths: &ReplicasPaths) -> Value {
    let managed = Managed::decode(parent).unwrap_or_default();
    let mut scale = Managed::default();
    for (id, owned) in managed.0 {
        if path_of(paths, &owned.api_version).is_some_and(|path| owned.set.has(&path)) {
            let owned = Owned { api_version: SCALE_VERSION.into(), time: owned.time, set: one(&in_scale()) };
            scale.insert(id, owned);
        }
    }
    value_of(&scale)
}

/// The entries of an object, from its old ones and those of the `Scale` that was written; `version` is the object's.
/// Whoever has set the replicas through `Scale` owns them now.
pub fn scale_to_parent(parent: &Value, scale: &Value, version: &str, paths: &ReplicasPaths) -> Value {
    let (before, mut scale) =
        (Managed::decode(parent).unwrap_or_default(), Managed::decode(scale).unwrap_or_default());
    let mut after = Managed::default();
    for (id, mut owned) in before.0.clone() {
        let Some(path) = path_of(paths, &owned.api_version) else { continue };
        if owned.set.has(&path) {
            // `Scale` knows a manager that updates by its own version.
            let in_scale = Id { api_version: as_scale(&id), ..id.clone() };
            if scale.remove(&in_scale).is_none() {
                owned.set.difference(&one(&path));
            }
        }
        if !owned.set.is_empty() {
            after.insert(id, owned);
        }
    }
    let Some(path) = path_of(paths, version) else { return value_of(&after) };
    for (id, _) in scale.0.into_iter().filter(|(_, owned)| owned.set.has(&in_scale())) {
        let api_version = if id.operation == Operation::Apply { String::new() } else { version.into() };
        let id = Id { api_version, ..id };
        // Upstream looks the time up by an identity that the object's entry does not have, and so writes none.
        let before = before.0.get(&id).filter(|_| id.operation == Operation::Apply);
        let time = before.and_then(|before| before.time.clone());
        let mut set = one(&path);
        if let Some(owned) = after.remove(&id) {
            set.add(&owned.set);
        }
        after.insert(id, Owned { api_version: version.into(), time, set });
    }
    value_of(&after)
}

fn as_scale(id: &Id) -> String {
    if id.operation == Operation::Apply { String::new() } else { SCALE_VERSION.into() }
}

fn path_of(paths: &ReplicasPaths, version: &str) -> Option<Vec<Element>> {
    paths.iter().find(|(one, _)| *one == version).map(|(_, path)| elements(path))
}

fn in_scale() -> Vec<Element> {
    elements(&["spec", "replicas"])
}

fn elements(path: &[impl AsRef<str>]) -> Vec<Element> {
    path.iter().map(|name| Element::field(name.as_ref())).collect()
}

fn one(path: &[Element]) -> Set {
    let mut set = Set::default();
    set.insert(path);
    set
}

fn value_of(managed: &Managed) -> Value {
    let mut object = super::track::nothing();
    put_managed(&mut object, managed.encode());
    object["metadata"]["managedFields"].take()
}
