//! Schemas for tests, written as in OpenAPI.

use std::collections::HashMap;

use serde_json::{Value, json};
use shoal_api::schema::{Field, List, ListKind, Map, Object, Patch, Scalar, Schema, Type, TypeId};

/// A schema and the type to begin with.
pub(crate) struct Kind {
    pub(crate) schema: Schema,
    pub(crate) root: TypeId,
}

impl Kind {
    /// Of a built-in kind when `tag` is not 0.
    pub(crate) fn new(document: &Value, definitions: &Value, tag: u32) -> Self {
        let mut reader = Reader { schema: Schema::new(), definitions, known: HashMap::new(), tag };
        let root = reader.read(document);
        Self { schema: reader.schema, root }
    }

    pub(crate) fn node(&self) -> shoal_api::Node<'_> {
        self.schema.node(self.root)
    }
}

struct Reader<'d> {
    schema: Schema,
    definitions: &'d Value,
    known: HashMap<String, TypeId>,
    tag: u32,
}

impl Reader<'_> {
    fn read(&mut self, document: &Value) -> TypeId {
        let reference = document["allOf"][0]["$ref"].as_str().or_else(|| document["$ref"].as_str());
        let Some(reference) = reference else {
            let id = self.schema.add(Type::Any);
            let ty = self.ty(document);
            self.schema.set(id, ty);
            return id;
        };
        let name = reference.rsplit('/').next().expect("a reference has a name").to_string();
        if let Some(id) = self.known.get(&name) {
            return *id;
        }
        let id = self.schema.add(Type::Any);
        self.known.insert(name.clone(), id);
        let ty = match name.rsplit('.').next() {
            Some("Quantity") => Type::Scalar(Scalar::Quantity),
            Some("IntOrString") => Type::Scalar(Scalar::IntOrString),
            _ => {
                let definition = self.definitions[&name].clone();
                self.ty(&definition)
            }
        };
        // Of the reference, not of the definition: `x-kubernetes-map-type` stands on both.
        self.schema.set(id, ty);
        id
    }

    fn ty(&mut self, document: &Value) -> Type {
        let atomic = document["x-kubernetes-map-type"] == "atomic";
        match document["type"].as_str().unwrap_or_default() {
            "object" if document["properties"].is_object() => self.object(document, atomic),
            "object" if document["additionalProperties"].is_object() => {
                Type::Map(Map { value: self.read(&document["additionalProperties"]), atomic })
            }
            "array" => {
                let keys = document["x-kubernetes-list-map-keys"].as_array().cloned().unwrap_or_default();
                let kind = match document["x-kubernetes-list-type"].as_str() {
                    Some("set") => ListKind::Set,
                    Some("map") => ListKind::Map(
                        keys.iter().map(|key| key.as_str().expect("a key is text").into()).collect(),
                    ),
                    _ => ListKind::Atomic,
                };
                Type::List(List { item: self.read(&document["items"]), kind })
            }
            "integer" => Type::Scalar(Scalar::Int64),
            "number" => Type::Scalar(Scalar::Double),
            "boolean" => Type::Scalar(Scalar::Boolean),
            "string" if document["format"] == "date-time" => Type::Scalar(Scalar::Time),
            "string" => Type::Scalar(Scalar::String),
            _ => Type::Any,
        }
    }

    fn object(&mut self, document: &Value, atomic: bool) -> Type {
        let required = document["required"].as_array().cloned().unwrap_or_default();
        let properties = document["properties"].as_object().cloned().unwrap_or_default();
        let mut fields: Vec<Field> = properties
            .iter()
            .map(|(name, property)| {
                let required = required.contains(&json!(name));
                // A list or a struct held by pointer that Go writes though nobody has set it.
                let is_null = required && !text(property, "type").starts_with("string");
                let unset = (self.tag != 0 && is_null).then_some(Value::Null);
                Field {
                    name: name.as_str().into(),
                    ty: self.read(property),
                    required,
                    nullable: property["nullable"] == true,
                    default: property.get("default").cloned().or(unset),
                    tag: self.tag,
                    patch: Patch {
                        merge: text(property, "x-kubernetes-patch-strategy").contains("merge"),
                        retain_keys: text(property, "x-kubernetes-patch-strategy").contains("retainKeys"),
                        merge_key: property["x-kubernetes-patch-merge-key"].as_str().map(Into::into),
                    },
                }
            })
            .collect();
        fields.sort_by(|one, other| one.name.cmp(&other.name));
        let preserve_unknown = document["x-kubernetes-preserve-unknown-fields"] == true;
        Type::Object(Object { fields, atomic, preserve_unknown, ..Object::default() })
    }
}

fn text<'v>(value: &'v Value, field: &str) -> &'v str {
    value[field].as_str().unwrap_or_default()
}
