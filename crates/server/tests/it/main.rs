//! Tests of the API server through its public face.

mod auth;
mod impersonation;
mod oidc;
mod seeds;
mod tls;
mod world;
