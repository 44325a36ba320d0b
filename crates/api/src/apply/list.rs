//! How a value is taken apart, and what tells the items of a list apart.

use serde_json::{Map, Value};

use super::set::Element;
use crate::schema::{ListKind, Node, Type};

/// How a value is owned.
#[derive(Clone, Copy, Debug)]
pub(super) enum Shape<'s> {
    /// As a whole.
    Leaf,
    /// Field by field.
    Fields,
    /// Item by item: told apart by these fields, or by themselves when there are none.
    Items(&'s [Box<str>]),
}

impl<'s> Shape<'s> {
    /// By its type; where that is unknown (fields that a custom resource preserves), objects are taken apart and lists are not.
    pub(super) fn of(node: Option<Node<'s>>, value: &Value) -> Self {
        let Some(node) = node else {
            return if value.is_object() { Self::Fields } else { Self::Leaf };
        };
        let fits_object = value.is_object() || value.is_null();
        match node.ty() {
            Type::Object(object) if !object.atomic && fits_object => Self::Fields,
            Type::Map(map) if !map.atomic && fits_object => Self::Fields,
            Type::List(list) if value.is_array() || value.is_null() => match &list.kind {
                ListKind::Atomic => Self::Leaf,
                ListKind::Set => Self::Items(&[]),
                ListKind::Map(keys) => Self::Items(keys),
            },
            _ => Self::Leaf,
        }
    }
}

/// Whether nothing below a value of this type is owned by itself.
pub(super) fn is_owned_as_a_whole(node: Node<'_>) -> bool {
    match node.ty() {
        Type::Scalar(_) | Type::Any => true,
        Type::Object(object) => object.atomic,
        Type::Map(map) => map.atomic,
        Type::List(list) => list.kind == ListKind::Atomic,
    }
}

/// What tells an item of a list apart: its keys, or itself when there are none.
pub(super) fn element_of(
    keys: &[Box<str>],
    item: Option<Node<'_>>,
    value: &Value,
) -> Result<Element, String> {
    if keys.is_empty() {
        return match value {
            Value::Object(_) => Err("associative list without keys has an element that's a map type".into()),
            Value::Array(_) => Err("not supported: associative list with lists as elements".into()),
            Value::Null => Err("associative list without keys has an element that's an explicit null".into()),
            scalar => Ok(Element::value(scalar)),
        };
    }
    let fields = match value {
        Value::Object(fields) => fields,
        Value::Null => return Err("associative list with keys may not have a null element".into()),
        _ => return Err("associative list with keys may not have non-map elements".into()),
    };
    let field = |key: &str| item.and_then(|item| item.field(key));
    let default = |key: &str| field(key)?.default.as_ref().filter(|value| !value.is_null());
    let mut found = Map::new();
    for key in keys {
        let value = fields.get(&**key).or_else(|| default(key)).ok_or_else(|| {
            format!(
                "associative list with keys has an element that omits key field {key:?} (and doesn't have default \
                 value)"
            )
        })?;
        found.insert(key.to_string(), value.clone());
    }
    Ok(Element::key(found))
}

/// The items of a list with what tells them apart; an error when one cannot be told.
pub(super) fn elements<'v>(
    keys: &[Box<str>],
    list: Option<Node<'_>>,
    items: &'v [Value],
) -> Result<Vec<(Element, &'v Value)>, String> {
    let item = list.and_then(Node::item);
    items.iter().map(|value| element_of(keys, item, value).map(|element| (element, value))).collect()
}
