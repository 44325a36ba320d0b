//! What a guest can be granted: one file per capability.
//!
//! Each has a `…View` of the store state, made anew for every call, and an `add_to_linker` that links every
//! version of its interfaces that guests are known to import. The linker calls `add_to_linker` only for what
//! was granted.

pub(crate) mod blobstore;
pub(crate) mod config;
pub(crate) mod http;
pub(crate) mod http_p3;
pub(crate) mod keyvalue;
pub(crate) mod logging;
pub(crate) mod lookup;
#[cfg(test)]
pub(crate) mod testing;
pub(crate) mod text;
