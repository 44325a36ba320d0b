//! The control loops, one file each: those that the API itself promises, and those that make workloads run.

pub mod aggregation;
pub mod app;
pub mod certificates;
pub mod definitions;
pub mod deployment;
pub mod disruption;
pub mod endpoints;
pub mod events;
pub mod garbage;
pub mod job;
pub mod mirror;
pub mod namespace;
pub mod nodes;
pub mod pod_garbage;
pub mod pods;
pub mod policies;
pub mod protection;
pub mod quota;
mod ranks;
pub mod replica_set;
pub mod scheduler;
pub mod service_accounts;
pub mod slices;
pub mod system;
pub mod taint_eviction;
pub mod tokens;

use std::sync::Arc;

use shoal_api::time::Moment;

use crate::access::Authorize;
use crate::bootstrap::{self, ApiServer};
use crate::plan::Controller;

/// What controllers cannot learn from objects.
pub struct Surroundings {
    /// Certificates that a client of the API server trusts, PEM.
    pub root_ca: String,
    /// Where clients find the API server.
    pub server: ApiServer,
    /// Who may do what.
    pub authorizer: Arc<dyn Authorize>,
    /// Decides about the status of custom resource definitions.
    pub definition_status: definitions::DecideStatus,
}

/// Those that keep what the API itself promises.
pub fn of_the_api(surroundings: Surroundings) -> Vec<Box<dyn Controller>> {
    let Surroundings { root_ca, server, authorizer, definition_status } = surroundings;
    vec![
        Box::new(system::SystemObjects::new(bootstrap::objects(&server))),
        Box::new(namespace::NamespaceDeletion),
        Box::new(garbage::GarbageCollector),
        Box::new(service_accounts::DefaultAccounts),
        Box::new(service_accounts::RootCa { bundle: root_ca }),
        Box::new(endpoints::Endpoints),
        Box::new(endpoints::EndpointSlices),
        Box::new(mirror::EndpointSliceMirroring),
        Box::new(quota::ResourceQuotas),
        Box::new(certificates::NodeCertificateApproval { authorizer }),
        Box::new(certificates::CertificateSigning),
        Box::new(certificates::CertificateCleaning),
        Box::new(aggregation::ClusterRoleAggregation),
        Box::new(tokens::AccountTokens),
        Box::new(tokens::BootstrapTokens),
        Box::new(disruption::Disruption),
        Box::new(protection::Claims),
        Box::new(protection::Volumes),
        Box::new(definitions::Establishing { decide: definition_status }),
        Box::new(definitions::Finalizing),
        Box::new(policies::PolicyStatus),
        Box::new(events::EventCleaning),
    ]
}

/// Those that make workloads run: what stands for pods becomes pods, pods get their nodes, and nodes that are lost lose
/// them. `since` is when the process began to look.
pub fn of_workloads(since: Moment) -> Vec<Box<dyn Controller>> {
    vec![
        Box::new(replica_set::ReplicaSets),
        Box::new(deployment::Deployments),
        Box::new(job::Jobs),
        Box::new(app::Apps),
        Box::<scheduler::Scheduler>::default(),
        Box::new(nodes::NodeLifecycle { since }),
        Box::new(nodes::PodRanges),
        Box::new(taint_eviction::TaintEviction),
        Box::<pod_garbage::PodGarbage>::default(),
    ]
}
