//! The document of one group and version in OpenAPI 3.

use serde_json::{Map, Value, json};

use super::Served;
use super::definitions::{self, Version, kind_value, reference};
use super::operations::{self, Operation};
use super::parameters::{PRETTY, Parameter};
use crate::resources::Resource;

/// The document for some resources.
pub(super) fn document(served: &Served<'_>, resources: &[&Resource]) -> Value {
    let operations = operations::of(served, resources);
    let mut paths = Map::new();
    for operation in &operations {
        let path = paths
            .entry(&*operation.path)
            .or_insert_with(|| json!({ "parameters": of_path(&operation.path) }));
        path[operation.method] = of_operation(operation);
    }
    // Discovery and watches answer with these.
    let always =
        ["APIResourceList", "WatchEvent"].map(|name| format!("io.k8s.apimachinery.pkg.apis.meta.v1.{name}"));
    let schemas = definitions::reached(served, operations::types(&operations).chain(always), Version::Three);
    json!({
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": "1.32"},
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {"BearerToken": {
                "type": "apiKey",
                "description": "Bearer Token authentication",
                "name": "authorization",
                "in": "header",
            }},
        },
    })
}

/// Parameters that all methods of a path have.
fn of_path(path: &str) -> Value {
    let words = [("{name}", "name", "name of the object"), ("{namespace}", "namespace", NAMESPACE)];
    let in_path = words.iter().filter(|(part, ..)| path.contains(part)).map(|(_, name, description)| {
        json!({
            "name": name, "in": "path", "description": description, "required": true,
            "schema": {"type": "string", "uniqueItems": true},
        })
    });
    in_path.chain([of_parameter(&PRETTY)]).collect()
}

/// What Kubernetes says of the parameter `namespace`.
pub(super) const NAMESPACE: &str = "object name and auth scope, such as for teams and projects";

fn of_parameter(parameter: &Parameter) -> Value {
    json!({
        "name": parameter.name, "in": "query", "description": parameter.description,
        "schema": {"type": parameter.ty, "uniqueItems": true},
    })
}

fn of_operation(operation: &Operation) -> Value {
    let mut value = json!({
        "tags": [operation.tag],
        "description": operation.description,
        "operationId": operation.id,
        "responses": responses(operation),
        "x-kubernetes-action": operation.action,
        "x-kubernetes-group-version-kind": kind_value(&operation.kind),
    });
    if !operation.parameters.is_empty() {
        value["parameters"] = operation.parameters.iter().map(of_parameter).collect();
    }
    if let Some((media, name)) = &operation.body {
        let schema = reference(name, Version::Three);
        let content: Map<String, Value> =
            media.iter().map(|media| ((*media).into(), json!({ "schema": schema }))).collect();
        value["requestBody"] = json!({ "content": content });
        if operation.method != "delete" {
            value["requestBody"]["required"] = json!(true);
        }
    }
    value
}

fn responses(operation: &Operation) -> Value {
    let schema = operation
        .answer
        .as_ref()
        .map_or_else(|| json!({"type": "string"}), |name| reference(name, Version::Three));
    let streams = operation.action == "list";
    let mut content = Map::new();
    for media in operation.media {
        content.insert((*media).into(), json!({ "schema": schema }));
        if streams && *media != "application/yaml" {
            content.insert(format!("{media};stream=watch"), json!({ "schema": schema }));
        }
    }
    let mut responses: Map<String, Value> = operation
        .statuses
        .iter()
        .map(|(status, word)| ((*status).into(), json!({"description": word, "content": content})))
        .collect();
    responses.insert("401".into(), json!({"description": "Unauthorized"}));
    responses.into()
}
