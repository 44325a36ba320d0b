//! Reading objects out of the bodies of requests.

use http::header::CONTENT_TYPE;
use serde_json::Value;
use shoal_api::decode::{self, DecodeError, Strictness};
use shoal_api::schema::builtin;
use shoal_api::{GroupVersionKind, Node, Status, proto};

use crate::api::Request;
use crate::media::{Encoding, JSON, YAML};
use crate::registry::{Served, claim};

/// An object that a client sent, and what it should be told about it.
pub(crate) struct Read {
    /// The object; `apiVersion` and `kind` are set.
    pub object: Value,
    /// Unknown and duplicate fields.
    pub warnings: Vec<String>,
}

/// The object in a request, of a kind. `served` is the resource whose type it is checked by; a kind that is served
/// nowhere has its `node`.
///
/// # Errors
/// 400: the body is none; 415: it is of an unknown media type.
pub(crate) fn object(
    request: &Request,
    kind: &GroupVersionKind,
    of: Type<'_>,
    strictness: Strictness,
) -> Result<Read, Status> {
    let encoding = Encoding::of_body(request.header(&CONTENT_TYPE))?;
    let (mut object, warnings) = match (encoding, of) {
        (Encoding::Protobuf, Type::BuiltIn(node)) => (message(kind, node, &request.body)?, Vec::new()),
        (Encoding::Protobuf, Type::Custom(_)) => return Err(Status::unsupported_media_type(&[JSON, YAML])),
        (encoding, of) => of.text(kind, &request.body, encoding == Encoding::Yaml, strictness)?,
    };
    claim(&mut object, kind)?;
    Ok(Read { object, warnings })
}

/// How an object's fields are known.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Type<'s> {
    /// As Go knows its structs: other types of values cannot be read.
    BuiltIn(Node<'s>),
    /// By a definition: what it does not name is pruned, all else is left to validation.
    Custom(Node<'s>),
}

impl<'s> Type<'s> {
    /// The type of a resource's objects.
    ///
    /// # Panics
    /// When a built-in resource has no type: the table of types is made for the table of resources.
    pub(crate) fn of(served: &'s Served) -> Self {
        let node = served.node().expect("every resource has a type");
        if served.custom.is_some() { Self::Custom(node) } else { Self::BuiltIn(node) }
    }

    /// The type of a built-in kind.
    ///
    /// # Panics
    /// As [`Type::of`].
    pub(crate) fn of_kind(kind: &GroupVersionKind) -> Type<'static> {
        Type::BuiltIn(builtin::kind(kind).expect("every built-in kind has a type"))
    }

    /// Its fields.
    pub(crate) fn node(self) -> Node<'s> {
        match self {
            Self::BuiltIn(node) | Self::Custom(node) => node,
        }
    }

    /// An object from text, and what the client should be told about it.
    ///
    /// # Errors
    /// 400: it is no object of the kind.
    pub(crate) fn text(
        self,
        kind: &GroupVersionKind,
        bytes: &[u8],
        yaml: bool,
        strictness: Strictness,
    ) -> Result<(Value, Vec<String>), Status> {
        // What stands twice in a custom resource is told together with what its schema does not know.
        let gently = if strictness == Strictness::Strict { Strictness::Warn } else { strictness };
        let read = match (self, yaml) {
            (Self::BuiltIn(node), false) => decode::json(bytes, node, strictness),
            (Self::BuiltIn(node), true) => decode::yaml(bytes, node, strictness),
            (Self::Custom(_), false) => decode::free_json(bytes, gently),
            (Self::Custom(_), true) => decode::free_yaml(bytes, gently),
        };
        let (object, findings) = read.map_err(|error| error.status(Some(kind), &kind.kind, bytes))?;
        let pruned = self.pruned(object, findings, strictness);
        pruned.map_err(|error| error.status(Some(kind), &kind.kind, b""))
    }

    /// An object that is there already: what a patch made.
    ///
    /// # Errors
    /// It is no object of the kind.
    pub(crate) fn value(
        self,
        object: Value,
        strictness: Strictness,
    ) -> Result<(Value, Vec<String>), DecodeError> {
        let Self::BuiltIn(node) = self else { return self.pruned(object, Vec::new(), strictness) };
        decode::value(object, node, strictness)
    }

    fn pruned(
        self,
        mut object: Value,
        mut findings: Vec<String>,
        strictness: Strictness,
    ) -> Result<(Value, Vec<String>), DecodeError> {
        if !object.is_object() {
            return Err(DecodeError::Malformed("it is no object".into()));
        }
        if let Self::Custom(node) = self {
            let found = decode::prune(node, &mut object);
            if strictness != Strictness::Ignore {
                findings.extend(found);
            }
            if strictness == Strictness::Strict && !findings.is_empty() {
                return Err(DecodeError::Strict(findings));
            }
        }
        Ok((object, findings))
    }
}

fn message(kind: &GroupVersionKind, node: Node<'_>, bytes: &[u8]) -> Result<Value, Status> {
    let bad = |error: &dyn std::fmt::Display| {
        DecodeError::Malformed(error.to_string()).status(Some(kind), &kind.kind, b"")
    };
    let message = proto::open(bytes).map_err(|error| bad(&error))?;
    let mut object = proto::decode(node, message.raw).map_err(|error| bad(&error))?;
    object["apiVersion"] = message.api_version.into();
    object["kind"] = message.kind.into();
    Ok(object)
}

/// The options in the body of a deletion; null: there is no body.
///
/// # Errors
/// As [`object`].
pub(crate) fn delete_options(request: &Request) -> Result<Value, Status> {
    if request.body.is_empty() {
        return Ok(Value::Null);
    }
    let kind = GroupVersionKind::new("meta.k8s.io", "v1", "DeleteOptions");
    let node = builtin::named("io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions");
    let node = node.expect("the table has the options of deletions");
    match Encoding::of_body(request.header(&CONTENT_TYPE))? {
        Encoding::Protobuf => message(&kind, node, &request.body),
        encoding => {
            let read = Type::BuiltIn(node).text(
                &kind,
                &request.body,
                encoding == Encoding::Yaml,
                Strictness::Ignore,
            );
            read.map(|(options, _)| options)
        }
    }
}
