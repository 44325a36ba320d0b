//! Network policies.

use serde_json::{Map, Value, json};
use shoal_api::field::Path;

use super::faults::Faults;
use super::look::{child, given, int, items, list, set, set_missing, text, texts};
use super::{golang, selector, words};

/// A policy says what it is about.
pub(super) fn default(policy: &mut Value) {
    let Some(spec) = child(policy, "spec") else { return };
    set_missing(spec, "podSelector", Map::new());
    for field in ["ingress", "egress"] {
        for rule in items(spec, field) {
            for port in items(rule, "ports") {
                set_missing(port, "protocol", "TCP");
            }
        }
    }
    if list(spec, "policyTypes").is_empty() {
        let outward = !list(spec, "egress").is_empty();
        let types = if outward { json!(["Ingress", "Egress"]) } else { json!(["Ingress"]) };
        set(spec, "policyTypes", types);
    }
}

/// A policy that is made or changed.
pub(super) fn validate(policy: &Value, faults: &mut Faults) {
    let (spec, path) = (&policy["spec"], Path::new("spec"));
    selector::validate(&spec["podSelector"], &path.child("podSelector"), faults);
    for (field, peers) in [("ingress", "from"), ("egress", "to")] {
        for (index, rule) in list(spec, field).iter().enumerate() {
            let path = path.child(field).index(index);
            for (index, port) in list(rule, "ports").iter().enumerate() {
                self::port(port, &path.child("ports").index(index), faults);
            }
            for (index, peer) in list(rule, peers).iter().enumerate() {
                self::peer(peer, &path.child(peers).index(index), faults);
            }
        }
    }
    let types = texts(spec, "policyTypes");
    let path = path.child("policyTypes");
    if types.len() > 2 {
        let shown = golang::list_of("networking.PolicyType", &spec["policyTypes"]);
        faults.invalid_shown(&path, &shown, "may not specify more than two policyTypes");
        return;
    }
    for (index, kind) in types.iter().enumerate() {
        faults.one_of(&path.index(index), kind, &["Ingress", "Egress"]);
    }
}

fn port(port: &Value, path: &Path, faults: &mut Faults) {
    if given(port, "protocol") {
        faults.one_of(&path.child("protocol"), text(port, "protocol"), &["TCP", "UDP", "SCTP"]);
    }
    let (first, last) = (&port["port"], int(port, "endPort"));
    let (at, end) = (path.child("port"), path.child("endPort"));
    match (first.as_i64(), first.as_str()) {
        (Some(first), _) => {
            faults.numbers(&at, first, words::port_number(first));
            if let Some(last) = last {
                if last < first {
                    faults.invalid(&end, last, "must be greater than or equal to `port`");
                }
                faults.numbers(&end, last, words::port_number(last));
            }
        }
        (None, Some(name)) => {
            if let Some(last) = last {
                faults.invalid(&end, last, "may not be specified when `port` is non-numeric");
            }
            faults.words(&at, name, words::port_name(name));
        }
        (None, None) => {
            if let Some(last) = last {
                faults.invalid(&end, last, "may not be specified when `port` is not specified");
            }
        }
    }
}

fn peer(peer: &Value, path: &Path, faults: &mut Faults) {
    let mut found = 0;
    for field in ["podSelector", "namespaceSelector"] {
        if given(peer, field) {
            found += 1;
            selector::validate(&peer[field], &path.child(field), faults);
        }
    }
    if given(peer, "ipBlock") {
        block(&peer["ipBlock"], &path.child("ipBlock"), faults);
        if found > 0 {
            faults.forbidden(path, "may not specify both ipBlock and another peer");
        }
    } else if found == 0 {
        faults.required(path, "must specify a peer");
    }
}

fn block(block: &Value, path: &Path, faults: &mut Faults) {
    let range = text(block, "cidr");
    if range.is_empty() {
        faults.required(&path.child("cidr"), "");
        return;
    }
    faults.words(&path.child("cidr"), range, words::cidr(range));
    let Some(outer) = words::parse_cidr(range) else { return };
    for (index, except) in texts(block, "except").iter().enumerate() {
        let path = path.child("except").index(index);
        faults.words(&path, except, words::cidr(except));
        let Some(inner) = words::parse_cidr(except) else { continue };
        if !contains(outer, inner.0) || outer.1 >= inner.1 {
            faults.invalid(&path, *except, "must be a strict subset of `cidr`");
        }
    }
}

fn contains(range: (core::net::IpAddr, u8), ip: core::net::IpAddr) -> bool {
    use core::net::IpAddr;
    let bits = |ip: IpAddr| match ip {
        IpAddr::V4(ip) => (u128::from(u32::from(ip)) << 96, 32),
        IpAddr::V6(ip) => (u128::from(ip), 128),
    };
    let ((network, width), (address, other_width)) = (bits(range.0), bits(ip));
    let mask = if range.1 == 0 { 0 } else { u128::MAX << (128 - u32::from(range.1)) };
    width == other_width && network & mask == address & mask
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_left_out_of_a_block_lies_in_it() {
        for (except, wrong) in [("10.1.0.0/16", 0), ("10.0.0.0/8", 1), ("11.0.0.0/16", 1), ("::/96", 1)] {
            let mut faults = Faults::default();
            let value = json!({"cidr": "10.0.0.0/8", "except": [except]});
            block(&value, &Path::new("b"), &mut faults);
            assert_eq!(faults.count(), wrong, "{except}");
        }
    }
}
