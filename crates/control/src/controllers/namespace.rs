//! The end of namespaces: everything in them is deleted, then their finalizer `kubernetes` is removed.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use shoal_api::time::Moment;
use shoal_api::{GroupVersionKind, Status, object};

use crate::known::NAMESPACE;
use crate::plan::{Controller, Glance, Interest, Key, Plan, Propagation, Write, after, set_condition};
use crate::snapshot::{Resource, Snapshot, is_deleted, items};

/// Most objects that one plan deletes: a namespace of 100,000 objects does not keep other namespaces waiting, and
/// a plan stays small in memory. The next plan goes on with the rest.
pub const DELETIONS_PER_PLAN_MAX: usize = 500;

/// When to look again while objects wait for finalizers of others, in seconds; their changes wake us anyway.
const LOOK_AGAIN_SECONDS: i64 = 15;

/// Deletes what is in a namespace that is being deleted.
pub struct NamespaceDeletion;

/// What is left of a namespace.
#[derive(Default)]
struct Content {
    /// To be deleted, in this order.
    doomed: Vec<Write>,
    /// How many objects are left of each resource: `pods.` to 2.
    remaining: BTreeMap<String, usize>,
    /// How many of them wait for each finalizer.
    finalizers: BTreeMap<String, usize>,
}

impl Controller for NamespaceDeletion {
    fn name(&self) -> &'static str {
        "namespace-controller"
    }

    fn interests(&self) -> Vec<Interest> {
        vec![Interest::own(&NAMESPACE), Interest::every(is_dying, its_namespace)]
    }

    fn plan(&self, world: &dyn Snapshot, key: &Key, now: Moment) -> Plan {
        let Some(namespace) = world.get(&NAMESPACE, "", &key.name).filter(|found| is_deleted(found)) else {
            return Plan::default();
        };
        let content = Content::of(world, &key.name);
        let mut plan = Plan::default();
        if content.remaining.is_empty() && ours(&namespace) {
            plan.writes.push(finalize(&namespace));
            return plan;
        }
        let conditions = [
            condition("NamespaceDeletionDiscoveryFailure", None),
            condition("NamespaceDeletionGroupVersionParsingFailure", None),
            condition("NamespaceDeletionContentFailure", None),
            condition("NamespaceContentRemaining", content.remaining_message()),
            condition("NamespaceFinalizersRemaining", content.finalizers_message()),
        ];
        plan.writes = content.doomed;
        // A failure that was told before stays told while the same objects cannot be deleted.
        plan.writes.extend(with_conditions(&namespace, &conditions, now, plan.writes.is_empty()));
        if !content.remaining.is_empty() {
            plan.requeue(after(now, LOOK_AGAIN_SECONDS));
        }
        plan
    }

    fn failed(&self, world: &dyn Snapshot, key: &Key, now: Moment, failures: &[Status]) -> Plan {
        let Some(namespace) = world.get(&NAMESPACE, "", &key.name).filter(|found| is_deleted(found)) else {
            return Plan::default();
        };
        let content = Content::of(world, &key.name);
        let errors: Vec<&str> = failures.iter().map(|status| status.message.as_str()).collect();
        let left: usize = content.remaining.values().sum();
        let message = format!(
            "Failed to delete all resource types, {left} remaining: {}",
            if let [one] = errors.as_slice() { (*one).into() } else { format!("[{}]", errors.join(", ")) }
        );
        let conditions = [
            condition("NamespaceDeletionDiscoveryFailure", None),
            condition("NamespaceDeletionGroupVersionParsingFailure", None),
            condition("NamespaceDeletionContentFailure", Some(message)),
            condition("NamespaceContentRemaining", content.remaining_message()),
            condition("NamespaceFinalizersRemaining", content.finalizers_message()),
        ];
        Plan {
            writes: with_conditions(&namespace, &conditions, now, true).into_iter().collect(),
            ..Plan::default()
        }
    }
}

impl Content {
    fn of(world: &dyn Snapshot, namespace: &str) -> Self {
        let mut content = Self::default();
        let mut resources: Vec<Resource> =
            world.resources().into_iter().filter(|resource| resource.namespaced).collect();
        resources.sort();
        for resource in resources {
            for object in world.list(&resource.kind, Some(namespace)) {
                content.count(&resource, &object);
            }
        }
        content
    }

    fn count(&mut self, resource: &Resource, object: &Value) {
        let name = format!("{}.{}", resource.plural, resource.kind.group);
        *self.remaining.entry(name).or_default() += 1;
        for finalizer in object::finalizers(object) {
            *self.finalizers.entry(finalizer.into()).or_default() += 1;
        }
        if !is_deleted(object) && self.doomed.len() < DELETIONS_PER_PLAN_MAX {
            self.doomed.push(Write::delete(&resource.kind, object, Some(Propagation::Background)));
        }
    }

    fn remaining_message(&self) -> Option<String> {
        let list =
            self.remaining.iter().map(|(name, count)| format!("{name} has {count} resource instances"));
        told("Some resources are remaining: ", list)
    }

    fn finalizers_message(&self) -> Option<String> {
        let list =
            self.finalizers.iter().map(|(name, count)| format!("{name} in {count} resource instances"));
        told("Some content in the namespace has finalizers remaining: ", list)
    }
}

/// Whatever happens in a namespace that is being deleted wakes it.
fn is_dying(world: &dyn Snapshot, _: &GroupVersionKind, object: &Glance<'_>) -> bool {
    !object.namespace.is_empty()
        && world.get(&NAMESPACE, "", object.namespace).is_some_and(|found| is_deleted(&found))
}

fn its_namespace(_: &dyn Snapshot, _: &GroupVersionKind, object: &Value) -> Vec<Key> {
    vec![Key::new(&NAMESPACE, "", object::namespace(object))]
}

fn told(beginning: &str, list: impl Iterator<Item = String>) -> Option<String> {
    let list: Vec<String> = list.collect();
    (!list.is_empty()).then(|| format!("{beginning}{}", list.join(", ")))
}

fn ours(namespace: &Value) -> bool {
    items(&namespace["spec"]["finalizers"]).any(|finalizer| finalizer == "kubernetes")
}

fn finalize(namespace: &Value) -> Write {
    let mut object = namespace.clone();
    let kept: Vec<Value> = items(&namespace["spec"]["finalizers"])
        .filter(|finalizer| *finalizer != "kubernetes")
        .cloned()
        .collect();
    object["spec"]["finalizers"] = json!(kept);
    Write::Update { kind: NAMESPACE.clone(), subresource: "finalize", object }
}

/// One condition: `failure` is what it says when its status is `True`.
fn condition(name: &str, failure: Option<String>) -> Value {
    let (good, good_reason, bad_reason) = match name {
        "NamespaceDeletionDiscoveryFailure" => {
            ("All resources successfully discovered", "ResourcesDiscovered", "DiscoveryFailed")
        }
        "NamespaceDeletionGroupVersionParsingFailure" => {
            ("All legacy kube types successfully parsed", "ParsedGroupVersions", "GroupVersionParsingFailed")
        }
        "NamespaceDeletionContentFailure" => (
            "All content successfully deleted, may be waiting on finalization",
            "ContentDeleted",
            "ContentDeletionFailed",
        ),
        "NamespaceContentRemaining" => {
            ("All content successfully removed", "ContentRemoved", "SomeResourcesRemain")
        }
        _ => ("All content-preserving finalizers finished", "ContentHasNoFinalizers", "SomeFinalizersRemain"),
    };
    match failure {
        Some(message) => json!({"type": name, "status": "True", "reason": bad_reason, "message": message}),
        None => json!({"type": name, "status": "False", "reason": good_reason, "message": good}),
    }
}

/// The namespace with these conditions; nothing when it has them. `settled` says that nothing is left to try, so
/// that a failure that was told may be taken back.
fn with_conditions(namespace: &Value, wanted: &[Value], now: Moment, settled: bool) -> Option<Write> {
    let mut conditions: Vec<Value> = items(&namespace["status"]["conditions"]).cloned().collect();
    let mut changed = namespace["status"]["phase"] != "Terminating";
    for condition in wanted {
        let failed_before =
            conditions.iter().any(|known| known["type"] == condition["type"] && known["status"] == "True");
        let unknown = !settled && condition["type"] == "NamespaceDeletionContentFailure";
        if !(unknown && failed_before) {
            changed |= set_condition(&mut conditions, condition.clone(), now);
        }
    }
    if !changed {
        return None;
    }
    let mut object = namespace.clone();
    object["status"]["phase"] = json!("Terminating");
    object["status"]["conditions"] = json!(conditions);
    Some(Write::Update { kind: NAMESPACE.clone(), subresource: "status", object })
}
