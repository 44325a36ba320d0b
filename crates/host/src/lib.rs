//! The Wasm host: the only crate that names wasmtime.

pub mod cache;
pub mod machine;
pub mod pool;
