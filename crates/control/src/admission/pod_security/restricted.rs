//! The level `restricted`: what a hardened pod looks like.

use std::collections::BTreeSet;

use serde_json::Value;

use super::Violation;
use super::baseline::{added, bad_seccomp};
use super::subject::{Check, Subject, bad_values, by, containers, plural, quoted, when};
use crate::snapshot::{items, text};

/// In the order of Kubernetes; they come after those of `baseline`.
pub(super) const CHECKS: &[Check] =
    &[allow_privilege_escalation, capabilities, volumes, run_as_non_root, run_as_user, seccomp];

/// Checks of `baseline` that those here are stricter than.
pub(super) const REPLACED: &[&str] = &["capabilities_baseline", "hostPathVolumes", "seccompProfile_baseline"];

const VOLUMES: &[&str] = &[
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "image",
    "persistentVolumeClaim",
    "projected",
    "secret",
];

fn allow_privilege_escalation(pod: &Subject<'_>) -> Option<Violation> {
    if pod.is_windows() {
        return None;
    }
    let names = pod.named(|container| container["securityContext"]["allowPrivilegeEscalation"] != false);
    by(&names, "allowPrivilegeEscalation != false", "must set securityContext.allowPrivilegeEscalation=false")
}

fn capabilities(pod: &Subject<'_>) -> Option<Violation> {
    if pod.is_windows() {
        return None;
    }
    let keeps = pod.named(|container| {
        !items(&container["securityContext"]["capabilities"]["drop"]).any(|dropped| dropped == "ALL")
    });
    let (adds, added) = added(pod, &["NET_BIND_SERVICE"]);
    let mut details = Vec::new();
    if !keeps.is_empty() {
        details.push(format!("{} must set securityContext.capabilities.drop=[\"ALL\"]", containers(&keeps)));
    }
    if !adds.is_empty() {
        let what = quoted(&added);
        details.push(format!(
            "{} must not include {what} in securityContext.capabilities.add",
            containers(&adds)
        ));
    }
    when(!details.is_empty(), "unrestricted capabilities", || details.join("; "))
}

fn volumes(pod: &Subject<'_>) -> Option<Violation> {
    let (mut names, mut kinds) = (Vec::new(), BTreeSet::new());
    for volume in items(&pod.spec["volumes"]) {
        let fields = volume.as_object().into_iter().flatten();
        let kind =
            fields.filter(|(field, value)| *field != "name" && !value.is_null()).map(|(field, _)| field);
        // A volume that says nothing is an empty directory.
        let Some(kind) = kind.into_iter().next().filter(|kind| !VOLUMES.contains(&kind.as_str())) else {
            continue;
        };
        names.push(text(&volume["name"]).to_string());
        kinds.insert(kind.clone());
    }
    when(!names.is_empty(), "restricted volume types", || {
        format!(
            "{} {} {} restricted volume {} {}",
            plural(names.len(), "volume", "volumes"),
            quoted(&names),
            plural(names.len(), "uses", "use"),
            plural(kinds.len(), "type", "types"),
            quoted(&kinds)
        )
    })
}

fn run_as_non_root(pod: &Subject<'_>) -> Option<Violation> {
    const REASON: &str = "runAsNonRoot != true";
    let bad = bad_values(pod, |context| (context["runAsNonRoot"] == false).then_some("false"));
    if let Some(bad) = bad {
        let detail = format!("{} must not set securityContext.runAsNonRoot=false", bad.setters);
        return when(true, REASON, || detail);
    }
    if pod.context()["runAsNonRoot"] == true {
        return None;
    }
    let names = pod.named(|container| container["securityContext"]["runAsNonRoot"].is_null());
    when(!names.is_empty(), REASON, || {
        format!("pod or {} must set securityContext.runAsNonRoot=true", containers(&names))
    })
}

fn run_as_user(pod: &Subject<'_>) -> Option<Violation> {
    let bad = bad_values(pod, |context| (context["runAsUser"].as_i64() == Some(0)).then_some("0"))?;
    when(true, "runAsUser=0", || format!("{} must not set runAsUser=0", bad.setters))
}

fn seccomp(pod: &Subject<'_>) -> Option<Violation> {
    const REASON: &str = "seccompProfile";
    if pod.is_windows() {
        return None;
    }
    if let Some(bad) = bad_values(pod, bad_seccomp) {
        let what = quoted(&bad.values);
        let detail = format!("{} must not set securityContext.seccompProfile.type to {what}", bad.setters);
        return when(true, REASON, || detail);
    }
    let says = |context: &Value| context["seccompProfile"]["type"].is_string();
    if says(pod.context()) {
        return None;
    }
    let names = pod.named(|container| !says(&container["securityContext"]));
    when(!names.is_empty(), REASON, || {
        format!(
            "pod or {} must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\"",
            containers(&names)
        )
    })
}
