//! EndpointSlices: how endpoints are spread over slices so that a change of one endpoint rewrites one slice.

use core::net::IpAddr;
use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value, json};
use shoal_api::time::Moment;
use shoal_api::{GroupVersionKind, object};

use crate::controllers::endpoints::TRIGGER_TIME;
use crate::filing;
use crate::known::{ENDPOINT_SLICE, SERVICE};
use crate::plan::{Key, Write};
use crate::snapshot::{Snapshot, api_version, is_deleted, items, text};

/// Most endpoints of one slice, as in Kubernetes: a change sends about 20 KiB to each watcher.
pub const ENDPOINTS_PER_SLICE_MAX: usize = 100;

/// Label of a slice: its Service.
pub const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// Label of a slice: who keeps it.
pub const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";

/// Endpoints with the same ports, of one family.
pub(super) struct Group {
    family: &'static str,
    ports: Vec<Value>,
    /// As slices hold them; each with `addresses`.
    pub(super) endpoints: Vec<Value>,
}

/// All slices that a Service should have of one manager.
pub(super) struct Slices<'a> {
    /// What they go with.
    pub(super) owner: (&'a GroupVersionKind, &'a Value),
    /// Name of the Service.
    pub(super) service: &'a str,
    /// Who keeps them.
    pub(super) manager: &'static str,
    /// Labels without those of this file.
    pub(super) labels: Map<String, Value>,
    /// Annotations without when they changed.
    pub(super) annotations: Map<String, Value>,
    /// What they hold.
    pub(super) groups: Vec<Group>,
}

/// A slice that exists, and what it shall hold.
struct Kept {
    slice: Arc<Value>,
    endpoints: Vec<Value>,
    changed: bool,
}

impl Group {
    pub(super) fn new(family: &'static str, ports: &[Value]) -> Self {
        Self { family, ports: ports.to_vec(), endpoints: Vec::new() }
    }

    fn holds(&self, slice: &Value) -> bool {
        let ports: Vec<&Value> = items(&slice["ports"]).collect();
        slice["addressType"] == self.family && ports.iter().copied().eq(&self.ports)
    }
}

impl Slices<'_> {
    /// What to write so that the slices hold the groups.
    pub(super) fn reconcile(mut self, world: &dyn Snapshot, now: Moment) -> Vec<Write> {
        self.labels.insert(SERVICE_NAME.into(), json!(self.service));
        self.labels.insert(MANAGED_BY.into(), json!(self.manager));
        let namespace = object::namespace(self.owner.1);
        let ours = |slice: &Arc<Value>| {
            let label = |key: &str| object::label(slice, key);
            label(MANAGED_BY) == Some(self.manager) && !is_deleted(slice)
        };
        let of_service = [filing::pair(SERVICE_NAME, self.service)];
        let mut existing: Vec<Arc<Value>> =
            world.filed(&ENDPOINT_SLICE, namespace, &of_service).into_iter().filter(ours).collect();
        let mut writes = Vec::new();
        for group in &self.groups {
            let (of_group, rest) = existing.into_iter().partition(|slice| group.holds(slice));
            existing = rest;
            self.reconcile_group(group, of_group, now, &mut writes);
        }
        let obsolete = existing.iter().map(|slice| Write::delete_unchanged(&ENDPOINT_SLICE, slice, None));
        writes.extend(obsolete);
        writes
    }

    fn reconcile_group(&self, group: &Group, slices: Vec<Arc<Value>>, now: Moment, writes: &mut Vec<Write>) {
        let mut missing: BTreeMap<String, &Value> =
            group.endpoints.iter().map(|endpoint| (identity(endpoint), endpoint)).collect();
        let mut kept: Vec<Kept> = slices.into_iter().map(|slice| self.keep(slice, &mut missing)).collect();
        let mut missing: Vec<Value> = missing.into_values().cloned().collect();
        // Slices that change anyway take what they can, the fullest first.
        kept.sort_by_key(|one| (!one.changed, std::cmp::Reverse(one.endpoints.len())));
        for one in kept.iter_mut().filter(|one| one.changed && !one.endpoints.is_empty()) {
            one.fill(&mut missing);
        }
        while missing.len() >= ENDPOINTS_PER_SLICE_MAX {
            let rest = missing.split_off(ENDPOINTS_PER_SLICE_MAX);
            writes.push(self.create(group, std::mem::replace(&mut missing, rest), now));
        }
        // What is left goes where it fits best, so that one slice is rewritten.
        let fits = |one: &&mut Kept| one.endpoints.len() + missing.len() <= ENDPOINTS_PER_SLICE_MAX;
        if !missing.is_empty()
            && let Some(one) = kept.iter_mut().filter(fits).max_by_key(|one| one.endpoints.len())
        {
            one.fill(&mut missing);
        }
        if !missing.is_empty() || (kept.is_empty() && group.endpoints.is_empty()) {
            writes.push(self.create(group, missing, now));
        }
        let mut placeholder = group.endpoints.is_empty();
        for one in kept {
            let empty = one.endpoints.is_empty() && !std::mem::take(&mut placeholder);
            if empty {
                writes.push(Write::delete_unchanged(&ENDPOINT_SLICE, &one.slice, None));
            } else if one.changed {
                writes.push(self.update(&one, now));
            }
        }
    }

    /// What a slice keeps of its endpoints; they are then no longer missing.
    fn keep(&self, slice: Arc<Value>, missing: &mut BTreeMap<String, &Value>) -> Kept {
        let known: Vec<&Value> = items(&slice["endpoints"]).collect();
        let endpoints: Vec<Value> =
            known.iter().filter_map(|endpoint| missing.remove(&identity(endpoint)).cloned()).collect();
        let labelled = slice["metadata"]["labels"].as_object() == Some(&self.labels);
        let annotated = annotations(&slice) == self.annotations;
        let changed = !(labelled && annotated && known.into_iter().eq(&endpoints));
        Kept { slice, endpoints, changed }
    }

    fn create(&self, group: &Group, endpoints: Vec<Value>, now: Moment) -> Write {
        let (kind, owner) = self.owner;
        let object = json!({
            "metadata": {
                "generateName": format!("{}-", self.service),
                "namespace": object::namespace(owner),
                "labels": self.labels,
                "annotations": self.stamped(now),
                "ownerReferences": [{
                    "apiVersion": api_version(kind), "kind": kind.kind, "name": object::name(owner),
                    "uid": object::uid(owner), "controller": true, "blockOwnerDeletion": true,
                }],
            },
            "addressType": group.family,
            "endpoints": none_if_empty(endpoints),
            "ports": none_if_empty(group.ports.clone()),
        });
        Write::create(&ENDPOINT_SLICE, object)
    }

    fn update(&self, kept: &Kept, now: Moment) -> Write {
        let mut slice = Value::clone(&kept.slice);
        slice["endpoints"] = none_if_empty(kept.endpoints.clone());
        slice["metadata"]["labels"] = json!(self.labels);
        slice["metadata"]["annotations"] = json!(self.stamped(now));
        Write::update(&ENDPOINT_SLICE, slice)
    }

    fn stamped(&self, now: Moment) -> Map<String, Value> {
        let mut annotations = self.annotations.clone();
        annotations.insert(TRIGGER_TIME.into(), json!(now.to_time()));
        annotations
    }
}

impl Kept {
    fn fill(&mut self, missing: &mut Vec<Value>) {
        let room = ENDPOINTS_PER_SLICE_MAX.saturating_sub(self.endpoints.len()).min(missing.len());
        self.changed |= room > 0;
        self.endpoints.extend(missing.drain(..room));
    }
}

/// The Service of a slice that `manager` keeps.
pub(super) fn service_of(slice: &Value, manager: &str) -> Vec<Key> {
    let ours = object::label(slice, MANAGED_BY) == Some(manager);
    let name = object::label(slice, SERVICE_NAME).filter(|_| ours);
    name.map(|name| Key::new(&SERVICE, object::namespace(slice), name)).into_iter().collect()
}

/// `IPv4` or `IPv6`.
pub(super) fn family(address: IpAddr) -> &'static str {
    if address.is_ipv4() { "IPv4" } else { "IPv6" }
}

/// What makes an endpoint the same one although its state changed: where it is and what it is.
fn identity(endpoint: &Value) -> String {
    let target = &endpoint["targetRef"];
    let addresses: Vec<&str> = items(&endpoint["addresses"]).map(text).collect();
    format!("{} {}/{}", addresses.join(","), text(&target["kind"]), text(&target["name"]))
}

fn annotations(slice: &Value) -> Map<String, Value> {
    let mut annotations = slice["metadata"]["annotations"].as_object().cloned().unwrap_or_default();
    annotations.remove(TRIGGER_TIME);
    annotations
}

/// Go keeps an empty list as none.
fn none_if_empty(list: Vec<Value>) -> Value {
    if list.is_empty() { Value::Null } else { Value::Array(list) }
}
