//! How many there are of something, and how many there should be: the `scale` of workloads.

use serde_json::{Value, json};
use shoal_api::GroupVersionKind;
use shoal_api::selector::label::Selector;

use super::look::{child, number, set};

/// The kinds that have a scale.
const SCALED: [(&str, &str); 4] =
    [("", "ReplicationController"), ("apps", "Deployment"), ("apps", "ReplicaSet"), ("apps", "StatefulSet")];

/// The `Scale` (`autoscaling/v1`) of a built-in workload; none for what has none.
pub fn scale(kind: &GroupVersionKind, object: &Value) -> Option<Value> {
    if !SCALED.contains(&(kind.group.as_str(), kind.kind.as_str())) {
        return None;
    }
    let chosen = &object["spec"]["selector"];
    let selector = if kind.group.is_empty() {
        Selector::from_map(chosen).to_string()
    } else {
        Selector::from_object(chosen).map(|selector| selector.to_string()).unwrap_or_default()
    };
    let mut meta = json!({});
    for field in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
        if !object["metadata"][field].is_null() {
            set(&mut meta, field, object["metadata"][field].clone());
        }
    }
    let mut spec = json!({});
    if number(&object["spec"], "replicas") != 0 {
        set(&mut spec, "replicas", object["spec"]["replicas"].clone());
    }
    let mut status = json!({"replicas": number(&object["status"], "replicas")});
    if !selector.is_empty() {
        set(&mut status, "selector", selector);
    }
    Some(
        json!({"kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": meta, "spec": spec, "status": status}),
    )
}

/// Gives a workload the number that its `Scale` asks for.
pub fn set_scale(object: &mut Value, scale: &Value) {
    if let Some(spec) = child(object, "spec") {
        set(spec, "replicas", number(&scale["spec"], "replicas"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scale_says_how_many_and_which() {
        let deployment = json!({
            "metadata": {"name": "web", "namespace": "default", "uid": "u", "labels": {"a": "b"}},
            "spec": {"replicas": 2, "selector": {"matchLabels": {"app": "web"}}}, "status": {"replicas": 3},
        });
        let mut expected = json!({
            "kind": "Scale", "apiVersion": "autoscaling/v1",
            "metadata": {"name": "web", "namespace": "default", "uid": "u"},
            "spec": {"replicas": 2}, "status": {"replicas": 3, "selector": "app=web"},
        });
        let kind = GroupVersionKind::new("apps", "v1", "Deployment");
        assert_eq!(scale(&kind, &deployment), Some(expected.clone()));
        assert_eq!(scale(&GroupVersionKind::new("", "v1", "Pod"), &deployment), None);
        expected["spec"] = json!({});
        let mut none = deployment;
        set_scale(&mut none, &expected);
        assert_eq!(none["spec"]["replicas"], json!(0), "what Go leaves out is nothing");
    }
}
