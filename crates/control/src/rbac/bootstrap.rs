//! The roles and bindings that every cluster has from the start, and how they are kept.

use serde_json::{Map, Value, json};
use shoal_api::object;

use super::{GROUP, Rule, covers};

/// See its head for how it is written.
const TEXT: &str = include_str!("bootstrap.txt");
const AUTOUPDATE: &str = "rbac.authorization.kubernetes.io/autoupdate";
const AGGREGATE: &str = "rbac.authorization.k8s.io/aggregate-to-";

/// All default ClusterRoles, ClusterRoleBindings, Roles and RoleBindings, in the order of the text. Aggregated roles
/// come without rules: see [`super::aggregate`].
pub fn objects() -> Vec<Value> {
    let mut objects: Vec<Value> = Vec::new();
    let mut role = 0;
    for line in TEXT.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let words: Vec<&str> = line.split_whitespace().collect();
        if line.starts_with(' ') {
            let rules = objects[role]["rules"].as_array_mut().expect("a rule stands below a role");
            rules.push(rule(&words).to_value());
            continue;
        }
        let made = objects.len();
        objects.extend(head(&words));
        if matches!(words[0], "role" | "controller" | "local-role") {
            role = made;
        }
    }
    objects
}

/// The rules of a default ClusterRole; none when there is no such role.
pub fn rules_of_cluster_role(name: &str) -> Vec<Rule> {
    let is_it = |object: &&Value| object["kind"] == "ClusterRole" && object::name(object) == name;
    objects().iter().find(is_it).map(Rule::list).unwrap_or_default()
}

/// What a default object is to become when the cluster has it already: with all that it must hold, and with what was
/// added to it. None when nothing is missing, or when its annotation says that it is left alone.
///
/// A binding to another role comes back with the role it must have: delete and create it, for a role cannot be changed.
pub fn reconciled(existing: &Value, wanted: &Value) -> Option<Value> {
    if object::annotation(existing, AUTOUPDATE) == Some("false") {
        return None;
    }
    let mut result = existing.clone();
    for field in ["labels", "annotations"] {
        let wanted = wanted["metadata"][field].as_object().into_iter().flatten();
        let fields = object::child_mut(object::metadata_mut(&mut result), field);
        wanted.for_each(|(key, value)| drop(fields.insert(key.clone(), value.clone())));
    }
    let contains = |held: &[Value], wanted: &Value| held.contains(wanted);
    if wanted["roleRef"].is_object() {
        result["roleRef"] = wanted["roleRef"].clone();
        add_missing(&mut result, "subjects", wanted, contains);
    } else if wanted["aggregationRule"].is_object() {
        if !result["aggregationRule"].is_object() {
            result["aggregationRule"] = json!({});
        }
        let wanted = &wanted["aggregationRule"];
        add_missing(&mut result["aggregationRule"], "clusterRoleSelectors", wanted, contains);
    } else {
        add_missing(&mut result, "rules", wanted, |held, wanted| {
            let held: Vec<Rule> = held.iter().map(Rule::from_value).collect();
            covers(&held, &[Rule::from_value(wanted)]).is_ok()
        });
    }
    (result != *existing).then_some(result)
}

/// Adds to a list what it lacks; a list that lacks nothing is not touched, be it absent.
fn add_missing(object: &mut Value, field: &str, wanted: &Value, is_held: impl Fn(&[Value], &Value) -> bool) {
    let wanted = wanted[field].as_array().map_or(&[][..], Vec::as_slice);
    let held = object.get(field).and_then(Value::as_array).cloned().unwrap_or_default();
    let missing: Vec<Value> = wanted.iter().filter(|one| !is_held(&held, one)).cloned().collect();
    if !missing.is_empty() {
        object[field] = held.into_iter().chain(missing).collect();
    }
}

/// The objects that a line of words at the margin stands for.
fn head(words: &[&str]) -> Vec<Value> {
    match *words {
        ["role", name, ref parts @ ..] => vec![role("ClusterRole", "", name, parts)],
        ["local-role", namespace, name] => vec![role("Role", namespace, name, &[])],
        ["controller", name] => {
            let role_name = format!("system:controller:{name}");
            let subject = format!("account:kube-system/{name}");
            let binding = binding("ClusterRoleBinding", "", &role_name, &role_name, &[&subject]);
            vec![role("ClusterRole", "", &role_name, &[]), binding]
        }
        ["sum", name, "of", part, ref parts @ ..] => {
            let mut sum = role("ClusterRole", "", name, parts);
            let mut labels = Map::new();
            labels.insert(format!("{AGGREGATE}{part}"), json!("true"));
            sum["aggregationRule"] = json!({"clusterRoleSelectors": [{"matchLabels": labels}]});
            vec![sum]
        }
        ["binding", name, role, ref subjects @ ..] => {
            vec![binding("ClusterRoleBinding", "", name, role, subjects)]
        }
        ["local-binding", namespace, name, role, ref subjects @ ..] => {
            vec![binding("RoleBinding", namespace, name, role, subjects)]
        }
        _ => unreachable!("a line of bootstrap.txt: {words:?}"),
    }
}

fn metadata(namespace: &str, name: &str) -> Value {
    let mut metadata = json!({
        "name": name, "labels": {"kubernetes.io/bootstrapping": "rbac-defaults"}, "annotations": {AUTOUPDATE: "true"},
    });
    if !namespace.is_empty() {
        metadata["namespace"] = json!(namespace);
    }
    metadata
}

fn role(kind: &str, namespace: &str, name: &str, parts: &[&str]) -> Value {
    let mut metadata = metadata(namespace, name);
    for part in parts.iter().filter_map(|part| part.strip_prefix("to-")) {
        metadata["labels"][format!("{AGGREGATE}{part}")] = json!("true");
    }
    json!({"apiVersion": format!("{GROUP}/v1"), "kind": kind, "metadata": metadata, "rules": []})
}

fn binding(kind: &str, namespace: &str, name: &str, role: &str, subjects: &[&str]) -> Value {
    let role_kind = if namespace.is_empty() { "ClusterRole" } else { "Role" };
    let mut binding = json!({
        "apiVersion": format!("{GROUP}/v1"), "kind": kind, "metadata": metadata(namespace, name),
        "roleRef": {"apiGroup": GROUP, "kind": role_kind, "name": role},
    });
    if !subjects.is_empty() {
        binding["subjects"] = subjects.iter().map(|subject| self::subject(subject)).collect();
    }
    binding
}

fn subject(word: &str) -> Value {
    let (kind, name) = word.split_once(':').expect("a subject of bootstrap.txt has a kind");
    match (kind, name.split_once('/')) {
        ("group", _) => json!({"apiGroup": GROUP, "kind": "Group", "name": name}),
        ("user", _) => json!({"apiGroup": GROUP, "kind": "User", "name": name}),
        ("account", Some((namespace, name))) => {
            json!({"kind": "ServiceAccount", "name": name, "namespace": namespace})
        }
        _ => unreachable!("a subject of bootstrap.txt: {word}"),
    }
}

fn rule(words: &[&str]) -> Rule {
    match *words {
        [verbs, "url", paths] => Rule { verbs: self::verbs(verbs), urls: list(paths), ..Rule::default() },
        [verbs, groups, resources, ref names @ ..] => Rule {
            verbs: self::verbs(verbs),
            groups: list(groups)
                .into_iter()
                .map(|group| if group == "core" { String::new() } else { group })
                .collect(),
            resources: list(resources),
            names: names.first().map(|names| list(names)).unwrap_or_default(),
            urls: Vec::new(),
        },
        _ => unreachable!("a rule of bootstrap.txt: {words:?}"),
    }
}

fn verbs(word: &str) -> Vec<String> {
    let word = word
        .replace("read", "get,list,watch")
        .replace("write", "create,delete,deletecollection,patch,update")
        .replace("record", "create,patch,update");
    list(&word)
}

/// The words of a list, sorted as clusters have them.
fn list(word: &str) -> Vec<String> {
    let mut list: Vec<String> = word.split(',').map(String::from).collect();
    list.sort();
    list
}
