//! What every room of Shoal shares: sizes and durations as people type them, error chains as people read
//! them, numbers that look random, the drain that ends a process without losing a request, and the place of a
//! thread that many wait for.
//!
//! No sockets, no files, no clock of its own: time comes in as an argument.

pub mod allocator;
pub mod backoff;
pub mod drain;
pub mod error_chain;
pub mod soon;
pub mod splitmix;
pub mod units;
