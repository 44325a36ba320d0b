//! Objects as clients want them: whole or in part, as text or as bytes.

use std::fmt::Write as _;

use http::StatusCode;
use serde_json::{Value, json};
use shoal_api::printer::{self, CustomColumns, Include};
use shoal_api::{Status, proto};
use shoal_store::Revision;

use crate::answer::{self, Answer};
use crate::api::Api;
use crate::media::{Encoding, Shape, Wanted};
use crate::objects::Stored;
use crate::read::Page;
use crate::registry::Served;
use crate::stored;

/// What happened to an object that is followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// It came to be, or began to be wanted.
    Added,
    /// It changed.
    Modified,
    /// It is gone, or is wanted no more.
    Deleted,
}

/// How the events of one watch are written.
pub(crate) struct Lines {
    wanted: Wanted,
    include: Include,
    has_columns: bool,
}

/// An object of the store.
///
/// # Errors
/// 500: what is stored cannot be read.
pub(crate) fn stored(
    api: &Api,
    served: &Served,
    code: StatusCode,
    object: &Stored,
    wanted: Wanted,
) -> Result<Answer, Status> {
    if wanted == Wanted::PLAIN && !served.is_converted() {
        let mut out = Vec::new();
        stored::write_object(&mut out, &object.bytes, object.revision);
        return Ok(answer::bytes(code, crate::media::JSON, out));
    }
    value(api, served, code, &in_version(served, object)?, wanted)
}

/// An object.
///
/// # Errors
/// 500: it cannot be written as wanted.
pub(crate) fn value(
    api: &Api,
    served: &Served,
    code: StatusCode,
    object: &Value,
    wanted: Wanted,
) -> Result<Answer, Status> {
    let now = api.timestamp().as_second();
    match wanted.shape {
        Shape::Object => Ok(encoded(code, object, wanted.encoding)),
        Shape::Metadata => Ok(as_text(code, &printer::partial_metadata(object), wanted.encoding)),
        Shape::Table => {
            let table =
                printer::table_of_one(&served.kind(), columns(served), object, Include::Metadata, now, true);
            Ok(as_text(code, &table, wanted.encoding))
        }
    }
}

/// Objects that are parsed before others get their turn.
const PARSED_AT_ONCE: usize = 32;

/// A list.
///
/// # Errors
/// 500: what is stored cannot be read.
pub(crate) async fn list(
    api: &Api,
    served: &Served,
    page: &Page,
    wanted: Wanted,
    include: Include,
) -> Result<Answer, Status> {
    if wanted == Wanted::PLAIN && !served.is_converted() {
        return Ok(answer::bytes(StatusCode::OK, crate::media::JSON, plain_list(served, page)));
    }
    let mut objects = Vec::with_capacity(page.objects.len());
    for part in page.objects.chunks(PARSED_AT_ONCE) {
        for one in part {
            objects.push(in_version(served, one)?);
        }
        tokio::task::yield_now().await;
    }
    values(api, served, objects, &list_metadata(page), wanted, include)
}

/// A list of objects that are there already.
///
/// # Errors
/// 500: it cannot be written as wanted.
pub(crate) fn values(
    api: &Api,
    served: &Served,
    objects: Vec<Value>,
    metadata: &Value,
    wanted: Wanted,
    include: Include,
) -> Result<Answer, Status> {
    let value = match wanted.shape {
        Shape::Table => {
            let now = api.timestamp().as_second();
            printer::table(&served.kind(), columns(served), &objects, include, now, metadata)
        }
        Shape::Metadata => printer::partial_metadata_list(&objects, metadata),
        Shape::Object => {
            let mut list = json!({
                "kind": served.resource.list_kind, "apiVersion": served.resource.group_version.to_string(),
                "metadata": metadata,
            });
            // Not in the macro, which copies what it is given.
            list["items"] = objects.into();
            return Ok(encoded(StatusCode::OK, &list, wanted.encoding));
        }
    };
    Ok(as_text(StatusCode::OK, &value, wanted.encoding))
}

/// An object of the store as a value, in the version that is asked for.
///
/// # Errors
/// 500: what is stored cannot be read.
pub(crate) fn in_version(served: &Served, object: &Stored) -> Result<Value, Status> {
    let value = object.value()?;
    Ok(if served.is_converted() { served.from_storage(&value) } else { value })
}

/// An object of a kind, with nothing in it.
pub(crate) fn empty(served: &Served) -> Value {
    json!({"kind": served.resource.kind, "apiVersion": served.resource.group_version.to_string(), "metadata": {}})
}

/// A list as text, made of what is stored without parsing it.
fn plain_list(served: &Served, page: &Page) -> Vec<u8> {
    let bytes: usize = page.objects.iter().map(|object| object.bytes.len() + 48).sum();
    let mut out = Vec::with_capacity(bytes + 256);
    let mut head = String::new();
    let version = served.resource.group_version.to_string();
    let _ = write!(
        head,
        r#"{{"kind":{},"apiVersion":{},"metadata":{},"items":["#,
        json!(served.resource.list_kind),
        json!(version),
        list_metadata(page)
    );
    out.extend_from_slice(head.as_bytes());
    for (index, object) in page.objects.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        if served.custom.is_some() {
            stored::write_object(&mut out, &object.bytes, object.revision);
        } else {
            stored::write_item(&mut out, &object.bytes, object.revision);
        }
    }
    out.extend_from_slice(b"]}");
    out
}

fn list_metadata(page: &Page) -> Value {
    let mut metadata = json!({"resourceVersion": page.revision.to_string()});
    if !page.token.is_empty() {
        metadata["continue"] = page.token.clone().into();
    }
    if let Some(remaining) = page.remaining {
        metadata["remainingItemCount"] = remaining.into();
    }
    metadata
}

/// A whole object or list, as it is wanted. What has no protobuf form is given as JSON.
pub(crate) fn encoded(code: StatusCode, object: &Value, encoding: Encoding) -> Answer {
    let bytes = if encoding == Encoding::Protobuf { proto::encode_object(object) } else { None };
    match bytes {
        Some(bytes) => answer::bytes(code, crate::media::PROTOBUF, bytes),
        None => as_text(code, object, encoding),
    }
}

/// A value as text: YAML where it is wanted, else JSON.
pub(crate) fn as_text(code: StatusCode, value: &Value, encoding: Encoding) -> Answer {
    match encoding {
        Encoding::Yaml => match serde_saphyr::to_string(value) {
            Ok(text) => answer::bytes(code, crate::media::YAML, text),
            Err(error) => answer::failure(&Status::internal(error)),
        },
        Encoding::Json | Encoding::Protobuf => answer::json(code, value),
    }
}

fn columns(served: &Served) -> Option<&CustomColumns> {
    served.custom.as_ref().map(|custom| custom.columns())
}

impl Change {
    fn name(self) -> &'static str {
        match self {
            Self::Added => "ADDED",
            Self::Modified => "MODIFIED",
            Self::Deleted => "DELETED",
        }
    }
}

impl Lines {
    /// Of a watch whose events are wanted so.
    pub(crate) fn new(wanted: Wanted, include: Include) -> Self {
        Self { wanted, include, has_columns: false }
    }

    /// The media type of the stream.
    pub(crate) fn media_type(&self) -> &'static str {
        match self.wanted.encoding {
            Encoding::Protobuf => "application/vnd.kubernetes.protobuf;stream=watch",
            Encoding::Json | Encoding::Yaml => crate::media::JSON,
        }
    }

    /// Appends an event. `revision` is that of the event, which for a deletion is later than the object's.
    ///
    /// # Errors
    /// 500: what is stored cannot be read.
    pub(crate) fn write(
        &mut self,
        api: &Api,
        served: &Served,
        change: Change,
        object: &Stored,
        revision: Revision,
        out: &mut Vec<u8>,
    ) -> Result<(), Status> {
        if self.wanted == Wanted::PLAIN && !served.is_converted() {
            out.extend_from_slice(b"{\"type\":\"");
            out.extend_from_slice(change.name().as_bytes());
            out.extend_from_slice(b"\",\"object\":");
            stored::write_object(out, &object.bytes, revision);
            out.extend_from_slice(b"}\n");
            return Ok(());
        }
        let at = Stored { revision, ..object.clone() };
        let value = in_version(served, &at)?;
        match self.wanted.shape {
            Shape::Object => self.event(change.name(), &value, out),
            Shape::Metadata => self.event(change.name(), &printer::partial_metadata(&value), out),
            Shape::Table => {
                let now = api.timestamp().as_second();
                let first = !std::mem::replace(&mut self.has_columns, true);
                let table =
                    printer::table_of_one(&served.kind(), columns(served), &value, self.include, now, first);
                self.event(change.name(), &table, out);
            }
        }
        Ok(())
    }

    /// Appends a bookmark: everything up to a revision was given.
    pub(crate) fn bookmark(
        &self,
        served: &Served,
        revision: Revision,
        ends_initial: bool,
        out: &mut Vec<u8>,
    ) {
        let mut object = empty(served);
        object["metadata"] = json!({"resourceVersion": revision.to_string(), "creationTimestamp": null});
        if ends_initial {
            object["metadata"]["annotations"] = json!({"k8s.io/initial-events-end": "true"});
        }
        let object = match self.wanted.shape {
            Shape::Object => object,
            Shape::Metadata => printer::partial_metadata(&object),
            Shape::Table => json!({
                "kind": "Table", "apiVersion": "meta.k8s.io/v1", "columnDefinitions": null,
                "metadata": {"resourceVersion": revision.to_string()},
                "rows": [{"cells": [], "object": printer::partial_metadata(&object)}],
            }),
        };
        self.event("BOOKMARK", &object, out);
    }

    /// Appends a failure, after which nothing comes.
    pub(crate) fn failure(&self, status: &Status, out: &mut Vec<u8>) {
        self.event("ERROR", &status.to_value(), out);
    }

    fn event(&self, kind: &str, object: &Value, out: &mut Vec<u8>) {
        let is_protobuf = self.wanted.encoding == Encoding::Protobuf;
        match if is_protobuf { proto::encode_object(object) } else { None } {
            Some(object) => out.extend(proto::watch_event(kind, &object)),
            None => line(kind, object, out),
        }
    }
}

fn line(kind: &str, object: &Value, out: &mut Vec<u8>) {
    let event = json!({"type": kind, "object": object});
    serde_json::to_writer(&mut *out, &event).expect("memory takes what is written");
    out.push(b'\n');
}
