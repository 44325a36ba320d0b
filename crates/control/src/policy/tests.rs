//! Policies, bindings and webhooks against requests.
#![expect(clippy::needless_pass_by_value, reason = "tables of values that are made in place")]

use std::collections::BTreeMap;

use crate::rbac::User;
use base64::Engine as _;
use serde_json::{Value, json};
use shoal_api::GroupVersionKind;
use shoal_api::status::Resource;

use super::webhook::Webhook;
use super::*;
use crate::cel::{Authorizer, Budget};

fn request(object: Value) -> Attributes {
    Attributes {
        operation: Operation::Create,
        kind: GroupVersionKind::new("apps", "v1", "Deployment"),
        group: "apps".into(),
        version: "v1".into(),
        resource: "deployments".into(),
        name: "web".into(),
        namespace: "default".into(),
        object,
        user: User { name: "jane".into(), groups: vec!["dev".into()], ..User::default() },
        ..Attributes::default()
    }
}

fn policy(spec: Value) -> Value {
    let mut policy = json!({"metadata": {"name": "replicas"}, "spec": {
        "matchConstraints": {"resourceRules": [
            {"apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["deployments"]}
        ]},
    }});
    for (field, value) in spec.as_object().expect("an object") {
        policy["spec"][field] = value.clone();
    }
    policy
}

fn binding(actions: &[&str]) -> Value {
    json!({"metadata": {"name": "all"}, "spec": {"policyName": "replicas", "validationActions": actions}})
}

struct OnlyGet;

impl Authorizer for OnlyGet {
    fn authorize(&self, check: &BTreeMap<&'static str, String>) -> Result<(bool, String), String> {
        Ok((check.get("verb").is_some_and(|verb| verb == "get"), "because".into()))
    }
}

fn judge(policy: &Value, binding: &Value, request: &Attributes, params: &Params<'_>) -> Report {
    let policy = Policy::new(policy).expect("a policy");
    let mut report = Report::default();
    if policy.matches(request, None) {
        let around = Surroundings { namespace: None, params, authorizer: Some(&OnlyGet) };
        policy.judge(binding, request, around, &mut Budget::of_request(), &mut report);
    }
    report
}

/// What the policy says about a Deployment of five replicas.
fn refusal(spec: Value) -> String {
    let request = request(json!({"metadata": {"labels": {"a": "b"}}, "spec": {"replicas": 5}}));
    let report = judge(&policy(spec), &binding(&["Deny"]), &request, &Params::None);
    let resource = Resource { group: "apps", name: "deployments" };
    report
        .refusal(resource, "web")
        .map_or(String::new(), |status| format!("{} {} {}", status.code, status.reason, status.message))
}

#[test]
fn a_policy_refuses_in_the_words_of_upstream() {
    let denied = "deployments.apps \"web\" is forbidden: ValidatingAdmissionPolicy 'replicas' with binding 'all' denied request: ";
    for (spec, expected) in [
        (json!({"validations": [{"expression": "object.spec.replicas <= 5"}]}), String::new()),
        (
            json!({"validations": [{"expression": "object.spec.replicas < 5"}]}),
            format!("422 Invalid {denied}failed expression: object.spec.replicas < 5"),
        ),
        (
            json!({"validations": [{"expression": "object.spec.replicas < 5", "message": "too many", "reason": "Forbidden"}]}),
            format!("403 Forbidden {denied}too many"),
        ),
        (
            json!({
                "variables": [{"name": "max", "expression": "3"}, {"name": "more", "expression": "object.spec.replicas - variables.max"}],
                "validations": [{"expression": "variables.more <= 0", "messageExpression": "string(variables.more) + ' too many'"}],
            }),
            format!("422 Invalid {denied}2 too many"),
        ),
        (
            json!({"validations": [{"expression": "object.spec.missing > 1"}]}),
            format!(
                "422 Invalid {denied}expression 'object.spec.missing > 1' resulted in error: no such key: missing"
            ),
        ),
        (
            json!({"failurePolicy": "Ignore", "validations": [{"expression": "object.spec.missing > 1"}]}),
            String::new(),
        ),
        (
            json!({"matchConditions": [{"name": "a", "expression": "request.userInfo.username != 'jane'"}],
                "validations": [{"expression": "false"}]}),
            String::new(),
        ),
        (
            json!({"validations": [{"expression": "authorizer.group('apps').resource('deployments').check('delete').allowed()"}]}),
            format!(
                "422 Invalid {denied}failed expression: authorizer.group('apps').resource('deployments').check('delete').allowed()"
            ),
        ),
        (
            json!({"validations": [{"expression": "authorizer.requestResource.check('get').allowed()"}]}),
            String::new(),
        ),
        (
            json!({"matchConstraints": {"resourceRules": [
            {"apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["UPDATE"], "resources": ["*"]}
        ]}, "validations": [{"expression": "false"}]}),
            String::new(),
        ),
    ] {
        assert_eq!(refusal(spec.clone()), expected, "{spec}");
    }
}

#[test]
fn actions_parameters_and_annotations() {
    let max = json!({"data": {"max": "3"}});
    let spec = json!({
        "paramKind": {"apiVersion": "v1", "kind": "ConfigMap"},
        "validations": [{"expression": "object.spec.replicas <= int(params.data.max)"}],
        "auditAnnotations": [{"key": "count", "valueExpression": "'has ' + string(object.spec.replicas)"}],
    });
    let request = request(json!({"spec": {"replicas": 5}}));
    let report =
        judge(&policy(spec.clone()), &binding(&["Warn", "Audit"]), &request, &Params::Found(vec![&max]));
    assert_eq!(report.denials, []);
    assert_eq!(
        report.warnings,
        [
            "Validation failed for ValidatingAdmissionPolicy 'replicas' with binding 'all': failed expression: object.spec.replicas <= int(params.data.max)"
        ]
    );
    assert_eq!(report.annotations["replicas/count"], "has 5");
    assert_eq!(report.failures[0]["policy"], "replicas");
    let mut none = binding(&["Deny"]);
    none["spec"]["paramRef"] = json!({"name": "x", "parameterNotFoundAction": "Deny"});
    let report = judge(&policy(spec.clone()), &none, &request, &Params::Found(Vec::new()));
    assert_eq!(
        report.denials[0].message,
        "no params found for policy binding with `Deny` parameterNotFoundAction"
    );
    none["spec"]["paramRef"]["parameterNotFoundAction"] = json!("Allow");
    assert_eq!(judge(&policy(spec), &none, &request, &Params::Found(Vec::new())), Report::default());
}

#[test]
fn expressions_that_cannot_be_are_named() {
    let errors: Vec<String> = policy_errors(&policy(json!({
        "variables": [{"name": "a", "expression": "variables.b"}, {"name": "b", "expression": "1"}],
        "validations": [{"expression": "object."}, {"expression": "1 + 1"}, {"expression": "params == null"}],
    })))
    .iter()
    .map(|error| error.to_string().lines().next().unwrap_or_default().to_string())
    .collect();
    assert_eq!(
        errors[0],
        "spec.variables[0].expression: Invalid value: \"variables.b\": compilation failed: ERROR: <input>:1:10: undefined field 'b'"
    );
    assert!(
        errors[1].starts_with(
            "spec.validations[0].expression: Invalid value: \"object.\": compilation failed: ERROR: "
        ),
        "{}",
        errors[1]
    );
    assert_eq!(errors[2], "spec.validations[1].expression: Invalid value: \"1 + 1\": must evaluate to bool");
    assert!(errors[3].contains("undeclared reference to 'params'"), "{}", errors[3]);
}

#[test]
fn selectors_and_rules() {
    let labels = json!({"a": "b"});
    for (selector, expected) in [
        (json!(null), true),
        (json!({"matchLabels": {"a": "b"}}), true),
        (json!({"matchLabels": {"a": "c"}}), false),
        (json!({"matchExpressions": [{"key": "a", "operator": "In", "values": ["b"]}]}), true),
        (json!({"matchExpressions": [{"key": "a", "operator": "NotIn", "values": ["b"]}]}), false),
        (json!({"matchExpressions": [{"key": "x", "operator": "DoesNotExist"}]}), true),
        (json!({"matchExpressions": [{"key": "x", "operator": "Exists"}]}), false),
    ] {
        assert_eq!(selects(&selector, &labels), expected, "{selector}");
    }
    let rule = |field: &str, value: Value| {
        let mut rule =
            json!({"apiGroups": ["*"], "apiVersions": ["*"], "operations": ["*"], "resources": ["*"]});
        rule[field] = value;
        let webhook = json!({"rules": [rule]});
        Matcher::of_webhook(&webhook).matches(&request(json!({})), None)
    };
    assert!(rule("resources", json!(["deployments/*"])));
    assert!(!rule("resources", json!(["deployments/status"])));
    assert!(!rule("scope", json!("Cluster")));
    assert!(!rule("apiGroups", json!([""])));
}

#[test]
fn webhooks_are_asked_and_understood() {
    let configuration = json!({"webhooks": [{
        "name": "w.example.com", "clientConfig": {"service": {"namespace": "n", "name": "s", "path": "check"}},
        "rules": [{"apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["deployments"]}],
        "matchConditions": [{"name": "c", "expression": "object.spec.replicas > 1"}],
        "namespaceSelector": {"matchLabels": {"team": "a"}}, "sideEffects": "None",
    }]});
    let webhook = Webhook::of(&configuration, true).remove(0);
    let request = request(json!({"spec": {"replicas": 5}}));
    let namespace = json!({"metadata": {"labels": {"team": "a"}}});
    let mut budget = Budget::of_request();
    let own = request.group_version();
    assert_eq!(webhook.matches(&request, Some(&namespace), None, &mut budget), Ok(Some(own.clone())));
    assert_eq!(webhook.matches(&request, None, None, &mut budget), Ok(None));
    let failing = webhook.matches(&self::request(json!({})), Some(&namespace), None, &mut budget);
    assert!(failing.expect_err("it cannot be told").message.contains("no such key: spec"));
    let review = webhook.review(&request, &own, "u1");
    assert_eq!(
        (&review["request"]["uid"], &review["request"]["object"]["spec"]["replicas"]),
        (&json!("u1"), &json!(5))
    );
    let patch = base64::engine::general_purpose::STANDARD.encode(br#"[{"op":"remove","path":"/spec"}]"#);
    let answer = |response: Value| {
        let body =
            json!({"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "response": response});
        webhook.accept("u1", &body)
    };
    let accepted = answer(
        json!({"uid": "u1", "allowed": true, "patch": patch, "patchType": "JSONPatch", "warnings": ["w"]}),
    );
    let accepted = accepted.expect("it consents");
    let changed = accepted.clone();
    assert_eq!(
        (accepted.patch, accepted.warnings),
        (Some(json!([{"op": "remove", "path": "/spec"}])), vec!["w".into()])
    );
    let mut object = request.object.clone();
    changed.change(&mut object).expect("the patch applies");
    assert_eq!(object, json!({}));
    for (response, expected) in [
        (
            json!({"uid": "u1", "allowed": false, "status": {"message": "no", "code": 403}}),
            "403 admission webhook \"w.example.com\" denied the request: no",
        ),
        (
            json!({"uid": "u1", "allowed": false}),
            "400 admission webhook \"w.example.com\" denied the request without explanation",
        ),
        (
            json!({"uid": "u2", "allowed": true}),
            "500 Internal error occurred: failed calling webhook \"w.example.com\": received invalid webhook response: expected response.uid=\"u1\", got \"u2\"",
        ),
        (
            json!({"uid": "u1", "allowed": true, "patch": "%", "patchType": "JSONPatch"}),
            "500 Internal error occurred: failed calling webhook \"w.example.com\": received undecodable patch: Invalid symbol 37, offset 0.",
        ),
    ] {
        let status = answer(response).expect_err("a refusal");
        assert_eq!(format!("{} {}", status.code, status.message), expected);
    }
}

#[test]
fn expressions_are_checked_against_the_kinds_that_a_policy_names() {
    let policy = policy(json!({"validations": [
        {"expression": "object.spec.replicas > '1'"},
        {"expression": "object.spec.replicas < 5", "messageExpression": "'max is ' + object.spec.maxReplicas"},
    ]}));
    assert_eq!(types_to_check(&policy), [("apps".to_string(), "v1".to_string(), "deployments".to_string())]);
    let kind = GroupVersionKind::new("apps", "v1", "Deployment");
    let node = shoal_api::schema::builtin::kind(&kind).expect("it is built in");
    let schema = crate::custom::structural::Structural::of_node(node);
    let status = type_checked(&policy, &[(kind, &schema)]);
    assert_eq!(
        status["typeChecking"]["expressionWarnings"],
        json!([
            {"fieldRef": "spec.validations[0].expression", "warning": "apps/v1, Kind=Deployment: ERROR: <input>:1:22: found no matching overload for '_>_' applied to '(int, string)'\n | object.spec.replicas > '1'\n | .....................^"},
            {"fieldRef": "spec.validations[1].messageExpression", "warning": "apps/v1, Kind=Deployment: ERROR: <input>:1:24: undefined field 'maxReplicas'\n | 'max is ' + object.spec.maxReplicas\n | .......................^"},
        ])
    );
}

#[test]
fn rules_mean_other_versions_too_unless_they_say_exactly() {
    let mut webhook = json!({"rules": [
        {"apiGroups": ["apps"], "apiVersions": ["v1beta1"], "operations": ["*"], "resources": ["deployments"]}
    ]});
    let mut request = request(json!({}));
    let beta = shoal_api::GroupVersion::new("apps", "v1beta1");
    request.equivalents = vec![beta.clone()];
    assert_eq!(Matcher::of_webhook(&webhook).version(&request, None), Some(beta.clone()));
    let described = request.request("u", &beta);
    assert_eq!(
        (&described["resource"]["version"], &described["requestResource"]["version"]),
        (&json!("v1beta1"), &json!("v1"))
    );
    webhook["matchPolicy"] = json!("Exact");
    assert_eq!(Matcher::of_webhook(&webhook).version(&request, None), None);
}
