//! `metadata.managedFields`.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::compare::Delta;
use super::conflict::{Conflict, Conflicts};
use super::list::is_owned_as_a_whole;
use super::set::Set;
use crate::field::{Error, Path};
use crate::schema::Node;
use crate::time::Moment;

/// What tells managers apart, in the order in which conflicts name them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Id {
    pub(super) manager: String,
    pub(super) operation: Operation,
    /// Empty for one that applies.
    pub(super) api_version: String,
    pub(super) subresource: String,
}

/// How a manager writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Operation {
    Apply,
    Update,
}

/// What a manager owns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Owned {
    pub(super) api_version: String,
    /// When it last changed something.
    pub(super) time: Option<String>,
    pub(super) set: Set,
}

/// All managers of an object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Managed(pub(super) BTreeMap<Id, Owned>);

impl Operation {
    fn name(self) -> &'static str {
        match self {
            Self::Apply => "Apply",
            Self::Update => "Update",
        }
    }
}

impl Managed {
    /// Reads `metadata.managedFields`; what is absent is empty.
    ///
    /// # Errors
    /// What is wrong with an entry.
    pub(super) fn decode(entries: &Value) -> Result<Self, String> {
        let mut managed = Self::default();
        for (at, entry) in entries.as_array().into_iter().flatten().enumerate() {
            let text = |field: &str| entry[field].as_str().unwrap_or_default().to_string();
            let operation = match entry["operation"].as_str() {
                Some("Apply") => Operation::Apply,
                Some("Update") => Operation::Update,
                _ => return Err("operation must be `Apply` or `Update`".into()),
            };
            let api_version = text("apiVersion");
            if api_version.is_empty() {
                return Err("apiVersion must not be empty".into());
            }
            match entry["fieldsType"].as_str().unwrap_or_default() {
                "FieldsV1" => {}
                "" => return Err(format!("missing fieldsType in managed fields entry {at}")),
                other => return Err(format!("invalid fieldsType {other:?} in managed fields entry {at}")),
            }
            let set = match &entry["fieldsV1"] {
                Value::Null => Set::default(),
                fields => Set::from_value(fields).map_err(|error| {
                    format!("error decoding versioned set from {entry}: error decoding set: {error}")
                })?,
            };
            let id = Id {
                manager: text("manager"),
                operation,
                api_version: if operation == Operation::Apply { String::new() } else { api_version.clone() },
                subresource: text("subresource"),
            };
            let time = entry["time"].as_str().map(Into::into);
            managed.0.insert(id, Owned { api_version, time, set });
        }
        Ok(managed)
    }

    /// As `metadata.managedFields`.
    pub(super) fn encode(&self) -> Vec<Value> {
        sorted(self.0.iter().map(|(id, owned)| entry(id, owned)).collect())
    }

    /// Brings the sets in line with the type, which may have changed since: fields below one that is owned as a whole now
    /// become it.
    pub(super) fn fit(&mut self, node: Node<'_>) {
        for owned in self.0.values_mut() {
            fit(Some(node), &mut owned.set);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn remove(&mut self, id: &Id) -> Option<Owned> {
        self.0.remove(id)
    }

    pub(super) fn insert(&mut self, id: Id, owned: Owned) {
        self.0.insert(id, owned);
    }

    /// What anybody owns.
    pub(super) fn union(&self) -> Set {
        self.0.values().fold(Set::default(), |all, owned| all.union(&owned.set))
    }

    /// Who owns what has another value now.
    pub(super) fn conflicts(&self, delta: &Delta) -> Conflicts {
        let changed = delta.changed();
        let mut conflicts = Vec::new();
        for (id, owned) in &self.0 {
            let fields = owned.set.intersection(&changed);
            if !fields.is_empty() {
                conflicts.push(Conflict { id: id.clone(), fields });
            }
        }
        Conflicts(conflicts)
    }

    /// Takes from all what has another value now, or none; whoever has nothing left goes.
    pub(super) fn give_up(&mut self, delta: &Delta) {
        self.0.retain(|_, owned| {
            owned.set.difference(&delta.added);
            owned.set.difference(&delta.modified);
            owned.set.difference(&delta.removed);
            !owned.set.is_empty()
        });
    }
}

/// Appliers first, then by time and name.
pub(super) fn sorted(mut entries: Vec<Value>) -> Vec<Value> {
    fn text<'e>(entry: &'e Value, field: &str) -> &'e str {
        entry[field].as_str().unwrap_or_default()
    }
    let seconds = |entry: &Value| text(entry, "time").parse::<Moment>().map_or(0, Moment::seconds);
    entries.sort_by_cached_key(|entry| {
        let texts = ["manager", "apiVersion", "subresource"].map(|field| text(entry, field).to_string());
        (text(entry, "operation").to_string(), seconds(entry), texts)
    });
    entries
}

/// Whether an entry is that of a manager.
pub(super) fn is_of(entry: &Value, id: &Id) -> bool {
    let text = |field: &str| entry[field].as_str().unwrap_or_default();
    text("manager") == id.manager
        && text("subresource") == id.subresource
        && text("operation") == id.operation.name()
        && (id.operation == Operation::Apply || text("apiVersion") == id.api_version)
}

fn fit(node: Option<Node<'_>>, set: &mut Set) {
    let Some(node) = node.filter(|_| set.has_children()) else { return };
    if is_owned_as_a_whole(node) {
        set.keep_root_only();
        return;
    }
    for (element, below) in set.children_mut() {
        let child = element.name().map_or_else(|| node.item(), |name| node.child(name));
        fit(child, below);
    }
}

/// One manager's entry.
pub(super) fn entry(id: &Id, owned: &Owned) -> Value {
    let mut entry = Map::new();
    if !id.manager.is_empty() {
        entry.insert("manager".into(), json!(id.manager));
    }
    entry.insert("operation".into(), json!(id.operation.name()));
    entry.insert("apiVersion".into(), json!(owned.api_version));
    if let Some(time) = &owned.time {
        entry.insert("time".into(), json!(time));
    }
    entry.insert("fieldsType".into(), json!("FieldsV1"));
    entry.insert("fieldsV1".into(), owned.set.to_value());
    if !id.subresource.is_empty() {
        entry.insert("subresource".into(), json!(id.subresource));
    }
    Value::Object(entry)
}

/// Longest name of a manager, in bytes.
const MANAGER_BYTES_MAX: usize = 128;

/// Longest name of a subresource, in bytes.
const SUBRESOURCE_BYTES_MAX: usize = 256;

/// What is wrong with `managedFields` that a client sent, at a path.
pub fn validate(entries: &Value, path: &Path) -> Vec<Error> {
    let mut wrong = Vec::new();
    for (at, entry) in entries.as_array().into_iter().flatten().enumerate() {
        let path = path.index(at);
        let text = |field: &str| entry[field].as_str().unwrap_or_default();
        if !matches!(text("operation"), "Apply" | "Update") {
            wrong.push(Error::invalid(
                &path.child("operation"),
                &text("operation").into(),
                "must be `Apply` or `Update`",
            ));
        }
        if !matches!(text("fieldsType"), "" | "FieldsV1") {
            wrong.push(Error::invalid(
                &path.child("fieldsType"),
                &text("fieldsType").into(),
                "must be `FieldsV1`",
            ));
        }
        if text("manager").len() > MANAGER_BYTES_MAX {
            wrong.push(Error::too_long(&path.child("fieldManager"), MANAGER_BYTES_MAX));
        }
        if text("manager").chars().any(char::is_control) {
            let words = "should not contain unprintable characters";
            wrong.push(Error::invalid(&path.child("fieldManager"), &text("manager").into(), words));
        }
        if text("subresource").len() > SUBRESOURCE_BYTES_MAX {
            wrong.push(Error::too_long(&path.child("subresource"), SUBRESOURCE_BYTES_MAX));
        }
    }
    wrong
}
