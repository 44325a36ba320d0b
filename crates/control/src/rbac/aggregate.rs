//! Roles that are the sum of others.

use serde_json::Value;
use shoal_api::object;
use shoal_api::selector::label::Selector;

/// The rules that an aggregated ClusterRole should have: those of all roles that its selectors name, each once, by
/// the names of the roles. None when it is no aggregated role, or has them already.
pub fn rules<'a>(role: &Value, cluster_roles: impl Iterator<Item = &'a Value>) -> Option<Value> {
    let selectors = role["aggregationRule"]["clusterRoleSelectors"].as_array()?;
    let mut roles: Vec<&Value> =
        cluster_roles.filter(|other| object::name(other) != object::name(role)).collect();
    roles.sort_by_key(|other| object::name(other));
    let mut rules: Vec<Value> = Vec::new();
    // A selector that makes no sense selects nothing: validation refuses it before it is stored.
    for selector in selectors.iter().filter_map(|selector| Selector::from_object(selector).ok()) {
        for other in roles.iter().filter(|other| selector.matches(other)) {
            for rule in other["rules"].as_array().into_iter().flatten() {
                if !rules.contains(rule) {
                    rules.push(rule.clone());
                }
            }
        }
    }
    let current = role["rules"].as_array().map_or(&[][..], Vec::as_slice);
    (current != rules).then(|| rules.into())
}
