//! What the status of policies says about their expressions.

use expect_test::{Expect, expect};
use serde_json::{Value, json};
use shoal_control::controllers::policies::PolicyStatus;
use shoal_control::known::VALIDATING_ADMISSION_POLICY;
use shoal_control::world::World;

use crate::support::{object, world};

fn policy(resources: &Value, expression: &str) -> Value {
    let mut policy = object("admissionregistration.k8s.io/v1", "ValidatingAdmissionPolicy", "p");
    policy["metadata"] = json!({"name": "p", "generation": 1});
    policy["spec"] = json!({
        "matchConstraints": {"resourceRules": [resources]}, "validations": [{"expression": expression}],
    });
    policy
}

fn definition() -> Value {
    let schema = json!({"type": "object", "properties": {"spec": {"type": "object", "properties": {
        "size": {"type": "integer"},
    }}}});
    let mut crd = object("apiextensions.k8s.io/v1", "CustomResourceDefinition", "widgets.example.com");
    crd["spec"] = json!({
        "group": "example.com", "names": {"kind": "Widget", "plural": "widgets"},
        "versions": [{"name": "v1", "served": true, "schema": {"openAPIV3Schema": schema}}],
    });
    crd["status"] = json!({"acceptedNames": {"kind": "Widget", "plural": "widgets"}});
    crd
}

fn status(world: &World) -> Value {
    let policy: Value =
        serde_json::from_str(world.show(&VALIDATING_ADMISSION_POLICY).trim()).expect("one policy");
    policy["status"].clone()
}

fn check(group: &str, version: &str, resource: &str, expression: &str, expected: Expect) {
    let mut world = world(PolicyStatus);
    world.apply(definition());
    let rule = json!({
        "apiGroups": [group], "apiVersions": [version], "resources": [resource], "operations": ["*"],
    });
    world.apply(policy(&rule, expression));
    world.settle();
    let status = status(&world);
    assert_eq!(status["observedGeneration"], 1);
    let warnings = &status["typeChecking"]["expressionWarnings"];
    assert!(warnings.is_null() || warnings[0]["fieldRef"] == "spec.validations[0].expression", "{warnings}");
    expected.assert_eq(warnings[0]["warning"].as_str().unwrap_or_default());
    assert_eq!(world.tick(3600), "", "a generation is checked once");
}

#[test]
fn expressions_meet_the_kinds_that_a_policy_names() {
    check("apps", "v1", "deployments", "object.spec.replicas < 5", expect![[""]]);
    check(
        "apps",
        "v1",
        "deployments",
        "object.spec.replicas < 'a'",
        expect![[r#"
        apps/v1, Kind=Deployment: ERROR: <input>:1:22: found no matching overload for '_<_' applied to '(int, string)'
         | object.spec.replicas < 'a'
         | .....................^"#]],
    );
    check(
        "example.com",
        "v1",
        "widgets",
        "object.spec.size > 1 && object.metadata.name != ''",
        expect![[""]],
    );
    check(
        "example.com",
        "v1",
        "widgets",
        "object.spec.length > 1",
        expect![[r#"
        example.com/v1, Kind=Widget: ERROR: <input>:1:12: undefined field 'length'
         | object.spec.length > 1
         | ...........^"#]],
    );
    check("example.com", "v9", "widgets", "object.spec.length > 1", expect![[""]]);
    check("*", "*", "*", "object.spec.length > 1", expect![[""]]);
}
