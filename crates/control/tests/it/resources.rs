//! Objects of custom kinds: what is refused, and in which words.
#![expect(clippy::needless_pass_by_value, reason = "tables of values that are made in place")]

use expect_test::{Expect, expect};
use serde_json::{Value, json};
use shoal_control::cel::Budget;
use shoal_control::custom::Compiled;

fn compiled(schema: Value) -> Compiled {
    let crd = json!({"spec": {
        "group": "example.com", "scope": "Namespaced", "names": {"kind": "Widget"},
        "versions": [{"name": "v1", "schema": {"openAPIV3Schema": schema}, "subresources": {"status": {}},
            "selectableFields": [{"jsonPath": ".spec.color"}]}],
    }});
    Compiled::new(&crd, "v1").expect("a definition")
}

/// What is wrong with `spec`, of this schema; `old` is what it was before.
fn check(spec: Value, old: Option<Value>, value: Value, expected: Expect) {
    let compiled = compiled(json!({"type": "object", "properties": {"spec": spec}}));
    let old = old.map(|old| json!({"spec": old}));
    let verdict = compiled.validate(&json!({"spec": value}), old.as_ref(), &mut Budget::of_request());
    let errors = verdict.errors.iter().map(ToString::to_string);
    let warnings = verdict.warnings.iter().map(|warning| format!("warning: {warning}"));
    expected.assert_eq(&errors.chain(warnings).collect::<Vec<_>>().join("\n"));
}

#[test]
fn values_are_judged_in_the_words_of_upstream() {
    let size = json!({"type": "object", "required": ["size"], "properties": {
        "size": {"type": "integer", "minimum": 1, "maximum": 9, "exclusiveMaximum": true},
        "color": {"type": "string", "enum": ["red", "blue"]},
        "name": {"type": "string", "minLength": 2, "maxLength": 4, "pattern": "^[a-z]+$"},
        "at": {"type": "string", "format": "date-time"},
        "port": {"x-kubernetes-int-or-string": true},
        "list": {"type": "array", "minItems": 1, "maxItems": 2, "items": {"type": "string"}},
        "map": {"type": "object", "maxProperties": 1, "additionalProperties": {"type": "boolean"}},
        "ratio": {"type": "number", "multipleOf": 0.5},
    }});
    for (value, expected) in [
        (json!({"size": 3, "name": "abc", "port": "http", "map": {"a": true}, "ratio": 1.5}), expect![[""]]),
        (
            json!({"size": 0}),
            expect!["spec.size: Invalid value: 0: spec.size in body should be greater than or equal to 1"],
        ),
        (json!({"size": 9}), expect!["spec.size: Invalid value: 9: spec.size in body should be less than 9"]),
        (json!({}), expect!["spec.size: Required value"]),
        (
            json!({"size": "x"}),
            expect![[
                r#"spec.size: Invalid value: "string": spec.size in body must be of type integer: "string""#
            ]],
        ),
        (
            json!({"size": 1.5}),
            expect![[
                r#"spec.size: Invalid value: "number": spec.size in body must be of type integer: "number""#
            ]],
        ),
        (
            json!({"size": null}),
            expect![[
                r#"spec.size: Invalid value: "null": spec.size in body must be of type integer: "null""#
            ]],
        ),
        (
            json!({"size": 1, "color": "green"}),
            expect![[r#"spec.color: Unsupported value: "green": supported values: "red", "blue""#]],
        ),
        (json!({"size": 1, "name": "abcde"}), expect!["spec.name: Too long: may not be more than 4 bytes"]),
        (
            json!({"size": 1, "name": "a"}),
            expect![[r#"spec.name: Invalid value: "a": spec.name in body should be at least 2 chars long"#]],
        ),
        (
            json!({"size": 1, "name": "AB"}),
            expect![[r#"spec.name: Invalid value: "AB": spec.name in body should match '^[a-z]+$'"#]],
        ),
        (
            json!({"size": 1, "at": "now"}),
            expect![[r#"spec.at: Invalid value: "now": spec.at in body must be of type date-time: "now""#]],
        ),
        (
            json!({"size": 1, "port": true}),
            expect![[
                r#"spec.port: Invalid value: "boolean": spec.port in body must be of type integer,string: "boolean""#
            ]],
        ),
        (
            json!({"size": 1, "list": ["a", "b", 3]}),
            expect![[r#"
            spec.list[2]: Invalid value: "integer": spec.list[2] in body must be of type string: "integer"
            spec.list: Too many: 3: must have at most 2 items"#]],
        ),
        (
            json!({"size": 1, "list": []}),
            expect!["spec.list: Invalid value: 0: spec.list in body should have at least 1 items"],
        ),
        (
            json!({"size": 1, "map": {"a": 1}}),
            expect![[
                r#"spec.map.a: Invalid value: "integer": spec.map.a in body must be of type boolean: "integer""#
            ]],
        ),
        (
            json!({"size": 1, "map": {"a": true, "b": true}}),
            expect!["spec.map: Too many: 2: must have at most 1 items"],
        ),
        (
            json!({"size": 1, "ratio": 0.75}),
            expect!["spec.ratio: Invalid value: 0.75: spec.ratio in body should be a multiple of 0.5"],
        ),
    ] {
        check(size.clone(), None, value, expected);
    }
}

#[test]
fn branches_are_judged_together() {
    let branches = json!({"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}, "c": {"type": "integer"}},
        "oneOf": [{"required": ["a"]}, {"required": ["b"]}], "not": {"required": ["c"]}});
    check(branches.clone(), None, json!({"a": 1}), expect![[""]]);
    check(
        branches.clone(),
        None,
        json!({"a": 1, "b": 1}),
        expect![[
            r#"<nil>: Invalid value: "": "spec" must validate one and only one schema (oneOf). Found 2 valid alternatives"#
        ]],
    );
    check(
        branches,
        None,
        json!({"c": 1}),
        expect![[r#"
        <nil>: Invalid value: "": "spec" must validate one and only one schema (oneOf). Found none valid
        spec.a: Required value
        <nil>: Invalid value: "": "spec" must not validate the schema (not)"#]],
    );
}

#[test]
fn lists_and_objects_inside_objects() {
    let spec = json!({"type": "object", "properties": {
        "set": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
        "map": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["n", "p"],
            "items": {"type": "object", "properties": {"n": {"type": "string"}, "p": {"type": "string", "default": "x"}}}},
        "inner": {"type": "object", "x-kubernetes-embedded-resource": true, "x-kubernetes-preserve-unknown-fields": true},
    }});
    check(
        spec,
        None,
        json!({"set": ["a", "b", "a"], "map": [{"n": "a"}, {"n": "a", "p": "x"}], "inner": {"apiVersion": "a/b/c"}}),
        expect![[r#"
            spec.inner.apiVersion: Invalid value: "a/b/c": unexpected GroupVersion string: a/b/c
            spec.inner.kind: Required value: must not be empty
            spec.map[1]: Duplicate value: map[string]interface {}{"n":"a", "p":"x"}
            spec.set[2]: Duplicate value: "a""#]],
    );
}

#[test]
fn rules_speak_for_themselves() {
    let spec = json!({"type": "object", "x-kubernetes-validations": [
        {"rule": "self.min <= self.max"},
        {"rule": "self.max < 10", "message": "too large", "fieldPath": ".max", "reason": "FieldValueForbidden"},
        {"rule": "self.min > -1", "messageExpression": "'min is ' + string(self.min)", "message": "unused"},
        {"rule": "self.max >= oldSelf.max", "message": "max must not shrink"},
    ], "properties": {
        "min": {"type": "integer"}, "max": {"type": "integer"},
        "name": {"type": "string", "x-kubernetes-validations": [{"rule": "self == oldSelf", "message": "Value is immutable"}]},
        "seen": {"type": "array", "items": {"type": "string", "x-kubernetes-validations": [{"rule": "self[0] == 'a'"}]}},
    }});
    check(spec.clone(), None, json!({"min": 1, "max": 2}), expect![[""]]);
    check(
        spec.clone(),
        None,
        json!({"min": 3, "max": 2}),
        expect![[r#"spec: Invalid value: "object": failed rule: self.min <= self.max"#]],
    );
    check(
        spec.clone(),
        None,
        json!({"min": -2, "max": 11}),
        expect![[r#"
        spec.max: Forbidden: too large
        spec: Invalid value: "object": min is -2"#]],
    );
    check(
        spec.clone(),
        None,
        json!({"min": 1}),
        expect![[r#"
        spec: Invalid value: "object": no such key: max evaluating rule: self.min <= self.max
        spec: Invalid value: "object": no such key: max evaluating rule: too large"#]],
    );
    check(
        spec.clone(),
        Some(json!({"min": 1, "max": 5, "name": "a"})),
        json!({"min": 1, "max": 2, "name": "b"}),
        expect![[r#"
        spec: Invalid value: "object": max must not shrink
        spec.name: Invalid value: "string": Value is immutable"#]],
    );
    check(
        spec.clone(),
        None,
        json!({"min": "x", "max": 2}),
        expect![[r#"
        spec.min: Invalid value: "string": spec.min in body must be of type integer: "string"
        <nil>: Invalid value: "null": some validation rules were not checked because the object was invalid; correct the existing errors to complete validation"#]],
    );
}

#[test]
fn what_has_not_changed_is_not_judged_again() {
    let spec = json!({"type": "object", "x-kubernetes-validations": [{"rule": "self.a > 5"}],
        "properties": {"a": {"type": "integer", "minimum": 5}, "b": {"type": "integer", "minimum": 5}}});
    let old = json!({"a": 1, "b": 1});
    check(
        spec.clone(),
        Some(old.clone()),
        json!({"a": 1, "b": 6}),
        expect![[r#"spec: Invalid value: "object": failed rule: self.a > 5"#]],
    );
    check(
        spec.clone(),
        Some(old.clone()),
        old,
        expect![[r#"warning: spec: Invalid value: "object": failed rule: self.a > 5"#]],
    );
    check(
        spec,
        None,
        json!({"a": 1, "b": 6}),
        expect![[r#"
        spec.a: Invalid value: 1: spec.a in body should be greater than or equal to 5
        spec: Invalid value: "object": failed rule: self.a > 5"#]],
    );
}

#[test]
fn optional_old_values_are_seen_on_creation() {
    let spec = json!({"type": "object", "properties": {"state": {"type": "string", "x-kubernetes-validations": [
        {"rule": "oldSelf.hasValue() || self == 'new'", "optionalOldSelf": true, "message": "begins as new"},
    ]}}});
    check(
        spec.clone(),
        None,
        json!({"state": "old"}),
        expect![[r#"spec.state: Invalid value: "string": begins as new"#]],
    );
    check(spec.clone(), None, json!({"state": "new"}), expect![[""]]);
    check(spec, Some(json!({"state": "new"})), json!({"state": "old"}), expect![[""]]);
}

#[test]
fn status_is_apart_from_the_rest() {
    let compiled = compiled(json!({"type": "object", "properties": {
        "spec": {"type": "object", "properties": {"color": {"type": "string"}}},
        "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
    }}));
    let mut new = json!({"metadata": {"name": "a"}, "spec": {"color": "red"}, "status": {"ready": true}});
    compiled.prepare_create(&mut new);
    assert_eq!(new, json!({"metadata": {"name": "a", "generation": 1}, "spec": {"color": "red"}}));
    let mut status = json!({"metadata": {"name": "a", "labels": {"x": "y"}}, "spec": {"color": "blue"}, "status": {"ready": true}});
    compiled.prepare_status_update(&mut status, &new);
    assert_eq!(
        status,
        json!({"metadata": {"name": "a", "generation": 1}, "spec": {"color": "red"}, "status": {"ready": true}})
    );
    let mut changed = json!({"metadata": {"name": "a", "generation": 1}, "spec": {"color": "blue"}});
    compiled.prepare_update(&mut changed, &status);
    assert_eq!(changed["status"], json!({"ready": true}));
    assert_eq!(changed["metadata"]["generation"], 2);
    let mut labelled = changed.clone();
    labelled["metadata"]["labels"] = json!({"x": "y"});
    compiled.prepare_update(&mut labelled, &changed);
    assert_eq!(labelled["metadata"]["generation"], 2);
    assert_eq!(compiled.select(&changed, "spec.color").as_deref(), Some("blue"));
    assert_eq!(compiled.select(&changed, "spec.size"), None);
}
