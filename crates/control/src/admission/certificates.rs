//! Who may decide about certificates, and which may not be asked for.

use serde_json::Value;
use shoal_api::Status;

use super::{Attributes, Operation};
use crate::certificates::{Asked, CLIENT, condition, may};
use crate::snapshot::{Snapshot, text};

const GROUP: &str = "certificates.k8s.io";

const RESOURCE: &str = "certificatesigningrequests";

/// A request says who made it, so that whoever approves it can go by that: never what the client wrote there.
pub(super) fn requester(
    attributes: &Attributes<'_>,
    request: &mut Value,
    _: Option<&Value>,
    _: &dyn Snapshot,
) -> Result<Vec<String>, Status> {
    if !attributes.is(GROUP, RESOURCE, &[Operation::Create]) {
        return Ok(Vec::new());
    }
    let user = attributes.user.to_value();
    let Some(spec) = request["spec"].as_object_mut() else { return Ok(Vec::new()) };
    for field in ["username", "uid", "groups", "extra"] {
        match user.get(field) {
            Some(value) => spec.insert(field.into(), value.clone()),
            None => spec.remove(field),
        };
    }
    Ok(Vec::new())
}

pub(super) fn approval(
    attributes: &Attributes<'_>,
    request: &Value,
    old: Option<&Value>,
    _: &dyn Snapshot,
) -> Result<Vec<String>, Status> {
    if attributes.is_part(GROUP, RESOURCE, "approval", &[Operation::Update]) {
        let signer = text(&old.unwrap_or(request)["spec"]["signerName"]);
        if !may(attributes.authorizer, attributes.user, "approve", signer) {
            let message = format!("user not permitted to approve requests with signerName {signer:?}");
            return Err(attributes.forbidden(request, &message));
        }
    }
    Ok(Vec::new())
}

pub(super) fn signing(
    attributes: &Attributes<'_>,
    request: &Value,
    old: Option<&Value>,
    _: &dyn Snapshot,
) -> Result<Vec<String>, Status> {
    let Some(old) = old.filter(|_| attributes.is_part(GROUP, RESOURCE, "status", &[Operation::Update]))
    else {
        return Ok(Vec::new());
    };
    let same = old["status"]["certificate"] == request["status"]["certificate"]
        && condition(old, "Failed") == condition(request, "Failed");
    let signer = text(&old["spec"]["signerName"]);
    if same || may(attributes.authorizer, attributes.user, "sign", signer) {
        return Ok(Vec::new());
    }
    let message = format!("user not permitted to sign requests with signerName {signer:?}");
    Err(attributes.forbidden(request, &message))
}

pub(super) fn subject(
    attributes: &Attributes<'_>,
    request: &Value,
    _: Option<&Value>,
    _: &dyn Snapshot,
) -> Result<Vec<String>, Status> {
    let ours =
        attributes.is(GROUP, RESOURCE, &[Operation::Create]) && request["spec"]["signerName"] == CLIENT;
    if !ours {
        return Ok(Vec::new());
    }
    let Some(asked) = Asked::of(request) else {
        return Err(attributes.forbidden(request, "unable to parse csr"));
    };
    if asked.organizations.iter().any(|organization| organization == "system:masters") {
        let message = format!("use of {CLIENT} signer with system:masters group is not allowed");
        return Err(attributes.forbidden(request, &message));
    }
    Ok(Vec::new())
}
