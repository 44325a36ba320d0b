//! Volumes of a pod.

use serde_json::{Map, Value};
use shoal_api::field::Path;

use super::defaults::{field_reference, file_mode, token};
use crate::kinds::faults::Faults;
use crate::kinds::look::{child, flag, given, int, items, list, number, set_empty, set_missing, text};
use crate::kinds::meta::Names;
use crate::kinds::{amount::Amount, claim, meta, words};

/// What a volume can be made of, in the order in which it is looked at.
const SOURCES: [&str; 30] = [
    "emptyDir",
    "hostPath",
    "gitRepo",
    "gcePersistentDisk",
    "awsElasticBlockStore",
    "secret",
    "nfs",
    "iscsi",
    "glusterfs",
    "flocker",
    "persistentVolumeClaim",
    "rbd",
    "cinder",
    "cephfs",
    "quobyte",
    "downwardAPI",
    "fc",
    "configMap",
    "azureFile",
    "vsphereVolume",
    "photonPersistentDisk",
    "portworxVolume",
    "azureDisk",
    "storageos",
    "scaleIO",
    "projected",
    "csi",
    "ephemeral",
    "flexVolume",
    "image",
];

/// What a host path can be.
const HOST_PATH_TYPES: [&str; 8] =
    ["", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket"];

/// Fields of the pod that a file can hold.
const FIELDS: [&str; 5] =
    ["metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid"];

/// Shortest life of a projected token: ten minutes.
const TOKEN_SECONDS_MIN: i64 = 600;

/// Longest life of a projected token: 2³² seconds.
const TOKEN_SECONDS_MAX: i64 = 1 << 32;

/// A volume of nothing is an empty directory; the rest is per source.
pub(super) fn default(volume: &mut Value) {
    if !SOURCES.iter().any(|source| given(volume, source)) {
        set_missing(volume, "emptyDir", Map::new());
    }
    let Some(sources) = volume.as_object_mut() else { return };
    for (kind, source) in sources.iter_mut().filter(|(_, source)| source.is_object()) {
        match kind.as_str() {
            "secret" | "configMap" => file_mode(source),
            "downwardAPI" => {
                file_mode(source);
                items(source, "items").for_each(field_reference);
            }
            "projected" => {
                file_mode(source);
                items(source, "sources").for_each(default_projection);
            }
            "hostPath" => set_missing(source, "type", ""),
            "iscsi" => set_empty(source, "iscsiInterface", "default"),
            "rbd" => {
                set_empty(source, "pool", "rbd");
                set_empty(source, "user", "admin");
                set_empty(source, "keyring", "/etc/ceph/keyring");
            }
            "azureDisk" => {
                set_missing(source, "cachingMode", "ReadWrite");
                set_missing(source, "kind", "Shared");
                set_missing(source, "fsType", "ext4");
                set_missing(source, "readOnly", false);
            }
            "scaleIO" => {
                set_empty(source, "storageMode", "ThinProvisioned");
                set_empty(source, "fsType", "xfs");
            }
            "ephemeral" => {
                if let Some(template) = source.get_mut("volumeClaimTemplate")
                    && let Some(spec) = child(template, "spec")
                {
                    claim::default_specification(spec);
                }
            }
            _ => {}
        }
    }
}

fn default_projection(projection: &mut Value) {
    if let Some(source) = projection.get_mut("serviceAccountToken").filter(|source| source.is_object()) {
        token(source);
    }
    if let Some(source) = projection.get_mut("downwardAPI") {
        items(source, "items").for_each(field_reference);
    }
}

/// All volumes of a pod; gives those that nothing is wrong with. `pod_name` is empty for templates.
pub(super) fn validate<'a>(
    volumes: &'a [Value],
    pod_name: &str,
    path: &Path,
    faults: &mut Faults,
) -> Vec<&'a Value> {
    let mut good: Vec<&Value> = Vec::new();
    for (index, volume) in volumes.iter().enumerate() {
        let path = path.index(index);
        let name = text(volume, "name");
        let before = faults.count();
        source(volume, &path, pod_name, faults);
        if name.is_empty() {
            faults.required(&path.child("name"), "");
        } else {
            faults.words(&path.child("name"), name, words::dns_label(name));
        }
        if good.iter().any(|one| text(one, "name") == name) {
            faults.duplicate(&path.child("name"), name);
        }
        if faults.count() == before {
            good.push(volume);
        }
    }
    good
}

/// Exactly one source, and what it says.
fn source(volume: &Value, path: &Path, pod_name: &str, faults: &mut Faults) {
    let mut found = 0;
    for kind in SOURCES.iter().filter(|kind| given(volume, kind)) {
        found += 1;
        let path = path.child(kind);
        if found > 1 {
            faults.forbidden(&path, "may not specify more than 1 volume type");
        } else {
            one(kind, &volume[kind], text(volume, "name"), pod_name, &path, faults);
        }
    }
    if found == 0 {
        faults.required(path, "must specify a volume type");
    }
}

fn one(kind: &str, source: &Value, name: &str, pod_name: &str, path: &Path, faults: &mut Faults) {
    match kind {
        "emptyDir" => empty_dir(source, path, faults),
        "hostPath" => host_path(source, path, faults),
        "secret" => {
            needed(source, path, &["secretName"], faults);
            files(source, path, faults);
        }
        "configMap" => {
            needed(source, path, &["name"], faults);
            files(source, path, faults);
        }
        "downwardAPI" => downward(source, path, true, faults),
        "projected" => projected(source, path, faults),
        "persistentVolumeClaim" => needed(source, path, &["claimName"], faults),
        "csi" => csi(source, path, faults),
        "ephemeral" => ephemeral(source, name, pod_name, path, faults),
        "nfs" => {
            needed(source, path, &["server", "path"], faults);
            if !text(source, "path").is_empty() && !text(source, "path").starts_with('/') {
                faults.invalid(&path.child("path"), text(source, "path"), "must be an absolute path");
            }
        }
        "gitRepo" => {
            needed(source, path, &["repository"], faults);
            local_path(text(source, "directory"), &path.child("directory"), faults);
        }
        "gcePersistentDisk" => needed(source, path, &["pdName"], faults),
        "awsElasticBlockStore" | "cinder" => needed(source, path, &["volumeID"], faults),
        "iscsi" => needed(source, path, &["targetPortal", "iqn"], faults),
        "glusterfs" => needed(source, path, &["endpoints", "path"], faults),
        "rbd" => {
            if list(source, "monitors").is_empty() {
                faults.required(&path.child("monitors"), "");
            }
            needed(source, path, &["image"], faults);
        }
        "cephfs" if list(source, "monitors").is_empty() => faults.required(&path.child("monitors"), ""),
        "azureFile" => needed(source, path, &["secretName", "shareName"], faults),
        "azureDisk" => needed(source, path, &["diskName", "diskURI"], faults),
        "vsphereVolume" => needed(source, path, &["volumePath"], faults),
        "portworxVolume" => needed(source, path, &["volumeID"], faults),
        "photonPersistentDisk" => needed(source, path, &["pdID"], faults),
        "flexVolume" => needed(source, path, &["driver"], faults),
        "quobyte" => needed(source, path, &["registry", "volume"], faults),
        "scaleIO" => needed(source, path, &["gateway", "system", "volumeName"], faults),
        _ => {}
    }
}

fn needed(source: &Value, path: &Path, fields: &[&str], faults: &mut Faults) {
    for field in fields.iter().filter(|field| text(source, field).is_empty()) {
        faults.required(&path.child(field), "");
    }
}

fn empty_dir(source: &Value, path: &Path, faults: &mut Faults) {
    if Amount::read(&source["sizeLimit"]).is_some_and(|limit| limit.is_negative()) {
        faults.forbidden(&path.child("sizeLimit"), "SizeLimit field must be a valid resource quantity");
    }
    if !matches!(text(source, "medium"), "" | "Memory") && !text(source, "medium").starts_with("HugePages") {
        faults.not_supported(&path.child("medium"), text(source, "medium"), &["", "Memory"]);
    }
}

fn host_path(source: &Value, path: &Path, faults: &mut Faults) {
    let target = text(source, "path");
    if target.is_empty() {
        faults.required(&path.child("path"), "");
        return;
    }
    no_backsteps(target, &path.child("path"), faults);
    faults.one_of(&path.child("type"), text(source, "type"), &HOST_PATH_TYPES);
}

/// `defaultMode` and `items` of a secret or config map.
fn files(source: &Value, path: &Path, faults: &mut Faults) {
    mode(source, "defaultMode", path, faults);
    key_paths(source, path, faults);
}

fn mode(source: &Value, field: &str, path: &Path, faults: &mut Faults) {
    if let Some(mode) = int(source, field).filter(|mode| !(0..=0o777).contains(mode)) {
        let message = "must be a number between 0 and 0777 (octal), both inclusive";
        faults.invalid(&path.child(field), mode, message);
    }
}

fn key_paths(source: &Value, path: &Path, faults: &mut Faults) {
    for (index, item) in list(source, "items").iter().enumerate() {
        let path = path.child("items").index(index);
        needed(item, &path, &["key", "path"], faults);
        local_path(text(item, "path"), &path.child("path"), faults);
        if let Some(mode) = int(item, "mode").filter(|mode| !(0..=0o777).contains(mode)) {
            let message = "must be a number between 0 and 0777 (octal), both inclusive";
            faults.invalid(&path.child("mode"), mode, message);
        }
    }
}

fn downward(source: &Value, path: &Path, with_mode: bool, faults: &mut Faults) {
    if with_mode {
        mode(source, "defaultMode", path, faults);
    }
    for item in list(source, "items") {
        downward_file(item, path, faults);
    }
}

fn downward_file(item: &Value, path: &Path, faults: &mut Faults) {
    needed(item, path, &["path"], faults);
    local_path(text(item, "path"), &path.child("path"), faults);
    let (field, resource) = (given(item, "fieldRef"), given(item, "resourceFieldRef"));
    if field {
        super::environment::field_reference(&item["fieldRef"], &FIELDS, &path.child("fieldRef"), faults);
        if resource {
            let message = "fieldRef and resourceFieldRef can not be specified simultaneously";
            faults.invalid(path, "resource", message);
        }
    } else if resource {
        let below = path.child("resourceFieldRef");
        super::environment::resource_reference(&item["resourceFieldRef"], true, &below, faults);
    } else {
        faults.required(path, "one of fieldRef and resourceFieldRef is required");
    }
    mode(item, "mode", path, faults);
}

fn projected(source: &Value, path: &Path, faults: &mut Faults) {
    mode(source, "defaultMode", path, faults);
    let mut paths: Vec<&str> = Vec::new();
    for (index, projection) in list(source, "sources").iter().enumerate() {
        let path = path.child("sources").index(index);
        let mut found = 0;
        for kind in ["secret", "configMap", "downwardAPI", "serviceAccountToken", "clusterTrustBundle"] {
            let part = &projection[kind];
            if part.is_null() {
                continue;
            }
            found += 1;
            let below = path.child(kind);
            if found > 1 {
                faults.forbidden(&below, "may not specify more than 1 volume type");
                continue;
            }
            match kind {
                "secret" | "configMap" => {
                    needed(part, &below, &["name"], faults);
                    key_paths(part, &below, faults);
                }
                "downwardAPI" => downward(part, &below, false, faults),
                "serviceAccountToken" => service_account_token(part, &below, faults),
                _ => needed(part, &below, &["path"], faults),
            }
            conflicting_paths(part, &below, &mut paths, faults);
        }
        if found == 0 {
            faults.required(&path, "must specify a volume type");
        }
    }
}

fn conflicting_paths<'a>(part: &'a Value, path: &Path, paths: &mut Vec<&'a str>, faults: &mut Faults) {
    let own = list(part, "items").iter().chain(given(part, "path").then_some(part));
    for file in own.map(|item| text(item, "path")).filter(|file| !file.is_empty()) {
        if paths.contains(&file) {
            faults.invalid(path, file, "conflicting duplicate paths");
        } else {
            paths.push(file);
        }
    }
}

fn service_account_token(source: &Value, path: &Path, faults: &mut Faults) {
    let seconds = number(source, "expirationSeconds");
    if seconds < TOKEN_SECONDS_MIN {
        let message = "may not specify a duration less than 10 minutes";
        faults.invalid(&path.child("expirationSeconds"), seconds, message);
    }
    if seconds > TOKEN_SECONDS_MAX {
        let message = "may not specify a duration larger than 2^32 seconds";
        faults.invalid(&path.child("expirationSeconds"), seconds, message);
    }
    needed(source, path, &["path"], faults);
    if !text(source, "path").is_empty() {
        local_path(text(source, "path"), &path.child("path"), faults);
    }
}

fn csi(source: &Value, path: &Path, faults: &mut Faults) {
    words::driver_name(text(source, "driver"), &path.child("driver"), faults);
    let secret = &source["nodePublishSecretRef"];
    if !secret.is_null() {
        let path = path.child("nodePublishSecretRef").child("name");
        match text(secret, "name") {
            "" => faults.required(&path, ""),
            name => faults.words(&path, name, Names::Subdomain.check(name, false)),
        }
    }
}

fn ephemeral(source: &Value, name: &str, pod_name: &str, path: &Path, faults: &mut Faults) {
    let template = &source["volumeClaimTemplate"];
    let path = path.child("volumeClaimTemplate");
    if template.is_null() {
        faults.required(&path, "");
        return;
    }
    meta::labels(&template["metadata"]["labels"], &path.child("metadata").child("labels"), faults);
    claim::specification(&template["spec"], &path.child("spec"), faults);
    if !pod_name.is_empty() {
        let claim = format!("{pod_name}-{name}");
        for message in Names::Subdomain.check(&claim, false) {
            let message = format!("PVC name {claim:?}: {message}");
            faults.invalid(&path.child("name"), name, &message);
        }
    }
}

/// A path below some directory: relative, without `..`.
pub(super) fn local_path(target: &str, path: &Path, faults: &mut Faults) {
    if target.starts_with('/') {
        faults.invalid(path, target, "must be a relative path");
    }
    no_backsteps(target, path, faults);
}

fn no_backsteps(target: &str, path: &Path, faults: &mut Faults) {
    if target.replace('\\', "/").split('/').any(|part| part == "..") {
        faults.invalid(path, target, "must not contain '..'");
    }
}

/// Mounts of a container.
pub(super) fn mounts(container: &Value, volumes: &[&Value], path: &Path, faults: &mut Faults) {
    let devices: Vec<(&str, &str)> = list(container, "volumeDevices")
        .iter()
        .map(|one| (text(one, "name"), text(one, "devicePath")))
        .collect();
    let mut points: Vec<&str> = Vec::new();
    for (index, mount) in list(container, "volumeMounts").iter().enumerate() {
        let at = path.index(index);
        let (name, point) = (text(mount, "name"), text(mount, "mountPath"));
        if name.is_empty() {
            faults.required(&at.child("name"), "");
        }
        if !volumes.iter().any(|volume| text(volume, "name") == name) {
            faults.not_found(&at.child("name"), name);
        }
        if point.is_empty() {
            faults.required(&at.child("mountPath"), "");
        }
        if points.contains(&point) {
            faults.invalid(&at.child("mountPath"), point, "must be unique");
        }
        points.push(point);
        if devices.iter().any(|(device, _)| *device == name) {
            faults.invalid(&at.child("name"), name, "must not already exist in volumeDevices");
        }
        if devices.iter().any(|(_, device)| *device == point) {
            let message = "must not already exist as a path in volumeDevices";
            faults.invalid(&at.child("mountPath"), point, message);
        }
        sub_paths(mount, path, &at, faults);
        propagation(mount, container, path, faults);
    }
}

fn sub_paths(mount: &Value, path: &Path, at: &Path, faults: &mut Faults) {
    let (plain, expanded) = (text(mount, "subPath"), text(mount, "subPathExpr"));
    if !plain.is_empty() {
        local_path(plain, &path.child("subPath"), faults);
    }
    if !expanded.is_empty() {
        if !plain.is_empty() {
            let message = "subPathExpr and subPath are mutually exclusive";
            faults.invalid(&at.child("subPathExpr"), expanded, message);
        }
        local_path(expanded, &path.child("subPathExpr"), faults);
    }
}

fn propagation(mount: &Value, container: &Value, path: &Path, faults: &mut Faults) {
    let how = text(mount, "mountPropagation");
    let at = path.child("mountPropagation");
    if !how.is_empty() {
        faults.one_of(&at, how, &["Bidirectional", "HostToContainer", "None"]);
        if how == "Bidirectional" && !flag(&container["securityContext"], "privileged") {
            faults
                .forbidden(&at, "Bidirectional mount propagation is available only to privileged containers");
        }
    }
    let recursive = text(mount, "recursiveReadOnly");
    let at = path.child("recursiveReadOnly");
    match recursive {
        "" | "Disabled" => {}
        "Enabled" | "IfPossible" if !flag(mount, "readOnly") => {
            faults.forbidden(&at, "may only be specified when readOnly is true");
        }
        "Enabled" | "IfPossible" if !matches!(how, "" | "None") => {
            let message = "may only be specified when mountPropagation is None or not specified".to_owned();
            faults.forbidden(&at, &message);
        }
        "Enabled" | "IfPossible" => {}
        other => faults.not_supported(&at, other, &["Disabled", "Enabled", "IfPossible"]),
    }
}

/// Block devices of a container.
pub(super) fn devices(container: &Value, volumes: &[&Value], path: &Path, faults: &mut Faults) {
    let mut seen: Vec<(&str, &str)> = Vec::new();
    for (index, device) in list(container, "volumeDevices").iter().enumerate() {
        let at = path.index(index);
        let (name, target) = (text(device, "name"), text(device, "devicePath"));
        let volume = volumes.iter().find(|volume| text(volume, "name") == name);
        if name.is_empty() {
            faults.required(&at.child("name"), "");
        }
        if seen.iter().any(|(one, _)| *one == name) {
            faults.invalid(&at.child("name"), name, "must be unique");
        }
        match volume {
            None => faults.not_found(&at.child("name"), name),
            Some(volume) if given(volume, "persistentVolumeClaim") || given(volume, "ephemeral") => {}
            Some(_) => {
                let message =
                    "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode";
                faults.invalid(&at.child("name"), name, message);
            }
        }
        if target.is_empty() {
            faults.required(&at.child("devicePath"), "");
        }
        if seen.iter().any(|(_, one)| *one == target) {
            faults.invalid(&at.child("devicePath"), target, "must be unique");
        }
        if target.split('/').any(|part| part == "..") {
            faults.invalid(&at.child("devicePath"), target, "can not contain backsteps ('..')");
        }
        seen.push((name, target));
    }
}

/// Names of the volumes' sources, for warnings: `(index, source)`.
pub(super) fn sources(spec: &Value) -> impl Iterator<Item = (usize, &str)> {
    list(spec, "volumes").iter().enumerate().flat_map(|(index, volume)| {
        let sources = volume.as_object().into_iter().flatten();
        sources.filter(|(_, source)| source.is_object()).map(move |(kind, _)| (index, kind.as_str()))
    })
}
