//! Horizontal pod autoscalers, in the shape of `autoscaling/v2`.

use serde_json::{Value, json};
use shoal_api::field::Path;

use super::amount::{self, Amount};
use super::faults::Faults;
use super::look::{child, given, int, items, list, number, set_missing, text};
use super::words;

/// Longest window of stabilization, in seconds.
const WINDOW_SECONDS_MAX: i64 = 3600;

/// Longest period of a policy, in seconds.
const PERIOD_SECONDS_MAX: i64 = 1800;

/// Types of metrics, and the field in which each stands.
const METRICS: [(&str, &str); 5] = [
    ("ContainerResource", "containerResource"),
    ("External", "external"),
    ("Object", "object"),
    ("Pods", "pods"),
    ("Resource", "resource"),
];

/// An autoscaler: by four fifths of the processor, unless something is said.
pub(super) fn default(object: &mut Value) {
    let Some(spec) = child(object, "spec") else { return };
    set_missing(spec, "minReplicas", 1);
    if list(spec, "metrics").is_empty() {
        let target = json!({"type": "Utilization", "averageUtilization": 80});
        let metric = json!({"type": "Resource", "resource": {"name": "cpu", "target": target}});
        super::look::set(spec, "metrics", json!([metric]));
    }
    for metric in items(spec, "metrics") {
        for (_, field) in METRICS {
            let target = metric.get_mut(field).and_then(|source| source.get_mut("target"));
            for amount in target.into_iter().flat_map(|target| target.as_object_mut()).flatten() {
                if matches!(amount.0.as_str(), "value" | "averageValue") {
                    amount::canonical(amount.1);
                }
            }
        }
    }
    if let Some(behavior) = spec.get_mut("behavior").filter(|behavior| behavior.is_object()) {
        default_behavior(behavior);
    }
}

fn default_behavior(behavior: &mut Value) {
    let percent = json!({"type": "Percent", "value": 100, "periodSeconds": 15});
    let pods = json!({"type": "Pods", "value": 4, "periodSeconds": 15});
    for (field, policies) in [("scaleUp", json!([pods, percent])), ("scaleDown", json!([percent]))] {
        let Some(rules) = child(behavior, field) else { continue };
        if field == "scaleUp" {
            set_missing(rules, "stabilizationWindowSeconds", 0);
        }
        set_missing(rules, "selectPolicy", "Max");
        set_missing(rules, "policies", policies);
    }
}

/// An autoscaler of version 1.
pub(super) fn default_v1(object: &mut Value) {
    if let Some(spec) = child(object, "spec") {
        set_missing(spec, "minReplicas", 1);
    }
}

/// An autoscaler that is made or changed.
pub(super) fn validate(object: &Value, faults: &mut Faults) {
    let (spec, path) = (&object["spec"], Path::new("spec"));
    let least = int(spec, "minReplicas");
    if let Some(least) = least.filter(|least| *least < 1) {
        faults.invalid(&path.child("minReplicas"), least, "must be greater than or equal to 1");
    }
    let most = number(spec, "maxReplicas");
    if most < 1 {
        faults.invalid(&path.child("maxReplicas"), most, "must be greater than 0");
    }
    if least.is_some_and(|least| most < least) {
        let message = "must be greater than or equal to `minReplicas`";
        faults.invalid(&path.child("maxReplicas"), most, message);
    }
    reference(&spec["scaleTargetRef"], &path.child("scaleTargetRef"), faults);
    for (index, metric) in list(spec, "metrics").iter().enumerate() {
        self::metric(metric, &path.child("metrics").index(index), faults);
    }
    for field in ["scaleUp", "scaleDown"] {
        let rules = &spec["behavior"][field];
        if !rules.is_null() {
            behavior(rules, &path.child("behavior").child(field), faults);
        }
    }
}

/// An autoscaler of version 1.
pub(super) fn validate_v1(object: &Value, faults: &mut Faults) {
    validate(object, faults);
    if let Some(share) = int(&object["spec"], "targetCPUUtilizationPercentage").filter(|share| *share < 1) {
        let path = Path::new("spec.metrics").index(0).child("resource").child("target");
        faults.invalid(&path.child("averageUtilization"), share, "must be greater than 0");
    }
}

fn reference(reference: &Value, path: &Path, faults: &mut Faults) {
    for field in ["kind", "name"] {
        let value = text(reference, field);
        let path = path.child(field);
        if value.is_empty() {
            faults.required(&path, "");
        } else {
            faults.words(&path, value, words::path_segment(value, false));
        }
    }
}

fn metric(metric: &Value, path: &Path, faults: &mut Faults) {
    let kind = text(metric, "type");
    if kind.is_empty() {
        faults.required(&path.child("type"), "must specify a metric source type");
    }
    faults.one_of(&path.child("type"), kind, &METRICS.map(|(kind, _)| kind));
    let mut present: Vec<&str> = Vec::new();
    for field in ["object", "external", "pods", "resource", "containerResource"] {
        if given(metric, field) {
            present.push(field);
            if present.len() == 1 {
                source(field, &metric[field], &path.child(field), faults);
            }
        }
    }
    let expected = METRICS.iter().find(|(name, _)| *name == kind).map_or("", |(_, field)| field);
    if !present.contains(&expected) {
        let message = "must populate information for the given metric source";
        faults.required(&path.child(expected), message);
    }
    if present.len() != 1 {
        for field in present.into_iter().filter(|field| *field != expected) {
            faults.forbidden(&path.child(field), "must populate the given metric source only");
        }
    }
}

fn source(kind: &str, source: &Value, path: &Path, faults: &mut Faults) {
    let target = &source["target"];
    let at = path.child("target");
    let (value, average) = (given(target, "value"), given(target, "averageValue"));
    match kind {
        "object" => {
            reference(&source["describedObject"], &path.child("describedObject"), faults);
            identifier(source, path, faults);
            self::target(target, &at, faults);
            if !value && !average {
                let message = "must set either a target value or averageValue";
                faults.required(&at.child("averageValue"), message);
            }
        }
        "external" => {
            identifier(source, path, faults);
            self::target(target, &at, faults);
            if !value && !average {
                let message = "must set either a target value for metric or a per-pod target";
                faults.required(&at.child("averageValue"), message);
            } else if value && average {
                let message = "may not set both a target value for metric and a per-pod target";
                faults.forbidden(&at.child("value"), message);
            }
        }
        "pods" => {
            identifier(source, path, faults);
            self::target(target, &at, faults);
            let positive = Amount::read(&target["averageValue"]).is_some_and(|amount| amount > Amount::ZERO);
            if !positive {
                faults.required(&at.child("averageValue"), "must specify a positive target averageValue");
            }
        }
        _ => resource(kind, source, path, faults),
    }
}

fn resource(kind: &str, source: &Value, path: &Path, faults: &mut Faults) {
    if text(source, "name").is_empty() {
        faults.required(&path.child("name"), "must specify a resource name");
    }
    if kind == "containerResource" && text(source, "container").is_empty() {
        faults.required(&path.child("container"), "must specify a container");
    }
    let (target, at) = (&source["target"], path.child("target"));
    self::target(target, &at, faults);
    match (given(target, "averageUtilization"), given(target, "averageValue")) {
        (false, false) => {
            let message = "must set either a target raw value or a target utilization";
            faults.required(&at.child("averageUtilization"), message);
        }
        (true, true) => {
            let message = "may not set both a target raw value and a target utilization";
            faults.forbidden(&at.child("averageValue"), message);
        }
        _ => {}
    }
}

fn identifier(source: &Value, path: &Path, faults: &mut Faults) {
    let name = text(&source["metric"], "name");
    let path = path.child("metric").child("name");
    if name.is_empty() {
        faults.required(&path, "must specify a metric name");
    } else {
        faults.words(&path, name, words::path_segment(name, false));
    }
}

fn target(target: &Value, path: &Path, faults: &mut Faults) {
    let kind = text(target, "type");
    if kind.is_empty() {
        faults.required(&path.child("type"), "must specify a metric target type");
    }
    if !matches!(kind, "Utilization" | "Value" | "AverageValue") {
        let message = "must be either Utilization, Value, or AverageValue";
        faults.invalid(&path.child("type"), kind, message);
    }
    for field in ["value", "averageValue"] {
        if let Some(amount) = Amount::read(&target[field]).filter(|amount| *amount <= Amount::ZERO) {
            faults.invalid(&path.child(field), amount.to_string(), "must be positive");
        }
    }
    if let Some(share) = int(target, "averageUtilization").filter(|share| *share < 1) {
        faults.invalid(&path.child("averageUtilization"), share, "must be greater than 0");
    }
}

fn behavior(rules: &Value, path: &Path, faults: &mut Faults) {
    if let Some(seconds) = int(rules, "stabilizationWindowSeconds") {
        let path = path.child("stabilizationWindowSeconds");
        if seconds < 0 {
            faults.invalid(&path, seconds, "must be greater than or equal to zero");
        }
        if seconds > WINDOW_SECONDS_MAX {
            faults.invalid(&path, seconds, &format!("must be less than or equal to {WINDOW_SECONDS_MAX}"));
        }
    }
    if given(rules, "selectPolicy") {
        let policy = text(rules, "selectPolicy");
        faults.one_of(&path.child("selectPolicy"), policy, &["Disabled", "Max", "Min"]);
    }
    let policies = list(rules, "policies");
    let path = path.child("policies");
    if policies.is_empty() {
        faults.required(&path, "must specify at least one Policy");
    }
    for (index, policy) in policies.iter().enumerate() {
        let path = path.index(index);
        faults.one_of(&path.child("type"), text(policy, "type"), &["Percent", "Pods"]);
        if number(policy, "value") <= 0 {
            faults.invalid(&path.child("value"), number(policy, "value"), "must be greater than zero");
        }
        let (seconds, path) = (number(policy, "periodSeconds"), path.child("periodSeconds"));
        if seconds <= 0 {
            faults.invalid(&path, seconds, "must be greater than zero");
        }
        if seconds > PERIOD_SECONDS_MAX {
            faults.invalid(&path, seconds, &format!("must be less than or equal to {PERIOD_SECONDS_MAX}"));
        }
    }
}

/// Counts in the status.
pub(super) fn validate_status(new: &Value, _old: &Value, faults: &mut Faults) {
    for field in ["currentReplicas", "desiredReplicas"] {
        faults.not_negative(&Path::new("status").child(field), int(&new["status"], field));
    }
}
