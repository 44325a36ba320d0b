//! Whether a value is what its schema says, in the words of `kube-openapi`.
//!
//! What has not changed since the last write is not judged again ("ratcheting"): a definition may become stricter
//! without making its old objects unwritable.

use serde_json::Value;
use shoal_api::field::{Error, Path, Reason};

use super::correlate;
use super::formats;
use super::go;
use super::structural::{Additional, Kind, Structural};

/// What is wrong with a value; empty when nothing is.
///
/// `old` is what the object was before, for an update.
pub fn validate(schema: &Structural, value: &Value, old: Option<&Value>) -> Vec<Error> {
    let mut found = Found::default();
    node(schema, value, old, "", &mut found);
    found.errors
}

/// What was found so far.
#[derive(Default)]
struct Found {
    errors: Vec<Error>,
    /// How many things were looked at: of several failing branches, the one with the most is shown.
    looked_at: usize,
}

impl Found {
    fn add(&mut self, error: Error) {
        if !self.errors.contains(&error) {
            self.errors.push(error);
        }
    }

    fn merge(&mut self, other: Found) {
        self.looked_at += other.looked_at;
        for error in other.errors {
            self.add(error);
        }
    }

    fn invalid(&mut self, path: &str, value: &Value, detail: &str) {
        self.add(invalid(Reason::Invalid, path, value, detail));
    }
}

fn invalid(reason: Reason, path: &str, value: &Value, detail: &str) -> Error {
    let message = format!("Invalid value: {}: {detail}", go::value(value));
    Error { reason, path: at(path), message }
}

/// Names of the root's other fields begin with a dot, which the path does not show.
fn at(path: &str) -> Path {
    Path::new(path.strip_prefix('.').unwrap_or(path))
}

fn node(schema: &Structural, value: &Value, old: Option<&Value>, path: &str, found: &mut Found) {
    found.looked_at += 1;
    if old == Some(value) {
        return;
    }
    type_of(schema, value, path, found);
    if value.is_null() {
        allowed(schema, value, path, found);
        return;
    }
    branches(schema, value, old, path, found);
    match value {
        Value::String(text) => string(schema, text, path, found),
        Value::Number(_) => number(schema, value, path, found),
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                let Some(below) = &schema.items else { break };
                let old = correlate::item(schema, old, items, index);
                node(below, item, old, &format!("{path}[{index}]"), found);
            }
            list(schema, items, path, found);
        }
        _ => {}
    }
    allowed(schema, value, path, found);
    if let Value::Object(fields) = value {
        object(schema, fields, old, path, found);
    }
}

fn type_of(schema: &Structural, value: &Value, path: &str, found: &mut Found) {
    let format = known_format(schema);
    let expected: &[Kind] = match schema.kind {
        _ if schema.int_or_string => &[Kind::Integer, Kind::String],
        Some(ref kind) => std::slice::from_ref(kind),
        None => &[],
    };
    if expected.is_empty() && format.is_empty() {
        return;
    }
    found.looked_at += 1;
    let wants_number = expected.iter().any(|kind| matches!(kind, Kind::Number | Kind::Integer));
    let names = || expected.iter().map(|kind| kind.name()).collect::<Vec<_>>().join(",");
    let wrong = |found: &mut Found, expected: &str, actual: &str| {
        let detail = format!("{path} in body must be of type {expected}: {}", go::quoted(actual));
        found.add(invalid(Reason::TypeInvalid, path, &Value::String(actual.into()), &detail));
    };
    let Some(actual) = kind_of(value) else {
        if !expected.is_empty() && !schema.nullable {
            wrong(found, &names(), "null");
        }
        return;
    };
    if matches!(actual, Kind::String | Kind::Array) && !format.is_empty() && !wants_number {
        return;
    }
    let is_whole = || value.as_f64().is_some_and(|number| number.fract() == 0.0);
    let holds = expected.contains(&actual)
        || (actual == Kind::Number && expected.contains(&Kind::Integer) && is_whole())
        || (actual == Kind::Integer && expected.contains(&Kind::Number));
    if holds || expected.is_empty() {
        return;
    }
    if !format.is_empty() && !matches!(actual, Kind::String | Kind::Array) {
        let has = match actual {
            Kind::Integer => "int64",
            Kind::Number => "float64",
            _ => "",
        };
        return wrong(found, format, has);
    }
    wrong(found, &names(), actual.name());
}

/// The format, when it is one that is checked.
fn known_format(schema: &Structural) -> &str {
    if formats::is_known(&schema.format) { &schema.format } else { "" }
}

fn kind_of(value: &Value) -> Option<Kind> {
    Some(match value {
        Value::Null => return None,
        Value::Bool(_) => Kind::Boolean,
        Value::Number(number) if number.is_f64() => Kind::Number,
        Value::Number(_) => Kind::Integer,
        Value::String(_) => Kind::String,
        Value::Array(_) => Kind::Array,
        Value::Object(_) => Kind::Object,
    })
}

/// `anyOf`, `oneOf`, `allOf`, `not`.
fn branches(schema: &Structural, value: &Value, old: Option<&Value>, path: &str, found: &mut Found) {
    let judge = |branch: &Structural| {
        let mut found = Found::default();
        node(branch, value, old, path, &mut found);
        found
    };
    let composite = |found: &mut Found, detail: &str| {
        let detail = format!("{} {detail}", go::quoted(path));
        found.add(invalid(Reason::Invalid, "", &Value::String(String::new()), &detail));
    };
    if !schema.any_of.is_empty() {
        let results: Vec<Found> = schema.any_of.iter().map(judge).collect();
        if results.iter().all(|result| !result.errors.is_empty()) {
            composite(found, "must validate at least one schema (anyOf)");
            best(results).into_iter().for_each(|result| found.merge(result));
        }
    }
    if !schema.one_of.is_empty() {
        let mut results: Vec<Found> = schema.one_of.iter().map(judge).collect();
        let valid = results.iter().filter(|result| result.errors.is_empty()).count();
        match valid {
            1 => {}
            0 => {
                composite(found, "must validate one and only one schema (oneOf). Found none valid");
                best(std::mem::take(&mut results)).into_iter().for_each(|result| found.merge(result));
            }
            several => {
                let detail = format!(
                    "must validate one and only one schema (oneOf). Found {several} valid alternatives"
                );
                composite(found, &detail);
            }
        }
    }
    if !schema.all_of.is_empty() {
        let results: Vec<Found> = schema.all_of.iter().map(judge).collect();
        let all = results.iter().all(|result| result.errors.is_empty());
        results.into_iter().for_each(|result| found.merge(result));
        if !all {
            composite(found, "must validate all the schemas (allOf)");
        }
    }
    if schema.not.as_deref().is_some_and(|not| judge(not).errors.is_empty()) {
        composite(found, "must not validate the schema (not)");
    }
}

/// Of several failures the first of those that got furthest.
fn best(results: Vec<Found>) -> Option<Found> {
    results.into_iter().reduce(|best, one| if one.looked_at > best.looked_at { one } else { best })
}

fn string(schema: &Structural, text: &str, path: &str, found: &mut Found) {
    let limits = &schema.limits;
    let value = Value::String(text.into());
    if limits.max_length.is_some() || limits.min_length.is_some() || limits.pattern.is_some() {
        found.looked_at += 1;
        let length = text.chars().count() as u64;
        if let Some(max) = limits.max_length.filter(|max| length > *max) {
            found.add(Error::too_long(&at(path), usize::try_from(max).unwrap_or(usize::MAX)));
        } else if let Some(min) = limits.min_length.filter(|min| length < *min) {
            found.invalid(path, &value, &format!("{path} in body should be at least {min} chars long"));
        } else if let Some(pattern) = limits.pattern.as_ref().filter(|pattern| !pattern.is_match(text)) {
            found.invalid(path, &value, &format!("{path} in body should match '{pattern}'"));
        }
    }
    if !schema.format.is_empty() && !formats::holds(&schema.format, text) {
        let detail = format!("{path} in body must be of type {}: {}", schema.format, go::quoted(text));
        found.add(invalid(Reason::TypeInvalid, path, &value, &detail));
    }
}

fn number(schema: &Structural, value: &Value, path: &str, found: &mut Found) {
    let limits = &schema.limits;
    let Some(number) = value.as_f64() else { return };
    // Bounds of whole numbers are shown as whole numbers.
    let shown = |bound: f64| if value.is_f64() { go::number(bound) } else { format!("{:.0}", bound.trunc()) };
    if let Some(factor) = limits.multiple_of.filter(|factor| *factor > 0.0) {
        found.looked_at += 1;
        let times = number / factor;
        if times.fract() != 0.0 {
            found.invalid(path, value, &format!("{path} in body should be a multiple of {}", shown(factor)));
        }
    }
    if let Some(max) = limits.maximum {
        found.looked_at += 1;
        let (fails, words) = match limits.exclusive_maximum {
            true => (number >= max, "less than"),
            false => (number > max, "less than or equal to"),
        };
        if fails {
            found.invalid(path, value, &format!("{path} in body should be {words} {}", shown(max)));
        }
    }
    if let Some(min) = limits.minimum {
        found.looked_at += 1;
        let (fails, words) = match limits.exclusive_minimum {
            true => (number <= min, "greater than"),
            false => (number < min, "greater than or equal to"),
        };
        if fails {
            found.invalid(path, value, &format!("{path} in body should be {words} {}", shown(min)));
        }
    }
}

fn list(schema: &Structural, items: &[Value], path: &str, found: &mut Found) {
    let limits = &schema.limits;
    let count = items.len();
    let shown = Value::from(count);
    if let Some(min) = limits.min_items.filter(|min| (count as u64) < *min) {
        found.invalid(path, &shown, &format!("{path} in body should have at least {min} items"));
    }
    if let Some(max) = limits.max_items.filter(|max| (count as u64) > *max) {
        found.add(Error::too_many(&at(path), count, usize::try_from(max).unwrap_or(usize::MAX)));
    }
    if limits.unique_items && (1..count).any(|index| items[..index].contains(&items[index])) {
        let empty = Value::String(String::new());
        found.invalid(path, &empty, &format!("{path} in body shouldn't contain duplicates"));
    }
}

fn allowed(schema: &Structural, value: &Value, path: &str, found: &mut Found) {
    let allowed = &schema.limits.allowed;
    if allowed.is_empty() {
        return;
    }
    found.looked_at += 1;
    let same = |one: &Value| one == value || (one.is_number() && one.as_f64() == value.as_f64());
    if allowed.iter().any(same) {
        return;
    }
    let supported: Vec<String> = allowed
        .iter()
        .map(|one| go::quoted(&one.as_str().map_or_else(|| one.to_string(), str::to_string)))
        .collect();
    let message =
        format!("Unsupported value: {}: supported values: {}", go::value(value), supported.join(", "));
    found.add(Error { reason: Reason::NotSupported, path: at(path), message });
}

fn object(
    schema: &Structural,
    fields: &serde_json::Map<String, Value>,
    old: Option<&Value>,
    path: &str,
    found: &mut Found,
) {
    let limits = &schema.limits;
    let count = fields.len();
    if let Some(min) = limits.min_properties.filter(|min| (count as u64) < *min) {
        let detail = format!("{path} in body should have at least {min} properties");
        return found.invalid(path, &Value::from(count), &detail);
    }
    if let Some(max) = limits.max_properties.filter(|max| (count as u64) > *max) {
        return found.add(Error::too_many(&at(path), count, usize::try_from(max).unwrap_or(usize::MAX)));
    }
    for (name, value) in fields.iter().filter(|(name, _)| !schema.properties.contains_key(*name)) {
        match &schema.additional {
            Some(Additional::Allowed(false)) => {
                let detail = format!("{path}.{name} in body is a forbidden property");
                found.invalid(&below(path, name), &Value::String(String::new()), &detail);
            }
            Some(Additional::Schema(schema)) => {
                node(schema, value, correlate::field(old, name), &format!("{path}.{name}"), found);
            }
            _ => {}
        }
    }
    for (name, schema) in &schema.properties {
        if let Some(value) = fields.get(name) {
            node(schema, value, correlate::field(old, name), &below(path, name), found);
        }
    }
    for name in schema.required.iter().filter(|name| !fields.contains_key(*name)) {
        found.add(Error::required(&at(&format!("{path}.{name}")), ""));
    }
}

fn below(path: &str, name: &str) -> String {
    if path.is_empty() { name.into() } else { format!("{path}.{name}") }
}
