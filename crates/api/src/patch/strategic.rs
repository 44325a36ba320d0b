//! Strategic merge patches: merge patches in which lists of objects are merged by a key, with directives.
//!
//! Source: `k8s.io/apimachinery/pkg/util/strategicpatch`. Which lists are merged, and by what, stands in the schema
//! ([`crate::schema::Patch`]). What the schema does not know is merged as RFC 7386 does.
//!
//! | directive | beside, or in, what it concerns |
//! |---|---|
//! | `$patch: replace`, `delete` | replaces or empties this object; in a list with a key: replaces the list, deletes this item |
//! | `$retainKeys: [..]` | removes all other fields |
//! | `$deleteFromPrimitiveList/x: [..]` | removes these items of list `x` |
//! | `$setElementOrder/x: [..]` | puts the items of list `x` into this order |

mod list;

use serde_json::{Map, Value};

use super::{PatchError, go_shown};
use crate::schema::{Node, Patch};

const PATCH: &str = "$patch";
const RETAIN_KEYS: &str = "$retainKeys";
const DELETE_FROM_LIST: &str = "$deleteFromPrimitiveList";
const SET_ORDER: &str = "$setElementOrder";

/// Changes an object of the given type. After an error the object is changed in part.
///
/// # Errors
/// When the patch is no object, or a directive does not fit.
pub fn apply(node: Node<'_>, document: &mut Value, patch: Value) -> Result<(), PatchError> {
    match (document, patch) {
        (Value::Object(document), Value::Object(patch)) => merge_object(Some(node), document, patch),
        (_, patch) => {
            let ty = match patch {
                Value::Array(_) => "array",
                Value::String(_) => "string",
                Value::Number(_) => "number",
                Value::Bool(_) => "bool",
                Value::Null | Value::Object(_) => {
                    return Err(PatchError::Malformed("invalid JSON document".into()));
                }
            };
            let message =
                format!("json: cannot unmarshal {ty} into Go value of type map[string]interface {{}}");
            Err(PatchError::Malformed(message))
        }
    }
}

fn merge_object(
    node: Option<Node<'_>>,
    original: &mut Map<String, Value>,
    mut patch: Map<String, Value>,
) -> Result<(), PatchError> {
    if let Some(directive) = patch.get(PATCH) {
        match directive.as_str() {
            Some("replace") => {
                patch.remove(PATCH);
                *original = fields_without_directives(patch);
            }
            Some("delete") => original.clear(),
            _ => return Err(unknown_directive(directive, patch.clone())),
        }
        return Ok(());
    }
    retain_keys(original, &mut patch)?;
    set_orders(node, original, &mut patch)?;
    for (key, value) in patch {
        if let Some(list) = key.strip_prefix(DELETE_FROM_LIST).and_then(|rest| rest.strip_prefix('/')) {
            delete_from_list(original, list, value)?;
        } else if value.is_null() {
            original.remove(&key);
        } else {
            merge_field(node, original, key, value)?;
        }
    }
    Ok(())
}

fn merge_field(
    node: Option<Node<'_>>,
    original: &mut Map<String, Value>,
    key: String,
    value: Value,
) -> Result<(), PatchError> {
    let strategy = strategy(node, &key);
    let child = node.and_then(|node| node.child(&key));
    match (original.get_mut(&key), value) {
        (Some(Value::Object(original)), Value::Object(patch)) => merge_object(child, original, patch)?,
        (Some(Value::Array(original)), Value::Array(patch)) => list::merge(child, strategy, original, patch)?,
        (_, value) => match without_directives(value) {
            Some(value) => drop(original.insert(key, value)),
            None => drop(original.remove(&key)),
        },
    }
    Ok(())
}

/// How a field is patched; a map's values have no strategy.
fn strategy<'s>(node: Option<Node<'s>>, key: &str) -> Option<&'s Patch> {
    node.and_then(|node| node.field(key)).map(|field| &field.patch)
}

fn retain_keys(original: &mut Map<String, Value>, patch: &mut Map<String, Value>) -> Result<(), PatchError> {
    let Some(keys) = patch.remove(RETAIN_KEYS) else { return Ok(()) };
    let malformed = || PatchError::Malformed("invalid patch format of retainKeys".into());
    let Value::Array(keys) = keys else { return Err(malformed()) };
    let retained: std::collections::BTreeSet<&str> = keys.iter().filter_map(Value::as_str).collect();
    let is_directive = |key: &str| key.starts_with(DELETE_FROM_LIST) || key.starts_with(SET_ORDER);
    let stays =
        |key: &String, value: &Value| value.is_null() || is_directive(key) || retained.contains(key.as_str());
    if !patch.iter().all(|(key, value)| stays(key, value)) {
        return Err(malformed());
    }
    original.retain(|key, _| retained.contains(key.as_str()));
    Ok(())
}

fn delete_from_list(original: &mut Map<String, Value>, list: &str, items: Value) -> Result<(), PatchError> {
    match (original.get_mut(list), items) {
        (Some(Value::Array(original)), Value::Array(items)) => list::delete(original, &items),
        // No list, nothing to delete from.
        (_, Value::Array(_) | Value::Null) => {}
        _ => return Err(PatchError::Malformed("invalid patch format of primitive list".into())),
    }
    Ok(())
}

/// Lists with `$setElementOrder` are merged first, and then put in order.
fn set_orders(
    node: Option<Node<'_>>,
    original: &mut Map<String, Value>,
    patch: &mut Map<String, Value>,
) -> Result<(), PatchError> {
    let is_order = |key: &&String| key.starts_with(SET_ORDER);
    let keys: Vec<String> = patch.keys().filter(is_order).cloned().collect();
    for key in keys {
        let malformed = || PatchError::Malformed("invalid patch format of setElementOrder list".into());
        let name =
            key.strip_prefix(SET_ORDER).and_then(|rest| rest.strip_prefix('/')).ok_or_else(malformed)?;
        let Some(Value::Array(order)) = patch.remove(&key) else { return Err(malformed()) };
        let items = match patch.remove(name) {
            Some(Value::Array(items)) => Some(items),
            Some(Value::Null) => {
                original.remove(name);
                continue;
            }
            Some(_) => return Err(malformed()),
            None => None,
        };
        // Items to be deleted may be named without the list.
        if let Some((key, items)) = patch.remove_entry(&format!("{DELETE_FROM_LIST}/{name}")) {
            delete_from_list(
                original,
                key.trim_start_matches(DELETE_FROM_LIST).trim_start_matches('/'),
                items,
            )?;
        }
        let child = node.and_then(|node| node.child(name));
        let strategy = strategy(node, name);
        match (original.get_mut(name), items) {
            (Some(Value::Array(original)), items) => {
                list::merge_in_order(child, strategy, original, items, &order)?;
            }
            (_, Some(items)) => {
                let mut list = Vec::new();
                list::merge_in_order(child, strategy, &mut list, Some(items), &order)?;
                original.insert(name.into(), Value::Array(list));
            }
            (_, None) => {}
        }
    }
    Ok(())
}

/// A value as it is stored when there is nothing to merge it with; none when the patch deletes it.
fn without_directives(value: Value) -> Option<Value> {
    match value {
        Value::Object(fields) if fields.get(PATCH).is_some_and(|directive| directive != "replace") => None,
        Value::Object(fields) => Some(Value::Object(fields_without_directives(fields))),
        Value::Array(items) => {
            let is_marker = |item: &Value| item.get(PATCH).is_some();
            let items = items.into_iter().filter(|item| !is_marker(item));
            Some(Value::Array(items.filter_map(without_directives).collect()))
        }
        scalar => Some(scalar),
    }
}

fn fields_without_directives(fields: Map<String, Value>) -> Map<String, Value> {
    let is_directive = |key: &str| {
        key == PATCH || key == RETAIN_KEYS || key.starts_with(DELETE_FROM_LIST) || key.starts_with(SET_ORDER)
    };
    let fields = fields.into_iter().filter(|(key, value)| !is_directive(key) && !value.is_null());
    fields.filter_map(|(key, value)| Some((key, without_directives(value)?))).collect()
}

fn unknown_directive(directive: &Value, map: Map<String, Value>) -> PatchError {
    let (directive, map) = (go_shown(directive), go_shown(&Value::Object(map)));
    PatchError::Unsupported(format!("unknown patch type: {directive} in map: {map}"))
}

#[cfg(test)]
mod tests;
