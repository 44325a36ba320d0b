//! `status.typeChecking` of a policy: what its expressions would meet in the kinds that it names.

use serde_json::{Map, Value, json};
use shoal_api::GroupVersionKind;

use crate::cel::{CompileError, Environment, Program, Type};
use crate::custom::structural::Structural;

/// How many kinds are looked at for one policy (`maxTypesToCheck` of Kubernetes).
pub const TYPES_MAX: usize = 10;

/// The resources that a policy names in full, as group, version and plural. Rules with `*` name none.
pub fn types_to_check(policy: &Value) -> Vec<(String, String, String)> {
    let mut types = Vec::new();
    for rule in policy["spec"]["matchConstraints"]["resourceRules"].as_array().into_iter().flatten() {
        let texts = |field: &str| -> Vec<&str> {
            rule[field].as_array().into_iter().flatten().filter_map(Value::as_str).collect()
        };
        let (groups, versions, resources) = (texts("apiGroups"), texts("apiVersions"), texts("resources"));
        if [&groups, &versions, &resources].iter().any(|list| list.iter().any(|text| text.contains('*'))) {
            continue;
        }
        for group in &groups {
            for version in &versions {
                for resource in resources.iter().filter(|resource| !resource.contains('/')) {
                    let one = (group.to_string(), version.to_string(), resource.to_string());
                    if types.len() < TYPES_MAX && !types.contains(&one) {
                        types.push(one);
                    }
                }
            }
        }
    }
    types
}

/// `status` of a policy once its types were checked: with a warning for each expression that some kind cannot meet.
/// `kinds` are those of [`types_to_check`], with their schemas ([`Structural::of_node`], or a custom resource's).
pub fn type_checked(policy: &Value, kinds: &[(GroupVersionKind, &Structural)]) -> Value {
    let spec = &policy["spec"];
    let variables: Vec<String> = spec["variables"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|variable| variable["name"].as_str().map(str::to_string))
        .collect();
    let mut warnings = Vec::new();
    for (index, validation) in spec["validations"].as_array().into_iter().flatten().enumerate() {
        for field in ["expression", "messageExpression"] {
            let source = validation[field].as_str().unwrap_or_default();
            if source.is_empty() {
                continue;
            }
            let found: Vec<String> = kinds
                .iter()
                .filter_map(|(kind, schema)| {
                    Some(format!("{kind}: {}", check(source, schema, &variables).err()?))
                })
                .collect();
            if !found.is_empty() {
                let place = format!("spec.validations[{index}].{field}");
                warnings.push(json!({"fieldRef": place, "warning": found.join("\n")}));
            }
        }
    }
    let mut checked = Map::new();
    if !warnings.is_empty() {
        checked.insert("expressionWarnings".into(), warnings.into());
    }
    let mut status = policy["status"].as_object().cloned().unwrap_or_default();
    status.insert("observedGeneration".into(), policy["metadata"]["generation"].clone());
    status.insert("typeChecking".into(), checked.into());
    Value::Object(status)
}

fn check(source: &str, schema: &Structural, variables: &[String]) -> Result<(), CompileError> {
    let own = Type::of(schema).unwrap_or(Type::Dyn);
    let mut names = vec![("object", own.clone()), ("oldObject", own)];
    names.extend(
        ["request", "params", "namespaceObject", "authorizer", "variables"].map(|name| (name, Type::Dyn)),
    );
    let environment = Environment { names, variables: Some(variables.to_vec()) };
    Program::compile(source)?.check(&environment).map(|_| ())
}
