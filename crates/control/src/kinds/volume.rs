//! Persistent volumes.

use serde_json::Value;
use shoal_api::field::Path;

use super::amount::{self, Amount};
use super::claim::{VOLUME_MODES, access_modes};
use super::faults::{Faults, IMMUTABLE};
use super::look::{child, entries, given, remove, same, set, set_empty, set_missing, text, texts};
use super::meta::Names;
use super::pod::scheduling;
use super::{golang, words};

/// What a persistent volume can be made of.
const SOURCES: [&str; 22] = [
    "hostPath",
    "gcePersistentDisk",
    "awsElasticBlockStore",
    "glusterfs",
    "flocker",
    "nfs",
    "rbd",
    "quobyte",
    "cephfs",
    "iscsi",
    "cinder",
    "fc",
    "flexVolume",
    "azureFile",
    "vsphereVolume",
    "photonPersistentDisk",
    "portworxVolume",
    "azureDisk",
    "scaleIO",
    "local",
    "storageos",
    "csi",
];

/// A volume: kept when its claim goes, made of files.
pub(super) fn default(volume: &mut Value) {
    if let Some(status) = child(volume, "status") {
        set_empty(status, "phase", "Pending");
    }
    let Some(spec) = child(volume, "spec") else { return };
    set_empty(spec, "persistentVolumeReclaimPolicy", "Retain");
    set_missing(spec, "volumeMode", "Filesystem");
    remove(spec, "volumeAttributesClassName");
    if let Some(capacity) = spec.get_mut("capacity") {
        amount::round(capacity);
    }
    if let Some(path) = spec.get_mut("hostPath").filter(|path| path.is_object()) {
        set_missing(path, "type", "");
    }
    if let Some(target) = spec.get_mut("iscsi").filter(|target| target.is_object()) {
        set_empty(target, "iscsiInterface", "default");
    }
}

/// A volume begins unbound.
pub(super) fn prepare_create(volume: &mut Value) {
    set(volume, "status", serde_json::json!({"phase": "Pending"}));
}

/// A volume that is made.
pub(super) fn validate(volume: &Value, faults: &mut Faults) {
    let (spec, path) = (&volume["spec"], Path::new("spec"));
    let modes = texts(spec, "accessModes");
    if modes.is_empty() {
        faults.required(&path.child("accessModes"), "");
    }
    access_modes(&modes, &path, faults);
    capacity(spec, &path.child("capacity"), faults);
    let reclaim = text(spec, "persistentVolumeReclaimPolicy");
    let at = path.child("persistentVolumeReclaimPolicy");
    if !reclaim.is_empty() {
        faults.one_of(&at, reclaim, &["Delete", "Recycle", "Retain"]);
    }
    if given(spec, "nodeAffinity") {
        let (affinity, at) = (&spec["nodeAffinity"], path.child("nodeAffinity").child("required"));
        if given(affinity, "required") {
            scheduling::node_selector(&affinity["required"], &at, faults);
        } else {
            faults.required(&at, "must specify required node constraints");
        }
    }
    source(spec, &path, faults);
    if reclaim == "Recycle" && text(&spec["hostPath"], "path") == "/" {
        faults.forbidden(&at, "may not be 'recycle' for a hostPath mount of '/'");
    }
    let class = text(spec, "storageClassName");
    if !class.is_empty() {
        faults.words(&path.child("storageClassName"), class, Names::Subdomain.check(class, false));
    }
    if let Some(mode) = spec["volumeMode"].as_str() {
        faults.one_of(&path.child("volumeMode"), mode, &VOLUME_MODES);
    }
}

fn capacity(spec: &Value, path: &Path, faults: &mut Faults) {
    let names: Vec<&str> = entries(spec, "capacity").map(|(name, _)| name).collect();
    if names.is_empty() {
        faults.required(path, "");
    }
    if names != ["storage"] {
        faults.not_supported(path, spec["capacity"].clone(), &["storage"]);
    }
    for (name, value) in entries(spec, "capacity") {
        let Some(amount) = Amount::read(value) else { continue };
        if amount.is_negative() {
            let path = path.key(name);
            faults.invalid(&path, amount.milli() / 1000, "must be a valid resource quantity");
        }
        if amount.is_negative() || amount.is_zero() {
            faults.invalid(&path.key(name), amount.to_string(), "must be greater than zero");
        }
    }
}

fn source(spec: &Value, path: &Path, faults: &mut Faults) {
    let mut found = 0;
    for kind in SOURCES.iter().filter(|kind| given(spec, kind)) {
        found += 1;
        let (at, source) = (path.child(kind), &spec[*kind]);
        if found > 1 {
            faults.forbidden(&at, "may not specify more than 1 volume type");
            continue;
        }
        let needed: &[&str] = match *kind {
            "hostPath" | "local" => &["path"],
            "nfs" => &["server", "path"],
            "iscsi" => &["targetPortal", "iqn"],
            "csi" => &["volumeHandle"],
            "awsElasticBlockStore" | "cinder" | "portworxVolume" => &["volumeID"],
            "gcePersistentDisk" => &["pdName"],
            "azureFile" => &["secretName", "shareName"],
            "azureDisk" => &["diskName", "diskURI"],
            "flexVolume" => &["driver"],
            "rbd" => &["image"],
            _ => &[],
        };
        if *kind == "csi" {
            words::driver_name(text(source, "driver"), &at.child("driver"), faults);
        }
        for field in needed.iter().filter(|field| text(source, field).is_empty()) {
            faults.required(&at.child(field), "");
        }
        let target = text(source, "path");
        if matches!(*kind, "hostPath" | "local") && target.split('/').any(|part| part == "..") {
            faults.invalid(&at.child("path"), target, "must not contain '..'");
        }
        if *kind == "local" && !given(spec, "nodeAffinity") {
            faults.required(&path.child("nodeAffinity"), "Local volume requires node affinity");
        }
    }
    if found == 0 {
        faults.required(path, "must specify a volume type");
    }
}

/// A volume that is changed: not what it is made of.
pub(super) fn validate_update(new: &Value, old: &Value, faults: &mut Faults) {
    super::meta::validate(new, false, Names::Subdomain, &Path::new("metadata"), faults);
    validate(new, faults);
    let (after, before) = (&new["spec"], &old["spec"]);
    let changed = SOURCES.iter().any(|kind| !same(&after[*kind], &before[*kind]));
    if changed {
        let pick = |spec: &Value| -> Value {
            let kinds = SOURCES.iter().filter(|kind| given(spec, kind));
            Value::Object(kinds.map(|kind| ((*kind).to_owned(), spec[*kind].clone())).collect())
        };
        let difference = golang::difference(&pick(before), &pick(after));
        let message = format!("spec.persistentvolumesource is immutable after creation\n{difference}");
        faults.forbidden(&Path::new("spec.persistentvolumesource"), &message);
    }
    faults.immutable(&Path::new("volumeMode"), &after["volumeMode"], &before["volumeMode"]);
    if given(before, "nodeAffinity") && !same(&after["nodeAffinity"], &before["nodeAffinity"]) {
        let shown = golang::shown(&after["nodeAffinity"]);
        faults.invalid_shown(&Path::new("nodeAffinity"), &shown, IMMUTABLE);
    }
}

/// A way to recycle that nothing offers any more.
pub(super) fn warnings(new: &Value, _old: Option<&Value>) -> Vec<String> {
    let mut warnings = Vec::new();
    let spec = &new["spec"];
    if text(spec, "persistentVolumeReclaimPolicy") == "Recycle" {
        warnings.push(
            "spec.persistentVolumeReclaimPolicy: The Recycle reclaim policy is deprecated. Instead, the recommended \
             approach is to use dynamic provisioning."
                .into(),
        );
    }
    let removed = [
        ("photonPersistentDisk", "deprecated in v1.11, non-functional in v1.16+"),
        ("scaleIO", "deprecated in v1.16, non-functional in v1.22+"),
        ("storageos", "deprecated in v1.22, non-functional in v1.25+"),
        ("glusterfs", "deprecated in v1.25, non-functional in v1.26+"),
        ("cephfs", "deprecated in v1.28, non-functional in v1.31+"),
        ("rbd", "deprecated in v1.28, non-functional in v1.31+"),
    ];
    for (kind, message) in removed.iter().filter(|(kind, _)| given(spec, kind)) {
        warnings.push(format!("spec.{kind}: {message}"));
    }
    warnings
}
