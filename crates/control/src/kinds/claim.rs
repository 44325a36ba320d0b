//! Persistent volume claims.

use serde_json::{Value, json};
use shoal_api::field::Path;

use super::amount::{self, Amount};
use super::faults::{Faults, NEGATIVE};
use super::look::{
    annotation, child, entries, given, list, remove, same, set, set_empty, set_missing, text, texts,
};
use super::meta::Names;
use super::{golang, selector};

/// How a volume can be used.
pub(crate) const ACCESS_MODES: [&str; 4] =
    ["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"];

/// What a volume looks like.
pub(crate) const VOLUME_MODES: [&str; 2] = ["Block", "Filesystem"];

/// Where the class of a claim was written in early days.
const OLD_CLASS: &str = "volume.beta.kubernetes.io/storage-class";

/// A claim.
pub(crate) fn default(claim: &mut Value) {
    if let Some(spec) = child(claim, "spec") {
        default_specification(spec);
    }
    if let Some(status) = child(claim, "status") {
        set_empty(status, "phase", "Pending");
    }
}

/// A claim's specification, of a claim or in a pod; what says where it comes from says so in both fields.
pub(crate) fn default_specification(spec: &mut Value) {
    set_missing(spec, "volumeMode", "Filesystem");
    remove(spec, "volumeAttributesClassName");
    if let Some(resources) = child(spec, "resources") {
        for list in ["requests", "limits"] {
            if let Some(amounts) = resources.get_mut(list) {
                amount::round(amounts);
            }
        }
    }
    let (source, reference) = (spec["dataSource"].clone(), spec["dataSourceRef"].clone());
    if let Some(reference) = spec.get_mut("dataSourceRef").filter(|reference| reference.is_object()) {
        remove(reference, "namespace");
    }
    match (source.is_null(), reference.is_null()) {
        (false, true) => set(spec, "dataSourceRef", source),
        (true, false) => {
            let (group, kind) = (text(&reference, "apiGroup"), text(&reference, "kind"));
            let snapshot = group == "snapshot.storage.k8s.io" && kind == "VolumeSnapshot";
            if snapshot || (group.is_empty() && kind == "PersistentVolumeClaim") {
                let copy = spec["dataSourceRef"].clone();
                set(spec, "dataSource", copy);
            }
        }
        _ => {}
    }
}

/// A claim waits to be bound.
pub(super) fn prepare_create(claim: &mut Value) {
    set(claim, "status", json!({"phase": "Pending"}));
}

/// A claim that is made.
pub(super) fn validate(claim: &Value, faults: &mut Faults) {
    specification(&claim["spec"], &Path::new("spec"), faults);
}

/// A claim's specification, of a claim or in a pod.
pub(crate) fn specification(spec: &Value, path: &Path, faults: &mut Faults) {
    let modes = texts(spec, "accessModes");
    if modes.is_empty() {
        faults.required(&path.child("accessModes"), "at least 1 access mode is required");
    }
    selector::validate(&spec["selector"], &path.child("selector"), faults);
    access_modes(&modes, path, faults);
    let at = path.child("resources").key("storage");
    match Amount::read(&spec["resources"]["requests"]["storage"]) {
        None => faults.required(&at, ""),
        Some(amount) if amount.is_negative() || amount.is_zero() => {
            faults.invalid(&at, amount.to_string(), "must be greater than zero");
        }
        Some(_) => {}
    }
    let class = text(spec, "storageClassName");
    if !class.is_empty() {
        faults.words(&path.child("storageClassName"), class, Names::Subdomain.check(class, false));
    }
    if let Some(mode) = spec["volumeMode"].as_str() {
        faults.one_of(&path.child("volumeMode"), mode, &VOLUME_MODES);
    }
    for field in ["dataSource", "dataSourceRef"] {
        if given(spec, field) {
            data_source(&spec[field], &path.child(field), faults);
        }
    }
    if given(spec, "dataSource") && given(spec, "dataSourceRef") {
        let differs = ["apiGroup", "kind", "name"]
            .iter()
            .any(|field| !same(&spec["dataSource"][field], &spec["dataSourceRef"][field]));
        if differs {
            let shown = path.child("dataSource").to_string();
            faults.invalid_shown(path, &shown, "must match dataSourceRef");
        }
    }
}

/// Known modes, and one that suffers no other.
pub(crate) fn access_modes(modes: &[&str], path: &Path, faults: &mut Faults) {
    let path = path.child("accessModes");
    for mode in modes {
        faults.one_of(&path, mode, &ACCESS_MODES);
    }
    let alone = "ReadWriteOncePod";
    if modes.contains(&alone) && modes.iter().any(|mode| *mode != alone && ACCESS_MODES.contains(mode)) {
        faults.forbidden(&path, "may not use ReadWriteOncePod with other access modes");
    }
}

fn data_source(source: &Value, path: &Path, faults: &mut Faults) {
    for field in ["name", "kind"] {
        if text(source, field).is_empty() {
            faults.required(&path.child(field), "");
        }
    }
    let group = text(source, "apiGroup");
    if group.is_empty() && text(source, "kind") != "PersistentVolumeClaim" {
        let message = "must be 'PersistentVolumeClaim' when referencing the default apiGroup";
        faults.invalid(path, text(source, "kind"), message);
    }
    if !group.is_empty() {
        faults.words(&path.child("apiGroup"), group, Names::Subdomain.check(group, false));
    }
}

/// A claim that is changed: its volume once, its size upwards.
pub(super) fn validate_update(new: &Value, old: &Value, faults: &mut Faults) {
    super::meta::validate(new, true, Names::Subdomain, &Path::new("metadata"), faults);
    validate(new, faults);
    let (after, before) = (annotation(new, OLD_CLASS), annotation(old, OLD_CLASS));
    if after != before {
        let path = Path::new("metadata.annotations").child(OLD_CLASS);
        faults.invalid(&path, after.unwrap_or_default(), "field is immutable");
    }
    let munged = munged(new, old);
    if !same(&munged, &old["spec"]) {
        let difference = golang::difference(&old["spec"], &munged);
        let message = format!(
            "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound \
             claims\n{difference}"
        );
        faults.forbidden(&Path::new("spec"), &message);
    }
    let size = |claim: &Value| {
        Amount::read(&claim["spec"]["resources"]["requests"]["storage"]).unwrap_or(Amount::ZERO)
    };
    let real = Amount::read(&old["status"]["capacity"]["storage"]).unwrap_or(Amount::ZERO);
    if size(new) < size(old) && size(new) <= real {
        let path = Path::new("spec.resources.requests.storage");
        faults.forbidden(&path, "field can not be less than status.capacity");
    }
    let (after, before) = (&new["spec"]["volumeMode"], &old["spec"]["volumeMode"]);
    faults.immutable(&Path::new("volumeMode"), after, before);
}

/// The new specification, with the old one's values wherever a change is allowed.
fn munged(new: &Value, old: &Value) -> Value {
    let (mut munged, before) = (new["spec"].clone(), &old["spec"]);
    if text(before, "volumeName").is_empty() {
        remove(&mut munged, "volumeName");
    }
    let class_added = !given(before, "storageClassName") && given(&munged, "storageClassName");
    let old_class = annotation(old, OLD_CLASS);
    if class_added && old_class.is_none_or(|class| text(&munged, "storageClassName") == class) {
        remove(&mut munged, "storageClassName");
    }
    let bound = text(&new["status"], "phase") == "Bound";
    let requests = munged.get_mut("resources").and_then(|resources| resources.get_mut("requests"));
    if let Some(requests) = requests.filter(|requests| bound && requests.is_object()) {
        set(requests, "storage", before["resources"]["requests"]["storage"].clone());
    }
    munged
}

/// What a claim has got.
pub(super) fn validate_status(new: &Value, _old: &Value, faults: &mut Faults) {
    if list(&new["spec"], "accessModes").is_empty() {
        faults.required(&Path::new("Spec.accessModes"), "");
    }
    for (name, value) in entries(&new["status"], "capacity") {
        if let Some(amount) = Amount::read(value).filter(|amount| amount.is_negative()) {
            let path = Path::new("status.capacity").key(name);
            faults.invalid(&path, amount.milli() / 1000, "must be a valid resource quantity");
        }
    }
    for (name, value) in entries(&new["status"], "allocatedResources") {
        if let Some(amount) = Amount::read(value).filter(|amount| amount.is_negative()) {
            let path = Path::new("status.allocatedResources").key(name);
            faults.invalid(&path, amount.to_string(), NEGATIVE);
        }
    }
}

/// Sizes that no disk has, and a way to name the class that is of old.
pub(super) fn warnings(new: &Value, _old: Option<&Value>) -> Vec<String> {
    let mut warnings = Vec::new();
    if annotation(new, OLD_CLASS).is_some() {
        warnings.push(format!(
            "metadata.annotations[{OLD_CLASS}]: deprecated since v1.8; use \"storageClassName\" attribute instead"
        ));
    }
    for list in ["requests", "limits"] {
        let amount = Amount::read(&new["spec"]["resources"][list]["storage"]);
        if let Some(amount) = amount.filter(|amount| !amount.is_whole()) {
            let shown = amount.to_string();
            warnings.push(format!(
                "spec.resources.{list}[storage]: fractional byte value {shown:?} is invalid, must be an integer"
            ));
        }
    }
    warnings
}
