//! Whether an OpenAPI schema is structural, and its extensions go together.
//!
//! <https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/#specifying-a-structural-schema>

use serde_json::{Map, Value};
use shoal_api::field::{Error, Path, Reason};

use super::rule_checks;
use crate::custom::structural::{self, Kind, SCHEMA_DEPTH_MAX, Structural};
use crate::custom::{go, validate};

/// Where in a schema a schema stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Level {
    Root,
    Field,
    Item,
}

/// What is wrong with the schema of a version.
pub(super) fn check(schema: &Value, path: &Path) -> Vec<Error> {
    if !schema.is_object() {
        return Vec::new();
    }
    let mut errors = Vec::new();
    if schema["nullable"] == true {
        errors.push(Error::forbidden(&path.child("nullable"), "nullable cannot be true at the root"));
    }
    if schema.get("default").is_some_and(|default| !default.is_null()) {
        errors.push(Error::forbidden(&path.child("default"), "must not be set at the root"));
    }
    structural(schema, Level::Root, path, 0, &mut errors);
    if errors.iter().any(|error| error.message.contains("nests deeper")) {
        return errors;
    }
    match Structural::new(schema) {
        Ok(read) => {
            defaults(&read, path, &mut errors);
            errors.extend(rule_checks::check(schema, &read, path));
        }
        // Its patterns were judged one by one.
        Err(structural::Error::Pattern { .. }) => {}
        Err(error) => errors.push(Error::forbidden(path, &error.to_string())),
    }
    errors
}

fn structural(schema: &Value, level: Level, path: &Path, depth: usize, errors: &mut Vec<Error>) {
    if depth > SCHEMA_DEPTH_MAX {
        return errors.push(Error::forbidden(path, &structural::Error::TooDeep.to_string()));
    }
    let Some(fields) = schema.as_object() else { return };
    if let Some(items) = fields.get("items") {
        if items.is_array() {
            let detail = "items must be a schema object and not an array";
            errors.push(Error::forbidden(&path.child("items"), detail));
        }
        structural(items, Level::Item, &path.child("items"), depth + 1, errors);
    }
    for (name, below) in schema["properties"].as_object().into_iter().flatten() {
        structural(below, Level::Field, &path.child("properties").key(name), depth + 1, errors);
    }
    if let Some(below) = fields.get("additionalProperties") {
        let path = path.child("additionalProperties");
        if level == Level::Root {
            errors.push(Error::forbidden(&path, "must not be used at the root"));
        }
        structural(below, Level::Field, &path, depth + 1, errors);
    }
    unsupported(fields, path, errors);
    types(schema, level, path, errors);
    extensions(schema, path, errors);
    lists(schema, path, errors);
    metadata(schema, level, path, errors);
    for (field, nested) in nested(schema) {
        nested_checks(nested, schema, &nested_path(path, &field), depth + 1, errors);
    }
}

/// The schemas in `allOf` and its kin, with what they are called.
fn nested(schema: &Value) -> Vec<((&'static str, Option<usize>), &Value)> {
    let mut list = Vec::new();
    for field in ["allOf", "anyOf", "oneOf"] {
        let several = schema[field].as_array().into_iter().flatten().enumerate();
        list.extend(several.map(|(index, nested)| ((field, Some(index)), nested)));
    }
    list.extend(schema.get("not").map(|not| (("not", None), not)));
    list
}

fn nested_path(path: &Path, (field, index): &(&'static str, Option<usize>)) -> Path {
    let path = path.child(field);
    index.map_or(path.clone(), |index| path.index(index))
}

/// What no schema of a definition may say.
fn unsupported(fields: &Map<String, Value>, path: &Path, errors: &mut Vec<Error>) {
    for field in ["definitions", "dependencies", "id", "patternProperties", "additionalItems"] {
        if fields.get(field).is_some_and(|value| !value.is_null()) {
            errors.push(Error::forbidden(&path.child(field), &format!("{field} is not supported")));
        }
    }
    if fields.get("$ref").is_some_and(|value| !value.is_null()) {
        errors.push(Error::forbidden(&path.child("$ref"), "$ref is not supported"));
    }
    if fields.get("uniqueItems").is_some_and(|value| value == true) {
        let detail = "uniqueItems cannot be set to true since the runtime complexity becomes quadratic";
        errors.push(Error::forbidden(&path.child("uniqueItems"), detail));
    }
    let additional = fields.get("additionalProperties");
    let has_properties =
        fields.get("properties").and_then(Value::as_object).is_some_and(|properties| !properties.is_empty());
    if additional.is_some() && has_properties {
        let detail = "additionalProperties and properties are mutual exclusive";
        errors.push(Error::forbidden(&path.child("additionalProperties"), detail));
    } else if additional.is_some_and(|value| value == false) {
        let detail = "additionalProperties cannot be set to false";
        errors.push(Error::forbidden(&path.child("additionalProperties"), detail));
    }
    if let Some(text) = fields.get("pattern").and_then(Value::as_str)
        && let Err(structural::Error::Pattern { message, .. }) = structural::pattern(text)
    {
        let detail = format!("must be a valid regular expression, but isn't: {message}");
        errors.push(Error::invalid(&path.child("pattern"), &text.into(), &detail));
    }
}

fn types(schema: &Value, level: Level, path: &Path, errors: &mut Vec<Error>) {
    let ty = schema["type"].as_str().unwrap_or_default();
    let path_of_type = path.child("type");
    let is = |field: &str| schema[field] == true;
    match ty {
        "" => {}
        "null" => {
            let detail = "type cannot be set to null, use nullable as an alternative";
            errors.push(Error::forbidden(&path_of_type, detail));
        }
        ty if Kind::named(ty).is_none() => {
            let known = ["array", "boolean", "integer", "number", "object", "string"];
            errors.push(Error::not_supported(&path_of_type, &schema["type"], &known));
        }
        _ => {}
    }
    if is("x-kubernetes-embedded-resource") && ty != "object" {
        let detail = "must be object if x-kubernetes-embedded-resource is true";
        errors.push(match ty {
            "" => Error::required(&path_of_type, detail),
            _ => Error::invalid(&path_of_type, &schema["type"], detail),
        });
    } else if ty.is_empty()
        && !is("x-kubernetes-int-or-string")
        && !is("x-kubernetes-preserve-unknown-fields")
    {
        let detail = match level {
            Level::Root => "must not be empty at the root",
            Level::Item => "must not be empty for specified array items",
            Level::Field => "must not be empty for specified object fields",
        };
        errors.push(Error::required(&path_of_type, detail));
    }
    if level == Level::Root && !ty.is_empty() && ty != "object" {
        errors.push(Error::invalid(&path_of_type, &schema["type"], "must be object at the root"));
    }
    if ty == "array" && !schema["items"].is_object() {
        errors.push(Error::required(&path.child("items"), "must be specified"));
    }
}

fn extensions(schema: &Value, path: &Path, errors: &mut Vec<Error>) {
    const PRESERVE: &str = "x-kubernetes-preserve-unknown-fields";
    const EMBEDDED: &str = "x-kubernetes-embedded-resource";
    let is = |field: &str| schema[field] == true;
    if schema[PRESERVE] == false {
        errors.push(Error::invalid(&path.child(PRESERVE), &false.into(), "must be true or undefined"));
    }
    if is("x-kubernetes-int-or-string") {
        for field in [PRESERVE, EMBEDDED] {
            if is(field) {
                let detail = "must be false if x-kubernetes-int-or-string is true";
                errors.push(Error::invalid(&path.child(field), &true.into(), detail));
            }
        }
        let ty = &schema["type"];
        if ty.as_str().is_some_and(|ty| !ty.is_empty()) {
            let detail = "must be empty if x-kubernetes-int-or-string is true";
            errors.push(Error::invalid(&path.child("type"), ty, detail));
        }
    }
    if is(EMBEDDED) {
        if schema.get("additionalProperties").is_some() {
            let detail = "must not be used if x-kubernetes-embedded-resource is set";
            errors.push(Error::forbidden(&path.child("additionalProperties"), detail));
        }
        let empty = schema["properties"].as_object().is_none_or(Map::is_empty);
        if empty && !is(PRESERVE) {
            let detail = "must not be empty if x-kubernetes-embedded-resource is true without x-kubernetes-preserve-unknown-fields";
            errors.push(Error::required(&path.child("properties"), detail));
        }
    }
    if let Some(map_type) = schema["x-kubernetes-map-type"].as_str() {
        let path_of_map = path.child("x-kubernetes-map-type");
        if !matches!(map_type, "granular" | "atomic") {
            errors.push(Error::not_supported(&path_of_map, &map_type.into(), &["atomic", "granular"]));
        }
        expect_type(schema, "object", "must be object if x-kubernetes-map-type is specified", path, errors);
    }
}

fn expect_type(schema: &Value, expected: &str, detail: &str, path: &Path, errors: &mut Vec<Error>) {
    match schema["type"].as_str().unwrap_or_default() {
        ty if ty == expected => {}
        "" => errors.push(Error::required(&path.child("type"), detail)),
        _ => errors.push(Error::invalid(&path.child("type"), &schema["type"], detail)),
    }
}

fn lists(schema: &Value, path: &Path, errors: &mut Vec<Error>) {
    const TYPE: &str = "x-kubernetes-list-type";
    const KEYS: &str = "x-kubernetes-list-map-keys";
    let keys: Vec<&str> = schema[KEYS].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let list_type = schema[TYPE].as_str();
    if let Some(list_type) = list_type {
        if !matches!(list_type, "atomic" | "set" | "map") {
            errors.push(Error::not_supported(
                &path.child(TYPE),
                &list_type.into(),
                &["atomic", "map", "set"],
            ));
        }
        expect_type(schema, "array", "must be array if x-kubernetes-list-type is specified", path, errors);
    }
    if !keys.is_empty() && list_type != Some("map") {
        let detail = "must be map if x-kubernetes-list-map-keys is non-empty";
        errors.push(match list_type {
            None => Error::required(&path.child(TYPE), detail),
            Some(other) => Error::invalid(&path.child(TYPE), &other.into(), detail),
        });
    }
    let items = &schema["items"];
    match list_type {
        Some("map") => map_list(&keys, items, path, errors),
        Some("set") if items["type"] == "object" && items["x-kubernetes-map-type"] != "atomic" => {
            let path = path.child("items").child("x-kubernetes-map-type");
            let detail = "must be atomic as item of a list with x-kubernetes-list-type=set";
            errors.push(Error::invalid(
                &path,
                &items["x-kubernetes-map-type"].as_str().unwrap_or_default().into(),
                detail,
            ));
        }
        Some("set") if items["type"] == "array" && items[TYPE] != "atomic" => {
            let path = path.child("items").child(TYPE);
            let detail = "must be atomic as item of a list with x-kubernetes-list-type=set";
            errors.push(Error::invalid(&path, &items[TYPE].as_str().unwrap_or_default().into(), detail));
        }
        Some("set") if items["nullable"] == true => {
            let detail = "cannot be nullable when x-kubernetes-list-type is set";
            errors.push(Error::forbidden(&path.child("items").child("nullable"), detail));
        }
        _ => {}
    }
}

fn map_list(keys: &[&str], items: &Value, path: &Path, errors: &mut Vec<Error>) {
    const KEYS: &str = "x-kubernetes-list-map-keys";
    if keys.is_empty() {
        errors.push(Error::required(&path.child(KEYS), "must not be empty if x-kubernetes-list-type is map"));
    }
    let path_of_items = path.child("items");
    if !items.is_object() {
        let detail = "must have a schema if x-kubernetes-list-type is map";
        return errors.push(Error::required(&path_of_items, detail));
    }
    if items["type"] != "object" {
        let detail = "must be object if parent array's x-kubernetes-list-type is map";
        errors.push(Error::invalid(&path_of_items.child("type"), &items["type"], detail));
    }
    for (index, key) in keys.iter().enumerate() {
        if keys[..index].contains(key) {
            errors.push(Error::duplicate(&path.child(KEYS).index(index), &(*key).into()));
        }
        let path_of_key = path_of_items.child("properties").key(key);
        let Some(property) = items["properties"].get(*key) else {
            let message = format!(
                "Invalid value: []string{{{}}}: entries must all be names of item properties",
                keys.iter().map(|key| go::quoted(key)).collect::<Vec<_>>().join(", ")
            );
            errors.push(Error { reason: Reason::Invalid, path: path.child(KEYS), message });
            continue;
        };
        if matches!(property["type"].as_str(), Some("array" | "object")) {
            let detail = "must be a scalar type if parent array's x-kubernetes-list-type is map";
            errors.push(Error::invalid(&path_of_key.child("type"), &property["type"], detail));
        }
        let required = items["required"].as_array().is_some_and(|list| list.iter().any(|name| name == key));
        if !required && property.get("default").is_none_or(Value::is_null) {
            let detail = "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property";
            errors.push(Error::required(&path_of_key.child("default"), detail));
        }
        if property["nullable"] == true {
            let detail = "this property is in x-kubernetes-list-map-keys, so it cannot be nullable";
            errors.push(Error::forbidden(&path_of_key.child("nullable"), detail));
        }
    }
}

/// `metadata` is the server's: a schema may restrict the name only.
fn metadata(schema: &Value, level: Level, path: &Path, errors: &mut Vec<Error>) {
    if level != Level::Root && schema["x-kubernetes-embedded-resource"] != true {
        return;
    }
    let properties = &schema["properties"];
    for field in ["kind", "apiVersion"] {
        if let Some(below) = properties.get(field).filter(|below| below["type"] != "string") {
            let path = path.child("properties").key(field).child("type");
            errors.push(Error::invalid(
                &path,
                &below["type"].as_str().unwrap_or_default().into(),
                "must be string",
            ));
        }
    }
    let Some(below) = properties.get("metadata") else { return };
    let path = path.child("properties").key("metadata");
    if below["type"] != "object" {
        let path = path.child("type");
        errors.push(Error::invalid(
            &path,
            &below["type"].as_str().unwrap_or_default().into(),
            "must be object",
        ));
    }
    let mut only = below.clone();
    if let Some(fields) = only.as_object_mut() {
        for known in ["type", "description"] {
            fields.remove(known);
        }
        if let Some(properties) = fields.get_mut("properties").and_then(Value::as_object_mut) {
            properties.retain(|name, _| name != "name" && name != "generateName");
        }
        fields.retain(|_, value| !value.as_object().is_some_and(Map::is_empty));
    }
    if only.as_object().is_some_and(|fields| !fields.is_empty()) {
        let detail = "must not specify anything other than name and generateName, but metadata is implicitly specified";
        errors.push(Error::forbidden(&path, detail));
    }
}

/// A schema in `allOf` and its kin judges values only; what they look like stands outside.
fn nested_checks(nested: &Value, outer: &Value, path: &Path, depth: usize, errors: &mut Vec<Error>) {
    if depth > SCHEMA_DEPTH_MAX {
        return errors.push(Error::forbidden(path, &structural::Error::TooDeep.to_string()));
    }
    let Some(fields) = nested.as_object() else { return };
    let is_int_or_string = outer["x-kubernetes-int-or-string"] == true;
    for (field, detail) in [
        ("type", "must be empty to be structural"),
        ("additionalProperties", "must be undefined to be structural"),
        ("default", "must be undefined to be structural"),
        ("title", "must be empty to be structural"),
        ("description", "must be empty to be structural"),
        ("nullable", "must be false to be structural"),
        ("x-kubernetes-preserve-unknown-fields", "must be false to be structural"),
        ("x-kubernetes-embedded-resource", "must be false to be structural"),
        ("x-kubernetes-int-or-string", "must be false to be structural"),
        ("x-kubernetes-list-type", "must be undefined to be structural"),
        ("x-kubernetes-list-map-keys", "must be empty to be structural"),
        ("x-kubernetes-map-type", "must be undefined to be structural"),
    ] {
        let set = fields.get(field).is_some_and(|value| !value.is_null() && *value != false && value != "");
        // The two types of an int-or-string may be spelled out.
        if set && !(field == "type" && is_int_or_string) {
            errors.push(Error::forbidden(&path.child(field), detail));
        }
    }
    unsupported(fields, path, errors);
    for (name, below) in nested["properties"].as_object().into_iter().flatten() {
        let path = path.child("properties").key(name);
        if name == "metadata" {
            errors.push(Error::forbidden(&path, "must not be specified in a nested context"));
        }
        match outer["properties"].get(name) {
            Some(outer) => nested_checks(below, outer, &path, depth + 1, errors),
            None => {
                let detail = format!("because it is defined in {path}");
                errors.push(Error::required(&missing(&path, name), &detail));
            }
        }
    }
    if let Some(items) = nested.get("items") {
        nested_checks(items, &outer["items"], &path.child("items"), depth + 1, errors);
    }
    for (field, below) in self::nested(nested) {
        nested_checks(below, outer, &nested_path(path, &field), depth + 1, errors);
    }
}

/// Where a property of a nested schema should stand too: the path without the nesting.
fn missing(path: &Path, name: &str) -> Path {
    let text = path.as_str();
    let start = ["allOf", "anyOf", "oneOf", "not"]
        .iter()
        .filter_map(|word| text.find(&format!(".{word}")))
        .min()
        .unwrap_or(text.len());
    Path::new(&text[..start]).child("properties").key(name)
}

/// Defaults must be values of their schema.
fn defaults(schema: &Structural, path: &Path, errors: &mut Vec<Error>) {
    if let Some(default) = &schema.default {
        let path = path.child("default");
        for error in validate::validate(schema, default, None) {
            let below =
                if error.path.as_str().is_empty() { path.clone() } else { path.child(error.path.as_str()) };
            errors.push(Error { path: below, ..error });
        }
        if let Some(unknown) = unknown_field(schema, default) {
            let message =
                format!("Invalid value: {}: must not have unknown field {unknown:?}", go::value(default));
            errors.push(Error { reason: Reason::Invalid, path: path.clone(), message });
        }
    }
    for (name, below) in &schema.properties {
        defaults(below, &path.child("properties").key(name), errors);
    }
    if let Some(below) = &schema.items {
        defaults(below, &path.child("items"), errors);
    }
    if let Some(below) = schema.additional_schema() {
        defaults(below, &path.child("additionalProperties"), errors);
    }
}

/// A field of a default that would be pruned.
fn unknown_field(schema: &Structural, value: &Value) -> Option<String> {
    match value {
        Value::Object(fields) => fields.iter().find_map(|(name, value)| match schema.field(name) {
            Some(below) => unknown_field(below, value),
            None => (!schema.preserve_unknown && !schema.embedded && !schema.is_map()).then(|| name.clone()),
        }),
        Value::Array(items) => {
            let below = schema.items.as_deref()?;
            items.iter().find_map(|item| unknown_field(below, item))
        }
        _ => None,
    }
}
