//! What holds for values beyond their schema: lists that are sets or maps, and objects inside objects.

use std::collections::BTreeSet;

use serde_json::Value;
use shoal_api::GroupVersion;
use shoal_api::field::{Error, Path, Reason};

use super::correlate::{key_of, order};
use super::go;
use super::structural::Structural;

/// Items that stand twice in lists of type set, or have the same keys in lists of type map.
///
/// Lists that have not changed since `old` are not judged again.
pub(super) fn lists(schema: &Structural, value: &Value, old: Option<&Value>) -> Vec<Error> {
    let mut errors = Vec::new();
    walk_lists(schema, value, old, &Path::root(), &mut errors);
    errors
}

/// Objects inside objects (`x-kubernetes-embedded-resource`) need `apiVersion` and `kind`.
pub(super) fn embedded(schema: &Structural, value: &Value) -> Vec<Error> {
    let mut errors = Vec::new();
    walk_embedded(schema, value, &Path::root(), &mut errors);
    errors
}

fn walk_lists(schema: &Structural, value: &Value, old: Option<&Value>, path: &Path, errors: &mut Vec<Error>) {
    if old == Some(value) {
        return;
    }
    match value {
        Value::Array(items) => {
            match schema.list_type.as_str() {
                "set" => duplicates(items.iter().map(Clone::clone), path, errors),
                "map" => duplicates(items.iter().map(|item| keys(schema, item)), path, errors),
                _ => {}
            }
            for (index, item) in items.iter().enumerate() {
                let Some(below) = &schema.items else { break };
                let old = super::correlate::item(schema, old, items, index);
                walk_lists(below, item, old, &path.index(index), errors);
            }
        }
        Value::Object(fields) => {
            for (name, value) in fields {
                let Some(below) = schema.field(name) else { continue };
                let path =
                    if schema.properties.contains_key(name) { path.child(name) } else { path.key(name) };
                walk_lists(below, value, super::correlate::field(old, name), &path, errors);
            }
        }
        _ => {}
    }
}

/// The keys of an item, as an object.
fn keys(schema: &Structural, item: &Value) -> Value {
    let pairs =
        schema.list_map_keys.iter().filter_map(|key| Some((key.clone(), key_of(schema, item, key)?.clone())));
    Value::Object(pairs.collect())
}

fn duplicates(items: impl Iterator<Item = Value>, path: &Path, errors: &mut Vec<Error>) {
    let mut known = BTreeSet::new();
    for (index, item) in items.enumerate() {
        let message = format!("Duplicate value: {}", go::value(&item));
        if !known.insert(Ordered(item)) {
            errors.push(Error { reason: Reason::Duplicate, path: path.index(index), message });
        }
    }
}

/// A value in the order of all values.
struct Ordered(Value);

impl PartialEq for Ordered {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Ordered {}

impl PartialOrd for Ordered {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Ordered {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        order(&self.0, &other.0)
    }
}

fn walk_embedded(schema: &Structural, value: &Value, path: &Path, errors: &mut Vec<Error>) {
    match value {
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                let Some(below) = &schema.items else { break };
                walk_embedded(below, item, &path.index(index), errors);
            }
        }
        Value::Object(fields) => {
            if schema.embedded {
                resource(value, path, errors);
            }
            for (name, value) in fields {
                let Some(below) = schema.field(name) else { continue };
                let path =
                    if schema.properties.contains_key(name) { path.child(name) } else { path.key(name) };
                walk_embedded(below, value, &path, errors);
            }
        }
        _ => {}
    }
}

fn resource(value: &Value, path: &Path, errors: &mut Vec<Error>) {
    for name in ["apiVersion", "kind"] {
        let path = path.child(name);
        match value.get(name) {
            None => errors.push(Error::required(&path, "must not be empty")),
            Some(Value::String(text)) if text.is_empty() => {
                errors.push(Error::invalid(&path, &value[name], "must not be empty"));
            }
            Some(Value::String(text)) => {
                if let Some(error) =
                    (name == "apiVersion").then(|| text.parse::<GroupVersion>().err()).flatten()
                {
                    errors.push(Error::invalid(&path, &value[name], &error.to_string()));
                }
            }
            Some(other) => {
                let message = format!("Invalid value: {}: must be a string", go::value(other));
                errors.push(Error { reason: Reason::Invalid, path, message });
            }
        }
    }
    if let Some(metadata) = value.get("metadata").filter(|metadata| !metadata.is_object()) {
        let message = format!("Invalid value: {}: must be an object", go::value(metadata));
        errors.push(Error { reason: Reason::Invalid, path: path.child("metadata"), message });
    }
}
