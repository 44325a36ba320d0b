//! Label selectors: what they may say, and what they match.

use serde_json::Value;
use shoal_api::field::Path;

use super::faults::Faults;
use super::look::{entries, list, text, texts};
use super::{meta, words};

/// A `LabelSelector`; `null` is none and fine.
pub(crate) fn validate(selector: &Value, path: &Path, faults: &mut Faults) {
    meta::labels(&selector["matchLabels"], &path.child("matchLabels"), faults);
    for (index, requirement) in list(selector, "matchExpressions").iter().enumerate() {
        validate_requirement(requirement, &path.child("matchExpressions").index(index), faults);
    }
}

fn validate_requirement(requirement: &Value, path: &Path, faults: &mut Faults) {
    let (operator, values) = (text(requirement, "operator"), texts(requirement, "values"));
    match operator {
        "In" | "NotIn" if values.is_empty() => {
            faults.required(&path.child("values"), "must be specified when `operator` is 'In' or 'NotIn'");
        }
        "Exists" | "DoesNotExist" if !values.is_empty() => {
            let message = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
            faults.forbidden(&path.child("values"), message);
        }
        "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
        _ => faults.invalid(&path.child("operator"), operator, "not a valid selector operator"),
    }
    meta::label_name(text(requirement, "key"), &path.child("key"), faults);
    for (index, value) in values.iter().enumerate() {
        faults.words(&path.child("values").index(index), value, words::label_value(value));
    }
}

/// Whether a selector can be used at all; `null` can, and matches nothing.
pub(crate) fn is_usable(selector: &Value) -> bool {
    let mut faults = Faults::default();
    validate(selector, &Path::root(), &mut faults);
    faults.count() == 0
}

/// What Kubernetes says of labels that a workload's own selector does not choose; of an empty selector nothing.
pub(crate) fn misses(selector: &Value, labels: &Value) -> bool {
    selector.is_null() || (!is_empty(selector) && !matches(selector, labels))
}

/// Neither labels nor expressions: matches everything.
pub(crate) fn is_empty(selector: &Value) -> bool {
    entries(selector, "matchLabels").next().is_none() && list(selector, "matchExpressions").is_empty()
}

/// Does a `LabelSelector` match these labels? `null` matches nothing.
pub(crate) fn matches(selector: &Value, labels: &Value) -> bool {
    if selector.is_null() {
        return false;
    }
    let plain = entries(selector, "matchLabels").all(|(key, value)| labels.get(key) == Some(value));
    plain && list(selector, "matchExpressions").iter().all(|requirement| holds(requirement, labels))
}

fn holds(requirement: &Value, labels: &Value) -> bool {
    let value = labels[text(requirement, "key")].as_str();
    let values = texts(requirement, "values");
    match text(requirement, "operator") {
        "In" => value.is_some_and(|value| values.contains(&value)),
        "NotIn" => value.is_none_or(|value| !values.contains(&value)),
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn selectors_match_as_written() {
        let labels = json!({"app": "web", "tier": "front"});
        for (selector, expected) in [
            (json!(null), false),
            (json!({}), true),
            (json!({"matchLabels": {"app": "web"}}), true),
            (json!({"matchLabels": {"app": "api"}}), false),
            (json!({"matchExpressions": [{"key": "app", "operator": "In", "values": ["web"]}]}), true),
            (json!({"matchExpressions": [{"key": "none", "operator": "NotIn", "values": ["web"]}]}), true),
            (json!({"matchExpressions": [{"key": "tier", "operator": "DoesNotExist"}]}), false),
        ] {
            assert_eq!(matches(&selector, &labels), expected, "{selector}");
        }
    }
}
