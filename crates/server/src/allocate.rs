//! Addresses and ports of Services: each is a key of the store, so that no two Services can hold the same one,
//! whichever servers they are written through.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use serde_json::{Value, json};
use shoal_api::field::{self, Path};
use shoal_api::{Status, object};
use shoal_store::{Expect, ListOptions, Write};

use crate::admit::Admission;
use crate::registry::Served;

/// The addresses of Services, `10.96.0.0/16`, as kubeadm has them. The first is the API server's.
pub(crate) const SERVICE_NETWORK: (Ipv4Addr, u8) = (Ipv4Addr::new(10, 96, 0, 0), 16);
/// The address of the Service `kubernetes`.
pub(crate) const API_SERVICE: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 1);
/// Ports on each node, as in Kubernetes.
pub(crate) const NODE_PORTS: std::ops::RangeInclusive<u16> = 30000..=32767;
/// The low part of the addresses, which is given only to those who ask: Kubernetes keeps at most 256.
const ASKED_FOR: u32 = 256;
/// Addresses tried at random before all are looked at.
const GUESSES: usize = 16;

const ADDRESSES: &str = "/shoal/allocations/clusterips/";
const PORTS: &str = "/shoal/allocations/nodeports/";

/// What a new Service takes, filled into it.
///
/// # Errors
/// 422: what it asks for is taken, or none is left.
pub(crate) async fn create(
    admission: &Admission<'_>,
    served: &Served,
    object: &mut Cow<'_, Value>,
) -> Result<Vec<Write>, Status> {
    if !served.is_core("services") {
        return Ok(Vec::new());
    }
    let service = object.to_mut();
    fill(admission, service).await?;
    claims(admission, service, &BTreeSet::new()).await
}

/// What a changed Service takes and gives back, filled into it.
///
/// # Errors
/// As [`create`].
pub(crate) async fn update(
    admission: &Admission<'_>,
    served: &Served,
    old: &Value,
    service: &mut Value,
) -> Result<Vec<Write>, Status> {
    if !served.is_core("services") || !admission.subresource.is_empty() {
        return Ok(Vec::new());
    }
    fill(admission, service).await?;
    let (held, wanted) = (held(old), held(service));
    let mut writes = claims(admission, service, &held).await?;
    writes.extend(releases(admission, held.difference(&wanted)).await?);
    Ok(writes)
}

/// What a deleted Service gives back.
///
/// # Errors
/// Those of the store.
pub(crate) async fn release(
    admission: &Admission<'_>,
    served: &Served,
    old: &Value,
) -> Result<Vec<Write>, Status> {
    if !served.is_core("services") {
        return Ok(Vec::new());
    }
    releases(admission, held(old).iter()).await
}

/// The keys that a Service holds.
fn held(service: &Value) -> BTreeSet<String> {
    let spec = &service["spec"];
    let addresses = spec["clusterIPs"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let addresses = addresses.filter(|address| address.parse::<Ipv4Addr>().is_ok());
    let ports =
        ports(spec).filter_map(|port| port["nodePort"].as_u64()).chain(spec["healthCheckNodePort"].as_u64());
    addresses
        .map(|address| format!("{ADDRESSES}{address}"))
        .chain(ports.filter(|port| *port > 0).map(|port| format!("{PORTS}{port}")))
        .collect()
}

fn ports(spec: &Value) -> impl Iterator<Item = &Value> {
    spec["ports"].as_array().into_iter().flatten()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn needs_address(service: &Value) -> bool {
    text(&service["spec"]["type"]) != "ExternalName"
}

fn needs_ports(service: &Value) -> bool {
    match text(&service["spec"]["type"]) {
        "NodePort" => true,
        "LoadBalancer" => service["spec"]["allocateLoadBalancerNodePorts"] != false,
        _ => false,
    }
}

/// Whether whoever balances load asks each node how it is, at a port of its own.
fn needs_health_check(service: &Value) -> bool {
    text(&service["spec"]["type"]) == "LoadBalancer"
        && text(&service["spec"]["externalTrafficPolicy"]) == "Local"
}

/// Gives a Service the address and ports that it leaves open.
async fn fill(admission: &Admission<'_>, service: &mut Value) -> Result<(), Status> {
    if needs_address(service) {
        let asked = text(&service["spec"]["clusterIP"]).to_owned();
        let address = match asked.as_str() {
            "" => free_address(admission, service).await?.to_string(),
            "None" => asked,
            _ => in_network(service, &asked)?.to_string(),
        };
        let spec = &mut service["spec"];
        spec["clusterIPs"] = json!([address]);
        spec["clusterIP"] = address.into();
        for (field, value) in [("ipFamilies", json!(["IPv4"])), ("ipFamilyPolicy", json!("SingleStack"))] {
            if spec[field].is_null() {
                spec[field] = value;
            }
        }
    }
    in_range(service)?;
    if needs_health_check(service) {
        fill_health_check(admission, service).await?;
    }
    if needs_ports(service) {
        let mut taken = used(admission, PORTS).await?;
        taken.extend(
            held(service)
                .iter()
                .filter_map(|key| key.strip_prefix(PORTS)?.parse::<u16>().ok().map(u32::from)),
        );
        let kind = service.clone();
        for port in service["spec"]["ports"].as_array_mut().into_iter().flatten() {
            if port["nodePort"].as_u64().unwrap_or(0) == 0 {
                let free = free_port(admission, &taken).ok_or_else(|| {
                    refuse(
                        &kind,
                        &field::Error::invalid(
                            &Path::new("spec").child("ports"),
                            &json!(null),
                            "no node port is left",
                        ),
                    )
                })?;
                taken.insert(u32::from(free));
                port["nodePort"] = free.into();
            }
        }
    }
    Ok(())
}

/// Gives a Service its port for health checks.
async fn fill_health_check(admission: &Admission<'_>, service: &mut Value) -> Result<(), Status> {
    let asked = service["spec"]["healthCheckNodePort"].as_u64().unwrap_or(0);
    if asked == 0 {
        let mut taken = used(admission, PORTS).await?;
        taken.extend(
            ports(&service["spec"]).filter_map(|port| u32::try_from(port["nodePort"].as_u64()?).ok()),
        );
        let free = free_port(admission, &taken);
        let free = free.ok_or_else(|| {
            Status::internal("failed to allocate a HealthCheck NodePort: no node port is left")
        })?;
        service["spec"]["healthCheckNodePort"] = free.into();
        return Ok(());
    }
    if u16::try_from(asked).is_ok_and(|port| NODE_PORTS.contains(&port)) {
        return Ok(());
    }
    Err(Status::internal(format!(
        "failed to allocate requested HealthCheck NodePort {asked}: {}",
        out_of_range()
    )))
}

/// An address that a Service asks for, if it is one of those that there are.
fn in_network(service: &Value, asked: &str) -> Result<Ipv4Addr, Status> {
    let (network, bits) = SERVICE_NETWORK;
    let is_in = |address: &Ipv4Addr| (u32::from(*address) ^ u32::from(network)) >> (32 - bits) == 0;
    asked.parse().ok().filter(is_in).ok_or_else(|| {
        let why = format!(
            "the provided IP ({asked}) is not in the valid range. The range of valid IPs is {network}/{bits}"
        );
        refuse(service, &address_error(asked, &why))
    })
}

/// Whether the ports that a Service asks for are of those that there are.
fn in_range(service: &Value) -> Result<(), Status> {
    for (index, port) in ports(&service["spec"]).enumerate() {
        let Some(number) = port["nodePort"].as_u64().filter(|number| *number > 0) else { continue };
        if !u16::try_from(number).is_ok_and(|number| NODE_PORTS.contains(&number)) {
            let why = out_of_range();
            let path = Path::new("spec").child("ports").index(index).child("nodePort");
            return Err(refuse(service, &field::Error::invalid(&path, &json!(number), &why)));
        }
    }
    Ok(())
}

fn out_of_range() -> String {
    let (first, last) = (NODE_PORTS.start(), NODE_PORTS.end());
    format!("provided port is not in the valid range. The range of valid ports is {first}-{last}")
}

/// What is wrong with an address, as Go shows the list that it stands in.
fn address_error(address: &str, why: &str) -> field::Error {
    let message = format!("Invalid value: []string{{{address:?}}}: failed to allocate IP {address}: {why}");
    field::Error { reason: field::Reason::Invalid, path: Path::new("spec").child("clusterIPs"), message }
}

/// The writes that take what a Service holds and did not hold before.
async fn claims(
    admission: &Admission<'_>,
    service: &Value,
    before: &BTreeSet<String>,
) -> Result<Vec<Write>, Status> {
    let owner = format!("{}/{}", object::namespace(service), object::name(service));
    let mut writes = Vec::new();
    for key in held(service).difference(before) {
        if admission.api.objects.get(key.as_bytes()).await?.is_some() {
            return Err(taken(service, key));
        }
        writes.push(Write::put(key.clone().into_bytes(), owner.clone().into_bytes(), Expect::Absent));
    }
    Ok(writes)
}

async fn releases<'k>(
    admission: &Admission<'_>,
    keys: impl Iterator<Item = &'k String>,
) -> Result<Vec<Write>, Status> {
    let mut writes = Vec::new();
    for key in keys {
        if let Some(found) = admission.api.objects.get(key.as_bytes()).await? {
            writes.push(Write::delete(found.key, found.revision));
        }
    }
    Ok(writes)
}

fn taken(service: &Value, key: &str) -> Status {
    let spec = Path::new("spec");
    let error = match key.strip_prefix(ADDRESSES) {
        Some(address) => address_error(address, "provided IP is already allocated"),
        None => {
            let port: u64 = key.trim_start_matches(PORTS).parse().unwrap_or(0);
            if service["spec"]["healthCheckNodePort"].as_u64() == Some(port) {
                return Status::internal(format!(
                    "failed to allocate requested HealthCheck NodePort {port}: provided port is already allocated"
                ));
            }
            let at =
                ports(&service["spec"]).position(|one| one["nodePort"].as_u64() == Some(port)).unwrap_or(0);
            field::Error::invalid(
                &spec.child("ports").index(at).child("nodePort"),
                &json!(port),
                "provided port is already allocated",
            )
        }
    };
    refuse(service, &error)
}

fn refuse(service: &Value, error: &field::Error) -> Status {
    let kind = shoal_api::GroupKind { group: String::new(), kind: "Service".into() };
    Status::invalid(&kind, object::name(service), std::slice::from_ref(error))
}

/// The numbers of what is taken: addresses as 32 bits, ports as they are.
async fn used(admission: &Admission<'_>, prefix: &str) -> Result<BTreeSet<u32>, Status> {
    let options = ListOptions { keys_only: true, ..ListOptions::default() };
    let page = admission
        .api
        .objects
        .store()
        .list(prefix.as_bytes(), options)
        .await
        .map_err(crate::objects::status)?;
    let names =
        page.objects.iter().filter_map(|object| std::str::from_utf8(&object.key[prefix.len()..]).ok());
    Ok(names
        .filter_map(|name| name.parse::<Ipv4Addr>().map(u32::from).or_else(|_| name.parse()).ok())
        .collect())
}

/// An address that nobody has, from the upper part of the network first.
async fn free_address(admission: &Admission<'_>, service: &Value) -> Result<Ipv4Addr, Status> {
    let (network, bits) = SERVICE_NETWORK;
    let first = u32::from(network);
    let size = 1_u32 << (32 - bits);
    let dynamic = size - ASKED_FOR - 1;
    for _ in 0..GUESSES {
        let at = ASKED_FOR + u32::try_from(admission.api.random() % u64::from(dynamic)).unwrap_or(0);
        let address = Ipv4Addr::from(first + at);
        if admission.api.objects.get(format!("{ADDRESSES}{address}").as_bytes()).await?.is_none() {
            return Ok(address);
        }
    }
    let used = used(admission, ADDRESSES).await?;
    let all = (ASKED_FOR..size - 1).chain(2..ASKED_FOR).map(|at| first + at);
    let free = all.into_iter().find(|address| !used.contains(address)).map(Ipv4Addr::from);
    free.ok_or_else(|| {
        let path = Path::new("spec").child("clusterIPs");
        let detail = "failed to allocate a serviceIP: range is full";
        refuse(service, &field::Error::invalid(&path, &json!([]), detail))
    })
}

fn free_port(admission: &Admission<'_>, taken: &BTreeSet<u32>) -> Option<u16> {
    let count = u64::from(NODE_PORTS.end() - NODE_PORTS.start()) + 1;
    let start = u16::try_from(admission.api.random() % count).unwrap_or(0);
    let all = (*NODE_PORTS.start() + start..=*NODE_PORTS.end())
        .chain(*NODE_PORTS.start()..*NODE_PORTS.start() + start);
    all.into_iter().find(|port| !taken.contains(&u32::from(*port)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_must_be_one_of_those_that_there_are() {
        let service = |spec: Value| json!({"metadata": {"name": "web"}, "spec": spec});
        let plain = service(json!({}));
        for address in ["10.96.0.0", "10.96.255.255", "10.96.0.1"] {
            assert_eq!(
                in_network(&plain, address).map(|address| address.to_string()).as_deref(),
                Ok(address)
            );
        }
        for address in ["10.95.255.255", "10.97.0.0", "1.2.3.4", "fd00::1"] {
            let message = in_network(&plain, address).expect_err(address).message;
            assert_eq!(
                message,
                format!(
                    "Service \"web\" is invalid: spec.clusterIPs: Invalid value: []string{{\"{address}\"}}: failed to allocate \
                     IP {address}: the provided IP ({address}) is not in the valid range. The range of valid IPs is 10.96.0.0/16"
                )
            );
        }
        let port = |number: u64| in_range(&service(json!({"ports": [{"port": 80}, {"nodePort": number}]})));
        for number in [0, 30000, 32767] {
            assert!(port(number).is_ok(), "{number}");
        }
        for number in [80, 29999, 32768, 95536] {
            assert_eq!(
                port(number).expect_err("out of range").message,
                format!(
                    "Service \"web\" is invalid: spec.ports[1].nodePort: Invalid value: {number}: provided port is not in the \
                     valid range. The range of valid ports is 30000-32767"
                )
            );
        }
    }
}
