//! Artifacts: from files, from a registry in this process that can fail in every way, and from a real one.

mod access;
mod collect;
mod docker_registry;
mod faults;
mod local;
mod pull;
mod push;
mod registry;
mod seeds;
mod support;
