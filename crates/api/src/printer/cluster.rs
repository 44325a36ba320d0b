//! Nodes, namespaces, events, and small things.

use std::collections::BTreeSet;

use serde_json::Value;

use super::text::{
    NONE, UNKNOWN, age, amount, condition, count, is_true, items, name, number, since, text, text_or,
};

/// When an object without a time was made, as Go writes its zero time.
const NO_TIME: &str = "0001-01-01T00:00:00Z";

/// `NAME CREATED-AT`, of any kind that has no columns of its own.
pub(super) fn any(object: &Value) -> Vec<Value> {
    vec![name(object), text_or(&object["metadata"]["creationTimestamp"], NO_TIME).into()]
}

/// `NAME, how many, AGE`.
pub(super) fn counted(object: &Value, list: &Value, now: i64) -> Vec<Value> {
    vec![name(object), count(list).into(), age(object, now)]
}

/// `NAME DATA AGE`.
pub(super) fn config_map(object: &Value, now: i64) -> Vec<Value> {
    let entries = count(&object["data"]) + count(&object["binaryData"]);
    vec![name(object), entries.into(), age(object, now)]
}

/// `NAME TYPE DATA AGE`.
pub(super) fn secret(object: &Value, now: i64) -> Vec<Value> {
    vec![name(object), text(&object["type"]).into(), count(&object["data"]).into(), age(object, now)]
}

/// `NAME STATUS AGE`.
pub(super) fn namespace(object: &Value, now: i64) -> Vec<Value> {
    vec![name(object), text(&object["status"]["phase"]).into(), age(object, now)]
}

/// `NAME STATUS ROLES AGE VERSION INTERNAL-IP EXTERNAL-IP OS-IMAGE KERNEL-VERSION CONTAINER-RUNTIME`.
pub(super) fn node(object: &Value, now: i64) -> Vec<Value> {
    let status = &object["status"];
    let mut state = match condition(&status["conditions"], "Ready") {
        None => "Unknown".to_owned(),
        Some(ready) if ready["status"] == "True" => "Ready".into(),
        Some(_) => "NotReady".into(),
    };
    if object["spec"]["unschedulable"] == true {
        state.push_str(",SchedulingDisabled");
    }
    let info = &status["nodeInfo"];
    let address = |ty: &str| {
        let found = items(&status["addresses"]).iter().find(|address| address["type"] == ty);
        found.map_or(NONE, |address| text(&address["address"]))
    };
    vec![
        name(object),
        state.into(),
        roles(object).into(),
        age(object, now),
        text(&info["kubeletVersion"]).into(),
        address("InternalIP").into(),
        address("ExternalIP").into(),
        text_or(&info["osImage"], UNKNOWN).into(),
        text_or(&info["kernelVersion"], UNKNOWN).into(),
        text_or(&info["containerRuntimeVersion"], UNKNOWN).into(),
    ]
}

fn roles(node: &Value) -> String {
    let labels = node["metadata"]["labels"].as_object();
    let roles: BTreeSet<&str> = labels
        .into_iter()
        .flatten()
        .filter_map(|(key, value)| match key.strip_prefix("node-role.kubernetes.io/") {
            Some(role) => Some(role),
            None if key == "kubernetes.io/role" => value.as_str(),
            None => None,
        })
        .filter(|role| !role.is_empty())
        .collect();
    if roles.is_empty() { NONE.into() } else { roles.into_iter().collect::<Vec<_>>().join(",") }
}

/// `LAST-SEEN TYPE REASON OBJECT SUBOBJECT SOURCE MESSAGE FIRST-SEEN COUNT NAME`, of both groups that have events.
pub(super) fn event(object: &Value, now: i64) -> Vec<Value> {
    let either = |one: &str, other: &str| if object[one].is_null() { &object[other] } else { &object[one] };
    let first = match either("firstTimestamp", "deprecatedFirstTimestamp") {
        Value::Null => since(&object["eventTime"], now),
        time => since(time, now),
    };
    let mut last = match either("lastTimestamp", "deprecatedLastTimestamp") {
        Value::Null => first.clone(),
        time => since(time, now),
    };
    let mut times = match number(either("count", "deprecatedCount")) {
        0 => 1,
        times => times,
    };
    let series = &object["series"];
    if series.is_object() {
        last = since(&series["lastObservedTime"], now);
        times = number(&series["count"]);
    }
    let about = either("involvedObject", "regarding");
    let kind = text(&about["kind"]).to_lowercase();
    let target = match text(&about["name"]) {
        "" => kind,
        name => format!("{kind}/{name}"),
    };
    let source = either("source", "deprecatedSource");
    let component = text_or(&source["component"], text(either("reportingComponent", "reportingController")));
    let source = match text_or(&source["host"], text(&object["reportingInstance"])) {
        "" => component.to_owned(),
        instance => format!("{component}, {instance}"),
    };
    vec![
        last.into(),
        text(&object["type"]).into(),
        text(&object["reason"]).into(),
        target.into(),
        text(&about["fieldPath"]).into(),
        source.into(),
        text(either("message", "note")).trim().into(),
        first.into(),
        times.into(),
        name(object),
    ]
}

/// `NAME REQUEST LIMIT AGE`.
pub(super) fn resource_quota(object: &Value, now: i64) -> Vec<Value> {
    let status = &object["status"];
    let (mut requests, mut limits) = (Vec::new(), Vec::new());
    for (resource, hard) in status["hard"].as_object().into_iter().flatten() {
        let column = if resource.starts_with("limits.") { &mut limits } else { &mut requests };
        column.push(format!("{resource}: {}/{}", amount(&status["used"][resource]), amount(hard)));
    }
    vec![name(object), requests.join(", ").into(), limits.join(", ").into(), age(object, now)]
}

/// `NAME STATUS MESSAGE ERROR`.
pub(super) fn component_status(object: &Value) -> Vec<Value> {
    let conditions = &object["conditions"];
    let healthy = condition(conditions, "Healthy").unwrap_or(&Value::Null);
    let state = match healthy {
        Value::Null => "Unknown",
        _ if is_true(conditions, "Healthy") => "Healthy",
        _ => "Unhealthy",
    };
    vec![name(object), state.into(), text(&healthy["message"]).into(), text(&healthy["error"]).into()]
}

/// `NAME HOLDER AGE`.
pub(super) fn lease(object: &Value, now: i64) -> Vec<Value> {
    vec![name(object), text(&object["spec"]["holderIdentity"]).into(), age(object, now)]
}

/// `NAME VALUE GLOBAL-DEFAULT AGE PREEMPTIONPOLICY`.
pub(super) fn priority_class(object: &Value, now: i64) -> Vec<Value> {
    vec![
        name(object),
        number(&object["value"]).into(),
        (object["globalDefault"] == true).into(),
        age(object, now),
        text(&object["preemptionPolicy"]).into(),
    ]
}

/// `NAME HANDLER AGE`.
pub(super) fn runtime_class(object: &Value, now: i64) -> Vec<Value> {
    vec![name(object), text(&object["handler"]).into(), age(object, now)]
}
