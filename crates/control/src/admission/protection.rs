//! Volumes and claims that are in use are not lost: a finalizer holds them.

use serde_json::{Value, json};
use shoal_api::{Status, object};

use super::{Attributes, Operation};
use crate::snapshot::Snapshot;

/// What holds a volume.
pub(crate) const VOLUME_FINALIZER: &str = "kubernetes.io/pv-protection";
/// What holds a claim.
pub(crate) const CLAIM_FINALIZER: &str = "kubernetes.io/pvc-protection";

pub(super) fn mutate(
    attributes: &Attributes<'_>,
    object: &mut Value,
    _: Option<&Value>,
    _: &dyn Snapshot,
) -> Result<Vec<String>, Status> {
    let finalizer = match attributes.resource {
        "persistentvolumes" => VOLUME_FINALIZER,
        "persistentvolumeclaims" => CLAIM_FINALIZER,
        _ => return Ok(Vec::new()),
    };
    let ours = attributes.is("", attributes.resource, &[Operation::Create]);
    if ours && !object::finalizers(object).any(|held| held == finalizer) {
        let finalizers: Vec<String> =
            object::finalizers(object).chain([finalizer]).map(String::from).collect();
        object::metadata_mut(object).insert("finalizers".into(), json!(finalizers));
    }
    Ok(Vec::new())
}
