//! Tests of what the crate offers, from outside: data in, text out.

mod certificates;
mod definitions;
mod disruption;
mod endpoints;
mod garbage;
mod golden;
mod kinds_changes;
mod kinds_golden;
mod kinds_hostile;
mod kinds_messages;
mod namespaces;
mod quotas;
mod resources;
mod seeds;
mod support;
mod system;
