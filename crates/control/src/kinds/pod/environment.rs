//! Environment of a container, and what can be read of a pod from inside.

use serde_json::Value;
use shoal_api::field::Path;

use crate::kinds::amount::Amount;
use crate::kinds::faults::Faults;
use crate::kinds::look::{given, list, text};
use crate::kinds::meta::{Names, label_name};
use crate::kinds::words;

/// Fields of the pod that a variable can hold.
const FIELDS: [&str; 9] = [
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];

/// Fields that conversion knows, besides those with a subscript.
const CONVERTIBLE: [&str; 15] = [
    "metadata.annotations",
    "metadata.labels",
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.restartPolicy",
    "spec.serviceAccountName",
    "spec.schedulerName",
    "status.phase",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
    "spec.host",
];

/// Resources of a container that can be read.
const RESOURCES: [&str; 6] = [
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
];

/// Units in which bytes can be read.
const BYTE_DIVISORS: [&str; 13] =
    ["1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei"];

/// `env`.
pub(super) fn variables(container: &Value, path: &Path, faults: &mut Faults) {
    for (index, variable) in list(container, "env").iter().enumerate() {
        let path = path.index(index);
        match text(variable, "name") {
            "" => faults.required(&path.child("name"), ""),
            name => faults.words(&path.child("name"), name, words::env_name(name)),
        }
        if given(variable, "valueFrom") {
            value_from(variable, &path.child("valueFrom"), faults);
        }
    }
}

fn value_from(variable: &Value, path: &Path, faults: &mut Faults) {
    let from = &variable["valueFrom"];
    let mut found = 0;
    if given(from, "fieldRef") {
        found += 1;
        field_reference(&from["fieldRef"], &FIELDS, &path.child("fieldRef"), faults);
    }
    if given(from, "resourceFieldRef") {
        found += 1;
        resource_reference(&from["resourceFieldRef"], false, &path.child("resourceFieldRef"), faults);
    }
    for kind in ["configMapKeyRef", "secretKeyRef"] {
        if given(from, kind) {
            found += 1;
            key_reference(&from[kind], &path.child(kind), faults);
        }
    }
    if found == 0 {
        let message =
            "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef` or `secretKeyRef`";
        faults.invalid(path, "", message);
    } else if !text(variable, "value").is_empty() {
        faults.invalid(path, "", "may not be specified when `value` is not empty");
    } else if found > 1 {
        faults.invalid(path, "", "may not have more than one field specified at a time");
    }
}

fn key_reference(reference: &Value, path: &Path, faults: &mut Faults) {
    let (name, key) = (text(reference, "name"), text(reference, "key"));
    faults.words(&path.child("name"), name, Names::Subdomain.check(name, false));
    match key {
        "" => faults.required(&path.child("key"), ""),
        key => faults.words(&path.child("key"), key, words::config_key(key)),
    }
}

/// `fieldRef`: one of `fields`, or an annotation or label by its name.
pub(super) fn field_reference(reference: &Value, fields: &[&str], path: &Path, faults: &mut Faults) {
    if text(reference, "apiVersion").is_empty() {
        faults.required(&path.child("apiVersion"), "");
        return;
    }
    let field = text(reference, "fieldPath");
    let at = path.child("fieldPath");
    if field.is_empty() {
        faults.required(&at, "");
        return;
    }
    let subscript =
        field.strip_suffix("']").and_then(|rest| rest.split_once("['")).filter(|(path, _)| !path.is_empty());
    let known = subscript.map_or(field, |(path, _)| path);
    let convertible = match subscript {
        Some((path, _)) => matches!(path, "metadata.annotations" | "metadata.labels"),
        None => CONVERTIBLE.contains(&field),
    };
    if !convertible {
        let message = format!("error converting fieldPath: field label not supported: {known}");
        faults.invalid(&at, field, &message);
        return;
    }
    match subscript {
        Some(("metadata.annotations", key)) => {
            let key = key.to_lowercase();
            faults.words(path, &key, words::qualified_name(&key));
        }
        Some((_, key)) => label_name(key, path, faults),
        None => faults.one_of(&at, if field == "spec.host" { "spec.nodeName" } else { field }, fields),
    }
}

/// `resourceFieldRef`; in files the container must be named.
pub(super) fn resource_reference(reference: &Value, in_file: bool, path: &Path, faults: &mut Faults) {
    let resource = text(reference, "resource");
    let huge = resource.starts_with("limits.hugepages-") || resource.starts_with("requests.hugepages-");
    if in_file && text(reference, "containerName").is_empty() {
        faults.required(&path.child("containerName"), "");
    } else if resource.is_empty() {
        faults.required(&path.child("resource"), "");
    } else if !huge {
        faults.one_of(&path.child("resource"), resource, &RESOURCES);
    }
    divisor(resource, &reference["divisor"], &path.child("divisor"), faults);
}

fn divisor(resource: &str, value: &Value, path: &Path, faults: &mut Faults) {
    let Some(divisor) = Amount::read(value).filter(|divisor| !divisor.is_zero()) else { return };
    let divisor = divisor.to_string();
    let bytes = |what: &str| {
        format!(
            "only divisor's values 1, 1k, 1M, 1G, 1T, 1P, 1E, 1Ki, 1Mi, 1Gi, 1Ti, 1Pi, 1Ei are supported with \
             the {what} resource"
        )
    };
    let message = match resource.split_once('.').map_or("", |(_, name)| name) {
        "cpu" if !matches!(divisor.as_str(), "1" | "1m") => {
            "only divisor's values 1m and 1 are supported with the cpu resource".to_owned()
        }
        "memory" if !BYTE_DIVISORS.contains(&divisor.as_str()) => bytes("memory"),
        "ephemeral-storage" if !BYTE_DIVISORS.contains(&divisor.as_str()) => bytes("local ephemeral storage"),
        name if name.starts_with("hugepages-") && !BYTE_DIVISORS.contains(&divisor.as_str()) => {
            bytes("hugepages")
        }
        _ => return,
    };
    faults.invalid(path, resource, &message);
}

/// `envFrom`.
pub(super) fn sources(container: &Value, path: &Path, faults: &mut Faults) {
    for (index, source) in list(container, "envFrom").iter().enumerate() {
        let at = path.index(index);
        let prefix = text(source, "prefix");
        if !prefix.is_empty() {
            faults.words(&at.child("prefix"), prefix, words::env_name(prefix));
        }
        let mut found = 0;
        for kind in ["configMapRef", "secretRef"] {
            if given(source, kind) {
                found += 1;
                let at = at.child(kind).child("name");
                match text(&source[kind], "name") {
                    "" => faults.required(&at, ""),
                    name => faults.words(&at, name, Names::Subdomain.check(name, true)),
                }
            }
        }
        if found == 0 {
            faults.invalid(path, "", "must specify one of: `configMapRef` or `secretRef`");
        } else if found > 1 {
            faults.invalid(path, "", "may not have more than one field specified at a time");
        }
    }
}
