//! What every room of Shoal shares: sizes and durations as people type them, error chains as people read
//! them, numbers that look random, and the drain that ends a process without losing a request.
//!
//! No sockets, no files, no clock of its own: time comes in as an argument.

pub mod backoff;
pub mod drain;
pub mod error_chain;
pub mod splitmix;
pub mod units;
