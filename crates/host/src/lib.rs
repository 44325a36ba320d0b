//! The Wasm host: the only crate that names wasmtime.

mod capability;
mod engine;
mod failure;
mod guest;
mod inspect;
mod limiter;
mod linker;
#[allow(dead_code, reason = "used by the loader")]
mod log_budget;
mod outbound;
mod serve;
mod state;
mod stdio;
mod ticker;
mod turn;

pub use inspect::{inspect, refuse_unknown, to_binary, wat, wit};
