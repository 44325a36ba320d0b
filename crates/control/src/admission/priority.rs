//! Priority classes: a pod's class becomes its number, and only one class is the default.

use std::sync::Arc;

use serde_json::{Value, json};
use shoal_api::{Status, object};

use super::{Attributes, Operation};
use crate::known::PRIORITY_CLASS;
use crate::snapshot::{Snapshot, text};

const PREEMPTS: &str = "PreemptLowerPriority";

pub(super) fn mutate(
    attributes: &Attributes<'_>,
    pod: &mut Value,
    old: Option<&Value>,
    world: &dyn Snapshot,
) -> Result<Vec<String>, Status> {
    if !attributes.is("", "pods", &[Operation::Create, Operation::Update]) {
        return Ok(Vec::new());
    }
    if let Some(old) = old.filter(|_| attributes.operation == Operation::Update) {
        // What was decided stays when an old client leaves it out.
        for field in ["priority", "preemptionPolicy"] {
            if pod["spec"][field].is_null() && !old["spec"][field].is_null() {
                pod["spec"][field] = old["spec"][field].clone();
            }
        }
        return Ok(Vec::new());
    }
    let (priority, policy) = decide(attributes, pod, world)?;
    let given = pod["spec"]["priority"].as_i64();
    if let Some(given) = given.filter(|given| *given != priority) {
        let message = format!(
            "the integer value of priority ({given}) must not be provided in pod spec; priority admission \
             controller computed {priority} from the given PriorityClass name"
        );
        return Err(attributes.forbidden(pod, &message));
    }
    let given = pod["spec"]["preemptionPolicy"].as_str();
    if let Some(given) = given.filter(|given| *given != policy) {
        let message = format!(
            "the string value of PreemptionPolicy ({given}) must not be provided in pod spec; priority admission \
             controller computed {policy} from the given PriorityClass name"
        );
        return Err(attributes.forbidden(pod, &message));
    }
    pod["spec"]["priority"] = json!(priority);
    pod["spec"]["preemptionPolicy"] = json!(policy);
    Ok(Vec::new())
}

pub(super) fn validate(
    attributes: &Attributes<'_>,
    class: &Value,
    _: Option<&Value>,
    world: &dyn Snapshot,
) -> Result<Vec<String>, Status> {
    let ours = attributes.is("scheduling.k8s.io", "priorityclasses", &[Operation::Create, Operation::Update]);
    if !ours || class["globalDefault"] != true {
        return Ok(Vec::new());
    }
    let other = default(world).filter(|other| object::name(other) != object::name(class));
    other.map_or(Ok(Vec::new()), |other| {
        let name = object::name(&other);
        let message =
            format!("PriorityClass {name} is already marked as default. Only one default can exist");
        Err(attributes.forbidden(class, &message))
    })
}

/// Priority and preemption policy of a pod; names its class where it is the default.
fn decide(
    attributes: &Attributes<'_>,
    pod: &mut Value,
    world: &dyn Snapshot,
) -> Result<(i64, String), Status> {
    let name = text(&pod["spec"]["priorityClassName"]).to_string();
    let class = if name.is_empty() {
        default(world)
    } else {
        let class = world.get(&PRIORITY_CLASS, "", &name);
        let missing = || attributes.forbidden(pod, &format!("no PriorityClass with name {name} was found"));
        Some(class.ok_or_else(missing)?)
    };
    let Some(class) = class else { return Ok((0, PREEMPTS.into())) };
    pod["spec"]["priorityClassName"] = json!(object::name(&class));
    let policy = class["preemptionPolicy"].as_str().unwrap_or(PREEMPTS);
    Ok((class["value"].as_i64().unwrap_or_default(), policy.into()))
}

/// The class of pods that name none; the least important one should there be several.
fn default(world: &dyn Snapshot) -> Option<Arc<Value>> {
    let all = world.list(&PRIORITY_CLASS, None).into_iter();
    let defaults = all.filter(|class| class["globalDefault"] == true);
    defaults.min_by_key(|class| class["value"].as_i64().unwrap_or_default())
}
