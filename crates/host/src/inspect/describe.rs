//! Words for an artifact that nothing here can run.

use std::fmt::Write as _;

use shoal_runtime::{Inspection, Refusal};

use super::names::Interface;

/// Names listed in a refusal; the rest is counted. More than a screen helps nobody.
const LISTED_MAX: usize = 20;

/// Interfaces whose drafts are known to be around, and what a released version of each begins with.
const ENTRIES: [&str; 3] = ["wasi:http/incoming-handler", "wasi:http/handler", "wasi:cli/run"];

/// Refuses an artifact that is of no kind Shoal runs: what it exports, what it imports, what is missing.
/// The text does not name the artifact; the caller knows its path.
pub fn refuse_unknown(inspection: &Inspection) -> Refusal {
    let what = if inspection.component { "component" } else { "core module" };
    let mut text = format!("the {what} has no entry point that Shoal runs");
    list(&mut text, "exports", inspection.exports.iter().map(String::as_str));
    list(&mut text, "imports", inspection.imports.iter().map(|import| import.name.as_str()));
    Refusal::new(text).hint(way_out(inspection))
}

fn list<'a>(text: &mut String, title: &str, names: impl ExactSizeIterator<Item = &'a str>) {
    let count = names.len();
    if count == 0 {
        let _ = write!(text, "\n  {title}: nothing");
        return;
    }
    let _ = write!(text, "\n  {title}:");
    for name in names.take(LISTED_MAX) {
        let _ = write!(text, "\n    {}", name.escape_debug());
    }
    if count > LISTED_MAX {
        let _ = write!(text, "\n    and {} more", count - LISTED_MAX);
    }
}

fn way_out(inspection: &Inspection) -> String {
    if !inspection.component {
        return module_way_out(inspection);
    }
    let drafts = inspection.exports.iter().filter(|export| {
        Interface::parse(export).is_some_and(|i| ENTRIES.contains(&i.path()) && i.wasi().is_none())
    });
    if let Some(draft) = drafts.into_iter().next() {
        return format!("`{draft}` is not a released version; build against WASI 0.2.x or 0.3.x");
    }
    "export wasi:http/incoming-handler@0.2.x or wasi:http/handler@0.3.x to answer requests, or \
     wasi:cli/run@0.2.x or 0.3.x to run as a command"
        .into()
}

fn module_way_out(inspection: &Inspection) -> String {
    let has = |name: &str| inspection.exports.iter().any(|export| export == name);
    if has("_start") && !has("memory") {
        return "a command exports `memory` beside `_start`; keep the linker from hiding it".into();
    }
    if inspection.custom_sections.iter().any(|(name, _)| name.starts_with("component-type")) {
        return "this is half of a component: finish it with `wasm-tools component new`".into();
    }
    if has("_initialize") {
        return "this is a library (a reactor); build a command that has `main`, or make it a component"
            .into();
    }
    "export the function `_start` (WASI preview 1 command: a program with `main`), or make it a component"
        .into()
}
