//! The agent of a node: from assignments to workloads that run.
//!
//! [`Agent`] registers its node, follows the pods that are bound to it, runs them through `shoal_runtime` and says in
//! their status how they are. What should run, and what a status says, are pure functions of objects (`pod`); all
//! else does what they decide.

pub mod artifact;
mod log;
mod pod;
mod read;
mod volume;
