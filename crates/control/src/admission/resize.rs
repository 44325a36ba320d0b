//! A claim grows only where its class can.

use serde_json::Value;
use shoal_api::{Status, object};

use super::{Attributes, Operation};
use crate::known::STORAGE_CLASS;
use crate::snapshot::Snapshot;
use crate::words::amount_of;

pub(super) fn validate(
    attributes: &Attributes<'_>,
    claim: &Value,
    old: Option<&Value>,
    world: &dyn Snapshot,
) -> Result<Vec<String>, Status> {
    let ours = attributes.is("", "persistentvolumeclaims", &[Operation::Update]);
    let Some(old) = old.filter(|_| ours) else { return Ok(Vec::new()) };
    let size = |claim: &Value| amount_of(&claim["spec"]["resources"]["requests"]["storage"]);
    if size(claim) <= size(old) {
        return Ok(Vec::new());
    }
    if old["status"]["phase"] != "Bound" {
        return Err(attributes.forbidden(claim, "Only bound persistent volume claims can be expanded"));
    }
    let class = object::annotation(claim, "volume.beta.kubernetes.io/storage-class")
        .or(claim["spec"]["storageClassName"].as_str())
        .filter(|class| !class.is_empty());
    let class = class.and_then(|class| world.get(&STORAGE_CLASS, "", class));
    if class.is_some_and(|class| class["allowVolumeExpansion"] == true) {
        return Ok(Vec::new());
    }
    let message = "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc \
                   must support resize";
    Err(attributes.forbidden(claim, message))
}
