//! Which function answers for which kind.

use serde_json::Value;
use shoal_api::GroupVersionKind;

use super::faults::Faults;
use super::meta::Names;
use super::workload::stateful_set;
use super::{
    app, autoscaler, certificate, claim, config, cron_job, disruption, endpoints, event, flow, ingress, job,
    namespace, network_policy, node, pod, quota, rbac, review, service, storage, volume, webhooks, workload,
};
use crate::custom::definition;

/// What a kind means.
pub(crate) struct Kind {
    group: &'static str,
    version: &'static str,
    kind: &'static str,
    /// Its objects lie in namespaces.
    pub(crate) namespaced: bool,
    /// What they are called.
    pub(crate) names: Names,
    /// They count what was asked of them.
    pub(crate) generation: bool,
    /// Annotations are something that was asked.
    pub(crate) annotations_count: bool,
    /// Their status is written apart.
    pub(crate) status: bool,
    /// A new one may bring its status along.
    pub(crate) keeps_status: bool,
    /// Whoever writes the status cannot write labels.
    pub(crate) status_keeps_labels: bool,
    /// An update must name the version that it changes.
    pub(crate) conditional: bool,
    /// An update makes what is not there.
    pub(crate) created_by_update: bool,
    /// Fills in what is not said.
    pub(crate) default: fn(&mut Value),
    /// Makes a new one.
    pub(crate) prepare_create: fn(&mut Value),
    /// Keeps what cannot change: subresource, new, old.
    pub(crate) prepare_update: fn(&str, &mut Value, &Value),
    /// Checks a new one; its metadata was checked before.
    pub(crate) validate: fn(&Value, &mut Faults),
    /// Checks a change: subresource, new, old; of its metadata, what stays was checked before.
    pub(crate) validate_update: fn(&str, &Value, &Value, &mut Faults),
    /// What is surely not meant: new, old.
    pub(crate) warnings: fn(&Value, Option<&Value>) -> Vec<String>,
}

/// The kind of this name.
pub(crate) fn find(wanted: &GroupVersionKind) -> Option<&'static Kind> {
    KINDS
        .iter()
        .find(|one| one.kind == wanted.kind && one.group == wanted.group && one.version == wanted.version)
}

/// A kind of which nothing is known but its metadata.
const PLAIN: Kind = Kind {
    group: "",
    version: "v1",
    kind: "",
    namespaced: true,
    names: Names::Subdomain,
    generation: false,
    annotations_count: false,
    status: false,
    keeps_status: false,
    status_keeps_labels: false,
    conditional: false,
    created_by_update: false,
    default: |_| {},
    prepare_create: |_| {},
    prepare_update: |_, _, _| {},
    validate: |_, _| {},
    validate_update: |_, _, _, _| {},
    warnings: |_, _| Vec::new(),
};

const APPS: Kind = Kind { group: "apps", generation: true, status: true, ..PLAIN };
const RBAC: Kind =
    Kind { group: "rbac.authorization.k8s.io", names: Names::PathSegment, created_by_update: true, ..PLAIN };
const STORAGE: Kind = Kind { group: "storage.k8s.io", namespaced: false, conditional: true, ..PLAIN };
const ADMISSION: Kind = Kind {
    group: "admissionregistration.k8s.io",
    namespaced: false,
    generation: true,
    conditional: true,
    ..PLAIN
};
const FLOW: Kind = Kind {
    group: "flowcontrol.apiserver.k8s.io",
    namespaced: false,
    generation: true,
    status: true,
    conditional: true,
    ..PLAIN
};
/// A question that is answered and forgotten.
const REVIEW: Kind =
    Kind { group: "authorization.k8s.io", namespaced: false, names: Names::Anything, ..PLAIN };

/// Checks a change of a kind whose changes are checked as new ones are.
macro_rules! again {
    ($check:expr) => {
        |subresource, new, _, faults| {
            if subresource.is_empty() {
                $check(new, faults);
            }
        }
    };
}

/// Checks a change; that of the status apart.
macro_rules! apart {
    ($main:expr, $status:expr) => {
        |subresource, new, old, faults| match subresource {
            "" => $main(new, old, faults),
            "status" => $status(new, old, faults),
            _ => {}
        }
    };
}

/// Checks a change of the object itself alone.
macro_rules! main_only {
    ($main:expr) => {
        |subresource, new, old, faults| {
            if subresource.is_empty() {
                $main(new, old, faults);
            }
        }
    };
}

fn with_selector(check: fn(&Value, &mut Faults), new: &Value, old: &Value, faults: &mut Faults) {
    check(new, faults);
    workload::selector_stays(new, old, faults);
}

fn binding_update(check: fn(&Value, &mut Faults), new: &Value, old: &Value, faults: &mut Faults) {
    check(new, faults);
    rbac::role_stays(new, old, faults);
}

static KINDS: &[Kind] = &[
    // Core.
    Kind { kind: "Binding", names: Names::Anything, validate: pod::validate_binding, ..PLAIN },
    Kind {
        kind: "ConfigMap",
        validate: config::validate_config_map,
        validate_update: main_only!(config::validate_config_map_update),
        ..PLAIN
    },
    Kind {
        kind: "Endpoints",
        created_by_update: true,
        default: endpoints::default,
        validate: endpoints::validate,
        validate_update: again!(endpoints::validate),
        ..PLAIN
    },
    Kind {
        kind: "Event",
        created_by_update: true,
        validate: event::validate,
        validate_update: again!(event::validate),
        ..PLAIN
    },
    Kind {
        kind: "LimitRange",
        created_by_update: true,
        default: quota::default_limit_range,
        validate: quota::validate_limit_range,
        validate_update: again!(quota::validate_limit_range),
        ..PLAIN
    },
    Kind {
        kind: "Namespace",
        namespaced: false,
        names: Names::Label,
        status: true,
        default: namespace::default,
        prepare_create: namespace::prepare_create,
        prepare_update: namespace::prepare_update,
        validate: namespace::validate,
        validate_update: namespace::validate_update,
        ..PLAIN
    },
    Kind {
        kind: "Node",
        namespaced: false,
        status: true,
        keeps_status: true,
        default: node::default,
        validate: node::validate,
        validate_update: |_, new, old, faults| node::validate_update(new, old, faults),
        warnings: node::warnings,
        ..PLAIN
    },
    Kind {
        kind: "PersistentVolume",
        namespaced: false,
        status: true,
        default: volume::default,
        prepare_create: volume::prepare_create,
        validate: volume::validate,
        validate_update: main_only!(volume::validate_update),
        warnings: volume::warnings,
        ..PLAIN
    },
    Kind {
        kind: "PersistentVolumeClaim",
        status: true,
        default: claim::default,
        prepare_create: claim::prepare_create,
        validate: claim::validate,
        validate_update: apart!(claim::validate_update, claim::validate_status),
        warnings: claim::warnings,
        ..PLAIN
    },
    Kind {
        kind: "Pod",
        status: true,
        default: pod::defaults::pod,
        prepare_create: pod::prepare_create,
        prepare_update: pod::prepare_update,
        validate: pod::validate,
        validate_update: pod::validate_update,
        warnings: pod::warnings_of,
        ..PLAIN
    },
    Kind {
        kind: "PodTemplate",
        generation: true,
        default: |object| pod::defaults::template(object, "template"),
        validate: workload::validate_template,
        validate_update: again!(workload::validate_template),
        ..PLAIN
    },
    Kind {
        kind: "ReplicationController",
        generation: true,
        status: true,
        default: workload::default_replication_controller,
        validate: workload::validate_replication_controller,
        validate_update: apart!(
            |new, _, faults| workload::validate_replication_controller(new, faults),
            workload::validate_status
        ),
        warnings: workload::warnings,
        ..PLAIN
    },
    Kind {
        kind: "ResourceQuota",
        status: true,
        default: quota::default_quota,
        validate: quota::validate_quota,
        validate_update: apart!(quota::validate_quota_update, quota::validate_quota_status),
        ..PLAIN
    },
    Kind {
        kind: "Secret",
        default: config::default_secret,
        validate: config::validate_secret,
        validate_update: main_only!(config::validate_secret_update),
        ..PLAIN
    },
    Kind {
        kind: "Service",
        names: Names::Label1035,
        status: true,
        default: service::default,
        prepare_create: service::prepare_create,
        prepare_update: service::prepare_update,
        validate: service::validate,
        validate_update: apart!(service::validate_update, service::validate_status),
        warnings: service::warnings,
        ..PLAIN
    },
    Kind { kind: "ServiceAccount", warnings: disruption::account_warnings, ..PLAIN },
    // Workloads.
    Kind {
        kind: "ControllerRevision",
        generation: false,
        status: false,
        validate: workload::validate_revision,
        validate_update: main_only!(workload::validate_revision_update),
        ..APPS
    },
    Kind {
        kind: "DaemonSet",
        default: workload::default_daemon_set,
        prepare_create: workload::prepare_create_daemon_set,
        prepare_update: workload::prepare_update_daemon_set,
        validate: workload::validate_daemon_set,
        validate_update: apart!(
            |new, old, faults| with_selector(workload::validate_daemon_set, new, old, faults),
            workload::validate_daemon_status
        ),
        warnings: workload::warnings,
        ..APPS
    },
    Kind {
        kind: "Deployment",
        annotations_count: true,
        status_keeps_labels: true,
        default: workload::default_deployment,
        validate: workload::validate_deployment,
        validate_update: apart!(
            |new, old, faults| with_selector(workload::validate_deployment, new, old, faults),
            workload::validate_status
        ),
        warnings: workload::warnings,
        ..APPS
    },
    Kind {
        kind: "ReplicaSet",
        default: workload::default_replica_set,
        validate: workload::validate_replica_set,
        validate_update: apart!(
            |new, old, faults| with_selector(workload::validate_replica_set, new, old, faults),
            workload::validate_status
        ),
        warnings: workload::warnings,
        ..APPS
    },
    Kind {
        kind: "StatefulSet",
        names: Names::Label,
        default: stateful_set::default,
        validate: stateful_set::validate,
        validate_update: apart!(stateful_set::validate_update, stateful_set::validate_status),
        warnings: workload::warnings,
        ..APPS
    },
    Kind {
        group: "batch",
        kind: "Job",
        default: job::default,
        prepare_create: job::prepare_create,
        validate: job::validate,
        validate_update: apart!(job::validate_update, job::validate_status),
        warnings: job::warnings,
        ..APPS
    },
    Kind {
        group: "batch",
        kind: "CronJob",
        default: cron_job::default,
        validate: cron_job::validate,
        validate_update: main_only!(cron_job::validate_update),
        warnings: cron_job::warnings,
        ..APPS
    },
    Kind {
        group: "autoscaling",
        version: "v2",
        kind: "HorizontalPodAutoscaler",
        status: true,
        default: autoscaler::default,
        validate: autoscaler::validate,
        validate_update: apart!(
            |new, _, faults| autoscaler::validate(new, faults),
            autoscaler::validate_status
        ),
        ..PLAIN
    },
    Kind {
        group: "autoscaling",
        kind: "HorizontalPodAutoscaler",
        status: true,
        default: autoscaler::default_v1,
        validate: autoscaler::validate_v1,
        validate_update: apart!(
            |new, _, faults| autoscaler::validate_v1(new, faults),
            autoscaler::validate_status
        ),
        ..PLAIN
    },
    Kind { group: "autoscaling", kind: "Scale", validate: workload::validate_scale, ..PLAIN },
    // Networks.
    Kind {
        group: "networking.k8s.io",
        kind: "Ingress",
        generation: true,
        status: true,
        validate: ingress::validate,
        validate_update: apart!(ingress::validate_update, ingress::validate_status),
        warnings: ingress::warnings,
        ..PLAIN
    },
    Kind {
        group: "networking.k8s.io",
        kind: "IngressClass",
        namespaced: false,
        generation: true,
        default: ingress::default_class,
        validate: ingress::validate_class,
        validate_update: main_only!(ingress::validate_class_update),
        ..PLAIN
    },
    Kind {
        group: "networking.k8s.io",
        kind: "NetworkPolicy",
        generation: true,
        default: network_policy::default,
        validate: network_policy::validate,
        validate_update: again!(network_policy::validate),
        ..PLAIN
    },
    Kind {
        group: "discovery.k8s.io",
        kind: "EndpointSlice",
        generation: true,
        default: endpoints::default_slice,
        validate: endpoints::validate_slice,
        validate_update: main_only!(endpoints::validate_slice_update),
        ..PLAIN
    },
    Kind {
        group: "events.k8s.io",
        kind: "Event",
        created_by_update: true,
        validate: event::validate_modern,
        validate_update: main_only!(event::validate_modern_update),
        ..PLAIN
    },
    // Policies.
    Kind {
        group: "policy",
        kind: "PodDisruptionBudget",
        generation: true,
        status: true,
        conditional: true,
        validate: disruption::validate_budget,
        validate_update: apart!(
            |new, _, faults| disruption::validate_budget(new, faults),
            disruption::validate_budget_status
        ),
        warnings: disruption::budget_warnings,
        ..PLAIN
    },
    Kind { group: "policy", kind: "Eviction", names: Names::Anything, ..PLAIN },
    Kind {
        kind: "Role",
        validate: rbac::validate_role,
        validate_update: again!(rbac::validate_role),
        ..RBAC
    },
    Kind {
        kind: "ClusterRole",
        namespaced: false,
        validate: rbac::validate_cluster_role,
        validate_update: again!(rbac::validate_cluster_role),
        ..RBAC
    },
    Kind {
        kind: "RoleBinding",
        default: rbac::default_binding,
        validate: rbac::validate_binding,
        validate_update: main_only!(|new, old, faults| binding_update(
            rbac::validate_binding,
            new,
            old,
            faults
        )),
        ..RBAC
    },
    Kind {
        kind: "ClusterRoleBinding",
        namespaced: false,
        default: rbac::default_binding,
        validate: rbac::validate_cluster_binding,
        validate_update: main_only!(|new, old, faults| binding_update(
            rbac::validate_cluster_binding,
            new,
            old,
            faults
        )),
        ..RBAC
    },
    // Storage.
    Kind {
        kind: "StorageClass",
        conditional: false,
        default: storage::default_class,
        validate: storage::validate_class,
        validate_update: main_only!(storage::validate_class_update),
        ..STORAGE
    },
    Kind {
        kind: "CSIDriver",
        generation: true,
        default: storage::default_driver,
        validate: storage::validate_driver,
        validate_update: main_only!(storage::validate_driver_update),
        ..STORAGE
    },
    Kind {
        kind: "CSINode",
        validate: storage::validate_csi_node,
        validate_update: main_only!(storage::validate_csi_node_update),
        ..STORAGE
    },
    Kind {
        kind: "CSIStorageCapacity",
        namespaced: true,
        default: storage::default_capacity,
        validate: storage::validate_capacity,
        validate_update: main_only!(storage::validate_capacity_update),
        ..STORAGE
    },
    Kind {
        kind: "VolumeAttachment",
        status: true,
        validate: storage::validate_attachment,
        validate_update: main_only!(storage::validate_attachment_update),
        ..STORAGE
    },
    // Nodes, priorities, leases.
    Kind {
        group: "coordination.k8s.io",
        kind: "Lease",
        conditional: true,
        created_by_update: true,
        validate: disruption::validate_lease,
        validate_update: again!(disruption::validate_lease),
        ..PLAIN
    },
    Kind {
        group: "node.k8s.io",
        kind: "RuntimeClass",
        namespaced: false,
        conditional: true,
        default: disruption::default_runtime,
        validate: disruption::validate_runtime,
        validate_update: main_only!(disruption::validate_runtime_update),
        ..PLAIN
    },
    Kind {
        group: "scheduling.k8s.io",
        kind: "PriorityClass",
        namespaced: false,
        generation: true,
        default: disruption::default_priority,
        validate: disruption::validate_priority,
        validate_update: main_only!(disruption::validate_priority_update),
        ..PLAIN
    },
    // The API itself.
    Kind {
        group: "apiextensions.k8s.io",
        kind: "CustomResourceDefinition",
        namespaced: false,
        generation: true,
        status: true,
        conditional: true,
        default: definition::default,
        prepare_create: definition::prepare_create,
        prepare_update: |subresource, new, old| match subresource {
            "status" => definition::prepare_status_update(new, old),
            _ => definition::prepare_update(new, old),
        },
        validate: |object, faults| {
            definition::validate_create(object).into_iter().for_each(|one| faults.push(one));
        },
        validate_update: |_, new, old, faults| {
            definition::validate_update(new, old).into_iter().for_each(|one| faults.push(one));
        },
        ..PLAIN
    },
    Kind {
        group: "apiregistration.k8s.io",
        kind: "APIService",
        namespaced: false,
        names: Names::PathSegment,
        status: true,
        conditional: true,
        default: certificate::default_service,
        validate: certificate::validate_service,
        validate_update: again!(certificate::validate_service),
        ..PLAIN
    },
    Kind {
        kind: "ValidatingWebhookConfiguration",
        default: webhooks::default_validating,
        validate: webhooks::validate,
        validate_update: again!(webhooks::validate),
        ..ADMISSION
    },
    Kind {
        kind: "MutatingWebhookConfiguration",
        default: webhooks::default_mutating,
        validate: webhooks::validate,
        validate_update: again!(webhooks::validate),
        ..ADMISSION
    },
    Kind {
        kind: "ValidatingAdmissionPolicy",
        status: true,
        default: webhooks::default_policy,
        validate: webhooks::validate_policy,
        validate_update: again!(webhooks::validate_policy),
        ..ADMISSION
    },
    Kind {
        kind: "ValidatingAdmissionPolicyBinding",
        default: webhooks::default_binding,
        validate: webhooks::validate_binding,
        validate_update: again!(webhooks::validate_binding),
        ..ADMISSION
    },
    Kind {
        group: "certificates.k8s.io",
        kind: "CertificateSigningRequest",
        namespaced: false,
        prepare_create: certificate::prepare_create,
        prepare_update: certificate::prepare_update,
        validate: certificate::validate,
        validate_update: certificate::validate_update,
        ..PLAIN
    },
    Kind {
        kind: "FlowSchema",
        default: flow::default_schema,
        validate: flow::validate_schema,
        validate_update: again!(flow::validate_schema),
        ..FLOW
    },
    Kind {
        kind: "PriorityLevelConfiguration",
        default: flow::default_level,
        validate: flow::validate_level,
        validate_update: again!(flow::validate_level),
        ..FLOW
    },
    Kind {
        group: "shoal.dev",
        kind: "App",
        generation: true,
        status: true,
        names: Names::Label1035,
        validate: app::validate,
        validate_update: main_only!(app::validate_update),
        ..PLAIN
    },
    // Questions.
    Kind {
        group: "authentication.k8s.io",
        kind: "TokenRequest",
        default: review::default_token,
        validate: review::validate_token,
        ..REVIEW
    },
    Kind { group: "authentication.k8s.io", kind: "TokenReview", ..REVIEW },
    Kind { group: "authentication.k8s.io", kind: "SelfSubjectReview", ..REVIEW },
    Kind { kind: "SubjectAccessReview", validate: review::validate_access, ..REVIEW },
    Kind { kind: "LocalSubjectAccessReview", validate: review::validate_local_access, ..REVIEW },
    Kind { kind: "SelfSubjectAccessReview", validate: review::validate_own_access, ..REVIEW },
    Kind { kind: "SelfSubjectRulesReview", ..REVIEW },
];

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_app_counts_what_was_asked_and_its_status_is_written_apart() {
        let app = |at: usize| json!({"metadata": {"name": "a"}, "spec": {"replicas": at}, "status": {"replicas": at}});
        let (mut old, mut new) = (app(1), app(2));
        super::super::prepare_create(&crate::known::APP, &mut old);
        assert_eq!((&old["metadata"]["generation"], &old["status"]), (&json!(1), &Value::Null));
        super::super::prepare_update(&crate::known::APP, "", &mut new, &old);
        assert_eq!((&new["metadata"]["generation"], &new["status"]), (&json!(2), &Value::Null));
    }

    #[test]
    fn no_kind_stands_twice() {
        for (at, one) in KINDS.iter().enumerate() {
            let twin = KINDS[..at]
                .iter()
                .any(|other| (other.group, other.version, other.kind) == (one.group, one.version, one.kind));
            assert!(!twin, "{} {} {}", one.group, one.version, one.kind);
        }
    }
}
