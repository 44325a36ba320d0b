//! What real servers and clients were recorded to say to each other. The recordings stand beside the repository and not
//! in it: where they are absent, there is nothing to compare with.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

/// `shared/golden/NAME` in a directory above this crate.
pub(crate) fn path(name: &str) -> Option<PathBuf> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().map(|dir| dir.join("shared/golden").join(name)).find(|path| path.exists())
}

/// A JSON document of the recordings.
pub(crate) fn document(name: &str) -> Option<Value> {
    let text = std::fs::read_to_string(path(name)?).expect("a file of text");
    Some(serde_json::from_str(&text).expect("a JSON document"))
}

/// One request and its answer.
pub(crate) struct Exchange {
    /// `21-describe-deploy`.
    pub(crate) step: String,
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) request: Body,
    pub(crate) response: Body,
}

/// What was sent.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Body {
    Json(Value),
    Protobuf(Vec<u8>),
    Other,
}

/// All recorded exchanges of kubectl as they stand there, in order, each with its step.
pub(crate) fn recorded() -> Vec<(String, Value)> {
    let index = document("kubectl/INDEX.json").unwrap_or_default();
    let steps = index.as_array().into_iter().flatten().filter_map(|step| step[0].as_str());
    let of_step = |step: &str| {
        let recording = document(&format!("kubectl/{step}.json")).expect("the index lists what there is");
        let exchanges = recording["exchanges"].as_array().cloned().unwrap_or_default();
        let step = step.to_owned();
        exchanges.into_iter().map(move |exchange| (step.clone(), exchange))
    };
    steps.flat_map(of_step).collect()
}

/// All recorded exchanges of kubectl, in order.
pub(crate) fn exchanges() -> Vec<Exchange> {
    let read = |(step, exchange): (String, Value)| Exchange {
        step,
        method: exchange["method"].as_str().unwrap_or_default().into(),
        path: exchange["path"].as_str().unwrap_or_default().into(),
        request: body(&exchange["request_body"], &exchange["request_headers"]),
        response: body(&exchange["response_body"], &exchange["response_headers"]),
    };
    recorded().into_iter().map(read).collect()
}

fn body(body: &Value, headers: &Value) -> Body {
    let ty = headers["Content-Type"].as_str().unwrap_or_default();
    let bytes = match (&body["_base64"], &body["_text"]) {
        (Value::String(text), _) => STANDARD.decode(text).expect("base64"),
        (_, Value::String(text)) => text.clone().into_bytes(),
        _ if body.is_object() && body.get("$omitted").is_none() && ty == "application/json" => {
            return Body::Json(body.clone());
        }
        _ => return Body::Other,
    };
    if bytes.starts_with(b"k8s\0") { Body::Protobuf(bytes) } else { Body::Other }
}

/// Where two values differ, a line each.
pub(crate) fn differences(ours: &Value, theirs: &Value) -> impl Iterator<Item = String> {
    let mut found = Vec::new();
    differ(ours, theirs, "", &mut found);
    found.into_iter()
}

fn differ(ours: &Value, theirs: &Value, path: &str, found: &mut Vec<String>) {
    match (ours, theirs) {
        (Value::Object(ours), Value::Object(theirs)) => {
            for (key, value) in ours {
                match theirs.get(key) {
                    Some(other) => differ(value, other, &format!("{path}/{key}"), found),
                    None => found.push(format!("{path}/{key}: only ours: {value}")),
                }
            }
            let missing = theirs.iter().filter(|(key, _)| !ours.contains_key(*key));
            found.extend(missing.map(|(key, value)| format!("{path}/{key}: only theirs: {value}")));
        }
        (Value::Array(ours), Value::Array(theirs)) if ours.len() == theirs.len() => {
            for (index, (ours, theirs)) in ours.iter().zip(theirs).enumerate() {
                differ(ours, theirs, &format!("{path}/{index}"), found);
            }
        }
        _ if ours == theirs => {}
        _ => found.push(format!("{path}: ours {ours}, theirs {theirs}")),
    }
}
