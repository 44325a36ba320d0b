//! The agent of a node: from assignments to workloads that run.

pub mod artifact;
