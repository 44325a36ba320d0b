//! What a pod is told of itself: `fieldRef` and `resourceFieldRef`.

use serde_json::Value;
use shoal_api::object;
use shoal_api::quantity::Quantity;

use crate::read::{items, text};

/// What the pod's object does not say.
#[derive(Clone, Debug, Default)]
pub(crate) struct Facts {
    /// The address of the node.
    pub(crate) host: String,
    /// The address of the pod.
    pub(crate) address: String,
    /// What a container without limits may use: all that the node has. `cpu` and `memory`.
    pub(crate) allocatable: Value,
}

/// What a `fieldRef` reads; none for a path that nobody knows.
pub(crate) fn field(pod: &Value, facts: &Facts, path: &str) -> Option<String> {
    if let Some(key) = keyed(path, "metadata.labels") {
        return Some(text(&pod["metadata"]["labels"][key]).into());
    }
    if let Some(key) = keyed(path, "metadata.annotations") {
        return Some(text(&pod["metadata"]["annotations"][key]).into());
    }
    Some(match path {
        "metadata.name" => object::name(pod).into(),
        "metadata.namespace" => object::namespace(pod).into(),
        "metadata.uid" => object::uid(pod).into(),
        "metadata.labels" => lines(&pod["metadata"]["labels"]),
        "metadata.annotations" => lines(&pod["metadata"]["annotations"]),
        "spec.nodeName" => text(&pod["spec"]["nodeName"]).into(),
        "spec.serviceAccountName" => text(&pod["spec"]["serviceAccountName"]).into(),
        "status.hostIP" | "status.hostIPs" => facts.host.clone(),
        "status.podIP" | "status.podIPs" => facts.address.clone(),
        _ => return None,
    })
}

/// What a `resourceFieldRef` reads, in units of its divisor and rounded up; none for a resource that nobody knows.
pub(crate) fn resource(container: &Value, facts: &Facts, reference: &Value) -> Option<String> {
    let (list, name) = text(&reference["resource"]).split_once('.')?;
    let of = |value: &Value| text(value).parse::<Quantity>().ok();
    let resources = &container["resources"];
    let amount = match list {
        "limits" => of(&resources["limits"][name]).or_else(|| of(&facts.allocatable[name])),
        "requests" => of(&resources["requests"][name]).or_else(|| of(&resources["limits"][name])),
        _ => return None,
    };
    let amount = amount.unwrap_or(Quantity::ZERO).nanos();
    let divisor = of(&reference["divisor"]).map(Quantity::nanos).filter(|nanos| *nanos > 0);
    let divisor = divisor.unwrap_or_else(|| Quantity::from_milli(1000).nanos());
    Some((amount.saturating_add(divisor - 1) / divisor).to_string())
}

/// `metadata.labels['KEY']`.
fn keyed<'a>(path: &'a str, field: &str) -> Option<&'a str> {
    path.strip_prefix(field)?.strip_prefix("['")?.strip_suffix("']")
}

/// `KEY="VALUE"` in lines, as downward volumes have them.
fn lines(map: &Value) -> String {
    let pairs = map.as_object().into_iter().flatten();
    let lines: Vec<String> = pairs.map(|(key, value)| format!("{key}={:?}", text(value))).collect();
    lines.join("\n")
}

/// The container of a `resourceFieldRef`: the one that it names, else `own`.
pub(crate) fn container_of<'a>(pod: &'a Value, reference: &Value, own: &'a Value) -> &'a Value {
    match text(&reference["containerName"]) {
        "" => own,
        name => items(&pod["spec"]["containers"]).find(|one| one["name"] == name).unwrap_or(own),
    }
}
