//! Aggregated ClusterRoles: their rules are those of the ClusterRoles that their selectors choose.

use std::sync::Arc;

use serde_json::Value;
use shoal_api::GroupVersionKind;
use shoal_api::time::Moment;

use crate::known::CLUSTER_ROLE;
use crate::plan::{Controller, Interest, Key, Plan, Write};
use crate::rbac::aggregate;
use crate::snapshot::Snapshot;

/// Keeps the rules of ClusterRoles that have an `aggregationRule`.
pub struct ClusterRoleAggregation;

impl Controller for ClusterRoleAggregation {
    fn name(&self) -> &'static str {
        "clusterrole-aggregation-controller"
    }

    fn manager(&self) -> &'static str {
        // It applies under a name of its own, as that of Kubernetes does.
        self.name()
    }

    fn interests(&self) -> Vec<Interest> {
        vec![Interest::of(&CLUSTER_ROLE, aggregated)]
    }

    fn plan(&self, world: &dyn Snapshot, key: &Key, _: Moment) -> Plan {
        let Some(role) = world.get(&CLUSTER_ROLE, "", &key.name) else { return Plan::default() };
        let all = world.list(&CLUSTER_ROLE, None);
        let Some(rules) = aggregate::rules(&role, all.iter().map(Arc::as_ref)) else {
            return Plan::default();
        };
        let mut role = Value::clone(&role);
        role["rules"] = rules;
        Plan::write(Write::update(&CLUSTER_ROLE, role))
    }
}

/// Any change of a ClusterRole may change each aggregated one.
fn aggregated(world: &dyn Snapshot, _: &GroupVersionKind, _: &Value) -> Vec<Key> {
    let roles = world.list(&CLUSTER_ROLE, None);
    let aggregated = roles.iter().filter(|role| !role["aggregationRule"].is_null());
    aggregated.map(|role| Key::of(&CLUSTER_ROLE, role)).collect()
}
