//! Definitions: what is filled in, what is refused, and what their status says.
#![expect(clippy::needless_pass_by_value, reason = "tables of values that are made in place")]

use expect_test::{Expect, expect};
use serde_json::{Value, json};
use shoal_control::custom::definition::{self, conditions};

const NOW: &str = "2026-01-01T00:00:00Z";

fn widget(schema: Value) -> Value {
    let mut crd = json!({
        "metadata": {"name": "widgets.example.com"},
        "spec": {
            "group": "example.com", "scope": "Namespaced",
            "names": {"plural": "widgets", "kind": "Widget", "shortNames": ["wd"]},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema}}],
        },
    });
    definition::default(&mut crd);
    definition::prepare_create(&mut crd);
    crd
}

/// What is wrong with a definition after `change`, a line each.
fn refused(change: impl FnOnce(&mut Value), expected: Expect) {
    let mut crd = widget(json!({"type": "object"}));
    change(&mut crd);
    show(&definition::validate_create(&crd), expected);
}

fn show(errors: &[shoal_api::field::Error], expected: Expect) {
    let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
    expected.assert_eq(&lines.join("\n"));
}

/// What is wrong with a schema, a line each.
fn schema(schema: Value, expected: Expect) {
    show(&definition::validate_create(&widget(schema)), expected);
}

fn field(below: Value) -> Value {
    json!({"type": "object", "properties": {"spec": below}})
}

#[test]
fn a_good_definition_is_filled_in_and_accepted() {
    let crd = widget(json!({"type": "object"}));
    assert_eq!(crd["spec"]["names"]["singular"], "widget");
    assert_eq!(crd["spec"]["names"]["listKind"], "WidgetList");
    assert_eq!(crd["spec"]["conversion"], json!({"strategy": "None"}));
    assert_eq!(
        crd["status"],
        json!({"conditions": null, "acceptedNames": {"plural": "", "kind": ""}, "storedVersions": ["v1"]})
    );
    show(&definition::validate_create(&crd), expect![[""]]);
}

#[test]
fn names_groups_and_versions() {
    refused(
        |crd| crd["metadata"]["name"] = json!("widget.example.com"),
        expect![[r#"
        metadata.name: Invalid value: "widget.example.com": must be spec.names.plural+"."+spec.group"#]],
    );
    refused(
        |crd| {
            crd["spec"]["group"] = json!("example");
            crd["spec"]["scope"] = json!("Global");
            crd["metadata"]["name"] = json!("widgets.example");
        },
        expect![[r#"
            spec.group: Invalid value: "example": should be a domain with at least one dot
            spec.scope: Unsupported value: "Global": supported values: "Cluster", "Namespaced""#]],
    );
    refused(
        |crd| {
            crd["spec"]["names"]["kind"] = json!("");
            crd["spec"]["names"]["shortNames"] = json!(["Wd"]);
        },
        expect![[r#"
            spec.names.kind: Required value
            spec.names.kind: Invalid value: "": may have mixed case, but should otherwise match: a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')
            spec.names.shortNames[0]: Invalid value: "Wd": a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')"#]],
    );
    let mut two = widget(json!({"type": "object"}));
    let mut second = two["spec"]["versions"][0].clone();
    second["name"] = json!("v2");
    two["spec"]["versions"].as_array_mut().expect("a list").push(second);
    let errors = definition::validate_create(&two);
    assert!(
        errors[0].to_string().ends_with("must have exactly one version marked as storage version"),
        "{errors:?}"
    );
    refused(
        |crd| {
            crd["spec"]["group"] = json!("example.k8s.io");
            crd["metadata"]["name"] = json!("widgets.example.k8s.io");
        },
        expect![[
            r#"metadata.annotations[api-approved.kubernetes.io]: Required value: protected groups must have approval annotation "api-approved.kubernetes.io", see https://github.com/kubernetes/enhancements/pull/1111"#
        ]],
    );
    refused(
        |crd| crd["spec"]["preserveUnknownFields"] = json!(true),
        expect![
            "spec.preserveUnknownFields: Invalid value: true: cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead"
        ],
    );
}

#[test]
fn schemas_must_be_structural() {
    schema(
        json!({}),
        expect!["spec.validation.openAPIV3Schema.type: Required value: must not be empty at the root"],
    );
    schema(
        field(json!({"properties": {"a": {"type": "text"}}})),
        expect![[r#"
        spec.validation.openAPIV3Schema.properties[spec].properties[a].type: Unsupported value: "text": supported values: "array", "boolean", "integer", "number", "object", "string"
        spec.validation.openAPIV3Schema.properties[spec].type: Required value: must not be empty for specified object fields"#]],
    );
    schema(
        field(
            json!({"type": "array", "uniqueItems": true, "x-kubernetes-list-map-keys": ["a"], "items": {"type": "string"}}),
        ),
        expect![[r#"
            spec.validation.openAPIV3Schema.properties[spec].uniqueItems: Forbidden: uniqueItems cannot be set to true since the runtime complexity becomes quadratic
            spec.validation.openAPIV3Schema.properties[spec].x-kubernetes-list-type: Required value: must be map if x-kubernetes-list-map-keys is non-empty"#]],
    );
    schema(
        field(
            json!({"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["a", "b"],
            "items": {"type": "object", "properties": {"a": {"type": "string"}}}}),
        ),
        expect![[r#"
            spec.validation.openAPIV3Schema.properties[spec].items.properties[a].default: Required value: this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property
            spec.validation.openAPIV3Schema.properties[spec].x-kubernetes-list-map-keys: Invalid value: []string{"a", "b"}: entries must all be names of item properties"#]],
    );
    schema(
        field(json!({"type": "object", "anyOf": [{"type": "object", "properties": {"x": {"minimum": 1}}}],
            "additionalProperties": false, "properties": {"y": {"type": "string", "pattern": "["}}})),
        expect![[r#"
            spec.validation.openAPIV3Schema.properties[spec].properties[y].pattern: Invalid value: "[": must be a valid regular expression, but isn't: error parsing regexp: unclosed character class
            spec.validation.openAPIV3Schema.properties[spec].additionalProperties: Forbidden: additionalProperties and properties are mutual exclusive
            spec.validation.openAPIV3Schema.properties[spec].anyOf[0].type: Forbidden: must be empty to be structural
            spec.validation.openAPIV3Schema.properties[spec].properties[x]: Required value: because it is defined in spec.validation.openAPIV3Schema.properties[spec].anyOf[0].properties[x]"#]],
    );
    schema(
        json!({"type": "object", "nullable": true, "properties": {"metadata": {"type": "object", "properties": {"labels": {"type": "object"}}}}}),
        expect![[r#"
            spec.validation.openAPIV3Schema.nullable: Forbidden: nullable cannot be true at the root
            spec.validation.openAPIV3Schema.properties[metadata]: Forbidden: must not specify anything other than name and generateName, but metadata is implicitly specified"#]],
    );
    schema(
        field(
            json!({"type": "object", "default": {"a": 0, "c": 1}, "properties": {"a": {"type": "integer", "minimum": 1}}}),
        ),
        expect![[r#"
            spec.validation.openAPIV3Schema.properties[spec].default.a: Invalid value: 0: a in body should be greater than or equal to 1
            spec.validation.openAPIV3Schema.properties[spec].default: Invalid value: map[string]interface {}{"a":0, "c":1}: must not have unknown field "c""#]],
    );
}

#[test]
fn rules_must_be_readable_and_cheap() {
    let rule = |rule: &str| {
        field(json!({"type": "object", "properties": {
            "list": {"type": "array", "items": {"type": "string"}}, "size": {"type": "integer"},
        }, "x-kubernetes-validations": [{"rule": rule}]}))
    };
    schema(rule("self.size > 0"), expect![[""]]);
    schema(
        rule("self.sise > 0"),
        expect![[r#"
        spec.validation.openAPIV3Schema.properties[spec].x-kubernetes-validations[0].rule: Invalid value: apiextensions.ValidationRule{Rule:"self.sise > 0", Message:"", MessageExpression:"", Reason:(*apiextensions.FieldValueErrorReason)(nil), FieldPath:"", OptionalOldSelf:(*bool)(nil)}: compilation failed: ERROR: <input>:1:5: undefined field 'sise'
         | self.sise > 0
         | ....^"#]],
    );
    schema(
        rule("self.list.all(a, self.list.all(b, a == b))"),
        expect![
            "spec.validation.openAPIV3Schema.properties[spec].x-kubernetes-validations[0].rule: Forbidden: estimated rule cost exceeds budget by factor of more than 100x (try simplifying the rule, or adding maxItems, maxProperties, and maxLength where arrays, maps, and strings are declared)\nspec.validation.openAPIV3Schema.properties[spec].x-kubernetes-validations[0].rule: Forbidden: contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema\nspec.validation.openAPIV3Schema: Forbidden: x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema exceeds budget by factor of more than 100x (try simplifying the rule, or adding maxItems, maxProperties, and maxLength where arrays, maps, and strings are declared)"
        ],
    );
    schema(
        field(
            json!({"type": "array", "maxItems": 5, "items": {"type": "integer", "x-kubernetes-validations": [
                {"rule": "self == oldSelf", "reason": "Nope"}, {"rule": "self > 0", "optionalOldSelf": true}, {"rule": ""},
            ]}}),
        ),
        expect![[r#"
            spec.validation.openAPIV3Schema.properties[spec].items.x-kubernetes-validations[0].reason: Unsupported value: "Nope": supported values: "FieldValueDuplicate", "FieldValueForbidden", "FieldValueInvalid", "FieldValueRequired"
            spec.validation.openAPIV3Schema.properties[spec].items.x-kubernetes-validations[0].rule: Invalid value: "self == oldSelf": oldSelf cannot be used on the uncorrelatable portion of the schema within spec.validation.openAPIV3Schema.properties[spec].items
            spec.validation.openAPIV3Schema.properties[spec].items.x-kubernetes-validations[1].optionalOldSelf: Invalid value: true: may not be set if oldSelf is not used in rule
            spec.validation.openAPIV3Schema.properties[spec].items.x-kubernetes-validations[2].rule: Required value: rule is not specified"#]],
    );
}

#[test]
fn subresources_columns_and_conversion() {
    refused(
        |crd| {
            let version = &mut crd["spec"]["versions"][0];
            version["subresources"] =
                json!({"scale": {"specReplicasPath": ".status.replicas", "statusReplicasPath": ""}});
            version["additionalPrinterColumns"] = json!([{"name": "A", "type": "text", "jsonPath": "spec"}]);
            version["selectableFields"] =
                json!([{"jsonPath": ".spec.color"}, {"jsonPath": ".metadata.name"}]);
            crd["spec"]["conversion"] = json!({"strategy": "Webhook", "webhook": {
                "clientConfig": {"url": "http://a"}, "conversionReviewVersions": ["v3"],
            }});
        },
        expect![[r#"
            spec.subresources.scale.specReplicasPath: Invalid value: ".status.replicas": should be a json path under .spec
            spec.subresources.scale.statusReplicasPath: Required value
            spec.additionalPrinterColumns[0].type: Invalid value: "text": must be one of boolean,date,integer,number,string
            spec.additionalPrinterColumns[0].JSONPath: Invalid value: "spec": must be a simple json path starting with .
            spec.selectableFields[0].jsonPath: Invalid value: ".spec.color": is an invalid path: does not refer to a valid field: "spec" is unknown
            spec.selectableFields[1].jsonPath: Invalid value: ".metadata.name": must not point to fields in metadata
            spec.conversion.webhookClientConfig.url: Invalid value: "http": 'https' is the only allowed URL scheme; desired format: https://host[/path]
            spec.conversion.conversionReviewVersions: Invalid value: []interface {}{"v3"}: must include at least one of v1, v1beta1"#]],
    );
}

#[test]
fn changes_keep_what_cannot_change() {
    let old = widget(json!({"type": "object"}));
    let mut established = old.clone();
    conditions::set(&mut established, "Established", true, "InitialNamesAccepted", "", NOW);
    let mut new = established.clone();
    new["spec"]["scope"] = json!("Cluster");
    new["spec"]["names"]["kind"] = json!("Gadget");
    show(
        &definition::validate_update(&new, &established),
        expect![[r#"
        spec.scope: Invalid value: "Cluster": field is immutable
        spec.names.kind: Invalid value: "Gadget": field is immutable"#]],
    );
    let mut next = old.clone();
    next["spec"]["versions"][0]["name"] = json!("v2");
    definition::prepare_update(&mut next, &old);
    assert_eq!(
        (&next["metadata"]["generation"], &next["status"]["storedVersions"]),
        (&json!(2), &json!(["v1", "v2"]))
    );
    show(
        &definition::validate_update(&next, &old),
        expect![[r#"status.storedVersions[0]: Invalid value: "v1": must appear in spec.versions"#]],
    );
    // What was wrong before and was not touched stays writable.
    let loose = widget(json!({}));
    let mut relabelled = loose.clone();
    relabelled["spec"]["names"]["categories"] = json!(["all"]);
    show(&definition::validate_update(&relabelled, &loose), expect![[""]]);
}

#[test]
fn status_follows_from_the_names_that_are_taken() {
    let first = widget(json!({"type": "object"}));
    let planned = conditions::plan(&first, &conditions::Taken::default(), NOW).expect("something to write");
    expect![[r#"
        {"acceptedNames":{"kind":"Widget","listKind":"WidgetList","plural":"widgets","shortNames":["wd"],"singular":"widget"},"conditions":[{"lastTransitionTime":"2026-01-01T00:00:00Z","message":"no conflicts found","reason":"NoConflicts","status":"True","type":"NamesAccepted"},{"lastTransitionTime":"2026-01-01T00:00:00Z","message":"the initial names have been accepted","reason":"InitialNamesAccepted","status":"True","type":"Established"}],"storedVersions":["v1"]}"#]]
    .assert_eq(&planned["status"].to_string());
    assert_eq!(conditions::plan(&planned, &conditions::Taken::default(), "later"), None);
    let mut other = widget(json!({"type": "object"}));
    other["metadata"]["name"] = json!("gadgets.example.com");
    other["spec"]["names"] = json!({"plural": "gadgets", "kind": "Gadget", "singular": "gadget", "listKind": "GadgetList", "shortNames": ["wd"]});
    let taken = conditions::Taken::by(&other, [&planned, &other].into_iter());
    let refused = conditions::plan(&other, &taken, NOW).expect("something to write");
    assert!(!conditions::is_established(&refused));
    assert_eq!(conditions::reason(&refused, "NamesAccepted"), Some("ShortNamesConflict"));
    assert_eq!(refused["status"]["conditions"][0]["message"], "\"wd\" is already in use");
}

#[test]
fn a_deletion_begins_with_its_objects() {
    let mut crd = widget(json!({"type": "object"}));
    crd["metadata"]["deletionTimestamp"] = json!(NOW);
    definition::begin_deletion(&mut crd, NOW);
    assert_eq!(conditions::reason(&crd, "Terminating"), Some("InstanceDeletionPending"));
}
