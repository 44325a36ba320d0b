//! Tests of what the crate offers, from outside: data in, text out.

#![expect(clippy::needless_pass_by_value, reason = "stories hand over the JSON that they write")]

mod admission;
mod apps;
mod certificates;
mod definitions;
mod deployments;
mod disruption;
mod endpoints;
mod garbage;
mod golden;
mod jobs;
mod kinds_changes;
mod kinds_golden;
mod kinds_hostile;
mod kinds_messages;
mod namespaces;
mod nodes;
mod plans;
mod pod_security;
mod policies;
mod properties;
mod quotas;
mod refusals;
mod resources;
mod scheduler;
mod seeds;
mod support;
mod system;
