//! A configuration merged into an object.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde_json::Value;

use super::list::{Shape, element_of};
use super::set::Element;
use crate::schema::Node;

/// The object, with all that the configuration states. A list with keys has the items of the configuration in its order,
/// with others where they stood.
pub(super) fn merge(node: Option<Node<'_>>, object: Value, config: &Value) -> Value {
    match (Shape::of(node, config), object, config) {
        (Shape::Fields, Value::Object(mut fields), _) if !fields.is_empty() => {
            for (name, value) in config.as_object().into_iter().flatten() {
                let child = node.and_then(|node| node.child(name));
                let merged = match fields.remove(name) {
                    Some(object) => merge(child, object, value),
                    None => value.clone(),
                };
                fields.insert(name.clone(), merged);
            }
            Value::Object(fields)
        }
        (Shape::Items(_), Value::Array(items), Value::Null) if !items.is_empty() => Value::Array(items),
        (Shape::Items(keys), Value::Array(items), Value::Array(config)) if !items.is_empty() => {
            lists(node, keys, items, config)
        }
        (_, _, config) => config.clone(),
    }
}

fn lists(node: Option<Node<'_>>, keys: &[Box<str>], items: Vec<Value>, config: &[Value]) -> Value {
    let item = node.and_then(Node::item);
    let told = |value: &Value| element_of(keys, item, value).ok();
    if items.iter().chain(config).any(|value| told(value).is_none()) {
        // The configuration was checked before; a stored list whose items cannot be told apart is replaced.
        return Value::Array(config.to_vec());
    }
    let elements = |values: &[Value]| values.iter().filter_map(told).collect::<Vec<Element>>();
    let (in_object, in_config) = (elements(&items), elements(config));
    let config: BTreeMap<&Element, &Value> = in_config.iter().zip(config).collect();
    // More than one where an older writer has listed an item twice.
    let mut object: BTreeMap<&Element, VecDeque<Value>> = BTreeMap::new();
    for (element, value) in in_object.iter().zip(items) {
        object.entry(element).or_default().push_back(value);
    }
    let merged = order(&in_object, &in_config).into_iter().filter_map(|element| {
        let values = object.get_mut(element);
        match (values, config.get(element)) {
            (Some(values), Some(config)) if values.len() == 1 => {
                Some(merge(item, values.pop_front()?, config))
            }
            (_, Some(config)) => Some((*config).clone()),
            (values, None) => values?.pop_front(),
        }
    });
    Value::Array(merged.collect())
}

/// The order of the configuration, with each item that only the object has before the shared one that it stood before.
fn order<'e>(object: &'e [Element], config: &'e [Element]) -> Vec<&'e Element> {
    let in_object: BTreeSet<&Element> = object.iter().collect();
    let in_config: BTreeSet<&Element> = config.iter().collect();
    let mut shared = config.iter().filter(|element| in_object.contains(element));
    let mut next_shared = shared.next();
    let mut done: BTreeSet<&Element> = BTreeSet::new();
    let mut order = Vec::with_capacity(object.len() + config.len());
    let (mut left, mut right) = (object.iter().peekable(), config.iter().peekable());
    loop {
        match (left.peek().copied(), right.peek().copied()) {
            (None, None) => break,
            (Some(one), Some(other)) if one == other => {
                order.push(one);
                done.insert(one);
                left.next();
                right.next();
                next_shared = shared.next();
                continue;
            }
            // Shared, but the configuration wants another shared item first.
            (Some(one), Some(_))
                if in_config.contains(one) && next_shared.is_some_and(|next| next != one) =>
            {
                left.next();
                continue;
            }
            (Some(one), _) if !in_config.contains(one) => {
                order.push(one);
                left.next();
                continue;
            }
            (Some(one), _) if done.contains(one) => {
                left.next();
            }
            _ => {}
        }
        let Some(other) = right.next() else {
            left.next();
            continue;
        };
        order.push(other);
        done.insert(other);
        if next_shared == Some(other) {
            next_shared = shared.next();
        }
    }
    order
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn items_stand_as_the_configuration_has_them() {
        let elements = |text: &str| -> Vec<Element> {
            text.chars().map(|c| Element::value(&json!(c.to_string()))).collect()
        };
        for (object, config, expected) in [
            ("abc", "abc", "abc"),
            ("abc", "b", "abc"),
            ("ab", "c", "abc"),
            ("ab", "ac", "abc"),
            ("xay", "ab", "xayb"),
            ("abc", "ca", "bca"),
            ("axb", "ba", "xba"),
            ("", "ab", "ab"),
            ("abcd", "dxa", "bcdxa"),
        ] {
            let merged: String = order(&elements(object), &elements(config))
                .iter()
                .map(|element| element.to_string().chars().nth(3).expect("a letter"))
                .collect();
            assert_eq!(merged, expected, "{object} and {config}");
        }
    }
}
