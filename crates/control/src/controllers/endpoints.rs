//! Where a Service's traffic can go: Endpoints and EndpointSlices of the pods that its selector chooses.

use core::net::IpAddr;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::{Map, Value, json};
use shoal_api::time::Moment;
use shoal_api::{GroupVersionKind, object};

use crate::controllers::pods::is_ready;
use crate::controllers::slices::{self, Group, Slices};
use crate::filing;
use crate::known::{ENDPOINT_SLICE, ENDPOINTS, NODE, POD, SERVICE};
use crate::plan::{Controller, Interest, Key, Plan, Write};
use crate::snapshot::{Snapshot, has_labels, is_deleted, items, text};

/// Most addresses of one Endpoints object; what is more is left out, and the object says so. As in Kubernetes: one
/// object of more would be too large to send to every watcher at each change.
pub const ADDRESSES_MAX: usize = 1000;

/// Annotation: when what led to the last change happened.
pub const TRIGGER_TIME: &str = "endpoints.kubernetes.io/last-change-trigger-time";

/// Label of Endpoints and EndpointSlices of Services without an address.
const HEADLESS: &str = "service.kubernetes.io/headless";

const OVER_CAPACITY: &str = "endpoints.kubernetes.io/over-capacity";

/// Who manages EndpointSlices made of pods.
const MANAGER: &str = "endpointslice-controller.k8s.io";

/// Keeps the Endpoints object of each Service with a selector.
pub struct Endpoints;

/// Keeps the EndpointSlices of each Service with a selector.
pub struct EndpointSlices;

/// An address, and whether it is ready.
type Address = (bool, Value);

/// A pod as the destination of a Service.
struct Destination {
    pod: Arc<Value>,
    /// Ports of the Service on this pod, as EndpointSlices hold them.
    ports: Vec<Value>,
    serving: bool,
    terminating: bool,
    ready: bool,
}

impl Controller for Endpoints {
    fn name(&self) -> &'static str {
        "endpoint-controller"
    }

    fn interests(&self) -> Vec<Interest> {
        vec![
            Interest::own(&SERVICE),
            Interest::of(&POD, services_of_pod),
            Interest::of(&ENDPOINTS, |_, _, endpoints| vec![Key::of(&SERVICE, endpoints)]),
        ]
    }

    fn plan(&self, world: &dyn Snapshot, key: &Key, now: Moment) -> Plan {
        let known = world.get(&ENDPOINTS, &key.namespace, &key.name);
        let Some(service) = world.get(&SERVICE, &key.namespace, &key.name) else {
            let ours = known.filter(|known| object::annotation(known, TRIGGER_TIME).is_some());
            let writes = ours.map(|known| Write::delete_unchanged(&ENDPOINTS, &known, None));
            return Plan { writes: writes.into_iter().collect(), ..Plan::default() };
        };
        if !has_selector(&service) {
            return Plan::default();
        }
        let wanted = endpoints(&service, &destinations(world, &service));
        let write = match known {
            None => Write::create(&ENDPOINTS, stamped(wanted, now)),
            Some(known) if same(&known, &wanted) => return Plan::default(),
            Some(known) => {
                let mut wanted = stamped(wanted, now);
                let metadata = object::metadata_mut(&mut wanted);
                let kept = known["metadata"].as_object().into_iter().flatten();
                for (field, value) in
                    kept.filter(|(field, _)| !["labels", "annotations"].contains(&&***field))
                {
                    metadata.insert(field.clone(), value.clone());
                }
                Write::update(&ENDPOINTS, wanted)
            }
        };
        Plan::write(write)
    }
}

impl Controller for EndpointSlices {
    fn name(&self) -> &'static str {
        "endpointslice-controller"
    }

    fn interests(&self) -> Vec<Interest> {
        vec![
            Interest::own(&SERVICE),
            Interest::of(&POD, services_of_pod),
            Interest::of(&ENDPOINT_SLICE, |_, _, slice| slices::service_of(slice, MANAGER)),
            Interest::of(&NODE, services_on_node),
        ]
    }

    fn plan(&self, world: &dyn Snapshot, key: &Key, now: Moment) -> Plan {
        let service = world.get(&SERVICE, &key.namespace, &key.name);
        let Some(service) = service.filter(|service| has_selector(service) && !is_deleted(service)) else {
            return Plan::default();
        };
        let destinations = destinations(world, &service);
        let groups: Vec<Group> = families(&service)
            .into_iter()
            .flat_map(|family| groups(world, &service, &destinations, family))
            .collect();
        let wanted = Slices {
            owner: (&SERVICE, &service),
            service: &key.name,
            manager: MANAGER,
            labels: labels(&service),
            annotations: Map::new(),
            groups,
        };
        Plan { writes: wanted.reconcile(world, now), ..Plan::default() }
    }
}

/// Services whose selector chooses a pod.
fn services_of_pod(world: &dyn Snapshot, _: &GroupVersionKind, pod: &Value) -> Vec<Key> {
    let labels = filing::pairs(&pod["metadata"]["labels"]);
    let services = labels.flat_map(|label| world.filed(&SERVICE, object::namespace(pod), &[label]));
    let chosen =
        services.filter(|service| has_selector(service) && has_labels(pod, &service["spec"]["selector"]));
    chosen.map(|service| Key::of(&SERVICE, &service)).collect()
}

/// Services that have an endpoint on a node: its zone may have changed.
fn services_on_node(world: &dyn Snapshot, _: &GroupVersionKind, node: &Value) -> Vec<Key> {
    let zone = zone(node);
    let stale =
        |endpoint: &Value| endpoint["nodeName"] == *object::name(node) && endpoint["zone"].as_str() != zone;
    let slices = world.list(&ENDPOINT_SLICE, None);
    let stale = slices.iter().filter(|slice| items(&slice["endpoints"]).any(stale));
    let keys: BTreeSet<Key> = stale.flat_map(|slice| slices::service_of(slice, MANAGER)).collect();
    keys.into_iter().collect()
}

fn has_selector(service: &Value) -> bool {
    service["spec"]["selector"].as_object().is_some_and(|selector| !selector.is_empty())
        && service["spec"]["type"] != "ExternalName"
}

/// The pods that a Service chooses, by name, with what it may send them.
fn destinations(world: &dyn Snapshot, service: &Value) -> Vec<Destination> {
    let labels: Vec<String> = filing::pairs(&service["spec"]["selector"]).collect();
    let chosen = world.filed(&POD, object::namespace(service), &labels).into_iter();
    let alive = chosen.filter(|pod| {
        let ended = matches!(text(&pod["status"]["phase"]), "Succeeded" | "Failed");
        !ended && addresses(pod).next().is_some()
    });
    let publish = service["spec"]["publishNotReadyAddresses"] == true;
    alive
        .map(|pod| {
            let (serving, terminating) = (is_ready(&pod), is_deleted(&pod));
            let ready = publish || (serving && !terminating);
            Destination { ports: ports(service, &pod), pod, serving, terminating, ready }
        })
        .collect()
}

fn addresses(pod: &Value) -> impl Iterator<Item = IpAddr> {
    let of_list = items(&pod["status"]["podIPs"]).map(|entry| &entry["ip"]);
    let mut seen = BTreeSet::new();
    let all = of_list.chain([&pod["status"]["podIP"]]);
    all.filter_map(|ip| ip.as_str()?.parse().ok()).filter(move |ip| seen.insert(*ip))
}

/// The Service's ports as a pod has them. A named port that the pod does not have is left out.
fn ports(service: &Value, pod: &Value) -> Vec<Value> {
    let port = |port: &Value| {
        let protocol = port["protocol"].as_str().unwrap_or("TCP");
        let number = match &port["targetPort"] {
            Value::String(name) if !name.is_empty() => container_port(pod, name, protocol)?,
            Value::Number(number) if number.as_u64() != Some(0) => number.as_u64()?,
            _ => port["port"].as_u64()?,
        };
        let mut found = json!({"name": text(&port["name"]), "protocol": protocol, "port": number});
        if let Some(application) = port["appProtocol"].as_str() {
            found["appProtocol"] = json!(application);
        }
        Some(found)
    };
    items(&service["spec"]["ports"]).filter_map(port).collect()
}

fn container_port(pod: &Value, name: &str, protocol: &str) -> Option<u64> {
    let sidecars = items(&pod["spec"]["initContainers"]).filter(|one| one["restartPolicy"] == "Always");
    let containers = items(&pod["spec"]["containers"]).chain(sidecars);
    let mut ports = containers.flat_map(|container| items(&container["ports"]));
    let found =
        ports.find(|port| port["name"] == name && port["protocol"].as_str().unwrap_or("TCP") == protocol)?;
    found["containerPort"].as_u64()
}

/// `IPv4`, `IPv6` or both, as the Service has them.
fn families(service: &Value) -> Vec<&'static str> {
    let known = |family: &str| match family {
        "IPv4" => Some("IPv4"),
        "IPv6" => Some("IPv6"),
        _ => None,
    };
    let families: Vec<&str> =
        items(&service["spec"]["ipFamilies"]).filter_map(|family| known(family.as_str()?)).collect();
    if !families.is_empty() {
        return families;
    }
    let of_address = text(&service["spec"]["clusterIP"]).parse().map(slices::family);
    vec![of_address.unwrap_or("IPv4")]
}

/// The endpoints of one family, by the ports that they have.
fn groups(world: &dyn Snapshot, service: &Value, all: &[Destination], family: &'static str) -> Vec<Group> {
    let mut groups: BTreeMap<String, Group> = BTreeMap::new();
    for destination in all {
        let Some(address) = addresses(&destination.pod).find(|ip| slices::family(*ip) == family) else {
            continue;
        };
        let key = json!(destination.ports).to_string();
        let group = groups.entry(key).or_insert_with(|| Group::new(family, &destination.ports));
        group.endpoints.push(endpoint(world, service, destination, address));
    }
    if groups.is_empty() {
        return vec![Group::new(family, &[])];
    }
    groups.into_values().collect()
}

fn endpoint(world: &dyn Snapshot, service: &Value, destination: &Destination, address: IpAddr) -> Value {
    let Destination { pod, serving, terminating, ready, .. } = destination;
    let mut endpoint = json!({
        "addresses": [address.to_string()],
        "conditions": {"ready": ready, "serving": serving, "terminating": terminating},
        "targetRef": target(pod),
    });
    if let Some(name) = pod["spec"]["nodeName"].as_str().filter(|name| !name.is_empty()) {
        endpoint["nodeName"] = json!(name);
        let node = world.get(&NODE, "", name);
        if let Some(zone) = node.as_deref().and_then(zone) {
            endpoint["zone"] = json!(zone);
            if service["spec"]["trafficDistribution"] == "PreferClose" && *ready {
                endpoint["hints"] = json!({"forZones": [{"name": zone}]});
            }
        }
    }
    if let Some(hostname) = hostname(service, pod) {
        endpoint["hostname"] = json!(hostname);
    }
    endpoint
}

fn zone(node: &Value) -> Option<&str> {
    object::label(node, "topology.kubernetes.io/zone")
}

fn target(pod: &Value) -> Value {
    json!({
        "kind": "Pod", "namespace": object::namespace(pod), "name": object::name(pod), "uid": object::uid(pod),
    })
}

fn hostname<'a>(service: &Value, pod: &'a Value) -> Option<&'a str> {
    let ours = pod["spec"]["subdomain"] == *object::name(service);
    pod["spec"]["hostname"].as_str().filter(|hostname| ours && !hostname.is_empty())
}

/// The labels of what is made of a Service: its own, and whether it has no address.
fn labels(service: &Value) -> Map<String, Value> {
    let mut labels = service["metadata"]["labels"].as_object().cloned().unwrap_or_default();
    labels.remove(HEADLESS);
    if service["spec"]["clusterIP"] == "None" {
        labels.insert(HEADLESS.into(), json!(""));
    }
    labels
}

/// The Endpoints object, without when it changed.
fn endpoints(service: &Value, all: &[Destination]) -> Value {
    let family = families(service)[0];
    // The addresses behind each port; ports with the same addresses then share a subset.
    let mut by_port: BTreeMap<String, (Value, Vec<Address>)> = BTreeMap::new();
    let mut count = 0;
    let publish = service["spec"]["publishNotReadyAddresses"] == true;
    let mut ordered: Vec<&Destination> = all.iter().filter(|one| publish || !one.terminating).collect();
    // What is ready stays when there is too much.
    ordered.sort_by_key(|destination| !destination.ready);
    for destination in ordered {
        let Some(ip) = addresses(&destination.pod).find(|ip| slices::family(*ip) == family) else { continue };
        count += 1;
        if count > ADDRESSES_MAX {
            continue;
        }
        let address = address(service, destination, ip);
        let headless = destination.ports.is_empty() && service["spec"]["clusterIP"] == "None";
        let portless = if headless { vec![Value::Null] } else { Vec::new() };
        for port in destination.ports.iter().chain(&portless) {
            let entry = by_port.entry(port.to_string()).or_insert_with(|| (port.clone(), Vec::new()));
            entry.1.push((destination.ready, address.clone()));
        }
    }
    let mut object = json!({
        "metadata": {
            "name": object::name(service), "namespace": object::namespace(service), "labels": labels(service),
            "annotations": {},
        },
    });
    let subsets = subsets(by_port);
    if !subsets.is_empty() {
        object["subsets"] = json!(subsets);
    }
    if count > ADDRESSES_MAX {
        object["metadata"]["annotations"][OVER_CAPACITY] = json!("truncated");
    }
    object
}

fn subsets(by_port: BTreeMap<String, (Value, Vec<Address>)>) -> Vec<Value> {
    let mut subsets: Vec<(Vec<Address>, Vec<Value>)> = Vec::new();
    for (port, mut addresses) in by_port.into_values() {
        addresses.sort_by_key(|(_, address)| text(&address["ip"]).to_string());
        let ports: Vec<Value> = Some(port).filter(|port| !port.is_null()).into_iter().collect();
        match subsets.iter_mut().find(|(known, _)| *known == addresses) {
            Some((_, known)) => known.extend(ports),
            None => subsets.push((addresses, ports)),
        }
    }
    let subset = |(addresses, ports): (Vec<Address>, Vec<Value>)| {
        let (ready, not_ready): (Vec<_>, Vec<_>) = addresses.into_iter().partition(|(ready, _)| *ready);
        let lists = [("addresses", ready), ("notReadyAddresses", not_ready)];
        let mut subset = json!({});
        for (field, list) in lists.into_iter().filter(|(_, list)| !list.is_empty()) {
            subset[field] = list.into_iter().map(|(_, address)| address).collect();
        }
        if !ports.is_empty() {
            subset["ports"] = ports.into_iter().map(unnamed_if_empty).collect();
        }
        subset
    };
    subsets.into_iter().map(subset).collect()
}

/// Endpoints leave an empty name out; EndpointSlices hold it.
fn unnamed_if_empty(mut port: Value) -> Value {
    if port["name"] == "" {
        port.as_object_mut().expect("ports are JSON objects").remove("name");
    }
    port
}

fn address(service: &Value, destination: &Destination, ip: IpAddr) -> Value {
    let pod = &destination.pod;
    let mut address = json!({"ip": ip.to_string(), "targetRef": target(pod)});
    if let Some(node) = pod["spec"]["nodeName"].as_str().filter(|name| !name.is_empty()) {
        address["nodeName"] = json!(node);
    }
    if let Some(hostname) = hostname(service, pod) {
        address["hostname"] = json!(hostname);
    }
    address
}

fn stamped(mut endpoints: Value, now: Moment) -> Value {
    endpoints["metadata"]["annotations"][TRIGGER_TIME] = json!(now.to_time());
    endpoints
}

/// Whether what is there is what is wanted, but for when it changed.
fn same(known: &Value, wanted: &Value) -> bool {
    let empty = json!({});
    let or_empty = |value: &Value| if value.is_null() { empty.clone() } else { value.clone() };
    let capacity = |object: &Value| object::annotation(object, OVER_CAPACITY).map(String::from);
    known["subsets"] == wanted["subsets"]
        && or_empty(&known["metadata"]["labels"]) == or_empty(&wanted["metadata"]["labels"])
        && capacity(known) == capacity(wanted)
}
