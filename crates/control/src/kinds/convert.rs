//! Two names for one thing: autoscalers of version 1 and 2, events of core and of `events.k8s.io`.

use serde_json::{Map, Value, json};
use shoal_api::GroupVersion;

use super::look::{child, entries, given, list, set, text};

/// Annotations that hold, in version 1 of an autoscaler, what it has no fields for.
const METRICS: &str = "autoscaling.alpha.kubernetes.io/metrics";
const CURRENT: &str = "autoscaling.alpha.kubernetes.io/current-metrics";
const CONDITIONS: &str = "autoscaling.alpha.kubernetes.io/conditions";
const BEHAVIOR: &str = "autoscaling.alpha.kubernetes.io/behavior";

/// Fields of events: as core names them, and as `events.k8s.io` does.
const EVENT: [(&str, &str); 7] = [
    ("involvedObject", "regarding"),
    ("message", "note"),
    ("source", "deprecatedSource"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
    ("reportingComponent", "reportingController"),
];

/// The same object in another version of its kind. What has no other version comes back as it is.
pub fn convert(object: &Value, to: &GroupVersion) -> Value {
    let from = text(object, "apiVersion");
    let target = to.to_string();
    if from == target {
        return object.clone();
    }
    let mut converted = match (text(object, "kind"), from, target.as_str()) {
        ("Event", "v1", "events.k8s.io/v1") => event(object, true),
        ("Event", "events.k8s.io/v1", "v1") => event(object, false),
        ("HorizontalPodAutoscaler", "autoscaling/v1", "autoscaling/v2") => to_second(object),
        ("HorizontalPodAutoscaler", "autoscaling/v2", "autoscaling/v1") => to_first(object),
        _ => return object.clone(),
    };
    set(&mut converted, "apiVersion", target);
    converted
}

fn event(object: &Value, modern: bool) -> Value {
    let renamed = object.as_object().into_iter().flatten().map(|(field, value)| {
        let other = EVENT.iter().find_map(|(core, new)| {
            let (from, to) = if modern { (core, new) } else { (new, core) };
            (from == field).then_some(*to)
        });
        (other.unwrap_or(field).to_owned(), value.clone())
    });
    Value::Object(renamed.collect())
}

fn to_second(object: &Value) -> Value {
    let mut second = object.clone();
    let mut kept: Map<String, Value> = Map::new();
    if let Some(meta) = second.get_mut("metadata") {
        for key in [METRICS, CURRENT, CONDITIONS, BEHAVIOR] {
            let annotation = meta.get_mut("annotations").and_then(Value::as_object_mut);
            let parsed = annotation
                .and_then(|annotations| annotations.remove(key))
                .and_then(|value| serde_json::from_str(value.as_str()?).ok());
            kept.extend(parsed.map(|value| (key.to_owned(), value)));
        }
        if meta["annotations"].as_object().is_some_and(Map::is_empty) {
            super::look::remove(meta, "annotations");
        }
    }
    let spec = &object["spec"];
    let mut metrics: Vec<Value> = Vec::new();
    if let Some(share) = spec["targetCPUUtilizationPercentage"].as_i64() {
        let target = json!({"type": "Utilization", "averageUtilization": share});
        metrics.push(json!({"type": "Resource", "resource": {"name": "cpu", "target": target}}));
    }
    metrics.extend(kept.get(METRICS).and_then(Value::as_array).into_iter().flatten().map(metric_up));
    if let Some(spec) = second.get_mut("spec") {
        super::look::remove(spec, "targetCPUUtilizationPercentage");
        if !metrics.is_empty() {
            set(spec, "metrics", metrics);
        }
        if let Some(behavior) = kept.get(BEHAVIOR) {
            set(spec, "behavior", behavior.clone());
        }
    }
    if let Some(status) = second.get_mut("status").filter(|status| status.is_object()) {
        super::look::remove(status, "currentCPUUtilizationPercentage");
        let current = kept.get(CURRENT).and_then(Value::as_array).into_iter().flatten().map(current_up);
        let mut current: Vec<Value> = current.collect();
        if let Some(share) = object["status"]["currentCPUUtilizationPercentage"].as_i64()
            && !current.iter().any(|metric| text(&metric["resource"], "name") == "cpu")
        {
            let now = json!({"averageUtilization": share});
            current.insert(0, json!({"type": "Resource", "resource": {"name": "cpu", "current": now}}));
        }
        if !current.is_empty() {
            set(status, "currentMetrics", current);
        }
        if let Some(conditions) = kept.get(CONDITIONS) {
            set(status, "conditions", conditions.clone());
        }
    }
    second
}

fn to_first(object: &Value) -> Value {
    let mut first = object.clone();
    let is_share_of_cpu = |metric: &Value| {
        text(&metric["resource"], "name") == "cpu"
            && given(&metric["resource"]["target"], "averageUtilization")
    };
    let metrics = list(&object["spec"], "metrics");
    let share = metrics.iter().position(is_share_of_cpu);
    let others: Vec<Value> = metrics
        .iter()
        .enumerate()
        .filter(|(at, _)| Some(*at) != share)
        .map(|(_, one)| metric_down(one))
        .collect();
    let mut kept: Vec<(&str, Value)> = Vec::new();
    if !others.is_empty() {
        kept.push((METRICS, Value::Array(others)));
    }
    if let Some(spec) = first.get_mut("spec") {
        if let Some(share) = share {
            let share = metrics[share]["resource"]["target"]["averageUtilization"].clone();
            set(spec, "targetCPUUtilizationPercentage", share);
        }
        if given(spec, "behavior") {
            kept.push((BEHAVIOR, spec["behavior"].clone()));
        }
        super::look::remove(spec, "metrics");
        super::look::remove(spec, "behavior");
    }
    if let Some(status) = first.get_mut("status").filter(|status| status.is_object()) {
        let current = list(&object["status"], "currentMetrics");
        let mut shares = current.iter().filter(|metric| text(&metric["resource"], "name") == "cpu");
        let share = shares.find_map(|metric| metric["resource"]["current"]["averageUtilization"].as_i64());
        if let Some(share) = share {
            set(status, "currentCPUUtilizationPercentage", share);
        }
        if !current.is_empty() {
            kept.push((CURRENT, current.iter().map(current_down).collect()));
        }
        if !list(&object["status"], "conditions").is_empty() {
            kept.push((CONDITIONS, status["conditions"].clone()));
        }
        super::look::remove(status, "currentMetrics");
        super::look::remove(status, "conditions");
    }
    if !kept.is_empty()
        && let Some(annotations) = child(&mut first, "metadata").and_then(|meta| child(meta, "annotations"))
    {
        for (key, value) in kept {
            set(annotations, key, value.to_string());
        }
    }
    first
}

/// Names of fields: in version 2, and in version 1.
type Pairs = &'static [(&'static str, &'static str)];

/// Where version 1 keeps what version 2 says of a metric: of the target, and of the metric itself.
fn names(kind: &str) -> (Pairs, Pairs) {
    match kind {
        "object" => {
            (&[("value", "targetValue"), ("averageValue", "averageValue")], &[("selector", "selector")])
        }
        "pods" => (&[("averageValue", "targetAverageValue")], &[("selector", "selector")]),
        "external" => (
            &[("value", "targetValue"), ("averageValue", "targetAverageValue")],
            &[("selector", "metricSelector")],
        ),
        _ => (
            &[("averageUtilization", "targetAverageUtilization"), ("averageValue", "targetAverageValue")],
            &[],
        ),
    }
}

fn metric_down(metric: &Value) -> Value {
    let mut down = json!({"type": metric["type"]});
    for (kind, source) in metric.as_object().into_iter().flatten().filter(|(_, value)| value.is_object()) {
        let (target_names, metric_names) = names(kind);
        let mut flat = json!({});
        for (new, old) in target_names.iter().filter(|(new, _)| given(&source["target"], new)) {
            set(&mut flat, old, source["target"][*new].clone());
        }
        for (new, old) in metric_names.iter().filter(|(new, _)| given(&source["metric"], new)) {
            set(&mut flat, old, source["metric"][*new].clone());
        }
        copy(source, &mut flat, &["name", "container"]);
        if given(&source["metric"], "name") {
            set(&mut flat, "metricName", source["metric"]["name"].clone());
        }
        if given(source, "describedObject") {
            set(&mut flat, "target", source["describedObject"].clone());
        }
        set(&mut down, kind, flat);
    }
    down
}

fn metric_up(metric: &Value) -> Value {
    let mut up = json!({"type": metric["type"]});
    for (kind, flat) in metric.as_object().into_iter().flatten().filter(|(_, value)| value.is_object()) {
        let (target_names, metric_names) = names(kind);
        let mut target = json!({});
        let mut source = json!({});
        for (new, old) in target_names.iter().filter(|(_, old)| given(flat, old)) {
            set(&mut target, new, flat[*old].clone());
            let sort = match *new {
                "averageUtilization" => "Utilization",
                "value" => "Value",
                _ => "AverageValue",
            };
            set(&mut target, "type", sort);
        }
        copy(flat, &mut source, &["name", "container"]);
        if given(flat, "metricName") {
            let mut identifier = json!({"name": flat["metricName"]});
            for (new, old) in metric_names.iter().filter(|(_, old)| given(flat, old)) {
                set(&mut identifier, new, flat[*old].clone());
            }
            set(&mut source, "metric", identifier);
        }
        if given(flat, "target") {
            set(&mut source, "describedObject", flat["target"].clone());
        }
        set(&mut source, "target", target);
        set(&mut up, kind, source);
    }
    up
}

fn copy(from: &Value, to: &mut Value, fields: &[&str]) {
    for field in fields.iter().filter(|field| given(from, field)) {
        set(to, field, from[*field].clone());
    }
}

fn current_down(metric: &Value) -> Value {
    let mut down = json!({"type": metric["type"]});
    for (kind, source) in metric.as_object().into_iter().flatten().filter(|(_, value)| value.is_object()) {
        let mut flat = json!({});
        for (field, value) in entries(source, "current") {
            let name = match field {
                "averageUtilization" => "currentAverageUtilization",
                "averageValue" => "currentAverageValue",
                _ => "currentValue",
            };
            set(&mut flat, name, value.clone());
        }
        copy(source, &mut flat, &["name", "container"]);
        if given(&source["metric"], "name") {
            set(&mut flat, "metricName", source["metric"]["name"].clone());
        }
        set(&mut down, kind, flat);
    }
    down
}

fn current_up(metric: &Value) -> Value {
    let mut up = json!({"type": metric["type"]});
    for (kind, flat) in metric.as_object().into_iter().flatten().filter(|(_, value)| value.is_object()) {
        let (mut current, mut source) = (json!({}), json!({}));
        let fields = [
            ("currentAverageUtilization", "averageUtilization"),
            ("currentAverageValue", "averageValue"),
            ("currentValue", "value"),
        ];
        for (old, new) in fields.iter().filter(|(old, _)| given(flat, old)) {
            set(&mut current, new, flat[*old].clone());
        }
        copy(flat, &mut source, &["name", "container"]);
        if given(flat, "metricName") {
            set(&mut source, "metric", json!({"name": flat["metricName"]}));
        }
        set(&mut source, "current", current);
        set(&mut up, kind, source);
    }
    up
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(text: &str) -> GroupVersion {
        text.parse().expect("a version")
    }

    #[test]
    fn an_autoscaler_survives_both_ways() {
        let second = json!({
            "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "a"},
            "spec": {"minReplicas": 1, "maxReplicas": 3, "behavior": {"scaleDown": {"selectPolicy": "Max"}}, "metrics": [
                {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}}},
                {"type": "Pods", "pods": {"metric": {"name": "rate"}, "target": {"type": "AverageValue", "averageValue": "10"}}},
            ]},
            "status": {"desiredReplicas": 1, "conditions": [{"type": "AbleToScale", "status": "True"}]},
        });
        let first = convert(&second, &version("autoscaling/v1"));
        assert_eq!(
            first["spec"],
            json!({"minReplicas": 1, "maxReplicas": 3, "targetCPUUtilizationPercentage": 50})
        );
        assert_eq!(
            first["metadata"]["annotations"][METRICS],
            json!(r#"[{"pods":{"metricName":"rate","targetAverageValue":"10"},"type":"Pods"}]"#)
        );
        assert_eq!(convert(&first, &version("autoscaling/v2")), second);
    }

    #[test]
    fn an_event_has_two_names_for_its_fields() {
        let core =
            json!({"apiVersion": "v1", "kind": "Event", "message": "m", "involvedObject": {"name": "p"}});
        let modern = convert(&core, &version("events.k8s.io/v1"));
        assert_eq!(modern["note"], json!("m"));
        assert_eq!(modern["regarding"], json!({"name": "p"}));
        assert_eq!(convert(&modern, &version("v1")), core);
    }
}
