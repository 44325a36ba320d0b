//! Writes that do not apply: what they change, they own.

use std::sync::LazyLock;

use serde_json::{Map, Value, json};

use super::Manager;
use super::cap::{UPDATE_MANAGERS_MAX, cap};
use super::compare::{Delta, compare};
use super::managed::{Managed, Operation, Owned, entry, is_of, sorted};
use super::set::{Element, Set};
use crate::object;
use crate::schema::{Node, Type};

/// Gives what differs between `old` (none when the object is created) and `new` to the manager, and takes it from all
/// others; writes `managedFields` into `new`. Both are decoded and defaulted.
///
/// A client may send `managedFields` of its own, and `[{}]` to be rid of them; what cannot be read is passed over, and
/// through a subresource they are not changed. An object without any is not tracked, until somebody applies to it.
pub fn track(node: Node<'_>, old: Option<&Value>, new: &mut Value, manager: &Manager<'_>) {
    let sent = take_managed(new);
    let live = old.map_or(&Value::Null, |old| &old["metadata"]["managedFields"]);
    let by_itself = manager.subresource.is_empty();
    let is_update = old.is_some_and(|old| !object::uid(old).is_empty());
    let nothing = nothing();
    let old = old.unwrap_or(&nothing);
    let is_as_stored = sent == *live || sent.is_null() || !by_itself;
    let entries = if sent == *live {
        sent
    } else if is_as_stored {
        live.clone()
    } else {
        sent
    };
    let few = entries.as_array().is_some_and(|entries| entries.len() < UPDATE_MANAGERS_MAX);
    if is_as_stored && few && is_built_in(node) {
        put_managed(new, quick(node, old, new, entries, manager));
        return;
    }
    let read = |entries: &Value| Managed::decode(entries).unwrap_or_default();
    let mut managed = if is_reset(&entries) && by_itself {
        Managed::default()
    } else {
        Some(read(&entries)).filter(|managed| !managed.is_empty()).unwrap_or_else(|| read(live))
    };
    managed.fit(node);
    if managed.is_empty() && is_update {
        return;
    }
    take_over(node, old, new, &mut managed, manager);
    cap(&mut managed);
    put_managed(new, managed.encode());
}

/// The same, where the entries are those that were stored, too few to be put together, and of a type that never changes:
/// only those are read that own something that differs.
fn quick(node: Node<'_>, old: &Value, new: &Value, entries: Value, manager: &Manager<'_>) -> Vec<Value> {
    let Value::Array(mut entries) = entries else { return Vec::new() };
    let Some((delta, mut own)) = difference(node, old, new, manager) else { return entries };
    let differs = [&delta.added, &delta.modified, &delta.removed];
    let id = manager.id(Operation::Update);
    entries.retain_mut(|entry| {
        let mine = !own.is_empty() && is_of(entry, &id);
        let fields = &mut entry["fieldsV1"];
        if !mine && !differs.iter().any(|set| set.touches(fields)) {
            return true;
        }
        let mut set = Set::from_value(fields).unwrap_or_default();
        differs.iter().for_each(|differs| set.difference(differs));
        if mine {
            own.add(&set);
            return false;
        }
        *fields = set.to_value();
        !set.is_empty()
    });
    if own.is_empty() {
        return entries;
    }
    let owned = Owned { api_version: manager.api_version.into(), time: manager.time(), set: own };
    entries.push(entry(&id, &owned));
    sorted(entries)
}

/// Gives what differs between two objects to the manager.
pub(super) fn take_over(
    node: Node<'_>,
    old: &Value,
    new: &Value,
    managed: &mut Managed,
    manager: &Manager<'_>,
) {
    let Some((delta, mut own)) = difference(node, old, new, manager) else { return };
    managed.give_up(&delta);
    if own.is_empty() {
        return;
    }
    let id = manager.id(Operation::Update);
    if let Some(before) = managed.remove(&id) {
        own.add(&before.set);
    }
    let owned = Owned { api_version: manager.api_version.into(), time: manager.time(), set: own };
    managed.insert(id, owned);
}

/// What differs between two objects, and what of it a manager can own; none when nothing does.
fn difference(node: Node<'_>, old: &Value, new: &Value, manager: &Manager<'_>) -> Option<(Delta, Set)> {
    let mut delta = compare(node, old, new);
    delta.without(&manager.reset_set());
    if delta.is_empty() {
        return None;
    }
    let mut own = delta.changed();
    own.difference(stripped());
    Some((delta, own))
}

/// What nobody owns: the server writes it.
pub(super) fn stripped() -> &'static Set {
    static STRIPPED: LazyLock<Set> = LazyLock::new(|| {
        let mut set = Set::default();
        for field in ["apiVersion", "kind", "metadata"] {
            set.insert(&[Element::field(field)]);
        }
        for field in [
            "name",
            "namespace",
            "creationTimestamp",
            "selfLink",
            "uid",
            "clusterName",
            "generation",
            "managedFields",
            "resourceVersion",
        ] {
            set.insert(&[Element::field("metadata"), Element::field(field)]);
        }
        set
    });
    &STRIPPED
}

/// The object before there is one.
pub(super) fn nothing() -> Value {
    json!({})
}

/// Takes `managedFields` out of an object; `null` when there are none.
pub(super) fn take_managed(object: &mut Value) -> Value {
    let metadata = object.get_mut("metadata").and_then(Value::as_object_mut);
    metadata.and_then(|metadata| metadata.remove("managedFields")).unwrap_or_default()
}

/// Puts entries into an object; none leave it without `managedFields`.
pub(super) fn put_managed(object: &mut Value, entries: Vec<Value>) {
    let Value::Object(fields) = object else { return };
    if entries.is_empty() {
        return;
    }
    let metadata = fields.entry("metadata").or_insert_with(|| Value::Object(Map::new()));
    if let Value::Object(metadata) = metadata {
        metadata.insert("managedFields".into(), Value::Array(entries));
    }
}

/// Whether a type has a form in protobuf: only built-in kinds have, and they do not change.
fn is_built_in(node: Node<'_>) -> bool {
    matches!(node.ty(), Type::Object(object) if object.fields.iter().any(|field| field.tag != 0))
}

/// Whether a client asks to forget who owns what.
fn is_reset(sent: &Value) -> bool {
    let is_empty =
        |entry: &Value| entry.as_object().is_some_and(|fields| fields.values().all(Value::is_null));
    matches!(sent.as_array().map(Vec::as_slice), Some([entry]) if is_empty(entry))
}
