//! Tables as the server prints them for people: `meta.k8s.io/v1` `Table`, with the columns of Kubernetes 1.32.
//!
//! Which columns a kind has stands in `printer/columns.txt`; the functions that fill them are in one file for each
//! group of kinds. Custom resources bring their own columns ([`CustomColumns`]); any other kind has its name and when
//! it was made.

use serde_json::{Value, json};

use crate::{GroupVersionKind, object};

mod access;
mod cluster;
mod columns;
mod custom;
mod jsonpath;
mod network;
mod own;
mod pod;
mod storage;
mod text;
mod workload;

pub use columns::Column;
pub use custom::CustomColumns;
pub use jsonpath::JsonPath;
pub use text::{human_duration, since};

/// What each row carries besides its cells: `includeObject` of a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Include {
    /// Nothing.
    None,
    /// The metadata of the object. The default.
    #[default]
    Metadata,
    /// The whole object.
    Object,
}

impl Include {
    /// As requests say it; nothing is the default. None for any other word.
    pub fn of(word: &str) -> Option<Self> {
        match word {
            "None" => Some(Self::None),
            "" | "Metadata" => Some(Self::Metadata),
            "Object" => Some(Self::Object),
            _ => None,
        }
    }
}

/// The columns of a kind that is built in; any other kind has those of all objects.
pub fn columns(kind: &GroupVersionKind) -> &'static [Column] {
    columns::of(&kind.group, &kind.kind)
}

/// A table of objects of one kind. `custom` are the columns of a custom resource, `now_seconds` is in seconds since
/// 1970, `list_meta` the metadata of the list: `resourceVersion`, `continue`, `remainingItemCount`.
pub fn table<'a>(
    kind: &GroupVersionKind,
    custom: Option<&CustomColumns>,
    objects: impl IntoIterator<Item = &'a Value>,
    include: Include,
    now_seconds: i64,
    list_meta: &Value,
) -> Value {
    let mut objects: Vec<&Value> = objects.into_iter().collect();
    // Of all kinds these alone are not shown in the order of the list, but in the order in which they match.
    if kind.group == "flowcontrol.apiserver.k8s.io" && kind.kind == "FlowSchema" {
        objects.sort_by_key(|&object| {
            (text::number(&object["spec"]["matchingPrecedence"]), object::name(object))
        });
    }
    let rows: Vec<Value> =
        objects.into_iter().map(|object| row(kind, custom, object, include, now_seconds)).collect();
    let mut table = json!({
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": list_meta,
        "columnDefinitions": definitions(kind, custom),
    });
    // Not in the macro, which copies what it is given.
    table["rows"] = rows.into();
    table
}

/// A table of one object, for a `GET` of it or an event of a watch. Of the events of one watch only the first has the
/// columns: `with_columns`.
pub fn table_of_one(
    kind: &GroupVersionKind,
    custom: Option<&CustomColumns>,
    object: &Value,
    include: Include,
    now_seconds: i64,
    with_columns: bool,
) -> Value {
    let list_meta = json!({"resourceVersion": object::resource_version(object)});
    let mut table = table(kind, custom, [object], include, now_seconds, &list_meta);
    if !with_columns {
        table["columnDefinitions"] = Value::Null;
    }
    table
}

/// One row of a table (`TableRow`).
pub fn row(
    kind: &GroupVersionKind,
    custom: Option<&CustomColumns>,
    object: &Value,
    include: Include,
    now_seconds: i64,
) -> Value {
    let cells = match custom {
        Some(custom) => custom.cells(object, now_seconds),
        None => cells(kind, object, now_seconds),
    };
    let carried = match include {
        Include::None => Value::Null,
        Include::Metadata => partial_metadata(object),
        Include::Object => object.clone(),
    };
    let mut row = json!({});
    row["cells"] = cells.into();
    row["object"] = carried;
    if kind.group.is_empty()
        && kind.kind == "Pod"
        && let Some(condition) = pod::completed(object)
    {
        row["conditions"] = json!([condition]);
    }
    row
}

/// The metadata of an object alone (`PartialObjectMetadata`).
pub fn partial_metadata(object: &Value) -> Value {
    json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": object["metadata"]})
}

/// The metadata of many objects (`PartialObjectMetadataList`). `list_meta` is the metadata of the list.
pub fn partial_metadata_list<'a>(objects: impl IntoIterator<Item = &'a Value>, list_meta: &Value) -> Value {
    let items: Vec<Value> = objects.into_iter().map(partial_metadata).collect();
    let mut list =
        json!({"kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1", "metadata": list_meta});
    list["items"] = items.into();
    list
}

fn definitions(kind: &GroupVersionKind, custom: Option<&CustomColumns>) -> Value {
    let columns = custom.map_or_else(|| columns(kind), CustomColumns::columns);
    columns.iter().map(Column::to_value).collect()
}

/// What stands in the columns of a kind that is built in.
fn cells(kind: &GroupVersionKind, object: &Value, now: i64) -> Vec<Value> {
    match (kind.group.as_str(), kind.kind.as_str()) {
        ("", "Pod") => pod::pod(object, now),
        ("", "PodTemplate") => workload::pod_template(object),
        ("", "ReplicationController") => workload::replication_controller(object, now),
        ("", "Service") => network::service(object, now),
        ("", "Endpoints") => network::endpoints(object, now),
        ("", "Node") => cluster::node(object, now),
        ("" | "events.k8s.io", "Event") => cluster::event(object, now),
        ("", "Namespace") => cluster::namespace(object, now),
        ("", "Secret") => cluster::secret(object, now),
        ("", "ServiceAccount") => cluster::counted(object, &object["secrets"], now),
        ("", "ConfigMap") => cluster::config_map(object, now),
        ("", "PersistentVolume") => storage::volume(object, now),
        ("", "PersistentVolumeClaim") => storage::claim(object, now),
        ("", "ResourceQuota") => cluster::resource_quota(object, now),
        ("", "ComponentStatus") => cluster::component_status(object),
        ("apps", "Deployment") => workload::deployment(object, now),
        ("apps", "ReplicaSet") => workload::replica_set(object, now),
        ("apps", "StatefulSet") => workload::stateful_set(object, now),
        ("apps", "DaemonSet") => workload::daemon_set(object, now),
        ("apps", "ControllerRevision") => workload::controller_revision(object, now),
        ("batch", "Job") => workload::job(object, now),
        ("batch", "CronJob") => workload::cron_job(object, now),
        ("autoscaling", "HorizontalPodAutoscaler") => workload::autoscaler(object, now),
        ("autoscaling", "Scale") => workload::scale(object, now),
        ("policy", "PodDisruptionBudget") => workload::disruption_budget(object, now),
        ("networking.k8s.io", "Ingress") => network::ingress(object, now),
        ("networking.k8s.io", "IngressClass") => network::ingress_class(object, now),
        ("networking.k8s.io", "NetworkPolicy") => network::network_policy(object, now),
        ("discovery.k8s.io", "EndpointSlice") => network::endpoint_slice(object, now),
        ("rbac.authorization.k8s.io", "RoleBinding" | "ClusterRoleBinding") => access::binding(object, now),
        ("certificates.k8s.io", "CertificateSigningRequest") => access::signing_request(object, now),
        ("coordination.k8s.io", "Lease") => cluster::lease(object, now),
        ("storage.k8s.io", "StorageClass") => storage::class(object, now),
        ("storage.k8s.io", "VolumeAttachment") => storage::attachment(object, now),
        ("storage.k8s.io", "CSINode") => cluster::counted(object, &object["spec"]["drivers"], now),
        ("storage.k8s.io", "CSIDriver") => storage::driver(object, now),
        ("scheduling.k8s.io", "PriorityClass") => cluster::priority_class(object, now),
        ("node.k8s.io", "RuntimeClass") => cluster::runtime_class(object, now),
        (
            "admissionregistration.k8s.io",
            "MutatingWebhookConfiguration" | "ValidatingWebhookConfiguration",
        ) => cluster::counted(object, &object["webhooks"], now),
        ("admissionregistration.k8s.io", "ValidatingAdmissionPolicy") => access::policy(object, now),
        ("admissionregistration.k8s.io", "ValidatingAdmissionPolicyBinding") => {
            access::policy_binding(object, now)
        }
        ("flowcontrol.apiserver.k8s.io", "FlowSchema") => access::flow_schema(object, now),
        ("flowcontrol.apiserver.k8s.io", "PriorityLevelConfiguration") => access::priority_level(object, now),
        ("apiregistration.k8s.io", "APIService") => access::api_service(object, now),
        ("metrics.k8s.io", "NodeMetrics") => own::node_metrics(object),
        ("metrics.k8s.io", "PodMetrics") => own::pod_metrics(object),
        ("shoal.dev", "App") => own::app(object, now),
        _ => cluster::any(object),
    }
}

#[cfg(test)]
mod tests;
