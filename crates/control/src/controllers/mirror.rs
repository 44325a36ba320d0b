//! Endpoints that somebody wrote by hand, mirrored as EndpointSlices.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use shoal_api::object;
use shoal_api::time::Moment;

use crate::controllers::endpoints::TRIGGER_TIME;
use crate::controllers::slices::{self, Group, Slices};
use crate::known::{ENDPOINT_SLICE, ENDPOINTS, SERVICE};
use crate::plan::{Controller, Interest, Key, Plan};
use crate::snapshot::{Snapshot, is_deleted, items, text};

/// Most addresses of one subset that are mirrored, as in Kubernetes.
pub const ADDRESSES_PER_SUBSET_MAX: usize = 1000;

const MANAGER: &str = "endpointslicemirroring-controller.k8s.io";

/// Label of Endpoints that are not mirrored.
const SKIP: &str = "endpointslice.kubernetes.io/skip-mirror";

/// Annotation of Endpoints that serve as a lock.
const LEADER: &str = "control-plane.alpha.kubernetes.io/leader";

/// Mirrors the Endpoints of Services without a selector.
pub struct EndpointSliceMirroring;

impl Controller for EndpointSliceMirroring {
    fn name(&self) -> &'static str {
        "endpointslicemirroring-controller"
    }

    fn interests(&self) -> Vec<Interest> {
        vec![
            Interest::own(&SERVICE),
            Interest::of(&ENDPOINTS, |_, _, endpoints| vec![Key::of(&SERVICE, endpoints)]),
            Interest::of(&ENDPOINT_SLICE, |_, _, slice| slices::service_of(slice, MANAGER)),
        ]
    }

    fn plan(&self, world: &dyn Snapshot, key: &Key, now: Moment) -> Plan {
        let endpoints = world.get(&ENDPOINTS, &key.namespace, &key.name);
        // Slices of Endpoints that are gone go by their owner reference.
        let Some(endpoints) = endpoints.filter(|found| !is_deleted(found)) else { return Plan::default() };
        let service = world.get(&SERVICE, &key.namespace, &key.name);
        let by_hand = service.is_some_and(|service| service["spec"]["selector"].is_null());
        let mirrored = by_hand && is_mirrored(&endpoints);
        let wanted = Slices {
            owner: (&ENDPOINTS, &endpoints),
            service: &key.name,
            manager: MANAGER,
            labels: endpoints["metadata"]["labels"].as_object().cloned().unwrap_or_default(),
            annotations: annotations(&endpoints),
            groups: if mirrored { groups(&endpoints) } else { Vec::new() },
        };
        Plan { writes: wanted.reconcile(world, now), ..Plan::default() }
    }
}

fn is_mirrored(endpoints: &Value) -> bool {
    object::label(endpoints, SKIP) != Some("true") && object::annotation(endpoints, LEADER).is_none()
}

fn annotations(endpoints: &Value) -> Map<String, Value> {
    let mut annotations = endpoints["metadata"]["annotations"].as_object().cloned().unwrap_or_default();
    annotations.remove("kubectl.kubernetes.io/last-applied-configuration");
    annotations.remove(TRIGGER_TIME);
    annotations
}

fn groups(endpoints: &Value) -> Vec<Group> {
    let mut groups: BTreeMap<(&str, String), Group> = BTreeMap::new();
    for subset in items(&endpoints["subsets"]) {
        let ports: Vec<Value> = items(&subset["ports"]).map(port).collect();
        let ready = items(&subset["addresses"]).map(|address| (true, address));
        let all = ready.chain(items(&subset["notReadyAddresses"]).map(|address| (false, address)));
        for (ready, address) in all.take(ADDRESSES_PER_SUBSET_MAX) {
            let Ok(ip) = text(&address["ip"]).parse() else { continue };
            let family = slices::family(ip);
            let key = (family, json!(ports).to_string());
            let group = groups.entry(key).or_insert_with(|| Group::new(family, &ports));
            group.endpoints.push(endpoint(address, ready));
        }
    }
    groups.into_values().collect()
}

fn port(port: &Value) -> Value {
    let protocol = port["protocol"].as_str().unwrap_or("TCP");
    let mut found = json!({"name": text(&port["name"]), "protocol": protocol, "port": port["port"]});
    if let Some(application) = port["appProtocol"].as_str() {
        found["appProtocol"] = json!(application);
    }
    found
}

fn endpoint(address: &Value, ready: bool) -> Value {
    let mut endpoint = json!({"addresses": [address["ip"]], "conditions": {"ready": ready}});
    for field in ["targetRef", "nodeName", "hostname"] {
        if let Some(value) = address.get(field).filter(|value| !value.is_null()) {
            endpoint[field] = value.clone();
        }
    }
    endpoint
}
