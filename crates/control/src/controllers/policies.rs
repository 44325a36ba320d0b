//! The status of ValidatingAdmissionPolicies: what their expressions would meet in the kinds that they name.

use serde_json::Value;
use shoal_api::schema::builtin;
use shoal_api::time::Moment;
use shoal_api::{GroupVersion, GroupVersionKind, resources};

use crate::custom::definition;
use crate::custom::rules;
use crate::custom::structural::Structural;
use crate::known::{CUSTOM_RESOURCE_DEFINITION, VALIDATING_ADMISSION_POLICY};
use crate::plan::{Controller, Interest, Key, Plan, Write};
use crate::policy::{type_checked, types_to_check};
use crate::snapshot::{Snapshot, is_deleted};

/// Checks the types in policies, once for each generation of a policy, as Kubernetes does.
pub struct PolicyStatus;

impl Controller for PolicyStatus {
    fn name(&self) -> &'static str {
        "validatingadmissionpolicy-status-controller"
    }

    fn interests(&self) -> Vec<Interest> {
        vec![Interest::own(&VALIDATING_ADMISSION_POLICY)]
    }

    fn plan(&self, world: &dyn Snapshot, key: &Key, _now: Moment) -> Plan {
        let found = world.get(&VALIDATING_ADMISSION_POLICY, "", &key.name);
        let Some(policy) = found.filter(|policy| !is_deleted(policy)) else { return Plan::default() };
        let number = |value: &Value| value.as_i64().unwrap_or(0);
        if number(&policy["metadata"]["generation"]) <= number(&policy["status"]["observedGeneration"]) {
            return Plan::default();
        }
        let types = types_to_check(&policy);
        let kinds: Vec<(GroupVersionKind, Structural)> = types
            .iter()
            .filter_map(|(group, version, plural)| schema(world, group, version, plural))
            .collect();
        let kinds: Vec<(GroupVersionKind, &Structural)> =
            kinds.iter().map(|(kind, schema)| (kind.clone(), schema)).collect();
        let mut checked = Value::clone(&policy);
        checked["status"] = type_checked(&policy, &kinds);
        Plan::write(Write::status(&VALIDATING_ADMISSION_POLICY, checked))
    }
}

/// What the objects of a resource look like; none: nobody serves it.
fn schema(
    world: &dyn Snapshot,
    group: &str,
    version: &str,
    plural: &str,
) -> Option<(GroupVersionKind, Structural)> {
    let group_version = GroupVersion::new(group, version);
    if let Some(resource) = resources::built_in(&group_version, plural) {
        let kind = resource.group_version_kind();
        return Some((kind.clone(), Structural::of_node(builtin::kind(&kind)?)));
    }
    let definitions = world.list(&CUSTOM_RESOURCE_DEFINITION, None);
    let crd = definitions
        .iter()
        .find(|crd| crd["spec"]["group"] == group && crd["status"]["acceptedNames"]["plural"] == plural)?;
    let entry = definition::version(crd, version).filter(|entry| entry["served"] == true)?;
    let schema = Structural::new(&entry["schema"]["openAPIV3Schema"]).ok()?;
    let kind = crd["spec"]["names"]["kind"].as_str()?;
    Some((group_version.kind(kind), rules::visible(&schema, true)))
}
