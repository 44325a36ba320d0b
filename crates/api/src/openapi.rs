//! The OpenAPI documents of what is served: version 3, one document for each group and version with an index, and
//! version 2, one document for all, as JSON and as protobuf.
//!
//! Types come from the table of built-in kinds and, for custom resources, from their definitions; paths from the
//! resources that are served. kubectl reads them to explain fields, to validate, and to find out whether the server
//! validates fields itself (the `fieldValidation` parameter of a `PATCH`).
//!
//! Left out of what Kubernetes serves: the paths below `watch/` (deprecated) and those of discovery, the long
//! descriptions of parameters, and the sentence about each value of an enumeration.

mod definitions;
mod descriptions;
mod gnostic;
mod operations;
mod parameters;
mod three;
mod two;

use std::sync::LazyLock;

use serde_json::Value;
use sha2::{Digest, Sha512};

use crate::resources::Resource;
use crate::schema::table;
use crate::{GroupVersion, GroupVersionKind};

pub use gnostic::to_protobuf as v2_protobuf;

/// The media type of [`v2_protobuf`] in an answer: kubectl cannot read one with an `@`.
pub const V2_PROTOBUF: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";

/// The media type by which clients ask for it.
pub const V2_PROTOBUF_ASKED: &str = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";

/// What is served: the documents follow from it.
#[derive(Clone, Copy, Debug)]
pub struct Served<'a> {
    /// All resources, built-in and custom.
    pub resources: &'a [Resource],
    /// The schemas of the custom ones.
    pub custom: &'a [Custom],
}

/// What objects of a custom resource look like in one version.
#[derive(Clone, Debug)]
pub struct Custom {
    /// The kind.
    pub kind: GroupVersionKind,
    /// Its schema in OpenAPI v3: an object with `properties`. References are `#/components/schemas/NAME`.
    pub v3: Value,
    /// Its schema as far as OpenAPI v2 can say it. References are `#/definitions/NAME`.
    pub v2: Value,
}

/// The index of the v3 documents: path to `serverRelativeURL`, with a hash that changes when the document does.
pub fn v3_index(served: &Served<'_>) -> Value {
    let mut paths = serde_json::Map::new();
    for group_version in group_versions(served) {
        let path = path(&group_version).trim_start_matches('/').to_owned();
        let url = format!("/openapi/v3/{path}?hash={}", v3_hash(served, &group_version));
        paths.insert(path, serde_json::json!({ "serverRelativeURL": url }));
    }
    serde_json::json!({ "paths": paths })
}

/// The v3 document of a group and version; none where nothing of it is served.
pub fn v3(served: &Served<'_>, group_version: &GroupVersion) -> Option<Value> {
    let mut of_it = of(served, group_version).peekable();
    of_it.peek()?;
    Some(three::document(served, &of_it.collect::<Vec<_>>()))
}

/// What [`v3_index`] says of the document of a group and version: 128 digits. It is computed from what the document is
/// made of, not from the document.
pub fn v3_hash(served: &Served<'_>, group_version: &GroupVersion) -> String {
    let mut hash = Sha512::new();
    hash.update(*TABLE_HASH);
    for resource in of(served, group_version) {
        hash.update(format!("{resource:?}"));
        for custom in served.custom.iter().filter(|custom| custom.kind == resource.group_version_kind()) {
            hash.update(custom.v3.to_string());
        }
    }
    hash.finalize().iter().map(|byte| format!("{byte:02X}")).collect()
}

/// The table is large, and is in every document.
static TABLE_HASH: LazyLock<[u8; 64]> = LazyLock::new(|| Sha512::digest(table::TEXT).into());

/// The v2 document.
pub fn v2(served: &Served<'_>) -> Value {
    two::document(served)
}

/// The groups and versions of all resources, each once, in their order.
fn group_versions(served: &Served<'_>) -> Vec<GroupVersion> {
    let mut found: Vec<GroupVersion> = Vec::new();
    for resource in served.resources {
        if !found.contains(&resource.group_version) {
            found.push(resource.group_version.clone());
        }
    }
    found
}

fn of<'a>(served: &Served<'a>, group_version: &GroupVersion) -> impl Iterator<Item = &'a Resource> {
    served.resources.iter().filter(move |resource| resource.group_version == *group_version)
}

/// `/apis/apps/v1`, `/api/v1`.
fn path(group_version: &GroupVersion) -> String {
    let root = if group_version.group.is_empty() { "api" } else { "apis" };
    format!("/{root}/{group_version}")
}
