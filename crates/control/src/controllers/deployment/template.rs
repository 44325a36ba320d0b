//! Templates of pods: when two are the same, and the hash that names the ReplicaSet of one.

use serde_json::{Value, json};
use shoal_api::object;

use crate::controllers::pods::{managed_by, number};
use crate::known::DEPLOYMENT;

/// Label of ReplicaSets and their pods: the hash of their template.
pub(super) const HASH: &str = "pod-template-hash";

/// No vowels, and nothing that is read as something else, as names of Kubernetes have it.
const LETTERS: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";

/// Whether two templates make the same pods; the label with the hash does not count.
pub(super) fn same(left: &Value, right: &Value) -> bool {
    same_below(left, right, &mut vec![])
}

/// What is absent, null or an empty list is the same; empty labels and annotations are too.
fn same_below<'v>(left: &'v Value, right: &'v Value, path: &mut Vec<&'v str>) -> bool {
    match (left, right) {
        (Value::Object(left), Value::Object(right)) => {
            let fields = left.keys().chain(right.keys().filter(|field| !left.contains_key(*field)));
            for field in fields {
                if path.as_slice() == ["metadata", "labels"] && field == HASH {
                    continue;
                }
                let value = |of: &'v serde_json::Map<String, Value>| of.get(field).unwrap_or(&Value::Null);
                path.push(field);
                let same = same_below(value(left), value(right), path);
                path.pop();
                if !same {
                    return false;
                }
            }
            true
        }
        (Value::Array(left), Value::Array(right)) => {
            left.len() == right.len()
                && left.iter().zip(right).all(|(left, right)| same_below(left, right, path))
        }
        _ => left == right || (is_nothing(left, path) && is_nothing(right, path)),
    }
}

fn is_nothing(value: &Value, path: &[&str]) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        // `emptyDir: {}` says something; a map of labels without any does not.
        Value::Object(fields) => {
            path.first() == Some(&"metadata") && fields.keys().all(|field| field == HASH)
        }
        _ => false,
    }
}

/// The hash of a template, ten letters at most. `collisions` tells apart templates whose hashes are the same.
pub fn hash(template: &Value, collisions: Option<i64>) -> String {
    let mut hash = Fnv(0x811c_9dc5);
    hash.value(template, 0);
    if let Some(collisions) = collisions {
        hash.bytes(&collisions.to_le_bytes());
    }
    let letter = |digit: u8| char::from(LETTERS[usize::from(digit) % LETTERS.len()]);
    hash.0.to_string().bytes().map(letter).collect()
}

/// The name of the ReplicaSet that a Deployment makes for its template.
pub(super) fn set_name(deployment: &Value) -> String {
    format!("{}-{}", object::name(deployment), hash_of(deployment))
}

fn hash_of(deployment: &Value) -> String {
    hash(&deployment["spec"]["template"], deployment["status"]["collisionCount"].as_i64())
}

/// A ReplicaSet without pods for the template of a Deployment.
pub(super) fn set_for(deployment: &Value, name: &str) -> Value {
    let hash = hash_of(deployment);
    let mut template = deployment["spec"]["template"].clone();
    template["metadata"]["labels"][HASH] = json!(hash);
    let mut selector = deployment["spec"]["selector"].clone();
    selector["matchLabels"][HASH] = json!(hash);
    json!({
        "metadata": {
            "name": name, "namespace": object::namespace(deployment), "annotations": {},
            "labels": template["metadata"]["labels"], "ownerReferences": [managed_by(&DEPLOYMENT, deployment)],
        },
        "spec": {
            "replicas": 0, "minReadySeconds": number(&deployment["spec"]["minReadySeconds"]),
            "selector": selector, "template": template,
        },
    })
}

/// FNV-1a of 32 bits.
struct Fnv(u32);

impl Fnv {
    fn bytes(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u32::from(*byte)).wrapping_mul(0x0100_0193);
        }
    }

    /// The same for what `same` takes as the same; fields count in the order of their names.
    fn value(&mut self, value: &Value, depth: usize) {
        match value {
            Value::Object(fields) => {
                let mut named: Vec<_> =
                    fields.iter().filter(|(_, value)| !is_skipped(value, depth)).collect();
                named.sort_by_key(|(name, _)| name.as_str());
                self.bytes(b"{");
                for (name, value) in named.into_iter().filter(|(name, _)| *name != HASH) {
                    self.bytes(name.as_bytes());
                    self.bytes(b":");
                    self.value(value, depth + 1);
                }
                self.bytes(b"}");
            }
            Value::Array(items) => {
                self.bytes(b"[");
                items.iter().for_each(|item| self.value(item, depth + 1));
                self.bytes(b"]");
            }
            plain => {
                self.bytes(plain.to_string().as_bytes());
                self.bytes(b",");
            }
        }
    }
}

fn is_skipped(value: &Value, depth: usize) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => depth < 2 && fields.is_empty(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_are_the_same_whatever_is_left_out() {
        let one = json!({
            "metadata": {"creationTimestamp": null, "labels": {"app": "a"}},
            "spec": {"containers": [{"name": "c", "env": []}], "volumes": [{"name": "v", "emptyDir": {}}]},
        });
        let table = [
            ("/metadata/labels/pod-template-hash", json!("x"), true),
            ("/metadata/annotations", json!({}), true),
            ("/metadata/annotations", json!({"a": "b"}), false),
            ("/spec/containers/0/env", Value::Null, true),
            ("/spec/containers/0/env", json!([{"name": "A"}]), false),
            ("/spec/volumes/0/emptyDir", Value::Null, false),
            ("/spec/nodeName", json!("n"), false),
        ];
        for (place, value, is_same) in table {
            let (parent, field) = place.rsplit_once('/').expect("a path");
            let mut other = one.clone();
            other.pointer_mut(parent).expect("it is there")[field] = value;
            assert_eq!(same(&one, &other), is_same, "{place}");
            assert_eq!(same(&other, &one), is_same, "{place}");
            assert_eq!(hash(&one, None) == hash(&other, None), is_same, "{place}");
        }
    }

    #[test]
    fn a_collision_changes_the_hash() {
        let template = json!({"spec": {}});
        let hashes: Vec<String> = [None, Some(1), Some(2)].map(|count| hash(&template, count)).into();
        assert_ne!(hashes[0], hashes[1]);
        assert_ne!(hashes[1], hashes[2]);
        assert!(hashes.iter().all(|hash| hash.len() <= 10));
    }
}
