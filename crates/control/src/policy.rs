//! Admission by objects: ValidatingAdmissionPolicy and its bindings, and webhooks.
//!
//! All of it is pure: who calls gives the request as [`Attributes`], the objects and what they refer to, and makes the
//! HTTP calls of webhooks itself.

mod attributes;
mod compiled;
mod expressions;
mod matching;
mod type_check;
pub mod webhook;

pub use attributes::{Attributes, Operation};
pub use compiled::{Denial, Params, Policy, PolicyError, Report, Surroundings};
pub use expressions::{policy_errors, webhook_errors};
pub use matching::{Matcher, NamespaceLabels, conditions_hold, selects};
pub use type_check::{TYPES_MAX, type_checked, types_to_check};

#[cfg(test)]
mod tests;
