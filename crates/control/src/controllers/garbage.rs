//! Garbage collection: what an object owns goes with it, before it, or stays behind, as its deletion asked.
//!
//! Each object is planned for by its own key, and only its owner references, its dependents and its finalizers
//! count. An object that disappears wakes those that name it as an owner.

use std::sync::Arc;

use serde_json::{Value, json};
use shoal_api::time::Moment;
use shoal_api::{GroupVersionKind, object};

use crate::plan::{Controller, Event, Glance, Interest, Key, Plan, Propagation, Write, after};
use crate::snapshot::{Snapshot, is_deleted, text};

/// Finalizer of an object whose dependents are deleted first.
const FOREGROUND: &str = "foregroundDeletion";

/// Finalizer of an object whose dependents stay.
const ORPHAN: &str = "orphan";

/// When to look again for an owner whose kind is not known (a custom resource whose definition is not there yet).
const UNKNOWN_KIND_SECONDS: i64 = 30;

/// Most dependents that one plan deletes or lets go; the next plan goes on.
pub const DEPENDENTS_PER_PLAN_MAX: usize = 500;

/// Deletes what lost its owners, and holds owners whose dependents go first.
pub struct GarbageCollector;

impl Controller for GarbageCollector {
    fn name(&self) -> &'static str {
        "garbage-collector-controller"
    }

    fn interests(&self) -> Vec<Interest> {
        vec![Interest::every(concerns, woken)]
    }

    fn plan(&self, world: &dyn Snapshot, key: &Key, now: Moment) -> Plan {
        let Some(object) = world.get(&key.kind, &key.namespace, &key.name) else { return Plan::default() };
        let holds = |finalizer: &str| object::finalizers(&object).any(|held| held == finalizer);
        if is_deleted(&object) && holds(ORPHAN) {
            return orphan(world, key, &object);
        }
        if is_deleted(&object) && holds(FOREGROUND) {
            // An object that is deleted before its dependents may itself be a dependent that waits in a circle.
            return foreground(world, key, &object);
        }
        if is_deleted(&object) || object::owners(&object).next().is_none() {
            return Plan::default();
        }
        collect(world, key, &object, now)
    }
}

/// Whether [`woken`] can find anything: who is there, holds nothing and belongs to nobody wakes nobody.
fn concerns(_: &dyn Snapshot, _: &GroupVersionKind, object: &Glance<'_>) -> bool {
    !object.is_there
        || ["ownerReferences", "finalizers", "deletionTimestamp"].iter().any(|field| object.has(field))
}

/// What a change of an object wakes: itself, what it owns, and owners that wait for it.
fn woken(world: &dyn Snapshot, kind: &GroupVersionKind, object: &Value) -> Vec<Key> {
    let mut keys = Vec::new();
    let held = object::finalizers(object).any(|held| held == FOREGROUND || held == ORPHAN);
    if object::owners(object).next().is_some() || held {
        keys.push(Key::of(kind, object));
    }
    for owner in object::owners(object) {
        if let Some((key, _)) = find(world, owner, object::namespace(object)).found() {
            keys.push(key);
        }
    }
    let current = world.get(kind, object::namespace(object), object::name(object));
    let gone = current.as_ref().is_none_or(|current| object::uid(current) != object::uid(object));
    if gone || is_deleted(object) {
        let owned = world.owned_by(object::uid(object));
        keys.extend(owned.iter().map(|(kind, owned)| Key::of(kind, owned)));
    }
    keys
}

/// What an owner reference names.
enum Owner {
    Found(Key, Arc<Value>),
    /// There is none, or another one of this name.
    Absent,
    /// Nobody can say: the kind is not known, or the reference cannot hold.
    Unknown,
}

impl Owner {
    fn found(self) -> Option<(Key, Arc<Value>)> {
        if let Self::Found(key, object) = self { Some((key, object)) } else { None }
    }
}

fn find(world: &dyn Snapshot, reference: &Value, namespace: &str) -> Owner {
    let Some(resource) = world.resource(text(&reference["apiVersion"]), text(&reference["kind"])) else {
        return Owner::Unknown;
    };
    if resource.namespaced && namespace.is_empty() {
        return Owner::Unknown;
    }
    let namespace = if resource.namespaced { namespace } else { "" };
    match world.get(&resource.kind, namespace, text(&reference["name"])) {
        Some(object) if object["metadata"]["uid"] == reference["uid"] => {
            Owner::Found(Key::of(&resource.kind, &object), object)
        }
        _ => Owner::Absent,
    }
}

/// An object that is not being deleted and names owners.
fn collect(world: &dyn Snapshot, key: &Key, object: &Value, now: Moment) -> Plan {
    let mut plan = Plan::default();
    let (mut solid, mut dangling, mut waiting) = (Vec::new(), Vec::new(), Vec::new());
    for reference in object::owners(object) {
        match find(world, reference, &key.namespace) {
            Owner::Found(_, owner) if waits_for_dependents(&owner) => waiting.push(reference.clone()),
            Owner::Found(..) => solid.push(reference.clone()),
            Owner::Absent => {
                plan.events.extend(misplaced(world, key, object, reference));
                dangling.push(reference.clone());
            }
            Owner::Unknown => {
                plan.events.extend(misplaced(world, key, object, reference));
                // What cannot be decided is left alone: a definition may come back.
                plan.requeue(after(now, UNKNOWN_KIND_SECONDS));
                solid.push(reference.clone());
            }
        }
    }
    if !solid.is_empty() {
        if !dangling.is_empty() || !waiting.is_empty() {
            plan.writes.push(Write::patch_metadata(&key.kind, object, json!({"ownerReferences": solid})));
        }
        return plan;
    }
    let owned = world.owned_by(object::uid(object));
    if !waiting.is_empty() && !owned.is_empty() {
        plan.writes.extend(break_circle(object, &owned, key));
        plan.writes.push(Write::delete(&key.kind, object, Some(Propagation::Foreground)));
        return plan;
    }
    plan.writes.push(Write::delete_unchanged(&key.kind, object, Some(propagation_of(object))));
    plan
}

/// Dependents that are themselves deleted foremost would wait for this object, and this object for them.
fn break_circle(object: &Value, owned: &[(GroupVersionKind, Arc<Value>)], key: &Key) -> Option<Write> {
    let circular = owned.iter().any(|(_, dependent)| waits_for_dependents(dependent));
    let unblocked = || -> Vec<Value> {
        let mut references: Vec<Value> = object::owners(object).cloned().collect();
        references.iter_mut().for_each(|reference| reference["blockOwnerDeletion"] = json!(false));
        references
    };
    circular.then(|| Write::patch_metadata(&key.kind, object, json!({"ownerReferences": unblocked()})))
}

fn propagation_of(object: &Value) -> Propagation {
    let holds = |finalizer: &str| object::finalizers(object).any(|held| held == finalizer);
    if holds(ORPHAN) {
        Propagation::Orphan
    } else if holds(FOREGROUND) {
        Propagation::Foreground
    } else {
        Propagation::Background
    }
}

/// An owner whose dependents stay: they forget it, then it goes.
fn orphan(world: &dyn Snapshot, key: &Key, owner: &Value) -> Plan {
    let mut plan = Plan::default();
    let owned = world.owned_by(object::uid(owner));
    for (kind, dependent) in owned.iter().take(DEPENDENTS_PER_PLAN_MAX) {
        let kept: Vec<Value> =
            object::owners(dependent).filter(|held| held["uid"] != *object::uid(owner)).cloned().collect();
        plan.writes.push(Write::patch_metadata(kind, dependent, json!({"ownerReferences": kept})));
    }
    if owned.len() <= DEPENDENTS_PER_PLAN_MAX {
        plan.writes.push(Write::drop_finalizer(&key.kind, owner, ORPHAN));
    }
    plan
}

/// An owner whose dependents go first: they are deleted, and when none is left that blocks it, it goes.
fn foreground(world: &dyn Snapshot, key: &Key, owner: &Value) -> Plan {
    let mut plan = Plan::default();
    let owned = world.owned_by(object::uid(owner));
    let blocking = |dependent: &Value| {
        // An object that owns itself does not wait for itself.
        object::uid(dependent) != object::uid(owner)
            && object::owners(dependent).any(|held| held["uid"] == *object::uid(owner) && blocks(held))
    };
    let blocking: Vec<_> = owned.iter().filter(|(_, dependent)| blocking(dependent)).collect();
    if blocking.is_empty() {
        plan.writes.push(Write::drop_finalizer(&key.kind, owner, FOREGROUND));
    }
    // Those that are left are planned for by their own keys: this owner's deletion woke them.
    plan
}

fn waits_for_dependents(object: &Value) -> bool {
    is_deleted(object) && object::finalizers(object).any(|held| held == FOREGROUND)
}

fn blocks(reference: &Value) -> bool {
    reference["blockOwnerDeletion"] == true
}

/// An owner that lives in a namespace can only own what lives there too. Tells of references that say otherwise.
fn misplaced(world: &dyn Snapshot, key: &Key, object: &Value, reference: &Value) -> Option<Event> {
    let resource = world.resource(text(&reference["apiVersion"]), text(&reference["kind"]))?;
    let elsewhere =
        || world.list(&resource.kind, None).iter().any(|owner| owner["metadata"]["uid"] == reference["uid"]);
    (resource.namespaced && elsewhere()).then(|| {
        let (namespace, kind) = (&key.namespace, &resource.kind.kind);
        let version = text(&reference["apiVersion"]);
        let (name, uid) = (text(&reference["name"]), text(&reference["uid"]));
        let shown = format!("[{version}/{kind}, namespace: {namespace}, name: {name}, uid: {uid}]");
        let message = format!("ownerRef {shown} does not exist in namespace {namespace:?}");
        Event::warning(&key.kind, object, "OwnerRefInvalidNamespace", message)
    })
}
