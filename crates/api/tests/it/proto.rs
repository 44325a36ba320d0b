//! Protobuf against recorded messages, and against itself with values of every kind.

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Map, Value, json};
use shoal_api::schema::{Node, Scalar, Type, builtin};
use shoal_api::{GroupVersion, defaults, proto};

use crate::golden::{self, Body, exchanges};

/// A typed client reads an object that an untyped one has just read as JSON: the same object, from the same server.
#[test]
fn recorded_answers_are_the_same_in_both_forms() {
    let exchanges = exchanges();
    let (mut compared, mut differences) = (Vec::new(), Vec::new());
    for (at, exchange) in exchanges.iter().enumerate() {
        let Body::Protobuf(bytes) = &exchange.response else { continue };
        let mut decoded =
            proto::decode_object(bytes).unwrap_or_else(|error| panic!("{}: {error}", exchange.step));
        settle(&mut decoded);
        let same = |other: &&golden::Exchange| {
            let Body::Json(json) = &other.response else { return false };
            other.path == exchange.path
                && json["kind"] == decoded["kind"]
                && revision(json) == revision(&decoded)
        };
        let near = &exchanges[at.saturating_sub(40)..(at + 40).min(exchanges.len())];
        if let Some(Body::Json(json)) = near.iter().find(same).map(|other| &other.response) {
            let found = golden::differences(&decoded, json);
            differences.extend(found.map(|at| format!("{} {}: {at}", exchange.step, exchange.path)));
            compared.push(json["kind"].as_str().unwrap_or_default().to_owned());
        }
        written_again(bytes, &decoded, &exchange.step);
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
    compared.sort();
    compared.dedup();
    assert!(exchanges.is_empty() || compared.len() > 5, "compared only {compared:?}");
}

#[test]
fn recorded_requests_are_read() {
    for exchange in exchanges() {
        let Body::Protobuf(bytes) = &exchange.request else { continue };
        let value = proto::decode_object(bytes).unwrap_or_else(|error| panic!("{}: {error}", exchange.step));
        assert!(value["kind"].is_string(), "{} {} {}", exchange.step, exchange.method, value);
        written_again(bytes, &value, &exchange.step);
    }
}

/// What is written from a value is read as the same value.
fn written_again(bytes: &[u8], value: &Value, step: &str) {
    let mut once = proto::decode_object(bytes).expect("it was just read");
    let written = proto::encode_object(value).unwrap_or_else(|| panic!("{step}: it has a form"));
    let mut again = proto::decode_object(&written).unwrap_or_else(|error| panic!("{step}: {error}"));
    settle(&mut once);
    settle(&mut again);
    assert_eq!(again, once, "{step}");
}

fn settle(value: &mut Value) {
    let group_version: GroupVersion = value["apiVersion"].as_str().expect("text").parse().expect("a version");
    let kind = group_version.kind(value["kind"].as_str().expect("text"));
    defaults::settle(builtin::kind(&kind).expect("it is built in"), value);
}

fn revision(value: &Value) -> (&Value, &Value) {
    (&value["metadata"]["uid"], &value["metadata"]["resourceVersion"])
}

/// Values that a field may have, as Go would write them: no zeros where Go leaves them out.
fn values(node: Node<'static>, depth: u32) -> BoxedStrategy<Value> {
    let name = "[a-z]{1,6}";
    match node.ty() {
        Type::Scalar(scalar) => match scalar {
            Scalar::String => name.prop_map(Value::String).boxed(),
            Scalar::Bytes => Just(json!("c2hvYWw=")).boxed(),
            Scalar::Boolean => Just(json!(true)).boxed(),
            Scalar::Int32 => prop_oneof![-5_i32..-1, 1_i32..i32::MAX].prop_map(|n| json!(n)).boxed(),
            Scalar::Int64 => prop_oneof![i64::MIN..-1, 1..i64::MAX].prop_map(|n| json!(n)).boxed(),
            Scalar::Double => (1_i32..1000).prop_map(|n| json!(f64::from(n) / 4.0)).boxed(),
            Scalar::IntOrString => {
                prop_oneof![Just(json!(8080)), Just(json!("http")), Just(json!(-1))].boxed()
            }
            Scalar::Quantity => {
                prop_oneof![Just(json!("100m")), Just(json!("1Gi")), Just(json!("3"))].boxed()
            }
            Scalar::Time => Just(json!("2026-11-23T01:02:03Z")).boxed(),
            Scalar::MicroTime => Just(json!("2026-11-23T01:02:03.000400Z")).boxed(),
            Scalar::Duration => Just(json!("1m30s")).boxed(),
        },
        Type::Any => prop_oneof![Just(json!({"a": [1, "b", null]})), Just(json!({}))].boxed(),
        Type::List(list) => {
            prop::collection::vec(values(node.at(list.item), depth), 1..3).prop_map(Value::Array).boxed()
        }
        Type::Map(map) => prop::collection::btree_map(name, values(node.at(map.value), depth), 1..3)
            .prop_map(|map| Value::Object(map.into_iter().collect()))
            .boxed(),
        Type::Object(_) if depth == 0 => Just(json!({})).boxed(),
        Type::Object(object) => {
            let fields = object.fields.iter().filter(|field| field.tag != 0).map(|field| {
                let name = field.name.to_string();
                let value = prop::option::weighted(0.4, values(node.at(field.ty), depth - 1));
                value.prop_map(move |value| value.map(|value| (name.clone(), value))).boxed()
            });
            fields
                .collect::<Vec<_>>()
                .prop_map(|fields| Value::Object(fields.into_iter().flatten().collect::<Map<_, _>>()))
                .boxed()
        }
    }
}

#[test]
fn every_kind_comes_back_as_it_was_written() {
    let config = Config { failure_persistence: None, ..Config::with_cases(8) };
    let mut runner =
        TestRunner::new_with_rng(config, prop::test_runner::TestRng::deterministic_rng(Default::default()));
    let mut tried = 0;
    for kind in builtin::kinds().filter(|kind| proto::has_kind(kind)) {
        // Every group has these; once is enough.
        if matches!(&*kind.kind, "DeleteOptions" | "WatchEvent") && !kind.group.is_empty() {
            continue;
        }
        tried += 1;
        let node = builtin::kind(kind).expect("it was just listed");
        let outcome = runner.run(&values(node, 3), |value| {
            let bytes = proto::encode(node, &value);
            let read = proto::decode(node, &bytes).map_err(|error| TestCaseError::fail(error.to_string()))?;
            let (mut value, mut read) = (value, read);
            defaults::settle(node, &mut value);
            defaults::settle(node, &mut read);
            prop_assert_eq!(read, value);
            Ok(())
        });
        outcome.unwrap_or_else(|error| panic!("{kind}: {error}"));
    }
    assert!(tried > 100, "only {tried} kinds have a form");
}

#[test]
fn lists_of_metadata_have_a_form() {
    let list = json!({"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadataList",
        "metadata": {"resourceVersion": "7"},
        "items": [{"metadata": {"name": "a", "ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "b", "uid": "c"}]}}]});
    let bytes = proto::encode_object(&list).expect("it has a form");
    assert_eq!(proto::decode_object(&bytes), Ok(list));
}

#[test]
fn schemas_within_schemas_keep_their_forms() {
    let definition = json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
    "metadata": {"name": "widgets.example.com"},
    "spec": {"group": "example.com", "versions": [{"name": "v1", "schema": {"openAPIV3Schema": {
        "type": "object", "default": {"a": 1}, "enum": [1, "b", null], "x-kubernetes-preserve-unknown-fields": false,
        "properties": {
            "list": {"type": "array", "items": {"type": "string", "maxLength": 0}},
            "free": {"type": "object", "additionalProperties": true},
            "none": {"type": "object", "additionalProperties": {}},
            "map": {"type": "object", "additionalProperties": {"type": "number", "minimum": 0.5}},
        },
    }}}]}});
    let bytes = proto::encode_object(&definition).expect("it has a form");
    assert_eq!(proto::decode_object(&bytes), Ok(definition));
}

#[test]
fn numbers_of_newer_versions_are_passed_over_and_nonsense_is_refused() {
    let node = builtin::named("io.k8s.api.core.v1.ConfigMap").expect("it is built in");
    // Field 900 with a number, then metadata.name.
    let newer = b"\xa0\x38\x01\x0a\x03\x0a\x01a";
    assert_eq!(proto::decode(node, newer), Ok(json!({"metadata": {"name": "a"}})));
    for (bytes, why) in [
        (&b"\x0a\x05\x0a\x01a"[..], "unexpected EOF"),
        (b"\x08\x01", "proto: wrong wireType = 0 for field metadata"),
        (b"\x0a\x03\x0a\x01\xff", "proto: field name: is no UTF-8"),
    ] {
        assert_eq!(proto::decode(node, bytes).expect_err("it is nonsense").to_string(), why);
    }
    let widget = proto::seal("example.com/v1", "Widget", b"");
    let refused = proto::decode_object(&widget).expect_err("it has no form").to_string();
    assert_eq!(refused, r#"no kind "Widget" is registered for version "example.com/v1" in protobuf"#);
}

#[test]
fn messages_nest_so_deep_and_no_deeper() {
    let node = builtin::named("io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps");
    let node = node.expect("it is built in");
    let nested = |levels: usize| (0..levels).fold(json!({"type": "x"}), |inner, _| json!({"not": inner}));
    let bytes = proto::encode(node, &nested(60));
    assert_eq!(proto::decode(node, &bytes), Ok(nested(60)));
    let bytes = proto::encode(node, &nested(proto::DEPTH_MAX + 1));
    assert_eq!(proto::decode(node, &bytes), Err(proto::ProtoError::TooDeep));
}
