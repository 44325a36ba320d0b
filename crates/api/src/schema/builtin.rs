//! The schema of the built-in kinds of Kubernetes 1.32, and of Shoal's own.

use std::collections::HashMap;
use std::sync::LazyLock;

use serde_json::{Map as Fields, Value, json};

use super::table::{FieldLine, ListWord, TABLE, Table, Unset};
use super::{Field, GoFacts, List, ListKind, Map, Node, Object, Patch, Scalar, Schema, Type, TypeId, Union};
use crate::GroupVersionKind;

/// The schema of all built-in types; read when it is first asked for.
pub fn schema() -> &'static Schema {
    &BUILT_IN.schema
}

/// What objects of a built-in kind look like. Lists (`PodList`) are kinds too, and so are the options and events that
/// every group has (`DeleteOptions`, `WatchEvent`).
pub fn kind(kind: &GroupVersionKind) -> Option<Node<'static>> {
    BUILT_IN.kinds.get(kind).map(|id| BUILT_IN.schema.node(*id))
}

/// A type by its name in OpenAPI: `io.k8s.api.core.v1.PodSpec`.
pub fn named(name: &str) -> Option<Node<'static>> {
    BUILT_IN.names.get(name).map(|id| BUILT_IN.schema.node(*id))
}

/// All built-in kinds, in no order.
pub fn kinds() -> impl Iterator<Item = &'static GroupVersionKind> {
    BUILT_IN.kinds.keys()
}

struct BuiltIn {
    schema: Schema,
    kinds: HashMap<GroupVersionKind, TypeId>,
    names: HashMap<String, TypeId>,
}

static BUILT_IN: LazyLock<BuiltIn> = LazyLock::new(|| {
    let mut builder = Builder { table: &TABLE, schema: Schema::new(), words: HashMap::new() };
    let (mut kinds, mut names) = (HashMap::new(), HashMap::new());
    // First a place for each type, since they refer to each other.
    for ty in &TABLE.types {
        let id = builder.schema.add(Type::Any);
        names.insert(TABLE.full(ty.short), id);
        kinds.extend(ty.kinds.iter().map(|kind| (kind.clone(), id)));
    }
    for at in 0..TABLE.types.len() {
        builder.object(at);
    }
    for (name, word) in NAMED_WORDS {
        let id = builder.shape(word, None);
        names.insert((*name).into(), id);
    }
    BuiltIn { schema: builder.schema, kinds, names }
});

/// Types without fields that have a name in OpenAPI, and their word in the table.
pub(crate) const NAMED_WORDS: &[(&str, &str)] = &[
    ("io.k8s.apimachinery.pkg.api.resource.Quantity", "quantity"),
    ("io.k8s.apimachinery.pkg.apis.meta.v1.Duration", "duration"),
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

/// What the types of `props-or-…` are besides something else.
const PROPS: &str = "apiextensions/v1.JSONSchemaProps";

struct Builder {
    table: &'static Table,
    schema: Schema,
    /// Types without fields, by their word.
    words: HashMap<&'static str, TypeId>,
}

impl Builder {
    /// Builds a type in the place that was kept for it.
    fn object(&mut self, at: usize) {
        let ty = self.object_type(id_at(at), at);
        self.schema.set(id_at(at), ty);
    }

    fn object_type(&mut self, id: TypeId, at: usize) -> Type {
        let line = &self.table.types[at];
        let fields =
            line.fields.iter().enumerate().map(|(place, field)| self.field(id, place, field)).collect();
        let name = Some(self.table.full(line.short).into());
        Type::Object(Object { name, fields, atomic: line.atomic, ..Object::default() })
    }

    fn field(&mut self, of: TypeId, place: usize, line: &'static FieldLine) -> Field {
        let ty = self.shape(line.shape, line.list.as_ref());
        let GoFacts { pointers, names, .. } = &mut self.schema.go;
        if line.nil {
            pointers.insert((of, place));
        }
        if let Some(name) = line.enumeration {
            names.insert((of, place), go_name(name).into());
        }
        Field {
            name: line.name.into(),
            ty,
            required: line.required,
            nullable: false,
            default: default(line),
            tag: line.tag,
            patch: Patch {
                merge: line.merge,
                retain_keys: line.retain,
                merge_key: line.merge_key.map(Into::into),
            },
        }
    }

    fn shape(&mut self, shape: &'static str, list: Option<&ListWord>) -> TypeId {
        if let Some(item) = shape.strip_prefix("[]") {
            let item = self.shape(item, None);
            let kind = match list {
                Some(ListWord::Set) => ListKind::Set,
                Some(ListWord::Map(keys)) => ListKind::Map(keys.iter().map(|key| (*key).into()).collect()),
                Some(ListWord::Atomic | ListWord::Granular) | None => ListKind::Atomic,
            };
            return self.schema.add(Type::List(List { item, kind }));
        }
        if let Some(value) = shape.strip_prefix("{}") {
            let value = self.shape(value, None);
            return self.schema.add(Type::Map(Map { value, atomic: matches!(list, Some(ListWord::Atomic)) }));
        }
        if let Some(at) = self.table.position(shape) {
            if !matches!(list, Some(ListWord::Granular)) {
                return id_at(at);
            }
            // The same type, but for one word that this field alone has.
            let id = self.schema.add(Type::Any);
            let mut ty = self.object_type(id, at);
            if let Type::Object(object) = &mut ty {
                object.atomic = false;
            }
            self.schema.set(id, ty);
            return id;
        }
        if let Some(id) = self.words.get(shape) {
            return *id;
        }
        let id = self.schema.add(scalar(shape).map_or(Type::Any, Type::Scalar));
        self.words.insert(shape, id);
        if let (Some(union), Some(props)) = (union(shape), self.table.position(PROPS)) {
            self.schema.go.unions.insert(id, union(id_at(props)));
        }
        id
    }
}

/// Types of the table come first in the schema.
fn id_at(at: usize) -> TypeId {
    TypeId(u32::try_from(at).expect("there are fewer than 2^32 types"))
}

fn scalar(word: &str) -> Option<Scalar> {
    Some(match word {
        "string" => Scalar::String,
        "bytes" => Scalar::Bytes,
        "boolean" => Scalar::Boolean,
        "int32" => Scalar::Int32,
        "int64" => Scalar::Int64,
        "double" => Scalar::Double,
        "int-or-string" => Scalar::IntOrString,
        "quantity" => Scalar::Quantity,
        "time" => Scalar::Time,
        "micro-time" => Scalar::MicroTime,
        "duration" => Scalar::Duration,
        _ => return None,
    })
}

fn union(word: &str) -> Option<fn(TypeId) -> Union> {
    Some(match word {
        "props-or-boolean" => Union::Boolean,
        "props-or-array" => Union::List,
        "props-or-strings" => Union::Strings,
        _ => return None,
    })
}

/// What stands there when nobody has set it.
fn default(line: &FieldLine) -> Option<Value> {
    if let Some(text) = line.default {
        return Some(serde_json::from_str(text).expect("a test reads all defaults"));
    }
    match line.unset {
        Unset::Nothing | Unset::SchemaZero => None,
        Unset::Null => Some(Value::Null),
        Unset::Zero => Some(match line.shape {
            "string" => json!(""),
            "boolean" => json!(false),
            "int32" | "int64" | "double" | "int-or-string" => json!(0),
            "quantity" => json!("0"),
            "duration" => json!("0s"),
            "time" | "micro-time" => Value::Null,
            _ => Value::Object(Fields::new()),
        }),
    }
}

/// `v1.Protocol` for `core/v1.Protocol`.
fn go_name(short: &str) -> &str {
    short.rsplit('/').next().unwrap_or(short)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deployment() -> Node<'static> {
        kind(&GroupVersionKind::new("apps", "v1", "Deployment")).expect("it is built in")
    }

    #[test]
    fn a_kind_is_walked_by_its_fields() {
        let containers = ["spec", "template", "spec", "containers"]
            .into_iter()
            .try_fold(deployment(), Node::child)
            .expect("a deployment has containers");
        let Type::List(list) = containers.ty() else { panic!("containers are a list") };
        assert_eq!(list.kind, ListKind::Map(vec!["name".into()]));
        let container = containers.item().expect("a list has items");
        let ports = container.field("ports").expect("a container has ports");
        assert_eq!((ports.tag, ports.patch.merge_key.as_deref()), (6, Some("containerPort")));
        assert_eq!(container.field("resources").and_then(|field| field.default.clone()), Some(json!({})));
        let Type::Object(object) = container.ty() else { panic!("a container is an object") };
        assert_eq!(object.name.as_deref(), Some("io.k8s.api.core.v1.Container"));
    }

    #[test]
    fn inlined_structs_are_numbered_from_the_outside_in() {
        let volume = named("io.k8s.api.core.v1.Volume").expect("it is built in");
        let tag = |node: Node<'_>, field| node.field(field).expect("the field is there").tag;
        assert_eq!((tag(volume, "name"), tag(volume, "emptyDir")), (1, 0x0202));
        let rules =
            named("io.k8s.api.admissionregistration.v1.NamedRuleWithOperations").expect("it is built in");
        assert_eq!((tag(rules, "operations"), tag(rules, "apiGroups")), (0x0201, 0x02_02_01));
    }

    #[test]
    fn what_go_holds_by_pointer_keeps_its_zero() {
        let spec = deployment().child("spec").expect("a deployment has a spec");
        let Type::Object(object) = spec.ty() else { panic!("a spec is an object") };
        let keeps = |name| spec.keeps_zero(object.position(name).expect("the field is there"));
        assert_eq!((keeps("replicas"), keeps("minReadySeconds")), (true, false));
    }

    #[test]
    fn a_field_may_be_merged_otherwise_than_its_type() {
        let atomic = |node: Option<Node<'_>>| match node.map(Node::ty) {
            Some(Type::Object(object)) => object.atomic,
            other => panic!("no object: {other:?}"),
        };
        let volume = named("io.k8s.api.core.v1.PersistentVolumeSpec").expect("it is built in");
        assert!(!atomic(volume.child("claimRef")));
        assert!(atomic(named("io.k8s.api.core.v1.ObjectReference")));
    }

    #[test]
    fn all_kinds_are_there() {
        for (group, version, name) in [
            ("", "v1", "PodList"),
            ("shoal.dev", "v1", "App"),
            ("metrics.k8s.io", "v1beta1", "NodeMetrics"),
            ("batch", "v1", "DeleteOptions"),
            ("apiextensions.k8s.io", "v1", "CustomResourceDefinition"),
        ] {
            assert!(kind(&GroupVersionKind::new(group, version, name)).is_some(), "{group}/{version} {name}");
        }
        assert!(kinds().count() > 200);
    }
}
