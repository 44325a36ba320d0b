//! Who makes an object an owner must be able to delete what it owns, and to hold the owner back.

use serde_json::Value;
use shoal_api::{GroupVersion, Status, object};

use super::{Attributes, Operation};
use crate::rbac;
use crate::snapshot::{Snapshot, text};

pub(super) fn validate(
    attributes: &Attributes<'_>,
    object: &Value,
    old: Option<&Value>,
    world: &dyn Snapshot,
) -> Result<Vec<String>, Status> {
    let writes = matches!(attributes.operation, Operation::Create | Operation::Update);
    let nothing = Value::Null;
    let old = old.unwrap_or(&nothing);
    if !writes || object["metadata"]["ownerReferences"] == old["metadata"]["ownerReferences"] {
        return Ok(Vec::new());
    }
    let deletes = rbac::Attributes {
        verb: "delete",
        group: attributes.group,
        version: "*",
        resource: attributes.resource,
        subresource: attributes.subresource,
        namespace: attributes.namespace,
        name: object::name(object),
        ..rbac::Attributes::default()
    };
    if attributes.operation == Operation::Update && !attributes.authorizer.allows(attributes.user, &deletes) {
        let message = "cannot set an ownerRef on a resource you can't delete: , <nil>";
        return Err(attributes.forbidden(object, message));
    }
    let was_blocking = |owner: &Value| {
        object::owners(old).any(|known| known["uid"] == owner["uid"] && known["blockOwnerDeletion"] == true)
    };
    for owner in object::owners(object).filter(|owner| owner["blockOwnerDeletion"] == true) {
        if !was_blocking(owner) && !may_hold(attributes, owner, world) {
            let message = "cannot set blockOwnerDeletion if an ownerReference refers to a resource you can't set \
                           finalizers on: , <nil>";
            return Err(attributes.forbidden(object, message));
        }
    }
    Ok(Vec::new())
}

fn may_hold(attributes: &Attributes<'_>, owner: &Value, world: &dyn Snapshot) -> bool {
    let Ok(version) = text(&owner["apiVersion"]).parse::<GroupVersion>() else { return false };
    // A kind that nobody knows can have no finalizers.
    let Some(resource) = world.resource(text(&owner["apiVersion"]), text(&owner["kind"])) else {
        return false;
    };
    let access = rbac::Attributes {
        verb: "update",
        group: &version.group,
        version: &version.version,
        resource: &resource.plural,
        subresource: "finalizers",
        namespace: if resource.namespaced { attributes.namespace } else { "" },
        name: text(&owner["name"]),
        ..rbac::Attributes::default()
    };
    attributes.authorizer.allows(attributes.user, &access)
}
