//! Stateful sets.

use serde_json::Value;
use shoal_api::field::Path;

use crate::kinds::faults::Faults;
use crate::kinds::look::{child, given, int, items, number, same, set, set_empty, set_missing, text};
use crate::kinds::pod::defaults;
use crate::kinds::{claim, golang, meta, selector};

/// What of a stateful set can change.
const UPDATABLE: [&str; 6] = [
    "replicas",
    "ordinals",
    "template",
    "updateStrategy",
    "persistentVolumeClaimRetentionPolicy",
    "minReadySeconds",
];

/// A stateful set.
pub(crate) fn default(object: &mut Value) {
    let Some(spec) = child(object, "spec") else { return };
    defaults::template(spec, "template");
    set_empty(spec, "podManagementPolicy", "OrderedReady");
    if let Some(strategy) = child(spec, "updateStrategy") {
        set_empty(strategy, "type", "RollingUpdate");
        if text(strategy, "type") == "RollingUpdate"
            && let Some(rolling) = child(strategy, "rollingUpdate")
        {
            set_missing(rolling, "partition", 0);
        }
    }
    if let Some(policy) = child(spec, "persistentVolumeClaimRetentionPolicy") {
        set_empty(policy, "whenDeleted", "Retain");
        set_empty(policy, "whenScaled", "Retain");
    }
    set_missing(spec, "replicas", 1);
    set_missing(spec, "revisionHistoryLimit", 10);
    for template in items(spec, "volumeClaimTemplates") {
        set_empty(template, "apiVersion", "v1");
        set_empty(template, "kind", "PersistentVolumeClaim");
        claim::default(template);
    }
}

/// A stateful set that is made.
pub(crate) fn validate(object: &Value, faults: &mut Faults) {
    let (spec, path) = (&object["spec"], Path::new("spec"));
    policies(spec, &path, faults);
    faults.not_negative(&path.child("replicas"), int(spec, "replicas"));
    faults.not_negative(&path.child("minReadySeconds"), int(spec, "minReadySeconds"));
    let start = int(&spec["ordinals"], "start");
    faults.not_negative(&path.child("ordinals").child("start"), start);
    let chosen = &spec["selector"];
    let at = path.child("selector");
    if chosen.is_null() {
        faults.required(&at, "");
    } else {
        selector::validate(chosen, &at, faults);
        if selector::is_empty(chosen) {
            let shown = golang::selector(chosen);
            faults.invalid_shown(&at, &shown, "empty selector is invalid for statefulset");
        }
    }
    let at = path.child("template");
    if selector::is_usable(chosen) {
        labels(spec, &at, faults);
    } else {
        faults.invalid_shown(&path.child("selector"), &golang::selector(chosen), "");
    }
    restarts(&spec["template"]["spec"], &at.child("spec"), faults);
}

/// Labels of the template; the rest is checked on the pods, whose volumes the set adds.
fn labels(spec: &Value, path: &Path, faults: &mut Faults) {
    let metadata = &spec["template"]["metadata"];
    if selector::misses(&spec["selector"], &metadata["labels"]) {
        let shown = golang::map(&metadata["labels"]);
        let path = path.child("metadata").child("labels");
        faults.invalid_shown(&path, &shown, "`selector` does not match template `labels`");
    }
    meta::labels(&metadata["labels"], &path.child("labels"), faults);
    meta::annotations(&metadata["annotations"], &path.child("annotations"), faults);
}

fn restarts(spec: &Value, path: &Path, faults: &mut Faults) {
    faults.one_of(&path.child("restartPolicy"), text(spec, "restartPolicy"), &["Always"]);
    if given(spec, "activeDeadlineSeconds") {
        let message = "activeDeadlineSeconds in StatefulSet is not Supported";
        faults.forbidden(&path.child("activeDeadlineSeconds"), message);
    }
}

fn policies(spec: &Value, path: &Path, faults: &mut Faults) {
    let at = path.child("podManagementPolicy");
    match text(spec, "podManagementPolicy") {
        "" => faults.required(&at, ""),
        "OrderedReady" | "Parallel" => {}
        other => faults.invalid(&at, other, "must be 'OrderedReady' or 'Parallel'"),
    }
    let strategy = &spec["updateStrategy"];
    let at = path.child("updateStrategy");
    match text(strategy, "type") {
        "" => faults.required(&at, ""),
        "OnDelete" => {
            if given(strategy, "rollingUpdate") {
                let message = "only allowed for updateStrategy 'RollingUpdate'";
                faults.invalid(&at.child("rollingUpdate"), strategy["rollingUpdate"].clone(), message);
            }
        }
        "RollingUpdate" => {
            let partition = int(&strategy["rollingUpdate"], "partition");
            faults.not_negative(&at.child("rollingUpdate").child("partition"), partition);
        }
        _ => faults.invalid(&at, strategy.clone(), "must be 'RollingUpdate' or 'OnDelete'"),
    }
    let retention = &spec["persistentVolumeClaimRetentionPolicy"];
    let at = path.child("persistentVolumeClaimRetentionPolicy");
    for field in ["whenDeleted", "whenScaled"] {
        faults.one_of(&at.child(field), text(retention, field), &["Retain", "Delete"]);
    }
}

/// A stateful set that is changed: only some of it can be.
pub(crate) fn validate_update(new: &Value, old: &Value, faults: &mut Faults) {
    validate(new, faults);
    let mut munged = new["spec"].clone();
    for field in UPDATABLE {
        set(&mut munged, field, old["spec"][field].clone());
    }
    if !same(&munged, &old["spec"]) {
        let message = "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', \
                       'updateStrategy', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are \
                       forbidden";
        faults.forbidden(&Path::new("spec"), message);
    }
}

/// Counts in the status of a stateful set.
pub(crate) fn validate_status(new: &Value, old: &Value, faults: &mut Faults) {
    let (status, path) = (&new["status"], Path::new("status"));
    let counts = ["replicas", "readyReplicas", "currentReplicas", "updatedReplicas", "availableReplicas"];
    for field in counts {
        faults.not_negative(&path.child(field), int(status, field));
    }
    for field in ["observedGeneration", "collisionCount"] {
        faults.not_negative(&path.child(field), int(status, field));
    }
    let all = number(status, "replicas");
    for field in counts.into_iter().skip(1).filter(|field| number(status, field) > all) {
        let message = "cannot be greater than status.replicas";
        faults.invalid(&path.child(field), number(status, field), message);
    }
    if number(status, "availableReplicas") > number(status, "readyReplicas") {
        let message = "cannot be greater than status.readyReplicas";
        let path = path.child("availableReplicas");
        faults.invalid(&path, number(status, "availableReplicas"), message);
    }
    super::collisions_grow(new, old, faults);
}
