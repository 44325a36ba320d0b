//! The agent against an API in memory and a runtime without guests; artifacts over real sockets and files.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod artifact;
mod faults;
mod lifecycle;
mod logs;
mod offline;
mod volumes;
mod world;
