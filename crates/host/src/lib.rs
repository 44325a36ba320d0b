//! The Wasm host: the only crate that names wasmtime.

mod budget;
pub mod cache;
mod capability;
mod command;
mod compile;
mod engine;
mod entry;
mod failure;
mod faults;
mod guest;
mod habit;
mod inspect;
mod limiter;
mod linker;
mod load;
mod loaded;
mod log_budget;
pub mod machine;
pub mod outbound;
mod pagemap;
pub mod pool;
mod rewind;
mod serve;
mod serve_p3;
mod shelf;
mod state;
mod stdio;
mod ticker;
mod turn;

pub use inspect::{inspect, refuse_unknown, rewindable, to_binary, wat, wit};
pub use load::{Host, HostConfig, doctor};

/// The version of the engine inside.
pub const WASMTIME_VERSION: &str = cache::WASMTIME;
