//! A node writes only what concerns itself: its own Node, its pods' status, its lease.

use serde_json::Value;
use shoal_api::{Status, object};

use super::{Attributes, Operation};
use crate::kinds::pod::MIRROR;
use crate::known::POD;
use crate::snapshot::{Snapshot, items, text};

use Operation::{Create, Delete, Update};

/// Labels of kubernetes.io and k8s.io that a node may set on itself.
const LABELS: &[&str] = &[
    "beta.kubernetes.io/arch",
    "beta.kubernetes.io/instance-type",
    "beta.kubernetes.io/os",
    "failure-domain.beta.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/zone",
    "kubernetes.io/arch",
    "kubernetes.io/hostname",
    "kubernetes.io/os",
    "node.kubernetes.io/instance-type",
    "topology.kubernetes.io/region",
    "topology.kubernetes.io/zone",
];

/// Namespaces of labels that a node may set on itself.
const LABEL_NAMESPACES: &[&str] = &["kubelet.kubernetes.io", "node.kubernetes.io"];

pub(super) fn admit(
    attributes: &Attributes<'_>,
    object: &mut Value,
    old: Option<&Value>,
    world: &dyn Snapshot,
) -> Result<Vec<String>, Status> {
    let Some(node) = attributes.user.node_name() else { return Ok(Vec::new()) };
    let request = Request { attributes, object, old, world, node };
    let refusal = match (attributes.group, attributes.resource, attributes.subresource) {
        ("", "pods", "") => request.pod(),
        ("", "pods", "status") => request.pod_status(),
        ("", "pods", "eviction") => request.eviction(),
        ("", "nodes", _) => request.node(),
        ("", "serviceaccounts", "token") => request.token(),
        ("coordination.k8s.io", "leases", _) => request.lease(),
        ("storage.k8s.io", "csinodes", _) => request.csi_node(),
        _ => None,
    };
    refusal.map_or(Ok(Vec::new()), |message| Err(attributes.forbidden(object, &message)))
}

struct Request<'a> {
    attributes: &'a Attributes<'a>,
    object: &'a Value,
    old: Option<&'a Value>,
    world: &'a dyn Snapshot,
    node: &'a str,
}

impl Request<'_> {
    fn pod(&self) -> Option<String> {
        let node = self.node;
        match self.attributes.operation {
            Create => self.mirror_pod(),
            Delete => {
                let ours = self.old.is_some_and(|old| old["spec"]["nodeName"] == node);
                (!ours)
                    .then(|| format!("node {node:?} can only delete pods with spec.nodeName set to itself"))
            }
            operation => Some(format!("unexpected operation {:?}, node {node:?}", upper(operation))),
        }
    }

    /// A node makes only the pods that mirror files of its own.
    fn mirror_pod(&self) -> Option<String> {
        let (pod, node) = (self.object, self.node);
        if object::annotation(pod, MIRROR).is_none() {
            return Some(format!(
                "pod does not have {MIRROR:?} annotation, node {node:?} can only create mirror pods"
            ));
        }
        if pod["spec"]["nodeName"] != node {
            return Some(format!("node {node:?} can only create pods with spec.nodeName set to itself"));
        }
        if let Some(message) = self.mirror_owner() {
            return Some(message);
        }
        let refers = |what: &str| format!("node {node:?} can not create pods that reference {what}");
        if !text(&pod["spec"]["serviceAccountName"]).is_empty() {
            return Some(refers("a service account"));
        }
        let sources = [
            ("secret", "secrets"),
            ("configMap", "configmaps"),
            ("persistentVolumeClaim", "persistentvolumeclaims"),
        ];
        let mut volumes = items(&pod["spec"]["volumes"]);
        volumes.find_map(|volume| {
            let used = sources.iter().find(|(field, _)| !volume[field].is_null());
            used.map(|(_, what)| refers(what))
        })
    }

    fn mirror_owner(&self) -> Option<String> {
        let node = self.node;
        let owners: Vec<&Value> = object::owners(self.object).collect();
        let [owner] = owners.as_slice() else {
            return Some(format!(
                "node {node:?} can only create pods with a single owner reference set to itself"
            ));
        };
        if owner["apiVersion"] != "v1" || owner["kind"] != "Node" || owner["name"] != node {
            return Some(format!("node {node:?} can only create pods with an owner reference set to itself"));
        }
        if owner["controller"] != true {
            return Some(format!(
                "node {node:?} can only create pods with a controller owner reference set to itself"
            ));
        }
        (owner["blockOwnerDeletion"] == true)
            .then(|| format!("node {node:?} must not set blockOwnerDeletion on an owner reference"))
    }

    fn pod_status(&self) -> Option<String> {
        let node = self.node;
        if self.attributes.operation != Update {
            return Some(format!("unexpected operation {:?}", upper(self.attributes.operation)));
        }
        let old = self.old?;
        if old["spec"]["nodeName"] != node {
            return Some(format!(
                "node {node:?} can only update pod status for pods with spec.nodeName set to itself"
            ));
        }
        let labels = |object: &Value| object["metadata"]["labels"].as_object().cloned().unwrap_or_default();
        (labels(old) != labels(self.object))
            .then(|| format!("node {node:?} cannot update labels through pod status"))
    }

    fn eviction(&self) -> Option<String> {
        let node = self.node;
        let name =
            if self.attributes.name.is_empty() { object::name(self.object) } else { self.attributes.name };
        if self.attributes.operation != Create {
            return Some(format!("unexpected operation {}", upper(self.attributes.operation)));
        }
        let pod = self.world.get(&POD, self.attributes.namespace, name);
        // One that is gone is answered with 404 later.
        let ours = pod.is_none_or(|pod| pod["spec"]["nodeName"] == node);
        (!ours).then(|| format!("node {node} can only evict pods with spec.nodeName set to itself"))
    }

    fn node(&self) -> Option<String> {
        let (node, new) = (self.node, self.object);
        let given = object::name(new);
        let requested = if self.attributes.name.is_empty() { given } else { self.attributes.name };
        if requested != node {
            return Some(format!("node {node:?} is not allowed to modify node {requested:?}"));
        }
        match self.attributes.operation {
            Create => {
                let forbidden = self.forbidden_labels(&Value::Null);
                let list = forbidden.join(", ");
                (!forbidden.is_empty())
                    .then(|| format!("node {node:?} is not allowed to set the following labels: {list}"))
            }
            Update => self.node_update(self.old?),
            _ => None,
        }
    }

    fn node_update(&self, old: &Value) -> Option<String> {
        let (node, new) = (self.node, self.object);
        if new["spec"]["taints"] != old["spec"]["taints"] {
            return Some(format!("node {node:?} is not allowed to modify taints"));
        }
        let forbidden = self.forbidden_labels(old);
        if !forbidden.is_empty() {
            let list = forbidden.join(", ");
            return Some(format!("is not allowed to modify labels: {list}"));
        }
        (new["metadata"]["ownerReferences"] != old["metadata"]["ownerReferences"])
            .then(|| format!("node {node:?} is not allowed to modify ownerReferences"))
    }

    /// Labels that changed and are not the node's to change.
    fn forbidden_labels(&self, old: &Value) -> Vec<String> {
        let labels = |object: &Value| object["metadata"]["labels"].as_object().cloned().unwrap_or_default();
        let (new, old) = (labels(self.object), labels(old));
        let mut changed: Vec<String> =
            new.keys().chain(old.keys()).filter(|key| new.get(*key) != old.get(*key)).cloned().collect();
        changed.sort();
        changed.dedup();
        changed.retain(|key| is_forbidden(key));
        changed
    }

    fn token(&self) -> Option<String> {
        let bound = &self.object["spec"]["boundObjectRef"];
        if bound.is_null() || bound["kind"] != "Pod" || bound["apiVersion"] != "v1" {
            return Some("node requested token not bound to a pod".into());
        }
        if text(&bound["uid"]).is_empty() {
            return Some("node requested token with a pod binding without a uid".into());
        }
        let name = text(&bound["name"]);
        let pod = self.world.get(&POD, self.attributes.namespace, name);
        let Some(pod) = pod else { return Some(format!("pod {name:?} not found")) };
        if pod["metadata"]["uid"] != bound["uid"] {
            let uid = text(&bound["uid"]);
            return Some(format!(
                "the UID in the bound object reference ({uid}) does not match the UID in record ({}). The object \
                 might have been deleted and then recreated",
                object::uid(&pod)
            ));
        }
        (pod["spec"]["nodeName"] != self.node)
            .then(|| "node requested token bound to a pod scheduled on a different node".into())
    }

    fn lease(&self) -> Option<String> {
        if self.attributes.namespace != "kube-node-lease" {
            return Some("can only access leases in the \"kube-node-lease\" system namespace".into());
        }
        let name = if self.attributes.operation == Create {
            object::name(self.object)
        } else {
            self.attributes.name
        };
        (name != self.node)
            .then(|| "can only access node lease with the same name as the requesting node".into())
    }

    fn csi_node(&self) -> Option<String> {
        let name = if self.attributes.operation == Create {
            object::name(self.object)
        } else {
            self.attributes.name
        };
        (name != self.node)
            .then(|| "can only access CSINode with the same name as the requesting node".into())
    }
}

fn is_forbidden(label: &str) -> bool {
    let namespace = label.split_once('/').map_or("", |(namespace, _)| namespace);
    let within = |domain: &str| {
        namespace == domain || namespace.strip_suffix(domain).is_some_and(|rest| rest.ends_with('.'))
    };
    let ours = LABELS.contains(&label) || LABEL_NAMESPACES.iter().any(|namespace| within(namespace));
    let reserved = within("node-restriction.kubernetes.io");
    reserved || (!ours && (within("kubernetes.io") || within("k8s.io")))
}

fn upper(operation: Operation) -> &'static str {
    match operation {
        Create => "CREATE",
        Update => "UPDATE",
        Delete => "DELETE",
        Operation::Connect => "CONNECT",
    }
}
