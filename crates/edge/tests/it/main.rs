//! The edge from outside: over real sockets, against a runtime without guests.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod serves;
mod support;
