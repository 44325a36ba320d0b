//! Values into messages.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::below;
use super::wire::{put_bytes, put_fixed64, put_number};
use crate::schema::{Field, Node, Scalar, Type, Union};
use crate::time::{Duration, Moment};

/// Writes a message of an object type.
pub(super) fn message(node: Node<'_>, value: &Value, bytes: &mut Vec<u8>) {
    let (Type::Object(object), Value::Object(fields)) = (node.ty(), value) else { return };
    let mut present: Vec<(&Field, &Value)> = fields
        .iter()
        .filter_map(|(name, value)| Some((object.field(name)?, value)))
        .filter(|(field, value)| field.tag != 0 && !value.is_null())
        .collect();
    present.sort_by_key(|(field, _)| place(field.tag));
    inlined(node, &present, 0, bytes);
}

/// The numbers of a field, from the outside in.
fn place(tag: u32) -> [u8; 4] {
    let mut numbers = tag.to_be_bytes();
    let unused = numbers.iter().take_while(|number| **number == 0).count();
    numbers.rotate_left(unused.min(3));
    numbers
}

/// Writes those of the fields that are below the numbers of `prefix`; they are sorted by [`place`].
fn inlined(node: Node<'_>, fields: &[(&Field, &Value)], prefix: u32, bytes: &mut Vec<u8>) {
    let mut at = 0;
    while let Some((field, value)) = fields.get(at) {
        if field.tag >> 8 == prefix {
            write_field(node.at(field.ty), field.tag & 0xff, value, bytes);
            at += 1;
            continue;
        }
        // A message within: all that follow with the same number.
        let Some(inner) =
            [8, 16, 24].map(|bits| field.tag >> bits).into_iter().find(|tag| tag >> 8 == prefix)
        else {
            at += 1;
            continue;
        };
        let count = fields[at..].iter().take_while(|(field, _)| below(field.tag, inner)).count().max(1);
        let mut content = Vec::new();
        inlined(node, &fields[at..at + count], inner, &mut content);
        put_bytes(inner & 0xff, &content, bytes);
        at += count;
    }
}

fn write_field(node: Node<'_>, number: u32, value: &Value, bytes: &mut Vec<u8>) {
    match (node.ty(), value) {
        (Type::List(list), Value::Array(items)) => {
            items.iter().for_each(|item| write(node.at(list.item), number, item, bytes));
        }
        (Type::Map(map), Value::Object(values)) => {
            for (key, value) in values {
                let mut entry = Vec::new();
                put_bytes(1, key.as_bytes(), &mut entry);
                map_value(node.at(map.value), value, &mut entry);
                put_bytes(number, &entry, bytes);
            }
        }
        _ => write(node, number, value, bytes),
    }
}

/// A list as a value of a map is a message with items.
fn map_value(node: Node<'_>, value: &Value, entry: &mut Vec<u8>) {
    let (Type::List(list), Value::Array(items)) = (node.ty(), value) else {
        return write(node, 2, value, entry);
    };
    let mut wrapped = Vec::new();
    items.iter().for_each(|item| write(node.at(list.item), 1, item, &mut wrapped));
    put_bytes(2, &wrapped, entry);
}

fn write(node: Node<'_>, number: u32, value: &Value, bytes: &mut Vec<u8>) {
    match node.ty() {
        Type::Scalar(scalar) => write_scalar(*scalar, number, value, bytes),
        Type::Object(_) => {
            let mut content = Vec::new();
            message(node, value, &mut content);
            put_bytes(number, &content, bytes);
        }
        Type::Any => put_bytes(number, &any(node, value), bytes),
        // No kind has a list of lists or of maps.
        Type::List(_) | Type::Map(_) => {}
    }
}

fn write_scalar(scalar: Scalar, number: u32, value: &Value, bytes: &mut Vec<u8>) {
    let text = value.as_str();
    match scalar {
        Scalar::String => {
            if let Some(text) = text {
                put_bytes(number, text.as_bytes(), bytes);
            }
        }
        Scalar::Bytes => {
            if let Some(content) = text.and_then(|text| STANDARD.decode(text).ok()) {
                put_bytes(number, &content, bytes);
            }
        }
        Scalar::Boolean => {
            if let Some(truth) = value.as_bool() {
                put_number(number, u64::from(truth), bytes);
            }
        }
        Scalar::Int32 | Scalar::Int64 => {
            if let Some(whole) = value.as_i64() {
                put_number(number, whole.cast_unsigned(), bytes);
            }
        }
        Scalar::Double => {
            if let Some(amount) = value.as_f64() {
                put_fixed64(number, amount.to_bits(), bytes);
            }
        }
        Scalar::IntOrString => put_bytes(number, &int_or_string(value), bytes),
        Scalar::Quantity => {
            let amount = text.map_or_else(|| value.to_string(), String::from);
            let mut content = Vec::new();
            put_bytes(1, amount.as_bytes(), &mut content);
            put_bytes(number, &content, bytes);
        }
        Scalar::Time | Scalar::MicroTime => {
            if let Some(moment) = text.and_then(|text| text.parse::<Moment>().ok()) {
                let nanos = moment.micros().rem_euclid(1_000_000) * 1000;
                let nanos = if scalar == Scalar::Time { 0 } else { nanos };
                let mut content = Vec::new();
                put_number(1, moment.seconds().cast_unsigned(), &mut content);
                put_number(2, nanos.cast_unsigned(), &mut content);
                put_bytes(number, &content, bytes);
            }
        }
        Scalar::Duration => {
            if let Some(duration) = text.and_then(|text| text.parse::<Duration>().ok()) {
                let mut content = Vec::new();
                put_number(1, duration.0.cast_unsigned(), &mut content);
                put_bytes(number, &content, bytes);
            }
        }
    }
}

fn int_or_string(value: &Value) -> Vec<u8> {
    let mut content = Vec::new();
    let text = value.as_str();
    put_number(1, u64::from(text.is_some()), &mut content);
    put_number(2, value.as_i64().unwrap_or_default().cast_unsigned(), &mut content);
    put_bytes(3, text.unwrap_or_default().as_bytes(), &mut content);
    content
}

/// Raw JSON, or an object or something else.
fn any(node: Node<'_>, value: &Value) -> Vec<u8> {
    let mut content = Vec::new();
    let object = |props, number: u32, content: &mut Vec<u8>| {
        let mut schema = Vec::new();
        message(node.at(props), value, &mut schema);
        put_bytes(number, &schema, content);
    };
    match (node.union(), value) {
        (Some(Union::Boolean(_)), Value::Bool(truth)) => put_number(1, u64::from(*truth), &mut content),
        (Some(Union::Boolean(props)), _) => {
            // An object means that anything is allowed that it describes.
            put_number(1, 1, &mut content);
            object(props, 2, &mut content);
        }
        (Some(Union::List(props)), Value::Array(items)) => {
            for item in items {
                let mut schema = Vec::new();
                message(node.at(props), item, &mut schema);
                put_bytes(2, &schema, &mut content);
            }
        }
        (Some(Union::Strings(_)), Value::Array(items)) => {
            for item in items.iter().filter_map(Value::as_str) {
                put_bytes(2, item.as_bytes(), &mut content);
            }
        }
        (Some(Union::List(props) | Union::Strings(props)), _) => object(props, 1, &mut content),
        (None, _) => put_bytes(1, value.to_string().as_bytes(), &mut content),
    }
    content
}
