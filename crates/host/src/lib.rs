//! The Wasm host: the only crate that names wasmtime.

pub mod machine;
pub mod pool;
