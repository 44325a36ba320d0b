//! What a pod may ask for: the checks of a `PodSpec`, in pods and in templates.

use serde_json::Value;
use shoal_api::field::Path;

use super::{containers, scheduling, security, volumes};
use crate::kinds::faults::Faults;
use crate::kinds::look::{entries, flag, given, int, list, number, text, texts};
use crate::kinds::meta::{self, Names};
use crate::kinds::{golang, resources, selector, words};

/// Most name servers that libc asks.
const NAMESERVERS_MAX: usize = 3;

/// Most search domains that libc tries.
const SEARCHES_MAX: usize = 32;

/// Most characters of all search domains, with the spaces between.
const SEARCH_CHARACTERS_MAX: usize = 2048;

/// Values of `dnsPolicy`.
const DNS_POLICIES: [&str; 4] = ["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"];

/// A `PodSpec`. `pod_name` is empty in templates.
pub(crate) fn validate(spec: &Value, pod_name: &str, is_pod: bool, path: &Path, faults: &mut Faults) {
    if !given(spec, "terminationGracePeriodSeconds") {
        faults.required(&path.child("terminationGracePeriodSeconds"), "");
    }
    let good = volumes::validate(list(spec, "volumes"), pod_name, &path.child("volumes"), faults);
    containers::validate(spec, &good, path, faults);
    host_network_ports(spec, is_pod, &path.child("containers"), faults);
    faults.chosen(
        &path.child("restartPolicy"),
        text(spec, "restartPolicy"),
        &["Always", "OnFailure", "Never"],
    );
    faults.chosen(&path.child("dnsPolicy"), text(spec, "dnsPolicy"), &DNS_POLICIES);
    meta::labels(&spec["nodeSelector"], &path.child("nodeSelector"), faults);
    security::pod(spec, path, faults);
    for (index, secret) in list(spec, "imagePullSecrets").iter().enumerate() {
        let others = secret.as_object().into_iter().flatten().any(|(field, _)| field != "name");
        if others {
            let path = path.child("imagePullSecrets").index(index);
            faults.invalid(&path, secret.clone(), "only name may be set");
        }
    }
    scheduling::affinity(&spec["affinity"], &path.child("affinity"), faults);
    dns(spec, &path.child("dnsConfig"), faults);
    for (index, gate) in list(spec, "readinessGates").iter().enumerate() {
        let kind = text(gate, "conditionType");
        let path = path.child("readinessGates").index(index).child("conditionType");
        faults.words(&path, kind, words::qualified_name(kind));
    }
    scheduling::gates(spec, &path.child("schedulingGates"), faults);
    scheduling::spreading(spec, &path.child("topologySpreadConstraints"), faults);
    names(spec, path, faults);
    rest(spec, path, faults);
    security::operating_system(spec, path, faults);
}

fn host_network_ports(spec: &Value, is_pod: bool, path: &Path, faults: &mut Faults) {
    if !flag(spec, "hostNetwork") {
        return;
    }
    for (at, container) in list(spec, "containers").iter().enumerate() {
        for (index, port) in list(container, "ports").iter().enumerate() {
            let (host, inside) = (number(port, "hostPort"), number(port, "containerPort"));
            if (is_pod || host != 0) && host != inside {
                let path = path.index(at).child("ports").index(index).child("hostPort");
                faults.invalid(&path, host, "must match `containerPort` when `hostNetwork` is true");
            }
        }
    }
}

fn names(spec: &Value, path: &Path, faults: &mut Faults) {
    for field in ["serviceAccountName", "nodeName"] {
        let name = text(spec, field);
        if !name.is_empty() {
            faults.words(&path.child(field), name, Names::Subdomain.check(name, false));
        }
    }
    if let Some(seconds) = int(spec, "activeDeadlineSeconds") {
        let range = 1..=i64::from(i32::MAX);
        if !range.contains(&seconds) {
            let message = words::in_range(1, i64::from(i32::MAX));
            faults.invalid(&path.child("activeDeadlineSeconds"), seconds, &message);
        }
    }
    for field in ["hostname", "subdomain"] {
        let name = text(spec, field);
        if !name.is_empty() {
            faults.words(&path.child(field), name, words::dns_label(name));
        }
    }
}

fn rest(spec: &Value, path: &Path, faults: &mut Faults) {
    scheduling::tolerations(list(spec, "tolerations"), &path.child("tolerations"), faults);
    for (index, alias) in list(spec, "hostAliases").iter().enumerate() {
        let path = path.child("hostAliases").index(index);
        faults.words(&path.child("ip"), text(alias, "ip"), words::ip(text(alias, "ip")));
        for (index, name) in texts(alias, "hostnames").iter().enumerate() {
            faults.words(&path.child("hostnames").index(index), name, words::dns_subdomain(name));
        }
    }
    let class = text(spec, "priorityClassName");
    if !class.is_empty() {
        faults.words(&path.child("priorityClassName"), class, Names::Subdomain.check(class, false));
    }
    if given(spec, "runtimeClassName") {
        let class = text(spec, "runtimeClassName");
        faults.words(&path.child("runtimeClassName"), class, Names::Subdomain.check(class, false));
    }
    if given(spec, "preemptionPolicy") {
        let policy = text(spec, "preemptionPolicy");
        faults.chosen(&path.child("preemptionPolicy"), policy, &["PreemptLowerPriority", "Never"]);
    }
    for (name, value) in entries(spec, "overhead") {
        let path = path.child("overhead").child("limits").key(name);
        resources::amount_of(name, value, &path, resources::container_name, faults);
    }
}

fn dns(spec: &Value, path: &Path, faults: &mut Faults) {
    let config = &spec["dnsConfig"];
    let servers = texts(config, "nameservers");
    if text(spec, "dnsPolicy") == "None" {
        if config.is_null() {
            faults.required(path, "must provide `dnsConfig` when `dnsPolicy` is None");
            return;
        }
        if servers.is_empty() {
            let message = "must provide at least one DNS nameserver when `dnsPolicy` is None";
            faults.required(&path.child("nameservers"), message);
            return;
        }
    }
    if servers.len() > NAMESERVERS_MAX {
        let shown = golang::strings(&config["nameservers"]);
        let message = format!("must not have more than {NAMESERVERS_MAX} nameservers");
        faults.invalid_shown(&path.child("nameservers"), &shown, &message);
    }
    for (index, server) in servers.iter().enumerate() {
        faults.words(&path.child("nameservers").index(index), server, words::ip(server));
    }
    let searches = texts(config, "searches");
    let shown = || golang::strings(&config["searches"]);
    if searches.len() > SEARCHES_MAX {
        let message = format!("must not have more than {SEARCHES_MAX} search paths");
        faults.invalid_shown(&path.child("searches"), &shown(), &message);
    }
    if searches.join(" ").len() > SEARCH_CHARACTERS_MAX {
        let message = format!(
            "must not have more than {SEARCH_CHARACTERS_MAX} characters (including spaces) in the search list"
        );
        faults.invalid_shown(&path.child("searches"), &shown(), &message);
    }
    for (index, search) in searches.iter().enumerate() {
        let search = search.strip_suffix('.').unwrap_or(search);
        faults.words(&path.child("searches").index(index), search, words::dns_subdomain(search));
    }
    for (index, option) in list(config, "options").iter().enumerate() {
        if text(option, "name").is_empty() {
            faults.required(&path.child("options").index(index), "must not be empty");
        }
    }
}

/// A `PodTemplateSpec`.
pub(crate) fn template(template: &Value, path: &Path, faults: &mut Faults) {
    let meta = &template["metadata"];
    meta::labels(&meta["labels"], &path.child("labels"), faults);
    meta::annotations(&meta["annotations"], &path.child("annotations"), faults);
    validate(&template["spec"], "", false, &path.child("spec"), faults);
    if !list(&template["spec"], "ephemeralContainers").is_empty() {
        let path = path.child("spec").child("ephemeralContainers");
        faults.forbidden(&path, "ephemeral containers not allowed in pod template");
    }
}

/// The template of a workload that keeps pods running: chosen by its selector, always restarted.
/// `owner` names the kind in messages; empty where 1.32 says it otherwise.
pub(crate) fn kept_template(
    selector: &Value,
    template: &Value,
    owner: &str,
    path: &Path,
    faults: &mut Faults,
) {
    if selector::misses(selector, &template["metadata"]["labels"]) {
        let shown = golang::map(&template["metadata"]["labels"]);
        let path = path.child("metadata").child("labels");
        faults.invalid_shown(&path, &shown, "`selector` does not match template `labels`");
    }
    self::template(template, path, faults);
    let spec = &template["spec"];
    let at = path.child("spec");
    faults.one_of(&at.child("restartPolicy"), text(spec, "restartPolicy"), &["Always"]);
    if given(spec, "activeDeadlineSeconds") {
        let message = format!("activeDeadlineSeconds in {owner} is not Supported");
        faults.forbidden(&at.child("activeDeadlineSeconds"), &message);
    }
}
