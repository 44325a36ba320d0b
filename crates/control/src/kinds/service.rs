//! Services: their types, ports and addresses.

use serde_json::{Value, json};
use shoal_api::field::Path;

use super::faults::Faults;
use super::look::{
    annotation, child, given, int, items, list, number, remove, same, set, set_empty, set_missing, text,
    texts,
};
use super::pod::containers::PROTOCOLS;
use super::pod::probes;
use super::{golang, meta, words};

/// How long a client keeps its pod, when it is asked for but not said: three hours.
const AFFINITY_SECONDS: i64 = 10_800;

/// How long a client can keep its pod: a day.
const AFFINITY_SECONDS_MAX: i64 = 86_400;

/// The address of a service that has none.
const HEADLESS: &str = "None";

/// A service.
pub(super) fn default(service: &mut Value) {
    let Some(spec) = child(service, "spec") else { return };
    set_empty(spec, "sessionAffinity", "None");
    match text(spec, "sessionAffinity") {
        "None" => remove(spec, "sessionAffinityConfig"),
        "ClientIP" if !given(&spec["sessionAffinityConfig"]["clientIP"], "timeoutSeconds") => {
            set(spec, "sessionAffinityConfig", json!({"clientIP": {"timeoutSeconds": AFFINITY_SECONDS}}));
        }
        _ => {}
    }
    set_empty(spec, "type", "ClusterIP");
    for port in items(spec, "ports") {
        set_empty(port, "protocol", "TCP");
        let own = port["port"].clone();
        set_empty(port, "targetPort", own);
    }
    if is_reachable(spec) {
        set_empty(spec, "externalTrafficPolicy", "Cluster");
    }
    let kind = text(spec, "type").to_owned();
    if matches!(kind.as_str(), "ClusterIP" | "NodePort" | "LoadBalancer") {
        set_missing(spec, "internalTrafficPolicy", "Cluster");
    }
    if kind == "LoadBalancer" {
        set_missing(spec, "allocateLoadBalancerNodePorts", true);
        let balancer = service.get_mut("status").and_then(|status| status.get_mut("loadBalancer"));
        for ingress in balancer.into_iter().flat_map(|balancer| items(balancer, "ingress")) {
            if !text(ingress, "ip").is_empty() {
                set_missing(ingress, "ipMode", "VIP");
            }
        }
    }
}

fn is_reachable(spec: &Value) -> bool {
    let addressed = text(spec, "type") == "ClusterIP" && !list(spec, "externalIPs").is_empty();
    matches!(text(spec, "type"), "LoadBalancer" | "NodePort") || addressed
}

fn needs_address(spec: &Value) -> bool {
    matches!(text(spec, "type"), "ClusterIP" | "NodePort" | "LoadBalancer")
}

fn needs_node_ports(spec: &Value) -> bool {
    let balancer = text(spec, "type") == "LoadBalancer";
    text(spec, "type") == "NodePort" || (balancer && spec["allocateLoadBalancerNodePorts"] != json!(false))
}

fn needs_health_port(spec: &Value) -> bool {
    text(spec, "type") == "LoadBalancer" && text(spec, "externalTrafficPolicy") == "Local"
}

fn is_headless(spec: &Value) -> bool {
    texts(spec, "clusterIPs") == [HEADLESS]
}

/// A service begins without a status; its one address is also the first of its addresses.
pub(super) fn prepare_create(service: &mut Value) {
    set(service, "status", json!({"loadBalancer": {}}));
    if let Some(spec) = service.get_mut("spec") {
        first_address(spec);
    }
}

fn first_address(spec: &mut Value) {
    let address = text(spec, "clusterIP").to_owned();
    if !address.is_empty() && list(spec, "clusterIPs").is_empty() {
        set(spec, "clusterIPs", json!([address]));
    }
}

/// Keeps what was allocated where the new service leaves it out, and drops what its new type does not have.
pub(super) fn prepare_update(subresource: &str, service: &mut Value, old: &Value) {
    if subresource == "status" {
        return;
    }
    let before = &old["spec"];
    let Some(spec) = service.get_mut("spec").filter(|spec| spec.is_object()) else { return };
    if needs_address(before) && needs_address(spec) {
        keep_addresses(spec, before);
    }
    if needs_node_ports(before) && needs_node_ports(spec) {
        keep_node_ports(spec, before);
    }
    if needs_health_port(before) && needs_health_port(spec) && number(spec, "healthCheckNodePort") == 0 {
        set(spec, "healthCheckNodePort", before["healthCheckNodePort"].clone());
    }
    first_address(spec);
    follow_first_address(spec, before);
    drop_of_old_type(spec, before);
}

fn keep_addresses(spec: &mut Value, before: &Value) {
    if text(spec, "clusterIP").is_empty() && given(before, "clusterIP") {
        set(spec, "clusterIP", before["clusterIP"].clone());
    }
    let unchanged = text(spec, "clusterIP") == text(before, "clusterIP");
    for field in ["clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
        if unchanged && same(&spec[field], &Value::Null) && given(before, field) {
            set(spec, field, before[field].clone());
        }
    }
}

fn keep_node_ports(spec: &mut Value, before: &Value) {
    let taken: Vec<i64> = list(spec, "ports").iter().map(|port| number(port, "nodePort")).collect();
    let key = |port: &Value| (text(port, "protocol").to_owned(), number(port, "port"));
    for port in items(spec, "ports") {
        if number(port, "nodePort") != 0 {
            continue;
        }
        let mut earlier = list(before, "ports").iter().filter(|old| key(old) == key(port));
        let Some(earlier) = earlier.next() else { continue };
        if number(earlier, "nodePort") != 0 && !taken.contains(&number(earlier, "nodePort")) {
            set(port, "nodePort", earlier["nodePort"].clone());
        }
    }
}

/// Who changes `clusterIP` alone means the first of `clusterIPs` too.
fn follow_first_address(spec: &mut Value, before: &Value) {
    let changed = text(spec, "clusterIP") != text(before, "clusterIP");
    if !changed || !same(&spec["clusterIPs"], &before["clusterIPs"]) {
        return;
    }
    let address = text(spec, "clusterIP").to_owned();
    if address.is_empty() {
        remove(spec, "clusterIPs");
    } else if let Some(first) = items(spec, "clusterIPs").next() {
        *first = json!(address);
    }
}

fn drop_of_old_type(spec: &mut Value, before: &Value) {
    if needs_address(before) && !needs_address(spec) {
        for field in ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
            drop_same(spec, before, field);
        }
    }
    if needs_node_ports(before) && !needs_node_ports(spec) {
        let ports: Vec<Value> = list(before, "ports").iter().map(|port| port["nodePort"].clone()).collect();
        for port in items(spec, "ports") {
            if ports.contains(&port["nodePort"]) {
                remove(port, "nodePort");
            }
        }
    }
    if needs_health_port(before) && !needs_health_port(spec) {
        drop_same(spec, before, "healthCheckNodePort");
    }
    if text(before, "type") == "LoadBalancer" && text(spec, "type") != "LoadBalancer" {
        drop_same(spec, before, "allocateLoadBalancerNodePorts");
        drop_same(spec, before, "loadBalancerClass");
    }
    if is_reachable(before) && !is_reachable(spec) {
        drop_same(spec, before, "externalTrafficPolicy");
    }
    if text(spec, "type") == "ExternalName" {
        drop_same(spec, before, "internalTrafficPolicy");
    }
}

fn drop_same(spec: &mut Value, before: &Value, field: &str) {
    if spec[field] == before[field] {
        remove(spec, field);
    }
}

/// A service that is made.
pub(super) fn validate(service: &Value, faults: &mut Faults) {
    let (spec, path) = (&service["spec"], Path::new("spec"));
    topology_annotations(service, faults);
    if list(spec, "ports").is_empty() && !is_headless(spec) && text(spec, "type") != "ExternalName" {
        faults.required(&path.child("ports"), "");
    }
    by_type(spec, &path, faults);
    ports(spec, &path.child("ports"), faults);
    meta::labels(&spec["selector"], &path.child("selector"), faults);
    affinity(spec, &path, faults);
    super::service_addresses::validate(spec, &path, faults);
    for (index, address) in texts(spec, "externalIPs").iter().enumerate() {
        let path = path.child("externalIPs").index(index);
        let messages = words::ip(address);
        if messages.is_empty() {
            words::ordinary_ip(address, &path, faults);
        } else {
            faults.words(&path, address, messages);
        }
    }
    let types = ["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];
    faults.chosen(&path.child("type"), text(spec, "type"), &types);
    repeated_ports(spec, &path.child("ports"), faults);
    balancer(service, &path, faults);
    traffic(spec, &path, faults);
}

fn topology_annotations(service: &Value, faults: &mut Faults) {
    let (mode, hints) = ("service.kubernetes.io/topology-mode", "service.kubernetes.io/topology-aware-hints");
    if let (Some(mode_value), Some(hints_value)) = (annotation(service, mode), annotation(service, hints))
        && mode_value != hints_value
    {
        let path = Path::new("metadata.annotations").key(mode);
        let message = format!("must match annotations[{hints}] when both are specified");
        faults.invalid(&path, mode_value, &message);
    }
}

fn by_type(spec: &Value, path: &Path, faults: &mut Faults) {
    let kind = text(spec, "type");
    match kind {
        "LoadBalancer" | "NodePort" if is_headless(spec) => {
            let message = format!("may not be set to 'None' for {kind} services");
            faults.invalid(&path.child("clusterIPs").index(0), HEADLESS, &message);
        }
        "ExternalName" => {
            for field in ["clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
                if !same(&spec[field], &Value::Null) {
                    faults.forbidden(&path.child(field), "may not be set for ExternalName services");
                }
            }
            let name = text(spec, "externalName");
            match name.strip_suffix('.').unwrap_or(name) {
                "" => faults.required(&path.child("externalName"), ""),
                name => faults.words(&path.child("externalName"), name, words::dns_subdomain(name)),
            }
        }
        _ => {}
    }
}

fn ports(spec: &Value, path: &Path, faults: &mut Faults) {
    let ports = list(spec, "ports");
    let mut names: Vec<&str> = Vec::new();
    for (index, port) in ports.iter().enumerate() {
        let path = path.index(index);
        let name = text(port, "name");
        if name.is_empty() {
            if ports.len() > 1 {
                faults.required(&path.child("name"), "");
            }
        } else {
            faults.words(&path.child("name"), name, words::dns_label(name));
            if names.contains(&name) {
                faults.duplicate(&path.child("name"), name);
            }
            names.push(name);
        }
        let own = number(port, "port");
        faults.numbers(&path.child("port"), own, words::port_number(own));
        faults.chosen(&path.child("protocol"), text(port, "protocol"), &PROTOCOLS);
        probes::port(&port["targetPort"], &path.child("targetPort"), faults);
        if let Some(protocol) = port["appProtocol"].as_str() {
            faults.words(&path.child("appProtocol"), protocol, words::qualified_name(protocol));
        }
    }
}

fn affinity(spec: &Value, path: &Path, faults: &mut Faults) {
    let kind = text(spec, "sessionAffinity");
    faults.chosen(&path.child("sessionAffinity"), kind, &["ClientIP", "None"]);
    let config = &spec["sessionAffinityConfig"];
    let path = path.child("sessionAffinityConfig");
    if kind == "None" && !config.is_null() {
        faults.forbidden(&path, "must not be set when session affinity is None");
    }
    if kind != "ClientIP" {
        return;
    }
    let needed = "when session affinity type is ClientIP";
    let at = path.child("clientIP");
    if config.is_null() {
        faults.required(&path, needed);
    } else if !given(config, "clientIP") {
        faults.required(&at, needed);
    } else if let Some(seconds) = int(&config["clientIP"], "timeoutSeconds") {
        if !(1..=AFFINITY_SECONDS_MAX).contains(&seconds) {
            let message = format!("must be greater than 0 and less than {AFFINITY_SECONDS_MAX}");
            faults.invalid(&at.child("timeoutSeconds"), seconds, &message);
        }
    } else {
        faults.required(&at.child("timeoutSeconds"), needed);
    }
}

fn repeated_ports(spec: &Value, path: &Path, faults: &mut Faults) {
    let ports = list(spec, "ports");
    if text(spec, "type") == "ClusterIP" {
        for (index, _) in ports.iter().enumerate().filter(|(_, port)| number(port, "nodePort") != 0) {
            let message = "may not be used when `type` is 'ClusterIP'";
            faults.forbidden(&path.index(index).child("nodePort"), message);
        }
    }
    let twin = |index: usize, field: &str| {
        let key = |port: &Value| (text(port, "protocol").to_owned(), number(port, field));
        ports[..index].iter().any(|other| key(other) == key(&ports[index]))
    };
    for (index, port) in ports.iter().enumerate() {
        if number(port, "nodePort") != 0 && twin(index, "nodePort") {
            faults.duplicate(&path.index(index).child("nodePort"), number(port, "nodePort"));
        }
    }
    for (index, port) in ports.iter().enumerate().filter(|(index, _)| twin(*index, "port")) {
        let (protocol, number) = (text(port, "protocol"), number(port, "port"));
        let mut error = shoal_api::field::Error::duplicate(&path.index(index), &Value::Null);
        error.message = format!(
            "Duplicate value: core.ServicePort{{Name:\"\", Protocol:{protocol:?}, AppProtocol:(*string)(nil), \
             Port:{number}, TargetPort:intstr.IntOrString{{Type:0, IntVal:0, StrVal:\"\"}}, NodePort:0}}"
        );
        faults.push(error);
    }
}

fn balancer(service: &Value, path: &Path, faults: &mut Faults) {
    let spec = &service["spec"];
    let is_balancer = text(spec, "type") == "LoadBalancer";
    let only = "may only be used when `type` is 'LoadBalancer'";
    let ranges = texts(spec, "loadBalancerSourceRanges");
    let at = path.child("LoadBalancerSourceRanges");
    if !ranges.is_empty() && !is_balancer {
        faults.forbidden(&at, only);
    }
    for (index, range) in ranges.iter().enumerate() {
        let range = range.trim();
        faults.words(&at.index(index), range, words::cidr(range));
    }
    let key = "service.beta.kubernetes.io/load-balancer-source-ranges";
    if let Some(ranges) = annotation(service, key).filter(|_| ranges.is_empty()) {
        let at = Path::new("metadata.annotations").key(key);
        if !is_balancer {
            faults.forbidden(&at, only);
        }
        for range in ranges.split(',').map(str::trim).filter(|range| !range.is_empty()) {
            faults.words(&at, range, words::cidr(range));
        }
    }
    let allocate = given(spec, "allocateLoadBalancerNodePorts");
    if allocate && !is_balancer {
        faults.forbidden(&path.child("allocateLoadBalancerNodePorts"), only);
    } else if !allocate && is_balancer {
        faults.required(&Path::new("allocateLoadBalancerNodePorts"), "");
    }
    if let Some(class) = spec["loadBalancerClass"].as_str() {
        let path = path.child("loadBalancerClass");
        if is_balancer {
            faults.words(&path, class, words::qualified_name(class));
        } else {
            faults.forbidden(&path, only);
        }
    }
}

fn traffic(spec: &Value, path: &Path, faults: &mut Faults) {
    let policy = text(spec, "externalTrafficPolicy");
    let at = path.child("externalTrafficPolicy");
    if is_reachable(spec) {
        faults.chosen(&at, policy, &["Cluster", "Local"]);
    } else if !policy.is_empty() {
        faults.invalid(&at, policy, "may only be set for externally-accessible services");
    }
    let port = number(spec, "healthCheckNodePort");
    let at = path.child("healthCheckNodePort");
    match (needs_health_port(spec), port) {
        (false, 0) => {}
        (false, port) => {
            let message =
                "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'";
            faults.invalid(&at, port, message);
        }
        // The port is allocated after this; a service that already has one must keep it.
        (true, 0) => {}
        (true, port) => faults.numbers(&at, port, words::port_number(port)),
    }
    let at = path.child("internalTrafficPolicy");
    if given(spec, "internalTrafficPolicy") {
        faults.one_of(&at, text(spec, "internalTrafficPolicy"), &["Cluster", "Local"]);
    } else if needs_address(spec) {
        faults.required(&at, "");
    }
    if given(spec, "trafficDistribution") {
        let how = text(spec, "trafficDistribution");
        faults.one_of(&path.child("trafficDistribution"), how, &["PreferClose"]);
    }
}

/// A service that is changed.
pub(super) fn validate_update(new: &Value, old: &Value, faults: &mut Faults) {
    let (after, before) = (&new["spec"], &old["spec"]);
    super::service_addresses::validate_update(after, before, faults);
    let both = text(after, "type") == "LoadBalancer" && text(before, "type") == "LoadBalancer";
    if both && !same(&after["loadBalancerClass"], &before["loadBalancerClass"]) {
        let path = Path::new("spec.loadBalancerClass");
        let shown = golang::shown(&after["loadBalancerClass"]);
        faults.invalid_shown(&path, &shown, "may not change once set");
    }
    if needs_health_port(before)
        && needs_health_port(after)
        && number(after, "healthCheckNodePort") != number(before, "healthCheckNodePort")
    {
        faults.forbidden(&Path::new("spec.healthCheckNodePort"), "field is immutable");
    }
    meta::validate(new, true, meta::Names::Label1035, &Path::new("metadata"), faults);
    validate(new, faults);
}

/// The addresses of a load balancer.
pub(super) fn validate_status(new: &Value, _old: &Value, faults: &mut Faults) {
    let balancer = &new["status"]["loadBalancer"];
    let path = Path::new("status.loadBalancer.ingress");
    let ingress = list(balancer, "ingress");
    if text(&new["spec"], "type") != "LoadBalancer" && !ingress.is_empty() {
        faults.forbidden(&path, "may only be used when `spec.type` is 'LoadBalancer'");
        return;
    }
    for (index, point) in ingress.iter().enumerate() {
        let path = path.index(index);
        let ip = text(point, "ip");
        if !ip.is_empty() {
            faults.words(&path.child("ip"), ip, words::ip(ip));
        }
        match (given(point, "ipMode"), ip.is_empty()) {
            (false, false) => faults.required(&path.child("ipMode"), "must be specified when `ip` is set"),
            (true, true) => {
                faults.forbidden(&path.child("ipMode"), "may not be specified when `ip` is not set");
            }
            (true, false) => faults.one_of(&path.child("ipMode"), text(point, "ipMode"), &["Proxy", "VIP"]),
            (false, true) => {}
        }
        let host = text(point, "hostname");
        if !host.is_empty() {
            faults.words(&path.child("hostname"), host, words::dns_subdomain(host));
            if words::parse_ip(host).is_some() {
                let message = "must be a DNS name, not an IP address";
                faults.invalid(&path.child("hostname"), host, message);
            }
        }
    }
}

/// Hints of old, and addresses that have no effect.
pub(super) fn warnings(new: &Value, _old: Option<&Value>) -> Vec<String> {
    let mut warnings = Vec::new();
    let spec = &new["spec"];
    let hints = "service.kubernetes.io/topology-aware-hints";
    if annotation(new, hints).is_some() {
        warnings.push(format!(
            "annotation {hints} is deprecated, please use service.kubernetes.io/topology-mode instead"
        ));
    }
    if is_headless(spec) {
        if !text(spec, "loadBalancerIP").is_empty() {
            warnings.push("spec.loadBalancerIP is ignored for headless services".into());
        }
        if !list(spec, "externalIPs").is_empty() {
            warnings.push("spec.externalIPs is ignored for headless services".into());
        }
        if !matches!(text(spec, "sessionAffinity"), "" | "None") {
            warnings.push("spec.SessionAffinity is ignored for headless services".into());
        }
    }
    if text(spec, "type") == "ExternalName" {
        if !list(spec, "externalIPs").is_empty() {
            warnings.push("spec.externalIPs is ignored when spec.type is \"ExternalName\"".into());
        }
    } else if !text(spec, "externalName").is_empty() {
        warnings.push("spec.externalName is ignored when spec.type is not \"ExternalName\"".into());
    }
    warnings
}
