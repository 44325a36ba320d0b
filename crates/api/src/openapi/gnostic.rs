//! A document of OpenAPI 2 as protobuf, in the messages of gnostic (`openapi.v2.Document`), which kubectl asks for.
//!
//! Each message is a table from fields of JSON to numbers; what is in no table is left out, but for `x-…`, which go as
//! YAML (JSON is that).

use serde_json::{Map, Value};

use crate::proto::wire::{put_bytes, put_fixed64, put_number};

/// Writes the document.
pub fn to_protobuf(document: &Value) -> Vec<u8> {
    let mut bytes = Vec::new();
    message(document, DOCUMENT, &mut bytes);
    bytes
}

/// A field of a message: its name in JSON, its number, and what it is.
type Entry = (&'static str, u32, Form);

/// The fields of a message. Tables are statics, since they refer to each other.
type Table = &'static [Entry];

/// What a field is, and how it is written.
#[derive(Clone, Copy)]
enum Form {
    Text,
    Boolean,
    /// A list of text.
    Texts,
    /// A message.
    One(&'static Table),
    /// A list of messages.
    Many(&'static Table),
    /// An object of any keys: a list of name and message, in a message of their own; the number of the list in it.
    Named(u32, &'static Table),
    /// A value as YAML, each item of a list for itself.
    Anys,
    /// A value as YAML.
    Any,
    /// What takes a function to write.
    Special(fn(u32, &Value, &mut Vec<u8>)),
}

static DOCUMENT: Table = &[
    ("swagger", 1, Form::Text),
    ("info", 2, Form::One(&INFO)),
    ("paths", 8, Form::Named(2, &PATH)),
    ("definitions", 9, Form::Named(1, &SCHEMA)),
    ("security", 12, Form::Special(security)),
    ("securityDefinitions", 13, Form::Special(security_definitions)),
];

static PATH: Table = &[
    ("get", 2, Form::One(&OPERATION)),
    ("put", 3, Form::One(&OPERATION)),
    ("post", 4, Form::One(&OPERATION)),
    ("delete", 5, Form::One(&OPERATION)),
    ("patch", 8, Form::One(&OPERATION)),
    ("parameters", 9, Form::Special(parameter)),
];

static OPERATION: Table = &[
    ("tags", 1, Form::Texts),
    ("description", 3, Form::Text),
    ("operationId", 5, Form::Text),
    ("produces", 6, Form::Texts),
    ("consumes", 7, Form::Texts),
    ("parameters", 8, Form::Special(parameter)),
    ("responses", 9, Form::Named(1, &RESPONSE)),
    ("schemes", 10, Form::Texts),
    ("x-", 13, Form::Any),
];

static INFO: Table = &[("title", 1, Form::Text), ("version", 2, Form::Text)];

/// A response is one of two things; the message between says which.
static RESPONSE: Table = &[("", 1, Form::One(&RESPONSE_ITSELF))];
static RESPONSE_ITSELF: Table = &[("description", 1, Form::Text), ("schema", 2, Form::One(&SCHEMA_ITEM))];
static SCHEMA_ITEM: Table = &[("", 1, Form::One(&SCHEMA))];

static SCHEMA: Table = &[
    ("$ref", 1, Form::Text),
    ("format", 2, Form::Text),
    ("title", 3, Form::Text),
    ("description", 4, Form::Text),
    ("default", 5, Form::Any),
    ("multipleOf", 6, Form::Special(double)),
    ("maximum", 7, Form::Special(double)),
    ("exclusiveMaximum", 8, Form::Boolean),
    ("minimum", 9, Form::Special(double)),
    ("exclusiveMinimum", 10, Form::Boolean),
    ("maxLength", 11, Form::Special(whole)),
    ("minLength", 12, Form::Special(whole)),
    ("pattern", 13, Form::Text),
    ("maxItems", 14, Form::Special(whole)),
    ("minItems", 15, Form::Special(whole)),
    ("uniqueItems", 16, Form::Boolean),
    ("maxProperties", 17, Form::Special(whole)),
    ("minProperties", 18, Form::Special(whole)),
    ("required", 19, Form::Texts),
    ("enum", 20, Form::Anys),
    ("additionalProperties", 21, Form::Special(additional)),
    ("type", 22, Form::Special(type_item)),
    ("items", 23, Form::One(&SCHEMA_ITEM)),
    ("allOf", 24, Form::Many(&SCHEMA)),
    ("properties", 25, Form::Named(1, &SCHEMA)),
    ("example", 30, Form::Any),
    ("x-", 31, Form::Any),
];

static BODY: Table = &[
    ("description", 1, Form::Text),
    ("name", 2, Form::Text),
    ("in", 3, Form::Text),
    ("required", 4, Form::Boolean),
    ("schema", 5, Form::One(&SCHEMA)),
];

static QUERY: Table = &[
    ("required", 1, Form::Boolean),
    ("in", 2, Form::Text),
    ("description", 3, Form::Text),
    ("name", 4, Form::Text),
    ("type", 6, Form::Text),
    ("format", 7, Form::Text),
    ("uniqueItems", 20, Form::Boolean),
];

static IN_PATH: Table = &[
    ("required", 1, Form::Boolean),
    ("in", 2, Form::Text),
    ("description", 3, Form::Text),
    ("name", 4, Form::Text),
    ("type", 5, Form::Text),
    ("format", 6, Form::Text),
    ("uniqueItems", 19, Form::Boolean),
];

fn message(value: &Value, entries: &[Entry], bytes: &mut Vec<u8>) {
    for (name, number, form) in entries {
        match *name {
            // The message itself is what the field holds.
            "" => field(value, *number, *form, bytes),
            "x-" => extensions(value, *number, bytes),
            _ => {
                if let Some(value) = value.get(name) {
                    field(value, *number, *form, bytes);
                }
            }
        }
    }
}

fn field(value: &Value, number: u32, form: Form, bytes: &mut Vec<u8>) {
    match form {
        Form::Text => put_bytes(number, value.as_str().unwrap_or_default().as_bytes(), bytes),
        Form::Boolean => put_number(number, u64::from(value == true), bytes),
        Form::Texts => {
            let texts = value.as_array().into_iter().flatten().filter_map(Value::as_str);
            texts.for_each(|text| put_bytes(number, text.as_bytes(), bytes));
        }
        Form::One(entries) => put_message(number, bytes, |bytes| message(value, entries, bytes)),
        Form::Many(entries) => {
            for item in value.as_array().into_iter().flatten() {
                put_message(number, bytes, |bytes| message(item, entries, bytes));
            }
        }
        Form::Named(inner, entries) => put_message(number, bytes, |bytes| {
            for (name, value) in value.as_object().unwrap_or(&Map::new()) {
                put_named(inner, name, bytes, |bytes| message(value, entries, bytes));
            }
        }),
        Form::Anys => {
            for item in value.as_array().into_iter().flatten() {
                put_message(number, bytes, |bytes| any(item, bytes));
            }
        }
        Form::Any => put_message(number, bytes, |bytes| any(value, bytes)),
        Form::Special(write) => write(number, value, bytes),
    }
}

/// `x-…` as names with values.
fn extensions(value: &Value, number: u32, bytes: &mut Vec<u8>) {
    let fields = value.as_object().into_iter().flatten();
    for (name, value) in fields.filter(|(name, _)| name.starts_with("x-")) {
        put_named(number, name, bytes, |bytes| any(value, bytes));
    }
}

fn any(value: &Value, bytes: &mut Vec<u8>) {
    put_bytes(2, value.to_string().as_bytes(), bytes);
}

/// Parameters: each is in the body, or in query or path, with two messages between that say so.
fn parameter(number: u32, value: &Value, bytes: &mut Vec<u8>) {
    for one in value.as_array().into_iter().flatten() {
        let place = one["in"].as_str().unwrap_or_default();
        // In the body, or elsewhere; and where elsewhere.
        let (outer, inner, table) = match place {
            "body" => (1, None, BODY),
            "path" => (2, Some(4), IN_PATH),
            _ => (2, Some(3), QUERY),
        };
        let mut content = Vec::new();
        message(one, table, &mut content);
        for number in inner.into_iter().chain([outer, 1]) {
            let wrapped = std::mem::take(&mut content);
            put_bytes(number, &wrapped, &mut content);
        }
        put_bytes(number, &content, bytes);
    }
}

/// `true` and `false`, or a schema.
fn additional(number: u32, value: &Value, bytes: &mut Vec<u8>) {
    put_message(number, bytes, |bytes| match value.as_bool() {
        Some(truth) => put_number(2, u64::from(truth), bytes),
        None => put_message(1, bytes, |bytes| message(value, SCHEMA, bytes)),
    });
}

fn type_item(number: u32, value: &Value, bytes: &mut Vec<u8>) {
    let text = value.as_str().unwrap_or_default();
    put_message(number, bytes, |bytes| put_bytes(1, text.as_bytes(), bytes));
}

fn double(number: u32, value: &Value, bytes: &mut Vec<u8>) {
    put_fixed64(number, value.as_f64().unwrap_or_default().to_bits(), bytes);
}

fn whole(number: u32, value: &Value, bytes: &mut Vec<u8>) {
    put_number(number, value.as_u64().unwrap_or_default(), bytes);
}

/// `security`: a list of objects from name to list.
fn security(number: u32, value: &Value, bytes: &mut Vec<u8>) {
    for one in value.as_array().into_iter().flatten() {
        put_message(number, bytes, |bytes| {
            for name in one.as_object().unwrap_or(&Map::new()).keys() {
                put_named(1, name, bytes, |_| {});
            }
        });
    }
}

/// Security definitions of type `apiKey`, the only ones that there are.
fn security_definitions(number: u32, value: &Value, bytes: &mut Vec<u8>) {
    const API_KEY: &[Entry] = &[
        ("type", 1, Form::Text),
        ("name", 2, Form::Text),
        ("in", 3, Form::Text),
        ("description", 4, Form::Text),
    ];
    put_message(number, bytes, |bytes| {
        for (name, value) in value.as_object().unwrap_or(&Map::new()) {
            put_named(1, name, bytes, |bytes| put_message(2, bytes, |bytes| message(value, API_KEY, bytes)));
        }
    });
}

/// A message of name and value.
fn put_named(number: u32, name: &str, bytes: &mut Vec<u8>, value: impl FnOnce(&mut Vec<u8>)) {
    put_message(number, bytes, |bytes| {
        put_bytes(1, name.as_bytes(), bytes);
        put_message(2, bytes, value);
    });
}

fn put_message(number: u32, bytes: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let mut content = Vec::new();
    write(&mut content);
    put_bytes(number, &content, bytes);
}
