//! Dropping what a custom resource's schema does not have.

use serde_json::{Map, Value};

use super::DEPTH_MAX;
use crate::field::Path;
use crate::schema::{Node, Object, Type};

/// Drops the fields that a type does not have, and says which: `unknown field "spec.foo"`, sorted.
///
/// `apiVersion`, `kind` and `metadata` of the object itself and of embedded resources stay. Below
/// `x-kubernetes-preserve-unknown-fields` only what is named is looked at. What nests deeper than [`DEPTH_MAX`] is left
/// as it is.
pub fn prune(node: Node<'_>, value: &mut Value) -> Vec<String> {
    let mut dropped = Vec::new();
    below(node, value, &Path::root(), &mut dropped, 0);
    dropped.sort();
    dropped
}

fn below(node: Node<'_>, value: &mut Value, path: &Path, dropped: &mut Vec<String>, depth: usize) {
    if depth > DEPTH_MAX {
        return;
    }
    match (node.ty(), value) {
        (Type::Object(object), Value::Object(fields)) => {
            drop_unknown(object, fields, path, dropped, depth == 0);
            for (name, value) in fields {
                if let Some(field) = object.field(name) {
                    below(node.at(field.ty), value, &path.child(name), dropped, depth + 1);
                }
            }
        }
        (Type::Map(map), Value::Object(values)) => {
            for (key, value) in values {
                below(node.at(map.value), value, &path.child(key), dropped, depth + 1);
            }
        }
        (Type::List(list), Value::Array(items)) => {
            for (index, item) in items.iter_mut().enumerate() {
                below(node.at(list.item), item, &path.index(index), dropped, depth + 1);
            }
        }
        _ => {}
    }
}

fn drop_unknown(
    object: &Object,
    fields: &mut Map<String, Value>,
    path: &Path,
    dropped: &mut Vec<String>,
    is_root: bool,
) {
    if object.preserve_unknown {
        return;
    }
    let has_type = is_root || object.embedded;
    fields.retain(|name, _| {
        let known = object.field(name).is_some()
            || has_type && matches!(name.as_str(), "apiVersion" | "kind" | "metadata");
        if !known {
            dropped.push(format!("unknown field {:?}", path.child(name).as_str()));
        }
        known
    });
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::schema::{Field, List, ListKind, Scalar, Schema};

    #[test]
    fn what_is_not_named_goes_and_is_told_of() {
        let mut schema = Schema::new();
        let text = schema.add(Type::Scalar(Scalar::String));
        let item =
            schema.add(Type::Object(Object { fields: vec![Field::new("a", text)], ..Object::default() }));
        let list = schema.add(Type::List(List { item, kind: ListKind::Atomic }));
        let free =
            Object { fields: vec![Field::new("a", item)], preserve_unknown: true, ..Object::default() };
        let free = schema.add(Type::Object(free));
        let root =
            Object { fields: vec![Field::new("free", free), Field::new("list", list)], ..Object::default() };
        let root = schema.add(Type::Object(root));

        let mut value = json!({"kind": "W", "metadata": {}, "x": 1, "list": [{"a": "", "b": 2}],
            "free": {"y": 3, "a": {"z": 4}}});
        let dropped = prune(schema.node(root), &mut value);
        assert_eq!(
            dropped,
            [r#"unknown field "free.a.z""#, r#"unknown field "list[0].b""#, r#"unknown field "x""#]
        );
        let left = json!({"kind": "W", "metadata": {}, "list": [{"a": ""}], "free": {"y": 3, "a": {}}});
        assert_eq!(value, left);
    }
}
