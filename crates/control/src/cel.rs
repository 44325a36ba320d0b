//! Expressions of users, in the Common Expression Language: rules of custom resources and admission policies.
//!
//! The grammar is that of the crate `cel`, the functions of Kubernetes are those of `kube-cel`. Evaluation is our own:
//! it reads JSON in place, follows the schema, and pays for each step from a [`Budget`], so that no expression runs
//! longer than its caller allows. <https://kubernetes.io/docs/reference/using-api/cel/>
//!
//! What differs from Kubernetes: types are checked as far as the schema and the names of functions tell them, with
//! `dyn` for the rest (the fields of `request`, lists of several types, arguments of library functions); costs are
//! estimated at most, in the way of cel-go but not to the step; an expression nests at most 120 levels instead of 250;
//! a text of format `duration` in words (`3 days`) stays text.

mod call;
mod check;
mod comprehension;
mod cost;
mod depth;
mod eval;
mod library;
mod names;
mod operators;
mod parse;
mod value;

pub use check::{Environment, Type};
pub use cost::{COST_MAX, Estimate, Sizes};
pub use eval::{Authorizer, Budget, Fault, Lazy, Root};
pub use names::{escape, unescape};
pub use parse::{CompileError, Program};
pub use value::{Val, View};

#[cfg(test)]
mod tests;
