//! Which columns a kind has; `columns.txt` says how it is read.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde_json::{Value, json};

/// One column of a table (`TableColumnDefinition`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// As its head says, but for capitals: `Nominated Node`.
    pub name: String,
    /// `string`, `integer`, `number`, `boolean` or `date`.
    pub ty: String,
    /// `name` for the name of the object; empty for most.
    pub format: String,
    /// For people.
    pub description: String,
    /// 0 is always shown, more only when a wide table is asked for.
    pub priority: i64,
}

/// The columns of the built-in kinds, and those that many have.
struct Columns {
    /// By `GROUP/KIND`.
    kinds: BTreeMap<String, Vec<Column>>,
    /// By the word that stands for it.
    shared: BTreeMap<String, Column>,
    /// Those of a kind that is not listed.
    any: Vec<Column>,
}

static COLUMNS: LazyLock<Columns> =
    LazyLock::new(|| parse(include_str!("columns.txt")).expect("a test reads the same text"));

/// The columns of a kind.
pub(super) fn of(group: &str, kind: &str) -> &'static [Column] {
    COLUMNS.kinds.get(&format!("{group}/{kind}")).unwrap_or(&COLUMNS.any)
}

/// A column that many kinds have: `name`, `age`.
pub(super) fn shared(word: &str) -> &'static Column {
    &COLUMNS.shared[word]
}

/// Group and kind of all that are listed.
#[cfg(test)]
pub(super) fn kinds() -> impl Iterator<Item = (&'static str, &'static str)> {
    COLUMNS.kinds.keys().filter_map(|kind| kind.split_once('/'))
}

impl Column {
    /// As clients read it.
    pub(super) fn to_value(&self) -> Value {
        json!({
            "name": self.name, "type": self.ty, "format": self.format, "description": self.description,
            "priority": self.priority,
        })
    }
}

/// Reads the text.
///
/// # Errors
/// A sentence with the line that cannot be read.
fn parse(text: &str) -> Result<Columns, String> {
    let mut columns = Columns { kinds: BTreeMap::new(), shared: BTreeMap::new(), any: Vec::new() };
    let mut kind = String::new();
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        parse_line(&mut columns, &mut kind, line)
            .ok_or_else(|| format!("this line says no column: {line}"))?;
    }
    for word in ["name", "created"] {
        let column = columns.shared.get(word).ok_or_else(|| format!("no line begins with @{word}"))?;
        columns.any.push(column.clone());
    }
    Ok(columns)
}

fn parse_line(columns: &mut Columns, kind: &mut String, line: &str) -> Option<()> {
    if let Some(definition) = line.strip_prefix('@') {
        let (word, column) = definition.split_once(' ')?;
        columns.shared.insert(word.into(), parse_column(column)?);
    } else if let Some(item) = line.strip_prefix("  ") {
        let added = if let Some(word) = item.strip_prefix('@') {
            vec![columns.shared.get(word)?.clone()]
        } else if let Some(other) = item.strip_prefix('=') {
            columns.kinds.get(other)?.clone()
        } else {
            vec![parse_column(item)?]
        };
        columns.kinds.get_mut(kind.as_str())?.extend(added);
    } else {
        *kind = line.into();
        columns.kinds.insert(line.into(), Vec::new());
    }
    Some(())
}

/// `Name|string:name|0|description`.
fn parse_column(line: &str) -> Option<Column> {
    let mut parts = line.splitn(4, '|');
    let (name, ty, priority, description) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let (ty, format) = ty.split_once(':').unwrap_or((ty, ""));
    Some(Column {
        name: name.into(),
        ty: ty.into(),
        format: format.into(),
        description: unescape(description),
        priority: priority.parse().ok()?,
    })
}

fn unescape(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(char) = chars.next() {
        match char {
            '\\' => plain.extend(chars.next().map(|escaped| if escaped == 'n' { '\n' } else { escaped })),
            other => plain.push(other),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_cannot_be_read_is_named() {
        assert!(parse(include_str!("columns.txt")).is_ok());
        for line in ["@name", "  @none", "  =/None", "  Name|string", "  Name|string|high|text"] {
            let message = parse(line).err().expect("refused");
            assert_eq!(message, format!("this line says no column: {line}"));
        }
        assert_eq!(unescape(r"a\n\\n"), "a\n\\n");
    }
}
