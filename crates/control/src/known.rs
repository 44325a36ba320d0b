//! The built-in kinds that controllers and admission speak of, by name.

use std::sync::LazyLock;

use shoal_api::GroupVersionKind;

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident = $group:literal, $version:literal, $kind:literal;)*) => {
        $(
            $(#[$doc])*
            pub static $name: LazyLock<GroupVersionKind> =
                LazyLock::new(|| GroupVersionKind::new($group, $version, $kind));
        )*
    };
}

kinds! {
    /// `v1 Namespace`.
    NAMESPACE = "", "v1", "Namespace";
    /// `v1 Node`.
    NODE = "", "v1", "Node";
    /// `v1 Pod`.
    POD = "", "v1", "Pod";
    /// `v1 Service`.
    SERVICE = "", "v1", "Service";
    /// `v1 Endpoints`.
    ENDPOINTS = "", "v1", "Endpoints";
    /// `v1 Event`; those of `events.k8s.io/v1` are stored as such.
    EVENT = "", "v1", "Event";
    /// `v1 ConfigMap`.
    CONFIG_MAP = "", "v1", "ConfigMap";
    /// `v1 Secret`.
    SECRET = "", "v1", "Secret";
    /// `v1 ServiceAccount`.
    SERVICE_ACCOUNT = "", "v1", "ServiceAccount";
    /// `v1 ResourceQuota`.
    RESOURCE_QUOTA = "", "v1", "ResourceQuota";
    /// `v1 LimitRange`.
    LIMIT_RANGE = "", "v1", "LimitRange";
    /// `v1 PersistentVolume`.
    PERSISTENT_VOLUME = "", "v1", "PersistentVolume";
    /// `v1 PersistentVolumeClaim`.
    PERSISTENT_VOLUME_CLAIM = "", "v1", "PersistentVolumeClaim";
    /// `v1 ReplicationController`.
    REPLICATION_CONTROLLER = "", "v1", "ReplicationController";
    /// `apps/v1 Deployment`.
    DEPLOYMENT = "apps", "v1", "Deployment";
    /// `apps/v1 ReplicaSet`.
    REPLICA_SET = "apps", "v1", "ReplicaSet";
    /// `apps/v1 StatefulSet`.
    STATEFUL_SET = "apps", "v1", "StatefulSet";
    /// `apps/v1 DaemonSet`.
    DAEMON_SET = "apps", "v1", "DaemonSet";
    /// `batch/v1 Job`.
    JOB = "batch", "v1", "Job";
    /// `batch/v1 CronJob`.
    CRON_JOB = "batch", "v1", "CronJob";
    /// `coordination.k8s.io/v1 Lease`.
    LEASE = "coordination.k8s.io", "v1", "Lease";
    /// `networking.k8s.io/v1 Ingress`.
    INGRESS = "networking.k8s.io", "v1", "Ingress";
    /// `shoal.dev/v1 App`.
    APP = "shoal.dev", "v1", "App";
    /// `discovery.k8s.io/v1 EndpointSlice`.
    ENDPOINT_SLICE = "discovery.k8s.io", "v1", "EndpointSlice";
    /// `policy/v1 PodDisruptionBudget`.
    POD_DISRUPTION_BUDGET = "policy", "v1", "PodDisruptionBudget";
    /// `scheduling.k8s.io/v1 PriorityClass`.
    PRIORITY_CLASS = "scheduling.k8s.io", "v1", "PriorityClass";
    /// `storage.k8s.io/v1 StorageClass`.
    STORAGE_CLASS = "storage.k8s.io", "v1", "StorageClass";
    /// `networking.k8s.io/v1 IngressClass`.
    INGRESS_CLASS = "networking.k8s.io", "v1", "IngressClass";
    /// `node.k8s.io/v1 RuntimeClass`.
    RUNTIME_CLASS = "node.k8s.io", "v1", "RuntimeClass";
    /// `rbac.authorization.k8s.io/v1 ClusterRole`.
    CLUSTER_ROLE = "rbac.authorization.k8s.io", "v1", "ClusterRole";
    /// `certificates.k8s.io/v1 CertificateSigningRequest`.
    CERTIFICATE_SIGNING_REQUEST = "certificates.k8s.io", "v1", "CertificateSigningRequest";
    /// `apiextensions.k8s.io/v1 CustomResourceDefinition`.
    CUSTOM_RESOURCE_DEFINITION = "apiextensions.k8s.io", "v1", "CustomResourceDefinition";
    /// `admissionregistration.k8s.io/v1 ValidatingAdmissionPolicy`.
    VALIDATING_ADMISSION_POLICY = "admissionregistration.k8s.io", "v1", "ValidatingAdmissionPolicy";
    /// `flowcontrol.apiserver.k8s.io/v1 FlowSchema`.
    FLOW_SCHEMA = "flowcontrol.apiserver.k8s.io", "v1", "FlowSchema";
    /// `flowcontrol.apiserver.k8s.io/v1 PriorityLevelConfiguration`.
    PRIORITY_LEVEL = "flowcontrol.apiserver.k8s.io", "v1", "PriorityLevelConfiguration";
}
