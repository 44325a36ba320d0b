//! The objects that every cluster has from its beginning.

mod flow;

use core::net::IpAddr;

use serde_json::{Value, json};
use shoal_api::GroupVersionKind;

use crate::known::{
    ENDPOINT_SLICE, ENDPOINTS, FLOW_SCHEMA, NAMESPACE, PRIORITY_CLASS, PRIORITY_LEVEL, SERVICE,
};

/// Namespaces that every cluster has.
pub const NAMESPACES: [&str; 4] = ["default", "kube-node-lease", "kube-public", "kube-system"];

/// The one of them in which nodes renew their leases.
pub(crate) const NODE_LEASES: &str = NAMESPACES[1];

/// Annotation of objects whose spec Shoal keeps; `false` leaves it to the user.
pub(crate) const AUTOUPDATE: &str = "apf.kubernetes.io/autoupdate-spec";

/// An object that every cluster has, and what of it is kept as it was made.
#[derive(Clone, Debug, PartialEq)]
pub struct SystemObject {
    /// Its kind.
    pub kind: GroupVersionKind,
    /// The object as it is made.
    pub object: Value,
    /// What is kept.
    pub kept: Kept,
}

/// What is kept of an object that somebody changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// That it exists.
    Existing,
    /// Its spec, unless its annotation says that it is the user's.
    Spec,
    /// These fields.
    Fields(&'static [&'static str]),
}

/// Where clients find the API server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiServer {
    /// Its addresses, all of one family; none when only this machine reaches it.
    pub addresses: Vec<IpAddr>,
    /// Its port.
    pub port: u16,
    /// The address of the Service `default/kubernetes`.
    pub service_ip: IpAddr,
}

/// All objects that a cluster has from its beginning. Their namespaces come first.
pub fn objects(server: &ApiServer) -> Vec<SystemObject> {
    let mut objects: Vec<SystemObject> = NAMESPACES.iter().map(|name| namespace(name)).collect();
    objects.extend(priority_classes());
    let levels = flow::levels().into_iter().map(|object| spec(&PRIORITY_LEVEL, object));
    let schemas = flow::schemas().into_iter().map(|object| spec(&FLOW_SCHEMA, object));
    objects.extend(levels.chain(schemas));
    objects.extend(kubernetes_service(server));
    objects
}

fn spec(kind: &GroupVersionKind, mut object: Value) -> SystemObject {
    object["metadata"]["annotations"] = json!({AUTOUPDATE: "true"});
    SystemObject { kind: kind.clone(), object, kept: Kept::Spec }
}

fn namespace(name: &str) -> SystemObject {
    let object = json!({"metadata": {"name": name}});
    SystemObject { kind: NAMESPACE.clone(), object, kept: Kept::Existing }
}

fn priority_classes() -> impl Iterator<Item = SystemObject> {
    let classes = [
        (
            "system-cluster-critical",
            2_000_000_000,
            "Used for system critical pods that must run in the cluster, but can be moved to another node if \
             necessary.",
        ),
        (
            "system-node-critical",
            2_000_001_000,
            "Used for system critical pods that must not be moved from their current node.",
        ),
    ];
    classes.into_iter().map(|(name, value, description)| SystemObject {
        kind: PRIORITY_CLASS.clone(),
        object: json!({
            "metadata": {"name": name}, "value": value, "description": description,
            "preemptionPolicy": "PreemptLowerPriority",
        }),
        kept: Kept::Existing,
    })
}

/// The Service by which pods find the API server, and where it leads.
/// The Service, and its endpoints where any can be named.
fn kubernetes_service(server: &ApiServer) -> Vec<SystemObject> {
    let metadata = |labels: Value| json!({"name": "kubernetes", "namespace": "default", "labels": labels});
    let addresses: Vec<String> = server.addresses.iter().map(ToString::to_string).collect();
    let ips: Vec<Value> = addresses.iter().map(|ip| json!({"ip": ip})).collect();
    let family = if server.service_ip.is_ipv4() { "IPv4" } else { "IPv6" };
    let address_type = if server.addresses.iter().all(IpAddr::is_ipv4) { "IPv4" } else { "IPv6" };
    let port = json!({"name": "https", "port": server.port, "protocol": "TCP"});
    let service = json!({
        "metadata": metadata(json!({"component": "apiserver", "provider": "kubernetes"})),
        "spec": {
            "clusterIP": server.service_ip.to_string(), "clusterIPs": [server.service_ip.to_string()],
            "ipFamilies": [family], "ipFamilyPolicy": "SingleStack", "internalTrafficPolicy": "Cluster",
            "sessionAffinity": "None", "type": "ClusterIP",
            "ports": [{"name": "https", "port": 443, "protocol": "TCP", "targetPort": server.port}],
        },
    });
    let endpoints = json!({
        "metadata": metadata(json!({"endpointslice.kubernetes.io/skip-mirror": "true"})),
        "subsets": [{"addresses": ips, "ports": [port]}],
    });
    let ready: Vec<Value> =
        addresses.iter().map(|ip| json!({"addresses": [ip], "conditions": {"ready": true}})).collect();
    let slice = json!({
        "metadata": metadata(json!({"kubernetes.io/service-name": "kubernetes"})),
        "addressType": address_type, "endpoints": ready, "ports": [port],
    });
    let mut objects = vec![SystemObject { kind: SERVICE.clone(), object: service, kept: Kept::Spec }];
    if server.addresses.is_empty() {
        return objects;
    }
    objects.extend([
        SystemObject { kind: ENDPOINTS.clone(), object: endpoints, kept: Kept::Fields(&["subsets"]) },
        SystemObject {
            kind: ENDPOINT_SLICE.clone(),
            object: slice,
            kept: Kept::Fields(&["endpoints", "ports"]),
        },
    ]);
    objects
}
