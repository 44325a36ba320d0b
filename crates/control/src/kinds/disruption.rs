//! Pod disruption budgets, priorities, runtimes and leases: small kinds with few rules.

use serde_json::Value;
use shoal_api::field::Path;

use super::amount;
use super::faults::{Faults, NEGATIVE};
use super::look::{entries, given, int, list, number, set_missing, text};
use super::meta;
use super::pod::scheduling;
use super::{int_or_percent, resources, selector, words};

/// Highest priority that a user can give.
const PRIORITY_MAX: i64 = 1_000_000_000;

/// Priorities of the system itself.
const SYSTEM_PRIORITIES: [(&str, i64); 2] =
    [("system-cluster-critical", 2_000_000_000), ("system-node-critical", 2_000_001_000)];

/// A budget that is made or changed.
pub(super) fn validate_budget(budget: &Value, faults: &mut Faults) {
    let (spec, path) = (&budget["spec"], Path::new("spec"));
    if given(spec, "minAvailable") && given(spec, "maxUnavailable") {
        let message = "minAvailable and maxUnavailable cannot be both set";
        faults.invalid_shown(&path, &shown_budget(spec), message);
    }
    for field in ["minAvailable", "maxUnavailable"] {
        if given(spec, field) {
            let path = path.child(field);
            int_or_percent::not_negative(&spec[field], &path, faults);
            int_or_percent::not_above_all(&spec[field], &path, faults);
        }
    }
    selector::validate(&spec["selector"], &path.child("selector"), faults);
    if let Some(policy) = spec["unhealthyPodEvictionPolicy"].as_str() {
        let at = path.child("unhealthyPodEvictionPolicy");
        faults.one_of(&at, policy, &["AlwaysAllow", "IfHealthyBudget"]);
    }
}

fn shown_budget(spec: &Value) -> String {
    format!("policy.PodDisruptionBudgetSpec{spec}")
}

/// Counts in a budget's status.
pub(super) fn validate_budget_status(new: &Value, _old: &Value, faults: &mut Faults) {
    for field in ["disruptionsAllowed", "currentHealthy", "desiredHealthy", "expectedPods"] {
        faults.not_negative(&Path::new("status").child(field), int(&new["status"], field));
    }
    for (index, condition) in list(&new["status"], "conditions").iter().enumerate() {
        let path = Path::new("status.conditions").index(index);
        let kind = text(condition, "type");
        faults.words(&path.child("type"), kind, words::qualified_name(kind));
        let status = text(condition, "status");
        faults.chosen(&path.child("status"), status, &["False", "True", "Unknown"]);
    }
}

/// A budget without a selector, or with one that chooses all.
pub(super) fn budget_warnings(new: &Value, _old: Option<&Value>) -> Vec<String> {
    let mut warnings = Vec::new();
    let spec = &new["spec"];
    if spec["selector"].is_object() && selector::is_empty(&spec["selector"]) {
        warnings.push("spec.selector: an empty selector matches all pods in the namespace".into());
    }
    warnings
}

/// A priority makes room for its pods.
pub(super) fn default_priority(class: &mut Value) {
    set_missing(class, "preemptionPolicy", "PreemptLowerPriority");
    set_missing(class, "value", 0);
}

/// A priority that is made.
pub(super) fn validate_priority(class: &Value, faults: &mut Faults) {
    let (name, value) = (text(&class["metadata"], "name"), number(class, "value"));
    if name.starts_with("system-") {
        let known = SYSTEM_PRIORITIES.iter().find(|(known, _)| *known == name);
        if known.is_none_or(|(_, known)| *known != value) {
            let why = match known {
                Some((_, known)) => format!("value of {name} PriorityClass must be {known}"),
                None => format!("{name} is not a known system priority class"),
            };
            let message = format!(
                "priority class names with 'system-' prefix are reserved for system use only. error: {why}"
            );
            faults.forbidden(&Path::new("metadata.name"), &message);
        }
    } else if value > PRIORITY_MAX {
        let message = format!("maximum allowed value of a user defined priority is {PRIORITY_MAX}");
        faults.forbidden(&Path::new("value"), &message);
    }
    if let Some(policy) = class["preemptionPolicy"].as_str() {
        let path = Path::new("preemptionPolicy");
        faults.chosen(&path, policy, &["PreemptLowerPriority", "Never"]);
    }
}

/// A priority that is changed: only how it is described.
pub(super) fn validate_priority_update(new: &Value, old: &Value, faults: &mut Faults) {
    if number(new, "value") != number(old, "value") {
        faults.forbidden(&Path::new("value"), "may not be changed in an update.");
    }
    let field = "preemptionPolicy";
    faults.immutable(&Path::new(field), &new[field], &old[field]);
}

/// A runtime: what its pods cost beyond their containers.
pub(super) fn default_runtime(class: &mut Value) {
    if let Some(fixed) = class.get_mut("overhead").and_then(|overhead| overhead.get_mut("podFixed")) {
        amount::round(fixed);
    }
}

/// A runtime that is made.
pub(super) fn validate_runtime(class: &Value, faults: &mut Faults) {
    let handler = text(class, "handler");
    faults.words(&Path::new("handler"), handler, words::dns_label(handler));
    let path = Path::new("overhead.podFixed");
    for (name, value) in entries(&class["overhead"], "podFixed") {
        resources::amount_of(name, value, &path.key(name), resources::container_name, faults);
    }
    let (scheduling, path) = (&class["scheduling"], Path::new("scheduling"));
    meta::labels(&scheduling["nodeSelector"], &path.child("nodeSelector"), faults);
    scheduling::tolerations(list(scheduling, "tolerations"), &path.child("tolerations"), faults);
}

/// A runtime that is changed: not who handles it.
pub(super) fn validate_runtime_update(new: &Value, old: &Value, faults: &mut Faults) {
    faults.immutable(&Path::new("handler"), &new["handler"], &old["handler"]);
}

/// A lease that is made or changed.
pub(super) fn validate_lease(lease: &Value, faults: &mut Faults) {
    let (spec, path) = (&lease["spec"], Path::new("spec"));
    if let Some(seconds) = int(spec, "leaseDurationSeconds").filter(|seconds| *seconds <= 0) {
        faults.invalid(&path.child("leaseDurationSeconds"), seconds, "must be greater than 0");
    }
    if let Some(count) = int(spec, "leaseTransitions").filter(|count| *count < 0) {
        faults.invalid(&path.child("leaseTransitions"), count, NEGATIVE);
    }
}

/// Service accounts: nothing but their name.
pub(super) fn account_warnings(new: &Value, old: Option<&Value>) -> Vec<String> {
    let key = "kubernetes.io/enforce-mountable-secrets";
    let before = old.and_then(|old| super::look::annotation(old, key));
    match super::look::annotation(new, key) {
        Some(value) if before != Some(value) => vec![format!(
            "metadata.annotations[{key}]: deprecated in v1.32+; prefer separate namespaces to isolate access to mounted \
             secrets"
        )],
        _ => Vec::new(),
    }
}
