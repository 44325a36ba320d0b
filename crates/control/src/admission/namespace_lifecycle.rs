//! Nothing is made in a namespace that is not there or going, and some namespaces stay.

use serde_json::Value;
use shoal_api::Status;
use shoal_api::status::{Cause, Resource};

use super::{Attributes, Operation};
use crate::known::NAMESPACE;
use crate::snapshot::{Snapshot, is_deleted};

/// Namespaces that cannot be deleted.
const IMMORTAL: [&str; 3] = ["default", "kube-public", "kube-system"];

pub(super) fn admit(
    attributes: &Attributes<'_>,
    object: &mut Value,
    _: Option<&Value>,
    world: &dyn Snapshot,
) -> Result<Vec<String>, Status> {
    if attributes.is("", "namespaces", &[Operation::Delete]) && IMMORTAL.contains(&attributes.name) {
        return Err(attributes.forbidden(object, "this namespace may not be deleted"));
    }
    let of_namespace = !attributes.namespace.is_empty() && attributes.resource != "namespaces";
    let review =
        (attributes.group, attributes.resource) == ("authorization.k8s.io", "localsubjectaccessreviews");
    let writes = matches!(attributes.operation, Operation::Create | Operation::Update);
    if !of_namespace || review || !writes {
        return Ok(Vec::new());
    }
    let namespaces = Resource { group: "", name: "namespaces" };
    let Some(namespace) = world.get(&NAMESPACE, "", attributes.namespace) else {
        return Err(Status::not_found(namespaces, attributes.namespace));
    };
    let dying = is_deleted(&namespace) || namespace["status"]["phase"] == "Terminating";
    if attributes.operation == Operation::Create && dying {
        return Err(terminating(attributes, object));
    }
    Ok(Vec::new())
}

fn terminating(attributes: &Attributes<'_>, object: &Value) -> Status {
    let namespace = attributes.namespace;
    let message =
        format!("unable to create new content in namespace {namespace} because it is being terminated");
    let mut status = attributes.forbidden(object, &message);
    if let Some(details) = &mut status.details {
        details.causes.push(Cause {
            reason: "NamespaceTerminating".into(),
            message: format!("namespace {namespace} is being terminated"),
            field: "metadata.namespace".into(),
        });
    }
    status
}
