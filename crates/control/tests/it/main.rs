//! Tests of what the crate offers, from outside.

mod definitions;
mod golden;
mod resources;
mod seeds;
