//! `binding`: a pod gets its node.

use serde_json::{Value, json};
use shoal_api::{GroupVersionKind, Status, object};

use crate::answer::Answer;
use crate::api::{Api, Request};
use crate::body::{self, Type};
use crate::registry::Served;
use crate::write::Writer;

/// Binds a pod to the node that a `Binding` names.
///
/// # Errors
/// 404, 409: the pod is bound or being deleted; 422: no node is named.
pub(super) async fn bind(api: &Api, served: &Served, request: &Request) -> Result<Answer, Status> {
    let options = request.write_options()?;
    let kind = GroupVersionKind::new("", "v1", "Binding");
    let binding = body::object(request, &kind, Type::of_kind(&kind), options.strictness)?.object;
    let said = object::name(&binding);
    if !said.is_empty() && said != request.target.name {
        return Err(Status::bad_request("name in URL does not match name in Binding object"));
    }
    let target = &binding["target"];
    let node = target["name"].as_str().unwrap_or_default();
    let target_kind = target["kind"].as_str().unwrap_or_default();
    if node.is_empty() || !["", "Node"].contains(&target_kind) {
        let path = shoal_api::field::Path::new("target");
        let error = if node.is_empty() {
            shoal_api::field::Error::required(&path.child("name"), "")
        } else {
            shoal_api::field::Error::not_supported(
                &path.child("kind"),
                &json!(target_kind),
                &["Node", "<empty>"],
            )
        };
        return Err(Status::invalid(&kind.group_kind(), said, &[error]));
    }
    let now = api.now();
    let write = Writer { api, served, request, options: &options, subresource: "binding", tracks: true };
    write.change(|old| bound(served, old, &binding, node, &now)).await?;
    Ok(super::done())
}

/// A pod that has its node.
///
/// # Errors
/// 409: it is another pod, has a node already, must not get one yet, or is being deleted.
pub(crate) fn bound(
    served: &Served,
    pod: &Value,
    binding: &Value,
    node: &str,
    now: &str,
) -> Result<Value, Status> {
    let name = object::name(pod);
    let conflict = |why: String| Err(Status::conflict(served.named(), name, &why));
    let uid = object::uid(binding);
    if !uid.is_empty() && uid != object::uid(pod) {
        return conflict(format!(
            "Precondition failed: UID in precondition: {uid}, UID in object meta: {}",
            object::uid(pod)
        ));
    }
    if object::deletion_timestamp(pod).is_some() {
        return conflict(format!("pod {name} is being deleted, cannot be assigned to a host"));
    }
    if let Some(at) = pod["spec"]["nodeName"].as_str().filter(|at| !at.is_empty()) {
        return conflict(format!("pod {name} is already assigned to node {at:?}"));
    }
    if pod["spec"]["schedulingGates"].as_array().is_some_and(|gates| !gates.is_empty()) {
        return conflict(format!("pod {name} has non-empty .spec.schedulingGates"));
    }
    let mut new = pod.clone();
    new["spec"]["nodeName"] = node.into();
    for part in ["annotations", "labels"] {
        for (key, value) in binding["metadata"][part].as_object().into_iter().flatten() {
            new["metadata"][part][key] = value.clone();
        }
    }
    let condition = json!({
        "type": "PodScheduled", "status": "True", "lastProbeTime": null, "lastTransitionTime": now,
    });
    let mut conditions = pod["status"]["conditions"].as_array().cloned().unwrap_or_default();
    conditions.retain(|known| known["type"] != "PodScheduled");
    conditions.push(condition);
    new["status"]["conditions"] = conditions.into();
    Ok(new)
}
