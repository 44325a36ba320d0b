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
//! Controllers and admission, told as stories: data in, text out.

#![expect(clippy::needless_pass_by_value, reason = "stories hand over the JSON that they write")]

mod certificates;
mod disruption;
mod endpoints;
mod garbage;
mod namespaces;
mod quotas;
mod support;
mod system;
