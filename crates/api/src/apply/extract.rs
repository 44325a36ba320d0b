//! The fields that a value states.

use std::collections::BTreeSet;

use serde_json::Value;

use super::list::{Shape, element_of};
use super::set::{Element, Set};
use crate::patch::go_shown;
use crate::schema::{Node, Scalar, Type};

/// Most mistakes that are told of one object.
const ERRORS_MAX: usize = 100;

/// The fields that a configuration states; what its type does not allow is an error, and so is an item that is listed twice.
///
/// # Errors
/// One for each mistake, with its path.
pub(super) fn set_of_config(node: Node<'_>, config: &Value) -> Result<Set, Vec<String>> {
    let mut walk = Walk { strict: true, path: Vec::new(), errors: Vec::new() };
    let mut set = Set::default();
    walk.value(Some(node), config, &mut set);
    if walk.errors.is_empty() { Ok(set) } else { Err(walk.errors) }
}

/// The fields that an object has, whether or not its type allows them.
pub(super) fn set_of(node: Node<'_>, object: &Value) -> Set {
    let mut walk = Walk { strict: false, path: Vec::new(), errors: Vec::new() };
    let mut set = Set::default();
    walk.value(Some(node), object, &mut set);
    set
}

struct Walk {
    strict: bool,
    path: Vec<Element>,
    errors: Vec<String>,
}

impl Walk {
    fn error(&mut self, words: &str) {
        if self.strict && self.errors.len() < ERRORS_MAX {
            let path: String = self.path.iter().map(ToString::to_string).collect();
            self.errors.push(if path.is_empty() { words.into() } else { format!("{path}: {words}") });
        }
    }

    fn value(&mut self, node: Option<Node<'_>>, value: &Value, set: &mut Set) {
        if let Some(words) = node.and_then(|node| type_error(node, value)) {
            self.error(&words);
        }
        match Shape::of(node, value) {
            Shape::Leaf => set.set_member(),
            Shape::Fields => self.fields(node, value, set),
            Shape::Items(keys) => self.items(node, keys, value, set),
        }
    }

    fn fields(&mut self, node: Option<Node<'_>>, value: &Value, set: &mut Set) {
        let named = node.and_then(|node| match node.ty() {
            Type::Object(object) => Some(object),
            _ => None,
        });
        for (name, value) in value.as_object().into_iter().flatten() {
            let declared = named.is_some_and(|object| object.field(name).is_some());
            let element = Element::field(name);
            self.path.push(element.clone());
            if named.is_some_and(|object| !declared && !object.preserve_unknown) {
                self.error("field not declared in schema");
            } else {
                let mut below = Set::default();
                self.value(node.and_then(|node| node.child(name)), value, &mut below);
                let is_empty = value.is_null() || value.as_object().is_some_and(|fields| fields.is_empty());
                if is_empty || !declared {
                    below.set_member();
                }
                set.attach(element, below);
            }
            self.path.pop();
        }
    }

    fn items(&mut self, node: Option<Node<'_>>, keys: &[Box<str>], value: &Value, set: &mut Set) {
        let item = node.and_then(Node::item);
        let mut duplicates = BTreeSet::new();
        for (at, value) in value.as_array().into_iter().flatten().enumerate() {
            let element = match element_of(keys, item, value) {
                Ok(element) => element,
                Err(words) => {
                    self.error(&format!("element {at}: {words}"));
                    continue;
                }
            };
            let seen = set.child(&element).is_some();
            if seen && duplicates.insert(element.clone()) {
                self.error(&format!("duplicate entries for key {element}"));
            }
            self.path.push(element.clone());
            let mut below = Set::default();
            if !seen {
                self.value(item, value, &mut below);
            }
            below.set_member();
            set.attach(element, below);
            self.path.pop();
        }
        for element in duplicates {
            set.keep_member_only(&element);
        }
    }
}

/// What is said of a value of the wrong type.
fn type_error(node: Node<'_>, value: &Value) -> Option<String> {
    let shown = || format!("&{{{}}}", go_shown(value));
    match (node.ty(), value) {
        (_, Value::Null) | (Type::Any, _) => None,
        (Type::Object(_) | Type::Map(_), value) => {
            (!value.is_object()).then(|| format!("expected map, got {}", shown()))
        }
        (Type::List(_), value) => (!value.is_array()).then(|| format!("expected list, got {}", shown())),
        (Type::Scalar(scalar), value) => scalar_error(*scalar, value),
    }
}

fn scalar_error(scalar: Scalar, value: &Value) -> Option<String> {
    let text = || format!("&value.valueUnstructured{{Value:{value}}}");
    match scalar {
        Scalar::String | Scalar::Bytes => {
            (!value.is_string()).then(|| format!("expected string, got {}", text()))
        }
        Scalar::Boolean => {
            (!value.is_boolean()).then(|| format!("expected boolean, got &{{{}}}", go_shown(value)))
        }
        Scalar::Int32 | Scalar::Int64 | Scalar::Double => (!value.is_number())
            .then(|| "expected numeric (int or float), got *value.valueUnstructured".to_string()),
        // Forms with a reader of their own are told by it, as upstream.
        Scalar::IntOrString | Scalar::Quantity | Scalar::Time | Scalar::MicroTime | Scalar::Duration => {
            let container = value.is_object() || value.is_array();
            container.then(|| format!("expected any scalar, got &{{{}}}", go_shown(value)))
        }
    }
}
