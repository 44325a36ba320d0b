//! Where a decoder stands, and what it has found.

use std::borrow::Cow;
use std::collections::HashSet;

use super::{FINDINGS_MAX, Strictness};
use crate::schema::{Node, Scalar, Type};

/// The state of one decoding.
pub(super) struct Context<'a> {
    /// Whether anybody wants to know of unknown and doubled fields.
    tells: bool,
    path: Vec<Step<'a>>,
    findings: Vec<String>,
    found: HashSet<String>,
    /// The first value that its field cannot hold. Decoding goes on, so that all fields are seen.
    pub(super) mismatch: Option<String>,
    /// A mistake that ends the decoding and goes before `mismatch`: of a value that reads itself in Go.
    pub(super) fatal: Option<String>,
}

/// One step of a path.
#[derive(Clone)]
pub(super) enum Step<'a> {
    /// A field of a struct: the name of the struct, and its own.
    Field(&'a str, &'a str),
    /// A key of a map.
    Key(Cow<'a, str>),
    /// An item of a list.
    Index(usize),
}

impl<'a> Context<'a> {
    pub(super) fn new(strictness: Strictness) -> Self {
        Self {
            tells: strictness != Strictness::Ignore,
            path: Vec::new(),
            findings: Vec::new(),
            found: HashSet::new(),
            mismatch: None,
            fatal: None,
        }
    }

    pub(super) fn enter(&mut self, step: Step<'a>) {
        self.path.push(step);
    }

    pub(super) fn leave(&mut self) {
        self.path.pop();
    }

    pub(super) fn tells(&self) -> bool {
        self.tells
    }

    pub(super) fn findings(self) -> Vec<String> {
        self.findings
    }

    /// A field that the kind does not have.
    pub(super) fn unknown(&mut self, field: &str) {
        self.find("unknown", field);
    }

    /// A field that stands twice.
    pub(super) fn duplicate(&mut self, field: &str) {
        self.find("duplicate", field);
    }

    fn find(&mut self, what: &str, field: &str) {
        if !self.tells || self.findings.len() >= FINDINGS_MAX {
            return;
        }
        let finding = format!("{what} field {:?}", self.path_to(field));
        if self.found.insert(finding.clone()) {
            self.findings.push(finding);
        }
    }

    /// `spec.containers[0].foo`.
    fn path_to(&self, field: &str) -> String {
        let mut path = String::new();
        for step in &self.path {
            match step {
                Step::Field(_, name) => push_name(&mut path, name),
                Step::Key(key) => push_name(&mut path, key),
                Step::Index(index) => path.push_str(&format!("[{index}]")),
            }
        }
        push_name(&mut path, field);
        path
    }

    /// `json: cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32`.
    pub(super) fn unmarshal(&self, what: &str, ty: &str) -> String {
        let fields = || {
            self.path
                .iter()
                .filter_map(|step| if let Step::Field(of, name) = step { Some((of, name)) } else { None })
        };
        let Some((of, _)) = fields().next_back() else {
            return format!("json: cannot unmarshal {what} into Go value of type {ty}");
        };
        let names: Vec<&str> = fields().map(|(_, name)| *name).collect();
        format!("json: cannot unmarshal {what} into Go struct field {of}.{} of type {ty}", names.join("."))
    }

    /// Remembers the first mismatch.
    pub(super) fn mismatch(&mut self, what: &str, ty: &str) {
        if self.mismatch.is_none() {
            self.mismatch = Some(self.unmarshal(what, ty));
        }
    }

    /// Remembers the mistake that ends it all.
    pub(super) fn fail(&mut self, message: String) {
        self.fatal.get_or_insert(message);
    }
}

fn push_name(path: &mut String, name: &str) {
    if !path.is_empty() {
        path.push('.');
    }
    path.push_str(name);
}

/// The name that Go has for a type.
pub(super) fn go_type(node: Node<'_>) -> String {
    match node.ty() {
        Type::Scalar(scalar) => match scalar {
            Scalar::String => "string",
            Scalar::Bytes => "[]uint8",
            Scalar::Boolean => "bool",
            Scalar::Int32 | Scalar::IntOrString => "int32",
            Scalar::Int64 => "int64",
            Scalar::Double => "float64",
            Scalar::Quantity => "resource.Quantity",
            Scalar::Time => "v1.Time",
            Scalar::MicroTime => "v1.MicroTime",
            Scalar::Duration => "v1.Duration",
        }
        .into(),
        Type::Object(object) => match &object.name {
            Some(name) => {
                let mut parts = name.rsplit('.');
                let (last, package) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
                format!("{package}.{last}")
            }
            None => "map[string]interface {}".into(),
        },
        // All maps of amounts are of this type.
        Type::Map(map) if matches!(node.at(map.value).ty(), Type::Scalar(Scalar::Quantity)) => {
            "v1.ResourceList".into()
        }
        Type::Map(map) => format!("map[string]{}", go_type(node.at(map.value))),
        Type::List(list) => format!("[]{}", go_type(node.at(list.item))),
        Type::Any => "interface {}".into(),
    }
}

/// The name of a struct within its package: `PodSpec`.
pub(super) fn struct_name<'a>(node: Node<'a>) -> &'a str {
    let Type::Object(object) = node.ty() else { return "" };
    object.name.as_deref().and_then(|name| name.rsplit('.').next()).unwrap_or_default()
}
