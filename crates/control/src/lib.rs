//! The brain: what is admitted, who may do what, and what controllers decide.
//!
//! Pure functions of the objects: nothing here does IO, knows the time, draws a random number or waits. Whoever
//! calls gives what is needed and carries out what was decided.

pub mod access;
pub mod admission;
pub mod bootstrap;
pub mod cel;
pub mod certificates;
pub mod controllers;
pub mod custom;
pub mod filing;
pub mod kinds;
pub mod known;
pub mod plan;
pub mod policy;
pub mod quota;
pub mod rbac;
pub mod snapshot;
pub mod words;
pub mod world;
