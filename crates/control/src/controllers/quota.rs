//! What is used of each ResourceQuota, counted again when something goes away.

use serde_json::{Value, json};
use shoal_api::time::Moment;
use shoal_api::{GroupVersionKind, object};

use crate::known::{PERSISTENT_VOLUME_CLAIM, POD, RESOURCE_QUOTA, SERVICE};
use crate::plan::{Controller, Glance, Interest, Key, Plan, Write, after};
use crate::quota::{Used, total};
use crate::snapshot::{Snapshot, api_version, is_deleted, text};
use crate::words::{amounts, amounts_value};

/// How often everything is counted again, in seconds: pods whose grace is over change nothing that wakes us.
const COUNT_AGAIN_SECONDS: i64 = 300;

/// Keeps the status of ResourceQuotas.
pub struct ResourceQuotas;

impl Controller for ResourceQuotas {
    fn name(&self) -> &'static str {
        "resourcequota-controller"
    }

    fn interests(&self) -> Vec<Interest> {
        vec![Interest::own(&RESOURCE_QUOTA), Interest::every(frees, quotas_freed)]
    }

    fn plan(&self, world: &dyn Snapshot, key: &Key, now: Moment) -> Plan {
        let Some(quota) = world.get(&RESOURCE_QUOTA, &key.namespace, &key.name) else {
            return Plan::default();
        };
        let mut plan = Plan { requeue_at: Some(after(now, COUNT_AGAIN_SECONDS)), ..Plan::default() };
        let hard = amounts(&quota["spec"]["hard"]);
        let used = total(world, &quota, now);
        let known = &quota["status"];
        if amounts(&known["hard"]) == hard && amounts(&known["used"]) == used {
            return plan;
        }
        let mut quota = Value::clone(&quota);
        quota["status"] = json!({"hard": quota["spec"]["hard"], "used": amounts_value(&used)});
        plan.writes.push(Write::status(&RESOURCE_QUOTA, quota));
        plan
    }
}

/// Whether [`quotas_freed`] can find anything. Of these kinds a change may free something, of all others the end.
fn frees(_: &dyn Snapshot, kind: &GroupVersionKind, object: &Glance<'_>) -> bool {
    !object.is_there || [&*POD, &*SERVICE, &*PERSISTENT_VOLUME_CLAIM].contains(&kind)
}

/// Quotas that an object counted for and perhaps does no longer. What is made was charged by admission.
fn quotas_freed(world: &dyn Snapshot, kind: &GroupVersionKind, object: &Value) -> Vec<Key> {
    let namespace = object::namespace(object);
    if namespace.is_empty() {
        return Vec::new();
    }
    let current = world.get(kind, namespace, object::name(object));
    let gone = current.is_none_or(|current| object::uid(&current) != object::uid(object));
    let over = *kind == *POD
        && (is_deleted(object) || matches!(text(&object["status"]["phase"]), "Succeeded" | "Failed"));
    let changes = *kind == *SERVICE || *kind == *PERSISTENT_VOLUME_CLAIM;
    if !(gone || over || changes) {
        return Vec::new();
    }
    let Some(resource) = world.resource(&api_version(kind), &kind.kind) else { return Vec::new() };
    let used = Used { group: &kind.group, resource: &resource.plural, object };
    let quotas = world.list(&RESOURCE_QUOTA, Some(namespace));
    let counts = |quota: &Value| amounts(&quota["spec"]["hard"]).keys().any(|name| used.is_limited_by(name));
    quotas.iter().filter(|quota| counts(quota)).map(|quota| Key::of(&RESOURCE_QUOTA, quota)).collect()
}
