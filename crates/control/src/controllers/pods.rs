//! What controllers of pods share: in what state a pod is, whose it is, and how one is made from a template.

use std::sync::Arc;

use serde_json::{Value, json};
use shoal_api::time::Moment;
use shoal_api::{GroupVersionKind, names, object};

use crate::known::POD;
use crate::plan::{Key, Write, after, read_time};
use crate::snapshot::{Snapshot, api_version, controller_of, is_deleted, items, text};
use crate::words::selector;

/// `status.phase`; `Pending` where none is said.
pub(crate) fn phase(pod: &Value) -> &str {
    pod["status"]["phase"].as_str().filter(|phase| !phase.is_empty()).unwrap_or("Pending")
}

/// Whether a pod has ended for good.
pub fn has_ended(pod: &Value) -> bool {
    matches!(phase(pod), "Succeeded" | "Failed")
}

/// Whether a pod runs, or may come to.
pub(crate) fn is_active(pod: &Value) -> bool {
    !has_ended(pod) && !is_deleted(pod)
}

/// One of the conditions of an object.
pub(crate) fn condition<'v>(object: &'v Value, kind: &str) -> Option<&'v Value> {
    items(&object["status"]["conditions"]).find(|condition| condition["type"] == kind)
}

/// Whether a pod or a node says that it is ready.
pub fn is_ready(pod: &Value) -> bool {
    condition(pod, "Ready").is_some_and(|ready| ready["status"] == "True")
}

/// Since when a pod is in its readiness; none where it does not say.
pub(crate) fn ready_since(pod: &Value) -> Option<Moment> {
    read_time(&condition(pod, "Ready")?["lastTransitionTime"])
}

/// From when on a pod counts as available; none while it is not ready.
pub(crate) fn available_at(pod: &Value, ready_seconds_min: i64) -> Option<Moment> {
    if !is_ready(pod) {
        return None;
    }
    if ready_seconds_min <= 0 {
        return Some(Moment::from_micros(i64::MIN));
    }
    ready_since(pod).map(|since| after(since, ready_seconds_min))
}

/// When an object was made.
pub(crate) fn created(object: &Value) -> Moment {
    read_time(&object["metadata"]["creationTimestamp"]).unwrap_or_default()
}

/// A whole number of a field; 0 where there is none.
pub(crate) fn number(value: &Value) -> i64 {
    value.as_i64().unwrap_or_default()
}

/// The reference of what an owner manages to it.
pub(crate) fn managed_by(kind: &GroupVersionKind, owner: &Value) -> Value {
    json!({
        "apiVersion": api_version(kind), "kind": kind.kind, "name": object::name(owner), "uid": object::uid(owner),
        "controller": true, "blockOwnerDeletion": true,
    })
}

/// A pod as a template says, for its owner; the server chooses the end of its name.
pub(crate) fn from_template(kind: &GroupVersionKind, owner: &Value, template: &Value) -> Value {
    let stem = format!("{}-", object::name(owner));
    let stem = if names::dns1123_subdomain(&names::mask_trailing_dash(&stem)).is_empty() {
        stem
    } else {
        object::name(owner).to_owned()
    };
    let mut metadata = json!({
        "generateName": stem, "namespace": object::namespace(owner), "ownerReferences": [managed_by(kind, owner)],
    });
    for field in ["labels", "annotations", "finalizers"] {
        let given = &template["metadata"][field];
        if !given.is_null() {
            metadata[field] = given.clone();
        }
    }
    json!({"metadata": metadata, "spec": template["spec"]})
}

/// What an owner manages, and what to write so that it is so.
pub(crate) struct Claimed {
    /// Objects that are its own by now.
    pub(crate) objects: Vec<Arc<Value>>,
    /// Those that it takes, and lets go.
    pub(crate) writes: Vec<Write>,
}

/// What `owner` manages of one kind: what it selects of its own and of what nobody manages. What it manages and
/// selects no longer it lets go; an owner that is being deleted takes nothing and lets nothing go. With a `finalizer`,
/// what it takes is held by it, and what it lets go no longer is.
pub(crate) fn claim(
    world: &dyn Snapshot,
    (owner_kind, owner): (&GroupVersionKind, &Value),
    kind: &GroupVersionKind,
    finalizer: Option<&str>,
    wanted: fn(&Value) -> bool,
) -> Claimed {
    let change = |object: &Value, owners: Vec<&Value>, takes: bool| {
        let mut metadata = json!({"ownerReferences": owners});
        if let Some(finalizer) = finalizer {
            let others = object::finalizers(object).filter(|held| *held != finalizer);
            metadata["finalizers"] = others.chain(takes.then_some(finalizer)).collect();
        }
        Write::patch_metadata(kind, object, metadata)
    };
    let selector = selector(&owner["spec"]["selector"]);
    let deleted = is_deleted(owner);
    let mut claimed = Claimed { objects: Vec::new(), writes: Vec::new() };
    for owned in world.owned_of(object::uid(owner), kind) {
        let managed = controller_of(&owned).is_some_and(|by| by["uid"] == *object::uid(owner));
        if !managed || !wanted(&owned) {
            continue;
        }
        if selector.matches(&owned) {
            claimed.objects.push(owned);
        } else if !deleted {
            let others: Vec<&Value> =
                object::owners(&owned).filter(|by| by["uid"] != *object::uid(owner)).collect();
            claimed.writes.push(change(&owned, others, false));
        }
    }
    if deleted {
        return claimed;
    }
    for free in world.unmanaged(kind, object::namespace(owner)) {
        if is_deleted(&free) || !wanted(&free) || !selector.matches(&free) {
            continue;
        }
        let ours = managed_by(owner_kind, owner);
        let others = object::owners(&free).filter(|by| by["uid"] != *object::uid(owner));
        claimed.writes.push(change(&free, others.chain([&ours]).collect(), true));
        claimed.objects.push(free);
    }
    claimed
}

/// The key of what manages an object, if it is of this kind; of an object that nobody manages, all of that kind
/// that select it.
pub(crate) fn managers(world: &dyn Snapshot, kind: &GroupVersionKind, object: &Value) -> Vec<Key> {
    let namespace = object::namespace(object);
    if let Some(owner) = controller_of(object) {
        let group = text(&owner["apiVersion"]).rsplit_once('/').map_or("", |(group, _)| group);
        let is_it = owner["kind"] == *kind.kind && group == kind.group;
        return is_it.then(|| Key::new(kind, namespace, text(&owner["name"]))).into_iter().collect();
    }
    let selects = |owner: &&Arc<Value>| selector(&owner["spec"]["selector"]).matches(object);
    world.list(kind, Some(namespace)).iter().filter(selects).map(|owner| Key::of(kind, owner)).collect()
}

/// Deletes a pod as its controller does.
pub(crate) fn delete(pod: &Value) -> Write {
    Write::delete(&POD, pod, None)
}
