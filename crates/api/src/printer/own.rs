//! What other servers print for a cluster, and our own kinds.

use serde_json::Value;

use super::text::{NONE, UNKNOWN, age, amount, items, name, number, text, text_or};
use crate::quantity::Quantity;

/// `NAME CPU MEMORY WINDOW`.
pub(super) fn node_metrics(object: &Value) -> Vec<Value> {
    let usage = &object["usage"];
    metrics(object, amount(&usage["cpu"]), amount(&usage["memory"]))
}

/// The same, summed over the containers.
pub(super) fn pod_metrics(object: &Value) -> Vec<Value> {
    let of = |resource: &str| {
        let mut amounts = items(&object["containers"])
            .iter()
            .map(|container| amount(&container["usage"][resource]).parse());
        let sum = amounts.try_fold(Quantity::ZERO, |sum, amount| amount.map(|amount| sum.plus(amount)));
        sum.map_or_else(|_| UNKNOWN.into(), |sum| sum.to_string())
    };
    metrics(object, of("cpu"), of("memory"))
}

fn metrics(object: &Value, cpu: String, memory: String) -> Vec<Value> {
    vec![name(object), cpu.into(), memory.into(), text(&object["window"]).into()]
}

/// `NAME COMPONENT READY URL AGE`.
pub(super) fn app(object: &Value, now: i64) -> Vec<Value> {
    let (spec, status) = (&object["spec"], &object["status"]);
    let desired = if status["replicas"].is_null() { &spec["replicas"] } else { &status["replicas"] };
    vec![
        name(object),
        text_or(&spec["component"], NONE).into(),
        format!("{}/{}", number(&status["readyReplicas"]), number(desired)).into(),
        text_or(&status["url"], NONE).into(),
        age(object, now),
    ]
}
