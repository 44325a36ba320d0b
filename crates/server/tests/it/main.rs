//! Tests of the API server through its public face, and what clients may rely on: recorded traffic and the real
//! kubectl, each against a server that runs in this process with a store of its own.

#![expect(clippy::print_stderr, reason = "a test that is left out says so, loudly")]

mod auth;
mod client;
mod conversion;
mod details;
mod equivalent;
mod golden;
mod hook;
mod impersonation;
mod kubectl;
mod leader;
mod nodes;
mod oidc;
mod seeds;
mod server;
mod test_node;
mod tls;
mod world;
