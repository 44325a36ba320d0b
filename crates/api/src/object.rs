//! What every object has.

use serde_json::{Map, Value};

/// `metadata.name`; empty when there is none.
pub fn name(object: &Value) -> &str {
    meta(object, "name")
}

/// `metadata.namespace`; empty when there is none.
pub fn namespace(object: &Value) -> &str {
    meta(object, "namespace")
}

/// `metadata.uid`; empty when there is none.
pub fn uid(object: &Value) -> &str {
    meta(object, "uid")
}

/// `metadata.resourceVersion`; empty when there is none.
pub fn resource_version(object: &Value) -> &str {
    meta(object, "resourceVersion")
}

/// `metadata.deletionTimestamp`, when the object is being deleted.
pub fn deletion_timestamp(object: &Value) -> Option<&str> {
    object["metadata"]["deletionTimestamp"].as_str()
}

/// `metadata.finalizers`.
pub fn finalizers(object: &Value) -> impl Iterator<Item = &str> {
    object["metadata"]["finalizers"].as_array().into_iter().flatten().filter_map(Value::as_str)
}

/// `metadata.ownerReferences`.
pub fn owners(object: &Value) -> impl Iterator<Item = &Value> {
    object["metadata"]["ownerReferences"].as_array().into_iter().flatten()
}

/// A label; none when the object does not have it.
pub fn label<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    object["metadata"]["labels"][key].as_str()
}

/// An annotation; none when the object does not have it.
pub fn annotation<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    object["metadata"]["annotations"][key].as_str()
}

/// `metadata`, made when it is absent; what is no object is replaced.
///
/// # Panics
/// When `object` itself is no JSON object.
pub fn metadata_mut(object: &mut Value) -> &mut Map<String, Value> {
    child_mut(object.as_object_mut().expect("an object is a JSON object"), "metadata")
}

/// An object below another one, made when it is absent; what is no object is replaced.
pub fn child_mut<'a>(parent: &'a mut Map<String, Value>, field: &str) -> &'a mut Map<String, Value> {
    let child = parent.entry(field).or_insert_with(|| Value::Object(Map::new()));
    if !child.is_object() {
        *child = Value::Object(Map::new());
    }
    child.as_object_mut().expect("it was made one")
}

fn meta<'a>(object: &'a Value, field: &str) -> &'a str {
    object["metadata"][field].as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_absent_is_empty() {
        let mut object = json!({"metadata": {"name": "a", "finalizers": ["x/y"]}});
        assert_eq!((name(&object), namespace(&object), deletion_timestamp(&object)), ("a", "", None));
        assert_eq!(finalizers(&object).collect::<Vec<_>>(), ["x/y"]);
        assert_eq!(name(&json!({})), "");
        metadata_mut(&mut object).insert("uid".into(), json!("u"));
        assert_eq!(uid(&object), "u");
    }
}
