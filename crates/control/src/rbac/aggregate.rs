//! Roles that are the sum of others.

use serde_json::Value;
use shoal_api::object;

/// The rules that an aggregated ClusterRole should have: those of all roles that its selectors name, each once, by
/// the names of the roles. None when it is no aggregated role, or has them already.
pub fn rules<'a>(role: &Value, cluster_roles: impl Iterator<Item = &'a Value>) -> Option<Value> {
    let selectors = role["aggregationRule"]["clusterRoleSelectors"].as_array()?;
    let mut roles: Vec<&Value> =
        cluster_roles.filter(|other| object::name(other) != object::name(role)).collect();
    roles.sort_by_key(|other| object::name(other));
    let mut rules: Vec<Value> = Vec::new();
    for selector in selectors {
        for other in roles.iter().filter(|other| matches(selector, other)) {
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

/// Whether a label selector matches the labels of an object. An empty selector matches everything.
fn matches(selector: &Value, object: &Value) -> bool {
    let equal = selector["matchLabels"].as_object().into_iter().flatten();
    let expressions = selector["matchExpressions"].as_array().into_iter().flatten();
    equal.into_iter().all(|(key, value)| object::label(object, key).is_some_and(|label| value == label))
        && expressions.into_iter().all(|expression| {
            let label = object::label(object, expression["key"].as_str().unwrap_or_default());
            let values = expression["values"].as_array().into_iter().flatten();
            let is_in = label.is_some_and(|label| values.into_iter().any(|value| value == label));
            match expression["operator"].as_str() {
                Some("In") => is_in,
                Some("NotIn") => !is_in,
                Some("Exists") => label.is_some(),
                Some("DoesNotExist") => label.is_none(),
                _ => false,
            }
        })
}
