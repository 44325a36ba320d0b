//! The Wasm host: the only crate that names wasmtime.

mod capability;
mod engine;
mod failure;
mod guest;
mod limiter;
mod linker;
mod outbound;
mod serve;
mod state;
mod stdio;
mod ticker;
mod turn;
