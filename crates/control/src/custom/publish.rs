//! The schema of a custom resource as OpenAPI documents show it.

use serde_json::{Map, Value, json};

/// Words of upstream for fields that every object has.
const API_VERSION: &str = "APIVersion defines the versioned schema of this representation of an object. Servers should convert recognized schemas to the latest internal value, and may reject unrecognized values. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#resources";
const KIND: &str = "Kind is a string value representing the REST resource this object represents. Servers may infer this from the endpoint the client submits requests to. Cannot be updated. In CamelCase. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#types-kinds";
const METADATA: &str = "Standard object's metadata. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#metadata";
const LIST_METADATA: &str = "Standard list metadata. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#types-kinds";

/// Names of the types that custom resources share with all others.
const OBJECT_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";
const LIST_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ListMeta";

/// Which OpenAPI.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenApi {
    /// 2.0, which knows less.
    V2,
    /// 3.0.
    V3,
}

/// The name of a kind in OpenAPI documents: `com.example.v1.Widget`.
pub fn name(group: &str, version: &str, kind: &str) -> String {
    let reversed: Vec<&str> = group.rsplit('.').collect();
    format!("{}.{version}.{kind}", reversed.join("."))
}

/// The schema of the kind, from its JSONSchemaProps.
pub fn kind(schema: &Value, group: &str, version: &str, kind: &str, openapi: OpenApi) -> Value {
    let preserves = schema["x-kubernetes-preserve-unknown-fields"] == true;
    let mut published = match openapi {
        OpenApi::V2 if preserves => json!({"type": "object"}),
        OpenApi::V2 => reduce(schema),
        OpenApi::V3 => schema.clone(),
    };
    if !(openapi == OpenApi::V2 && preserves) {
        embed(&mut published, openapi);
        resource(&mut published, openapi);
    }
    published["x-kubernetes-group-version-kind"] =
        json!([{"group": group, "kind": kind, "version": version}]);
    published
}

/// The schema of the kind's list. `plural` names the resource.
pub fn list(
    group: &str,
    version: &str,
    (kind, list_kind, plural): (&str, &str, &str),
    openapi: OpenApi,
) -> Value {
    let item = name(group, version, kind);
    let plain = |name: &str| match openapi {
        OpenApi::V2 => json!({"$ref": format!("#/definitions/{name}")}),
        OpenApi::V3 => json!({"allOf": [{"$ref": format!("#/components/schemas/{name}")}]}),
    };
    json!({
        "description": format!("{list_kind} is a list of {kind}"),
        "type": "object",
        "required": ["items"],
        "properties": {
            "apiVersion": {"description": API_VERSION, "type": "string"},
            "items": {
                "description": format!("List of {}. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md", plural),
                "type": "array",
                "items": plain(&item),
            },
            "kind": {"description": KIND, "type": "string"},
            "metadata": reference(LIST_META, LIST_METADATA, openapi),
        },
        "x-kubernetes-group-version-kind": [{"group": group, "kind": list_kind, "version": version}],
    })
}

fn reference(name: &str, description: &str, openapi: OpenApi) -> Value {
    match openapi {
        OpenApi::V2 => json!({"description": description, "$ref": format!("#/definitions/{name}")}),
        OpenApi::V3 => {
            json!({"description": description, "allOf": [{"$ref": format!("#/components/schemas/{name}")}]})
        }
    }
}

/// Gives an object `apiVersion`, `kind` and `metadata`.
fn resource(schema: &mut Value, openapi: OpenApi) {
    let Some(fields) = schema.as_object_mut() else { return };
    let properties = fields.entry("properties").or_insert_with(|| Value::Object(Map::new()));
    let Some(properties) = properties.as_object_mut() else { return };
    properties.insert("metadata".into(), reference(OBJECT_META, METADATA, openapi));
    properties.insert("apiVersion".into(), json!({"description": API_VERSION, "type": "string"}));
    properties.insert("kind".into(), json!({"description": KIND, "type": "string"}));
}

/// Gives embedded objects what they have.
fn embed(schema: &mut Value, openapi: OpenApi) {
    each_below(schema, &mut |below| embed(below, openapi));
    if schema["x-kubernetes-embedded-resource"] == true {
        resource(schema, openapi);
        schema["required"] = json!(["kind", "apiVersion"]);
    }
}

/// What OpenAPI 2 cannot say is left out.
fn reduce(schema: &Value) -> Value {
    let mut schema = schema.clone();
    reduce_in_place(&mut schema);
    schema
}

fn reduce_in_place(schema: &mut Value) {
    let Some(fields) = schema.as_object_mut() else { return };
    for unknown in ["allOf", "anyOf", "oneOf", "not"] {
        fields.remove(unknown);
    }
    if fields.remove("nullable").is_some_and(|nullable| nullable == true) {
        for field in ["type", "items", "properties", "additionalProperties"] {
            fields.remove(field);
        }
    }
    if fields.get("x-kubernetes-int-or-string").is_some_and(|flag| flag == true) {
        fields.remove("type");
    }
    if fields.get("x-kubernetes-preserve-unknown-fields").is_some_and(|flag| flag == true) {
        for field in ["items", "properties"] {
            fields.remove(field);
        }
    }
    if fields.get("additionalProperties").is_some_and(Value::is_boolean) {
        fields.remove("additionalProperties");
    }
    each_below(schema, &mut reduce_in_place);
}

fn each_below(schema: &mut Value, visit: &mut dyn FnMut(&mut Value)) {
    let Some(fields) = schema.as_object_mut() else { return };
    if let Some(properties) = fields.get_mut("properties").and_then(Value::as_object_mut) {
        properties.values_mut().for_each(&mut *visit);
    }
    for field in ["items", "additionalProperties"] {
        if let Some(below) = fields.get_mut(field).filter(|below| below.is_object()) {
            visit(below);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schemas_are_published_for_both_documents() {
        assert_eq!(name("stable.example.com", "v1", "Widget"), "com.example.stable.v1.Widget");
        let schema = json!({"type": "object", "properties": {
            "spec": {"type": "object", "properties": {
                "port": {"type": "string", "x-kubernetes-int-or-string": true, "anyOf": [{"type": "string"}]},
                "maybe": {"type": "string", "nullable": true},
                "template": {"type": "object", "x-kubernetes-embedded-resource": true, "x-kubernetes-preserve-unknown-fields": true},
            }},
        }});
        let v3 = kind(&schema, "example.com", "v1", "Widget", OpenApi::V3);
        assert_eq!(
            v3["properties"]["spec"]["properties"]["port"],
            schema["properties"]["spec"]["properties"]["port"]
        );
        assert_eq!(
            v3["properties"]["metadata"]["allOf"][0]["$ref"],
            "#/components/schemas/io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"
        );
        assert_eq!(
            v3["properties"]["spec"]["properties"]["template"]["required"],
            json!(["kind", "apiVersion"])
        );
        let v2 = kind(&schema, "example.com", "v1", "Widget", OpenApi::V2);
        let spec = &v2["properties"]["spec"]["properties"];
        assert_eq!(
            (&spec["maybe"], &spec["port"]),
            (&json!({}), &json!({"x-kubernetes-int-or-string": true}))
        );
        assert_eq!(v2["x-kubernetes-group-version-kind"][0]["kind"], "Widget");
        let list = list("example.com", "v1", ("Widget", "WidgetList", "widgets"), OpenApi::V3);
        assert_eq!(
            list["properties"]["items"]["items"]["allOf"][0]["$ref"],
            "#/components/schemas/com.example.v1.Widget"
        );
    }
}
