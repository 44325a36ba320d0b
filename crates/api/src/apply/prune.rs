//! What a manager stated before and states no more is removed, unless somebody else owns it.

use serde_json::Value;

use super::extract::set_of;
use super::list::{Shape, element_of};
use super::set::Set;
use crate::schema::{Node, Type};

/// The object without what is only in `last`, the set that the manager had: what is in `owned`, the union of all sets as
/// they are now, stays; so does what the manager never owned, such as other fields of an item that it does not list any more.
pub(super) fn prune(node: Node<'_>, merged: Value, last: &Set, owned: &Set) -> Value {
    let last = with_named(Some(node), last);
    let fields = with_named(Some(node), &set_of(node, &merged));
    let pruned = remove(node, merged.clone(), &last);

    // What others own comes back, with what it stands in.
    let kept = with_named(Some(node), &set_of(node, &pruned)).union(&with_named(Some(node), owned));
    let mut unowned = fields.clone();
    unowned.difference(&kept);
    let pruned = remove(node, merged.clone(), &unowned);

    // Of what is gone now, only what the manager did own goes.
    let mut gone = fields;
    gone.difference(&with_named(Some(node), &set_of(node, &pruned)));
    remove(node, merged, &gone.intersection(&last))
}

/// The set, with each named field on the way to what is in it: such a field is nothing without what is below.
fn with_named(node: Option<Node<'_>>, set: &Set) -> Set {
    let mut named = Set::default();
    if set.is_member() {
        named.set_member();
    }
    for (element, below) in set.children() {
        let (child, declared) = match element.name() {
            Some(name) => (
                node.and_then(|node| node.child(name)),
                node.is_some_and(|node| matches!(node.ty(), Type::Object(_)) && node.field(name).is_some()),
            ),
            None => (node.and_then(Node::item), false),
        };
        let mut below = with_named(child, below);
        if declared {
            below.set_member();
        }
        named.attach(element.clone(), below);
    }
    named
}

fn remove(node: Node<'_>, mut value: Value, removed: &Set) -> Value {
    remove_from(Some(node), &mut value, removed);
    value
}

/// Removes what is in the set; what becomes empty by it stays, since it is owned itself or was not this manager's.
fn remove_from(node: Option<Node<'_>>, value: &mut Value, removed: &Set) {
    match (Shape::of(node, value), value) {
        (Shape::Fields, Value::Object(fields)) => {
            for (element, below) in removed.children() {
                let Some(name) = element.name() else { continue };
                if below.is_member() {
                    fields.remove(name);
                } else if let Some(value) = fields.get_mut(name) {
                    remove_from(node.and_then(|node| node.child(name)), value, below);
                }
            }
        }
        (Shape::Items(keys), Value::Array(items)) => {
            let item = node.and_then(Node::item);
            items.retain_mut(|value| {
                let below = element_of(keys, item, value).ok().and_then(|element| removed.child(&element));
                let Some(below) = below else { return true };
                if !below.is_member() {
                    remove_from(item, value, below);
                }
                !below.is_member()
            });
        }
        _ => {}
    }
}
