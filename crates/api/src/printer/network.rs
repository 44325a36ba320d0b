//! What leads to pods: services, endpoints, ingresses, network policies.

use std::collections::BTreeSet;

use serde_json::Value;

use super::text::{
    NONE, UNKNOWN, UNSET, age, amount, items, label_selector_or_none, labels, name, number, shortened, text,
    text_or,
};

/// So many endpoints, ports and hosts are shown.
const SHOWN_MAX: usize = 3;

/// `NAME TYPE CLUSTER-IP EXTERNAL-IP PORT(S) AGE SELECTOR`.
pub(super) fn service(object: &Value, now: i64) -> Vec<Value> {
    let spec = &object["spec"];
    let ports: Vec<String> = items(&spec["ports"]).iter().map(service_port).collect();
    let ports = if ports.is_empty() { NONE.into() } else { ports.join(",") };
    vec![
        name(object),
        text(&spec["type"]).into(),
        text_or(&spec["clusterIPs"][0], text_or(&spec["clusterIP"], NONE)).into(),
        external_address(object).into(),
        ports.into(),
        age(object, now),
        labels(&spec["selector"]).into(),
    ]
}

fn service_port(port: &Value) -> String {
    let (number_inside, number_outside) = (number(&port["port"]), number(&port["nodePort"]));
    let protocol = text(&port["protocol"]);
    match number_outside {
        ..=0 => format!("{number_inside}/{protocol}"),
        _ => format!("{number_inside}:{number_outside}/{protocol}"),
    }
}

fn external_address(service: &Value) -> String {
    let spec = &service["spec"];
    let given: Vec<&str> = items(&spec["externalIPs"]).iter().map(text).collect();
    match text(&spec["type"]) {
        "ClusterIP" | "NodePort" if given.is_empty() => NONE.into(),
        "ClusterIP" | "NodePort" => given.join(","),
        "LoadBalancer" => {
            let mut all = load_balancer(&service["status"]);
            all.extend(given);
            if all.is_empty() { "<pending>".into() } else { all.join(",") }
        }
        "ExternalName" => text(&spec["externalName"]).into(),
        _ => UNKNOWN.into(),
    }
}

/// The addresses or host names of a load balancer, in their order, each once.
fn load_balancer(status: &Value) -> Vec<&str> {
    let points = items(&status["loadBalancer"]["ingress"]);
    let all: BTreeSet<&str> =
        points.iter().map(|point| text_or(&point["ip"], text(&point["hostname"]))).collect();
    all.into_iter().filter(|address| !address.is_empty()).collect()
}

/// `NAME ENDPOINTS AGE`.
pub(super) fn endpoints(object: &Value, now: i64) -> Vec<Value> {
    vec![name(object), endpoint_addresses(items(&object["subsets"])).into(), age(object, now)]
}

fn endpoint_addresses(subsets: &[Value]) -> String {
    if subsets.is_empty() {
        return NONE.into();
    }
    let mut shown = Vec::new();
    let mut total = 0;
    for subset in subsets {
        let addresses = items(&subset["addresses"]);
        let ports = items(&subset["ports"]);
        // A headless service may have no port.
        total += addresses.len() * ports.len().max(1);
        if ports.is_empty() {
            shown.extend(addresses.iter().take(SHOWN_MAX).map(|address| text(&address["ip"]).to_owned()));
        }
        for port in ports.iter().take(SHOWN_MAX) {
            let some = addresses.iter().take(SHOWN_MAX);
            shown.extend(some.map(|address| host_port(text(&address["ip"]), number(&port["port"]))));
        }
    }
    shown.truncate(SHOWN_MAX);
    shortened(&shown, ",", total, SHOWN_MAX)
}

fn host_port(host: &str, port: i64) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// `NAME ADDRESSTYPE PORTS ENDPOINTS AGE`.
pub(super) fn endpoint_slice(object: &Value, now: i64) -> Vec<Value> {
    let ports = items(&object["ports"]).iter().map(|port| match (&port["port"], &port["name"]) {
        (Value::Null, Value::Null) => "*".into(),
        (Value::Null, name) => text(name).to_owned(),
        (number, _) => amount(number),
    });
    let addresses = items(&object["endpoints"])
        .iter()
        .flat_map(|endpoint| items(&endpoint["addresses"]))
        .map(|address| text(address).to_owned());
    vec![
        name(object),
        text(&object["addressType"]).into(),
        some_of(ports).into(),
        some_of(addresses).into(),
        age(object, now),
    ]
}

fn some_of(all: impl Iterator<Item = String>) -> String {
    let mut all: Vec<String> = all.collect();
    let total = all.len();
    all.truncate(SHOWN_MAX);
    match shortened(&all, ",", total, SHOWN_MAX) {
        nothing if nothing.is_empty() => UNSET.into(),
        some => some,
    }
}

/// `NAME CLASS HOSTS ADDRESS PORTS AGE`.
pub(super) fn ingress(object: &Value, now: i64) -> Vec<Value> {
    let spec = &object["spec"];
    vec![
        name(object),
        spec["ingressClassName"].as_str().unwrap_or(NONE).into(),
        hosts(items(&spec["rules"])).into(),
        load_balancer(&object["status"]).join(",").into(),
        if items(&spec["tls"]).is_empty() { "80" } else { "80, 443" }.into(),
        age(object, now),
    ]
}

/// The first hosts. Rules after them are counted, whether they have a host or not.
fn hosts(rules: &[Value]) -> String {
    let named = rules.iter().enumerate().filter(|(_, rule)| !text(&rule["host"]).is_empty());
    let shown: Vec<(usize, &str)> =
        named.take(SHOWN_MAX).map(|(index, rule)| (index, text(&rule["host"]))).collect();
    let Some((last, _)) = shown.last() else { return "*".into() };
    let more = shown.len() == SHOWN_MAX && last + 1 < rules.len();
    let hosts = shown.iter().map(|(_, host)| *host).collect::<Vec<_>>().join(",");
    if more { format!("{hosts} + {} more...", rules.len() - SHOWN_MAX) } else { hosts }
}

/// `NAME CONTROLLER PARAMETERS AGE`.
pub(super) fn ingress_class(object: &Value, now: i64) -> Vec<Value> {
    let spec = &object["spec"];
    let parameters = &spec["parameters"];
    let (kind, referred) = (text(&parameters["kind"]), text(&parameters["name"]));
    let shown = match (parameters, parameters["apiGroup"].as_str()) {
        (Value::Null, _) => NONE.into(),
        (_, Some(group)) => format!("{kind}.{group}/{referred}"),
        (_, None) => format!("{kind}/{referred}"),
    };
    vec![name(object), text(&spec["controller"]).into(), shown.into(), age(object, now)]
}

/// `NAME POD-SELECTOR AGE`.
pub(super) fn network_policy(object: &Value, now: i64) -> Vec<Value> {
    vec![name(object), label_selector_or_none(&object["spec"]["podSelector"]).into(), age(object, now)]
}
