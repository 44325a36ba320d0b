//! Lists of a strategic merge patch.

use std::collections::{HashMap, HashSet};

use serde_json::Value;

use super::{PATCH, PatchError, SET_ORDER, merge_object, unknown_directive, without_directives};
use crate::patch::go_shown;
use crate::schema::{Node, Patch};

/// Merges a list into another, or replaces it, as its strategy says.
pub(super) fn merge(
    list: Option<Node<'_>>,
    strategy: Option<&Patch>,
    original: &mut Vec<Value>,
    patch: Vec<Value>,
) -> Result<(), PatchError> {
    if !strategy.is_some_and(|strategy| strategy.merge) {
        *original = match without_directives(Value::Array(patch)) {
            Some(Value::Array(items)) => items,
            _ => Vec::new(),
        };
        return Ok(());
    }
    let key = strategy.and_then(|strategy| strategy.merge_key.as_deref());
    let server_order = Order::of(original, key);
    let patch_order = match kind(original, &patch)? {
        Kind::Objects => {
            let key = key.ok_or_else(|| {
                let name = list.and_then(Node::item).map_or("", type_name);
                PatchError::Unsupported(format!("cannot merge lists without merge key for {name}"))
            })?;
            merge_objects(list.and_then(Node::item), original, patch, key)?
        }
        Kind::Scalars => {
            let order = Order::of(&patch, None);
            original.extend(patch);
            let mut seen = HashSet::new();
            original.retain(|item| seen.insert(item.to_string()));
            order
        }
    };
    arrange(original, &patch_order, &server_order, key);
    Ok(())
}

/// Merges a list, if there is one to merge, and puts the items that `order` names into that order.
pub(super) fn merge_in_order(
    list: Option<Node<'_>>,
    strategy: Option<&Patch>,
    original: &mut Vec<Value>,
    patch: Option<Vec<Value>>,
    order: &[Value],
) -> Result<(), PatchError> {
    let key = strategy.and_then(|strategy| strategy.merge_key.as_deref());
    let server_order = Order::of(original, key);
    if let Some(patch) = patch {
        check_order(&patch, order, key)?;
        merge(list, strategy, original, patch)?;
    }
    if let Some(key) = key {
        for item in order {
            identity(item, Some(key)).ok_or_else(|| no_merge_key(item, key))?;
        }
    }
    arrange(original, &Order::of(order, key), &server_order, key);
    Ok(())
}

/// Removes items that are equal to one of these.
pub(super) fn delete(original: &mut Vec<Value>, items: &[Value]) {
    let deleted: HashSet<String> = items.iter().map(ToString::to_string).collect();
    original.retain(|item| !deleted.contains(&item.to_string()));
}

enum Kind {
    Objects,
    Scalars,
}

/// All items of both lists are of one kind.
fn kind(original: &[Value], patch: &[Value]) -> Result<Kind, PatchError> {
    let all = || original.iter().chain(patch);
    if all().any(Value::is_array) {
        return Err(PatchError::Inapplicable("lists of lists are not supported".into()));
    }
    let objects = all().filter(|item| item.is_object()).count();
    if objects == 0 {
        return Ok(Kind::Scalars);
    }
    if objects == original.len() + patch.len() {
        return Ok(Kind::Objects);
    }
    let shown: Vec<String> = all().map(go_shown).collect();
    Err(PatchError::Unsupported(format!("list element types are not identical: [{}]", shown.join(" "))))
}

/// Merges objects by their key; gives the order in which the patch named them.
fn merge_objects(
    item: Option<Node<'_>>,
    original: &mut Vec<Value>,
    patch: Vec<Value>,
    key: &str,
) -> Result<Order, PatchError> {
    let mut deleted = HashSet::new();
    let mut replaced = false;
    let mut kept = Vec::with_capacity(patch.len());
    for item in patch {
        match item.get(PATCH).map(|directive| directive.as_str().unwrap_or_default()) {
            None => kept.push(item),
            Some("delete") => {
                deleted.insert(identity(&item, Some(key)).ok_or_else(|| no_merge_key(&item, key))?);
            }
            Some("replace") => replaced = true,
            Some("merge") => {
                let words = "merging lists cannot yet be specified in the patch";
                return Err(PatchError::Unsupported(words.into()));
            }
            Some(_) => {
                let fields = item.as_object().cloned().unwrap_or_default();
                return Err(unknown_directive(&item[PATCH], fields));
            }
        }
    }
    if replaced {
        original.clear();
    } else if !deleted.is_empty() {
        original.retain(|item| identity(item, Some(key)).is_none_or(|id| !deleted.contains(&id)));
    }
    let order = Order::of(&kept, Some(key));
    let mut places = Order::of(original, Some(key)).0;
    for patch in kept {
        let id = identity(&patch, Some(key)).ok_or_else(|| no_merge_key(&patch, key))?;
        match (places.get(&id).map(|at| &mut original[*at]), patch) {
            (Some(Value::Object(original)), Value::Object(patch)) => merge_object(item, original, patch)?,
            (_, patch) => {
                places.insert(id, original.len());
                original.extend(without_directives(patch));
            }
        }
    }
    Ok(order)
}

/// Where each item stands in a list, by its identity.
struct Order(HashMap<String, usize>);

impl Order {
    fn of(items: &[Value], key: Option<&str>) -> Self {
        let mut places = HashMap::with_capacity(items.len());
        for (at, item) in items.iter().enumerate() {
            if let Some(id) = identity(item, key) {
                places.entry(id).or_insert(at);
            }
        }
        Self(places)
    }
}

/// What tells an item from others: the value of its key, or itself.
fn identity(item: &Value, key: Option<&str>) -> Option<String> {
    match key {
        Some(key) => item.get(key).map(ToString::to_string),
        None => Some(item.to_string()),
    }
}

/// Items that the patch names stand in its order, others in the server's; where both know two items, the server decides
/// which of a named and another one comes first.
fn arrange(items: &mut Vec<Value>, patch: &Order, server: &Order, key: Option<&str>) {
    let place = |order: &Order, item: &Value| identity(item, key).and_then(|id| order.0.get(&id).copied());
    let (mut named, mut others): (Vec<Value>, Vec<Value>) =
        items.drain(..).partition(|item| place(patch, item).is_some());
    named.sort_by_key(|item| place(patch, item));
    others.sort_by_key(|item| place(server, item));
    let (mut named, mut others) = (named.into_iter().peekable(), others.into_iter().peekable());
    while let (Some(one), Some(other)) = (named.peek(), others.peek()) {
        let places = place(server, other).zip(place(server, one));
        let other_first = places.is_some_and(|(other, one)| other < one);
        items.extend(if other_first { others.next() } else { named.next() });
    }
    items.extend(others);
    items.extend(named);
}

/// The items of a patch stand in the order that `$setElementOrder` names.
fn check_order(patch: &[Value], order: &[Value], key: Option<&str>) -> Result<(), PatchError> {
    let mut named = order.iter().map(|item| identity(item, key));
    for item in patch.iter().filter(|item| item.get(PATCH).is_none()) {
        let id = identity(item, key);
        if let (None, Some(key)) = (&id, key) {
            return Err(no_merge_key(item, key));
        }
        if !named.any(|one| one == id) {
            let (patch, order) = (go_shown(&patch.into()), go_shown(&order.into()));
            return Err(PatchError::Unsupported(format!(
                "The order in patch list:\n{patch}\n doesn't match {SET_ORDER} list:\n{order}\n"
            )));
        }
    }
    Ok(())
}

fn no_merge_key(item: &Value, key: &str) -> PatchError {
    let map = go_shown(item);
    PatchError::Unsupported(format!("map: {map} does not contain declared merge key: {key}"))
}

/// `Container` for `io.k8s.api.core.v1.Container`.
fn type_name(node: Node<'_>) -> &str {
    let crate::schema::Type::Object(object) = node.ty() else { return "" };
    object.name.as_deref().and_then(|name| name.rsplit('.').next()).unwrap_or_default()
}
