//! The agent's parts from outside: over real sockets and files.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod artifact;
