//! The recorded server drew its own ids and revisions. What it drew is replaced, in later requests, by what this
//! server has drawn for the same thing.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap, HashSet};

use serde_json::Value;

use super::compare::role;

/// Keys of values that a server draws or computes and that clients send back.
const DRAWN: [&str; 4] = ["uid", "clusterIP", "continue", "pod-template-hash"];

/// What stands for what.
#[derive(Default)]
pub(super) struct Names {
    /// Whole values, unlike anything else: they are replaced wherever they stand, the longest first.
    values: BTreeMap<(Reverse<usize>, String), String>,
    /// Revisions: replaced only where a revision stands.
    revisions: HashMap<String, String>,
    /// Entity tags and times of last changes.
    tags: HashMap<String, String>,
    /// Hashes of OpenAPI documents, by their paths.
    hashes: HashMap<String, String>,
}

impl Names {
    /// Takes in two answers to the same request.
    pub(super) fn learn(&mut self, expected: &Value, got: &Value) {
        match (expected, got) {
            (Value::Object(expected), Value::Object(got)) => {
                for (key, value) in expected {
                    let Some(other) = got.get(key) else { continue };
                    match (value.as_str(), other.as_str()) {
                        (Some(value), Some(other)) if DRAWN.contains(&key.as_str()) && !value.is_empty() => {
                            self.stands_for(value, other);
                        }
                        (Some(value), Some(other))
                            if key == "name" && expected.contains_key("generateName") =>
                        {
                            self.stands_for(value, other);
                        }
                        (Some(value), Some(other)) if key == "resourceVersion" => {
                            self.revisions.insert(value.into(), other.into());
                        }
                        _ => self.learn(value, other),
                    }
                }
            }
            (Value::Array(expected), Value::Array(got)) => self.learn_elements(expected, got),
            _ => {}
        }
    }

    /// Elements that play the same part are learned from each other: the first from the first, the second from the second.
    fn learn_elements(&mut self, expected: &[Value], got: &[Value]) {
        let mut taken = HashSet::new();
        for (place, value) in expected.iter().enumerate() {
            let mut here = value.clone();
            self.value(&mut here);
            let is_ours = |hash: &str| self.values.values().any(|other| other == hash);
            let wanted = role(&here, is_ours);
            let found = match &wanted {
                Some(wanted) => (0..got.len()).find(|place| {
                    !taken.contains(place) && role(&got[*place], is_ours).as_ref() == Some(wanted)
                }),
                None => Some(place).filter(|place| *place < got.len()),
            };
            if let Some(place) = found {
                taken.insert(place);
                self.learn(value, &got[place]);
            }
        }
    }

    fn stands_for(&mut self, value: &str, other: &str) {
        self.values.insert((Reverse(value.len()), value.into()), other.into());
    }

    /// Takes in the entity tag of an answer, or its time, for later conditional requests.
    pub(super) fn learn_tag(&mut self, expected: &str, got: &str) {
        if !expected.is_empty() && !got.is_empty() {
            self.tags.insert(expected.into(), got.into());
        }
    }

    /// Takes in the index of the OpenAPI documents.
    pub(super) fn learn_index(&mut self, index: &Value) {
        for entry in index["paths"].as_object().into_iter().flat_map(serde_json::Map::values) {
            let url = entry["serverRelativeURL"].as_str().unwrap_or_default();
            if let Some((path, hash)) = url.split_once("?hash=") {
                self.hashes.insert(path.into(), hash.into());
            }
        }
    }

    /// A recorded target, for this server.
    pub(super) fn target(&self, target: &str) -> String {
        let Some((path, query)) = target.split_once('?') else { return self.text(target) };
        let pairs = query.split('&').map(|pair| match pair.split_once('=') {
            Some(("resourceVersion", value)) => format!("resourceVersion={}", self.revision(value)),
            Some(("hash", value)) => {
                format!("hash={}", self.hashes.get(path).map_or(value, String::as_str))
            }
            _ => self.text(pair),
        });
        format!("{}?{}", self.text(path), pairs.collect::<Vec<_>>().join("&"))
    }

    /// A recorded header, for this server.
    pub(super) fn header(&self, name: &str, value: &str) -> String {
        if ["if-none-match", "if-modified-since"].contains(&name.to_ascii_lowercase().as_str()) {
            return self.tags.get(value).cloned().unwrap_or_else(|| value.into());
        }
        value.into()
    }

    /// A recorded body, for this server.
    pub(super) fn value(&self, value: &mut Value) {
        match value {
            Value::Object(fields) => {
                // An operation of a JSON patch that sets or tests the revision.
                let is_revision = fields.get("path").is_some_and(|path| path == "/metadata/resourceVersion");
                for (key, field) in fields {
                    match field.as_str() {
                        Some(revision) if is_revision && key == "value" => {
                            *field = self.revision(revision).into();
                        }
                        Some(revision) if key == "resourceVersion" => *field = self.revision(revision).into(),
                        _ => self.value(field),
                    }
                }
            }
            Value::Array(items) => items.iter_mut().for_each(|item| self.value(item)),
            Value::String(text) => *text = self.text(text),
            _ => {}
        }
    }

    /// Recorded bytes, for this server: what stands for a value must be as long as the value, or the message breaks.
    pub(super) fn bytes(&self, mut bytes: Vec<u8>) -> Vec<u8> {
        for ((_, value), other) in self.values.iter().filter(|((_, value), other)| value.len() == other.len())
        {
            let places: Vec<usize> = memchr::memmem::find_iter(&bytes, value.as_bytes()).collect();
            for place in places {
                bytes[place..place + value.len()].copy_from_slice(other.as_bytes());
            }
        }
        bytes
    }

    fn text(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for ((_, value), other) in &self.values {
            if text.contains(value.as_str()) {
                text = text.replace(value.as_str(), other);
            }
        }
        text
    }

    fn revision<'s>(&'s self, revision: &'s str) -> &'s str {
        self.revisions.get(revision).map_or(revision, String::as_str)
    }
}
