//! The columns that a custom resource definition asks for.

use serde_json::Value;

use super::columns::{Column, shared};
use super::jsonpath::JsonPath;
use super::text::{name, number, since, text};

/// The columns of one version of a custom resource.
#[derive(Clone, Debug)]
pub struct CustomColumns {
    columns: Vec<Column>,
    /// Where the value of each column after the name is; none for a path that cannot be read.
    paths: Vec<Option<JsonPath>>,
}

impl CustomColumns {
    /// From `additionalPrinterColumns` of a version; the name always stands first. When there are none, the age.
    pub fn new(additional: &Value) -> Self {
        let mut all = Self { columns: vec![shared("name").clone()], paths: Vec::new() };
        let additional = additional.as_array().map_or(&[][..], Vec::as_slice);
        for declared in additional {
            let path = text(&declared["jsonPath"]);
            let description = match text(&declared["description"]) {
                "" => format!("Custom resource definition column (in JSONPath format): {path}"),
                description => description.into(),
            };
            all.columns.push(Column {
                name: text(&declared["name"]).into(),
                ty: text(&declared["type"]).into(),
                format: text(&declared["format"]).into(),
                description,
                priority: number(&declared["priority"]),
            });
            all.paths.push(JsonPath::parse(path).ok());
        }
        if additional.is_empty() {
            all.columns.push(Column { ty: "date".into(), ..shared("age").clone() });
            all.paths.push(JsonPath::parse(".metadata.creationTimestamp").ok());
        }
        all
    }

    /// All columns.
    pub fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// What stands in them.
    pub(super) fn cells(&self, object: &Value, now: i64) -> Vec<Value> {
        let additional = self.columns.iter().skip(1).zip(&self.paths).map(|(column, path)| {
            let found = path.as_ref().and_then(|path| path.first(object));
            found.map_or(Value::Null, |value| cell(&column.ty, value, now))
        });
        std::iter::once(name(object)).chain(additional).collect()
    }
}

/// A value as its column wants it; null when it is of another type.
fn cell(ty: &str, value: &Value, now: i64) -> Value {
    match ty {
        "string" => shown(value).into(),
        // What is behind the point is not shown.
        "integer" => whole(value).or_else(|| value.as_f64().map(|number| number as i64)).into(),
        "number" => whole(value).map(Value::from).or_else(|| value.as_f64().map(Value::from)).into(),
        "boolean" => value.as_bool().into(),
        "date" => match value.as_str() {
            None => Value::Null,
            Some("" | "null") => super::text::UNKNOWN.into(),
            Some(_) if super::text::seconds(value).is_none() => "<invalid>".into(),
            Some(_) => since(value, now).into(),
        },
        _ => Value::Null,
    }
}

/// Text as it is, anything else as JSON; Go has words of its own for nothing.
fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "<no value>".into(),
        other => whole(other).map_or_else(|| other.to_string(), |number| number.to_string()),
    }
}

/// A number without a fraction, however it is written: `3`, `3.0`.
fn whole(value: &Value) -> Option<i64> {
    /// Up to here a number of 64 bits with a point is exact.
    const EXACT_MAX: f64 = 9_007_199_254_740_992.0;
    value.as_i64().or_else(|| {
        let number = value.as_f64().filter(|number| number.fract() == 0.0 && number.abs() <= EXACT_MAX)?;
        Some(number as i64)
    })
}
