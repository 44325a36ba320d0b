//! What values of a kind look like: one table for built-in kinds and custom resources.
//!
//! A [`Schema`] holds types; types refer to each other by [`TypeId`], so that they can recur. Readers walk it with
//! a [`Node`], which is a type together with its schema.

use std::collections::{HashMap, HashSet};

use serde_json::Value;

pub mod builtin;
pub(crate) mod table;

/// Types that refer to each other.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Schema {
    types: Vec<Type>,
    go: GoFacts,
}

/// What the Go types of built-in kinds say beyond their shape. Empty for custom resources.
#[derive(Clone, Debug, Default, PartialEq)]
struct GoFacts {
    /// Scalars held by pointer, whose zero is a value of its own: type and place of the field.
    pointers: HashSet<(TypeId, usize)>,
    /// Names of the types of fields where the shape does not tell them: `v1.PullPolicy`.
    names: HashMap<(TypeId, usize), Box<str>>,
    /// Types of [`Type::Any`] with a form of their own in protobuf.
    unions: HashMap<TypeId, Union>,
}

/// A value that is an object of one type, or something else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Union {
    /// The object, or `true` or `false`.
    Boolean(TypeId),
    /// The object, or a list of them.
    List(TypeId),
    /// The object, or a list of text.
    Strings(TypeId),
}

/// Names a type within its [`Schema`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TypeId(u32);

/// What a value may be.
#[derive(Clone, Debug, PartialEq)]
pub enum Type {
    /// One indivisible value.
    Scalar(Scalar),
    /// Fields with names of their own.
    Object(Object),
    /// Any keys, all of one type.
    Map(Map),
    /// Items of one type.
    List(List),
    /// Anything, kept as it is (`RawExtension`, `JSON`, `x-kubernetes-preserve-unknown-fields` without properties).
    /// Merged and owned as a whole.
    Any,
}

/// One indivisible value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scalar {
    /// Text.
    String,
    /// Base64 in JSON, raw in protobuf.
    Bytes,
    /// `true` or `false`.
    Boolean,
    /// A whole number of 32 bits.
    Int32,
    /// A whole number of 64 bits.
    Int64,
    /// A number.
    Double,
    /// A whole number or text (`8080` or `http`).
    IntOrString,
    /// An amount: `500m`, `1Gi`; JSON numbers are accepted too.
    Quantity,
    /// RFC 3339, whole seconds.
    Time,
    /// RFC 3339 with microseconds.
    MicroTime,
    /// A Go duration: `1h30m`.
    Duration,
}

/// A type with named fields.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Object {
    /// As OpenAPI names it: `io.k8s.api.core.v1.PodSpec`; none for what has no name.
    pub name: Option<Box<str>>,
    /// In the order of their names.
    pub fields: Vec<Field>,
    /// `x-kubernetes-map-type: atomic`: applied and owned as a whole.
    pub atomic: bool,
    /// `x-kubernetes-preserve-unknown-fields`: fields that are not named here are kept.
    pub preserve_unknown: bool,
    /// `x-kubernetes-embedded-resource`: has `apiVersion`, `kind` and `metadata` whatever its fields say.
    pub embedded: bool,
}

/// A named field.
#[derive(Clone, Debug, PartialEq)]
pub struct Field {
    /// As in JSON.
    pub name: Box<str>,
    /// Its type.
    pub ty: TypeId,
    /// Whether the kind's schema requires it.
    pub required: bool,
    /// Whether `null` is a value of its own (custom resources only).
    pub nullable: bool,
    /// What it is when it was left out.
    pub default: Option<Value>,
    /// Its number in protobuf; 0 where the kind has no protobuf form. Where Go inlines a struct, the numbers from the
    /// outside in, a byte each.
    pub tag: u32,
    /// How a strategic merge patch treats it.
    pub patch: Patch,
}

/// `x-kubernetes-patch-strategy` and `x-kubernetes-patch-merge-key`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Patch {
    /// Lists: merged instead of replaced.
    pub merge: bool,
    /// Maps: fields that the patch leaves out of `$retainKeys` are cleared.
    pub retain_keys: bool,
    /// Lists of objects: the field that tells items apart.
    pub merge_key: Option<Box<str>>,
}

/// A type with free keys.
#[derive(Clone, Debug, PartialEq)]
pub struct Map {
    /// The type of each value.
    pub value: TypeId,
    /// `x-kubernetes-map-type: atomic`.
    pub atomic: bool,
}

/// A list type.
#[derive(Clone, Debug, PartialEq)]
pub struct List {
    /// The type of each item.
    pub item: TypeId,
    /// How server-side apply treats it.
    pub kind: ListKind,
}

/// `x-kubernetes-list-type`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ListKind {
    /// Owned as a whole. The default.
    #[default]
    Atomic,
    /// Scalars, each once.
    Set,
    /// Objects, told apart by these fields (`x-kubernetes-list-map-keys`).
    Map(Vec<Box<str>>),
}

/// A type, and the schema it stands in. Cheap to copy.
#[derive(Clone, Copy, Debug)]
pub struct Node<'s> {
    schema: &'s Schema,
    id: TypeId,
}

impl Schema {
    /// A schema without types.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a type.
    ///
    /// # Panics
    /// Past 2³² types.
    pub fn add(&mut self, ty: Type) -> TypeId {
        let id = u32::try_from(self.types.len()).expect("fewer than 2^32 types");
        self.types.push(ty);
        TypeId(id)
    }

    /// Replaces a type, for types that recur: add [`Type::Any`] first, and what it really is later.
    ///
    /// # Panics
    /// When `id` is of another schema.
    pub fn set(&mut self, id: TypeId, ty: Type) {
        self.types[id.0 as usize] = ty;
    }

    /// A type to walk from.
    pub fn node(&self, id: TypeId) -> Node<'_> {
        Node { schema: self, id }
    }
}

impl<'s> Node<'s> {
    /// Which type this is.
    pub fn id(self) -> TypeId {
        self.id
    }

    /// What values may be.
    pub fn ty(self) -> &'s Type {
        &self.schema.types[self.id.0 as usize]
    }

    /// Another type of the same schema.
    pub fn at(self, id: TypeId) -> Node<'s> {
        Node { schema: self.schema, id }
    }

    /// A named field of an object type.
    pub fn field(self, name: &str) -> Option<&'s Field> {
        let Type::Object(object) = self.ty() else { return None };
        object.field(name)
    }

    /// The type below `key`: of a named field, or of any value of a map.
    pub fn child(self, key: &str) -> Option<Node<'s>> {
        match self.ty() {
            Type::Object(object) => object.field(key).map(|field| self.at(field.ty)),
            Type::Map(map) => Some(self.at(map.value)),
            Type::Scalar(_) | Type::List(_) | Type::Any => None,
        }
    }

    /// Whether the zero of a scalar field is a value of its own (`replicas: 0`), rather than as good as left out.
    /// Custom resources have no field of the other sort.
    pub(crate) fn keeps_zero(self, field: usize) -> bool {
        self.schema.go.pointers.contains(&(self.id, field))
    }

    /// The Go type of a field where its shape does not tell it.
    pub(crate) fn go_name(self, field: usize) -> Option<&'s str> {
        self.schema.go.names.get(&(self.id, field)).map(|name| &**name)
    }

    /// The form of a type that is an object or something else.
    pub(crate) fn union(self) -> Option<Union> {
        self.schema.go.unions.get(&self.id).copied()
    }

    /// The type of the items of a list type.
    pub fn item(self) -> Option<Node<'s>> {
        let Type::List(list) = self.ty() else { return None };
        Some(self.at(list.item))
    }
}

impl Field {
    /// A field about which nothing but its name and type is said.
    pub fn new(name: &str, ty: TypeId) -> Self {
        let patch = Patch::default();
        Self { name: name.into(), ty, required: false, nullable: false, default: None, tag: 0, patch }
    }
}

impl Object {
    /// A field by its name.
    pub fn field(&self, name: &str) -> Option<&Field> {
        self.position(name).map(|at| &self.fields[at])
    }

    /// Its place among the fields.
    pub(crate) fn position(&self, name: &str) -> Option<usize> {
        self.fields.binary_search_by(|field| (*field.name).cmp(name)).ok()
    }
}
