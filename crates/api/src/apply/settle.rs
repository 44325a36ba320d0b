//! A write that changes nothing is no write.

use serde_json::{Map, Value};

/// Keeps the old times of `managedFields` when nothing but these would change: then `new` becomes equal to `old`, and need
/// not be written. Gives whether it is so.
pub fn settle(old: &Value, new: &mut Value) -> bool {
    if old == new {
        return true;
    }
    let (Value::Object(before), Value::Object(after)) = (old, &*new) else { return false };
    if !same_but(before, after, &["metadata"]) {
        return false;
    }
    let (Some(Value::Object(before)), Some(Value::Object(after))) =
        (before.get("metadata"), after.get("metadata"))
    else {
        return before.get("metadata") == after.get("metadata");
    };
    // Who sends no version means whichever there is.
    let any_version = after.get("resourceVersion").is_none_or(|version| version == "");
    let aside = if any_version { &["managedFields", "resourceVersion"][..] } else { &["managedFields"] };
    if !same_but(before, after, aside)
        || !same_entries(before.get("managedFields"), after.get("managedFields"))
    {
        return false;
    }
    new["metadata"] = old["metadata"].clone();
    true
}

fn same_entries(old: Option<&Value>, new: Option<&Value>) -> bool {
    let [old, new] = [old, new].map(|list| list.and_then(Value::as_array).map_or(&[][..], Vec::as_slice));
    // Other times may sort them in another way.
    old.len() == new.len() && new.iter().all(|entry| old.iter().any(|other| same_entry(other, entry)))
}

fn same_entry(old: &Value, new: &Value) -> bool {
    let (Value::Object(old), Value::Object(new)) = (old, new) else { return old == new };
    same_but(old, new, &["time"])
}

/// Whether two maps are equal, some fields aside.
fn same_but(one: &Map<String, Value>, other: &Map<String, Value>, aside: &[&str]) -> bool {
    let others =
        |map: &Map<String, Value>| map.len() - aside.iter().filter(|field| map.contains_key(**field)).count();
    others(one) == others(other)
        && one.iter().all(|(key, value)| aside.contains(&key.as_str()) || other.get(key) == Some(value))
}
