//! The class of claims and ingresses that name none.

use std::cmp::Reverse;
use std::sync::Arc;

use serde_json::{Value, json};
use shoal_api::{GroupVersionKind, Status, object};

use super::{Attributes, Operation};
use crate::known::{INGRESS_CLASS, STORAGE_CLASS};
use crate::plan::read_time;
use crate::snapshot::Snapshot;

pub(super) fn storage(
    attributes: &Attributes<'_>,
    claim: &mut Value,
    _: Option<&Value>,
    world: &dyn Snapshot,
) -> Result<Vec<String>, Status> {
    let says = !claim["spec"]["storageClassName"].is_null()
        || object::annotation(claim, "volume.beta.kubernetes.io/storage-class").is_some();
    if attributes.is("", "persistentvolumeclaims", &[Operation::Create]) && !says {
        let annotations = [
            "storageclass.kubernetes.io/is-default-class",
            "storageclass.beta.kubernetes.io/is-default-class",
        ];
        if let Some(class) = default(world, &STORAGE_CLASS, &annotations) {
            claim["spec"]["storageClassName"] = json!(object::name(&class));
        }
    }
    Ok(Vec::new())
}

pub(super) fn ingress(
    attributes: &Attributes<'_>,
    ingress: &mut Value,
    _: Option<&Value>,
    world: &dyn Snapshot,
) -> Result<Vec<String>, Status> {
    let says = !ingress["spec"]["ingressClassName"].is_null()
        || object::annotation(ingress, "kubernetes.io/ingress.class").is_some();
    if attributes.is("networking.k8s.io", "ingresses", &[Operation::Create]) && !says {
        let class = default(world, &INGRESS_CLASS, &["ingressclass.kubernetes.io/is-default-class"]);
        if let Some(class) = class {
            ingress["spec"]["ingressClassName"] = json!(object::name(&class));
        }
    }
    Ok(Vec::new())
}

/// The newest class that is marked as the default; by name where they are of one age.
fn default(world: &dyn Snapshot, kind: &GroupVersionKind, annotations: &[&str]) -> Option<Arc<Value>> {
    let marked = |class: &Arc<Value>| {
        annotations.iter().any(|annotation| object::annotation(class, annotation) == Some("true"))
    };
    let defaults = world.list(kind, None).into_iter().filter(marked);
    defaults.min_by_key(|class| {
        let made = read_time(&class["metadata"]["creationTimestamp"]);
        (Reverse(made), object::name(class).to_string())
    })
}
