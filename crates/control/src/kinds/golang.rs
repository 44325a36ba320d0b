//! Values as Go prints them: messages of Kubernetes show maps, lists and structures so.

use serde_json::Value;

use super::look::{list, text};

/// A value as `field.Invalid` shows it: text in quotes, `"null"` for what is absent, `map[string]string{…}`,
/// `[]string{…}`. A structure is shown as JSON: Go shows the addresses of its pointers.
pub(crate) fn shown(value: &Value) -> String {
    match value {
        Value::Null => "\"null\"".into(),
        Value::String(text) => format!("{text:?}"),
        Value::Array(items) if items.iter().all(Value::is_string) => strings(value),
        other => other.to_string(),
    }
}

/// `map[string]string{"a":"b"}`.
pub(crate) fn map(value: &Value) -> String {
    let Some(fields) = value.as_object() else { return "map[string]string(nil)".into() };
    let pairs: Vec<String> = fields.iter().map(|(key, value)| format!("{key:?}:{}", quoted(value))).collect();
    format!("map[string]string{{{}}}", pairs.join(", "))
}

/// `[]string{"a", "b"}`.
pub(crate) fn strings(value: &Value) -> String {
    list_of("string", value)
}

/// A list of a named string type: `[]core.ResourceQuotaScope{"a"}`.
pub(crate) fn list_of(name: &str, value: &Value) -> String {
    let Some(items) = value.as_array() else { return format!("[]{name}(nil)") };
    let items: Vec<String> = items.iter().map(quoted).collect();
    format!("[]{name}{{{}}}", items.join(", "))
}

/// `v1.LabelSelector{MatchLabels:map[string]string{…}, MatchExpressions:[]v1.LabelSelectorRequirement(nil)}`;
/// `"null"` for none.
pub(crate) fn selector(value: &Value) -> String {
    if value.is_null() {
        return "\"null\"".into();
    }
    let labels = map(&value["matchLabels"]);
    let expressions = list(value, "matchExpressions");
    let expressions = if expressions.is_empty() {
        "[]v1.LabelSelectorRequirement(nil)".into()
    } else {
        let each: Vec<String> = expressions.iter().map(requirement).collect();
        format!("[]v1.LabelSelectorRequirement{{{}}}", each.join(", "))
    };
    format!("v1.LabelSelector{{MatchLabels:{labels}, MatchExpressions:{expressions}}}")
}

fn requirement(value: &Value) -> String {
    let (key, operator) = (text(value, "key"), text(value, "operator"));
    let values = strings(&value["values"]);
    format!("v1.LabelSelectorRequirement{{Key:{key:?}, Operator:{operator:?}, Values:{values}}}")
}

fn quoted(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), |text| format!("{text:?}"))
}

/// What changed, as lines of `-` and `+` with the path of each: Kubernetes says `cmp.Diff`, whose form is
/// deliberately unstable.
pub(crate) fn difference(old: &Value, new: &Value) -> String {
    let mut lines = String::new();
    collect("", old, new, &mut lines);
    lines
}

fn collect(path: &str, old: &Value, new: &Value, lines: &mut String) {
    if super::look::same(old, new) {
        return;
    }
    match (old, new) {
        (Value::Object(old), Value::Object(new)) => {
            let added = new.keys().filter(|key| !old.contains_key(*key));
            for key in old.keys().chain(added) {
                let (old, new) = (old.get(key).unwrap_or(&Value::Null), new.get(key).unwrap_or(&Value::Null));
                let below = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                collect(&below, old, new, lines);
            }
        }
        (Value::Array(old), Value::Array(new)) if old.len() == new.len() => {
            for (index, (old, new)) in old.iter().zip(new).enumerate() {
                collect(&format!("{path}[{index}]"), old, new, lines);
            }
        }
        _ => {
            for (sign, value) in [('-', old), ('+', new)] {
                if !value.is_null() {
                    lines.push_str(&format!("{sign}\t{path}: {value}\n"));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_read_as_go_prints_them() {
        assert_eq!(
            selector(&json!({"matchLabels": {"app": "a"}})),
            "v1.LabelSelector{MatchLabels:map[string]string{\"app\":\"a\"}, \
             MatchExpressions:[]v1.LabelSelectorRequirement(nil)}"
        );
        assert_eq!(
            selector(&json!({"matchExpressions": [{"key": "a", "operator": "In", "values": ["b"]}]})),
            "v1.LabelSelector{MatchLabels:map[string]string(nil), MatchExpressions:\
             []v1.LabelSelectorRequirement{v1.LabelSelectorRequirement{Key:\"a\", Operator:\"In\", \
             Values:[]string{\"b\"}}}}"
        );
        assert_eq!(shown(&json!(null)), "\"null\"");
        assert_eq!(map(&json!(null)), "map[string]string(nil)");
        assert_eq!(difference(&json!({"a": 1, "b": [1]}), &json!({"a": 2, "b": [1]})), "-\ta: 1\n+\ta: 2\n");
    }
}
