//! Writes that do not apply: what they change, they own.

use std::sync::LazyLock;

use serde_json::{Map, Value, json};

use super::Manager;
use super::cap::cap;
use super::compare::compare;
use super::managed::{Managed, Operation, Owned};
use super::set::{Element, Set};
use crate::object;
use crate::schema::Node;

/// Gives what differs between `old` (none when the object is created) and `new` to the manager, and takes it from all
/// others; writes `managedFields` into `new`. Both are decoded and defaulted.
///
/// A client may send `managedFields` of its own, and `[{}]` to be rid of them; what cannot be read is passed over, and
/// through a subresource they are not changed. An object without any is not tracked, until somebody applies to it.
pub fn track(node: Node<'_>, old: Option<&Value>, new: &mut Value, manager: &Manager<'_>) {
    let sent = take_managed(new);
    let live = old.map_or(&Value::Null, |old| &old["metadata"]["managedFields"]);
    let read = |entries: &Value| Managed::decode(entries).unwrap_or_default();
    let mut managed = if is_reset(&sent) && manager.subresource.is_empty() {
        Managed::default()
    } else if manager.subresource.is_empty() && sent != *live {
        Some(read(&sent)).filter(|managed| !managed.is_empty()).unwrap_or_else(|| read(live))
    } else {
        read(live)
    };
    managed.fit(node);
    let is_update = old.is_some_and(|old| !object::uid(old).is_empty());
    if managed.is_empty() && is_update {
        return;
    }
    let nothing = nothing();
    take_over(node, old.unwrap_or(&nothing), new, &mut managed, manager);
    cap(&mut managed);
    put_managed(new, managed.encode());
}

/// Gives what differs between two objects to the manager.
pub(super) fn take_over(
    node: Node<'_>,
    old: &Value,
    new: &Value,
    managed: &mut Managed,
    manager: &Manager<'_>,
) {
    let mut delta = compare(node, old, new);
    delta.without(&manager.reset_set());
    if delta.is_empty() {
        return;
    }
    managed.give_up(&delta);
    let mut own = delta.added.union(&delta.modified);
    own.difference(stripped());
    if own.is_empty() {
        return;
    }
    let id = manager.id(Operation::Update);
    let before = managed.remove(&id).map(|owned| owned.set);
    let set = before.map_or(own.clone(), |before| before.union(&own));
    managed
        .insert(id, Owned { api_version: manager.api_version.into(), time: Some(manager.now.into()), set });
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

/// Whether a client asks to forget who owns what.
fn is_reset(sent: &Value) -> bool {
    let is_empty =
        |entry: &Value| entry.as_object().is_some_and(|fields| fields.values().all(Value::is_null));
    matches!(sent.as_array().map(Vec::as_slice), Some([entry]) if is_empty(entry))
}
