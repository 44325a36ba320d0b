//! A new node takes no pods until it is known to be ready.

use serde_json::{Value, json};
use shoal_api::Status;

use super::{Attributes, Operation, list_mut};
use crate::snapshot::{Snapshot, items};

pub(super) fn mutate(
    attributes: &Attributes<'_>,
    node: &mut Value,
    _: Option<&Value>,
    _: &dyn Snapshot,
) -> Result<Vec<String>, Status> {
    if attributes.is("", "nodes", &[Operation::Create]) {
        let taint = json!({"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"});
        let same = |known: &Value| known["key"] == taint["key"] && known["effect"] == taint["effect"];
        if !items(&node["spec"]["taints"]).any(same) {
            list_mut(&mut node["spec"], "taints").push(taint);
        }
    }
    Ok(Vec::new())
}
