//! The account that a pod runs as, and the token that it finds in its file system.

use std::sync::Arc;

use serde_json::{Value, json};
use shoal_api::{Status, names, object};

use super::{Attributes, Operation, items_mut, list_mut};
use crate::kinds::pod::MIRROR;
use crate::known::SERVICE_ACCOUNT;
use crate::snapshot::{Snapshot, items, text};

/// Where containers find their token.
const MOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// Names of the volumes with tokens begin so.
const VOLUME: &str = "kube-api-access-";

/// Lifetime of a token, in seconds: an hour, and what tells such tokens from others in logs.
const TOKEN_SECONDS: u32 = 3607;

/// Annotation of accounts whose pods may use only the Secrets that they list.
const ENFORCE: &str = "kubernetes.io/enforce-mountable-secrets";

pub(super) fn mutate(
    attributes: &Attributes<'_>,
    pod: &mut Value,
    _: Option<&Value>,
    world: &dyn Snapshot,
) -> Result<Vec<String>, Status> {
    let mirror = object::annotation(pod, MIRROR).is_some();
    if !attributes.is("", "pods", &[Operation::Create]) || mirror {
        return Ok(Vec::new());
    }
    if text(&pod["spec"]["serviceAccountName"]).is_empty() {
        pod["spec"]["serviceAccountName"] = json!("default");
    }
    // The field's old name says the same.
    pod["spec"]["serviceAccount"] = pod["spec"]["serviceAccountName"].clone();
    let account = account(attributes, pod, world)?;
    let wanted = pod["spec"]["automountServiceAccountToken"]
        .as_bool()
        .or(account["automountServiceAccountToken"].as_bool())
        .unwrap_or(true);
    if wanted {
        mount_token(attributes, pod);
    }
    if items(&pod["spec"]["imagePullSecrets"]).next().is_none() && account["imagePullSecrets"].is_array() {
        pod["spec"]["imagePullSecrets"] = account["imagePullSecrets"].clone();
    }
    Ok(Vec::new())
}

pub(super) fn validate(
    attributes: &Attributes<'_>,
    pod: &Value,
    _: Option<&Value>,
    world: &dyn Snapshot,
) -> Result<Vec<String>, Status> {
    let creates = attributes.is("", "pods", &[Operation::Create]);
    let debugs = attributes.is_part("", "pods", "ephemeralcontainers", &[Operation::Update]);
    if !creates && !debugs {
        return Ok(Vec::new());
    }
    let complaint = if creates && object::annotation(pod, MIRROR).is_some() {
        of_mirror(pod)
    } else {
        let account = account(attributes, pod, world)?;
        let enforced = object::annotation(&account, ENFORCE).is_some_and(is_true);
        enforced.then(|| unlisted_secret(pod, &account)).flatten()
    };
    complaint.map_or(Ok(Vec::new()), |message| Err(attributes.forbidden(pod, &message)))
}

/// What Go's `ParseBool` takes for true.
fn is_true(text: &str) -> bool {
    matches!(text, "1" | "t" | "T" | "TRUE" | "true" | "True")
}

fn account(attributes: &Attributes<'_>, pod: &Value, world: &dyn Snapshot) -> Result<Arc<Value>, Status> {
    let (namespace, name) = (attributes.namespace, text(&pod["spec"]["serviceAccountName"]));
    world.get(&SERVICE_ACCOUNT, namespace, name).ok_or_else(|| {
        let message =
            format!("error looking up service account {namespace}/{name}: serviceaccount {name:?} not found");
        attributes.forbidden(pod, &message)
    })
}

/// Mounts the token into each container that has nothing in its place.
fn mount_token(attributes: &Attributes<'_>, pod: &mut Value) {
    let known = items(&pod["spec"]["volumes"]).map(|volume| text(&volume["name"]));
    let known = known.filter(|name| name.starts_with(VOLUME)).last().map(String::from);
    let name = known.clone().unwrap_or_else(|| format!("{VOLUME}{}", names::suffix(attributes.seed)));
    let mut used = false;
    for field in ["initContainers", "containers"] {
        for container in items_mut(&mut pod["spec"], field) {
            let taken = items(&container["volumeMounts"]).any(|mount| mount["mountPath"] == MOUNT);
            if !taken {
                used = true;
                let mount = json!({"name": name, "readOnly": true, "mountPath": MOUNT});
                list_mut(container, "volumeMounts").push(mount);
            }
        }
    }
    if used && known.is_none() {
        list_mut(&mut pod["spec"], "volumes").push(volume(&name));
    }
}

fn volume(name: &str) -> Value {
    let namespace = json!({"apiVersion": "v1", "fieldPath": "metadata.namespace"});
    json!({
        "name": name,
        "projected": {
            "defaultMode": 0o644,
            "sources": [
                {"serviceAccountToken": {"expirationSeconds": TOKEN_SECONDS, "path": "token"}},
                {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
                {"downwardAPI": {"items": [{"path": "namespace", "fieldRef": namespace}]}},
            ],
        },
    })
}

/// What the pod of a node's own file may not do: it runs whatever the API server says.
fn of_mirror(pod: &Value) -> Option<String> {
    let spec = &pod["spec"];
    if !text(&spec["serviceAccountName"]).is_empty() {
        return Some("a mirror pod may not reference service accounts".into());
    }
    let tokens = items(&spec["volumes"])
        .flat_map(|volume| items(&volume["projected"]["sources"]))
        .any(|source| !source["serviceAccountToken"].is_null());
    if tokens {
        return Some("a mirror pod may not use ServiceAccountToken volume projections".into());
    }
    let secret = items(&spec["volumes"]).any(|volume| !volume["secret"].is_null());
    secret.then(|| "a mirror pod may not reference secrets".into())
}

/// A Secret that the pod uses and its account does not list.
fn unlisted_secret(pod: &Value, account: &Value) -> Option<String> {
    let of_account = text(&account["metadata"]["name"]);
    let listed = |field: &str, name: &str| items(&account[field]).any(|secret| secret["name"] == name);
    let refused = |what: &str| {
        format!("{what} is not allowed because service account {of_account} does not reference that secret")
    };
    for volume in items(&pod["spec"]["volumes"]).filter(|volume| !volume["secret"].is_null()) {
        let name = text(&volume["secret"]["secretName"]);
        if !listed("secrets", name) {
            return Some(refused(&format!("volume with secret.secretName={name:?}")));
        }
    }
    let kinds = [("initContainers", "init container"), ("containers", "container")];
    for (field, kind) in kinds.into_iter().chain([("ephemeralContainers", "ephemeral container")]) {
        for container in items(&pod["spec"][field]) {
            if let Some(what) = container_secret(container, kind, &|name| listed("secrets", name)) {
                return Some(refused(&what));
            }
        }
    }
    items(&pod["spec"]["imagePullSecrets"]).enumerate().find_map(|(at, secret)| {
        let name = text(&secret["name"]);
        (!listed("imagePullSecrets", name)).then(|| {
            format!(
                "imagePullSecrets[{at}].name={name:?} is not allowed because service account {of_account} does \
                 not reference that imagePullSecret"
            )
        })
    })
}

fn container_secret(container: &Value, kind: &str, listed: &dyn Fn(&str) -> bool) -> Option<String> {
    let of_container = text(&container["name"]);
    for variable in items(&container["env"]) {
        let reference = &variable["valueFrom"]["secretKeyRef"];
        let name = text(&reference["name"]);
        if !reference.is_null() && !listed(name) {
            let of_variable = text(&variable["name"]);
            return Some(format!(
                "{kind} {of_container} with envVar {of_variable} referencing secret.secretName={name:?}"
            ));
        }
    }
    let sources = items(&container["envFrom"]).filter(|source| !source["secretRef"].is_null());
    let unlisted = sources.map(|source| text(&source["secretRef"]["name"])).find(|name| !listed(name));
    unlisted.map(|name| format!("{kind} {of_container} with envFrom referencing secret.secretName={name:?}"))
}
