//! What differs between two values, field by field.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::list::{Shape, elements};
use super::set::{Element, Set};
use crate::schema::{Field, Node};

/// The fields in which two values differ.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Delta {
    /// Only in the new one.
    pub(super) added: Set,
    /// In both, with another value.
    pub(super) modified: Set,
    /// Only in the old one.
    pub(super) removed: Set,
}

impl Delta {
    /// Whether the values are the same.
    pub(super) fn is_empty(&self) -> bool {
        self.added.is_empty() && self.modified.is_empty() && self.removed.is_empty()
    }

    /// What has a value that it did not have.
    pub(super) fn changed(&self) -> Set {
        self.added.clone().union(&self.modified)
    }

    /// Forgets some fields, and all below them.
    pub(super) fn without(&mut self, fields: &Set) {
        for set in [&mut self.added, &mut self.modified, &mut self.removed] {
            set.difference_below(fields);
        }
    }

    fn attach(&mut self, element: &Element, below: Self) {
        let sets = [&mut self.added, &mut self.modified, &mut self.removed];
        for (set, below) in sets.into_iter().zip([below.added, below.modified, below.removed]) {
            if !below.is_empty() {
                set.attach(element.clone(), below);
            }
        }
    }
}

/// What differs between two objects.
pub(super) fn compare(node: Node<'_>, old: &Value, new: &Value) -> Delta {
    let mut delta = values(Some(node), Some(old), Some(new));
    // The object itself is nobody's.
    for set in [&mut delta.added, &mut delta.modified, &mut delta.removed] {
        set.drop_root();
    }
    delta
}

fn values(node: Option<Node<'_>>, old: Option<&Value>, new: Option<&Value>) -> Delta {
    let mut delta = Delta::default();
    match (old, new) {
        (None, None) => {}
        (Some(one), None) | (None, Some(one)) => {
            taken_apart(node, Shape::of(node, one), old, new, &mut delta);
            let set = if old.is_none() { &mut delta.added } else { &mut delta.removed };
            set.set_member();
        }
        (Some(before), Some(after)) => match (Shape::of(node, before), Shape::of(node, after)) {
            (Shape::Leaf, Shape::Leaf) => leaf(old, new, &mut delta),
            // Where the types differ, what was below the one has gone or come, and the value itself is another.
            (Shape::Leaf, shape) if !before.is_null() => {
                taken_apart(node, shape, None, new, &mut delta);
                delta.modified.set_member();
            }
            (shape, Shape::Leaf) if !after.is_null() => {
                taken_apart(node, shape, old, None, &mut delta);
                delta.modified.set_member();
            }
            (Shape::Leaf, shape) | (shape, _) => taken_apart(node, shape, old, new, &mut delta),
        },
    }
    delta
}

fn leaf(old: Option<&Value>, new: Option<&Value>, delta: &mut Delta) {
    match (old, new) {
        (Some(old), Some(new)) if old != new => delta.modified.set_member(),
        (None, Some(_)) => delta.added.set_member(),
        (Some(_), None) => delta.removed.set_member(),
        _ => {}
    }
}

fn taken_apart(
    node: Option<Node<'_>>,
    shape: Shape<'_>,
    old: Option<&Value>,
    new: Option<&Value>,
    delta: &mut Delta,
) {
    match shape {
        Shape::Leaf => leaf(old, new, delta),
        Shape::Fields => {
            let (before, after) = (old.and_then(Value::as_object), new.and_then(Value::as_object));
            if before.is_none_or(Map::is_empty) && after.is_none_or(Map::is_empty) {
                return leaf(old, new, delta);
            }
            fields(node, before, after, delta);
        }
        Shape::Items(keys) => {
            let (before, after) = (old.and_then(Value::as_array), new.and_then(Value::as_array));
            if before.is_none_or(Vec::is_empty) && after.is_none_or(Vec::is_empty) {
                return leaf(old, new, delta);
            }
            if before != after {
                items(node, keys, before, after, delta);
            }
        }
    }
}

fn fields(
    node: Option<Node<'_>>,
    old: Option<&Map<String, Value>>,
    new: Option<&Map<String, Value>>,
    delta: &mut Delta,
) {
    let mut field = |name: &str, before: Option<&Value>, after: Option<&Value>| {
        let unset = || node.and_then(|node| node.field(name)).and_then(go_zero);
        let before = before.or_else(|| old.and_then(|_| unset()));
        let after = after.or_else(|| new.and_then(|_| unset()));
        let below = values(node.and_then(|node| node.child(name)), before, after);
        if !below.is_empty() {
            delta.attach(&Element::field(name), below);
        }
    };
    for (name, after) in new.into_iter().flatten() {
        field(name, old.and_then(|old| old.get(name)), Some(after));
    }
    for (name, before) in old.into_iter().flatten() {
        if new.is_none_or(|new| !new.contains_key(name)) {
            field(name, Some(before), None);
        }
    }
}

/// What a field of a built-in kind is in Go when nobody has set it: a struct that is not held by pointer is there, empty,
/// and so is owned by nobody when it appears.
fn go_zero(field: &Field) -> Option<&Value> {
    let zero = field.default.as_ref().filter(|_| field.tag != 0)?;
    let is_zero = match zero {
        Value::Null => true,
        Value::Object(fields) => fields.is_empty(),
        Value::String(text) => matches!(text.as_str(), "" | "0" | "0s"),
        Value::Number(number) => number.as_i64() == Some(0),
        Value::Bool(boolean) => !boolean,
        Value::Array(_) => false,
    };
    is_zero.then_some(zero)
}

fn items<'v>(
    node: Option<Node<'_>>,
    keys: &[Box<str>],
    old: Option<&'v Vec<Value>>,
    new: Option<&'v Vec<Value>>,
    delta: &mut Delta,
) {
    let read = |list: Option<&'v Vec<Value>>| elements(keys, node, list.map_or(&[], Vec::as_slice));
    let (Ok(before), Ok(after)) = (read(old), read(new)) else {
        // An item that cannot be told apart got in before there was a check: the list is owned as a whole.
        delta.modified.set_member();
        return;
    };
    let mut sides: BTreeMap<Element, [Vec<&Value>; 2]> = BTreeMap::new();
    for (side, list) in [before, after].into_iter().enumerate() {
        for (element, value) in list {
            sides.entry(element).or_default()[side].push(value);
        }
    }
    let item = node.and_then(Node::item);
    for (element, [before, after]) in sides {
        let mut below = Delta::default();
        match (before.as_slice(), after.as_slice()) {
            ([], [one]) => below = values(item, None, Some(one)),
            ([one], []) => below = values(item, Some(one), None),
            ([one], [other]) => below = values(item, Some(one), Some(other)),
            // Duplicates are owned as a whole.
            ([], _) => below.added.set_member(),
            (_, []) => below.removed.set_member(),
            (before, after) if before != after => below.modified.set_member(),
            _ => {}
        }
        delta.attach(&element, below);
    }
}
