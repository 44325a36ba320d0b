//! Where the objects of a kind are.

use std::borrow::Cow;

use form_urlencoded::byte_serialize;

/// A resource: what its URLs are made of.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Resource {
    /// `v1`, `apps/v1`.
    pub api_version: Cow<'static, str>,
    /// `Pod`.
    pub kind: Cow<'static, str>,
    /// `pods`.
    pub plural: Cow<'static, str>,
    /// Whether its objects live in namespaces.
    pub is_namespaced: bool,
}

impl Resource {
    /// A resource that is known while compiling.
    pub const fn new(
        api_version: &'static str,
        kind: &'static str,
        plural: &'static str,
        is_namespaced: bool,
    ) -> Self {
        Self {
            api_version: Cow::Borrowed(api_version),
            kind: Cow::Borrowed(kind),
            plural: Cow::Borrowed(plural),
            is_namespaced,
        }
    }

    /// The path of all objects, or of those of one namespace when it is not empty.
    pub fn path(&self, namespace: &str) -> String {
        let root = if self.api_version.contains('/') { "/apis" } else { "/api" };
        let (api_version, plural) = (&self.api_version, &self.plural);
        if self.is_namespaced && !namespace.is_empty() {
            return format!("{root}/{api_version}/namespaces/{}/{plural}", escaped(namespace));
        }
        format!("{root}/{api_version}/{plural}")
    }

    /// The path of one object, or of a subresource of it when that is not empty.
    pub fn object_path(&self, namespace: &str, name: &str, subresource: &str) -> String {
        let mut path = format!("{}/{}", self.path(namespace), escaped(name));
        if !subresource.is_empty() {
            path.push('/');
            path.push_str(subresource);
        }
        path
    }
}

/// Names come from objects of others: none may lead to another path.
pub(crate) fn escaped(name: &str) -> String {
    // A plus would be a space in a query, but not in a path.
    byte_serialize(name.as_bytes()).collect::<String>().replace('+', "%20")
}

/// The kinds that Shoal itself speaks of.
pub mod kinds {
    use super::Resource;

    /// Pods.
    pub const PODS: Resource = Resource::new("v1", "Pod", "pods", true);
    /// Nodes.
    pub const NODES: Resource = Resource::new("v1", "Node", "nodes", false);
    /// Namespaces.
    pub const NAMESPACES: Resource = Resource::new("v1", "Namespace", "namespaces", false);
    /// Services.
    pub const SERVICES: Resource = Resource::new("v1", "Service", "services", true);
    /// ConfigMaps.
    pub const CONFIG_MAPS: Resource = Resource::new("v1", "ConfigMap", "configmaps", true);
    /// Secrets.
    pub const SECRETS: Resource = Resource::new("v1", "Secret", "secrets", true);
    /// ServiceAccounts.
    pub const SERVICE_ACCOUNTS: Resource = Resource::new("v1", "ServiceAccount", "serviceaccounts", true);
    /// Events, in the form that kubectl reads.
    pub const EVENTS: Resource = Resource::new("v1", "Event", "events", true);
    /// Leases.
    pub const LEASES: Resource = Resource::new("coordination.k8s.io/v1", "Lease", "leases", true);
    /// EndpointSlices.
    pub const ENDPOINT_SLICES: Resource =
        Resource::new("discovery.k8s.io/v1", "EndpointSlice", "endpointslices", true);
    /// Ingresses.
    pub const INGRESSES: Resource = Resource::new("networking.k8s.io/v1", "Ingress", "ingresses", true);
    /// Deployments.
    pub const DEPLOYMENTS: Resource = Resource::new("apps/v1", "Deployment", "deployments", true);
    /// ReplicaSets.
    pub const REPLICA_SETS: Resource = Resource::new("apps/v1", "ReplicaSet", "replicasets", true);
    /// Jobs.
    pub const JOBS: Resource = Resource::new("batch/v1", "Job", "jobs", true);
    /// Apps.
    pub const APPS: Resource = Resource::new("shoal.dev/v1", "App", "apps", true);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_those_of_kubernetes() {
        assert_eq!(kinds::PODS.path(""), "/api/v1/pods");
        assert_eq!(kinds::NODES.path("shop"), "/api/v1/nodes");
        assert_eq!(
            kinds::DEPLOYMENTS.object_path("shop", "web", "scale"),
            "/apis/apps/v1/namespaces/shop/deployments/web/scale"
        );
        assert_eq!(
            kinds::PODS.object_path("a b", "x/../y?z", ""),
            "/api/v1/namespaces/a%20b/pods/x%2F..%2Fy%3Fz"
        );
    }
}
