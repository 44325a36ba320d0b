//! The way from one workload to another without leaving the process.

use std::fmt;
use std::sync::Arc;

use crate::Invoke;

/// Services of the cluster, as a guest names them.
pub trait Mesh: Send + Sync {
    /// What answers a guest of `namespace` that sends plain HTTP to `host` (a name in lower case without a final
    /// dot: `service`, `service.namespace`, `service.namespace.svc` or `service.namespace.svc.cluster.local`;
    /// or the address of a service) and `port`. None: no service has this name, and the name is looked up as any other.
    ///
    /// A service that exists is found whether it can answer or not: what comes back says what is missing.
    fn service(&self, namespace: &str, host: &str, port: u16) -> Option<Arc<dyn Invoke>>;
}

/// How many workloads one request may pass through, one calling the next. Chains of services are rarely ten long; a
/// loop among them is stopped here, before it takes the instances of everyone.
pub const HOPS_MAX: u8 = 16;

impl fmt::Debug for dyn Mesh {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Mesh")
    }
}
