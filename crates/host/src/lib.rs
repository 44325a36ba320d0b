//! The Wasm host: the only crate that names wasmtime.

#[allow(dead_code, reason = "linked by the loader")]
mod capability;
#[allow(dead_code, reason = "used by the loader")]
mod log_budget;
