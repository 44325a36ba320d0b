//! What a node may do: its own objects, and what the pods that are bound to it use.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde_json::Value;
use shoal_api::object;

use super::{Attributes, Decision, Rule, User, bootstrap};
use crate::bootstrap::NODE_LEASES;

/// Which objects the pods of each node use, kept up to date by object events.
#[derive(Clone, Debug)]
pub struct NodeUses {
    /// What every node may do: the rules of the ClusterRole `system:node`.
    rules: Vec<Rule>,
    /// Each pod that is bound to a node: the node, and what the pod uses.
    pods: HashMap<Name, (String, BTreeSet<Used>)>,
    /// Each used object: how many pods of which node use it.
    nodes: HashMap<Used, BTreeMap<String, usize>>,
    /// Each PersistentVolume: the claim it is bound to, and its secrets.
    volumes: HashMap<String, (Name, BTreeSet<Name>)>,
    /// Each VolumeAttachment: its node.
    attachments: HashMap<String, String>,
}

/// Namespace and name.
type Name = (String, String);

/// An object that a pod uses.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Used {
    resource: &'static str,
    name: Name,
}

impl Default for NodeUses {
    fn default() -> Self {
        Self {
            rules: bootstrap::rules_of_cluster_role("system:node"),
            pods: HashMap::new(),
            nodes: HashMap::new(),
            volumes: HashMap::new(),
            attachments: HashMap::new(),
        }
    }
}

impl NodeUses {
    /// Takes a Pod, PersistentVolume or VolumeAttachment that was created or changed.
    pub fn apply(&mut self, object: &Value) {
        self.remove(object);
        match object["kind"].as_str().unwrap_or_default() {
            "Pod" => self.apply_pod(object),
            "PersistentVolume" => {
                let claim = &object["spec"]["claimRef"];
                let text = |field: &str| claim[field].as_str().unwrap_or_default().to_string();
                let of = (text("namespace"), text("name"));
                let secrets = volume_secrets(&object["spec"], &of.0);
                self.volumes.insert(object::name(object).into(), (of, secrets));
            }
            "VolumeAttachment" => {
                let node = object["spec"]["nodeName"].as_str().unwrap_or_default();
                self.attachments.insert(object::name(object).into(), node.into());
            }
            _ => {}
        }
    }

    /// Forgets an object.
    pub fn remove(&mut self, object: &Value) {
        let name = object::name(object);
        match object["kind"].as_str().unwrap_or_default() {
            "Pod" => {
                let pod = (object::namespace(object).to_string(), name.to_string());
                let Some((node, uses)) = self.pods.remove(&pod) else { return };
                for used in uses {
                    self.release(&used, &node);
                }
            }
            "PersistentVolume" => drop(self.volumes.remove(name)),
            "VolumeAttachment" => drop(self.attachments.remove(name)),
            _ => {}
        }
    }

    /// Whether the user is a node that may do it. Others are refused without a reason.
    pub fn authorize(&self, user: &User, attributes: &Attributes<'_>) -> Decision {
        let Some(node) = user.node_name() else { return Decision::default() };
        if node.is_empty() {
            return Decision::refuse(format!("unknown node for user {:?}", user.name));
        }
        if attributes.path.is_none()
            && let Some(decision) = self.authorize_resource(node, attributes)
        {
            return decision;
        }
        let allowed = self.rules.iter().any(|rule| rule.allows(attributes));
        Decision { allowed, reason: String::new() }
    }

    /// Resources of which a node may touch some objects only; none for the others.
    fn authorize_resource(&self, node: &str, attributes: &Attributes<'_>) -> Option<Decision> {
        let check = match (attributes.group, attributes.resource) {
            ("", "secrets" | "configmaps") => self.read_used(node, attributes),
            ("", "persistentvolumeclaims") if attributes.subresource == "status" => {
                self.write_status_of_used(node, attributes)
            }
            ("", "persistentvolumeclaims" | "persistentvolumes")
            | ("storage.k8s.io", "volumeattachments")
            | ("resource.k8s.io", "resourceclaims") => self.get_used(node, attributes),
            ("", "serviceaccounts") => self.create_token(node, attributes),
            ("coordination.k8s.io", "leases") => own_lease(node, attributes),
            ("storage.k8s.io", "csinodes") => own_csi_node(node, attributes),
            ("", "nodes") => own_node(node, attributes),
            ("", "pods") => self.own_pods(node, attributes),
            _ => return None,
        };
        Some(match check {
            Ok(()) => Decision::allow(String::new()),
            Err(reason) => Decision::refuse(reason),
        })
    }

    fn read_used(&self, node: &str, attributes: &Attributes<'_>) -> Result<(), String> {
        if !matches!(attributes.verb, "get" | "list" | "watch") {
            return Err("can only read resources of this type".into());
        }
        if !attributes.subresource.is_empty() {
            return Err("cannot read subresource".into());
        }
        if attributes.namespace.is_empty() {
            return Err("can only read namespaced object of this type".into());
        }
        self.uses(node, attributes)
    }

    fn get_used(&self, node: &str, attributes: &Attributes<'_>) -> Result<(), String> {
        if attributes.verb != "get" {
            return Err("can only get individual resources of this type".into());
        }
        if !attributes.subresource.is_empty() {
            return Err("cannot get subresource".into());
        }
        self.uses(node, attributes)
    }

    fn write_status_of_used(&self, node: &str, attributes: &Attributes<'_>) -> Result<(), String> {
        if !matches!(attributes.verb, "get" | "update" | "patch") {
            return Err("can only get, update or patch status of this type".into());
        }
        self.uses(node, attributes)
    }

    fn create_token(&self, node: &str, attributes: &Attributes<'_>) -> Result<(), String> {
        if attributes.verb != "create" || attributes.name.is_empty() {
            return Err("can only create tokens for individual service accounts".into());
        }
        if attributes.subresource != "token" {
            return Err("can only create token subresource of service account".into());
        }
        self.uses(node, attributes)
    }

    fn own_pods(&self, node: &str, attributes: &Attributes<'_>) -> Result<(), String> {
        let is_scoped = attributes.fields.contains(&("spec.nodeName", node));
        match (attributes.subresource, attributes.verb) {
            ("", "get") => self.uses(node, attributes),
            ("", "list" | "watch") if is_scoped => Ok(()),
            ("", "list" | "watch") if !attributes.name.is_empty() => self.uses(node, attributes),
            ("", "list" | "watch") => {
                Err("can only list/watch pods with spec.nodeName field selector".into())
            }
            // Which pods these may be is for admission to say, which sees the object.
            ("", "create" | "delete") | ("status", "update" | "patch") | ("eviction", "create") => Ok(()),
            _ => Err(String::new()),
        }
    }

    /// Whether a pod of the node uses the object that is asked for.
    fn uses(&self, node: &str, attributes: &Attributes<'_>) -> Result<(), String> {
        if attributes.name.is_empty() {
            return Err("No Object name found".into());
        }
        let name = (attributes.namespace.to_string(), attributes.name.to_string());
        let is_used = match attributes.resource {
            "secrets" => self.has("secrets", &name, node) || self.is_secret_of_volume(&name, node),
            "configmaps" => self.has("configmaps", &name, node),
            "persistentvolumeclaims" => self.has("persistentvolumeclaims", &name, node),
            "serviceaccounts" => self.has("serviceaccounts", &name, node),
            "resourceclaims" => self.has("resourceclaims", &name, node),
            "persistentvolumes" => {
                let claim = self.volumes.get(attributes.name).map(|(claim, _)| claim);
                claim.is_some_and(|claim| self.has("persistentvolumeclaims", claim, node))
            }
            "volumeattachments" => self.attachments.get(attributes.name).is_some_and(|of| of == node),
            "pods" => self.pods.get(&name).is_some_and(|(of, _)| of == node),
            _ => false,
        };
        let nothing = || format!("no relationship found between node '{node}' and this object");
        if is_used { Ok(()) } else { Err(nothing()) }
    }

    fn has(&self, resource: &'static str, name: &Name, node: &str) -> bool {
        let used = Used { resource, name: name.clone() };
        self.nodes.get(&used).is_some_and(|nodes| nodes.contains_key(node))
    }

    fn is_secret_of_volume(&self, secret: &Name, node: &str) -> bool {
        let mut volumes = self.volumes.values().filter(|(_, secrets)| secrets.contains(secret));
        volumes.any(|(claim, _)| self.has("persistentvolumeclaims", claim, node))
    }

    fn apply_pod(&mut self, pod: &Value) {
        let node = pod["spec"]["nodeName"].as_str().unwrap_or_default();
        if node.is_empty() {
            return;
        }
        let name = (object::namespace(pod).to_string(), object::name(pod).to_string());
        // A mirror pod was written by the node itself: what it names proves nothing.
        let is_mirror = object::annotation(pod, "kubernetes.io/config.mirror").is_some();
        let uses = if is_mirror { BTreeSet::new() } else { uses_of(pod) };
        for used in &uses {
            *self.nodes.entry(used.clone()).or_default().entry(node.into()).or_default() += 1;
        }
        self.pods.insert(name, (node.into(), uses));
    }

    fn release(&mut self, used: &Used, node: &str) {
        let Some(nodes) = self.nodes.get_mut(used) else { return };
        if let Some(count) = nodes.get_mut(node) {
            *count -= 1;
            if *count == 0 {
                nodes.remove(node);
            }
        }
        if nodes.is_empty() {
            self.nodes.remove(used);
        }
    }
}

fn own_lease(node: &str, attributes: &Attributes<'_>) -> Result<(), String> {
    if !matches!(attributes.verb, "get" | "create" | "update" | "patch" | "delete") {
        return Err("can only get, create, update, patch, or delete a node lease".into());
    }
    if attributes.namespace != NODE_LEASES {
        return Err(format!("can only access leases in the {NODE_LEASES:?} system namespace"));
    }
    // The name of what is created is not known here: admission checks it.
    if attributes.verb != "create" && attributes.name != node {
        return Err("can only access node lease with the same name as the requesting node".into());
    }
    Ok(())
}

fn own_csi_node(node: &str, attributes: &Attributes<'_>) -> Result<(), String> {
    if !matches!(attributes.verb, "get" | "create" | "update" | "patch" | "delete") {
        return Err("can only get, create, update, patch, or delete a CSINode".into());
    }
    if !attributes.subresource.is_empty() {
        return Err("cannot authorize CSINode subresources".into());
    }
    if attributes.verb != "create" && attributes.name != node {
        return Err("can only access CSINode with the same name as the requesting node".into());
    }
    Ok(())
}

fn own_node(node: &str, attributes: &Attributes<'_>) -> Result<(), String> {
    match (attributes.subresource, attributes.verb) {
        // Which node these may change is for admission to say, which sees the object.
        ("", "create" | "update" | "patch") | ("status", "update" | "patch") => Ok(()),
        ("", "get" | "list" | "watch") => match attributes.name {
            name if name == node => Ok(()),
            "" => Err(format!("node '{node}' cannot read all nodes, only its own Node object")),
            name => Err(format!("node '{node}' cannot read '{name}', only its own Node object")),
        },
        _ => Err(String::new()),
    }
}

/// All that a pod uses.
fn uses_of(pod: &Value) -> BTreeSet<Used> {
    let namespace = object::namespace(pod);
    let spec = &pod["spec"];
    let mut uses = BTreeSet::new();
    let mut add = |resource: &'static str, name: &Value| {
        if let Some(name) = name.as_str().filter(|name| !name.is_empty()) {
            uses.insert(Used { resource, name: (namespace.into(), name.into()) });
        }
    };
    add("serviceaccounts", &spec["serviceAccountName"]);
    items(&spec["imagePullSecrets"]).for_each(|secret| add("secrets", &secret["name"]));
    for container in
        ["initContainers", "containers", "ephemeralContainers"].iter().flat_map(|of| items(&spec[*of]))
    {
        for source in items(&container["env"]).map(|variable| &variable["valueFrom"]) {
            add("secrets", &source["secretKeyRef"]["name"]);
            add("configmaps", &source["configMapKeyRef"]["name"]);
        }
        for source in items(&container["envFrom"]) {
            add("secrets", &source["secretRef"]["name"]);
            add("configmaps", &source["configMapRef"]["name"]);
        }
    }
    for volume in items(&spec["volumes"]) {
        add("secrets", &volume["secret"]["secretName"]);
        add("configmaps", &volume["configMap"]["name"]);
        add("persistentvolumeclaims", &volume["persistentVolumeClaim"]["claimName"]);
        if let (true, Some(name)) = (volume["ephemeral"].is_object(), volume["name"].as_str()) {
            add("persistentvolumeclaims", &format!("{}-{name}", object::name(pod)).into());
        }
        for source in items(&volume["projected"]["sources"]) {
            add("secrets", &source["secret"]["name"]);
            add("configmaps", &source["configMap"]["name"]);
        }
        volume_secrets(volume, namespace).into_iter().for_each(|(_, secret)| add("secrets", &secret.into()));
    }
    for status in items(&pod["status"]["resourceClaimStatuses"]) {
        add("resourceclaims", &status["resourceClaimName"]);
    }
    items(&spec["resourceClaims"]).for_each(|claim| add("resourceclaims", &claim["resourceClaimName"]));
    uses
}

/// The secrets that a volume, or a PersistentVolume's spec, gives to its driver.
fn volume_secrets(volume: &Value, namespace: &str) -> BTreeSet<Name> {
    let mut secrets = BTreeSet::new();
    let mut add = |name: &Value, own: &Value| {
        if let Some(name) = name.as_str().filter(|name| !name.is_empty()) {
            secrets.insert((own.as_str().unwrap_or(namespace).to_string(), name.to_string()));
        }
    };
    let azure = &volume["azureFile"];
    add(&azure["secretName"], &azure["secretNamespace"]);
    for driver in ["cephfs", "rbd", "iscsi", "flexVolume", "scaleIO", "storageos", "cinder"] {
        let secret = &volume[driver]["secretRef"];
        add(&secret["name"], &secret["namespace"]);
    }
    for field in
        ["nodePublishSecretRef", "nodeStageSecretRef", "nodeExpandSecretRef", "controllerPublishSecretRef"]
    {
        let secret = &volume["csi"][field];
        add(&secret["name"], &secret["namespace"]);
    }
    secrets
}

fn items(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}
