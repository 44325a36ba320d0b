//! The roles and bindings that every cluster has: made where they are missing, completed where they lack something.

use std::sync::Arc;

use futures_util::future::join_all;
use serde_json::{Value, json};
use shoal_api::{GroupVersion, GroupVersionKind, Status, object};
use shoal_control::bootstrap::NAMESPACES;
use shoal_control::known;
use shoal_control::plan::Write;
use shoal_control::rbac::bootstrap;

use crate::api::Api;
use crate::execute::Executor;
use crate::pki::KUBELET_CLIENT;

/// Whose rights are used.
const NAME: &str = "rbac-bootstrap";
/// Who is named as the writer.
const MANAGER: &str = "kube-apiserver";

/// Brings them up to date, with the namespaces that some of them live in. All at once: they share the disk's syncs.
///
/// # Errors
/// Those of the store.
pub(crate) async fn reconcile(api: &Arc<Api>) -> Result<(), Status> {
    let executor = Executor::new(api.clone(), NAME, MANAGER);
    let namespaces = NAMESPACES.map(|name| json!({"metadata": {"name": name}}));
    let namespaces =
        namespaces.into_iter().map(|object| ensure(api, &executor, known::NAMESPACE.clone(), object));
    join_all(namespaces).await.into_iter().collect::<Result<(), _>>()?;
    let rights = bootstrap::objects().into_iter().chain([kubelet_client()]).map(|wanted| async {
        let kind = kind_of(&wanted)?;
        ensure(api, &executor, kind, wanted).await
    });
    join_all(rights).await.into_iter().collect()
}

/// Lets the server's own name at nodes do what nodes are asked, and nothing else.
fn kubelet_client() -> Value {
    let role = "system:kubelet-api-admin";
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
        "metadata": {
            "name": format!("shoal:{KUBELET_CLIENT}"),
            "labels": {"kubernetes.io/bootstrapping": "rbac-defaults"},
            "annotations": {"rbac.authorization.kubernetes.io/autoupdate": "true"},
        },
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": KUBELET_CLIENT}],
    })
}

/// Makes or completes one object.
async fn ensure(api: &Api, executor: &Executor, kind: GroupVersionKind, wanted: Value) -> Result<(), Status> {
    let key = {
        let registry = api.registry.load();
        let served = registry.of_kind(&kind).ok_or_else(Status::no_such_path)?;
        served.key(object::namespace(&wanted), object::name(&wanted))
    };
    let write = match api.objects.get(&key).await? {
        None => Write::create(&kind, wanted),
        Some(stored) => match bootstrap::reconciled(&stored.value()?, &wanted) {
            Some(next) if kind != *known::NAMESPACE => Write::update(&kind, next),
            _ => return Ok(()),
        },
    };
    match executor.write(write).await {
        // Another server was quicker.
        Err(status) if ["AlreadyExists", "Conflict"].contains(&status.reason) => Ok(()),
        done => done.map(|_| ()),
    }
}

fn kind_of(wanted: &Value) -> Result<GroupVersionKind, Status> {
    let version: GroupVersion =
        wanted["apiVersion"].as_str().unwrap_or_default().parse().map_err(Status::internal)?;
    Ok(version.kind(wanted["kind"].as_str().unwrap_or_default()))
}
