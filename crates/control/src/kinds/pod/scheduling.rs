//! Where a pod may run: affinity, tolerations, spreading, gates.

use serde_json::{Value, json};
use shoal_api::field::Path;

use crate::kinds::faults::Faults;
use crate::kinds::look::{entries, given, int, items, list, number, set, text, texts};
use crate::kinds::meta::{Names, label_name};
use crate::kinds::{selector, words};

/// What a taint does.
const EFFECTS: [&str; 3] = ["NoSchedule", "PreferNoSchedule", "NoExecute"];

const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";

/// `affinity`.
pub(super) fn affinity(affinity: &Value, path: &Path, faults: &mut Faults) {
    let node = &affinity["nodeAffinity"];
    let at = path.child("nodeAffinity");
    if given(node, REQUIRED) {
        node_selector(&node[REQUIRED], &at.child(REQUIRED), faults);
    }
    for (index, term) in list(node, PREFERRED).iter().enumerate() {
        let at = at.child(PREFERRED).index(index);
        weight(term, &at, faults);
        node_term(&term["preference"], false, &at.child("preference"), faults);
    }
    for kind in ["podAffinity", "podAntiAffinity"] {
        let (terms, at) = (&affinity[kind], path.child(kind));
        for (index, term) in list(terms, REQUIRED).iter().enumerate() {
            pod_term(term, &at.child(REQUIRED).index(index), faults);
        }
        for (index, term) in list(terms, PREFERRED).iter().enumerate() {
            let at = at.child(PREFERRED).index(index);
            weight(term, &at, faults);
            pod_term(&term["podAffinityTerm"], &at.child("podAffinityTerm"), faults);
        }
    }
}

/// Turns `matchLabelKeys` and `mismatchLabelKeys` into what they mean for a pod with these labels.
pub(super) fn own_labels(affinity: &mut Value, labels: &Value) {
    for kind in ["podAffinity", "podAntiAffinity"] {
        let Some(terms) = affinity.get_mut(kind) else { continue };
        items(terms, REQUIRED).for_each(|term| own_term(term, labels));
        for weighted in items(terms, PREFERRED) {
            if let Some(term) = weighted.get_mut("podAffinityTerm") {
                own_term(term, labels);
            }
        }
    }
}

fn own_term(term: &mut Value, labels: &Value) {
    let mut added: Vec<Value> = Vec::new();
    for (field, operator) in [("matchLabelKeys", "In"), ("mismatchLabelKeys", "NotIn")] {
        for key in texts(term, field) {
            if let Some(value) = labels[key].as_str() {
                added.push(json!({"key": key, "operator": operator, "values": [value]}));
            }
        }
    }
    let Some(selector) = term.get_mut("labelSelector").filter(|selector| selector.is_object()) else {
        return;
    };
    if !added.is_empty() {
        let mut all = list(selector, "matchExpressions").to_vec();
        all.extend(added);
        set(selector, "matchExpressions", all);
    }
}

fn weight(term: &Value, path: &Path, faults: &mut Faults) {
    let weight = number(term, "weight");
    if !(1..=100).contains(&weight) {
        faults.invalid(&path.child("weight"), weight, "must be in the range 1-100");
    }
}

/// A `NodeSelector`.
pub(crate) fn node_selector(selector: &Value, path: &Path, faults: &mut Faults) {
    let path = path.child("nodeSelectorTerms");
    let terms = list(selector, "nodeSelectorTerms");
    if terms.is_empty() {
        faults.required(&path, "must have at least one node selector term");
    }
    for (index, term) in terms.iter().enumerate() {
        node_term(term, true, &path.index(index), faults);
    }
}

fn node_term(term: &Value, check_values: bool, path: &Path, faults: &mut Faults) {
    for (index, requirement) in list(term, "matchExpressions").iter().enumerate() {
        node_requirement(requirement, check_values, &path.child("matchExpressions").index(index), faults);
    }
    for (index, requirement) in list(term, "matchFields").iter().enumerate() {
        field_requirement(requirement, &path.child("matchFields").index(index), faults);
    }
}

fn node_requirement(requirement: &Value, check_values: bool, path: &Path, faults: &mut Faults) {
    let (operator, values) = (text(requirement, "operator"), texts(requirement, "values"));
    let at = path.child("values");
    match operator {
        "In" | "NotIn" => {
            if values.is_empty() {
                faults.required(&at, "must be specified when `operator` is 'In' or 'NotIn'");
            }
        }
        "Exists" | "DoesNotExist" => {
            if !values.is_empty() {
                let message = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
                faults.forbidden(&at, message);
            }
        }
        "Gt" | "Lt" => {
            if values.len() != 1 {
                faults.required(&at, "must be specified single value when `operator` is 'Lt' or 'Gt'");
            }
        }
        _ => faults.invalid(&path.child("operator"), operator, "not a valid selector operator"),
    }
    label_name(text(requirement, "key"), &path.child("key"), faults);
    for (index, value) in values.iter().enumerate().filter(|_| check_values) {
        faults.words(&at.index(index), value, words::label_value(value));
    }
}

fn field_requirement(requirement: &Value, path: &Path, faults: &mut Faults) {
    let (operator, values) = (text(requirement, "operator"), texts(requirement, "values"));
    match operator {
        "In" | "NotIn" if values.len() == 1 => {}
        "In" | "NotIn" => {
            let message = "must be only one value when `operator` is 'In' or 'NotIn' for node field selector";
            faults.required(&path.child("values"), message);
        }
        _ => faults.invalid(&path.child("operator"), operator, "not a valid selector operator"),
    }
    let key = text(requirement, "key");
    if key != "metadata.name" {
        faults.invalid(&path.child("key"), key, "not a valid field selector key");
        return;
    }
    for (index, value) in values.iter().enumerate() {
        faults.words(&path.child("values").index(index), value, Names::Subdomain.check(value, false));
    }
}

fn pod_term(term: &Value, path: &Path, faults: &mut Faults) {
    selector::validate(&term["labelSelector"], &path.child("labelSelector"), faults);
    selector::validate(&term["namespaceSelector"], &path.child("namespaceSelector"), faults);
    for name in texts(term, "namespaces") {
        faults.words(&path.child("namespace"), name, words::dns_label(name));
    }
    for field in ["matchLabelKeys", "mismatchLabelKeys"] {
        let keys = texts(term, field);
        let at = path.child(field);
        if !keys.is_empty() && !given(term, "labelSelector") {
            faults.forbidden(&at, "must not be specified when labelSelector is not set");
            continue;
        }
        for (index, key) in keys.iter().enumerate() {
            label_name(key, &at.index(index), faults);
        }
    }
    let mismatched = texts(term, "mismatchLabelKeys");
    for (index, key) in texts(term, "matchLabelKeys").iter().enumerate() {
        if mismatched.contains(key) {
            let message = "exists in both matchLabelKeys and mismatchLabelKeys";
            faults.invalid(&path.child("matchLabelKeys").index(index), *key, message);
        }
    }
    let key = text(term, "topologyKey");
    if key.is_empty() {
        faults.required(&path.child("topologyKey"), "can not be empty");
    }
    label_name(key, &path.child("topologyKey"), faults);
}

/// `tolerations`.
pub(crate) fn tolerations(tolerations: &[Value], path: &Path, faults: &mut Faults) {
    for (index, toleration) in tolerations.iter().enumerate() {
        let path = path.index(index);
        let (key, operator) = (text(toleration, "key"), text(toleration, "operator"));
        let (value, effect) = (text(toleration, "value"), text(toleration, "effect"));
        if !key.is_empty() {
            label_name(key, &path.child("key"), faults);
        } else if operator != "Exists" {
            let message =
                "operator must be Exists when `key` is empty, which means \"match all values and all keys\"";
            faults.invalid(&path.child("operator"), operator, message);
        }
        if given(toleration, "tolerationSeconds") && effect != "NoExecute" {
            let message = "effect must be 'NoExecute' when `tolerationSeconds` is set";
            faults.invalid(&path.child("effect"), effect, message);
        }
        match operator {
            "Equal" | "" => {
                let messages = words::label_value(value);
                if !messages.is_empty() {
                    faults.invalid(&path.child("operator"), value, &messages.join(";"));
                }
            }
            "Exists" if !value.is_empty() => {
                let message = "value must be empty when `operator` is 'Exists'";
                faults.invalid(&path.child("operator"), value, message);
            }
            "Exists" => {}
            other => faults.not_supported(&path.child("operator"), other, &["Equal", "Exists"]),
        }
        if !effect.is_empty() {
            faults.one_of(&path.child("effect"), effect, &EFFECTS);
        }
    }
}

/// Taints of a node.
pub(crate) fn taints(taints: &[Value], path: &Path, faults: &mut Faults) {
    let mut seen: Vec<(&str, &str)> = Vec::new();
    for (index, taint) in taints.iter().enumerate() {
        let path = path.index(index);
        let (key, value, effect) = (text(taint, "key"), text(taint, "value"), text(taint, "effect"));
        label_name(key, &path.child("key"), faults);
        let messages = words::label_value(value);
        if !messages.is_empty() {
            faults.invalid(&path.child("value"), value, &messages.join(";"));
        }
        faults.chosen(&path.child("effect"), effect, &EFFECTS);
        if seen.contains(&(effect, key)) {
            let shown =
                format!("core.Taint{{Key:{key:?}, Value:{value:?}, Effect:{effect:?}, TimeAdded:<nil>}}");
            let mut error = shoal_api::field::Error::duplicate(&path, &Value::Null);
            error.message = format!("Duplicate value: {shown}: taints must be unique by key and effect pair");
            faults.push(error);
            continue;
        }
        seen.push((effect, key));
    }
}

/// `topologySpreadConstraints`.
pub(super) fn spreading(spec: &Value, path: &Path, faults: &mut Faults) {
    let constraints = list(spec, "topologySpreadConstraints");
    for (index, constraint) in constraints.iter().enumerate() {
        let at = path.index(index);
        let skew = number(constraint, "maxSkew");
        if skew <= 0 {
            faults.invalid(&at.child("maxSkew"), skew, "must be greater than zero");
        }
        let key = text(constraint, "topologyKey");
        if key.is_empty() {
            faults.required(&at.child("topologyKey"), "can not be empty");
        }
        let action = text(constraint, "whenUnsatisfiable");
        faults.one_of(&at.child("whenUnsatisfiable"), action, &["DoNotSchedule", "ScheduleAnyway"]);
        let twin =
            |other: &Value| text(other, "topologyKey") == key && text(other, "whenUnsatisfiable") == action;
        if constraints[index + 1..].iter().any(twin) {
            let path = at.child("{topologyKey, whenUnsatisfiable}");
            faults.duplicate(&path, format!("{{{key}, {action}}}"));
        }
        spread_limits(constraint, action, &at, faults);
        selector::validate(&constraint["labelSelector"], &at.child("labelSelector"), faults);
    }
}

fn spread_limits(constraint: &Value, action: &str, path: &Path, faults: &mut Faults) {
    if let Some(domains) = int(constraint, "minDomains") {
        let path = path.child("minDomains");
        if domains <= 0 {
            faults.invalid(&path, domains, "must be greater than zero");
        }
        if action != "DoNotSchedule" {
            let message = format!("can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {action}");
            faults.invalid(&path, domains, &message);
        }
    }
    for field in ["nodeAffinityPolicy", "nodeTaintsPolicy"] {
        if given(constraint, field) {
            faults.one_of(&path.child(field), text(constraint, field), &["Honor", "Ignore"]);
        }
    }
    let keys = texts(constraint, "matchLabelKeys");
    let path = path.child("matchLabelKeys");
    let selector = &constraint["labelSelector"];
    if !keys.is_empty() && selector.is_null() {
        faults.forbidden(&path, "must not be specified when labelSelector is not set");
    }
    for (index, key) in keys.iter().enumerate() {
        label_name(key, &path.index(index), faults);
        let named = entries(selector, "matchLabels").any(|(name, _)| name == *key)
            || list(selector, "matchExpressions").iter().any(|one| text(one, "key") == *key);
        if named {
            faults.invalid(&path.index(index), *key, "exists in both matchLabelKeys and labelSelector");
        }
    }
}

/// `schedulingGates`.
pub(super) fn gates(spec: &Value, path: &Path, faults: &mut Faults) {
    let mut seen: Vec<&str> = Vec::new();
    for (index, gate) in list(spec, "schedulingGates").iter().enumerate() {
        let name = text(gate, "name");
        faults.words(&path.index(index), name, words::qualified_name(name));
        if seen.contains(&name) {
            faults.duplicate(&path.index(index), name);
        }
        seen.push(name);
    }
}
