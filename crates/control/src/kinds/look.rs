//! Reading and filling objects: a field that is absent, `null` or of another type reads as empty, as Go decodes it.

use serde_json::{Map, Value};

/// Text of a field.
pub(crate) fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_default()
}

/// Whole number of a field.
pub(crate) fn int(value: &Value, field: &str) -> Option<i64> {
    value[field].as_i64()
}

/// Whole number of a field; 0 when it is absent.
pub(crate) fn number(value: &Value, field: &str) -> i64 {
    int(value, field).unwrap_or_default()
}

/// A switch; off when it is absent.
pub(crate) fn flag(value: &Value, field: &str) -> bool {
    value[field].as_bool().unwrap_or_default()
}

/// Items of a list.
pub(crate) fn list<'a>(value: &'a Value, field: &str) -> &'a [Value] {
    value[field].as_array().map(Vec::as_slice).unwrap_or_default()
}

/// Items of a list of texts.
pub(crate) fn texts<'a>(value: &'a Value, field: &str) -> Vec<&'a str> {
    list(value, field).iter().filter_map(Value::as_str).collect()
}

/// Entries of a map, sorted by key.
pub(crate) fn entries<'a>(value: &'a Value, field: &str) -> impl Iterator<Item = (&'a str, &'a Value)> {
    value[field].as_object().into_iter().flatten().map(|(key, value)| (key.as_str(), value))
}

/// Is there anything but `null`?
pub(crate) fn given(value: &Value, field: &str) -> bool {
    !value[field].is_null()
}

/// An annotation; none when the object does not have it.
pub(crate) fn annotation<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    object["metadata"]["annotations"][key].as_str()
}

/// Do both mean the same to Kubernetes? What is absent, `null`, an empty text, list or object are one.
pub(crate) fn same(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Object(left), Value::Object(right)) => {
            left.iter().all(|(key, value)| same(value, right.get(key).unwrap_or(&Value::Null)))
                && right.iter().all(|(key, value)| left.contains_key(key) || is_empty(value))
        }
        (Value::Array(left), Value::Array(right)) => {
            left.len() == right.len() && left.iter().zip(right).all(|(left, right)| same(left, right))
        }
        (Value::Object(_), Value::Null) | (Value::Null, Value::Object(_)) => {
            is_empty(left) && is_empty(right)
        }
        _ => left == right || (is_empty(left) && is_empty(right)),
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.values().all(is_empty),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

/// Sets a field that is absent or `null`.
pub(crate) fn set_missing(value: &mut Value, field: &str, default: impl Into<Value>) {
    let Some(fields) = value.as_object_mut() else { return };
    let slot = fields.entry(field).or_insert(Value::Null);
    if slot.is_null() {
        *slot = default.into();
    }
}

/// Sets a field that is absent, `null`, empty text or 0: what Go holds without a pointer.
pub(crate) fn set_empty(value: &mut Value, field: &str, default: impl Into<Value>) {
    let Some(fields) = value.as_object_mut() else { return };
    let slot = fields.entry(field).or_insert(Value::Null);
    if slot.is_null() || slot.as_str() == Some("") || slot.as_i64() == Some(0) {
        *slot = default.into();
    }
}

/// Sets a field.
pub(crate) fn set(value: &mut Value, field: &str, to: impl Into<Value>) {
    if let Some(fields) = value.as_object_mut() {
        fields.insert(field.into(), to.into());
    }
}

/// Takes a field away.
pub(crate) fn remove(value: &mut Value, field: &str) {
    if let Some(fields) = value.as_object_mut() {
        fields.remove(field);
    }
}

/// The object in a field, made when it is absent; none when something else is there.
pub(crate) fn child<'a>(value: &'a mut Value, field: &str) -> Option<&'a mut Value> {
    set_missing(value, field, Map::new());
    value.get_mut(field).filter(|found| found.is_object())
}

/// Items of a list, to change.
pub(crate) fn items<'a>(value: &'a mut Value, field: &str) -> impl Iterator<Item = &'a mut Value> {
    value.get_mut(field).and_then(Value::as_array_mut).into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_empty_is_the_same_as_nothing() {
        assert!(same(&json!({"a": 1, "b": null, "c": {}, "d": ""}), &json!({"a": 1})));
        assert!(same(&json!({"a": {"b": []}}), &json!({})));
        assert!(!same(&json!({"a": false}), &json!({})), "a switch that is off is not one that is absent");
        assert!(!same(&json!({"a": [1]}), &json!({"a": [1, 2]})));
    }

    #[test]
    fn defaults_never_replace_what_is_there() {
        let mut object = json!({"kept": 0, "empty": "", "text": "x"});
        set_missing(&mut object, "kept", 1);
        set_empty(&mut object, "empty", "y");
        set_empty(&mut object, "text", "y");
        assert!(child(&mut object, "text").is_none());
        assert_eq!(object, json!({"kept": 0, "empty": "y", "text": "x"}));
    }
}
