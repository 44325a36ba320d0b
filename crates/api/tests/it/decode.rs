//! Objects as text: what is dropped, what is refused, and in which words.

use serde_json::{Value, json};
use shoal_api::decode::{self, DecodeError, FINDINGS_MAX, Strictness};
use shoal_api::schema::{Node, builtin};
use shoal_api::{GroupVersionKind, defaults};

use crate::golden::{self, Body, exchanges};

fn kind(group: &str, kind: &str) -> Node<'static> {
    builtin::kind(&GroupVersionKind::new(group, "v1", kind)).expect("it is built in")
}

/// What is said of a Deployment, one line for each thing.
fn said(text: &str) -> Vec<String> {
    match decode::json(text.as_bytes(), kind("apps", "Deployment"), Strictness::Warn) {
        Ok((_, findings)) => findings,
        Err(error) => vec![error.to_string()],
    }
}

#[test]
fn unknown_and_doubled_fields_are_told_of_in_their_order() {
    let text = r#"{"kind": "Deployment", "spec": {"foo": {"bar": 1}, "replicas": 1, "replicas": 2,
        "template": {"spec": {"containers": [{"name": "a"}, {"nam": "b", "name": "c", "name": "c"}]}}},
        "metadata": {"labels": {"a": "1", "a": "2"}, "Name": "x"}, "foo": 1, "foo": 2}"#;
    assert_eq!(
        said(text),
        [
            r#"unknown field "spec.foo""#,
            r#"duplicate field "spec.replicas""#,
            r#"unknown field "spec.template.spec.containers[1].nam""#,
            r#"duplicate field "spec.template.spec.containers[1].name""#,
            r#"duplicate field "metadata.labels.a""#,
            r#"unknown field "metadata.Name""#,
            r#"unknown field "foo""#,
        ]
    );
    let (value, _) =
        decode::json(text.as_bytes(), kind("apps", "Deployment"), Strictness::Ignore).expect("it is read");
    assert_eq!(value["spec"]["replicas"], 2);
    assert_eq!(value["metadata"], json!({"labels": {"a": "2"}}));
    let strict = decode::json(br#"{"datta": {"a": "b"}}"#, kind("", "ConfigMap"), Strictness::Strict);
    let error = strict.expect_err("it has an unknown field");
    let config_map = GroupVersionKind::new("", "v1", "ConfigMap");
    assert_eq!(
        error.status(Some(&config_map), "ConfigMap", b"").message,
        r#"ConfigMap in version "v1" cannot be handled as a ConfigMap: strict decoding error: unknown field "datta""#
    );
}

#[test]
fn only_so_many_findings_are_told() {
    let fields: Vec<String> = (0..=FINDINGS_MAX).map(|at| format!("\"f{at}\": 1")).collect();
    assert_eq!(said(&format!("{{{}}}", fields.join(","))).len(), FINDINGS_MAX);
}

#[test]
fn values_of_other_types_are_refused_in_gos_words() {
    let cases = [
        (
            r#"{"spec": {"replicas": "3"}}"#,
            "json: cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32",
        ),
        (
            r#"{"spec": {"replicas": 1.5}}"#,
            "json: cannot unmarshal number 1.5 into Go struct field DeploymentSpec.spec.replicas of type int32",
        ),
        (
            r#"{"spec": {"replicas": 3000000000}}"#,
            "json: cannot unmarshal number 3000000000 into Go struct field DeploymentSpec.spec.replicas of type int32",
        ),
        (
            r#"{"spec": []}"#,
            "json: cannot unmarshal array into Go struct field Deployment.spec of type v1.DeploymentSpec",
        ),
        (r#"[]"#, "json: cannot unmarshal array into Go value of type v1.Deployment"),
        (
            r#"{"metadata": {"labels": {"a": 1}}}"#,
            "json: cannot unmarshal number into Go struct field ObjectMeta.metadata.labels of type string",
        ),
        (
            r#"{"metadata": {"labels": "a"}}"#,
            "json: cannot unmarshal string into Go struct field ObjectMeta.metadata.labels of type map[string]string",
        ),
        (
            r#"{"spec": {"template": {"spec": {"containers": {}}}}}"#,
            "json: cannot unmarshal object into Go struct field PodSpec.spec.template.spec.containers of type []v1.Container",
        ),
        (
            r#"{"spec": {"template": {"spec": {"containers": [{"imagePullPolicy": true}]}}}}"#,
            "json: cannot unmarshal bool into Go struct field Container.spec.template.spec.containers.imagePullPolicy of type v1.PullPolicy",
        ),
        (
            r#"{"spec": {"paused": "no"}}"#,
            "json: cannot unmarshal string into Go struct field DeploymentSpec.spec.paused of type bool",
        ),
        (
            r#"{"spec": {"strategy": {"rollingUpdate": {"maxSurge": true}}}}"#,
            "json: cannot unmarshal bool into Go struct field RollingUpdateDeployment.spec.strategy.rollingUpdate.maxSurge of type int32",
        ),
        (
            r#"{"spec": {"template": {"spec": {"containers": [{"resources": {"limits": {"cpu": "1mm"}}}]}}}}"#,
            "unable to parse quantity's suffix",
        ),
        (
            r#"{"spec": {"replicas": "3", "template": {"spec": {"containers": [{"resources": {"limits": {"cpu": ""}}}]}}}}"#,
            "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
        ),
        (
            r#"{"metadata": {"creationTimestamp": "now"}}"#,
            r#"parsing time "now" as "2006-01-02T15:04:05Z07:00": cannot parse "now" as "2006""#,
        ),
    ];
    for (text, words) in cases {
        assert_eq!(said(text), [words], "{text}");
    }
    let secret = decode::json(br#"{"data": {"a": "b?"}}"#, kind("", "Secret"), Strictness::Warn);
    assert_eq!(secret.expect_err("it is no base64").to_string(), "illegal base64 data at input byte 1");
}

#[test]
fn what_is_no_json_is_refused_in_gos_words() {
    let cases = [
        ("", "unexpected end of JSON input"),
        (r#"{"a": "#, "unexpected end of JSON input"),
        ("xyz", "invalid character 'x' looking for beginning of value"),
        (r#"{"a": x}"#, "invalid character 'x' looking for beginning of value"),
        ("{a: 1}", "invalid character 'a' looking for beginning of object key string"),
        (r#"{"a" 1}"#, "invalid character '1' after object key"),
        (r#"{"a": 1 "b"}"#, r#"invalid character '"' after object key:value pair"#),
        ("{\n\"a\": [1 2]}", "invalid character '2' after array element"),
        ("{} }", "invalid character '}' after top-level value"),
    ];
    for (text, words) in cases {
        let said =
            decode::free_json(text.as_bytes(), Strictness::Warn).expect_err("it is no JSON").to_string();
        assert_eq!(said, format!("couldn't get version/kind; json parse error: {words}"), "{text}");
    }
    let error = DecodeError::Malformed("x".into());
    assert_eq!(
        error.status(None, "Pod", b"xyz").message,
        "the object provided is unrecognized (must be of type Pod): x (78797a)"
    );
}

#[test]
fn null_is_nothing_and_forms_become_canonical() {
    let text = br#"{"metadata": {"name": null, "creationTimestamp": null, "labels": {"a": null}},
        "spec": {"containers": [null, {"args": ["a", null], "resources": {"limits": {"cpu": 0.5, "memory": "1024Mi"}}}]},
        "status": {"startTime": "2026-11-23T02:00:00.5+01:00"}}"#;
    let (value, findings) = decode::json(text, kind("", "Pod"), Strictness::Strict).expect("it is a pod");
    assert!(findings.is_empty());
    assert_eq!(
        value,
        json!({"metadata": {"labels": {"a": ""}}, "spec": {"containers": [{},
            {"args": ["a", ""], "resources": {"limits": {"cpu": "500m", "memory": "1Gi"}}}]},
            "status": {"startTime": "2026-11-23T01:00:00Z"}})
    );
}

#[test]
fn values_that_were_text_no_more_have_words_of_their_own() {
    let node = kind("apps", "Deployment");
    let fitted = |value: Value| match decode::value(value, node, Strictness::Strict) {
        Ok((value, _)) => value.to_string(),
        Err(error) => error.to_string(),
    };
    assert_eq!(fitted(json!({"spec": {"replicas": 3.0}})), r#"{"spec":{"replicas":3}}"#);
    assert_eq!(fitted(json!({"spec": {"replicas": "3"}})), "unrecognized type: int32");
    assert_eq!(fitted(json!({"spec": 3})), "cannot restore struct from: int64");
    assert_eq!(fitted(json!({"metadata": {"labels": []}})), "cannot restore map from slice");
    assert_eq!(fitted(json!({"metadata": {"name": 5}})), "cannot convert int64 to string");
    assert_eq!(fitted(json!({"spec": {"x": 1}})), r#"strict decoding error: unknown field "spec.x""#);
}

#[test]
fn yaml_is_read_and_bombs_are_not() {
    let node = kind("", "ConfigMap");
    let text =
        b"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, name: b}\ndata:\n  on: \"1\"\n  x: |\n    y\n";
    let (value, findings) = decode::yaml(text, node, Strictness::Warn).expect("it is YAML");
    assert_eq!(value["data"], json!({"on": "1", "x": "y\n"}));
    assert_eq!(value["metadata"]["name"], "b");
    assert_eq!(findings, ["yaml: unmarshal errors:\n  line 3: key \"name\" already set in map"]);
    let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..12 {
        let alias = format!("*a{}", level - 1);
        bomb.push_str(&format!("a{level}: &a{level} [{}]\n", vec![alias; 10].join(", ")));
    }
    let refused = decode::free_yaml(bomb.as_bytes(), Strictness::Ignore);
    assert!(matches!(refused, Err(DecodeError::Malformed(_))), "{refused:?}");
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    assert!(decode::free_yaml(deep.as_bytes(), Strictness::Ignore).is_err());
    assert!(decode::free_json(deep.as_bytes(), Strictness::Ignore).is_err());
}

#[test]
fn free_objects_keep_everything_and_tell_of_doubles() {
    let text = br#"{"a": {"b": null, "b": 1}, "c": [{"d": 1, "d": 2}]}"#;
    let (value, findings) = decode::free_json(text, Strictness::Warn).expect("it is JSON");
    assert_eq!(value, json!({"a": {"b": 1}, "c": [{"d": 2}]}));
    assert_eq!(findings, [r#"duplicate field "a.b""#, r#"duplicate field "c[0].d""#]);
}

/// Whatever a server has answered is an object of its kind: nothing in it is unknown, and it comes out as it went in.
#[test]
fn recorded_answers_are_objects_of_their_kinds() {
    let (mut read, mut differences) = (0, Vec::new());
    for exchange in exchanges() {
        let Body::Json(json) = &exchange.response else { continue };
        let version = json["apiVersion"].as_str().unwrap_or_default();
        let Ok(version) = version.parse::<shoal_api::GroupVersion>() else { continue };
        let name = json["kind"].as_str().unwrap_or_default();
        let Some(node) = builtin::kind(&version.kind(name)) else { continue };
        let text = json.to_string();
        let (mut value, _) = decode::json(text.as_bytes(), node, Strictness::Strict)
            .unwrap_or_else(|error| panic!("{} {}: {error}", exchange.step, exchange.path));
        defaults::settle(node, &mut value);
        differences
            .extend(golden::differences(&value, json).map(|at| format!("{} {name}: {at}", exchange.step)));
        read += 1;
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
    assert!(read == 0 || read > 100, "read only {read}");
}
