//! Aggregated ClusterRoles: their rules are those of the ClusterRoles that their selectors choose.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};
use shoal_api::time::Moment;
use shoal_api::{GroupVersionKind, object};

use crate::known::CLUSTER_ROLE;
use crate::plan::{Controller, Interest, Key, Plan, Write};
use crate::snapshot::{Snapshot, items};
use crate::words::selector;

/// Keeps the rules of ClusterRoles that have an `aggregationRule`.
pub struct ClusterRoleAggregation;

impl Controller for ClusterRoleAggregation {
    fn name(&self) -> &'static str {
        "clusterrole-aggregation-controller"
    }

    fn interests(&self) -> Vec<Interest> {
        vec![Interest::of(&CLUSTER_ROLE, aggregated)]
    }

    fn plan(&self, world: &dyn Snapshot, key: &Key, _: Moment) -> Plan {
        let Some(role) = world.get(&CLUSTER_ROLE, "", &key.name) else { return Plan::default() };
        if role["aggregationRule"].is_null() {
            return Plan::default();
        }
        let rules = json!(rules(world, &role));
        let now = if role["rules"].is_null() { &json!([]) } else { &role["rules"] };
        if *now == rules {
            return Plan::default();
        }
        let mut role = Value::clone(&role);
        role["rules"] = rules;
        Plan::write(Write::update(&CLUSTER_ROLE, role))
    }
}

/// Rules of the chosen roles, by name, each rule once.
fn rules(world: &dyn Snapshot, role: &Value) -> Vec<Value> {
    let all = world.list(&CLUSTER_ROLE, None);
    let mut rules = Vec::new();
    for wanted in items(&role["aggregationRule"]["clusterRoleSelectors"]) {
        let selector = selector(wanted);
        let chosen: BTreeMap<&str, &Arc<Value>> = all
            .iter()
            .filter(|other| object::name(other) != object::name(role) && selector.matches(other))
            .map(|other| (object::name(other), other))
            .collect();
        for rule in chosen.values().flat_map(|other| items(&other["rules"])) {
            if !rules.contains(rule) {
                rules.push(rule.clone());
            }
        }
    }
    rules
}

/// Any change of a ClusterRole may change each aggregated one.
fn aggregated(world: &dyn Snapshot, _: &GroupVersionKind, _: &Value) -> Vec<Key> {
    let roles = world.list(&CLUSTER_ROLE, None);
    let aggregated = roles.iter().filter(|role| !role["aggregationRule"].is_null());
    aggregated.map(|role| Key::of(&CLUSTER_ROLE, role)).collect()
}
