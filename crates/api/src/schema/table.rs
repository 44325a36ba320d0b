//! The built-in kinds as text: `builtin.txt`, as `cargo xtask schema` writes it.
//!
//! ```text
//! package core/v1 io.k8s.api.core.v1                  a short name and the one in OpenAPI
//! enum core/v1.Protocol SCTP TCP UDP                  text with a closed list of values; `_` is a space
//! type core/v1.Pod kind=v1/Pod                        a type with fields, and the kinds that have it
//!  spec core/v1.PodSpec tag=2 zero                    a field: its name, its shape, and words
//! ```
//!
//! A shape is a word for a scalar or for anything, the name of a type, or `[]` or `{}` before a shape. Words of a field:
//! `tag=2.1` numbers in protobuf from the outside in; `required`; `nil` a scalar held by pointer; `zero`, `null` what Go
//! writes when nobody has set it, `schema-zero` the same but in OpenAPI only, `default=JSON`; `set`, `map=KEYS`, `atomic`,
//! `granular` how server-side apply merges; `merge=KEY`, `merge`, `retain`, `replace` how strategic patches do; `enum=NAME`.

use std::collections::HashMap;
use std::sync::LazyLock;

use crate::{GroupVersion, GroupVersionKind};

/// The table, read once.
pub(crate) static TABLE: LazyLock<Table> = LazyLock::new(|| read(TEXT));

/// What the table is read from; whoever wants to know whether it has changed looks at this.
pub(crate) const TEXT: &str = include_str!("builtin.txt");

/// All that the file says.
#[derive(Default)]
pub(crate) struct Table {
    /// Short name of a package and the one in OpenAPI.
    packages: HashMap<&'static str, &'static str>,
    /// Values by the short name of the enumeration.
    enums: HashMap<&'static str, Vec<String>>,
    /// In the order of the file.
    pub(crate) types: Vec<TypeLine>,
    by_name: HashMap<&'static str, usize>,
}

/// A type with fields.
pub(crate) struct TypeLine {
    /// `core/v1.Pod`.
    pub(crate) short: &'static str,
    pub(crate) kinds: Vec<GroupVersionKind>,
    pub(crate) atomic: bool,
    /// In the order of their names.
    pub(crate) fields: Vec<FieldLine>,
}

/// A field of it.
#[derive(Default)]
pub(crate) struct FieldLine {
    pub(crate) name: &'static str,
    pub(crate) shape: &'static str,
    /// Packed as [`super::Field::tag`] is.
    pub(crate) tag: u32,
    pub(crate) required: bool,
    pub(crate) nil: bool,
    pub(crate) unset: Unset,
    /// JSON.
    pub(crate) default: Option<&'static str>,
    pub(crate) list: Option<ListWord>,
    pub(crate) merge: bool,
    pub(crate) merge_key: Option<&'static str>,
    pub(crate) retain: bool,
    /// Said in OpenAPI, and the same as saying nothing.
    pub(crate) replace: bool,
    pub(crate) enumeration: Option<&'static str>,
}

/// What Go writes for a field that nobody has set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Unset {
    /// Nothing.
    #[default]
    Nothing,
    /// Nothing, but OpenAPI says that the default is its zero.
    SchemaZero,
    /// The zero of its type.
    Zero,
    /// `null`.
    Null,
}

/// How server-side apply merges a list, or a map.
pub(crate) enum ListWord {
    /// As a whole.
    Atomic,
    /// Scalars.
    Set,
    /// Objects with these keys.
    Map(Vec<&'static str>),
    /// Maps and structs: field by field, whatever their type says.
    Granular,
}

impl Table {
    /// The place of a type among all.
    pub(crate) fn position(&self, short: &str) -> Option<usize> {
        self.by_name.get(short).copied()
    }

    /// The name in OpenAPI for a short one.
    pub(crate) fn full(&self, short: &str) -> String {
        let (package, name) = short.split_once('.').unwrap_or_default();
        let package = self.packages.get(package).copied().unwrap_or(package);
        format!("{package}.{name}")
    }

    /// Values of an enumeration.
    pub(crate) fn values(&self, enumeration: &str) -> &[String] {
        self.enums.get(enumeration).map_or(&[], Vec::as_slice)
    }
}

/// Reads the file. It is ours, and a test reads it too, so a line that is not understood is a panic.
fn read(text: &'static str) -> Table {
    let mut table = Table::default();
    for line in text.lines() {
        let mut words = line.split(' ');
        let first = words.next().unwrap_or_default();
        match first {
            "" => {
                let field = read_field(words);
                table.types.last_mut().expect("fields stand below a type").fields.push(field);
            }
            "#" => {}
            "package" => {
                let (alias, full) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
                table.packages.insert(alias, full);
            }
            "enum" => {
                let name = words.next().unwrap_or_default();
                let value = |word: &str| if word == "\"\"" { String::new() } else { word.replace('_', " ") };
                table.enums.insert(name, words.map(value).collect());
            }
            "type" => {
                let ty = read_type(words);
                table.by_name.insert(ty.short, table.types.len());
                table.types.push(ty);
            }
            // A test reads the file.
            other => panic!("builtin.txt has a line that begins with {other:?}"),
        }
    }
    table
}

fn read_type(mut words: impl Iterator<Item = &'static str>) -> TypeLine {
    let mut ty = TypeLine {
        short: words.next().unwrap_or_default(),
        kinds: Vec::new(),
        atomic: false,
        fields: Vec::new(),
    };
    for word in words {
        match word.split_once('=') {
            None => ty.atomic = word == "atomic",
            Some((_, kind)) => ty.kinds.push(read_kind(kind)),
        }
    }
    ty
}

/// `apps/v1/Deployment`, `v1/Pod`.
fn read_kind(text: &str) -> GroupVersionKind {
    let (group_version, kind) = text.rsplit_once('/').unwrap_or_default();
    let (group, version) = group_version.split_once('/').unwrap_or(("", group_version));
    GroupVersion::new(group, version).kind(kind)
}

fn read_field(mut words: impl Iterator<Item = &'static str>) -> FieldLine {
    let mut field = FieldLine {
        name: words.next().unwrap_or_default(),
        shape: words.next().unwrap_or_default(),
        ..FieldLine::default()
    };
    for word in words {
        let (word, value) = word.split_once('=').unwrap_or((word, ""));
        match word {
            "tag" => field.tag = value.split('.').fold(0, |tag, number| tag << 8 | byte(number)),
            "required" => field.required = true,
            "nil" => field.nil = true,
            "zero" => field.unset = Unset::Zero,
            "null" => field.unset = Unset::Null,
            "schema-zero" => field.unset = Unset::SchemaZero,
            "default" => field.default = Some(value),
            "set" => field.list = Some(ListWord::Set),
            "atomic" => field.list = Some(ListWord::Atomic),
            "granular" => field.list = Some(ListWord::Granular),
            "map" => field.list = Some(ListWord::Map(value.split(',').collect())),
            "merge" => {
                field.merge = true;
                field.merge_key = Some(value).filter(|key| !key.is_empty());
            }
            "retain" => field.retain = true,
            "replace" => field.replace = true,
            "enum" => field.enumeration = Some(value),
            // A test reads the file.
            other => panic!("builtin.txt has a word {other:?} at field {}", field.name),
        }
    }
    field
}

/// Numbers of protobuf fit into a byte in all kinds that there are; a test would fail on one that does not.
fn byte(text: &str) -> u32 {
    u32::from(text.parse::<u8>().expect("a number from 1 to 255"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// It is part of the binary, and read at every start.
    #[test]
    fn the_table_stays_small() {
        const BYTES_MAX: usize = 256 << 10;
        assert!(TEXT.len() < BYTES_MAX, "{} bytes", TEXT.len());
    }

    #[test]
    fn every_line_is_understood_and_every_name_is_there() {
        for ty in &TABLE.types {
            assert!(!TABLE.full(ty.short).contains('/'), "{} is in no package", ty.short);
            for field in &ty.fields {
                let inner =
                    field.shape.trim_start_matches("[]").trim_start_matches("{}").trim_start_matches("[]");
                assert!(
                    !inner.contains('.') || TABLE.position(inner).is_some(),
                    "{} {}",
                    ty.short,
                    field.shape
                );
                let values = field.enumeration.map(|name| TABLE.values(name).len());
                assert_ne!(values, Some(0), "{} {}", ty.short, field.name);
            }
            assert!(
                ty.fields.is_sorted_by(|a, b| a.name < b.name),
                "the fields of {} are not in order",
                ty.short
            );
        }
    }
}
