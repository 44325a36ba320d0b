//! The language: Kubernetes objects and our own kinds.
//!
//! An object is a [`serde_json::Value`], whatever its kind: nothing that a user wrote is lost on the way through a
//! struct. What its kind means stands in one [`schema`] table, for built-in kinds and custom resources alike; from
//! it follow decoding, pruning, defaulting, merging, server-side apply, protobuf and the OpenAPI documents.
//!
//! Nothing here does IO, knows the time, or draws a random number.

pub mod apply;
pub mod decode;
pub mod defaults;
pub mod discovery;
pub mod field;
#[cfg(test)]
mod golden;
pub mod kind;
pub mod lean;
pub mod names;
pub mod object;
pub mod openapi;
pub mod patch;
pub mod printer;
pub mod proto;
pub mod quantity;
pub mod resources;
pub mod schema;
pub mod selector;
pub mod status;
pub mod time;

pub use kind::{GroupKind, GroupVersion, GroupVersionKind};
pub use schema::{Node, Schema};
pub use status::Status;
