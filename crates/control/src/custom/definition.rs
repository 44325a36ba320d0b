//! CustomResourceDefinition objects: what is filled in, what may be written, and what their status says.

pub mod conditions;
mod extensions;
mod rule_checks;
mod schema_checks;
mod selectable;
mod spec;
mod words;

use serde_json::{Value, json};
use shoal_api::object;

pub use spec::{validate_create, validate_update};

/// Holds a definition until its objects are gone.
pub const CLEANUP_FINALIZER: &str = "customresourcecleanup.apiextensions.k8s.io";

/// Fills in what was left out.
pub fn default(definition: &mut Value) {
    let kind = definition["spec"]["names"]["kind"].as_str().unwrap_or_default().to_string();
    let Some(fields) = definition.as_object_mut() else { return };
    let spec = object::child_mut(fields, "spec");
    let names = object::child_mut(spec, "names");
    if names.get("singular").and_then(Value::as_str).unwrap_or_default().is_empty() {
        names.insert("singular".into(), kind.to_lowercase().into());
    }
    if names.get("listKind").and_then(Value::as_str).unwrap_or_default().is_empty() && !kind.is_empty() {
        names.insert("listKind".into(), format!("{kind}List").into());
    }
    let conversion = object::child_mut(spec, "conversion");
    if conversion.get("strategy").and_then(Value::as_str).unwrap_or_default().is_empty() {
        conversion.insert("strategy".into(), "None".into());
    }
    let service =
        conversion.get_mut("webhook").and_then(|webhook| webhook.get_mut("clientConfig")?.get_mut("service"));
    if let Some(service) = service.and_then(Value::as_object_mut) {
        service.entry("port").or_insert(443.into());
    }
}

/// What a new definition looks like: the status is ours.
pub fn prepare_create(definition: &mut Value) {
    let stored = storage_version(definition).map(str::to_string);
    let stored: Vec<String> = stored.into_iter().collect();
    object::metadata_mut(definition).insert("generation".into(), 1.into());
    definition["status"] =
        json!({"conditions": null, "acceptedNames": {"plural": "", "kind": ""}, "storedVersions": stored});
}

/// What a changed definition looks like: the status stays, but for a new storage version; the generation grows when
/// the spec changes.
pub fn prepare_update(new: &mut Value, old: &Value) {
    new["status"] = old["status"].clone();
    if let Some(version) = storage_version(new).map(str::to_string)
        && let Some(fields) = new.as_object_mut()
    {
        let stored = object::child_mut(fields, "status").entry("storedVersions").or_insert(Value::Null);
        match stored.as_array_mut() {
            Some(list) if list.iter().any(|one| *one == version) => {}
            Some(list) => list.push(version.into()),
            None => *stored = json!([version]),
        }
    }
    let generation = old["metadata"]["generation"].as_i64().unwrap_or(0);
    let grown = generation + i64::from(new["spec"] != old["spec"]);
    object::metadata_mut(new).insert("generation".into(), grown.into());
}

/// What a definition looks like whose status was written: all but the status stays.
pub fn prepare_status_update(new: &mut Value, old: &Value) {
    new["spec"] = old["spec"].clone();
    let version = new["metadata"]["resourceVersion"].clone();
    let managed = new["metadata"]["managedFields"].clone();
    new["metadata"] = old["metadata"].clone();
    for (field, value) in [("resourceVersion", version), ("managedFields", managed)] {
        if !value.is_null() {
            object::metadata_mut(new).insert(field.into(), value);
        }
    }
}

/// Marks a definition that is being deleted for the first time: it waits for its objects. `now` is RFC 3339; the
/// caller sets `deletionTimestamp`.
pub fn begin_deletion(definition: &mut Value, now: &str) {
    let finalizers = object::metadata_mut(definition).entry("finalizers").or_insert_with(|| json!([]));
    if let Some(list) = finalizers.as_array_mut()
        && !list.iter().any(|one| one == CLEANUP_FINALIZER)
    {
        list.push(CLEANUP_FINALIZER.into());
    }
    let message = "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon";
    conditions::set(definition, "Terminating", true, "InstanceDeletionPending", message, now);
}

/// The version that objects are stored in.
pub fn storage_version(definition: &Value) -> Option<&str> {
    versions(definition).find(|version| version["storage"] == true)?["name"].as_str()
}

/// A version by its name.
pub fn version<'a>(definition: &'a Value, name: &str) -> Option<&'a Value> {
    versions(definition).find(|version| version["name"].as_str() == Some(name))
}

/// Its versions, in their order.
pub fn versions(definition: &Value) -> impl Iterator<Item = &Value> {
    definition["spec"]["versions"].as_array().into_iter().flatten()
}
