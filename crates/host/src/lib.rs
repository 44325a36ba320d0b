//! The Wasm host: the only crate that names wasmtime.

mod inspect;

pub use inspect::{inspect, refuse_unknown, to_binary, wat, wit};
