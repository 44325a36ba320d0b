//! Writes the table as text, and the descriptions packed.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use anyhow::{Context, Result, ensure};

use super::facts::Facts;
use super::types::Type;

/// `additions.txt`: lines of the table, and descriptions.
#[derive(Default)]
pub(crate) struct Additions {
    /// `package ALIAS NAME` lines.
    packages: BTreeMap<String, String>,
    /// `type` lines and those of their fields.
    lines: Vec<String>,
    /// `PACKAGE.TYPE` or `PACKAGE.TYPE FIELD`.
    descriptions: BTreeMap<String, String>,
}

/// Reads the file.
pub(crate) fn parse_additions(text: &str) -> Result<Additions> {
    let mut additions = Additions::default();
    let (mut ty, mut about) = (String::new(), String::new());
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    for line in lines {
        if let Some(description) = line.strip_prefix("> ") {
            let fresh = additions.descriptions.insert(about.clone(), description.into());
            ensure!(fresh.is_none(), "{about} is described twice");
            continue;
        }
        if let Some(package) = line.strip_prefix("package ") {
            let (alias, name) = package.split_once(' ').context("a package without a name")?;
            additions.packages.insert(alias.into(), name.into());
            continue;
        }
        let first = |line: &str| line.split(' ').next().unwrap_or_default().to_owned();
        if let Some(rest) = line.strip_prefix("type ") {
            ty = first(rest);
            about = ty.clone();
        } else {
            let field =
                line.strip_prefix(' ').with_context(|| format!("neither a type nor a field: {line}"))?;
            about = format!("{ty} {}", first(field));
        }
        let package = ty.split_once('.').map_or("", |(package, _)| package);
        additions.lines.push(line.replace(" .", &format!(" {package}.")));
    }
    Ok(additions)
}

/// The text of the table; crates/api/src/schema/table.rs reads it.
pub(crate) fn table(types: &[Type], facts: &Facts, additions: &Additions) -> String {
    let mut text = String::from(
        "# The built-in kinds: written by `cargo xtask schema`, read by table.rs, which explains it. Do not edit.\n",
    );
    let mut packages = additions.packages.clone();
    for ty in types {
        let (package, _) = ty.short.split_once('.').unwrap_or_default();
        let full = ty.full.rsplit_once('.').map_or("", |(package, _)| package);
        packages.insert(package.into(), full.into());
    }
    for (alias, full) in &packages {
        let _ = writeln!(text, "package {alias} {full}");
    }
    for (name, values) in &facts.enums {
        let _ = writeln!(text, "enum {name} {}", values.join(" "));
    }
    for ty in types {
        let atomic = if ty.atomic { " atomic" } else { "" };
        let kinds: String = ty.kinds.iter().map(|kind| format!(" kind={kind}")).collect();
        let _ = writeln!(text, "type {}{atomic}{kinds}", ty.short);
        for field in &ty.fields {
            let _ = write!(text, " {} {}", field.name, field.shape);
            if !field.numbers.is_empty() {
                let numbers: Vec<String> = field.numbers.iter().map(ToString::to_string).collect();
                let _ = write!(text, " tag={}", numbers.join("."));
            }
            let required = if field.required { Some("required") } else { None };
            for word in required.into_iter().chain(field.words.iter().map(String::as_str)) {
                let _ = write!(text, " {word}");
            }
            text.push('\n');
        }
    }
    for line in &additions.lines {
        text.push_str(line);
        text.push('\n');
    }
    text
}

/// All descriptions, packed: for each type a record that begins with 0x1E, in it name and description of the type and
/// then of each field, all with 0x1F between them.
pub(crate) fn descriptions(types: &[Type], specials: &[(String, String)], additions: &Additions) -> Vec<u8> {
    let mut all = additions.descriptions.clone();
    all.extend(specials.iter().cloned());
    for ty in types {
        all.insert(ty.short.clone(), ty.description.clone());
        let described = ty.fields.iter().filter(|field| !field.description.is_empty());
        all.extend(
            described.map(|field| (format!("{} {}", ty.short, field.name), field.description.clone())),
        );
    }
    let mut text = String::new();
    for (about, description) in &all {
        match about.split_once(' ') {
            None => drop(write!(text, "\u{1e}{about}\u{1f}{description}")),
            Some((_, field)) => drop(write!(text, "\u{1f}{field}\u{1f}{description}")),
        }
    }
    miniz_oxide::deflate::compress_to_vec(text.as_bytes(), 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn additions_are_lines_and_descriptions() {
        let text = "package a/v1 org.a.v1\ntype a/v1.X kind=a.org/v1/X\n> An X.\n spec .Y zero\n> Its Y.\n";
        let additions = parse_additions(text).expect("it is well formed");
        assert_eq!(additions.lines, ["type a/v1.X kind=a.org/v1/X", " spec a/v1.Y zero"]);
        assert_eq!(additions.descriptions["a/v1.X spec"], "Its Y.");
        assert!(parse_additions("a\n").is_err());
        assert_eq!(crate::schema::types::short("io.k8s.api.core.v1.Pod").as_deref(), Some("core/v1.Pod"));
    }
}
