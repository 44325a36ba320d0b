//! What a runtime needs beside the containers, and on which nodes it is.

use std::sync::Arc;

use serde_json::{Value, json};
use shoal_api::Status;

use super::{Attributes, Operation, list_mut};
use crate::known::RUNTIME_CLASS;
use crate::snapshot::{Snapshot, items};
use crate::words::amounts;

pub(super) fn mutate(
    attributes: &Attributes<'_>,
    pod: &mut Value,
    _: Option<&Value>,
    world: &dyn Snapshot,
) -> Result<Vec<String>, Status> {
    if !attributes.is("", "pods", &[Operation::Create]) {
        return Ok(Vec::new());
    }
    let Some(class) = class(attributes, pod, world)? else { return Ok(Vec::new()) };
    if let Some(overhead) = class["overhead"].get("podFixed").filter(|fixed| !fixed.is_null()) {
        let given = &pod["spec"]["overhead"];
        if !given.is_null() && amounts(given) != amounts(overhead) {
            let message = "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead";
            return Err(attributes.forbidden(pod, message));
        }
        pod["spec"]["overhead"] = overhead.clone();
    }
    for (key, value) in class["scheduling"]["nodeSelector"].as_object().into_iter().flatten() {
        let given = &pod["spec"]["nodeSelector"][key];
        if !given.is_null() && given != value {
            let (value, given) = (value.as_str().unwrap_or_default(), given.as_str().unwrap_or_default());
            let message = format!(
                "conflict: runtimeClass.scheduling.nodeSelector[{key}] = {value}; pod.spec.nodeSelector[{key}] = \
                 {given}"
            );
            return Err(attributes.forbidden(pod, &message));
        }
        pod["spec"]["nodeSelector"][key] = json!(value);
    }
    for toleration in items(&class["scheduling"]["tolerations"]) {
        let tolerations = list_mut(&mut pod["spec"], "tolerations");
        if !tolerations.contains(toleration) {
            tolerations.push(toleration.clone());
        }
    }
    Ok(Vec::new())
}

pub(super) fn validate(
    attributes: &Attributes<'_>,
    pod: &Value,
    _: Option<&Value>,
    world: &dyn Snapshot,
) -> Result<Vec<String>, Status> {
    let given = amounts(&pod["spec"]["overhead"]);
    if !attributes.is("", "pods", &[Operation::Create]) || given.is_empty() {
        return Ok(Vec::new());
    }
    let class = class(attributes, pod, world)?;
    let overhead =
        class.map(|class| amounts(&class["overhead"]["podFixed"])).filter(|fixed| !fixed.is_empty());
    let message = match overhead {
        None => "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead",
        Some(overhead) if overhead != given => {
            "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead"
        }
        Some(_) => return Ok(Vec::new()),
    };
    Err(attributes.forbidden(pod, message))
}

fn class(
    attributes: &Attributes<'_>,
    pod: &Value,
    world: &dyn Snapshot,
) -> Result<Option<Arc<Value>>, Status> {
    let Some(name) = pod["spec"]["runtimeClassName"].as_str() else { return Ok(None) };
    let missing = || attributes.forbidden(pod, &format!("pod rejected: RuntimeClass {name:?} not found"));
    world.get(&RUNTIME_CLASS, "", name).ok_or_else(missing).map(Some)
}
