//! A pod in pure functions: what should run, and what its status says of what runs.

pub(crate) mod env;
pub(crate) mod fields;
pub(crate) mod grants;
pub(crate) mod plan;
pub(crate) mod probe;
pub(crate) mod state;
pub(crate) mod status;
