//! `selectableFields`: fields that a field selector may name.

use serde_json::Value;
use shoal_api::field::{Error, Path};

use crate::custom::paths::FieldPath;

/// How many a version may have (`MaxSelectableFields` of Kubernetes).
pub(super) const SELECTABLE_MAX: usize = 8;

pub(super) fn check(fields: &Value, schema: &Value, path: &Path) -> Vec<Error> {
    let list = fields.as_array().map(Vec::as_slice).unwrap_or_default();
    let mut errors = Vec::new();
    if list.len() > SELECTABLE_MAX {
        errors.push(Error::too_many(path, list.len(), SELECTABLE_MAX));
    }
    for (index, field) in list.iter().enumerate() {
        let path = path.index(index).child("jsonPath");
        let text = field["jsonPath"].as_str().unwrap_or_default();
        if text.is_empty() {
            errors.push(Error::required(&path, ""));
            continue;
        }
        if list[..index].iter().any(|other| other["jsonPath"].as_str() == Some(text)) {
            errors.push(Error::duplicate(&path, &text.into()));
            continue;
        }
        if let Some(detail) = wrong(text, schema) {
            errors.push(Error::invalid(&path, &text.into(), &detail));
        }
    }
    errors
}

fn wrong(text: &str, schema: &Value) -> Option<String> {
    let Some(path) = FieldPath::new(text) else {
        return Some("is an invalid path: must be a simple path of field names".into());
    };
    if path.names().next() == Some("metadata") {
        return Some("must not point to fields in metadata".into());
    }
    let mut at = schema;
    for name in path.names() {
        match at["properties"].get(name) {
            Some(below) => at = below,
            None => {
                return Some(format!(
                    "is an invalid path: does not refer to a valid field: {name:?} is unknown"
                ));
            }
        }
    }
    match at["type"].as_str() {
        Some("string" | "boolean" | "integer") => None,
        _ => Some("must point to a field of type string, boolean or integer. Enum string fields and strings with formats are allowed.".into()),
    }
}
