//! The types of the table, from OpenAPI definitions.

use anyhow::{Context, Result, bail};
use serde_json::{Map, Value};

/// A type with fields.
pub(crate) struct Type {
    /// As OpenAPI names it.
    pub(crate) full: String,
    /// `core/v1.Pod`: as the table names it.
    pub(crate) short: String,
    pub(crate) description: String,
    /// `apps/v1/Deployment`; more than one for what every group has.
    pub(crate) kinds: Vec<String>,
    pub(crate) atomic: bool,
    pub(crate) fields: Vec<Field>,
}

/// A field of it.
pub(crate) struct Field {
    pub(crate) name: String,
    pub(crate) description: String,
    /// In the words of the table: `string`, `[]core/v1.Container`, `{}quantity`.
    pub(crate) shape: String,
    pub(crate) required: bool,
    /// Whether it is a struct, which is written even when it is empty unless it is a pointer.
    pub(crate) is_struct: bool,
    /// Numbers of protobuf from the outside in; more than one where Go inlines a struct.
    pub(crate) numbers: Vec<u32>,
    /// Further words of the line.
    pub(crate) words: Vec<String>,
}

/// Packages whose types are in the table, as far as they are of these versions; others come along when something
/// refers to them.
const PACKAGES: &[&str] = &[
    "admissionregistration/v1",
    "apiextensions/v1",
    "apiregistration/v1",
    "apps/v1",
    "authentication/v1",
    "authorization/v1",
    "autoscaling/v1",
    "autoscaling/v2",
    "batch/v1",
    "certificates/v1",
    "coordination/v1",
    "core/v1",
    "discovery/v1",
    "events/v1",
    "flowcontrol/v1",
    "meta/v1",
    "networking/v1",
    "node/v1",
    "policy/v1",
    "rbac/v1",
    "scheduling/v1",
    "storage/v1",
];

/// Types that the table has a word for. They have no fields.
const SPECIAL: &[(&str, &str)] = &[
    ("io.k8s.apimachinery.pkg.api.resource.Quantity", "quantity"),
    ("io.k8s.apimachinery.pkg.apis.meta.v1.FieldsV1", "fields"),
    ("io.k8s.apimachinery.pkg.apis.meta.v1.MicroTime", "micro-time"),
    ("io.k8s.apimachinery.pkg.apis.meta.v1.Patch", "patch"),
    ("io.k8s.apimachinery.pkg.apis.meta.v1.Time", "time"),
    ("io.k8s.apimachinery.pkg.runtime.RawExtension", "raw"),
    ("io.k8s.apimachinery.pkg.util.intstr.IntOrString", "int-or-string"),
    ("io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSON", "json"),
    ("io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrArray", "props-or-array"),
    ("io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrBool", "props-or-boolean"),
    (
        "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrStringArray",
        "props-or-strings",
    ),
];

/// All types of [`PACKAGES`], in the order of their names. What they refer to is among them.
pub(crate) fn from_definitions(definitions: &Map<String, Value>) -> Result<Vec<Type>> {
    let mut types = Vec::new();
    for (full, definition) in definitions {
        let Some(short) = short(full) else { continue };
        let package = short.split_once('.').map_or("", |(package, _)| package);
        if !PACKAGES.contains(&package) || special(full).is_some() {
            continue;
        }
        types.push(read_type(full, &short, definition, definitions).with_context(|| full.clone())?);
    }
    types.sort_by(|a, b| a.short.cmp(&b.short));
    Ok(types)
}

/// `core/v1.Pod` for `io.k8s.api.core.v1.Pod`; none for what is in no versioned package.
pub(crate) fn short(full: &str) -> Option<String> {
    let mut parts = full.rsplit('.');
    let (name, version, group) = (parts.next()?, parts.next()?, parts.next()?);
    let is_version =
        version.strip_prefix('v').is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
    is_version.then(|| format!("{group}/{version}.{name}"))
}

/// The word for a type that has one, and its OpenAPI name.
pub(crate) fn special(full: &str) -> Option<&'static str> {
    SPECIAL.iter().find(|(name, _)| *name == full).map(|(_, word)| *word)
}

/// Descriptions of the types that have a word, by their OpenAPI names.
pub(crate) fn special_descriptions(definitions: &Map<String, Value>) -> Vec<(String, String)> {
    let described = definitions.iter().filter(|(full, _)| special(full).is_some());
    described.map(|(full, definition)| (full.clone(), text(&definition["description"]))).collect()
}

fn read_type(full: &str, short: &str, definition: &Value, all: &Map<String, Value>) -> Result<Type> {
    let required: Vec<&str> = texts(&definition["required"]);
    let mut fields = Vec::new();
    let empty = Map::new();
    for (name, field) in definition["properties"].as_object().unwrap_or(&empty) {
        let shape = shape(field, all).with_context(|| name.clone())?;
        let words = extensions(field)?;
        fields.push(Field {
            name: name.clone(),
            description: text(&field["description"]),
            is_struct: shape.contains('.') && !shape.starts_with(['[', '{']),
            shape,
            required: required.contains(&name.as_str()),
            numbers: Vec::new(),
            words,
        });
    }
    Ok(Type {
        full: full.into(),
        short: short.into(),
        description: text(&definition["description"]),
        kinds: kinds(definition),
        atomic: definition["x-kubernetes-map-type"] == "atomic",
        fields,
    })
}

fn shape(field: &Value, all: &Map<String, Value>) -> Result<String> {
    if let Some(reference) = field["$ref"].as_str() {
        let full = reference.trim_start_matches("#/$defs/");
        anyhow::ensure!(all.contains_key(full), "{full} is not defined");
        let named = special(full).map(String::from).or_else(|| short(full));
        return named.with_context(|| format!("{full} is in no package with a version"));
    }
    let ty = match &field["type"] {
        Value::Array(types) => types.first().and_then(Value::as_str).unwrap_or_default(),
        other => other.as_str().unwrap_or_default(),
    };
    let format = field["format"].as_str().unwrap_or_default();
    Ok(match (ty, format) {
        ("string", "byte") => "bytes".into(),
        ("string", "") => "string".into(),
        ("boolean", "") => "boolean".into(),
        ("integer", "int32") => "int32".into(),
        ("integer", "int64") => "int64".into(),
        ("number", "double") => "double".into(),
        ("array", "") => format!("[]{}", shape(&field["items"], all)?),
        ("object", "") if field["additionalProperties"].is_object() => {
            format!("{{}}{}", shape(&field["additionalProperties"], all)?)
        }
        other => bail!("a type that the table has no word for: {other:?}"),
    })
}

fn extensions(field: &Value) -> Result<Vec<String>> {
    let mut words = Vec::new();
    match field["x-kubernetes-list-type"].as_str() {
        Some("map") => words.push(format!("map={}", texts(&field["x-kubernetes-list-map-keys"]).join(","))),
        Some("set") => words.push("set".into()),
        Some("atomic") => words.push("atomic".into()),
        None => {}
        Some(other) => bail!("an unknown list type {other}"),
    }
    match field["x-kubernetes-map-type"].as_str() {
        Some(word @ ("atomic" | "granular")) => words.push(word.into()),
        None => {}
        Some(other) => bail!("an unknown map type {other}"),
    }
    let merge_key = field["x-kubernetes-patch-merge-key"].as_str();
    for strategy in field["x-kubernetes-patch-strategy"].as_str().unwrap_or_default().split(',') {
        match (strategy, merge_key) {
            ("", _) => {}
            ("merge", Some(key)) => words.push(format!("merge={key}")),
            ("merge", None) => words.push("merge".into()),
            ("retainKeys", _) => words.push("retain".into()),
            ("replace", _) => words.push("replace".into()),
            (other, _) => bail!("an unknown patch strategy {other}"),
        }
    }
    Ok(words)
}

fn kinds(definition: &Value) -> Vec<String> {
    let part = |kind: &Value, name: &str| kind[name].as_str().unwrap_or_default().to_owned();
    let one = |kind: &Value| {
        let (group, version, name) = (part(kind, "group"), part(kind, "version"), part(kind, "kind"));
        if group.is_empty() { format!("{version}/{name}") } else { format!("{group}/{version}/{name}") }
    };
    definition["x-kubernetes-group-version-kind"].as_array().into_iter().flatten().map(one).collect()
}

fn texts(value: &Value) -> Vec<&str> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().into()
}
