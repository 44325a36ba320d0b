//! The envelope around an object: `k8s\0` and a message that says its kind.

use super::ProtoError;
use super::wire::{Fields, Item, put_bytes};
use crate::{GroupVersion, GroupVersionKind};

/// What every object in protobuf begins with.
pub const MAGIC: [u8; 4] = *b"k8s\0";

/// An opened envelope (`runtime.Unknown`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Envelope<'b> {
    /// `apps/v1`; may be empty.
    pub api_version: String,
    /// `Deployment`; may be empty.
    pub kind: String,
    /// The object.
    pub raw: &'b [u8],
    /// How `raw` is encoded: empty for protobuf.
    pub content_type: String,
    /// Whether `raw` is packed: empty where it is not.
    pub content_encoding: String,
}

impl Envelope<'_> {
    /// The kind of the object; none where the envelope has no proper `apiVersion` or no `kind`.
    pub fn group_version_kind(&self) -> Option<GroupVersionKind> {
        let group_version: GroupVersion = self.api_version.parse().ok()?;
        Some(group_version.kind(&self.kind)).filter(|kind| !kind.kind.is_empty())
    }
}

/// Whether bytes begin as an object in protobuf does.
pub fn is_protobuf(bytes: &[u8]) -> bool {
    bytes.starts_with(&MAGIC)
}

/// Opens an envelope.
///
/// # Errors
/// The bytes do not begin with [`MAGIC`], or are no envelope after it.
pub fn open(bytes: &[u8]) -> Result<Envelope<'_>, ProtoError> {
    let bytes = bytes.strip_prefix(&MAGIC).ok_or(ProtoError::NoMagic)?;
    let mut envelope = Envelope::default();
    let mut fields = Fields(bytes);
    while let Some((number, item)) = fields.next()? {
        let Item::Bytes(content) = item else { continue };
        match number {
            1 => {
                let mut meta = Fields(content);
                while let Some((number, item)) = meta.next()? {
                    match (number, item) {
                        (1, Item::Bytes(content)) => envelope.api_version = text("apiVersion", content)?,
                        (2, Item::Bytes(content)) => envelope.kind = text("kind", content)?,
                        _ => {}
                    }
                }
            }
            2 => envelope.raw = content,
            3 => envelope.content_encoding = text("contentEncoding", content)?,
            4 => envelope.content_type = text("contentType", content)?,
            _ => {}
        }
    }
    Ok(envelope)
}

/// Puts a message into an envelope.
pub fn seal(api_version: &str, kind: &str, raw: &[u8]) -> Vec<u8> {
    let mut meta = Vec::with_capacity(api_version.len() + kind.len() + 4);
    put_bytes(1, api_version.as_bytes(), &mut meta);
    put_bytes(2, kind.as_bytes(), &mut meta);
    let mut bytes = Vec::with_capacity(raw.len() + meta.len() + 20);
    bytes.extend(MAGIC);
    put_bytes(1, &meta, &mut bytes);
    put_bytes(2, raw, &mut bytes);
    put_bytes(3, b"", &mut bytes);
    put_bytes(4, b"", &mut bytes);
    bytes
}

/// One event of a watch as protobuf: its length in four bytes, largest first, and a `WatchEvent` around a sealed object.
///
/// # Panics
/// With an object of 4 GiB.
pub fn watch_event(kind: &str, object: &[u8]) -> Vec<u8> {
    let mut raw = Vec::with_capacity(object.len() + 8);
    put_bytes(1, object, &mut raw);
    let mut event = Vec::with_capacity(raw.len() + kind.len() + 8);
    put_bytes(1, kind.as_bytes(), &mut event);
    put_bytes(2, &raw, &mut event);
    let length = u32::try_from(event.len()).expect("objects are far smaller than 4 GiB");
    let mut frame = Vec::with_capacity(event.len() + 4);
    frame.extend(length.to_be_bytes());
    frame.extend(event);
    frame
}

fn text(field: &str, content: &[u8]) -> Result<String, ProtoError> {
    let why = |_| ProtoError::Value { field: field.into(), why: "is no UTF-8".into() };
    String::from_utf8(content.to_vec()).map_err(why)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_is_opened_again() {
        let sealed = seal("apps/v1", "Deployment", b"\x0a\x00");
        let envelope = open(&sealed).expect("it was sealed");
        assert_eq!(
            (&*envelope.api_version, &*envelope.kind, envelope.raw),
            ("apps/v1", "Deployment", &b"\x0a\x00"[..])
        );
        assert_eq!(open(b"{}"), Err(ProtoError::NoMagic));
        assert_eq!(open(&sealed[..sealed.len() - 1]), Err(ProtoError::Truncated));
        assert_eq!(watch_event("ADDED", b"x"), b"\0\0\0\x0c\x0a\x05ADDED\x12\x03\x0a\x01x");
    }
}
