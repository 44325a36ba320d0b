//! `xtask/schema/facts.txt`: what the sources do not say about Go's types.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, ensure};

use super::types::{Field, Type};

/// All facts. Each must be used: one about a field that is not there is a mistake.
#[derive(Default)]
pub(crate) struct Facts {
    /// Section and `PACKAGE.TYPE FIELD`.
    listed: BTreeSet<(String, String)>,
    /// Field and the JSON of its default.
    defaults: BTreeMap<String, String>,
    /// Field, with `[]` or `{}` for its items, and the name of an enumeration.
    enum_of: BTreeMap<String, String>,
    /// Name and values.
    pub(crate) enums: Vec<(String, Vec<String>)>,
    used: Cell<usize>,
}

/// Reads the file.
pub(crate) fn parse(text: &str) -> Result<Facts> {
    let mut facts = Facts::default();
    let mut section = "";
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    for line in lines {
        if let Some(name) = line.strip_suffix(':') {
            section = name;
            continue;
        }
        match section {
            "enum" => facts.add_enum(line),
            "default" => facts.add_defaults(line),
            _ => facts.add_listed(section, line),
        }
        .with_context(|| format!("facts.txt: {line}"))?;
    }
    Ok(facts)
}

impl Facts {
    fn add_listed(&mut self, section: &str, line: &str) -> Result<()> {
        let (ty, fields) = line.split_once(": ").context("not of the form `TYPE: FIELD…`")?;
        for field in fields.split(' ') {
            let fresh = self.listed.insert((section.into(), format!("{ty} {field}")));
            ensure!(fresh, "{field} stands there twice");
        }
        Ok(())
    }

    fn add_defaults(&mut self, line: &str) -> Result<()> {
        let (ty, fields) = line.split_once(": ").context("not of the form `TYPE: FIELD=VALUE…`")?;
        for field in fields.split(' ') {
            let (name, value) = field.split_once('=').context("a default without a value")?;
            self.defaults.insert(format!("{ty} {name}"), value.into());
        }
        Ok(())
    }

    fn add_enum(&mut self, line: &str) -> Result<()> {
        let (head, fields) = line.split_once(" : ").context("not of the form `NAME VALUE… : FIELD…`")?;
        let mut words = head.split(' ');
        let name = words.next().unwrap_or_default().to_owned();
        self.enums.push((name.clone(), words.map(String::from).collect()));
        for field in fields.split(' ') {
            let (ty, field) = field.rsplit_once('.').context("a field without a type")?;
            self.enum_of.insert(format!("{ty} {field}"), name.clone());
        }
        Ok(())
    }

    /// Adds the words that follow from the facts to the fields of a type.
    pub(crate) fn apply(&self, ty: &mut Type) -> Result<()> {
        let is_kind = !ty.kinds.is_empty();
        for field in &mut ty.fields {
            let key = format!("{} {}", ty.short, field.name);
            if let Some(word) = self.zero(&key, field, is_kind) {
                field.words.push(word.into());
            }
            if self.listed("scalar-by-pointer", &key) {
                ensure!(is_scalar(field) && !field.required, "{key} is no optional scalar");
                field.words.push("nil".into());
            }
            if let Some(value) = self.defaults.get(&key) {
                self.used.set(self.used.get() + 1);
                field.words.push(format!("default={value}"));
            }
            for items in ["", "[]", "{}"] {
                if let Some(name) = self.enum_of.get(&format!("{key}{items}")) {
                    self.used.set(self.used.get() + 1);
                    field.words.push(format!("enum={name}"));
                }
            }
        }
        Ok(())
    }

    /// What Go writes for a field that nobody set: nothing, its `zero`, or `null`. `schema-zero` stands in the schema
    /// alone; `nil` is the pointer of a field that is required.
    fn zero(&self, key: &str, field: &Field, is_kind: bool) -> Option<&'static str> {
        let by_value = self.listed("by-value", key);
        let by_pointer = self.listed("by-pointer", key);
        let in_schema_only = self.listed("always-in-schema-only", key);
        let always = self.listed("always", key);
        if by_pointer {
            return is_scalar(field).then_some("nil");
        }
        if in_schema_only {
            return Some("schema-zero");
        }
        let of_kind = is_kind && field.is_struct && matches!(&*field.name, "metadata" | "spec" | "status");
        let is_time = matches!(&*field.shape, "time" | "micro-time");
        let written = match () {
            () if is_time => !self.listed("time-by-pointer", key),
            () => field.required || by_value || always || of_kind,
        };
        let is_nil = field.shape.starts_with(['[', '{']) || matches!(&*field.shape, "bytes" | "raw" | "json");
        written.then_some(if is_nil { "null" } else { "zero" })
    }

    fn listed(&self, section: &str, key: &str) -> bool {
        let found = self.listed.contains(&(section.to_owned(), key.to_owned()));
        self.used.set(self.used.get() + usize::from(found));
        found
    }

    /// Fails when a fact is about a field that no type has.
    pub(crate) fn check_used(&self) -> Result<()> {
        let all = self.listed.len() + self.defaults.len() + self.enum_of.len();
        let used = self.used.get();
        ensure!(used == all, "facts.txt has {} lines about fields that do not exist", all.abs_diff(used));
        Ok(())
    }
}

fn is_scalar(field: &Field) -> bool {
    matches!(&*field.shape, "string" | "boolean" | "int32" | "int64" | "double" | "bytes")
}
