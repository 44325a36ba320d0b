//! Messages into values.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Number, Value};

use super::wire::{Fields, Item};
use super::{DEPTH_MAX, ProtoError, below, open};
use crate::quantity::Quantity;
use crate::schema::{Field, Node, Object, Scalar, Type, Union, builtin};
use crate::time::{Duration, Moment};

/// Reads a message of an object type.
pub(super) fn message(node: Node<'_>, bytes: &[u8], depth: usize) -> Result<Map<String, Value>, ProtoError> {
    let mut fields = Map::new();
    if let Type::Object(object) = node.ty() {
        inlined(node, object, 0, bytes, &mut fields, depth)?;
    }
    Ok(fields)
}

/// Reads a message, or one within it that Go inlines: `prefix` are the numbers down to there.
fn inlined(
    node: Node<'_>,
    object: &Object,
    prefix: u32,
    bytes: &[u8],
    fields: &mut Map<String, Value>,
    depth: usize,
) -> Result<(), ProtoError> {
    if depth > DEPTH_MAX {
        return Err(ProtoError::TooDeep);
    }
    let mut items = Fields(bytes);
    while let Some((number, item)) = items.next()? {
        // Numbers of our kinds fit a byte; a larger one is of a newer version.
        let Ok(number) = u8::try_from(number) else { continue };
        let tag = prefix << 8 | u32::from(number);
        if let Some(field) = object.fields.iter().find(|field| field.tag == tag) {
            read_field(node.at(field.ty), field, item, fields, depth)?;
        } else if let (Item::Bytes(content), true) =
            (item, object.fields.iter().any(|field| below(field.tag, tag)))
        {
            inlined(node, object, tag, content, fields, depth + 1)?;
        }
    }
    Ok(())
}

fn read_field(
    node: Node<'_>,
    field: &Field,
    item: Item<'_>,
    fields: &mut Map<String, Value>,
    depth: usize,
) -> Result<(), ProtoError> {
    match node.ty() {
        Type::List(list) => {
            let values = fields.entry(&*field.name).or_insert_with(|| Value::Array(Vec::new()));
            let Value::Array(values) = values else { return Ok(()) };
            read_items(node.at(list.item), &field.name, item, values, depth)
        }
        Type::Map(map) => {
            let values = fields.entry(&*field.name).or_insert_with(|| Value::Object(Map::new()));
            let Value::Object(values) = values else { return Ok(()) };
            let (key, value) = entry(node.at(map.value), &field.name, bytes(&field.name, item)?, depth)?;
            values.insert(key, value);
            Ok(())
        }
        _ => {
            // A moment that is none is as good as left out.
            match read(node, &field.name, item, depth)? {
                Value::Null => fields.remove(&*field.name),
                value => fields.insert((*field.name).into(), value),
            };
            Ok(())
        }
    }
}

/// An item of a list; or all of them, packed.
fn read_items(
    node: Node<'_>,
    name: &str,
    item: Item<'_>,
    values: &mut Vec<Value>,
    depth: usize,
) -> Result<(), ProtoError> {
    let is_number = matches!(node.ty(), Type::Scalar(Scalar::Int32 | Scalar::Int64 | Scalar::Boolean));
    if let (true, Item::Bytes(content)) = (is_number, item) {
        let mut packed = Fields(content);
        while !packed.0.is_empty() {
            values.push(read(node, name, Item::Varint(packed.varint()?), depth)?);
        }
        return Ok(());
    }
    values.push(read(node, name, item, depth)?);
    Ok(())
}

/// One entry of a map: a message of key and value.
fn entry(node: Node<'_>, name: &str, content: &[u8], depth: usize) -> Result<(String, Value), ProtoError> {
    let (mut key, mut value) = (String::new(), crate::defaults::zero(node));
    let mut fields = Fields(content);
    while let Some((number, item)) = fields.next()? {
        match number {
            1 => key = text(name, bytes(name, item)?)?,
            // A list as a value of a map is a message with items.
            2 => match node.ty() {
                Type::List(list) => value = wrapped(node.at(list.item), name, bytes(name, item)?, depth + 1)?,
                _ => value = read(node, name, item, depth + 1)?,
            },
            _ => {}
        }
    }
    Ok((key, value))
}

fn wrapped(node: Node<'_>, name: &str, content: &[u8], depth: usize) -> Result<Value, ProtoError> {
    let mut values = Vec::new();
    let mut fields = Fields(content);
    while let Some((number, item)) = fields.next()? {
        if number == 1 {
            read_items(node, name, item, &mut values, depth)?;
        }
    }
    Ok(Value::Array(values))
}

fn read(node: Node<'_>, name: &str, item: Item<'_>, depth: usize) -> Result<Value, ProtoError> {
    if depth > DEPTH_MAX {
        return Err(ProtoError::TooDeep);
    }
    match node.ty() {
        Type::Scalar(scalar) => read_scalar(*scalar, name, item),
        Type::Object(_) => message(node, bytes(name, item)?, depth + 1).map(Value::Object),
        Type::Any => any(node, name, bytes(name, item)?, depth),
        // No kind has a list of lists or of maps.
        Type::List(_) | Type::Map(_) => Ok(Value::Null),
    }
}

fn read_scalar(scalar: Scalar, name: &str, item: Item<'_>) -> Result<Value, ProtoError> {
    Ok(match scalar {
        Scalar::String => Value::String(text(name, bytes(name, item)?)?),
        Scalar::Bytes => Value::String(STANDARD.encode(bytes(name, item)?)),
        Scalar::Boolean => Value::Bool(varint(name, item)? != 0),
        Scalar::Int32 => Value::from(low_half(varint(name, item)?)),
        Scalar::Int64 => Value::from(varint(name, item)?.cast_signed()),
        Scalar::Double => match item {
            Item::Fixed64(bits) => Number::from_f64(f64::from_bits(bits)).map_or(Value::Null, Value::Number),
            other => return Err(wrong(name, other)),
        },
        Scalar::IntOrString => {
            let [kind, number] = [1, 2].map(|place| number_at(bytes(name, item)?, place));
            match kind? {
                0 => Value::from(low_half(number?)),
                _ => Value::String(text(name, bytes_at(bytes(name, item)?, 3)?)?),
            }
        }
        Scalar::Quantity => {
            let amount = text(name, bytes_at(bytes(name, item)?, 1)?)?;
            let amount = if amount.is_empty() { "0" } else { &amount };
            let canonical = Quantity::canonical(amount);
            Value::String(
                canonical.map_err(|why| ProtoError::Value { field: name.into(), why: why.to_string() })?,
            )
        }
        Scalar::Time | Scalar::MicroTime => moment(scalar, bytes(name, item)?)?,
        Scalar::Duration => {
            let nanos = number_at(bytes(name, item)?, 1)?.cast_signed();
            Value::String(Duration(nanos).to_string())
        }
    })
}

/// Seconds and nanoseconds since 1970; nothing at all is no moment.
fn moment(scalar: Scalar, content: &[u8]) -> Result<Value, ProtoError> {
    if content.is_empty() {
        return Ok(Value::Null);
    }
    let seconds = number_at(content, 1)?.cast_signed();
    // What Go can write in four digits of a year; others are no moments of ours.
    let seconds = seconds.clamp(SECONDS_MIN, SECONDS_MAX);
    if scalar == Scalar::Time {
        return Ok(Value::String(Moment::from_seconds(seconds).to_time()));
    }
    let micros = i64::from(low_half(number_at(content, 2)?)) / 1000;
    Ok(Value::String(Moment::from_micros(seconds * 1_000_000 + micros.clamp(0, 999_999)).to_micro_time()))
}

/// The years 0 to 9999.
const SECONDS_MIN: i64 = -62_167_219_200;
const SECONDS_MAX: i64 = 253_402_300_799;

/// Raw JSON, an object in an envelope, or an object or something else.
fn any(node: Node<'_>, name: &str, content: &[u8], depth: usize) -> Result<Value, ProtoError> {
    let value = |why: String| ProtoError::Value { field: name.into(), why };
    match node.union() {
        Some(Union::Boolean(props)) => match all_at(content, 2)?.pop() {
            None => Ok(Value::Bool(number_at(content, 1)? != 0)),
            Some(schema) => message(node.at(props), schema, depth + 1).map(Value::Object),
        },
        Some(Union::List(props)) => match all_at(content, 1)?.pop() {
            None => all_at(content, 2)?
                .into_iter()
                .map(|item| message(node.at(props), item, depth + 1).map(Value::Object))
                .collect(),
            Some(schema) => message(node.at(props), schema, depth + 1).map(Value::Object),
        },
        Some(Union::Strings(props)) => match all_at(content, 1)?.pop() {
            None => all_at(content, 2)?.into_iter().map(|item| text(name, item).map(Value::String)).collect(),
            Some(schema) => message(node.at(props), schema, depth + 1).map(Value::Object),
        },
        None => {
            let raw = bytes_at(content, 1)?;
            if raw.is_empty() {
                return Ok(Value::Null);
            }
            if !super::is_protobuf(raw) {
                return serde_json::from_slice(raw).map_err(|error| value(error.to_string()));
            }
            let envelope = open(raw)?;
            let kind = envelope.group_version_kind().as_ref().and_then(builtin::kind);
            let kind = kind.ok_or_else(|| value(format!("no kind {:?}", envelope.kind)))?;
            let mut object = message(kind, envelope.raw, depth + 1)?;
            object.insert("apiVersion".into(), envelope.api_version.into());
            object.insert("kind".into(), envelope.kind.into());
            Ok(Value::Object(object))
        }
    }
}

/// The last bytes of a number in a message; none at all are empty.
fn bytes_at(content: &[u8], place: u32) -> Result<&[u8], ProtoError> {
    Ok(all_at(content, place)?.pop().unwrap_or_default())
}

fn all_at(content: &[u8], place: u32) -> Result<Vec<&[u8]>, ProtoError> {
    let mut found = Vec::new();
    let mut fields = Fields(content);
    while let Some((number, item)) = fields.next()? {
        if let (true, Item::Bytes(bytes)) = (number == place, item) {
            found.push(bytes);
        }
    }
    Ok(found)
}

fn number_at(content: &[u8], place: u32) -> Result<u64, ProtoError> {
    let mut found = 0;
    let mut fields = Fields(content);
    while let Some((number, item)) = fields.next()? {
        if let (true, Item::Varint(value)) = (number == place, item) {
            found = value;
        }
    }
    Ok(found)
}

/// Numbers of 32 bits are written with 64 when they are negative.
#[expect(clippy::cast_possible_truncation, reason = "protobuf says so")]
fn low_half(number: u64) -> i32 {
    number as u32 as i32
}

fn varint(name: &str, item: Item<'_>) -> Result<u64, ProtoError> {
    let Item::Varint(number) = item else { return Err(wrong(name, item)) };
    Ok(number)
}

fn bytes<'b>(name: &str, item: Item<'b>) -> Result<&'b [u8], ProtoError> {
    let Item::Bytes(content) = item else { return Err(wrong(name, item)) };
    Ok(content)
}

fn wrong(name: &str, item: Item<'_>) -> ProtoError {
    ProtoError::WrongForm { field: name.into(), form: item.form() }
}

/// Go replaces bytes that are no text; here they are refused.
fn text(name: &str, content: &[u8]) -> Result<String, ProtoError> {
    let why = |_| ProtoError::Value { field: name.into(), why: "is no UTF-8".into() };
    String::from_utf8(content.to_vec()).map_err(why)
}
