//! A JSONSchemaProps as the rest reads it: typed, its patterns compiled.
//!
//! <https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/#specifying-a-structural-schema>

use std::collections::BTreeMap;

use regex::Regex;
use serde_json::Value;
use shoal_api::Node;
use shoal_api::schema::{Scalar, Type};

/// Deepest schema that is read. A request body nests at most 128 levels, of which a schema takes at least two each.
pub const SCHEMA_DEPTH_MAX: usize = 64;

/// Bytes that a compiled pattern may take: what `regex` allows by default, named because it is a limit.
const PATTERN_BYTES_MAX: usize = 10 << 20;

/// What a value of a custom resource may be.
#[derive(Clone, Debug, Default)]
pub struct Structural {
    /// `type`; none where it may be left out (`x-kubernetes-int-or-string`, preserved values, branches of `allOf` …).
    pub kind: Option<Kind>,
    /// `format`; empty when there is none.
    pub format: String,
    /// Whether `null` is a value.
    pub nullable: bool,
    /// `x-kubernetes-int-or-string`.
    pub int_or_string: bool,
    /// `x-kubernetes-preserve-unknown-fields`.
    pub preserve_unknown: bool,
    /// `x-kubernetes-embedded-resource`.
    pub embedded: bool,
    /// What it is when it was left out.
    pub default: Option<Value>,
    /// Named fields.
    pub properties: BTreeMap<String, Structural>,
    /// Other fields.
    pub additional: Option<Additional>,
    /// Items of a list.
    pub items: Option<Box<Structural>>,
    /// Fields that must be there, in the order of the schema.
    pub required: Vec<String>,
    /// `x-kubernetes-list-type`; empty when there is none.
    pub list_type: String,
    /// `x-kubernetes-list-map-keys`.
    pub list_map_keys: Vec<String>,
    /// `x-kubernetes-map-type`; empty when there is none.
    pub map_type: String,
    /// Limits of the value.
    pub limits: Limits,
    /// `x-kubernetes-validations`.
    pub rules: Vec<Rule>,
    /// All of these must hold.
    pub all_of: Vec<Structural>,
    /// At least one must hold.
    pub any_of: Vec<Structural>,
    /// Exactly one must hold.
    pub one_of: Vec<Structural>,
    /// This must not hold.
    pub not: Option<Box<Structural>>,
}

/// The types of JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An object.
    Object,
    /// A list.
    Array,
    /// Text.
    String,
    /// A whole number.
    Integer,
    /// A number.
    Number,
    /// `true` or `false`.
    Boolean,
}

/// `additionalProperties`.
#[derive(Clone, Debug)]
pub enum Additional {
    /// Anything, or nothing.
    Allowed(bool),
    /// Values of this schema.
    Schema(Box<Structural>),
}

/// Limits of one value.
#[derive(Clone, Debug, Default)]
pub struct Limits {
    /// `maximum`.
    pub maximum: Option<f64>,
    /// `exclusiveMaximum`.
    pub exclusive_maximum: bool,
    /// `minimum`.
    pub minimum: Option<f64>,
    /// `exclusiveMinimum`.
    pub exclusive_minimum: bool,
    /// `multipleOf`.
    pub multiple_of: Option<f64>,
    /// `maxLength`, in code points.
    pub max_length: Option<u64>,
    /// `minLength`, in code points.
    pub min_length: Option<u64>,
    /// `pattern`.
    pub pattern: Option<Regex>,
    /// `maxItems`.
    pub max_items: Option<u64>,
    /// `minItems`.
    pub min_items: Option<u64>,
    /// `uniqueItems`.
    pub unique_items: bool,
    /// `maxProperties`.
    pub max_properties: Option<u64>,
    /// `minProperties`.
    pub min_properties: Option<u64>,
    /// `enum`; empty when any value is allowed.
    pub allowed: Vec<Value>,
}

/// One of `x-kubernetes-validations`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rule {
    /// The CEL expression that must be true.
    pub rule: String,
    /// What is said when it is not.
    pub message: String,
    /// A CEL expression that makes the message.
    pub message_expression: String,
    /// `FieldValueForbidden` …; empty when it is left out.
    pub reason: String,
    /// Where the failure is reported, below the value; empty at the value itself.
    pub field_path: String,
    /// Whether a rule with `oldSelf` runs for values that are new too.
    pub optional_old_self: Option<bool>,
}

/// A schema that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// It nests too deep.
    #[error("the schema nests deeper than {SCHEMA_DEPTH_MAX} levels")]
    TooDeep,
    /// A pattern is no regular expression.
    #[error("{pattern:?} must be a valid regular expression, but isn't: {message}")]
    Pattern {
        /// The pattern.
        pattern: String,
        /// What is wrong with it.
        message: String,
    },
}

impl Structural {
    /// Reads a JSONSchemaProps. Fields of another type than they should have count as absent: the document was
    /// decoded by its own schema before.
    ///
    /// # Errors
    /// When it nests too deep, or a pattern is none.
    pub fn new(schema: &Value) -> Result<Self, Error> {
        read(schema, 0)
    }

    /// The schema of a built-in kind, for checks of types: what recurs or nests too deep may be anything.
    pub fn of_node(node: Node<'_>) -> Self {
        from_node(node, 0)
    }

    /// The schema of a property, or of any other field.
    pub fn field(&self, name: &str) -> Option<&Structural> {
        match (self.properties.get(name), &self.additional) {
            (Some(field), _) => Some(field),
            (None, Some(Additional::Schema(schema))) => Some(schema),
            _ => None,
        }
    }

    /// The schema of fields that have no name of their own.
    pub fn additional_schema(&self) -> Option<&Structural> {
        match &self.additional {
            Some(Additional::Schema(schema)) => Some(schema),
            _ => None,
        }
    }

    /// Whether this is a map: any keys, one type of values.
    pub fn is_map(&self) -> bool {
        self.properties.is_empty()
            && matches!(self.additional, Some(Additional::Schema(_) | Additional::Allowed(true)))
    }

    /// The name of its type, as messages show it.
    pub fn type_name(&self) -> &'static str {
        self.kind.map_or("", Kind::name)
    }

    /// Whether a rule of CEL stands here or below.
    pub fn has_rules(&self) -> bool {
        !self.rules.is_empty()
            || self.properties.values().any(Self::has_rules)
            || self.additional_schema().is_some_and(Self::has_rules)
            || self.items.as_deref().is_some_and(Self::has_rules)
    }
}

impl Kind {
    /// As in a schema.
    pub fn name(self) -> &'static str {
        match self {
            Self::Object => "object",
            Self::Array => "array",
            Self::String => "string",
            Self::Integer => "integer",
            Self::Number => "number",
            Self::Boolean => "boolean",
        }
    }

    /// From its name.
    pub fn named(name: &str) -> Option<Self> {
        [Self::Object, Self::Array, Self::String, Self::Integer, Self::Number, Self::Boolean]
            .into_iter()
            .find(|kind| kind.name() == name)
    }
}

impl Rule {
    /// Reads one of `x-kubernetes-validations`.
    pub fn new(rule: &Value) -> Self {
        Self {
            rule: text(rule, "rule"),
            message: text(rule, "message"),
            message_expression: text(rule, "messageExpression"),
            reason: text(rule, "reason"),
            field_path: text(rule, "fieldPath"),
            optional_old_self: rule["optionalOldSelf"].as_bool(),
        }
    }

    /// What is shown for it in messages: its message, or else its expression.
    pub fn shown(&self) -> &str {
        if self.message.is_empty() { self.rule.trim() } else { self.message.trim() }
    }
}

/// Compiles a pattern.
///
/// # Errors
/// When it is no regular expression, or too large a one.
pub fn pattern(pattern: &str) -> Result<Regex, Error> {
    regex::RegexBuilder::new(pattern)
        .size_limit(PATTERN_BYTES_MAX)
        .build()
        .map_err(|error| Error::Pattern { pattern: pattern.into(), message: why(&error) })
}

/// Deepest level of a built-in kind that is read: a PodSpec's deepest field stands on the twelfth.
const NODE_DEPTH_MAX: usize = 16;

fn from_node(node: Node<'_>, depth: usize) -> Structural {
    let of = |kind| Structural { kind: Some(kind), ..Structural::default() };
    if depth > NODE_DEPTH_MAX {
        return Structural { int_or_string: true, ..Structural::default() };
    }
    match node.ty() {
        Type::Any => Structural { int_or_string: true, ..Structural::default() },
        Type::Scalar(scalar) => match scalar {
            Scalar::Boolean => of(Kind::Boolean),
            Scalar::Int32 | Scalar::Int64 => of(Kind::Integer),
            Scalar::Double => of(Kind::Number),
            Scalar::Time | Scalar::MicroTime => Structural { format: "date-time".into(), ..of(Kind::String) },
            Scalar::String | Scalar::Bytes | Scalar::Duration => of(Kind::String),
            Scalar::IntOrString | Scalar::Quantity => {
                Structural { int_or_string: true, ..Structural::default() }
            }
        },
        Type::List(list) => {
            let items = from_node(node.at(list.item), depth + 1);
            Structural { items: Some(Box::new(items)), ..of(Kind::Array) }
        }
        Type::Map(map) => {
            let values = from_node(node.at(map.value), depth + 1);
            Structural { additional: Some(Additional::Schema(Box::new(values))), ..of(Kind::Object) }
        }
        Type::Object(object) => {
            let below = |field: &shoal_api::schema::Field| from_node(node.at(field.ty), depth + 1);
            let properties =
                object.fields.iter().map(|field| (field.name.to_string(), below(field))).collect();
            Structural { properties, ..of(Kind::Object) }
        }
    }
}

/// What is wrong with a pattern, in one line.
pub(crate) fn why(error: &regex::Error) -> String {
    let text = error.to_string();
    let line = text.lines().last().unwrap_or_default().trim();
    format!("error parsing regexp: {}", line.strip_prefix("error: ").unwrap_or(line))
}

fn read(schema: &Value, depth: usize) -> Result<Structural, Error> {
    if depth > SCHEMA_DEPTH_MAX {
        return Err(Error::TooDeep);
    }
    let below = |schema: &Value| read(schema, depth + 1);
    let boxed = |field: &str| -> Result<Option<Box<Structural>>, Error> {
        schema
            .get(field)
            .filter(|value| value.is_object())
            .map(|value| below(value).map(Box::new))
            .transpose()
    };
    let several =
        |field: &str| -> Result<Vec<Structural>, Error> { list(schema, field).map(below).collect() };
    let properties = schema["properties"].as_object().into_iter().flatten();
    Ok(Structural {
        kind: schema["type"].as_str().and_then(Kind::named),
        format: text(schema, "format"),
        nullable: flag(schema, "nullable"),
        int_or_string: flag(schema, "x-kubernetes-int-or-string"),
        preserve_unknown: flag(schema, "x-kubernetes-preserve-unknown-fields"),
        embedded: flag(schema, "x-kubernetes-embedded-resource"),
        default: schema.get("default").filter(|default| !default.is_null()).cloned(),
        properties: properties
            .map(|(name, schema)| Ok((name.clone(), below(schema)?)))
            .collect::<Result<_, Error>>()?,
        additional: match &schema["additionalProperties"] {
            Value::Bool(allowed) => Some(Additional::Allowed(*allowed)),
            value @ Value::Object(_) => Some(Additional::Schema(Box::new(below(value)?))),
            _ => None,
        },
        items: boxed("items")?,
        required: texts(schema, "required"),
        list_type: text(schema, "x-kubernetes-list-type"),
        list_map_keys: texts(schema, "x-kubernetes-list-map-keys"),
        map_type: text(schema, "x-kubernetes-map-type"),
        limits: limits(schema)?,
        rules: list(schema, "x-kubernetes-validations").map(Rule::new).collect(),
        all_of: several("allOf")?,
        any_of: several("anyOf")?,
        one_of: several("oneOf")?,
        not: boxed("not")?,
    })
}

fn limits(schema: &Value) -> Result<Limits, Error> {
    let number = |field: &str| schema[field].as_f64();
    let count = |field: &str| schema[field].as_i64().map(|count| u64::try_from(count).unwrap_or(0));
    Ok(Limits {
        maximum: number("maximum"),
        exclusive_maximum: flag(schema, "exclusiveMaximum"),
        minimum: number("minimum"),
        exclusive_minimum: flag(schema, "exclusiveMinimum"),
        multiple_of: number("multipleOf"),
        max_length: count("maxLength"),
        min_length: count("minLength"),
        pattern: schema["pattern"].as_str().filter(|text| !text.is_empty()).map(pattern).transpose()?,
        max_items: count("maxItems"),
        min_items: count("minItems"),
        unique_items: flag(schema, "uniqueItems"),
        max_properties: count("maxProperties"),
        min_properties: count("minProperties"),
        allowed: list(schema, "enum").cloned().collect(),
    })
}

fn flag(schema: &Value, field: &str) -> bool {
    schema[field].as_bool().unwrap_or(false)
}

fn text(schema: &Value, field: &str) -> String {
    schema[field].as_str().unwrap_or_default().to_string()
}

fn list<'a>(schema: &'a Value, field: &str) -> impl Iterator<Item = &'a Value> {
    schema[field].as_array().into_iter().flatten()
}

fn texts(schema: &Value, field: &str) -> Vec<String> {
    list(schema, field).filter_map(Value::as_str).map(str::to_string).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_schema_is_read_with_what_stands_below() {
        let schema = Structural::new(&json!({
            "type": "object", "required": ["a"],
            "properties": {
                "a": {"type": "string", "pattern": "^x$", "enum": ["x"]},
                "b": {"type": "array", "items": {"type": "integer", "minimum": 1, "x-kubernetes-validations": [{"rule": "self > 0"}]}},
            },
            "additionalProperties": false,
        }))
        .expect("a schema");
        assert_eq!((schema.type_name(), schema.is_map(), schema.has_rules()), ("object", false, true));
        assert!(schema.field("a").is_some_and(|field| field.limits.pattern.is_some()));
        assert!(schema.field("c").is_none());
    }

    #[test]
    fn what_cannot_be_used_is_refused() {
        let error = Structural::new(&json!({"properties": {"a": {"pattern": "["}}})).expect_err("no pattern");
        assert!(error.to_string().starts_with("\"[\" must be a valid regular expression"), "{error}");
        let nested = |levels: usize| (0..levels).fold(json!({}), |inner, _| json!({"items": inner}));
        assert!(Structural::new(&nested(SCHEMA_DEPTH_MAX)).is_ok());
        assert_eq!(Structural::new(&nested(SCHEMA_DEPTH_MAX + 1)).expect_err("too deep"), Error::TooDeep);
    }
}
