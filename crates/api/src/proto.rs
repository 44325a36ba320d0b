//! Objects of built-in kinds as protobuf, driven by the field numbers of the schema.
//!
//! On the wire an object is `k8s\0` and an envelope ([`open`], [`seal`]) around the message of its kind ([`decode`],
//! [`encode`]). What Go inlines in JSON is a message of its own here; amounts, moments, durations, `IntOrString`, raw
//! objects and maps have forms of their own. Kinds without field numbers (custom resources, Shoal's own) have no
//! protobuf form.
//!
//! Reading never fails on unknown numbers, as protobuf demands; it fails on bytes that are no message. What comes out is
//! what Go would write as JSON, but for what [`crate::defaults::schema`] fills in.

mod envelope;
mod read;
pub(crate) mod wire;
mod write;

use serde_json::Value;

use crate::schema::{Node, Type, builtin};
use crate::{GroupVersion, GroupVersionKind};

pub use envelope::{Envelope, MAGIC, is_protobuf, open, seal, watch_event};

/// Messages within messages: JSON schemas nest, nothing else does so deeply.
pub const DEPTH_MAX: usize = 128;

/// Why bytes are no object.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProtoError {
    /// The bytes do not begin with [`MAGIC`].
    #[error("provided data does not appear to be a protobuf message, expected prefix {MAGIC:?}")]
    NoMagic,
    /// The bytes end within a field.
    #[error("unexpected EOF")]
    Truncated,
    /// A number of more than 64 bits.
    #[error("proto: integer overflow")]
    Overflow,
    /// Number 0, or a form of the wire that does not exist.
    #[error("proto: illegal tag {0} (wire type {1})")]
    IllegalTag(u64, u8),
    /// A field has another form on the wire than its type.
    #[error("proto: wrong wireType = {form} for field {field}")]
    WrongForm {
        /// As in JSON.
        field: String,
        /// The form that it has.
        form: u8,
    },
    /// Text that is not UTF-8, or raw JSON that is none.
    #[error("proto: field {field}: {why}")]
    Value {
        /// As in JSON.
        field: String,
        /// What is wrong with it.
        why: String,
    },
    /// Messages nest more deeply than [`DEPTH_MAX`].
    #[error("proto: messages nest more than {DEPTH_MAX} deep")]
    TooDeep,
    /// A kind that has no protobuf form.
    #[error("no kind {kind:?} is registered for version {version:?} in protobuf")]
    UnknownKind {
        /// `Widget`.
        kind: String,
        /// `example.com/v1`.
        version: String,
    },
}

/// Reads a message of a type.
///
/// # Errors
/// The bytes are no such message.
pub fn decode(node: Node<'_>, bytes: &[u8]) -> Result<Value, ProtoError> {
    let mut value = Value::Object(read::message(node, bytes, 0)?);
    crate::defaults::drop_zeros(node, &mut value);
    Ok(value)
}

/// Reads an object in its envelope, with `apiVersion` and `kind` from there.
///
/// # Errors
/// The bytes are no envelope, its kind is not built in, or the message is none of that kind.
pub fn decode_object(bytes: &[u8]) -> Result<Value, ProtoError> {
    let envelope = open(bytes)?;
    let kind = envelope.group_version_kind();
    let node = kind.as_ref().and_then(builtin::kind).filter(|node| has_form(*node));
    let node = node.ok_or_else(|| ProtoError::UnknownKind {
        kind: envelope.kind.clone(),
        version: envelope.api_version.clone(),
    })?;
    let mut value = decode(node, envelope.raw)?;
    value["apiVersion"] = envelope.api_version.into();
    value["kind"] = envelope.kind.into();
    Ok(value)
}

/// Writes a message of a type. Values of other types than their fields are left out.
pub fn encode(node: Node<'_>, value: &Value) -> Vec<u8> {
    let mut bytes = Vec::new();
    write::message(node, value, &mut bytes);
    bytes
}

/// Writes an object in its envelope; `apiVersion` and `kind` of the value go there. None for a kind without a protobuf
/// form.
pub fn encode_object(value: &Value) -> Option<Vec<u8>> {
    let text = |field: &str| value[field].as_str().unwrap_or_default();
    let (api_version, kind) = (text("apiVersion"), text("kind"));
    let group_version: GroupVersion = api_version.parse().ok()?;
    let node = builtin::kind(&group_version.kind(kind)).filter(|node| has_form(*node))?;
    Some(seal(api_version, kind, &encode(node, value)))
}

/// Whether objects of a kind can be asked for as protobuf.
pub fn has_kind(kind: &GroupVersionKind) -> bool {
    builtin::kind(kind).is_some_and(has_form)
}

fn has_form(node: Node<'_>) -> bool {
    let Type::Object(object) = node.ty() else { return false };
    object.fields.iter().any(|field| field.tag != 0)
}

/// `name` for the bytes of [`crate::schema::Field::tag`] below a message that Go inlines.
pub(crate) fn below(tag: u32, prefix: u32) -> bool {
    prefix != 0 && [8, 16, 24].iter().any(|bits| tag >> bits == prefix)
}
