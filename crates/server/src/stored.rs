//! How an object lies in the store: as JSON with `apiVersion`, `kind` and `metadata` in front, without its
//! `resourceVersion`, which is the revision that wrote it.
//!
//! So an answer is made of what is stored by copying it, with the revision put in where `metadata` begins; an object
//! that is only passed on is never parsed.

use std::fmt::Write as _;

use serde_json::Value;
use shoal_api::lean;
use shoal_store::Revision;

/// What stands before the fields of the metadata; nothing before it can contain this text.
const METADATA: &[u8] = b"\"metadata\":{";

/// An object as it is stored. Its `resourceVersion` is left out.
pub(crate) fn encode(object: &Value) -> Vec<u8> {
    let mut out = Vec::with_capacity(1024);
    out.push(b'{');
    for field in ["apiVersion", "kind"] {
        if let Some(value) = object.get(field) {
            write_field(&mut out, field, value);
        }
    }
    write_metadata(&mut out, &object["metadata"]);
    for (field, value) in object.as_object().into_iter().flatten() {
        if !["apiVersion", "kind", "metadata"].contains(&field.as_str()) {
            write_field(&mut out, field, value);
        }
    }
    out.push(b'}');
    out
}

/// Appends a stored object with its `resourceVersion`: an answer to `get`.
pub(crate) fn write_object(out: &mut Vec<u8>, stored: &[u8], revision: Revision) {
    write_from(out, stored, 0, revision);
}

/// Appends a stored object without `apiVersion` and `kind`, as items of a list of built-in kinds are given.
pub(crate) fn write_item(out: &mut Vec<u8>, stored: &[u8], revision: Revision) {
    out.push(b'{');
    write_from(out, stored, metadata_at(stored), revision);
}

/// What a stored object of a version begins with.
pub(crate) fn head(api_version: &str) -> Vec<u8> {
    let mut out = vec![b'{'];
    write_field(&mut out, "apiVersion", &api_version.into());
    out.push(b',');
    out
}

/// Whether a stored object is of the version whose [`head`] this is.
pub(crate) fn is_of_version(stored: &[u8], head: &[u8]) -> bool {
    stored.starts_with(head)
}

/// A stored object as a value, with its `resourceVersion`.
///
/// # Errors
/// What is stored is not JSON.
pub(crate) fn decode(stored: &[u8], revision: Revision) -> serde_json::Result<Value> {
    let mut object: Value = serde_json::from_slice(stored)?;
    object["metadata"]["resourceVersion"] = Value::String(revision.to_string());
    Ok(object)
}

/// The same, without what only its writers look at ([`lean`]).
///
/// # Errors
/// What is stored is not JSON.
pub(crate) fn decode_lean(stored: &[u8], revision: Revision) -> serde_json::Result<Value> {
    let mut object = lean::read(stored, lean::Text::Object)?;
    object["metadata"]["resourceVersion"] = Value::String(revision.to_string());
    Ok(object)
}

fn write_from(out: &mut Vec<u8>, stored: &[u8], from: usize, revision: Revision) {
    let fields_at = metadata_at(stored) + METADATA.len();
    out.reserve(stored.len() - from + 48);
    out.extend_from_slice(&stored[from..fields_at]);
    let mut text = String::with_capacity(48);
    let _ = write!(text, "\"resourceVersion\":\"{revision}\"");
    out.extend_from_slice(text.as_bytes());
    if stored.get(fields_at) != Some(&b'}') {
        out.push(b',');
    }
    out.extend_from_slice(&stored[fields_at..]);
}

/// Where `"metadata":{` begins.
///
/// # Panics
/// When the bytes were not made by [`encode`].
fn metadata_at(stored: &[u8]) -> usize {
    memchr::memmem::find(stored, METADATA).expect("an encoded object has metadata")
}

fn write_metadata(out: &mut Vec<u8>, metadata: &Value) {
    separate(out);
    out.extend_from_slice(METADATA);
    for (field, value) in metadata.as_object().into_iter().flatten() {
        if field != "resourceVersion" {
            write_field(out, field, value);
        }
    }
    out.push(b'}');
}

fn write_field(out: &mut Vec<u8>, field: &str, value: &Value) {
    separate(out);
    serde_json::to_writer(&mut *out, field).expect("memory takes what is written");
    out.push(b':');
    serde_json::to_writer(out, value).expect("memory takes what is written");
}

fn separate(out: &mut Vec<u8>) {
    if out.last() != Some(&b'{') {
        out.push(b',');
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_revision_is_put_in_where_an_object_is_given() {
        let object = json!({
            "apiVersion": "v1", "kind": "ConfigMap", "data": {"metadata": "\"metadata\":{"},
            "metadata": {"name": "a", "resourceVersion": "7"},
        });
        let stored = encode(&object);
        let text = String::from_utf8(stored.clone()).expect("text");
        assert!(
            text.starts_with(r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"},"data":{"#),
            "{text}"
        );

        let mut out = Vec::new();
        write_object(&mut out, &stored, Revision(9));
        let mut expected = object;
        expected["metadata"]["resourceVersion"] = json!("9");
        assert_eq!(serde_json::from_slice::<Value>(&out).expect("JSON"), expected);
        assert_eq!(decode(&stored, Revision(9)).expect("JSON"), expected);

        let mut item = Vec::new();
        write_item(&mut item, &stored, Revision(9));
        let item: Value = serde_json::from_slice(&item).expect("JSON");
        assert_eq!((item.get("kind"), &item["metadata"]), (None, &expected["metadata"]));

        let mut empty = Vec::new();
        write_object(&mut empty, &encode(&json!({"metadata": {}})), Revision(3));
        assert_eq!(empty, br#"{"metadata":{"resourceVersion":"3"}}"#);
    }
}
