//! Definitions of types, as the two versions of OpenAPI write them.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::descriptions;
use super::{Custom, Served};
use crate::GroupVersionKind;
use crate::schema::builtin::NAMED_WORDS;
use crate::schema::table::{FieldLine, ListWord, TABLE, TypeLine, Unset};

/// Which OpenAPI.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    Two,
    Three,
}

/// Definitions by their names, with all that they refer to.
pub(super) fn reached(
    served: &Served<'_>,
    roots: impl IntoIterator<Item = String>,
    version: Version,
) -> Map<String, Value> {
    let by_name: BTreeMap<String, &TypeLine> =
        TABLE.types.iter().map(|ty| (TABLE.full(ty.short), ty)).collect();
    let mut custom = BTreeMap::new();
    for one in served.custom {
        let of_list = list_name(served, &one.kind);
        custom.insert(name(&one.kind), of_custom(one, version));
        custom.insert(of_list.0, list_of_custom(one, &of_list.1, version));
    }
    let mut definitions = Map::new();
    let mut open: Vec<String> = roots.into_iter().collect();
    while let Some(name) = open.pop() {
        if definitions.contains_key(&name) {
            continue;
        }
        let definition = match (by_name.get(&name), custom.remove(&name)) {
            (Some(ty), _) => of_type(ty, version),
            (None, Some(definition)) => definition,
            (None, None) => match NAMED_WORDS.iter().find(|(full, _)| *full == name) {
                Some((full, word)) => of_word(full, word, version),
                None => continue,
            },
        };
        collect_references(&definition, version, &mut open);
        definitions.insert(name, definition);
    }
    definitions
}

/// A reference to a definition.
pub(super) fn reference(name: &str, version: Version) -> Value {
    json!({ "$ref": format!("{}{name}", prefix(version)) })
}

/// The name of a kind's definition: as the table says, `com.example.v1.Widget` for custom resources.
pub(super) fn name(kind: &GroupVersionKind) -> String {
    let built_in = TABLE.types.iter().find(|ty| ty.kinds.contains(kind));
    built_in.map_or_else(
        || {
            let mut parts: Vec<&str> = kind.group.rsplit('.').collect();
            parts.extend([&*kind.version, &*kind.kind]);
            parts.join(".")
        },
        |ty| TABLE.full(ty.short),
    )
}

/// The name of the definition of a kind's list, and the kind of the list.
pub(super) fn list_name(served: &Served<'_>, kind: &GroupVersionKind) -> (String, String) {
    let resource = served.resources.iter().find(|resource| resource.group_version_kind() == *kind);
    let list = resource.map_or_else(|| format!("{}List", kind.kind), |resource| resource.list_kind.clone());
    (name(&kind.group_version().kind(&list)), list)
}

fn prefix(version: Version) -> &'static str {
    match version {
        Version::Two => "#/definitions/",
        Version::Three => "#/components/schemas/",
    }
}

fn collect_references(value: &Value, version: Version, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                match value
                    .as_str()
                    .filter(|_| key == "$ref")
                    .and_then(|text| text.strip_prefix(prefix(version)))
                {
                    Some(name) => found.push(name.into()),
                    None => collect_references(value, version, found),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| collect_references(item, version, found)),
        _ => {}
    }
}

fn of_type(ty: &TypeLine, version: Version) -> Value {
    let mut definition = described(descriptions::of_type(ty.short));
    definition.insert("type".into(), json!("object"));
    let required: Vec<&str> =
        ty.fields.iter().filter(|field| field.required).map(|field| field.name).collect();
    if !required.is_empty() {
        definition.insert("required".into(), json!(required));
    }
    let properties: Map<String, Value> =
        ty.fields.iter().map(|field| (field.name.into(), of_field(ty, field, version))).collect();
    if !properties.is_empty() {
        definition.insert("properties".into(), properties.into());
    }
    if ty.atomic {
        definition.insert("x-kubernetes-map-type".into(), json!("atomic"));
    }
    if !ty.kinds.is_empty() {
        let kinds: Value = ty.kinds.iter().map(kind_value).collect();
        definition.insert("x-kubernetes-group-version-kind".into(), kinds);
    }
    definition.into()
}

/// A kind as extensions name it.
pub(super) fn kind_value(kind: &GroupVersionKind) -> Value {
    json!({ "group": kind.group, "kind": kind.kind, "version": kind.version })
}

fn of_field(ty: &TypeLine, field: &FieldLine, version: Version) -> Value {
    let values = field.enumeration.map(|name| TABLE.values(name)).unwrap_or_default();
    let mut text = descriptions::of_field(ty.short, field.name).to_owned();
    if !values.is_empty() {
        text.push_str("\n\nPossible enum values:");
        values.iter().for_each(|value| text.push_str(&format!("\n - `{value:?}`")));
    }
    let mut property = described(&text);
    property.extend(of_shape(field.shape, values, version));
    if version == Version::Three {
        if let Some(default) = default(field) {
            property.insert("default".into(), default);
        }
        refer_beside(&mut property);
    }
    property.extend(extensions(field));
    property.into()
}

fn described(text: &str) -> Map<String, Value> {
    let mut fields = Map::new();
    if !text.is_empty() {
        fields.insert("description".into(), json!(text));
    }
    fields
}

/// In version 3 a reference stands alone, or in `allOf` where something stands beside it.
fn refer_beside(property: &mut Map<String, Value>) {
    if property.len() > 1
        && let Some(reference) = property.remove("$ref")
    {
        property.insert("allOf".into(), json!([{ "$ref": reference }]));
    }
}

fn of_shape(shape: &str, values: &[String], version: Version) -> Map<String, Value> {
    let mut property = Map::new();
    if let Some(item) = shape.strip_prefix("[]") {
        property.insert("type".into(), json!("array"));
        property.insert("items".into(), of_item(item, values, version));
    } else if let Some(value) = shape.strip_prefix("{}") {
        property.insert("type".into(), json!("object"));
        property.insert("additionalProperties".into(), of_item(value, values, version));
    } else if let Some((ty, format)) = plain(shape) {
        property.insert("type".into(), json!(ty));
        if !format.is_empty() {
            property.insert("format".into(), json!(format));
        }
        if !values.is_empty() {
            property.insert("enum".into(), json!(values));
        }
    } else {
        let word = NAMED_WORDS.iter().find(|(_, word)| *word == shape);
        let name = word.map_or_else(|| TABLE.full(shape), |(full, _)| (*full).into());
        property.insert("$ref".into(), json!(format!("{}{name}", prefix(version))));
    }
    property
}

/// An item of a list, or a value of a map.
fn of_item(shape: &str, values: &[String], version: Version) -> Value {
    let mut item = of_shape(shape, values, version);
    if version == Version::Three {
        if let Some(default) = zero(shape) {
            item.insert("default".into(), default);
        }
        refer_beside(&mut item);
    }
    item.into()
}

/// Type and format of a scalar that has no definition of its own.
fn plain(shape: &str) -> Option<(&'static str, &'static str)> {
    Some(match shape {
        "string" => ("string", ""),
        "bytes" => ("string", "byte"),
        "boolean" => ("boolean", ""),
        "int32" => ("integer", "int32"),
        "int64" => ("integer", "int64"),
        "double" => ("number", "double"),
        _ => return None,
    })
}

fn default(field: &FieldLine) -> Option<Value> {
    if let Some(text) = field.default {
        return serde_json::from_str(text).ok();
    }
    match field.unset {
        Unset::Zero | Unset::SchemaZero => zero(field.shape),
        Unset::Nothing | Unset::Null => None,
    }
}

/// The zero of a shape as version 3 says it; none for types that read themselves in Go.
fn zero(shape: &str) -> Option<Value> {
    match shape {
        "string" => Some(json!("")),
        "boolean" => Some(json!(false)),
        "int32" | "int64" | "double" => Some(json!(0)),
        _ if TABLE.position(shape).is_some() => Some(json!({})),
        _ => None,
    }
}

fn extensions(field: &FieldLine) -> Map<String, Value> {
    let mut found = Map::new();
    let of = if field.shape.starts_with("{}") { "x-kubernetes-map-type" } else { "x-kubernetes-list-type" };
    let words = match &field.list {
        None => None,
        Some(ListWord::Atomic) => Some((of, "atomic")),
        Some(ListWord::Granular) => Some(("x-kubernetes-map-type", "granular")),
        Some(ListWord::Set) => Some(("x-kubernetes-list-type", "set")),
        Some(ListWord::Map(keys)) => {
            found.insert("x-kubernetes-list-map-keys".into(), json!(keys));
            Some(("x-kubernetes-list-type", "map"))
        }
    };
    if let Some((extension, word)) = words {
        found.insert(extension.into(), json!(word));
    }
    if let Some(key) = field.merge_key {
        found.insert("x-kubernetes-patch-merge-key".into(), json!(key));
    }
    let strategies = [(field.merge, "merge"), (field.retain, "retainKeys"), (field.replace, "replace")];
    let strategies: Vec<&str> = strategies.iter().filter(|(is, _)| *is).map(|(_, word)| *word).collect();
    if !strategies.is_empty() {
        found.insert("x-kubernetes-patch-strategy".into(), json!(strategies.join(",")));
    }
    found
}

/// Types without fields.
fn of_word(full: &str, word: &str, version: Version) -> Value {
    // The source of the others describes neither of these.
    let text = match word {
        "quantity" => {
            "An amount: a decimal number and a suffix (n, u, m, k, M, G, T, P, E, or Ki, Mi, Gi, Ti, Pi, Ei, or an exponent). `500m` is a half, `1Ki` is 1024. It is written in one canonical form, whatever it was given as."
        }
        "int-or-string" => {
            "A whole number of 32 bits, or text: the number of a port or its name, a count or a percentage."
        }
        _ => descriptions::of_type(full),
    };
    let mut definition = described(text);
    let body = match (word, version) {
        ("quantity", Version::Three) => json!({"oneOf": [{"type": "string"}, {"type": "number"}]}),
        ("int-or-string", Version::Three) => {
            json!({"format": "int-or-string", "oneOf": [{"type": "integer"}, {"type": "string"}]})
        }
        ("int-or-string", Version::Two) => json!({"type": "string", "format": "int-or-string"}),
        ("time" | "micro-time", _) => json!({"type": "string", "format": "date-time"}),
        ("quantity" | "duration", _) => json!({"type": "string"}),
        ("fields" | "patch" | "raw", _) => json!({"type": "object"}),
        _ => json!({}),
    };
    definition.extend(body.as_object().cloned().unwrap_or_default());
    definition.into()
}

fn of_custom(custom: &Custom, version: Version) -> Value {
    let mut schema = match version {
        Version::Two => custom.v2.clone(),
        Version::Three => custom.v3.clone(),
    };
    if let Some(fields) = schema.as_object_mut() {
        fields.insert("x-kubernetes-group-version-kind".into(), json!([kind_value(&custom.kind)]));
    }
    schema
}

fn list_of_custom(custom: &Custom, list: &str, version: Version) -> Value {
    const META: &str = "meta/v1.ListMeta";
    let of_list = |field: &str| descriptions::of_field("core/v1.PodList", field);
    let mut metadata = described(of_list("metadata"));
    metadata.extend(of_shape(META, &[], version));
    if version == Version::Three {
        refer_beside(&mut metadata);
    }
    json!({
        "description": format!("{list} is a list of {}", custom.kind.kind),
        "type": "object",
        "required": ["items"],
        "properties": {
            "apiVersion": {"description": of_list("apiVersion"), "type": "string"},
            "items": {
                "description": format!("List of {}. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md", plural(&custom.kind.kind)),
                "type": "array",
                "items": reference(&name(&custom.kind), version),
            },
            "kind": {"description": of_list("kind"), "type": "string"},
            "metadata": metadata,
        },
        "x-kubernetes-group-version-kind": [kind_value(&custom.kind.group_version().kind(list))],
    })
}

/// The words of a list's description: kinds in lower case, many of them.
fn plural(kind: &str) -> String {
    format!("{}s", kind.to_lowercase())
}
