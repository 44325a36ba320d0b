//! Pods: what they mean, what they may ask for, and the little of them that can change.

use serde_json::{Value, json};
use shoal_api::field::Path;

use super::faults::Faults;
use super::golang::difference;
use super::look::{annotation, entries, given, int, list, number, same, set, set_missing, text};
use super::{amount::Amount, meta, words};

pub(crate) mod containers;
pub(crate) mod defaults;
mod environment;
pub(crate) mod probes;
pub(crate) mod scheduling;
mod security;
pub(crate) mod specification;
mod volumes;
pub(crate) mod warnings;

/// Marks a pod that a node runs on its own.
pub(crate) const MIRROR: &str = "kubernetes.io/config.mirror";

/// How costly it is to delete this pod rather than another of its set.
pub(crate) const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";

/// What of a pod can change, as messages say it.
const UPDATABLE: &str = "`spec.containers[*].image`,`spec.initContainers[*].image`,\
`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),\
`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";

/// A pod begins without a past.
pub(super) fn prepare_create(pod: &mut Value) {
    let mut status = json!({"phase": "Pending", "qosClass": quality(&pod["spec"])});
    if !list(&pod["spec"], "schedulingGates").is_empty() {
        status["conditions"] = json!([{
            "type": "PodScheduled", "status": "False", "reason": "SchedulingGated",
            "message": "Scheduling is blocked due to non-empty scheduling gates",
            "lastProbeTime": null, "lastTransitionTime": null,
        }]);
    }
    set(pod, "status", status);
    let labels = pod["metadata"]["labels"].clone();
    if let Some(affinity) = pod.get_mut("spec").and_then(|spec| spec.get_mut("affinity")) {
        scheduling::own_labels(affinity, &labels);
    }
}

/// Who may change what: the quality of service never changes; a binding sets the node.
pub(super) fn prepare_update(subresource: &str, new: &mut Value, old: &Value) {
    match subresource {
        "status" => {
            if let Some(status) = new.get_mut("status").filter(|status| status.is_object()) {
                set_missing(status, "qosClass", old["status"]["qosClass"].clone());
            }
            if let Some(meta) = new.get_mut("metadata") {
                set(meta, "ownerReferences", old["metadata"]["ownerReferences"].clone());
                if meta["ownerReferences"].is_null() {
                    super::look::remove(meta, "ownerReferences");
                }
            }
        }
        "ephemeralcontainers" => {
            let added = new["spec"]["ephemeralContainers"].clone();
            let mut spec = old["spec"].clone();
            if !added.is_null() {
                set(&mut spec, "ephemeralContainers", added);
            }
            set(new, "spec", spec);
            set(new, "status", old["status"].clone());
        }
        _ => {}
    }
}

/// A pod that is made.
pub(super) fn validate(pod: &Value, faults: &mut Faults) {
    specification_and_annotations(pod, faults);
    let spec = &pod["spec"];
    let path = Path::new("spec");
    if !list(spec, "ephemeralContainers").is_empty() {
        faults.forbidden(&path.child("ephemeralContainers"), "cannot be set on create");
    }
    if !text(spec, "nodeName").is_empty() && !list(spec, "schedulingGates").is_empty() {
        let message = "cannot be set until all schedulingGates have been cleared";
        faults.forbidden(&path.child("nodeName"), message);
    }
}

fn specification_and_annotations(pod: &Value, faults: &mut Faults) {
    let spec = &pod["spec"];
    let path = Path::new("metadata").child("annotations");
    if let Some(value) = annotation(pod, MIRROR)
        && text(spec, "nodeName").is_empty()
    {
        let message = "must set spec.nodeName if mirror pod annotation is set";
        faults.invalid(&path.key(MIRROR), value, message);
    }
    if let Some(cost) = annotation(pod, DELETION_COST)
        && !is_deletion_cost(cost)
    {
        faults.invalid(&path.key(DELETION_COST), cost, "must be a 32bit integer");
    }
    let path = Path::new("spec");
    specification::validate(spec, text(&pod["metadata"], "name"), true, &path, faults);
    if text(spec, "serviceAccountName").is_empty() {
        tokens_need_an_account(spec, &path, faults);
    }
    for field in ["containers", "initContainers"] {
        for (index, container) in list(spec, field).iter().enumerate() {
            containers::padded_image(container, &path.child(field).index(index), faults);
        }
    }
}

fn is_deletion_cost(text: &str) -> bool {
    let plain = !text.starts_with('+') && (text == "0" || !text.starts_with('0'));
    plain && text.parse::<i32>().is_ok()
}

fn tokens_need_an_account(spec: &Value, path: &Path, faults: &mut Faults) {
    for (index, volume) in list(spec, "volumes").iter().enumerate() {
        for (at, source) in list(&volume["projected"], "sources").iter().enumerate() {
            if given(source, "serviceAccountToken") {
                let path = path.child("volumes").index(index).child("projected");
                let path = path.child("sources").index(at).child("serviceAccountToken");
                faults.forbidden(&path, "must not be specified when serviceAccountName is not set");
            }
        }
    }
}

/// A pod that is changed.
pub(super) fn validate_update(subresource: &str, new: &Value, old: &Value, faults: &mut Faults) {
    match subresource {
        "status" => status(new, old, faults),
        "ephemeralcontainers" => debugging(new, old, faults),
        _ => main(new, old, faults),
    }
}

fn main(new: &Value, old: &Value, faults: &mut Faults) {
    meta::validate(new, true, meta::Names::Subdomain, &Path::new("metadata"), faults);
    specification_and_annotations(new, faults);
    mirror_stays(new, old, faults);
    let path = Path::new("spec");
    let (new_spec, old_spec) = (&new["spec"], &old["spec"]);
    for field in ["containers", "initContainers"] {
        let path = path.child(field);
        if list(new_spec, field).len() != list(old_spec, field).len() {
            faults.forbidden(&path, "pod updates may not add or remove containers");
            return;
        }
        for (index, container) in list(new_spec, field).iter().enumerate() {
            if text(container, "image").is_empty() {
                faults.required(&path.index(index).child("image"), "");
            }
            containers::padded_image(container, &path.index(index), faults);
        }
    }
    if !deadline(new_spec, old_spec, &path.child("activeDeadlineSeconds"), faults) {
        return;
    }
    only_added_tolerations(new_spec, old_spec, &path.child("tolerations"), faults);
    only_removed_gates(new_spec, old_spec, &path.child("schedulingGates"), faults);
    let munged = munged(new_spec, old_spec);
    if !same(&munged, old_spec) {
        let difference = difference(old_spec, &munged);
        let message = format!("pod updates may not change fields other than {UPDATABLE}\n{difference}");
        faults.forbidden(&path, &message);
    }
}

/// The new specification, with the old one's values wherever a change is allowed.
fn munged(new: &Value, old: &Value) -> Value {
    let mut munged = new.clone();
    for field in ["containers", "initContainers"] {
        let images = list(old, field).iter().map(|container| container["image"].clone());
        for (container, image) in super::look::items(&mut munged, field).zip(images) {
            set(container, "image", image);
        }
    }
    for field in ["activeDeadlineSeconds", "schedulingGates", "tolerations"] {
        set(&mut munged, field, old[field].clone());
    }
    let grace = "terminationGracePeriodSeconds";
    if number(old, grace) < 0 && int(new, grace) == Some(1) {
        set(&mut munged, grace, old[grace].clone());
    }
    if !list(old, "schedulingGates").is_empty() && only_more_selective(new, old) {
        set(&mut munged, "nodeSelector", old["nodeSelector"].clone());
    }
    munged
}

/// A pod that waits at a gate may still be told where not to run.
fn only_more_selective(new: &Value, old: &Value) -> bool {
    entries(old, "nodeSelector").all(|(key, value)| new["nodeSelector"].get(key) == Some(value))
}

fn mirror_stays(new: &Value, old: &Value, faults: &mut Faults) {
    let path = Path::new("metadata").child("annotations").key(MIRROR);
    match (annotation(old, MIRROR), annotation(new, MIRROR)) {
        (Some(before), after) if after != Some(before) => {
            faults.forbidden(&path, "may not remove or update mirror pod annotation");
        }
        (None, Some(_)) => faults.forbidden(&path, "may not add mirror pod annotation"),
        _ => {}
    }
}

/// False when nothing more needs saying.
fn deadline(new: &Value, old: &Value, path: &Path, faults: &mut Faults) -> bool {
    let field = "activeDeadlineSeconds";
    match (int(new, field), int(old, field)) {
        (Some(after), _) if !(0..=i64::from(i32::MAX)).contains(&after) => {
            faults.invalid(path, after, &words::in_range(0, i64::from(i32::MAX)));
            false
        }
        (Some(after), Some(before)) if before < after => {
            faults.invalid(path, after, "must be less than or equal to previous value");
            false
        }
        (None, Some(_)) => {
            let message = "must not update from a positive integer to nil value";
            faults.invalid(path, "null", message);
            true
        }
        _ => true,
    }
}

fn only_added_tolerations(new: &Value, old: &Value, path: &Path, faults: &mut Faults) {
    let without_time = |toleration: &Value| {
        let mut toleration = toleration.clone();
        super::look::remove(&mut toleration, "tolerationSeconds");
        toleration
    };
    let kept: Vec<Value> = list(new, "tolerations").iter().map(without_time).collect();
    let lost = list(old, "tolerations").iter().any(|old| !kept.contains(&without_time(old)));
    if lost {
        let message = "existing toleration can not be modified except its tolerationSeconds";
        faults.forbidden(path, message);
    } else {
        scheduling::tolerations(list(new, "tolerations"), path, faults);
    }
}

fn only_removed_gates(new: &Value, old: &Value, path: &Path, faults: &mut Faults) {
    let known: Vec<&str> = list(old, "schedulingGates").iter().map(|gate| text(gate, "name")).collect();
    for (index, gate) in list(new, "schedulingGates").iter().enumerate() {
        let name = text(gate, "name");
        if !known.contains(&name) {
            let message = format!("only deletion is allowed, but found new scheduling gate '{name}'");
            faults.forbidden(&path.index(index).child("name"), &message);
        }
    }
}

fn status(new: &Value, old: &Value, faults: &mut Faults) {
    mirror_stays(new, old, faults);
    let path = Path::new("status");
    for (index, condition) in list(&new["status"], "conditions").iter().enumerate() {
        let kind = text(condition, "type");
        if !matches!(kind, "PodScheduled" | "Ready" | "Initialized") {
            let path = Path::new("metadata").child("conditions").index(index).child("Type");
            faults.words(&path, kind, words::qualified_name(kind));
        }
    }
    if text(&new["spec"], "nodeName") != text(&old["spec"], "nodeName") {
        faults.forbidden(&path.child("nodeName"), "may not be changed directly");
    }
    let nominated = text(&new["status"], "nominatedNodeName");
    if !nominated.is_empty() && nominated != text(&old["status"], "nominatedNodeName") {
        let messages = meta::Names::Subdomain.check(nominated, false);
        faults.words(&path.child("nominatedNodeName"), nominated, messages);
    }
    let (new_class, old_class) = (&new["status"]["qosClass"], &old["status"]["qosClass"]);
    faults.immutable(&path.child("qosClass"), new_class, old_class);
    let policy = text(&old["spec"], "restartPolicy");
    let lists = [
        ("containerStatuses", policy),
        ("initContainerStatuses", policy),
        ("ephemeralContainerStatuses", "Never"),
    ];
    for (field, policy) in lists {
        ended_stays_ended(new, old, field, policy, faults);
    }
    for (index, address) in list(&new["status"], "podIPs").iter().enumerate() {
        let ip = text(address, "ip");
        faults.words(&path.child("podIPs").index(index), ip, words::ip(ip));
    }
}

fn ended_stays_ended(new: &Value, old: &Value, field: &str, policy: &str, faults: &mut Faults) {
    if policy == "Always" {
        return;
    }
    let restarts = |name: &str| {
        let starting = list(&old["spec"], "initContainers").iter();
        field == "initContainerStatuses"
            && starting
                .filter(|one| text(one, "name") == name)
                .any(|one| text(one, "restartPolicy") == "Always")
    };
    for (index, before) in list(&old["status"], field).iter().enumerate() {
        let ended = &before["state"]["terminated"];
        let name = text(before, "name");
        let may_restart = policy == "OnFailure" && number(ended, "exitCode") != 0;
        if ended.is_null() || may_restart || restarts(name) {
            continue;
        }
        let after = list(&new["status"], field).iter().find(|one| text(one, "name") == name);
        if after.is_some_and(|after| !given(&after["state"], "terminated")) {
            let path = Path::new("status").child(field).index(index).child("state");
            faults.forbidden(&path, "may not be transitioned to non-terminated state");
        }
    }
}

fn debugging(new: &Value, old: &Value, faults: &mut Faults) {
    if annotation(old, MIRROR).is_some() {
        faults.forbidden(&Path::root(), "static pods do not support ephemeral containers");
        return;
    }
    meta::validate(new, true, meta::Names::Subdomain, &Path::new("metadata"), faults);
    specification_and_annotations(new, faults);
    let path = Path::new("spec.ephemeralContainers");
    for before in list(&old["spec"], "ephemeralContainers") {
        let name = text(before, "name");
        let mut after = list(&new["spec"], "ephemeralContainers").iter();
        match after.find(|one| text(one, "name") == name) {
            None => {
                let message = format!("existing ephemeral containers {name:?} may not be removed\n");
                faults.forbidden(&path, &message);
            }
            Some(after) if !same(after, before) => {
                let difference = difference(before, after);
                let message =
                    format!("existing ephemeral containers {name:?} may not be changed\n{difference}");
                faults.forbidden(&path, &message);
            }
            Some(_) => {}
        }
    }
}

/// What is surely not meant, of a new pod or one whose specification changed.
pub(super) fn warnings_of(new: &Value, old: Option<&Value>) -> Vec<String> {
    if old.is_some_and(|old| same(&old["spec"], &new["spec"])) {
        return Vec::new();
    }
    warnings::of(new, &Path::root())
}

/// A `Binding`: a pod's node.
pub(super) fn validate_binding(binding: &Value, faults: &mut Faults) {
    let target = &binding["target"];
    if !matches!(text(target, "kind"), "" | "Node") {
        faults.not_supported(&Path::new("target.kind"), text(target, "kind"), &["Node", "<empty>"]);
    }
    if text(target, "name").is_empty() {
        faults.required(&Path::new("target.name"), "");
    }
}

/// Calls `visit` for each container of a specification, with its path: those that start it, its own, those that debug it.
pub(crate) fn each_container<'a>(spec: &'a Value, path: &Path, mut visit: impl FnMut(&'a Value, &Path)) {
    for field in defaults::CONTAINER_LISTS {
        for (index, container) in list(spec, field).iter().enumerate() {
            visit(container, &path.child(field).index(index));
        }
    }
}

/// `Guaranteed`, `Burstable` or `BestEffort`: who goes first when a node runs short.
pub(crate) fn quality(spec: &Value) -> &'static str {
    let lists = ["containers", "initContainers"];
    let containers: Vec<&Value> = lists.iter().flat_map(|field| list(spec, field)).collect();
    let amounts = |container: &Value, kind: &str| -> Vec<(String, Amount)> {
        let found = entries(&container["resources"], kind)
            .filter(|(name, _)| matches!(*name, "cpu" | "memory"))
            .filter_map(|(name, value)| Some((name.to_owned(), Amount::read(value)?)));
        found.filter(|(_, amount)| !amount.is_zero() && !amount.is_negative()).collect()
    };
    let any = containers
        .iter()
        .any(|one| !amounts(one, "requests").is_empty() || !amounts(one, "limits").is_empty());
    if !any {
        return "BestEffort";
    }
    let guaranteed = containers.iter().all(|one| {
        let (requests, limits) = (amounts(one, "requests"), amounts(one, "limits"));
        limits.len() == 2 && requests.iter().all(|request| limits.contains(request))
    });
    if guaranteed { "Guaranteed" } else { "Burstable" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quality_follows_requests_and_limits() {
        let pod = |resources: Value| json!({"containers": [{"name": "c", "resources": resources}]});
        let both = json!({"cpu": "1", "memory": "1Gi"});
        for (resources, expected) in [
            (json!({}), "BestEffort"),
            (json!({"requests": {"cpu": "0"}}), "BestEffort"),
            (json!({"requests": {"cpu": "1"}}), "Burstable"),
            (json!({"limits": both, "requests": both}), "Guaranteed"),
            (json!({"limits": both, "requests": {"cpu": "500m", "memory": "1Gi"}}), "Burstable"),
            (json!({"limits": {"cpu": "1"}}), "Burstable"),
        ] {
            assert_eq!(quality(&pod(resources.clone())), expected, "{resources}");
        }
    }

    #[test]
    fn deletion_costs_are_numbers() {
        for (text, fine) in [("0", true), ("-10", true), ("+1", false), ("007", false), ("x", false)] {
            assert_eq!(is_deletion_cost(text), fine, "{text}");
        }
    }
}
