//! Pods stay on a node that cannot be reached for five minutes, unless they say otherwise.

use serde_json::{Value, json};
use shoal_api::Status;

use super::{Attributes, Operation, list_mut};
use crate::snapshot::{Snapshot, items, text};

const SECONDS: u32 = 300;

const KEYS: [&str; 2] = ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"];

pub(super) fn mutate(
    attributes: &Attributes<'_>,
    pod: &mut Value,
    _: Option<&Value>,
    _: &dyn Snapshot,
) -> Result<Vec<String>, Status> {
    if !attributes.is("", "pods", &[Operation::Create, Operation::Update]) {
        return Ok(Vec::new());
    }
    for key in KEYS {
        let tolerated = |toleration: &Value| {
            (text(&toleration["key"]).is_empty() || toleration["key"] == key)
                && matches!(text(&toleration["effect"]), "" | "NoExecute")
        };
        if !items(&pod["spec"]["tolerations"]).any(tolerated) {
            list_mut(&mut pod["spec"], "tolerations").push(json!({
                "key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": SECONDS,
            }));
        }
    }
    Ok(Vec::new())
}
