//! Namespaces.

use serde_json::{Value, json};
use shoal_api::field::Path;

use super::faults::Faults;
use super::look::{child, given, list, set, set_empty, text, texts};
use super::{meta, words};

/// What keeps a namespace until all in it is gone.
const FINALIZER: &str = "kubernetes";

/// A namespace: labelled with its name, active.
pub(super) fn default(namespace: &mut Value) {
    let name = text(&namespace["metadata"], "name").to_owned();
    if let Some(labels) = child(namespace, "metadata").and_then(|meta| child(meta, "labels"))
        && !name.is_empty()
    {
        set(labels, "kubernetes.io/metadata.name", name);
    }
    if let Some(status) = child(namespace, "status") {
        set_empty(status, "phase", "Active");
    }
}

/// A namespace is kept until it is empty.
pub(super) fn prepare_create(namespace: &mut Value) {
    set(namespace, "status", json!({"phase": "Active"}));
    let Some(spec) = child(namespace, "spec") else { return };
    if !texts(spec, "finalizers").contains(&FINALIZER) {
        let mut finalizers = list(spec, "finalizers").to_vec();
        finalizers.push(json!(FINALIZER));
        set(spec, "finalizers", finalizers);
    }
}

/// Finalizers change through `finalize` alone.
pub(super) fn prepare_update(subresource: &str, new: &mut Value, old: &Value) {
    match subresource {
        "finalize" => set(new, "status", old["status"].clone()),
        _ => set(new, "spec", old["spec"].clone()),
    }
}

/// A namespace that is made.
pub(super) fn validate(namespace: &Value, faults: &mut Faults) {
    let path = Path::new("spec.finalizers");
    for finalizer in texts(&namespace["spec"], "finalizers") {
        faults.words(&path, finalizer, words::qualified_name(finalizer));
        meta::plain_finalizer(finalizer, &path, faults);
    }
}

/// A namespace that is changed, emptied or finalized.
pub(super) fn validate_update(subresource: &str, new: &Value, _old: &Value, faults: &mut Faults) {
    match subresource {
        "status" => {
            let phase = text(&new["status"], "phase");
            let path = Path::new("status.Phase");
            let going = given(&new["metadata"], "deletionTimestamp");
            if !going && phase != "Active" {
                faults.invalid(&path, phase, "may only be 'Active' if `deletionTimestamp` is empty");
            }
            if going && phase != "Terminating" {
                let message = "may only be 'Terminating' if `deletionTimestamp` is not empty";
                faults.invalid(&path, phase, message);
            }
        }
        "finalize" => {
            for (index, finalizer) in texts(&new["spec"], "finalizers").iter().enumerate() {
                let path = Path::new("spec.finalizers").index(index);
                faults.words(&path, finalizer, words::qualified_name(finalizer));
                meta::plain_finalizer(finalizer, &path, faults);
            }
        }
        _ => {}
    }
}
