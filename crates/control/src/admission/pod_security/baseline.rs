//! The level `baseline`: nothing that is known to lead out of a container.

use std::collections::BTreeSet;

use serde_json::Value;

use super::Violation;
use super::subject::{Check, Subject, bad_values, by, plural, quoted, when};
use crate::snapshot::{items, text};

/// By name, in the order of Kubernetes.
pub(super) const CHECKS: &[(&str, Check)] = &[
    ("appArmorProfile", app_armor),
    ("capabilities_baseline", capabilities),
    ("hostNamespaces", host_namespaces),
    ("hostPathVolumes", host_paths),
    ("hostPorts", host_ports),
    ("privileged", privileged),
    ("procMount", proc_mount),
    ("seLinuxOptions", se_linux),
    ("seccompProfile_baseline", seccomp),
    ("sysctls", sysctls),
    ("windowsHostProcess", host_process),
];

const CAPABILITIES: &[&str] = &[
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];

const SYSCTLS: &[&str] = &[
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ping_group_range",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.tcp_wmem",
];

const SE_LINUX_TYPES: &[&str] =
    &["", "container_engine_t", "container_init_t", "container_kvm_t", "container_t"];

const APP_ARMOR: &str = "container.apparmor.security.beta.kubernetes.io/";

fn app_armor(pod: &Subject<'_>) -> Option<Violation> {
    let forbidden = |profile: &str| {
        !(profile.is_empty() || profile == "runtime/default" || profile.starts_with("localhost/"))
    };
    let annotations = pod.metadata["annotations"].as_object().into_iter().flatten();
    let mut details: Vec<String> = annotations
        .filter(|(key, value)| key.starts_with(APP_ARMOR) && forbidden(text(value)))
        .map(|(key, value)| format!("{key}={:?}", text(value)))
        .collect();
    let bad = bad_values(pod, |context| {
        context["appArmorProfile"]["type"]
            .as_str()
            .filter(|kind| !["RuntimeDefault", "Localhost"].contains(kind))
    });
    if let Some(bad) = bad {
        details.push(format!(
            "{} must not set AppArmor profile type to {}",
            bad.setters,
            quoted(&bad.values)
        ));
    }
    let reason = plural(details.len(), "forbidden AppArmor profile", "forbidden AppArmor profiles");
    when(!details.is_empty(), reason, || details.join("; "))
}

fn capabilities(pod: &Subject<'_>) -> Option<Violation> {
    let (names, added) = added(pod, CAPABILITIES);
    let detail = format!("must not include {} in securityContext.capabilities.add", quoted(&added));
    by(&names, "non-default capabilities", &detail)
}

/// Containers that add capabilities beyond those allowed, and which.
pub(super) fn added(pod: &Subject<'_>, allowed: &[&str]) -> (Vec<String>, BTreeSet<String>) {
    let beyond = |container: &Value| -> BTreeSet<String> {
        let added = items(&container["securityContext"]["capabilities"]["add"]).map(text);
        added.filter(|one| !allowed.contains(one)).map(String::from).collect()
    };
    let names = pod.named(|container| !beyond(container).is_empty());
    (names, pod.containers().flat_map(beyond).collect())
}

fn host_namespaces(pod: &Subject<'_>) -> Option<Violation> {
    let shared = ["hostNetwork", "hostPID", "hostIPC"].iter().filter(|field| pod.spec[**field] == true);
    let shared: Vec<String> = shared.map(|field| format!("{field}=true")).collect();
    when(!shared.is_empty(), "host namespaces", || shared.join(", "))
}

fn host_paths(pod: &Subject<'_>) -> Option<Violation> {
    let of_host = items(&pod.spec["volumes"]).filter(|volume| !volume["hostPath"].is_null());
    let names: Vec<String> = of_host.map(|volume| text(&volume["name"]).to_string()).collect();
    when(!names.is_empty(), "hostPath volumes", || {
        format!("{} {}", plural(names.len(), "volume", "volumes"), quoted(&names))
    })
}

fn host_ports(pod: &Subject<'_>) -> Option<Violation> {
    let ports = |container: &Value| -> BTreeSet<String> {
        let all = items(&container["ports"]).filter_map(|port| port["hostPort"].as_u64());
        all.filter(|port| *port != 0).map(|port| port.to_string()).collect()
    };
    let names = pod.named(|container| !ports(container).is_empty());
    let all: BTreeSet<String> = pod.containers().flat_map(ports).collect();
    let verb = plural(names.len(), "uses", "use");
    let list = all.iter().cloned().collect::<Vec<_>>().join(", ");
    by(&names, "hostPort", &format!("{verb} {} {list}", plural(all.len(), "hostPort", "hostPorts")))
}

fn privileged(pod: &Subject<'_>) -> Option<Violation> {
    let names = pod.named(|container| container["securityContext"]["privileged"] == true);
    by(&names, "privileged", "must not set securityContext.privileged=true")
}

fn proc_mount(pod: &Subject<'_>) -> Option<Violation> {
    let bad = |container: &Value| {
        container["securityContext"]["procMount"].as_str().filter(|kind| *kind != "Default").map(String::from)
    };
    let names = pod.named(|container| bad(container).is_some());
    let kinds: BTreeSet<String> = pod.containers().filter_map(bad).collect();
    by(&names, "procMount", &format!("must not set securityContext.procMount to {}", quoted(&kinds)))
}

fn se_linux(pod: &Subject<'_>) -> Option<Violation> {
    let bad = bad_values(pod, |context| {
        let options = &context["seLinuxOptions"];
        let set = |field: &str| !text(&options[field]).is_empty();
        let kind = text(&options["type"]);
        (!SE_LINUX_TYPES.contains(&kind) || set("user") || set("role")).then_some(kind)
    })?;
    let contexts = || pod.containers().map(|one| &one["securityContext"]).chain([pod.context()]);
    let set = |field: &str| contexts().any(|context| !text(&context["seLinuxOptions"][field]).is_empty());
    let kinds: Vec<String> =
        bad.values.into_iter().filter(|kind| !SE_LINUX_TYPES.contains(&kind.as_str())).collect();
    let mut details = Vec::new();
    if !kinds.is_empty() {
        details.push(format!("{} {}", plural(kinds.len(), "type", "types"), quoted(&kinds)));
    }
    let fields = ["user", "role"].into_iter().filter(|field| set(field));
    details.extend(fields.map(|field| format!("{field} may not be set")));
    when(true, "seLinuxOptions", || {
        format!("{} set forbidden securityContext.seLinuxOptions: {}", bad.setters, details.join("; "))
    })
}

fn seccomp(pod: &Subject<'_>) -> Option<Violation> {
    let bad = bad_values(pod, bad_seccomp)?;
    when(true, "seccompProfile", || {
        format!("{} must not set securityContext.seccompProfile.type to {}", bad.setters, quoted(&bad.values))
    })
}

/// A profile that confines nothing.
pub(super) fn bad_seccomp(context: &Value) -> Option<&str> {
    context["seccompProfile"]["type"].as_str().filter(|kind| !["RuntimeDefault", "Localhost"].contains(kind))
}

fn sysctls(pod: &Subject<'_>) -> Option<Violation> {
    let all = items(&pod.context()["sysctls"]).map(|one| text(&one["name"]));
    let forbidden: BTreeSet<&str> = all.filter(|name| !SYSCTLS.contains(name)).collect();
    when(!forbidden.is_empty(), "forbidden sysctls", || {
        forbidden.iter().copied().collect::<Vec<_>>().join(", ")
    })
}

fn host_process(pod: &Subject<'_>) -> Option<Violation> {
    let bad =
        bad_values(pod, |context| (context["windowsOptions"]["hostProcess"] == true).then_some("true"))?;
    when(true, "hostProcess", || {
        format!("{} must not set securityContext.windowsOptions.hostProcess=true", bad.setters)
    })
}
