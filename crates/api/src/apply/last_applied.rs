//! From client-side apply: `kubectl apply` kept what it had applied in an annotation.
//!
//! `kubectl apply --server-side` takes over what that says without a conflict, and keeps it up to date, so that one can go
//! back. Only a manager called `kubectl` does.

use serde_json::Value;

use super::Manager;
use super::compare::compare;
use super::conflict::Conflicts;
use super::extract::set_of;
use super::set::Set;
use crate::object;
use crate::schema::Node;

/// The annotation.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// The one manager that is concerned.
const KUBECTL: &str = "kubectl";

/// Bytes that all annotations of an object may have; above it the annotation is emptied.
const ANNOTATION_BYTES_MAX: usize = 256 << 10;

/// Whether all conflicts are about fields that client-side apply owned, and which have its values still.
pub(super) fn allows(node: Node<'_>, object: &Value, manager: &Manager<'_>, conflicts: &Conflicts) -> bool {
    let Some(allowed) = allowed(node, object, manager) else { return false };
    let mut left = conflicts.fields();
    left.difference(&allowed);
    left.is_empty()
}

/// The conflicts about other fields.
pub(super) fn remaining(
    node: Node<'_>,
    object: &Value,
    manager: &Manager<'_>,
    mut conflicts: Conflicts,
) -> Conflicts {
    if let Some(allowed) = allowed(node, object, manager) {
        conflicts.0.retain_mut(|conflict| {
            conflict.fields.difference(&allowed);
            !conflict.fields.is_empty()
        });
    }
    conflicts
}

/// Brings the annotation of an object up to date, if it has one.
pub(super) fn refresh(object: &mut Value, config: &Value, manager: &Manager<'_>) {
    let has_one = object::annotation(object, LAST_APPLIED).is_some_and(|text| !text.is_empty());
    if manager.name != KUBECTL || !has_one {
        return;
    }
    let mut applied = config.clone();
    let metadata = object::metadata_mut(&mut applied);
    metadata.remove("managedFields");
    if let Some(Value::Object(annotations)) = metadata.get_mut("annotations") {
        annotations.remove(LAST_APPLIED);
    }
    let text = format!("{applied}\n");
    let annotations = object::child_mut(object::metadata_mut(object), "annotations");
    let others = annotations.iter().filter(|(key, _)| *key != LAST_APPLIED);
    let bytes: usize = others.map(|(key, value)| key.len() + value.as_str().map_or(0, str::len)).sum();
    let fits = bytes + LAST_APPLIED.len() + text.len() <= ANNOTATION_BYTES_MAX;
    annotations.insert(LAST_APPLIED.into(), Value::String(if fits { text } else { String::new() }));
}

fn allowed(node: Node<'_>, object: &Value, manager: &Manager<'_>) -> Option<Set> {
    let text = object::annotation(object, LAST_APPLIED).filter(|_| manager.name == KUBECTL)?;
    let applied: Value = serde_json::from_str(text).ok()?;
    if applied["apiVersion"] != object["apiVersion"] {
        return None;
    }
    let mut allowed = set_of(node, &applied);
    let delta = compare(node, object, &applied);
    allowed.difference(&delta.changed());
    allowed.difference(&delta.removed);
    Some(allowed)
}
