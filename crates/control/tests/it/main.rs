//! Tests of the decisions as a whole: data in, text out.

mod kinds_changes;
mod kinds_golden;
mod kinds_hostile;
mod kinds_messages;
mod support;
//! Tests of what the crate offers, from outside.

mod definitions;
mod golden;
mod resources;
mod seeds;
