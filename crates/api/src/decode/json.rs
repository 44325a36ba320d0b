//! JSON into the shape of a kind, in one pass over the text.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use super::context::{Context, Step, go_type, struct_name};
use super::scalars::{self, Token};
use super::{DecodeError, Strictness, malformed};
use crate::defaults::zero;
use crate::schema::{Node, Object, Type};

/// Reads a built-in kind.
pub(super) fn typed(
    bytes: &[u8],
    node: Node<'_>,
    strictness: Strictness,
) -> Result<(Value, Vec<String>), DecodeError> {
    let mut context = Context::new(strictness);
    let seed = Typed { node, ty: None, context: &mut context };
    let value = run(bytes, seed)?;
    if let Some(message) = context.fatal.take().or(context.mismatch.take()) {
        return Err(DecodeError::Mismatch(message));
    }
    Ok((value.unwrap_or(Value::Object(Map::new())), context.findings()))
}

/// Reads anything.
pub(super) fn free(bytes: &[u8], strictness: Strictness) -> Result<(Value, Vec<String>), DecodeError> {
    let mut context = Context::new(strictness);
    let value = run(bytes, Free { context: &mut context })?;
    Ok((value, context.findings()))
}

fn run<'de, S: DeserializeSeed<'de>>(bytes: &'de [u8], seed: S) -> Result<S::Value, DecodeError> {
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let malformed = |error: serde_json::Error| {
        let words = malformed::words(&error, bytes);
        DecodeError::Malformed(format!("couldn't get version/kind; json parse error: {words}"))
    };
    let value = seed.deserialize(&mut deserializer).map_err(malformed)?;
    deserializer.end().map_err(malformed)?;
    Ok(value)
}

/// A value of a type. None for `null` and for what its field cannot hold.
struct Typed<'c, 'a> {
    node: Node<'a>,
    /// The type in Go, where the node does not tell it.
    ty: Option<&'a str>,
    context: &'c mut Context<'a>,
}

impl Typed<'_, '_> {
    fn scalar(self, token: Token<'_>) -> Option<Value> {
        match self.node.ty() {
            Type::Scalar(scalar) => scalars::read(*scalar, token, self.ty, self.context),
            Type::Any => Some(free_token(token)),
            Type::Object(_) | Type::Map(_) | Type::List(_) => self.mismatch(token.name()),
        }
    }

    fn mismatch(self, what: &str) -> Option<Value> {
        match self.node.ty() {
            // Go's types that read themselves fail at once; the others let the decoding go on.
            Type::Scalar(scalar) if scalars::reads_itself(*scalar) => {
                let message = scalars::wrong_shape(*scalar, what, self.context);
                self.context.fail(message);
            }
            _ => {
                let ty = self.ty.map_or_else(|| go_type(self.node), String::from);
                self.context.mismatch(what, &ty);
            }
        }
        None
    }
}

impl<'de> DeserializeSeed<'de> for Typed<'_, '_> {
    type Value = Option<Value>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        if let Type::Any = self.node.ty() {
            // Go's raw values look at nothing below them.
            let mut silent = Context::new(Strictness::Ignore);
            let value = Free { context: &mut silent }.deserialize(deserializer)?;
            return Ok(Some(value).filter(|value| !value.is_null()));
        }
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Typed<'_, '_> {
    type Value = Option<Value>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_bool<E>(self, truth: bool) -> Result<Self::Value, E> {
        Ok(self.scalar(Token::Boolean(truth)))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Self::Value, E> {
        Ok(self.scalar(Token::Number(number.into())))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Self::Value, E> {
        Ok(self.scalar(Token::Number(number.into())))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Self::Value, E> {
        Ok(Number::from_f64(number).and_then(|number| self.scalar(Token::Number(number))))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(self.scalar(Token::Text(text)))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let Type::List(list) = self.node.ty() else {
            while items.next_element::<IgnoredAny>()?.is_some() {}
            return Ok(self.mismatch("array"));
        };
        let node = self.node.at(list.item);
        let mut values = Vec::new();
        loop {
            self.context.enter(Step::Index(values.len()));
            let item = items.next_element_seed(Typed { node, ty: None, context: &mut *self.context });
            self.context.leave();
            match item? {
                None => return Ok(Some(Value::Array(values))),
                Some(value) => values.push(value.unwrap_or_else(|| zero(node))),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
        match self.node.ty() {
            Type::Object(_) => self.object(entries).map(Some),
            Type::Map(map) => {
                let node = self.node.at(map.value);
                self.values(node, entries).map(Some)
            }
            Type::Scalar(_) | Type::List(_) | Type::Any => {
                while entries.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(self.mismatch("object"))
            }
        }
    }
}

impl Typed<'_, '_> {
    fn object<'de, A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let Type::Object(object) = self.node.ty() else { return Ok(Value::Null) };
        let of = struct_name(self.node);
        // A bit for each field that was seen: no kind has more than fit, and those beyond count as never seen.
        let mut seen = 0_u128;
        let mut fields = Map::new();
        while let Some(key) = entries.next_key_seed(Key(object))? {
            let at = match key {
                Ok(at) => at,
                Err(name) => {
                    self.context.unknown(&name);
                    entries.next_value::<IgnoredAny>()?;
                    continue;
                }
            };
            let field = &object.fields[at];
            let bit = 1_u128.checked_shl(u32::try_from(at).unwrap_or(u32::MAX)).unwrap_or(0);
            if seen & bit != 0 {
                self.context.duplicate(&field.name);
            }
            seen |= bit;
            self.context.enter(Step::Field(of, &field.name));
            let (node, ty) = (self.node.at(field.ty), self.node.go_name(at));
            let value = entries.next_value_seed(Typed { node, ty, context: &mut *self.context });
            self.context.leave();
            if let Some(value) = value? {
                fields.insert((*field.name).into(), value);
            }
        }
        Ok(Value::Object(fields))
    }

    fn values<'de, A: MapAccess<'de>>(self, node: Node<'_>, mut entries: A) -> Result<Value, A::Error> {
        let node = self.node.at(node.id());
        let mut values = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            if self.context.tells() && values.contains_key(&key) {
                self.context.duplicate(&key);
            }
            self.context.enter(Step::Key(Cow::Owned(key.clone())));
            let value = entries.next_value_seed(Typed { node, ty: None, context: &mut *self.context });
            self.context.leave();
            values.insert(key, value?.unwrap_or_else(|| zero(node)));
        }
        Ok(Value::Object(values))
    }
}

/// The name of a field: its place, or what stands there instead.
struct Key<'a>(&'a Object);

impl<'de> DeserializeSeed<'de> for Key<'_> {
    type Value = Result<usize, String>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Key<'_> {
    type Value = Result<usize, String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
        Ok(self.0.position(name).ok_or_else(|| name.into()))
    }
}

/// A value of any shape.
struct Free<'c, 'a> {
    context: &'c mut Context<'a>,
}

impl<'de> DeserializeSeed<'de> for Free<'_, '_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Free<'_, '_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, truth: bool) -> Result<Value, E> {
        Ok(Value::Bool(truth))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
        Ok(Value::from(number))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
        Ok(Value::from(number))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Value, E> {
        Ok(Value::from(number))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::String(text.into()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        loop {
            self.context.enter(Step::Index(values.len()));
            let item = items.next_element_seed(Free { context: &mut *self.context });
            self.context.leave();
            match item? {
                None => return Ok(Value::Array(values)),
                Some(value) => values.push(value),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut fields = Map::new();
        let mut told = HashSet::new();
        while let Some(key) = entries.next_key::<String>()? {
            if self.context.tells() && fields.contains_key(&key) && told.insert(key.clone()) {
                self.context.duplicate(&key);
            }
            if self.context.tells() {
                self.context.enter(Step::Key(Cow::Owned(key.clone())));
            }
            let value = entries.next_value_seed(Free { context: &mut *self.context });
            if self.context.tells() {
                self.context.leave();
            }
            fields.insert(key, value?);
        }
        Ok(Value::Object(fields))
    }
}

fn free_token(token: Token<'_>) -> Value {
    match token {
        Token::Boolean(truth) => Value::Bool(truth),
        Token::Number(number) => Value::Number(number),
        Token::Text(text) => Value::String(text.into()),
    }
}
