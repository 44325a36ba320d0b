//! The brain: what is admitted, who may do what, and what controllers decide.
//!
//! Pure functions of the objects: nothing here does IO, knows the time, draws a random number or waits. Whoever
//! calls gives what is needed and carries out what was decided.

pub mod rbac;
