//! What each built-in kind means when it is written: its defaults, what of it survives a write, and what it may say.
//!
//! The order of a write, as `kube-apiserver` has it:
//!
//! 1. decode, `shoal_api::defaults::settle`, and [`default`];
//! 2. create: the server sets name, uid and creation time, then [`prepare_create`]; update: [`prepare_update`];
//! 3. mutating admission, then `settle` and [`default`] again: doing either twice is doing it once;
//! 4. [`validate_create`] or [`validate_update`], and [`warnings`];
//! 5. validating admission, ownership of fields.
//!
//! All of it works on the JSON of the object. Messages, paths and their order are those of Kubernetes 1.32, with its
//! features as they are by default. Kinds that are not built in pass unchanged: see [`knows`].
//!
//! Left out: whether a time zone exists; annotations of AppArmor and seccomp that say what fields say; claims of devices
//! (`resourceClaims`) and resizing of running pods, which 1.32 does not offer unless it is asked. Where Kubernetes shows a whole structure with the addresses of its pointers, or a
//! difference in a form that changes by design, JSON and lines of `-` and `+` stand here.

use serde_json::{Value, json};
use shoal_api::field::{Error, Path};
use shoal_api::{GroupVersionKind, object};

mod amount;
mod app;
mod autoscaler;
mod certificate;
mod claim;
mod config;
mod convert;
mod cron_job;
mod disruption;
mod endpoints;
mod event;
mod faults;
mod flow;
mod golang;
mod ingress;
mod int_or_percent;
mod job;
mod look;
mod meta;
mod namespace;
mod network_policy;
mod node;
pub(crate) mod pod;
mod quota;
mod rbac;
mod resources;
mod review;
mod selector;
mod service;
mod service_addresses;
mod storage;
mod table;
mod volume;
mod webhooks;
mod words;
mod workload;

pub use convert::convert;

use faults::Faults;
use meta::Names;
use table::{Kind, find};

/// Is this a built-in kind?
pub fn knows(kind: &GroupVersionKind) -> bool {
    find(kind).is_some()
}

/// May an update leave out `metadata.resourceVersion`?
pub fn allows_unconditional_update(kind: &GroupVersionKind) -> bool {
    find(kind).is_some_and(|kind| !kind.conditional)
}

/// Does an update of an object that is not there make it?
pub fn creates_on_update(kind: &GroupVersionKind) -> bool {
    find(kind).is_some_and(|kind| kind.created_by_update)
}

/// Fills in what an object means where it says nothing. Doing it twice is doing it once.
pub fn default(kind: &GroupVersionKind, object: &mut Value) {
    if let Some(kind) = find(kind) {
        (kind.default)(object);
    }
}

/// Drops what a new object cannot bring along, and sets what every new one has. Needs `metadata.name` and
/// `metadata.uid`: the labels of jobs are made of them.
pub fn prepare_create(kind: &GroupVersionKind, object: &mut Value) {
    let Some(kind) = find(kind).filter(|_| object.is_object()) else { return };
    let meta = object::metadata_mut(object);
    for field in ["deletionTimestamp", "deletionGracePeriodSeconds", "selfLink"] {
        meta.remove(field);
    }
    if kind.generation {
        meta.insert("generation".into(), json!(1));
    }
    if kind.status && !kind.keeps_status {
        look::remove(object, "status");
    }
    (kind.prepare_create)(object);
}

/// Keeps what an update cannot change, and counts the generation. `subresource` is empty for the object itself, else
/// `status`, `finalize`, `approval`, `ephemeralcontainers`.
pub fn prepare_update(kind: &GroupVersionKind, subresource: &str, new: &mut Value, old: &Value) {
    if !new.is_object() {
        return;
    }
    keep_metadata(new, old);
    let Some(kind) = find(kind) else { return };
    if subresource == "status" {
        keep_all_but_status(new, old);
        if kind.status_keeps_labels {
            copy(new, old, "labels");
        }
    } else if kind.status {
        match old.get("status") {
            Some(status) => look::set(new, "status", status.clone()),
            None => look::remove(new, "status"),
        }
    }
    (kind.prepare_update)(subresource, new, old);
    count_generation(kind, subresource, new, old);
}

fn keep_metadata(new: &mut Value, old: &Value) {
    let before = &old["metadata"];
    let meta = object::metadata_mut(new);
    meta.remove("selfLink");
    if meta.get("uid").and_then(Value::as_str).unwrap_or_default().is_empty() && !before["uid"].is_null() {
        meta.insert("uid".into(), before["uid"].clone());
    }
    for field in ["creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds"] {
        match before.get(field).filter(|value| !value.is_null()) {
            Some(value) => meta.insert(field.into(), value.clone()),
            None => meta.remove(field),
        };
    }
}

fn keep_all_but_status(new: &mut Value, old: &Value) {
    let Some(fields) = new.as_object_mut() else { return };
    let own = ["apiVersion", "kind", "metadata", "status"];
    fields.retain(|field, _| own.contains(&field.as_str()));
    for (field, value) in old.as_object().into_iter().flatten() {
        if !own.contains(&field.as_str()) {
            fields.insert(field.clone(), value.clone());
        }
    }
}

fn copy(new: &mut Value, old: &Value, field: &str) {
    let Some(meta) = new.get_mut("metadata") else { return };
    match old["metadata"].get(field) {
        Some(value) => look::set(meta, field, value.clone()),
        None => look::remove(meta, field),
    }
}

/// A generation is a state that somebody asked for: status and labels do not count.
fn count_generation(kind: &Kind, subresource: &str, new: &mut Value, old: &Value) {
    let before = old["metadata"]["generation"].as_i64();
    let asked = |object: &Value| {
        let mut asked = object.clone();
        for field in ["apiVersion", "kind", "metadata", "status"] {
            look::remove(&mut asked, field);
        }
        asked
    };
    let counts = kind.generation && subresource != "status" && {
        let annotations = |object: &Value| {
            if kind.annotations_count { object["metadata"]["annotations"].clone() } else { json!(null) }
        };
        !look::same(&asked(new), &asked(old)) || !look::same(&annotations(new), &annotations(old))
    };
    let meta = object::metadata_mut(new);
    match before {
        Some(before) => meta.insert("generation".into(), json!(before + i64::from(counts))),
        None if kind.generation => meta.insert("generation".into(), json!(1 + i64::from(counts))),
        None => meta.remove("generation"),
    };
}

/// What is wrong with an object that is made, in the order in which Kubernetes says it.
pub fn validate_create(kind: &GroupVersionKind, object: &Value) -> Vec<Error> {
    let Some(kind) = find(kind) else { return Vec::new() };
    let mut faults = Faults::default();
    if kind.names != Names::Anything {
        meta::validate(object, kind.namespaced, kind.names, &Path::new("metadata"), &mut faults);
    }
    (kind.validate)(object, &mut faults);
    faults.into_errors()
}

/// What is wrong with a change, in the order in which Kubernetes says it. Some kinds say a thing twice, as there: the
/// message of the answer names each once, its causes name all.
pub fn validate_update(kind: &GroupVersionKind, subresource: &str, new: &Value, old: &Value) -> Vec<Error> {
    let Some(kind) = find(kind) else { return Vec::new() };
    let mut faults = Faults::default();
    meta::validate_update(new, old, &Path::new("metadata"), &mut faults);
    (kind.validate_update)(subresource, new, old, &mut faults);
    faults.into_errors()
}

/// What is allowed, but surely not meant.
pub fn warnings(kind: &GroupVersionKind, object: &Value, old: Option<&Value>) -> Vec<String> {
    find(kind).map_or_else(Vec::new, |kind| (kind.warnings)(object, old))
}

/// What is wrong with the metadata of an object of any kind whose names are DNS subdomains.
pub fn validate_metadata(object: &Value, namespaced: bool) -> Vec<Error> {
    let mut faults = Faults::default();
    meta::validate(object, namespaced, Names::Subdomain, &Path::new("metadata"), &mut faults);
    faults.into_errors()
}

/// What is wrong with a change of the metadata of any object.
pub fn validate_metadata_update(new: &Value, old: &Value) -> Vec<Error> {
    let mut faults = Faults::default();
    meta::validate_update(new, old, &Path::new("metadata"), &mut faults);
    faults.into_errors()
}
