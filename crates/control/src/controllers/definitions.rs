//! Custom resource definitions: their status, and the end of what they define when they go.

use std::sync::Arc;

use serde_json::{Value, json};
use shoal_api::time::Moment;
use shoal_api::{GroupVersionKind, Status, object};

use crate::custom::definition::CLEANUP_FINALIZER;
use crate::known::CUSTOM_RESOURCE_DEFINITION;
use crate::plan::{Controller, Glance, Interest, Key, Plan, Propagation, Write, after, set_condition};
use crate::snapshot::{Resource, Snapshot, is_deleted, items, text};

/// Most objects that one plan deletes; the next one goes on.
pub const DELETIONS_PER_PLAN_MAX: usize = 500;

/// When to look again while objects wait for finalizers of others, in seconds.
const LOOK_AGAIN_SECONDS: i64 = 5;

/// Decides about the `status` of a definition from itself and all definitions: accepted names, whether it is
/// established. None when it is right as it is.
pub type DecideStatus = fn(definition: &Value, all: &[Arc<Value>], now: Moment) -> Option<Value>;

/// Keeps the status of definitions.
pub struct Establishing {
    /// Who knows what a definition may be called.
    pub decide: DecideStatus,
}

/// Deletes the objects of definitions that are being deleted.
pub struct Finalizing;

impl Controller for Establishing {
    fn name(&self) -> &'static str {
        "crd-establishing-controller"
    }

    fn manager(&self) -> &'static str {
        "kube-apiserver"
    }

    fn interests(&self) -> Vec<Interest> {
        // A name that one definition gives up may be what another one of its group waits for.
        vec![Interest::of(&CUSTOM_RESOURCE_DEFINITION, same_group)]
    }

    fn plan(&self, world: &dyn Snapshot, key: &Key, now: Moment) -> Plan {
        let found = world.get(&CUSTOM_RESOURCE_DEFINITION, "", &key.name);
        let Some(definition) = found.filter(|found| !is_deleted(found)) else { return Plan::default() };
        let all = world.list(&CUSTOM_RESOURCE_DEFINITION, None);
        let Some(status) = (self.decide)(&definition, &all, now) else { return Plan::default() };
        let mut definition = Value::clone(&definition);
        definition["status"] = status;
        Plan::write(Write::status(&CUSTOM_RESOURCE_DEFINITION, definition))
    }
}

impl Controller for Finalizing {
    fn name(&self) -> &'static str {
        "crd-finalizer-controller"
    }

    fn manager(&self) -> &'static str {
        "kube-apiserver"
    }

    fn interests(&self) -> Vec<Interest> {
        vec![Interest::own(&CUSTOM_RESOURCE_DEFINITION), Interest::every(is_custom, dying_definition)]
    }

    fn plan(&self, world: &dyn Snapshot, key: &Key, now: Moment) -> Plan {
        let Some(definition) = dying(world, &key.name) else { return Plan::default() };
        let objects = instances(world, &definition);
        let mut plan = Plan::default();
        if objects.is_empty() {
            let kept: Vec<&str> =
                object::finalizers(&definition).filter(|held| *held != CLEANUP_FINALIZER).collect();
            let metadata = json!({"finalizers": kept});
            let patch = Write::patch_metadata(&CUSTOM_RESOURCE_DEFINITION, &definition, metadata);
            return Plan::write(patch);
        }
        let alive = objects.iter().filter(|(_, object)| !is_deleted(object)).take(DELETIONS_PER_PLAN_MAX);
        plan.writes =
            alive.map(|(kind, object)| Write::delete(kind, object, Some(Propagation::Background))).collect();
        let message = "CustomResource deletion is in progress";
        plan.writes.extend(terminating(&definition, "True", "InstanceDeletionInProgress", message, now));
        plan.requeue(after(now, LOOK_AGAIN_SECONDS));
        plan
    }

    fn failed(&self, world: &dyn Snapshot, key: &Key, now: Moment, failures: &[Status]) -> Plan {
        let Some(definition) = dying(world, &key.name) else { return Plan::default() };
        let errors: Vec<&str> = failures.iter().map(|status| status.message.as_str()).collect();
        let message = format!("could not issue all deletes: [{}]", errors.join(", "));
        let write = terminating(&definition, "True", "InstanceDeletionFailed", &message, now);
        Plan { writes: write.into_iter().collect(), ..Plan::default() }
    }
}

/// A definition that is being deleted and still holds its objects.
fn dying(world: &dyn Snapshot, name: &str) -> Option<Arc<Value>> {
    let definition = world.get(&CUSTOM_RESOURCE_DEFINITION, "", name)?;
    let ours = object::finalizers(&definition).any(|held| held == CLEANUP_FINALIZER);
    (is_deleted(&definition) && ours).then_some(definition)
}

/// Whether a definition defines a resource. The plural tells: it stands in the definition's own name, so no other one of
/// the group can have it. A kind that was not accepted is another definition's.
fn defines(definition: &Value, resource: &Resource) -> bool {
    let spec = &definition["spec"];
    spec["group"] == *resource.kind.group && spec["names"]["plural"] == *resource.plural
}

/// The objects that a definition defines.
fn instances(world: &dyn Snapshot, definition: &Value) -> Vec<(GroupVersionKind, Arc<Value>)> {
    let resources = world.resources();
    let ours = resources.into_iter().filter(|resource| defines(definition, resource));
    let objects = |Resource { kind, .. }: Resource| {
        world.list(&kind, None).into_iter().map(move |object| (kind.clone(), object))
    };
    ours.flat_map(objects).collect()
}

fn same_group(world: &dyn Snapshot, _: &GroupVersionKind, definition: &Value) -> Vec<Key> {
    let group = text(&definition["spec"]["group"]);
    let all = world.list(&CUSTOM_RESOURCE_DEFINITION, None);
    let related = all.iter().filter(|other| other["spec"]["group"] == group);
    related.map(|other| Key::of(&CUSTOM_RESOURCE_DEFINITION, other)).collect()
}

/// Built-in groups have no definitions; most of them have no point in their name.
fn is_custom(_: &dyn Snapshot, kind: &GroupVersionKind, _: &Glance<'_>) -> bool {
    kind.group.contains('.')
}

/// A custom object that goes may be what a definition of its group waits for.
fn dying_definition(world: &dyn Snapshot, kind: &GroupVersionKind, _: &Value) -> Vec<Key> {
    let all = world.list(&CUSTOM_RESOURCE_DEFINITION, None);
    let ours =
        all.iter().filter(|definition| is_deleted(definition) && definition["spec"]["group"] == *kind.group);
    ours.map(|definition| Key::of(&CUSTOM_RESOURCE_DEFINITION, definition)).collect()
}

fn terminating(definition: &Value, status: &str, reason: &str, message: &str, now: Moment) -> Option<Write> {
    let mut conditions: Vec<Value> = items(&definition["status"]["conditions"]).cloned().collect();
    let condition = json!({"type": "Terminating", "status": status, "reason": reason, "message": message});
    if !set_condition(&mut conditions, condition, now) {
        return None;
    }
    let mut object = definition.clone();
    object["status"]["conditions"] = json!(conditions);
    Some(Write::status(&CUSTOM_RESOURCE_DEFINITION, object))
}
