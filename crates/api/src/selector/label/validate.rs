//! Labels and `LabelSelector`s in objects, checked field by field.

use serde_json::Value;

use crate::field::{Error, Path};
use crate::names;

/// What is wrong with `labels` at a path: keys and values.
pub fn validate_labels(labels: &Value, path: &Path) -> Vec<Error> {
    let mut wrong = Vec::new();
    for (key, value) in labels.as_object().into_iter().flatten() {
        wrong.extend(validate_key(key, path));
        for words in names::label_value(value.as_str().unwrap_or_default()) {
            wrong.push(Error::invalid(path, value, &words));
        }
    }
    wrong
}

/// What is wrong with a `LabelSelector` at a path; nothing with one that is absent. `stored` allows values that older
/// servers have let in: those of an object that is only being changed.
pub fn validate(selector: &Value, stored: bool, path: &Path) -> Vec<Error> {
    let mut wrong = validate_labels(&selector["matchLabels"], &path.child("matchLabels"));
    let path = path.child("matchExpressions");
    for (at, expression) in selector["matchExpressions"].as_array().into_iter().flatten().enumerate() {
        wrong.extend(validate_expression(expression, stored, &path.index(at)));
    }
    wrong
}

fn validate_expression(expression: &Value, stored: bool, path: &Path) -> Vec<Error> {
    let mut wrong = Vec::new();
    let values = expression["values"].as_array().map_or(&[][..], Vec::as_slice);
    match expression["operator"].as_str().unwrap_or_default() {
        "In" | "NotIn" if values.is_empty() => {
            wrong.push(Error::required(
                &path.child("values"),
                "must be specified when `operator` is 'In' or 'NotIn'",
            ));
        }
        "Exists" | "DoesNotExist" if !values.is_empty() => {
            wrong.push(Error::forbidden(
                &path.child("values"),
                "may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
            ));
        }
        "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
        other => {
            wrong.push(Error::invalid(
                &path.child("operator"),
                &other.into(),
                "not a valid selector operator",
            ));
        }
    }
    wrong.extend(validate_key(expression["key"].as_str().unwrap_or_default(), &path.child("key")));
    for (at, value) in values.iter().enumerate().filter(|_| !stored) {
        for words in names::label_value(value.as_str().unwrap_or_default()) {
            wrong.push(Error::invalid(&path.child("values").index(at), value, &words));
        }
    }
    wrong
}

fn validate_key(key: &str, path: &Path) -> Vec<Error> {
    names::qualified(key).iter().map(|words| Error::invalid(path, &key.into(), words)).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_mistake_is_told_at_its_field() {
        let selector = json!({
            "matchLabels": {"a": "b", "x/y/z": "-"},
            "matchExpressions": [
                {"key": "a", "operator": "In"},
                {"key": "a", "operator": "Exists", "values": ["b"]},
                {"key": "a", "operator": "Near", "values": ["-"]},
                {"key": "", "operator": "Exists"},
            ],
        });
        let tell = |stored| -> Vec<String> {
            let wrong = validate(&selector, stored, &Path::new("spec").child("selector"));
            wrong.iter().map(|error| error.to_string().chars().take(100).collect()).collect()
        };
        let expected = [
            "spec.selector.matchLabels: Invalid value: \"x/y/z\": a qualified name must consist of alphanumeric cha",
            "spec.selector.matchLabels: Invalid value: \"-\": a valid label must be an empty string or consist of a",
            "spec.selector.matchExpressions[0].values: Required value: must be specified when `operator` is 'In' ",
            "spec.selector.matchExpressions[1].values: Forbidden: may not be specified when `operator` is 'Exists",
            "spec.selector.matchExpressions[2].operator: Invalid value: \"Near\": not a valid selector operator",
            "spec.selector.matchExpressions[2].values[0]: Invalid value: \"-\": a valid label must be an empty stri",
            "spec.selector.matchExpressions[3].key: Invalid value: \"\": name part must be non-empty",
            "spec.selector.matchExpressions[3].key: Invalid value: \"\": name part must consist of alphanumeric cha",
        ];
        assert_eq!(tell(false), expected);
        assert_eq!(tell(true).len(), expected.len() - 1, "stored values are let be");
    }
}
