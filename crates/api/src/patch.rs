//! The three patches that change an object without server-side apply.

pub mod json;
pub mod merge;
pub mod strategic;

use serde_json::Value;

use crate::Status;
use crate::status::Details;

/// Why a patch was not applied.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatchError {
    /// The patch is not in the form of its kind.
    #[error("{0}")]
    Malformed(String),
    /// The patch asks for more than a server does at once.
    #[error("{0}")]
    TooLarge(String),
    /// The patch does not fit the object.
    #[error("{0}")]
    Inapplicable(String),
    /// The patch asks for what strategic merge patches cannot do.
    #[error("{0}")]
    Unsupported(String),
}

impl PatchError {
    /// The answer of kube-apiserver. What did not fit is not told there: the words are for our log.
    pub fn to_status(&self) -> Status {
        match self {
            Self::Malformed(words) => Status::bad_request(words.clone()),
            Self::TooLarge(words) => Status::too_large(format!("Request entity too large: {words}")),
            Self::Inapplicable(_) => {
                let words = "the server rejected our request due to an error in our request";
                Status::new(422, "Invalid", words).with_details(Details::default())
            }
            Self::Unsupported(words) => Status::new(500, "", words.clone()),
        }
    }
}

/// The name that Go's JSON decoder gives a value.
fn go_kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// A value as Go's `%v` shows it: `map[image:nginx ports:[80]]`.
pub fn go_shown(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".into(),
        Value::String(text) => text.clone(),
        Value::Array(items) => format!("[{}]", items.iter().map(go_shown).collect::<Vec<_>>().join(" ")),
        Value::Object(fields) => {
            let fields: Vec<String> =
                fields.iter().map(|(key, value)| format!("{key}:{}", go_shown(value))).collect();
            format!("map[{}]", fields.join(" "))
        }
        Value::Bool(_) | Value::Number(_) => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_went_wrong_decides_the_answer() {
        for (error, code, reason) in [
            (PatchError::Malformed("x".into()), 400, "BadRequest"),
            (PatchError::TooLarge("x".into()), 413, "RequestEntityTooLarge"),
            (PatchError::Inapplicable("x".into()), 422, "Invalid"),
            (PatchError::Unsupported("x".into()), 500, ""),
        ] {
            let status = error.to_status();
            assert_eq!((status.code, status.reason), (code, reason));
        }
        assert!(PatchError::Unsupported("x".into()).to_status().to_value().get("reason").is_none());
        assert_eq!(go_shown(&json!({"b": [1, "x"], "a": null})), "map[a:<nil> b:[1 x]]");
    }
}
