//! The agent of a node: from assignments to workloads that run.
//!
//! [`Agent`] registers its node, follows the pods that are bound to it, runs them through `shoal_runtime` and says in
//! their status how they are. What should run, and what a status says, are pure functions of objects (`pod`); `worker`
//! does what they decide for one pod, `container` is one run of one container. [`endpoint`] is what the API server asks
//! of a node: logs, health, what pods use.
//!
//! A node that cannot reach the API goes on: what it runs, it finds on its disk (`saved`).

mod addresses;
mod agent;
pub mod artifact;
mod config;
mod container;
pub mod endpoint;
mod events;
mod fetch;
mod log;
mod meter;
mod node;
mod pod;
mod prober;
mod read;
mod saved;
mod shared;
mod sources;
mod volume;
mod worker;

pub use agent::{Agent, AgentError};
pub use config::{Config, Fetch, FetchFailure, Fetched, Image, Machine, PODS_MAX};
