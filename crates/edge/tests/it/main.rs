//! The edge from outside: over real sockets, against a runtime without guests.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod cluster;
mod drains;
mod failures;
mod follow;
mod http2;
mod limits;
mod refusals;
mod seeds;
mod serves;
mod shows;
mod specification;
mod streaming;
mod support;
mod tls;
mod traces;
