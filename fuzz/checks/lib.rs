//! What must hold for any bytes, one function per parser. The fuzz targets call these with generated inputs; the
//! tests of the owning crates call the same functions with the seeds.

pub mod api;
pub mod base;
pub mod control;
pub mod edge;
#[cfg(feature = "host")]
pub mod host;
pub mod node;
pub mod runtime;
pub mod server;
pub mod store;
