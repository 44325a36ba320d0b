//! Volumes: what is in them, and how that gets onto the disk.

pub(crate) mod content;
pub(crate) mod parts;
pub(crate) mod tree;

pub(crate) use content::{Content, Tokens, content};
