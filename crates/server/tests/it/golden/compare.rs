//! Two values beside each other: where they differ, in words that a rule can match.

use serde_json::Value;

/// A place where two values are not the same.
pub(super) struct Difference {
    /// As `body.items[name=web].spec.replicas`.
    pub(super) path: String,
    /// Empty: it was not there.
    pub(super) expected: String,
    /// Empty: it is not there.
    pub(super) got: String,
}

/// What tells one element of a list from the others, whatever its place.
pub(super) fn identity(element: &Value) -> Option<String> {
    let fields = element.as_object()?;
    let text = |value: &Value| value.as_str().map(str::to_owned);
    if let Some(manager) = fields.get("manager").and_then(text) {
        let part = |key: &str| fields.get(key).and_then(text).unwrap_or_default();
        return Some(format!("{manager}/{}/{}", part("operation"), part("subresource")));
    }
    let metadata = [element.get("metadata"), element.pointer("/object/metadata")];
    if let Some(metadata) = metadata.into_iter().flatten().next() {
        let name = metadata.get("name").and_then(text)?;
        let namespace = metadata.get("namespace").and_then(text);
        return Some(namespace.map_or(name.clone(), |namespace| format!("{namespace}/{name}")));
    }
    if let Some(of_condition) = fields.get("type").and_then(text)
        && fields.contains_key("status")
    {
        return Some(of_condition);
    }
    fields.get("name").and_then(text)
}

/// The identity of an element without what was drawn for its name. Unless the hash of its template is known, what the template says stands for it: the revision of a ReplicaSet, the containers of a pod.
pub(super) fn role(element: &Value, knows: impl Fn(&str) -> bool) -> Option<String> {
    let mut role = identity(element)?;
    let metadata = element.get("metadata").or_else(|| element.pointer("/object/metadata"));
    let text = |path: &str| metadata.and_then(|metadata| metadata.pointer(path)?.as_str());
    if let Some(drawn) = text("/generateName").and_then(|prefix| text("/name")?.strip_prefix(prefix)) {
        role = role.replace(drawn, "<drawn>");
    }
    let Some(hash) = text("/labels/pod-template-hash").filter(|hash| !knows(hash)) else { return Some(role) };
    let revision = text("/annotations/deployment.kubernetes.io~1revision").map(str::to_owned);
    let containers = element["spec"]["containers"].as_array().map(|containers| {
        let told = |container: &Value| format!("{}{}", container["image"], container["resources"]);
        let told: String = containers.iter().map(told).collect();
        format!("{told}{}", element["spec"]["terminationGracePeriodSeconds"])
    });
    Some(match revision.or(containers) {
        Some(template) => role.replace(hash, &format!("<{template}>")),
        None => role,
    })
}

/// Where `got` is not as `expected`.
pub(super) fn differences(expected: &Value, got: &Value) -> Vec<Difference> {
    let mut found = Vec::new();
    differ("body".into(), Some(expected), Some(got), &mut found);
    found
}

fn differ(path: String, expected: Option<&Value>, got: Option<&Value>, found: &mut Vec<Difference>) {
    match (expected, got) {
        (Some(expected), Some(got)) if expected == got => {}
        (Some(Value::Object(expected)), Some(Value::Object(got))) => {
            let mut keys: Vec<&String> =
                expected.keys().chain(got.keys().filter(|key| !expected.contains_key(*key))).collect();
            keys.sort();
            for key in keys {
                differ(format!("{path}.{key}"), expected.get(key), got.get(key), found);
            }
        }
        (Some(Value::Array(expected)), Some(Value::Array(got))) => elements(&path, expected, got, found),
        (expected, got) => found.push(Difference { path, expected: shown(expected), got: shown(got) }),
    }
}

/// Elements that have names are compared by name, and then for their order; others by place.
fn elements(path: &str, expected: &[Value], got: &[Value], found: &mut Vec<Difference>) {
    let names = |list: &[Value]| -> Option<Vec<String>> { list.iter().map(identity).collect() };
    let (Some(left), Some(right)) = (names(expected), names(got)) else {
        for place in 0..expected.len().max(got.len()) {
            differ(format!("{path}[{place}]"), expected.get(place), got.get(place), found);
        }
        return;
    };
    for (name, value) in left.iter().zip(expected) {
        let other = right.iter().position(|other| other == name).map(|place| &got[place]);
        differ(format!("{path}[{name}]"), Some(value), other, found);
    }
    for (name, value) in right.iter().zip(got).filter(|(name, _)| !left.contains(name)) {
        differ(format!("{path}[{name}]"), None, Some(value), found);
    }
    let common = |names: &[String], others: &[String]| -> Vec<String> {
        names.iter().filter(|name| others.contains(name)).cloned().collect()
    };
    let (left, right) = (common(&left, &right), common(&right, &left));
    if left != right {
        found.push(Difference {
            path: format!("{path}.order"),
            expected: left.join(" "),
            got: right.join(" "),
        });
    }
}

fn shown(value: Option<&Value>) -> String {
    value.map(Value::to_string).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn differences_are_told_by_name_and_order() {
        let expected =
            json!({"items": [{"metadata": {"name": "a"}, "x": 1}, {"metadata": {"name": "b"}}], "y": [1, 2]});
        let got = json!({"items": [{"metadata": {"name": "b"}}, {"metadata": {"name": "a"}, "x": 2}], "y": [1], "z": 0});
        let told: Vec<String> = differences(&expected, &got)
            .into_iter()
            .map(|found| format!("{}: {:?} {:?}", found.path, found.expected, found.got))
            .collect();
        let wanted = [
            "body.items[a].x: \"1\" \"2\"",
            "body.items.order: \"a b\" \"b a\"",
            "body.y[1]: \"2\" \"\"",
            "body.z: \"\" \"0\"",
        ];
        assert_eq!(told, wanted);
        assert!(differences(&expected, &expected).is_empty());
    }
}
