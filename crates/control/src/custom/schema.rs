//! A structural schema as a [`Schema`]: the one table that decoding, pruning, defaulting and applying read.

use std::collections::BTreeMap;

use shoal_api::schema::{Field, List, ListKind, Map, Object, Scalar, Type, TypeId};
use shoal_api::{Node, Schema};

use super::structural::{Additional, Kind, Structural};

/// The schema of a kind, and where its root stands.
///
/// `metadata` is the type of ObjectMeta, which stands in the table of built-in kinds; without it any value is taken.
pub fn convert(structural: &Structural, metadata: Option<Node<'_>>) -> (Schema, TypeId) {
    let mut converter = Converter { schema: Schema::new(), metadata, imported: BTreeMap::new(), meta: None };
    let root = Structural { kind: Some(Kind::Object), ..structural.clone() };
    let id = converter.object(&root, true);
    (converter.schema, id)
}

struct Converter<'m> {
    schema: Schema,
    metadata: Option<Node<'m>>,
    /// Types of the other schema that were copied.
    imported: BTreeMap<TypeId, TypeId>,
    meta: Option<TypeId>,
}

impl Converter<'_> {
    fn add(&mut self, schema: &Structural) -> TypeId {
        if schema.embedded {
            return self.object(schema, false);
        }
        if schema.int_or_string {
            return self.schema.add(Type::Scalar(Scalar::IntOrString));
        }
        let ty = match schema.kind {
            None => Type::Any,
            Some(Kind::String) => Type::Scalar(Scalar::String),
            Some(Kind::Boolean) => Type::Scalar(Scalar::Boolean),
            Some(Kind::Integer) => Type::Scalar(Scalar::Int64),
            Some(Kind::Number) => Type::Scalar(Scalar::Double),
            Some(Kind::Array) => {
                let item = match &schema.items {
                    Some(items) => self.add(items),
                    None => self.schema.add(Type::Any),
                };
                Type::List(List { item, kind: list_kind(schema) })
            }
            Some(Kind::Object) => return self.object_or_map(schema),
        };
        self.schema.add(ty)
    }

    fn object_or_map(&mut self, schema: &Structural) -> TypeId {
        let atomic = schema.map_type == "atomic";
        match &schema.additional {
            _ if !schema.properties.is_empty() => self.object(schema, false),
            Some(Additional::Schema(values)) => {
                let value = self.add(values);
                self.schema.add(Type::Map(Map { value, atomic }))
            }
            Some(Additional::Allowed(true)) => {
                let value = self.schema.add(Type::Any);
                self.schema.add(Type::Map(Map { value, atomic }))
            }
            _ if schema.preserve_unknown => self.schema.add(Type::Any),
            _ => self.object(schema, false),
        }
    }

    fn object(&mut self, schema: &Structural, is_root: bool) -> TypeId {
        let mut fields: BTreeMap<&str, Field> = BTreeMap::new();
        for (name, below) in &schema.properties {
            let ty = self.add(below);
            fields.insert(
                name,
                Field { nullable: below.nullable, default: below.default.clone(), ..Field::new(name, ty) },
            );
        }
        for name in &schema.required {
            if let Some(field) = fields.get_mut(name.as_str()) {
                field.required = true;
            }
        }
        if is_root || schema.embedded {
            let text = self.schema.add(Type::Scalar(Scalar::String));
            let metadata = self.metadata();
            fields.insert("apiVersion", Field::new("apiVersion", text));
            fields.insert("kind", Field::new("kind", text));
            fields.insert("metadata", Field::new("metadata", metadata));
        }
        self.schema.add(Type::Object(Object {
            name: None,
            fields: fields.into_values().collect(),
            atomic: schema.map_type == "atomic",
            preserve_unknown: schema.preserve_unknown,
            embedded: schema.embedded,
        }))
    }

    fn metadata(&mut self) -> TypeId {
        if let Some(id) = self.meta {
            return id;
        }
        let id = match self.metadata {
            Some(node) => self.import(node),
            None => self.schema.add(Type::Any),
        };
        self.meta = Some(id);
        id
    }

    /// Copies a type of another schema, with all that it refers to.
    fn import(&mut self, node: Node<'_>) -> TypeId {
        if let Some(id) = self.imported.get(&node.id()) {
            return *id;
        }
        let id = self.schema.add(Type::Any);
        self.imported.insert(node.id(), id);
        let ty = match node.ty() {
            Type::Object(object) => {
                let mut object = object.clone();
                for field in &mut object.fields {
                    field.ty = self.import(node.at(field.ty));
                }
                Type::Object(object)
            }
            Type::Map(map) => Type::Map(Map { value: self.import(node.at(map.value)), ..map.clone() }),
            Type::List(list) => Type::List(List { item: self.import(node.at(list.item)), ..list.clone() }),
            plain @ (Type::Scalar(_) | Type::Any) => plain.clone(),
        };
        self.schema.set(id, ty);
        id
    }
}

fn list_kind(schema: &Structural) -> ListKind {
    match schema.list_type.as_str() {
        "set" => ListKind::Set,
        "map" => ListKind::Map(schema.list_map_keys.iter().map(|key| key.as_str().into()).collect()),
        _ => ListKind::Atomic,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_structural_schema_becomes_types() {
        let structural = Structural::new(&json!({
            "type": "object",
            "properties": {
                "spec": {"type": "object", "required": ["size"], "properties": {
                    "size": {"type": "integer", "default": 1, "nullable": true},
                    "port": {"x-kubernetes-int-or-string": true},
                    "list": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"],
                        "items": {"type": "object", "properties": {"name": {"type": "string"}}}},
                    "map": {"type": "object", "additionalProperties": {"type": "number"}, "x-kubernetes-map-type": "atomic"},
                    "template": {"type": "object", "x-kubernetes-embedded-resource": true, "x-kubernetes-preserve-unknown-fields": true},
                }},
                "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
            },
        }))
        .expect("a schema");
        let mut meta = Schema::new();
        let text = meta.add(Type::Scalar(Scalar::String));
        let labels = meta.add(Type::Map(Map { value: text, atomic: false }));
        let object = meta
            .add(Type::Object(Object { fields: vec![Field::new("labels", labels)], ..Object::default() }));
        let (schema, root) = convert(&structural, Some(meta.node(object)));
        let root = schema.node(root);
        let at = |path: &str| path.split('.').try_fold(root, |node, name| node.child(name)).map(Node::ty);
        assert_eq!(at("metadata.labels.x"), Some(&Type::Scalar(Scalar::String)));
        assert_eq!(at("spec.template.metadata.labels.x"), Some(&Type::Scalar(Scalar::String)));
        assert_eq!(at("spec.port"), Some(&Type::Scalar(Scalar::IntOrString)));
        assert_eq!(at("spec.map.a"), Some(&Type::Scalar(Scalar::Double)));
        assert_eq!(at("status"), Some(&Type::Any));
        assert!(
            matches!(at("spec.list"), Some(Type::List(list)) if list.kind == ListKind::Map(vec!["name".into()]))
        );
        let size = root.child("spec").and_then(|spec| spec.field("size")).expect("a field");
        assert_eq!((size.required, size.nullable, &size.default), (true, true, &Some(json!(1))));
    }
}
