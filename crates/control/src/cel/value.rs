//! Values of an evaluation: JSON in place, and what expressions make of it.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::rc::Rc;

use kube_cel::cel;
use serde_json::Value;

use super::library;
use super::names::unescape;
use crate::custom::structural::{Additional, Kind, Structural};

/// A value. Clones share what is large.
#[derive(Clone, Debug)]
pub enum Val<'v> {
    /// Nothing.
    Null,
    /// Truth.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A whole number that is not negative.
    Uint(u64),
    /// A number.
    Double(f64),
    /// Text of the input.
    Text(&'v str),
    /// Text that was made.
    Made(Rc<str>),
    /// Bytes.
    Bytes(Rc<[u8]>),
    /// A list that was made.
    List(Rc<Vec<Val<'v>>>),
    /// A map that was made.
    Map(Rc<BTreeMap<Key<'v>, Val<'v>>>),
    /// A list or an object of the input.
    Json(&'v Value, View<'v>),
    /// A value that may be absent.
    Optional(Option<Rc<Val<'v>>>),
    /// A type, by its name.
    Type(&'static str),
    /// A duration, a timestamp, a quantity, an address …: values of the library.
    Foreign(cel::Value),
    /// What the authorizer of the caller is asked about; fields as they were set.
    Check(Rc<BTreeMap<&'static str, String>>),
}

/// How a value of the input is read.
#[derive(Clone, Copy, Debug)]
pub enum View<'v> {
    /// By its schema: fields have escaped names, numbers and text the types they should have.
    Typed(&'v Structural),
    /// As it is.
    Dynamic,
}

/// A key of a map that was made.
#[derive(Clone, Debug)]
pub enum Key<'v> {
    /// Truth.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A whole number that is not negative.
    Uint(u64),
    /// Text of the input.
    Text(&'v str),
    /// Text that was made.
    Made(Rc<str>),
}

impl<'v> Val<'v> {
    /// A value of the input.
    pub fn json(value: &'v Value, view: View<'v>) -> Self {
        match (value, view) {
            (Value::Null, _) => Self::Null,
            (Value::Bool(truth), _) => Self::Bool(*truth),
            (Value::Number(number), View::Typed(schema)) if schema.kind == Some(Kind::Number) => {
                Self::Double(number.as_f64().unwrap_or_default())
            }
            (Value::Number(number), View::Typed(schema)) if schema.kind == Some(Kind::Integer) => {
                // A whole number may have been written as a float.
                number.as_i64().map_or_else(|| whole(number), Self::Int)
            }
            (Value::Number(number), _) => match (number.as_i64(), number.as_u64()) {
                (Some(number), _) => Self::Int(number),
                (None, Some(number)) => Self::Uint(number),
                _ => Self::Double(number.as_f64().unwrap_or_default()),
            },
            (Value::String(text), View::Typed(schema)) if !schema.int_or_string => {
                formatted(text, &schema.format)
            }
            (Value::String(text), _) => Self::Text(text),
            (Value::Array(_) | Value::Object(_), view) => Self::Json(value, view),
        }
    }

    /// Text that was made.
    pub fn text(text: &str) -> Self {
        Self::Made(text.into())
    }

    /// As text.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Made(text) => Some(text),
            _ => None,
        }
    }

    /// The name of its type, as messages show it.
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::Null => "null_type",
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Uint(_) => "uint",
            Self::Double(_) => "double",
            Self::Text(_) | Self::Made(_) => "string",
            Self::Bytes(_) => "bytes",
            Self::List(_) | Self::Json(Value::Array(_), _) => "list",
            Self::Map(_) | Self::Json(..) => "map",
            Self::Optional(_) => "optional_type",
            Self::Type(_) => "type",
            Self::Foreign(cel::Value::Duration(_)) => "google.protobuf.Duration",
            Self::Foreign(cel::Value::Timestamp(_)) => "google.protobuf.Timestamp",
            Self::Foreign(_) => "kubernetes.Opaque",
            Self::Check(_) => "kubernetes.authorization.Authorizer",
        }
    }

    /// How many bytes, or items with what they hold, a step that reads all of it has to read.
    pub fn weight(&self) -> u64 {
        match self {
            Self::Text(text) => text.len() as u64,
            Self::Made(text) => text.len() as u64,
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::List(items) => items.iter().map(|item| 1 + item.weight()).sum(),
            Self::Map(entries) => entries.iter().map(|(key, value)| 1 + key.weight() + value.weight()).sum(),
            Self::Json(value, _) => weight(value),
            Self::Optional(Some(value)) => value.weight(),
            _ => 1,
        }
    }

    /// How many items a list or a map has.
    pub fn count(&self) -> Option<usize> {
        Some(match self {
            Self::List(items) => items.len(),
            Self::Map(entries) => entries.len(),
            Self::Json(Value::Array(items), _) => items.len(),
            Self::Json(Value::Object(fields), view) => match view {
                // Fields that the schema does not name are not there.
                View::Typed(schema) if !schema.is_map() => {
                    fields.keys().filter(|name| view.below(name).is_some()).count()
                }
                _ => fields.len(),
            },
            _ => return None,
        })
    }

    /// The items of a list, or the keys of a map.
    pub fn items(&self) -> Option<Vec<Val<'v>>> {
        Some(match self {
            Self::List(items) => items.to_vec(),
            Self::Map(entries) => entries.keys().map(Key::val).collect(),
            Self::Json(Value::Array(items), view) => {
                items.iter().map(|item| Self::json(item, view.item())).collect()
            }
            Self::Json(Value::Object(fields), view) => {
                fields.keys().filter(|name| view.below(name).is_some()).map(|name| Self::Text(name)).collect()
            }
            _ => return None,
        })
    }

    /// The value of a field, by how an expression writes its name; none when it is not there.
    pub fn field(&self, written: &str) -> Option<Val<'v>> {
        match self {
            Self::Map(entries) => entries.get(&Key::Made(written.into())).cloned(),
            Self::Json(Value::Object(fields), view) => {
                let name = match view {
                    View::Typed(schema) if !schema.is_map() => unescape(written),
                    _ if fields.contains_key(written) => written.into(),
                    View::Dynamic => unescape(written),
                    View::Typed(_) => return None,
                };
                let below = view.below(&name)?;
                let value = fields.get(name.as_ref())?;
                // What is not nullable and null counts as absent.
                if value.is_null() && matches!(below, View::Typed(schema) if !schema.nullable) {
                    return None;
                }
                Some(Self::json(value, below))
            }
            _ => None,
        }
    }

    /// The value at an index or a key; none when it is not there.
    pub fn index(&self, index: &Val<'v>) -> Option<Val<'v>> {
        match self {
            Self::List(items) => items.get(index.position()?).cloned(),
            Self::Json(Value::Array(items), view) => {
                items.get(index.position()?).map(|item| Self::json(item, view.item()))
            }
            Self::Map(entries) => entries.get(&Key::new(index.clone())?).cloned(),
            Self::Json(Value::Object(fields), view) => {
                let name = index.as_text()?;
                fields.get_key_value(name).and_then(|(_, value)| Some(Self::json(value, view.below(name)?)))
            }
            _ => None,
        }
    }

    /// As an index of a list.
    fn position(&self) -> Option<usize> {
        match self {
            Self::Int(index) => usize::try_from(*index).ok(),
            Self::Uint(index) => usize::try_from(*index).ok(),
            Self::Double(index) if index.fract() == 0.0 && (0.0..1e15).contains(index) => {
                format!("{index:.0}").parse().ok()
            }
            _ => None,
        }
    }

    /// Whether two values are the same; numbers of all types compare.
    pub fn same(&self, other: &Val<'v>) -> bool {
        if let Some(order) = self.numeric_order(other) {
            return order == Ordering::Equal;
        }
        if let (Some(a), Some(b)) = (self.as_text(), other.as_text()) {
            return a == b;
        }
        match (self, other) {
            (Self::Null, Self::Null) => true,
            (Self::Bool(a), Self::Bool(b)) => a == b,
            (Self::Bytes(a), Self::Bytes(b)) => a == b,
            (Self::Type(a), Self::Type(b)) => a == b,
            (Self::Foreign(a), Self::Foreign(b)) => a == b,
            (Self::Optional(a), Self::Optional(b)) => match (a, b) {
                (Some(a), Some(b)) => a.same(b),
                (a, b) => a.is_none() && b.is_none(),
            },
            _ => match (self.type_name(), other.type_name()) {
                ("list", "list") => self.same_list(other),
                ("map", "map") => self.same_map(other),
                _ => false,
            },
        }
    }

    fn same_list(&self, other: &Val<'v>) -> bool {
        let (Some(a), Some(b)) = (self.items(), other.items()) else { return false };
        if a.len() != b.len() {
            return false;
        }
        match self.list_type().or(other.list_type()) {
            // Sets and maps have no order.
            Some("set" | "map") => a.iter().all(|item| b.iter().any(|other| item.same(other))),
            _ => a.iter().zip(&b).all(|(a, b)| a.same(b)),
        }
    }

    fn same_map(&self, other: &Val<'v>) -> bool {
        let Some(keys) = self.items() else { return false };
        self.count() == other.count()
            && keys.iter().all(|key| match (self.entry(key), other.entry(key)) {
                (Some(a), Some(b)) => a.same(&b),
                _ => false,
            })
    }

    /// The value of one of the keys that [`Self::items`] gives.
    pub fn entry(&self, key: &Val<'v>) -> Option<Val<'v>> {
        self.index(key)
    }

    /// `x-kubernetes-list-type` of a list of the input.
    pub fn list_type(&self) -> Option<&'v str> {
        match self {
            Self::Json(Value::Array(_), View::Typed(schema)) if !schema.list_type.is_empty() => {
                Some(&schema.list_type)
            }
            _ => None,
        }
    }

    /// The order of two numbers of any type; none when one is no number, or not a number at all.
    fn numeric_order(&self, other: &Val<'v>) -> Option<Ordering> {
        match (self, other) {
            (Self::Int(a), Self::Int(b)) => Some(a.cmp(b)),
            (Self::Uint(a), Self::Uint(b)) => Some(a.cmp(b)),
            (Self::Int(a), Self::Uint(b)) => Some(i128::from(*a).cmp(&i128::from(*b))),
            (Self::Uint(a), Self::Int(b)) => Some(i128::from(*a).cmp(&i128::from(*b))),
            (Self::Double(a), _) => a.partial_cmp(&other.as_double()?),
            (_, Self::Double(b)) => self.as_double()?.partial_cmp(b),
            _ => None,
        }
    }

    fn as_double(&self) -> Option<f64> {
        match self {
            #[expect(clippy::cast_precision_loss, reason = "as cel-go compares them")]
            Self::Int(number) => Some(*number as f64),
            #[expect(clippy::cast_precision_loss, reason = "as cel-go compares them")]
            Self::Uint(number) => Some(*number as f64),
            Self::Double(number) => Some(*number),
            _ => None,
        }
    }

    /// The order of two values; none when they have none.
    pub fn order(&self, other: &Val<'v>) -> Option<Ordering> {
        if let Some(order) = self.numeric_order(other) {
            return Some(order);
        }
        if let (Some(a), Some(b)) = (self.as_text(), other.as_text()) {
            return Some(a.cmp(b));
        }
        match (self, other) {
            (Self::Bool(a), Self::Bool(b)) => Some(a.cmp(b)),
            (Self::Bytes(a), Self::Bytes(b)) => Some(a.cmp(b)),
            (Self::Foreign(a), Self::Foreign(b)) => a.partial_cmp(b),
            _ => None,
        }
    }
}

impl<'v> View<'v> {
    /// How the items of a list are read.
    fn item(self) -> View<'v> {
        match self {
            View::Typed(schema) => schema.items.as_deref().map_or(View::Dynamic, View::Typed),
            View::Dynamic => View::Dynamic,
        }
    }

    /// How a field is read; none when the schema does not know it.
    fn below(self, name: &str) -> Option<View<'v>> {
        let View::Typed(schema) = self else { return Some(View::Dynamic) };
        match (schema.properties.get(name), &schema.additional) {
            (Some(schema), _) => Some(View::Typed(schema)),
            (None, Some(Additional::Schema(schema))) => Some(View::Typed(schema)),
            (None, Some(Additional::Allowed(true))) => Some(View::Dynamic),
            _ if schema.embedded && matches!(name, "apiVersion" | "kind" | "metadata") => Some(View::Dynamic),
            _ => None,
        }
    }
}

impl<'v> Key<'v> {
    /// From a value; none when it cannot be a key.
    pub fn new(value: Val<'v>) -> Option<Self> {
        match value {
            Val::Bool(truth) => Some(Self::Bool(truth)),
            Val::Int(number) => Some(Self::Int(number)),
            Val::Uint(number) => Some(i64::try_from(number).map_or(Self::Uint(number), Self::Int)),
            Val::Text(text) => Some(Self::Text(text)),
            Val::Made(text) => Some(Self::Made(text)),
            _ => None,
        }
    }

    /// As a value.
    pub fn val(&self) -> Val<'v> {
        match self {
            Self::Bool(truth) => Val::Bool(*truth),
            Self::Int(number) => Val::Int(*number),
            Self::Uint(number) => Val::Uint(*number),
            Self::Text(text) => Val::Text(text),
            Self::Made(text) => Val::Made(text.clone()),
        }
    }

    fn weight(&self) -> u64 {
        self.val().weight()
    }

    fn rank(&self) -> (u8, i64, u64, &str) {
        match self {
            Self::Bool(truth) => (0, i64::from(*truth), 0, ""),
            Self::Int(number) => (1, *number, 0, ""),
            Self::Uint(number) => (2, 0, *number, ""),
            Self::Text(text) => (3, 0, 0, text),
            Self::Made(text) => (3, 0, 0, text),
        }
    }
}

impl PartialEq for Key<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.rank() == other.rank()
    }
}

impl Eq for Key<'_> {}

impl PartialOrd for Key<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Key<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.rank().cmp(&other.rank())
    }
}

/// A whole number that was written as a float; beyond 64 bits it stays one.
fn whole<'v>(number: &serde_json::Number) -> Val<'v> {
    let number = number.as_f64().unwrap_or_default();
    format!("{number:.0}").parse().map_or(Val::Double(number), Val::Int)
}

/// Text with a format is what the format says, where expressions have a type for it.
fn formatted<'v>(text: &'v str, format: &str) -> Val<'v> {
    let made = match format {
        "date-time" | "datetime" => library::timestamp(text),
        "date" => library::timestamp(&format!("{text}T00:00:00Z")),
        "duration" => library::duration(text),
        "byte" => library::bytes(text),
        _ => None,
    };
    made.unwrap_or(Val::Text(text))
}

fn weight(value: &Value) -> u64 {
    match value {
        Value::String(text) => text.len() as u64,
        Value::Array(items) => items.iter().map(|item| 1 + weight(item)).sum(),
        Value::Object(fields) => fields.iter().map(|(key, value)| 1 + key.len() as u64 + weight(value)).sum(),
        _ => 1,
    }
}
