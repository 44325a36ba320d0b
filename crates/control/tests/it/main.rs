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
