//! Scalars as Go reads them: what they become, and what is wrong with them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Number, Value};

use super::context::Context;
use crate::quantity::Quantity;
use crate::schema::Scalar;
use crate::time::{Duration, Moment};

/// A value that is no object and no list; `null` never gets here.
pub(super) enum Token<'t> {
    Boolean(bool),
    Number(Number),
    Text(&'t str),
}

impl Token<'_> {
    /// What Go's messages call it.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Boolean(_) => "bool",
            Self::Number(_) => "number",
            Self::Text(_) => "string",
        }
    }
}

/// What a field of this scalar holds after reading a token: none where it holds nothing, and the context knows why.
///
/// `ty` is the field's type in Go, where the scalar does not tell it.
pub(super) fn read(
    scalar: Scalar,
    token: Token<'_>,
    ty: Option<&str>,
    context: &mut Context<'_>,
) -> Option<Value> {
    match scalar {
        Scalar::String => match token {
            Token::Text(text) => Some(Value::String(text.into())),
            other => mismatch(context, other.name(), ty.unwrap_or("string")),
        },
        Scalar::Boolean => match token {
            Token::Boolean(truth) => Some(Value::Bool(truth)),
            other => mismatch(context, other.name(), ty.unwrap_or("bool")),
        },
        Scalar::Int32 => integer(token, "int32", i64::from(i32::MIN)..=i64::from(i32::MAX), context),
        Scalar::Int64 => integer(token, "int64", i64::MIN..=i64::MAX, context),
        Scalar::Double => match token {
            Token::Number(number) => Some(Value::Number(number)),
            other => mismatch(context, other.name(), "float64"),
        },
        Scalar::Bytes => match token {
            Token::Text(text) => bytes(text, context),
            other => mismatch(context, other.name(), "[]uint8"),
        },
        Scalar::IntOrString => match token {
            Token::Text(text) => Some(Value::String(text.into())),
            other => int_or_string(&other, context),
        },
        Scalar::Quantity => quantity(&token, context),
        Scalar::Time => moment(&token, context, Moment::to_time),
        Scalar::MicroTime => moment(&token, context, Moment::to_micro_time),
        Scalar::Duration => duration(&token, context),
    }
}

fn mismatch(context: &mut Context<'_>, what: &str, ty: &str) -> Option<Value> {
    context.mismatch(what, ty);
    None
}

fn integer(
    token: Token<'_>,
    ty: &str,
    range: std::ops::RangeInclusive<i64>,
    context: &mut Context<'_>,
) -> Option<Value> {
    let Token::Number(number) = token else { return mismatch(context, token.name(), ty) };
    match number.as_i64().filter(|whole| range.contains(whole)) {
        Some(whole) => Some(Value::from(whole)),
        None => mismatch(context, &format!("number {number}"), ty),
    }
}

/// Text is base64 with padding, and stays as it is; line ends are allowed, as in Go, and dropped.
fn bytes(text: &str, context: &mut Context<'_>) -> Option<Value> {
    let plain: String = text.chars().filter(|c| !matches!(c, '\r' | '\n')).collect();
    match STANDARD.decode(&plain) {
        Ok(_) => Some(Value::String(plain)),
        Err(error) => {
            let at = match error {
                base64::DecodeError::InvalidByte(at, _) | base64::DecodeError::InvalidLastSymbol(at, _) => at,
                base64::DecodeError::InvalidLength(_) | base64::DecodeError::InvalidPadding => plain.len(),
            };
            if context.mismatch.is_none() {
                context.mismatch = Some(format!("illegal base64 data at input byte {at}"));
            }
            None
        }
    }
}

/// It reads itself in Go, so a mistake ends the decoding.
fn int_or_string(token: &Token<'_>, context: &mut Context<'_>) -> Option<Value> {
    let what = match token {
        Token::Number(number) => match number.as_i64().and_then(|whole| i32::try_from(whole).ok()) {
            Some(whole) => return Some(Value::from(whole)),
            None => format!("number {number}"),
        },
        other => other.name().into(),
    };
    let message = context.unmarshal(&what, "int32");
    context.fail(message);
    None
}

fn quantity(token: &Token<'_>, context: &mut Context<'_>) -> Option<Value> {
    let text = match token {
        Token::Text(text) => (*text).to_owned(),
        Token::Number(number) => number.to_string(),
        Token::Boolean(truth) => truth.to_string(),
    };
    match Quantity::canonical(text.trim()) {
        Ok(canonical) => Some(Value::String(canonical)),
        Err(error) => {
            context.fail(error.to_string());
            None
        }
    }
}

fn moment(token: &Token<'_>, context: &mut Context<'_>, write: fn(Moment) -> String) -> Option<Value> {
    let Token::Text(text) = token else {
        let message = context.unmarshal(token.name(), "string");
        context.fail(message);
        return None;
    };
    match text.parse::<Moment>() {
        Ok(moment) => Some(Value::String(write(moment))),
        Err(error) => {
            context.fail(error.to_string());
            None
        }
    }
}

fn duration(token: &Token<'_>, context: &mut Context<'_>) -> Option<Value> {
    let Token::Text(text) = token else {
        let message = context.unmarshal(token.name(), "string");
        context.fail(message);
        return None;
    };
    match text.parse::<Duration>() {
        Ok(duration) => Some(Value::String(duration.to_string())),
        Err(error) => {
            context.fail(error.to_string());
            None
        }
    }
}

/// Whether a scalar reads itself in Go, so that a mistake in it ends the decoding.
pub(super) fn reads_itself(scalar: Scalar) -> bool {
    matches!(
        scalar,
        Scalar::IntOrString | Scalar::Quantity | Scalar::Time | Scalar::MicroTime | Scalar::Duration
    )
}

/// What such a scalar says of an object or a list.
pub(super) fn wrong_shape(scalar: Scalar, what: &str, context: &Context<'_>) -> String {
    match scalar {
        Scalar::Quantity => crate::quantity::QuantityError::Format.to_string(),
        Scalar::IntOrString => context.unmarshal(what, "int32"),
        _ => context.unmarshal(what, "string"),
    }
}
