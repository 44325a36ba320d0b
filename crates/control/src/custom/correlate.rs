//! Which part of the old object a part of the new one comes from.

use std::cmp::Ordering;

use serde_json::Value;

use super::structural::Structural;

/// The old value of a field.
pub(super) fn field<'a>(old: Option<&'a Value>, name: &str) -> Option<&'a Value> {
    old?.as_object()?.get(name)
}

/// The old value of an item: by its keys in a list of type map; items of other lists have none.
pub(super) fn item<'a>(
    list: &Structural,
    old: Option<&'a Value>,
    items: &[Value],
    index: usize,
) -> Option<&'a Value> {
    if list.list_type != "map" || list.list_map_keys.is_empty() {
        return None;
    }
    let new = items.get(index)?;
    let old = old?.as_array()?;
    let same =
        |old: &&Value| list.list_map_keys.iter().all(|key| key_of(list, old, key) == key_of(list, new, key));
    // Items that keep their place are found at once.
    old.get(index).filter(same).or_else(|| old.iter().find(same))
}

/// The value of a key, which may come from its default.
pub(super) fn key_of<'a>(list: &'a Structural, item: &'a Value, key: &str) -> Option<&'a Value> {
    item.get(key).or_else(|| list.items.as_ref()?.properties.get(key)?.default.as_ref())
}

/// An order of all values: numbers by what they are, not by how they are written.
pub(super) fn order(a: &Value, b: &Value) -> Ordering {
    let rank = |value: &Value| match value {
        Value::Null => 0,
        Value::Bool(_) => 1,
        Value::Number(_) => 2,
        Value::String(_) => 3,
        Value::Array(_) => 4,
        Value::Object(_) => 5,
    };
    match (a, b) {
        (Value::Bool(a), Value::Bool(b)) => a.cmp(b),
        (Value::Number(a), Value::Number(b)) => match (a.as_i64(), b.as_i64()) {
            (Some(a), Some(b)) => a.cmp(&b),
            _ => a.as_f64().unwrap_or_default().total_cmp(&b.as_f64().unwrap_or_default()),
        },
        (Value::String(a), Value::String(b)) => a.cmp(b),
        (Value::Array(a), Value::Array(b)) => {
            let unequal = a.iter().zip(b).map(|(a, b)| order(a, b)).find(|order| order.is_ne());
            unequal.unwrap_or(a.len().cmp(&b.len()))
        }
        (Value::Object(a), Value::Object(b)) => {
            let pairs =
                a.iter().zip(b).map(|((key, a), (other, b))| key.cmp(other).then_with(|| order(a, b)));
            pairs.into_iter().find(|order| order.is_ne()).unwrap_or(a.len().cmp(&b.len()))
        }
        _ => rank(a).cmp(&rank(b)),
    }
}
