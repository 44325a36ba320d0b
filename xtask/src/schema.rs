//! `cargo xtask schema [--check]`: writes the table of built-in kinds, `crates/api/src/schema/builtin.txt`, and their
//! descriptions beside it.
//!
//! Shapes, merge keys and descriptions come from the OpenAPI definitions in a Python package, field numbers from the
//! sources of a crate, and what neither says from `xtask/schema/facts.txt` and `additions.txt`. With `--check` nothing
//! is written: what is there must be what would be written.

mod facts;
mod fetch;
mod protobuf;
mod types;
mod write;

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result, bail, ensure};

/// The files that are written, below the root.
const TABLE: &str = "crates/api/src/schema/builtin.txt";
const DESCRIPTIONS: &str = "crates/api/src/schema/descriptions.deflate";

/// Runs the task.
///
/// # Errors
/// A source cannot be had or is not as expected; or with `--check`: what is there is not what would be written.
pub(crate) fn run(words: &[String]) -> Result<ExitCode> {
    let check = match words {
        [] => false,
        [flag] if flag == "--check" => true,
        other => bail!("unknown words {other:?}; there is `cargo xtask schema [--check]`"),
    };
    let root = crate::guests::root();
    let generated = generate(&root)?;
    for (path, bytes) in [(TABLE, generated.table.as_bytes()), (DESCRIPTIONS, &generated.descriptions[..])] {
        let path = root.join(path);
        if !check {
            std::fs::write(&path, bytes).with_context(|| format!("cannot write {}", path.display()))?;
            continue;
        }
        let there = std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        ensure!(there == bytes, "{} is not what its sources say: run `cargo xtask schema`", path.display());
    }
    Ok(ExitCode::SUCCESS)
}

/// Whether the sources are on this machine already, so that checking costs no download.
pub(crate) fn sources_are_here(root: &Path) -> bool {
    fetch::are_here(root)
}

/// What is committed.
struct Generated {
    table: String,
    descriptions: Vec<u8>,
}

fn generate(root: &Path) -> Result<Generated> {
    let dir = root.join("xtask/schema");
    let read = |name: &str| {
        let path = dir.join(name);
        std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
    };
    let facts = facts::parse(&read("facts.txt")?)?;
    let sources = fetch::sources(root)?;
    let numbers = protobuf::numbers(&sources.protobuf)?;
    let mut types = types::from_definitions(&sources.definitions)?;
    for ty in &mut types {
        facts.apply(ty)?;
        numbers.apply(ty);
    }
    facts.check_used()?;
    let additions = write::parse_additions(&read("additions.txt")?)?;
    Ok(Generated {
        table: write::table(&types, &facts, &additions),
        descriptions: write::descriptions(
            &types,
            &types::special_descriptions(&sources.definitions),
            &additions,
        ),
    })
}
