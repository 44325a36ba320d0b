//! From bytes to an object, with what Kubernetes has to say about them on the way.
//!
//! [`json`] and [`yaml`] read objects of built-in kinds as Go's decoder reads a struct: a value of another type is a
//! mistake in Go's words, `null` is as good as nothing, names that the kind does not have are dropped and told of.
//! [`value`] does the same with what is no text any more (the outcome of a patch). Custom resources are [`free_json`]
//! first and then [`prune`]d: their types are checked by validation, not here.
//!
//! Limits: objects nest [`DEPTH_MAX`] deep at most; how long a text may be is for the caller to say. At most
//! [`FINDINGS_MAX`] dropped or doubled fields are told of.

mod context;
mod json;
mod malformed;
mod prune;
mod scalars;
mod tree;
mod yaml;

use serde_json::Value;

use crate::schema::Node;
use crate::{GroupVersionKind, Status};

pub use prune::prune;

/// What to do about fields that a kind does not have, and about fields that stand twice; the `fieldValidation` of a
/// request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Strictness {
    /// Drop them in silence.
    Ignore,
    /// Drop them and tell.
    #[default]
    Warn,
    /// Refuse the object.
    Strict,
}

/// Levels of an object: what serde_json itself allows, so that no text can exhaust the stack.
pub const DEPTH_MAX: usize = 128;

/// Dropped or doubled fields that are told of: what Kubernetes allows itself.
pub const FINDINGS_MAX: usize = 100;

/// Why bytes are no object of a kind. Its text is what a Kubernetes server says after `cannot be handled as a …: `.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Not JSON or not YAML at all, or nested too deeply.
    #[error("{0}")]
    Malformed(String),
    /// A value that its field cannot hold.
    #[error("{0}")]
    Mismatch(String),
    /// Fields that the kind does not have or that stand twice, of which the request wanted none.
    #[error("strict decoding error: {}", .0.join(", "))]
    Strict(Vec<String>),
}

/// An object, and what was found in it that should not be there: sentences for `Warning` headers.
pub type Decoded = (Value, Vec<String>);

/// Reads an object of a built-in kind from JSON.
///
/// # Errors
/// The text is no JSON, a value is of another type than its field, or under [`Strictness::Strict`] a field is unknown or
/// stands twice.
pub fn json(bytes: &[u8], node: Node<'_>, strictness: Strictness) -> Result<Decoded, DecodeError> {
    let (value, findings) = json::typed(bytes, node, strictness)?;
    finish(value, findings, strictness)
}

/// Reads an object of a built-in kind from YAML. JSON is YAML too.
///
/// # Errors
/// As [`json()`].
pub fn yaml(bytes: &[u8], node: Node<'_>, strictness: Strictness) -> Result<Decoded, DecodeError> {
    if yaml::is_json(bytes) {
        return json(bytes, node, strictness);
    }
    let (value, mut findings) = yaml::read(bytes, strictness)?;
    let text = serde_json::to_vec(&value).map_err(|error| DecodeError::Malformed(error.to_string()))?;
    let (value, more) = json::typed(&text, node, strictness)?;
    findings.extend(more);
    finish(value, findings, strictness)
}

/// Fits a value into a built-in kind: as [`json()`] does, but with the words for values that were text no more, and whole
/// numbers may be written with a point (`1.0`).
///
/// # Errors
/// A value is of another type than its field, or under [`Strictness::Strict`] a field is unknown.
pub fn value(value: Value, node: Node<'_>, strictness: Strictness) -> Result<Decoded, DecodeError> {
    let (value, findings) = tree::typed(value, node, strictness)?;
    finish(value, findings, strictness)
}

/// Reads JSON of any shape, and tells of fields that stand twice; the last of them counts.
///
/// # Errors
/// The text is no JSON, or under [`Strictness::Strict`] a field stands twice.
pub fn free_json(bytes: &[u8], strictness: Strictness) -> Result<Decoded, DecodeError> {
    let (value, findings) = json::free(bytes, strictness)?;
    finish(value, findings, strictness)
}

/// Reads YAML of any shape, as [`free_json`] reads JSON. What is JSON is read as such.
///
/// # Errors
/// The text is no YAML, or under [`Strictness::Strict`] a field stands twice.
pub fn free_yaml(bytes: &[u8], strictness: Strictness) -> Result<Decoded, DecodeError> {
    if yaml::is_json(bytes) {
        return free_json(bytes, strictness);
    }
    let (value, findings) = yaml::read(bytes, strictness)?;
    finish(value, findings, strictness)
}

impl DecodeError {
    /// The answer to a request whose body it was. `kind` is what the body says it is; none where it says nothing.
    /// `expected` is the kind that the path takes.
    pub fn status(&self, kind: Option<&GroupVersionKind>, expected: &str, body: &[u8]) -> Status {
        // What cannot be read at all does not say what it is, wherever it was sent.
        match kind.filter(|kind| !kind.kind.is_empty() && !self.is_unreadable()) {
            Some(kind) => Status::bad_request(format!(
                "{} in version {:?} cannot be handled as a {expected}: {self}",
                kind.kind, kind.version
            )),
            None => Status::bad_request(format!(
                "the object provided is unrecognized (must be of type {expected}): {self} ({})",
                summary(body)
            )),
        }
    }
}

impl DecodeError {
    fn is_unreadable(&self) -> bool {
        matches!(self, Self::Malformed(words) if words.starts_with("couldn't get version/kind"))
    }
}

/// The beginning of a body that nobody understands, in hexadecimal where it is no text.
fn summary(body: &[u8]) -> String {
    const BYTES_MAX: usize = 30;
    let shown = &body[..body.len().min(BYTES_MAX)];
    let more = if body.len() > BYTES_MAX { " ..." } else { "" };
    match body.first() {
        None => "<empty>".into(),
        Some(b'{') => format!("{}{more}", String::from_utf8_lossy(shown)),
        Some(_) => format!("{}{more}", shown.iter().map(|byte| format!("{byte:02x}")).collect::<String>()),
    }
}

fn finish(value: Value, findings: Vec<String>, strictness: Strictness) -> Result<Decoded, DecodeError> {
    match strictness {
        Strictness::Ignore => Ok((value, Vec::new())),
        Strictness::Strict if !findings.is_empty() => Err(DecodeError::Strict(findings)),
        Strictness::Warn | Strictness::Strict => Ok((value, findings)),
    }
}
