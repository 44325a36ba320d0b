//! A value into the shape of a kind, as Go fits unstructured objects into its structs.

use std::borrow::Cow;

use serde_json::{Map, Value};

use super::context::{Context, Step, struct_name};
use super::scalars::{self, Token};
use super::{DEPTH_MAX, DecodeError, Strictness};
use crate::defaults::zero;
use crate::schema::{Node, Scalar, Type};

/// Fits a value into a built-in kind.
pub(super) fn typed(
    value: Value,
    node: Node<'_>,
    strictness: Strictness,
) -> Result<(Value, Vec<String>), DecodeError> {
    let mut context = Context::new(strictness);
    let value = fit(value, node, None, &mut context, 0)?;
    Ok((value.unwrap_or(Value::Object(Map::new())), context.findings()))
}

fn fit<'a>(
    value: Value,
    node: Node<'a>,
    ty: Option<&str>,
    context: &mut Context<'a>,
    depth: usize,
) -> Result<Option<Value>, DecodeError> {
    if depth > DEPTH_MAX {
        return Err(DecodeError::Malformed("exceeded max depth".into()));
    }
    if value.is_null() {
        return Ok(None);
    }
    match (node.ty(), value) {
        (Type::Any, value) => Ok(Some(value)),
        (Type::Object(_), Value::Object(fields)) => object(fields, node, context, depth).map(Some),
        (Type::Map(map), Value::Object(values)) => {
            let mut fitted = Map::new();
            for (key, value) in values {
                context.enter(Step::Key(Cow::Owned(key.clone())));
                let value = fit(value, node.at(map.value), None, context, depth + 1)?;
                context.leave();
                fitted.insert(key, value.unwrap_or_else(|| zero(node.at(map.value))));
            }
            Ok(Some(Value::Object(fitted)))
        }
        (Type::List(list), Value::Array(items)) => {
            let mut fitted = Vec::with_capacity(items.len());
            for (index, item) in items.into_iter().enumerate() {
                context.enter(Step::Index(index));
                let item = fit(item, node.at(list.item), None, context, depth + 1)?;
                context.leave();
                fitted.push(item.unwrap_or_else(|| zero(node.at(list.item))));
            }
            Ok(Some(Value::Array(fitted)))
        }
        (Type::Scalar(scalar), value) => fit_scalar(*scalar, &value, ty, context),
        (Type::Object(_), value) => Err(mismatch("cannot restore struct from: ", &value)),
        (Type::Map(_), value) => Err(mismatch("cannot restore map from ", &value)),
        (Type::List(_), value) => Err(mismatch("cannot restore slice from ", &value)),
    }
}

fn object<'a>(
    fields: Map<String, Value>,
    node: Node<'a>,
    context: &mut Context<'a>,
    depth: usize,
) -> Result<Value, DecodeError> {
    let Type::Object(object) = node.ty() else { return Ok(Value::Object(fields)) };
    let mut fitted = Map::new();
    for (name, value) in fields {
        let Some(at) = object.position(&name) else {
            context.unknown(&name);
            continue;
        };
        let field = &object.fields[at];
        context.enter(Step::Field(struct_name(node), &field.name));
        let value = fit(value, node.at(field.ty), node.go_name(at), context, depth + 1)?;
        context.leave();
        if let Some(value) = value {
            fitted.insert(name, value);
        }
    }
    Ok(Value::Object(fitted))
}

fn fit_scalar(
    scalar: Scalar,
    value: &Value,
    ty: Option<&str>,
    context: &mut Context<'_>,
) -> Result<Option<Value>, DecodeError> {
    let whole = value.as_f64().filter(|number| number.fract() == 0.0 && !value.is_i64() && !value.is_u64());
    let token = match value {
        Value::Bool(truth) => Token::Boolean(*truth),
        // A whole number that is written with a point fits where Go has a number without one.
        Value::Number(number) => match (scalar, whole.and_then(as_whole)) {
            (Scalar::Int32 | Scalar::Int64 | Scalar::IntOrString, Some(whole)) => Token::Number(whole.into()),
            _ => Token::Number(number.clone()),
        },
        Value::String(text) => Token::Text(text),
        other if scalars::reads_itself(scalar) => {
            return Err(DecodeError::Mismatch(scalars::wrong_shape(scalar, kind(other), context)));
        }
        other => return Err(mismatch("unrecognized type: ", other)),
    };
    let read = scalars::read(scalar, token, ty, context);
    if let Some(message) = context.fatal.take() {
        return Err(DecodeError::Mismatch(message));
    }
    // Go says this of a value that it cannot convert, whatever the field.
    match context.mismatch.take() {
        Some(_) => Err(DecodeError::Mismatch(unconvertible(scalar, value, ty))),
        None => Ok(read),
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the range is checked before")]
fn as_whole(number: f64) -> Option<i64> {
    (number.abs() < 9_007_199_254_740_992.0).then_some(number as i64)
}

fn unconvertible(scalar: Scalar, value: &Value, ty: Option<&str>) -> String {
    let target = match scalar {
        Scalar::Boolean => "bool",
        Scalar::Int32 => "int32",
        Scalar::Int64 => "int64",
        Scalar::Double => "float64",
        _ => "string",
    };
    if value.is_number() && target != "bool" {
        return format!("cannot convert {} to {}", kind(value), ty.unwrap_or(target));
    }
    format!("unrecognized type: {target}")
}

fn mismatch(words: &str, value: &Value) -> DecodeError {
    DecodeError::Mismatch(format!("{words}{}", kind(value)))
}

/// The kind of a value in Go.
fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "invalid",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "float64",
        Value::Number(_) => "int64",
        Value::String(_) => "string",
        Value::Array(_) => "slice",
        Value::Object(_) => "map",
    }
}
