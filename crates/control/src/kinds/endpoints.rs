//! Where the pods of a service are: endpoints, and slices of them.

use serde_json::Value;
use shoal_api::field::Path;

use super::faults::Faults;
use super::look::{given, int, items, list, number, set_empty, set_missing, text, texts};
use super::meta::{Names, label_name};
use super::pod::containers::PROTOCOLS;
use super::words;

/// Most endpoints of a slice.
const ENDPOINTS_MAX: usize = 1000;

/// Most ports of a slice.
const PORTS_MAX: usize = 20_000;

/// Most addresses of one endpoint.
const ADDRESSES_MAX: usize = 100;

/// Most hints of one endpoint.
const HINTS_MAX: usize = 8;

/// Endpoints are reached over TCP.
pub(super) fn default(endpoints: &mut Value) {
    for subset in items(endpoints, "subsets") {
        for port in items(subset, "ports") {
            set_empty(port, "protocol", "TCP");
        }
    }
}

/// Endpoints that are made or changed.
pub(super) fn validate(endpoints: &Value, faults: &mut Faults) {
    for (index, subset) in list(endpoints, "subsets").iter().enumerate() {
        let path = Path::new("subsets").index(index);
        if list(subset, "addresses").is_empty() && list(subset, "notReadyAddresses").is_empty() {
            faults.required(&path, "must specify `addresses` or `notReadyAddresses`");
        }
        for field in ["addresses", "notReadyAddresses"] {
            for (index, address) in list(subset, field).iter().enumerate() {
                self::address(address, &path.child(field).index(index), faults);
            }
        }
        let ports = list(subset, "ports");
        for (index, port) in ports.iter().enumerate() {
            self::port(port, ports.len() > 1, &path.child("ports").index(index), faults);
        }
    }
}

fn address(address: &Value, path: &Path, faults: &mut Faults) {
    let (ip, host) = (text(address, "ip"), text(address, "hostname"));
    faults.words(&path.child("ip"), ip, words::ip(ip));
    if !host.is_empty() {
        faults.words(&path.child("hostname"), host, words::dns_label(host));
    }
    if let Some(node) = address["nodeName"].as_str() {
        faults.words(&path.child("nodeName"), node, Names::Subdomain.check(node, false));
    }
    words::ordinary_ip(ip, &path.child("ip"), faults);
}

fn port(port: &Value, needs_name: bool, path: &Path, faults: &mut Faults) {
    let (name, own) = (text(port, "name"), number(port, "port"));
    if !name.is_empty() {
        faults.words(&path.child("name"), name, words::dns_label(name));
    } else if needs_name {
        faults.required(&path.child("name"), "");
    }
    faults.numbers(&path.child("port"), own, words::port_number(own));
    faults.chosen(&path.child("protocol"), text(port, "protocol"), &PROTOCOLS);
    if let Some(protocol) = port["appProtocol"].as_str() {
        faults.words(&path.child("appProtocol"), protocol, words::qualified_name(protocol));
    }
}

/// A slice's ports have a name, if an empty one.
pub(super) fn default_slice(slice: &mut Value) {
    for port in items(slice, "ports") {
        set_missing(port, "name", "");
        set_missing(port, "protocol", "TCP");
    }
}

/// A slice that is made.
pub(super) fn validate_slice(slice: &Value, faults: &mut Faults) {
    let kind = text(slice, "addressType");
    faults.chosen(&Path::new("addressType"), kind, &["FQDN", "IPv4", "IPv6"]);
    let (path, endpoints) = (Path::new("endpoints"), list(slice, "endpoints"));
    if endpoints.len() > ENDPOINTS_MAX {
        faults.too_many(&path, endpoints.len(), ENDPOINTS_MAX);
    } else {
        for (index, one) in endpoints.iter().enumerate() {
            endpoint(one, kind, &path.index(index), faults);
        }
    }
    slice_ports(slice, &Path::new("ports"), faults);
}

fn endpoint(endpoint: &Value, kind: &str, path: &Path, faults: &mut Faults) {
    let addresses = texts(endpoint, "addresses");
    let at = path.child("addresses");
    if addresses.is_empty() {
        faults.required(&at, "must contain at least 1 address");
    } else if addresses.len() > ADDRESSES_MAX {
        faults.too_many(&at, addresses.len(), ADDRESSES_MAX);
    }
    for (index, address) in addresses.iter().enumerate() {
        let at = at.index(index);
        match kind {
            "IPv4" | "IPv6" => {
                let fits = words::parse_ip(address).is_some_and(|ip| ip.is_ipv6() == (kind == "IPv6"));
                if !fits {
                    faults.invalid(&at, *address, &format!("must be a valid {kind} address"));
                }
                words::ordinary_ip(address, &at, faults);
            }
            "FQDN" => faults.words(&at, address, words::dns_subdomain(address)),
            _ => {}
        }
    }
    if let Some(node) = endpoint["nodeName"].as_str() {
        faults.words(&path.child("nodeName"), node, Names::Subdomain.check(node, false));
    }
    for (key, _) in super::look::entries(endpoint, "deprecatedTopology") {
        label_name(key, &path.child("deprecatedTopology"), faults);
    }
    if let Some(host) = endpoint["hostname"].as_str() {
        faults.words(&path.child("hostname"), host, words::dns_label(host));
    }
    let zones = list(&endpoint["hints"], "forZones");
    let at = path.child("hints").child("forZones");
    if zones.len() > HINTS_MAX {
        faults.too_many(&at, zones.len(), HINTS_MAX);
        return;
    }
    let names: Vec<&str> = zones.iter().map(|zone| text(zone, "name")).collect();
    for (index, zone) in names.iter().enumerate() {
        let at = at.index(index).child("name");
        if names[..index].contains(zone) {
            faults.duplicate(&at, *zone);
        }
        faults.words(&at, zone, words::label_value(zone));
    }
}

fn slice_ports(slice: &Value, path: &Path, faults: &mut Faults) {
    let ports = list(slice, "ports");
    if ports.len() > PORTS_MAX {
        faults.too_many(path, ports.len(), PORTS_MAX);
        return;
    }
    let mut names: Vec<&str> = Vec::new();
    for (index, port) in ports.iter().enumerate() {
        let path = path.index(index);
        let name = text(port, "name");
        if !name.is_empty() {
            faults.words(&path.child("name"), name, words::dns_label(name));
        }
        if names.contains(&name) {
            faults.duplicate(&path.child("name"), name);
        }
        names.push(name);
        if let Some(own) = int(port, "port") {
            faults.numbers(&path.child("port"), own, words::port_number(own));
        }
        if given(port, "protocol") {
            faults.one_of(&path.child("protocol"), text(port, "protocol"), &PROTOCOLS);
        } else {
            faults.required(&path.child("protocol"), "");
        }
        if let Some(protocol) = port["appProtocol"].as_str() {
            faults.words(&path.child("appProtocol"), protocol, words::qualified_name(protocol));
        }
    }
}

/// A slice that is changed: not what sort of addresses it has.
pub(super) fn validate_slice_update(new: &Value, old: &Value, faults: &mut Faults) {
    validate_slice(new, faults);
    let field = "addressType";
    faults.immutable(&Path::new(field), &new[field], &old[field]);
}
