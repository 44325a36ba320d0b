//! The recordings: one file for each command, with all that went to and fro.

use std::collections::BTreeMap;
use std::path::Path;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use serde::Deserialize;
use serde_json::Value;
use shoal_api::proto;

/// What kubectl did for one command.
#[derive(Deserialize)]
pub(super) struct Step {
    /// Its place in the order.
    #[serde(rename = "step")]
    pub(super) number: u32,
    /// As it was typed.
    pub(super) command: String,
    /// In their order.
    pub(super) exchanges: Vec<Exchange>,
}

/// A request and its answer.
#[derive(Deserialize)]
pub(super) struct Exchange {
    pub(super) method: String,
    /// Path and query.
    pub(super) target: String,
    #[serde(rename = "request_headers")]
    pub(super) headers: BTreeMap<String, String>,
    #[serde(rename = "request_body")]
    body: Value,
    pub(super) status: u16,
    #[serde(rename = "response_headers")]
    pub(super) answer_headers: BTreeMap<String, String>,
    #[serde(rename = "response_body")]
    answer: Value,
}

/// What kube-apiserver answered.
#[derive(Clone, Debug)]
pub(super) enum Said {
    /// An object; protobuf is decoded.
    Object(Value),
    /// Words.
    Text(String),
    /// The events of a watch.
    Events(Vec<Value>),
    /// No body, or one that was not recorded.
    Unknown,
}

impl Step {
    /// All steps in their order; none: there is no such directory.
    pub(super) fn read_all(root: &Path) -> Option<Vec<Self>> {
        let mut steps = Vec::new();
        for entry in std::fs::read_dir(root).ok()? {
            let path = entry.expect("a directory that can be read").path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if !name.ends_with(".json") || name == "INDEX.json" {
                continue;
            }
            let text = std::fs::read(&path).expect("a recording");
            let step: Self =
                serde_json::from_slice(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            steps.push(step);
        }
        steps.sort_by_key(|step| step.number);
        (!steps.is_empty()).then_some(steps)
    }
}

impl Exchange {
    /// What was sent.
    pub(super) fn body(&self) -> Vec<u8> {
        match &self.body {
            Value::Null => Vec::new(),
            body => bytes(body).unwrap_or_else(|| body.to_string().into_bytes()),
        }
    }

    /// Whether what was sent is text that may be written anew.
    pub(super) fn body_json(&self) -> Option<Value> {
        (!self.body.is_null() && bytes(&self.body).is_none()).then(|| self.body.clone())
    }

    /// What was answered.
    pub(super) fn said(&self) -> Said {
        let Some(fields) = self.answer.as_object() else { return Said::Unknown };
        if fields.keys().any(|key| key.starts_with('$')) {
            return Said::Unknown;
        }
        if let Some(events) = fields.get("_json_stream").and_then(Value::as_array) {
            return Said::Events(events.clone());
        }
        match bytes(&self.answer) {
            Some(bytes) if proto::is_protobuf(&bytes) => {
                Said::Object(proto::decode_object(&bytes).expect("what kube-apiserver sent can be read"))
            }
            Some(bytes) => Said::Text(String::from_utf8_lossy(&bytes).into_owned()),
            None => Said::Object(self.answer.clone()),
        }
    }

    /// A recorded header of the answer; empty when it was not there.
    pub(super) fn answer_header(&self, name: &str) -> &str {
        let found = self.answer_headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str()).unwrap_or_default()
    }

    /// Whether it follows changes.
    pub(super) fn is_watch(&self) -> bool {
        self.target.contains("watch=true")
    }
}

/// A body that was recorded as bytes, not as JSON.
fn bytes(body: &Value) -> Option<Vec<u8>> {
    if let Some(text) = body.get("_base64").and_then(Value::as_str) {
        return Some(BASE64_STANDARD.decode(text).expect("base64"));
    }
    body.get("_text").and_then(Value::as_str).map(|text| text.as_bytes().to_vec())
}
