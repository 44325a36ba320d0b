//! Certificate requests and aggregated API services.

use serde_json::{Value, json};
use shoal_api::field::Path;

use super::faults::Faults;
use super::look::{given, int, list, number, remove, same, set, set_missing, text, texts};
use super::words;

/// Shortest life that can be asked for, in seconds.
const SECONDS_MIN: i64 = 600;

/// What a certificate can be used for.
const USAGES: [&str; 23] = [
    "any",
    "cert sign",
    "client auth",
    "code signing",
    "content commitment",
    "crl sign",
    "data encipherment",
    "decipher only",
    "digital signature",
    "email protection",
    "encipher only",
    "ipsec end system",
    "ipsec tunnel",
    "ipsec user",
    "key agreement",
    "key encipherment",
    "microsoft sgc",
    "netscape sgc",
    "ocsp signing",
    "s/mime",
    "server auth",
    "signing",
    "timestamping",
];

/// Most that an API service can claim over others of its group, and of its version.
const GROUP_PRIORITY_MAX: i64 = 20_000;
const VERSION_PRIORITY_MAX: i64 = 1000;

/// A request begins undecided.
pub(super) fn prepare_create(request: &mut Value) {
    set(request, "status", json!({}));
}

/// A request never changes; what is decided and what is signed are apart.
pub(super) fn prepare_update(subresource: &str, new: &mut Value, old: &Value) {
    set(new, "spec", old["spec"].clone());
    let (after, before) = (new["status"].clone(), old["status"].clone());
    let mut status = before.clone();
    match subresource {
        "approval" => {
            if let Some(fields) = status.as_object_mut() {
                fields.insert("conditions".into(), after["conditions"].clone());
            } else {
                status = json!({"conditions": after["conditions"]});
            }
        }
        "status" => {
            // Who signs cannot decide: conditions of that sort stay as they were.
            let decided = |one: &&Value| matches!(text(one, "type"), "Approved" | "Denied");
            let kept = list(&before, "conditions").iter().filter(decided);
            let others = list(&after, "conditions").iter().filter(|one| !decided(one));
            let conditions: Vec<Value> = kept.chain(others).cloned().collect();
            status = after.clone();
            if !conditions.is_empty()
                && let Some(fields) = status.as_object_mut()
            {
                fields.insert("conditions".into(), Value::Array(conditions));
            }
        }
        _ => {}
    }
    if status["conditions"].is_null() {
        remove(&mut status, "conditions");
    }
    set(new, "status", status);
}

/// A request that is made.
pub(super) fn validate(request: &Value, faults: &mut Faults) {
    let (spec, path) = (&request["spec"], Path::new("spec"));
    let at = path.child("request");
    let bytes = words::bytes(&spec["request"]).unwrap_or_default();
    let pem = String::from_utf8_lossy(&bytes);
    if !pem.contains("-----BEGIN CERTIFICATE REQUEST-----") {
        let shown = go_bytes(&bytes);
        let message = "PEM block type must be CERTIFICATE REQUEST";
        faults.invalid_shown(&at, &shown, message);
    }
    let usages = texts(spec, "usages");
    let at = path.child("usages");
    if usages.is_empty() {
        faults.required(&at, "usages must be set");
    }
    for (index, usage) in usages.iter().enumerate() {
        if !USAGES.contains(usage) {
            faults.not_supported(&at.index(index), *usage, &USAGES);
        }
        if usages[..index].contains(usage) {
            faults.duplicate(&at.index(index), *usage);
        }
    }
    signer(text(spec, "signerName"), &path.child("signerName"), faults);
    if let Some(seconds) = int(spec, "expirationSeconds").filter(|seconds| *seconds < SECONDS_MIN) {
        let message = "may not specify a duration less than 600 seconds (10 minutes)";
        faults.invalid(&path.child("expirationSeconds"), seconds, message);
    }
    conditions(request, faults);
}

fn go_bytes(bytes: &[u8]) -> String {
    let shown: Vec<String> = bytes.iter().map(|byte| format!("{byte:#x}")).collect();
    format!("[]byte{{{}}}", shown.join(", "))
}

fn signer(name: &str, path: &Path, faults: &mut Faults) {
    if name.is_empty() {
        faults.required(path, "");
        return;
    }
    let form = "must be a fully qualified domain and path of the form 'example.com/signer-name'";
    match name.split_once('/') {
        Some((domain, path_part)) if !path_part.contains('/') => {
            if domain.split('.').count() < 2 {
                let message = "should be a domain with at least two segments separated by dots";
                faults.invalid(path, domain, message);
            }
            for part in [domain, path_part] {
                faults.words(path, part, words::dns_subdomain(part));
            }
        }
        _ => faults.invalid(path, name, form),
    }
}

fn conditions(request: &Value, faults: &mut Faults) {
    let conditions = list(&request["status"], "conditions");
    let path = Path::new("status.conditions");
    let mut seen: Vec<&str> = Vec::new();
    for (index, condition) in conditions.iter().enumerate() {
        let path = path.index(index);
        let (kind, status) = (text(condition, "type"), text(condition, "status"));
        if kind.is_empty() {
            faults.required(&path.child("type"), "");
        }
        if status.is_empty() {
            faults.required(&path.child("status"), "");
        } else if matches!(kind, "Approved" | "Denied" | "Failed") && status != "True" {
            faults.not_supported(&path.child("status"), status, &["True"]);
        }
        if matches!(kind, "Approved" | "Denied") {
            let other = if kind == "Approved" { "Denied" } else { "Approved" };
            if seen.contains(&other) {
                let message = "Approved and Denied conditions are mutually exclusive";
                faults.invalid(&path.child("type"), kind, message);
            }
        }
        if seen.contains(&kind) {
            faults.duplicate(&path.child("type"), kind);
        }
        seen.push(kind);
    }
}

/// A request that is decided or signed.
pub(super) fn validate_update(subresource: &str, new: &Value, old: &Value, faults: &mut Faults) {
    conditions(new, faults);
    let (after, before) = (&new["status"], &old["status"]);
    let kinds = |status: &Value| -> Vec<String> {
        list(status, "conditions").iter().map(|one| text(one, "type").to_owned()).collect()
    };
    for kind in kinds(before).iter().filter(|kind| matches!(kind.as_str(), "Approved" | "Denied" | "Failed"))
    {
        if !kinds(after).contains(kind) {
            let message = format!("updates may not remove a condition of type {kind:?}");
            faults.forbidden(&Path::new("status.conditions"), &message);
        }
    }
    let signed = !same(&before["certificate"], &Value::Null);
    if subresource == "status" && signed && !same(&after["certificate"], &before["certificate"]) {
        let path = Path::new("status.certificate");
        faults.forbidden(&path, "updates may not change the certificate once set");
    }
}

/// An API service.
pub(super) fn default_service(service: &mut Value) {
    let reference = service.get_mut("spec").and_then(|spec| spec.get_mut("service"));
    if let Some(reference) = reference.filter(|reference| reference.is_object()) {
        set_missing(reference, "port", 443);
    }
}

/// An API service that is made or changed.
pub(super) fn validate_service(service: &Value, faults: &mut Faults) {
    let (spec, path) = (&service["spec"], Path::new("spec"));
    let name = text(&service["metadata"], "name");
    let (group, version) = (text(spec, "group"), text(spec, "version"));
    let expected = format!("{version}.{group}");
    if name != expected {
        let message = format!("must be `spec.version+\".\"+spec.group`: {expected:?}");
        faults.invalid(&Path::new("metadata.name"), name, &message);
    }
    if group.is_empty() {
        if version != "v1" {
            let message = "only v1 may have an empty group and it better be legacy kube";
            faults.required(&path.child("group"), message);
        }
    } else {
        faults.words(&path.child("group"), group, words::dns_subdomain(group));
    }
    faults.words(&path.child("version"), version, words::dns1035_label(version));
    let priorities =
        [("groupPriorityMinimum", GROUP_PRIORITY_MAX), ("versionPriority", VERSION_PRIORITY_MAX)];
    for (field, most) in priorities {
        let priority = number(spec, field);
        if !(1..=most).contains(&priority) {
            let message = format!("must be positive and less than {most}");
            faults.invalid(&path.child(field), priority, &message);
        }
    }
    let reference = &spec["service"];
    let careless = spec["insecureSkipTLSVerify"] == json!(true);
    if reference.is_null() {
        if !text(spec, "caBundle").is_empty() {
            let message = "local APIServices may not have a caBundle";
            faults.invalid(&path.child("caBundle"), "", message);
        }
        if careless {
            let message = "local APIServices may not have insecureSkipTLSVerify";
            faults.invalid(&path.child("insecureSkipTLSVerify"), true, message);
        }
        return;
    }
    for field in ["namespace", "name"] {
        if text(reference, field).is_empty() {
            faults.required(&path.child("service").child(field), "");
        }
    }
    if let Some(port) = int(reference, "port").filter(|port| !words::port_number(*port).is_empty()) {
        let message = format!("port is not valid: {}", words::port_number(port).join(""));
        faults.invalid(&path.child("service").child("port"), port, &message);
    }
    if careless && given(spec, "caBundle") {
        let message = "may not be true if caBundle is present";
        faults.invalid(&path.child("insecureSkipTLSVerify"), true, message);
    }
}
