//! The Wasm host: the only crate that names wasmtime.
