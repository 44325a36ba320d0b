//! What is allowed in a pod but surely not meant.

use serde_json::Value;
use shoal_api::field::Path;

use super::each_container;
use super::volumes::sources;
use crate::kinds::amount::Amount;
use crate::kinds::look::{entries, given, list, number, text};

/// Labels of nodes that have better names.
const OLD_NODE_LABELS: [(&str, &str); 8] = [
    ("beta.kubernetes.io/arch", "deprecated since v1.14; use \"kubernetes.io/arch\" instead"),
    ("beta.kubernetes.io/os", "deprecated since v1.14; use \"kubernetes.io/os\" instead"),
    (
        "failure-domain.beta.kubernetes.io/region",
        "deprecated since v1.17; use \"topology.kubernetes.io/region\" instead",
    ),
    (
        "failure-domain.beta.kubernetes.io/zone",
        "deprecated since v1.17; use \"topology.kubernetes.io/zone\" instead",
    ),
    (
        "beta.kubernetes.io/instance-type",
        "deprecated since v1.17; use \"node.kubernetes.io/instance-type\" instead",
    ),
    (
        "failure-domain.kubernetes.io/region",
        "deprecated since v1.17; use \"topology.kubernetes.io/region\" instead",
    ),
    (
        "failure-domain.kubernetes.io/zone",
        "deprecated since v1.17; use \"topology.kubernetes.io/zone\" instead",
    ),
    (
        "kubernetes.io/instance-type",
        "deprecated since v1.17; use \"node.kubernetes.io/instance-type\" instead",
    ),
];

/// Annotations that do nothing any more.
const OLD_ANNOTATIONS: [(&str, &str); 3] = [
    (
        "scheduler.alpha.kubernetes.io/critical-pod",
        "non-functional in v1.16+; use the \"priorityClassName\" field instead",
    ),
    ("security.alpha.kubernetes.io/sysctls", "non-functional in v1.11+; use the \"sysctls\" field instead"),
    (
        "security.alpha.kubernetes.io/unsafe-sysctls",
        "non-functional in v1.11+; use the \"sysctls\" field instead",
    ),
];

/// Kinds of volumes that nothing makes any more.
const OLD_VOLUMES: [(&str, &str); 9] = [
    ("photonPersistentDisk", "deprecated in v1.11, non-functional in v1.16+"),
    ("gitRepo", "deprecated in v1.11"),
    ("scaleIO", "deprecated in v1.16, non-functional in v1.22+"),
    ("flocker", "deprecated in v1.22, non-functional in v1.25+"),
    ("storageos", "deprecated in v1.22, non-functional in v1.25+"),
    ("quobyte", "deprecated in v1.22, non-functional in v1.25+"),
    ("glusterfs", "deprecated in v1.25, non-functional in v1.26+"),
    ("cephfs", "deprecated in v1.28, non-functional in v1.31+"),
    ("rbd", "deprecated in v1.28, non-functional in v1.31+"),
];

/// Warnings of a pod (`path` is the root) or a template (its path).
pub(crate) fn of(holder: &Value, path: &Path) -> Vec<String> {
    let mut warnings = Vec::new();
    let spec = &holder["spec"];
    let at = path.child("spec");
    nodes(spec, &at, &mut warnings);
    annotations(&holder["metadata"]["annotations"], path, &mut warnings);
    for (index, kind) in sources(spec) {
        if let Some((_, message)) = OLD_VOLUMES.iter().find(|(old, _)| *old == kind) {
            let kind = if kind == "storageos" { "storageOS" } else { kind };
            warnings.push(format!("{}: {message}", at.child("volumes").index(index).child(kind)));
        }
    }
    repeated(spec, &at, "hostAliases", "ip", &mut warnings);
    repeated(spec, &at, "imagePullSecrets", "name", &mut warnings);
    for (index, secret) in list(spec, "imagePullSecrets").iter().enumerate() {
        if text(secret, "name").is_empty() {
            let path = at.child("imagePullSecrets").index(index).child("name");
            warnings.push(format!("{path}: invalid empty name \"\""));
        }
    }
    fractions(&spec["overhead"], &at.child("overhead"), &mut warnings);
    each_container(spec, &at, |container, path| self::container(container, path, &mut warnings));
    ports(spec, &at, &mut warnings);
    grace(spec, &at, &mut warnings);
    warnings
}

fn nodes(spec: &Value, path: &Path, warnings: &mut Vec<String>) {
    let old = |key: &str| OLD_NODE_LABELS.iter().find(|(old, _)| *old == key).map(|(_, message)| *message);
    for (key, _) in entries(spec, "nodeSelector") {
        if let Some(message) = old(key) {
            warnings.push(format!("{}: {message}", path.child("nodeSelector").key(key)));
        }
    }
    for (index, constraint) in list(spec, "topologySpreadConstraints").iter().enumerate() {
        let path = path.child("topologySpreadConstraints").index(index);
        let key = text(constraint, "topologyKey");
        if let Some(message) = old(key) {
            warnings.push(format!("{}: {key} is {message}", path.child("topologyKey")));
        }
        if !given(constraint, "labelSelector") {
            let path = path.child("labelSelector");
            warnings.push(format!("{path}: a null labelSelector results in matching no pod"));
        }
    }
}

fn annotations(annotations: &Value, path: &Path, warnings: &mut Vec<String>) {
    let path = path.child("metadata").child("annotations");
    for (key, message) in OLD_ANNOTATIONS {
        if given(annotations, key) {
            warnings.push(format!("{}: {message}", path.key(key)));
        }
    }
}

fn repeated(spec: &Value, path: &Path, field: &str, key: &str, warnings: &mut Vec<String>) {
    let mut seen: Vec<&str> = Vec::new();
    for (index, item) in list(spec, field).iter().enumerate() {
        let value = text(item, key);
        if seen.contains(&value) {
            warnings
                .push(format!("{}: duplicate {key} {value:?}", path.child(field).index(index).child(key)));
        } else {
            seen.push(value);
        }
    }
}

fn fractions(amounts: &Value, path: &Path, warnings: &mut Vec<String>) {
    for name in ["memory", "ephemeral-storage"] {
        if let Some(amount) = Amount::read(&amounts[name]).filter(|amount| !amount.is_whole()) {
            let shown = amount.to_string();
            let path = path.key(name);
            warnings.push(format!("{path}: fractional byte value {shown:?} is invalid, must be an integer"));
        }
    }
}

fn container(container: &Value, path: &Path, warnings: &mut Vec<String>) {
    for name in ["memory", "ephemeral-storage"] {
        for list in ["limits", "requests"] {
            let amount = &container["resources"][list][name];
            if let Some(amount) = Amount::read(amount).filter(|amount| !amount.is_whole()) {
                let shown = amount.to_string();
                let path = path.child("resources").child(list).key(name);
                let message = format!("fractional byte value {shown:?} is invalid, must be an integer");
                warnings.push(format!("{path}: {message}"));
            }
        }
    }
    let mut seen: Vec<&str> = Vec::new();
    for (index, variable) in list(container, "env").iter().enumerate() {
        let (name, value) = (text(variable, "name"), text(variable, "value"));
        if !seen.contains(&name) {
            seen.push(name);
            continue;
        }
        let reference = format!("$({name})");
        if given(variable, "valueFrom") || value == reference || !value.contains(&reference) {
            let path = path.child("env").index(index);
            let message = "which may be dropped when using apply";
            warnings.push(format!("{path}: hides previous definition of {name:?}, {message}"));
        }
    }
}

fn ports(spec: &Value, path: &Path, warnings: &mut Vec<String>) {
    let mut seen: Vec<(String, Path, Value)> = Vec::new();
    each_container(spec, path, |container, path| {
        for (index, port) in list(container, "ports").iter().enumerate() {
            let at = path.child("ports").index(index);
            let key = format!("{}/{}", number(port, "containerPort"), text(port, "protocol"));
            for (_, other_path, other) in seen.iter().filter(|(other, _, _)| *other == key) {
                let (ours, theirs) = (number(port, "hostPort"), number(other, "hostPort"));
                let (our_ip, their_ip) = (text(port, "hostIP"), text(other, "hostIP"));
                let everywhere = ours == theirs && (our_ip.is_empty() || their_ip.is_empty());
                if our_ip == their_ip && ours == theirs {
                    warnings.push(format!("{at}: duplicate port definition with {other_path}"));
                } else if ours == 0 || theirs == 0 || everywhere {
                    warnings.push(format!("{at}: overlapping port definition with {other_path}"));
                }
            }
            seen.push((key, at, port.clone()));
        }
    });
}

fn grace(spec: &Value, path: &Path, warnings: &mut Vec<String>) {
    if number(spec, "terminationGracePeriodSeconds") < 0 {
        let path = path.child("terminationGracePeriodSeconds");
        warnings.push(format!("{path}: must be >= 0; negative values are invalid and will be treated as 1"));
    }
}
