//! Tests of the API server through its public face, and what clients may rely on: recorded traffic, the real kubectl
//! and client libraries, each against a server that runs in this process with a store of its own.

#![expect(clippy::print_stderr, reason = "a test that is left out says so, loudly")]

mod auth;
mod client;
mod clients;
mod conformance;
mod conversion;
mod details;
mod endings;
mod equivalent;
mod golden;
mod hook;
mod impersonation;
mod kube_rs;
mod kubectl;
mod leader;
mod machinery;
mod nodes;
mod oidc;
mod records;
mod sealing;
mod seeds;
mod server;
mod store;
mod test_node;
mod tls;
mod transports;
mod walls;
mod workloads;
mod world;
