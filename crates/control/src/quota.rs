//! What objects use of a ResourceQuota, and whether it is enough.
//!
//! Admission charges what a request would use, the controller counts again what is there. Both ask here, so that
//! they never disagree.

mod pods;

use serde_json::Value;
use shoal_api::object;
use shoal_api::quantity::Quantity;
use shoal_api::time::Moment;

pub use pods::{compute, missing_compute, pod_amounts};

use crate::snapshot::{Resource, Snapshot, items, text};
use crate::words::{Amounts, amount_of, amounts, whole};

/// Resources that are counted under their own name too, beside `count/…`.
const COUNTED_BY_NAME: &[&str] = &["configmaps", "replicationcontrollers", "resourcequotas", "secrets"];

const OF_CLASS: &str = ".storageclass.storage.k8s.io/";

/// An object as a quota sees it.
#[derive(Clone, Copy)]
pub struct Used<'a> {
    /// Group of its resource; empty for the core group.
    pub group: &'a str,
    /// `pods`.
    pub resource: &'a str,
    /// The object.
    pub object: &'a Value,
}

impl Used<'_> {
    /// What the object uses. `now` decides whether a pod that is being deleted is over.
    pub fn usage(self, now: Moment) -> Amounts {
        let mut usage = Amounts::from([(self.count_name(), whole(1))]);
        match (self.group, self.resource) {
            ("", "pods") => pods::usage(self.object, now, &mut usage),
            ("", "services") => service(self.object, &mut usage),
            ("", "persistentvolumeclaims") => claim(self.object, &mut usage),
            ("", name) if COUNTED_BY_NAME.contains(&name) => {
                usage.insert(name.into(), whole(1));
            }
            _ => {}
        }
        usage
    }

    /// Whether a limit of this name counts such objects.
    pub fn is_limited_by(self, name: &str) -> bool {
        if name == self.count_name() {
            return true;
        }
        match (self.group, self.resource) {
            ("", "pods") => pods::is_limited_by(name),
            ("", "services") => matches!(name, "services" | "services.nodeports" | "services.loadbalancers"),
            ("", "persistentvolumeclaims") => {
                let of_class = name.split_once(OF_CLASS).map(|(_, what)| what);
                matches!(of_class.unwrap_or(name), "persistentvolumeclaims" | "requests.storage")
            }
            ("", resource) => COUNTED_BY_NAME.contains(&resource) && name == resource,
            _ => false,
        }
    }

    /// Whether the scopes of a quota choose the object.
    pub fn is_in_scope(self, quota: &Value) -> bool {
        let mut scopes = items(&quota["spec"]["scopes"]).map(|scope| (text(scope), "Exists", &Value::Null));
        let mut selected = items(&quota["spec"]["scopeSelector"]["matchExpressions"])
            .map(|demand| (text(&demand["scopeName"]), text(&demand["operator"]), &demand["values"]));
        let is_pod = self.group.is_empty() && self.resource == "pods";
        let chosen = |(scope, operator, values): (&str, &str, &Value)| {
            is_pod && pods::is_in_scope(self.object, scope, operator, values)
        };
        scopes.all(chosen) && selected.all(chosen)
    }

    /// `count/deployments.apps`.
    fn count_name(self) -> String {
        if self.group.is_empty() {
            format!("count/{}", self.resource)
        } else {
            format!("count/{}.{}", self.resource, self.group)
        }
    }
}

/// What is used of each limit of a quota, counted from the objects of its namespace.
pub fn total(world: &dyn Snapshot, quota: &Value, now: Moment) -> Amounts {
    let hard = amounts(&quota["spec"]["hard"]);
    let mut total: Amounts = hard.keys().map(|name| (name.clone(), Quantity::ZERO)).collect();
    for Resource { kind, plural, namespaced } in world.resources() {
        let any = Used { group: &kind.group, resource: &plural, object: &Value::Null };
        let counts = namespaced && hard.keys().any(|name| any.is_limited_by(name));
        if !counts {
            continue;
        }
        for object in world.list(&kind, Some(object::namespace(quota))) {
            let used = Used { object: &object, ..any };
            if used.is_in_scope(quota) {
                let limited = used.usage(now).into_iter().filter(|(name, _)| hard.contains_key(name));
                add(&mut total, limited);
            }
        }
    }
    total
}

/// Adds amounts to others, by name.
pub fn add(sum: &mut Amounts, more: impl IntoIterator<Item = (String, Quantity)>) {
    for (name, amount) in more {
        let known = sum.entry(name).or_insert(Quantity::ZERO);
        *known = known.plus(amount);
    }
}

fn service(service: &Value, usage: &mut Amounts) {
    let spec = &service["spec"];
    let ports = i64::try_from(items(&spec["ports"]).count()).unwrap_or(i64::MAX);
    let with_node_port = items(&spec["ports"]).filter(|port| port["nodePort"].as_u64().unwrap_or(0) > 0);
    let (balancers, node_ports) = match text(&spec["type"]) {
        "NodePort" => (0, ports),
        "LoadBalancer" if spec["allocateLoadBalancerNodePorts"] == false => {
            (1, i64::try_from(with_node_port.count()).unwrap_or(i64::MAX))
        }
        "LoadBalancer" => (1, ports),
        _ => (0, 0),
    };
    for (name, count) in
        [("services", 1), ("services.loadbalancers", balancers), ("services.nodeports", node_ports)]
    {
        usage.insert(name.into(), whole(count));
    }
}

fn claim(claim: &Value, usage: &mut Amounts) {
    let one = whole(1);
    usage.insert("persistentvolumeclaims".into(), one);
    let class = object::annotation(claim, "volume.beta.kubernetes.io/storage-class")
        .or(claim["spec"]["storageClassName"].as_str())
        .filter(|class| !class.is_empty());
    if let Some(class) = class {
        usage.insert(format!("{class}{OF_CLASS}persistentvolumeclaims"), one);
    }
    let asked = amount_of(&claim["spec"]["resources"]["requests"]["storage"]);
    let given = amount_of(&claim["status"]["allocatedResources"]["storage"]);
    let Some(storage) = asked.max(given) else { return };
    usage.insert("requests.storage".into(), storage);
    if let Some(class) = class {
        usage.insert(format!("{class}{OF_CLASS}requests.storage"), storage);
    }
}
