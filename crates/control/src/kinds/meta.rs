//! What every object has: what its metadata may be, and what of it never changes.

use serde_json::Value;
use shoal_api::field::Path;
use shoal_api::object;

use super::faults::{Faults, IMMUTABLE};
use super::look::{entries, flag, given, int, list, same, text, texts};
use super::{golang, words};

/// Most bytes of all annotations of an object: what etcd and watch buffers were laid out for.
pub(crate) const ANNOTATIONS_BYTES_MAX: usize = 256 * 1024;

/// Most bytes of a field manager's name.
const MANAGER_BYTES_MAX: usize = 128;

/// Most bytes of a subresource in `managedFields`.
const SUBRESOURCE_BYTES_MAX: usize = 256;

/// Finalizers that need no domain.
const PLAIN_FINALIZERS: [&str; 3] = ["kubernetes", "orphan", "foregroundDeletion"];

/// What a kind's names are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Names {
    /// `a.b-c`: most kinds.
    Subdomain,
    /// `a-b`: namespaces, pods' hosts.
    Label,
    /// `a-b` that begins with a letter: services.
    Label1035,
    /// Anything that can stand in a path: roles and their bindings.
    PathSegment,
    /// Whatever the kind says itself.
    Anything,
}

impl Names {
    /// What is wrong with a name. That of a prefix may end in `-`: something will follow.
    pub(crate) fn check(self, name: &str, prefix: bool) -> Vec<String> {
        let masked = match name.strip_suffix('-') {
            Some(rest) if prefix && !rest.is_empty() => {
                format!("{}a", &rest[..rest.len() - last_width(rest)])
            }
            _ => name.into(),
        };
        match self {
            Self::Subdomain => words::dns_subdomain(&masked),
            Self::Label => words::dns_label(&masked),
            Self::Label1035 => words::dns1035_label(&masked),
            Self::PathSegment => words::path_segment(name, prefix),
            Self::Anything => Vec::new(),
        }
    }
}

fn last_width(text: &str) -> usize {
    text.chars().next_back().map_or(0, char::len_utf8)
}

/// Metadata of an object that is made.
pub(crate) fn validate(object: &Value, namespaced: bool, names: Names, path: &Path, faults: &mut Faults) {
    let meta = &object["metadata"];
    let generate_name = text(meta, "generateName");
    if !generate_name.is_empty() {
        faults.words(&path.child("generateName"), generate_name, names.check(generate_name, true));
    }
    let name = text(meta, "name");
    if name.is_empty() {
        faults.required(&path.child("name"), "name or generateName is required");
    } else {
        faults.words(&path.child("name"), name, names.check(name, false));
    }
    let namespace = text(meta, "namespace");
    match (namespaced, namespace.is_empty()) {
        (true, true) => faults.required(&path.child("namespace"), ""),
        (true, false) => faults.words(&path.child("namespace"), namespace, words::dns_label(namespace)),
        (false, false) => faults.forbidden(&path.child("namespace"), "not allowed on this type"),
        (false, true) => {}
    }
    faults.not_negative(&path.child("generation"), int(meta, "generation"));
    labels(&meta["labels"], &path.child("labels"), faults);
    annotations(&meta["annotations"], &path.child("annotations"), faults);
    owners(meta, &path.child("ownerReferences"), faults);
    finalizers(meta, &path.child("finalizers"), faults);
    managed_fields(meta, &path.child("managedFields"), faults);
    for (index, finalizer) in texts(meta, "finalizers").iter().enumerate() {
        plain_finalizer(finalizer, &path.child("finalizers").index(index), faults);
    }
}

/// Metadata of an object that is changed.
pub(crate) fn validate_update(new: &Value, old: &Value, path: &Path, faults: &mut Faults) {
    let (new_meta, old_meta) = (&new["metadata"], &old["metadata"]);
    if given(old_meta, "deletionTimestamp") {
        let known: Vec<&str> = object::finalizers(old).collect();
        let added: Vec<Value> =
            object::finalizers(new).filter(|one| !known.contains(one)).map(Value::from).collect();
        if !added.is_empty() {
            let added = golang::strings(&Value::Array(added));
            let message = format!(
                "no new finalizers can be added if the object is being deleted, found new finalizers {added}"
            );
            faults.forbidden(&path.child("finalizers"), &message);
        }
    }
    if text(new_meta, "resourceVersion").is_empty() {
        faults.invalid(&path.child("resourceVersion"), "", "must be specified for an update");
    }
    let generation = int(new_meta, "generation").unwrap_or_default();
    if generation < int(old_meta, "generation").unwrap_or_default() {
        faults.invalid(&path.child("generation"), generation, "must not be decremented");
    }
    let fixed =
        ["name", "namespace", "uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds"];
    for field in fixed {
        if !same(&new_meta[field], &old_meta[field]) {
            let shown = match &new_meta[field] {
                Value::Null if matches!(field, "name" | "namespace" | "uid") => "\"\"".into(),
                other => golang::shown(other),
            };
            faults.invalid_shown(&path.child(field), &shown, IMMUTABLE);
        }
    }
    labels(&new_meta["labels"], &path.child("labels"), faults);
    annotations(&new_meta["annotations"], &path.child("annotations"), faults);
    owners(new_meta, &path.child("ownerReferences"), faults);
    managed_fields(new_meta, &path.child("managedFields"), faults);
}

/// Labels: names and values.
pub(crate) fn labels(labels: &Value, path: &Path, faults: &mut Faults) {
    for (key, value) in labels.as_object().into_iter().flatten() {
        label_name(key, path, faults);
        let value = value.as_str().unwrap_or_default();
        faults.words(path, value, words::label_value(value));
    }
}

/// The name of a label.
pub(crate) fn label_name(name: &str, path: &Path, faults: &mut Faults) {
    faults.words(path, name, words::qualified_name(name));
}

/// Annotations: names, and the size of all.
pub(crate) fn annotations(annotations: &Value, path: &Path, faults: &mut Faults) {
    let mut bytes = 0;
    for (key, value) in annotations.as_object().into_iter().flatten() {
        for message in words::qualified_name(&key.to_lowercase()) {
            faults.invalid(path, key.as_str(), &message);
        }
        bytes += key.len() + value.as_str().unwrap_or_default().len();
    }
    if bytes > ANNOTATIONS_BYTES_MAX {
        faults.too_long(path, ANNOTATIONS_BYTES_MAX);
    }
}

fn owners(meta: &Value, path: &Path, faults: &mut Faults) {
    let mut controller: Option<String> = None;
    for owner in list(meta, "ownerReferences") {
        let api_version = text(owner, "apiVersion");
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        if version.is_empty() {
            faults.invalid(&path.child("apiVersion"), api_version, "version must not be empty");
        }
        for field in ["kind", "name", "uid"] {
            if text(owner, field).is_empty() {
                faults.invalid(&path.child(field), "", &format!("{field} must not be empty"));
            }
        }
        let kind = text(owner, "kind");
        if kind == "Event" && group.is_empty() && version == "v1" {
            faults.invalid(path, owner.clone(), "/v1, Kind=Event is disallowed from being an owner");
        }
        if flag(owner, "controller") {
            let name = format!("{kind}/{}", text(owner, "name"));
            if let Some(first) = &controller {
                let message = format!(
                    "Only one reference can have Controller set to true. Found \"true\" in references for \
                     {first} and {name}"
                );
                faults.invalid(path, meta["ownerReferences"].clone(), &message);
            } else {
                controller = Some(name);
            }
        }
    }
}

fn finalizers(meta: &Value, path: &Path, faults: &mut Faults) {
    let names = texts(meta, "finalizers");
    for name in &names {
        faults.words(path, name, words::qualified_name(name));
    }
    if names.contains(&"orphan") && names.contains(&"foregroundDeletion") {
        let shown = golang::strings(&meta["finalizers"]);
        faults.invalid_shown(path, &shown, "finalizer orphan and foregroundDeletion cannot be both set");
    }
}

/// A finalizer without a domain is one of three.
pub(crate) fn plain_finalizer(name: &str, path: &Path, faults: &mut Faults) {
    if !name.contains('/') && !PLAIN_FINALIZERS.contains(&name) {
        let message = "name is neither a standard finalizer name nor is it fully qualified";
        faults.invalid(path, name, message);
    }
}

fn managed_fields(meta: &Value, path: &Path, faults: &mut Faults) {
    for (index, entry) in list(meta, "managedFields").iter().enumerate() {
        let path = path.index(index);
        let operation = text(entry, "operation");
        if !matches!(operation, "Apply" | "Update") {
            faults.invalid(&path.child("operation"), operation, "must be `Apply` or `Update`");
        }
        let kind = text(entry, "fieldsType");
        if !matches!(kind, "" | "FieldsV1") {
            faults.invalid(&path.child("fieldsType"), kind, "must be `FieldsV1`");
        }
        let manager = text(entry, "manager");
        if manager.len() > MANAGER_BYTES_MAX {
            faults.too_long(&path.child("manager"), MANAGER_BYTES_MAX);
        }
        if manager.chars().any(char::is_control) {
            faults.invalid(&path.child("manager"), manager, "should only contain printable characters");
        }
        if text(entry, "subresource").len() > SUBRESOURCE_BYTES_MAX {
            faults.too_long(&path.child("subresource"), SUBRESOURCE_BYTES_MAX);
        }
    }
}

/// A label that must be there with this value.
pub(crate) fn has_label(meta: &Value, path: &Path, key: &str, expected: &str, faults: &mut Faults) {
    let message = format!("must be '{expected}'");
    let path = path.child("labels").key(key);
    match entries(meta, "labels").find(|(name, _)| *name == key) {
        None => faults.required(&path, &message),
        Some((_, value)) if value.as_str() == Some(expected) => {}
        Some(_) => faults.invalid_shown(&path, &golang::map(&meta["labels"]), &message),
    }
}
