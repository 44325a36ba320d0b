//! The one document of OpenAPI 2.

use serde_json::{Map, Value, json};

use super::Served;
use super::definitions::{self, Version, kind_value, reference};
use super::operations::{self, Operation};
use super::parameters::{PRETTY, Parameter};
use super::three::NAMESPACE;
use crate::resources::Resource;

/// The document for all that is served.
pub(super) fn document(served: &Served<'_>) -> Value {
    let resources: Vec<&Resource> = served.resources.iter().collect();
    let operations = operations::of(served, &resources);
    let mut paths = Map::new();
    for operation in &operations {
        let path = paths
            .entry(&*operation.path)
            .or_insert_with(|| json!({ "parameters": of_path(&operation.path) }));
        path[operation.method] = of_operation(operation);
    }
    json!({
        "swagger": "2.0",
        "info": {"title": "Kubernetes", "version": "1.32"},
        "paths": paths,
        "definitions": definitions::reached(served, operations::types(&operations), Version::Two),
        "securityDefinitions": {"BearerToken": {
            "description": "Bearer Token authentication",
            "type": "apiKey",
            "name": "authorization",
            "in": "header",
        }},
        "security": [{"BearerToken": []}],
    })
}

fn of_path(path: &str) -> Value {
    let words = [("{name}", "name", "name of the object"), ("{namespace}", "namespace", NAMESPACE)];
    let in_path = words.iter().filter(|(part, ..)| path.contains(part)).map(|(_, name, description)| {
        json!({
            "uniqueItems": true, "type": "string", "description": description, "name": name, "in": "path",
            "required": true,
        })
    });
    in_path.chain([of_parameter(&PRETTY)]).collect()
}

fn of_parameter(parameter: &Parameter) -> Value {
    json!({
        "uniqueItems": true, "type": parameter.ty, "description": parameter.description, "name": parameter.name,
        "in": "query",
    })
}

fn of_operation(operation: &Operation) -> Value {
    let consumes = operation
        .body
        .as_ref()
        .filter(|_| operation.method == "patch")
        .map_or(&["*/*"][..], |(media, _)| media);
    let mut produces: Vec<String> = operation.media.iter().map(|media| (*media).to_owned()).collect();
    if operation.action == "list" {
        let streams = operation.media.iter().filter(|media| **media != "application/yaml");
        produces.extend(streams.map(|media| format!("{media};stream=watch")));
    }
    let schema = operation
        .answer
        .as_ref()
        .map_or_else(|| json!({"type": "string"}), |name| reference(name, Version::Two));
    let mut responses: Map<String, Value> = operation
        .statuses
        .iter()
        .map(|(status, word)| ((*status).into(), json!({"description": word, "schema": schema})))
        .collect();
    responses.insert("401".into(), json!({"description": "Unauthorized"}));
    let body = operation.body.as_ref().map(|(_, name)| {
        let mut body = json!({"name": "body", "in": "body", "schema": reference(name, Version::Two)});
        if operation.method != "delete" {
            body["required"] = json!(true);
        }
        body
    });
    let parameters: Vec<Value> =
        body.into_iter().chain(operation.parameters.iter().map(of_parameter)).collect();
    let mut value = json!({
        "description": operation.description,
        "consumes": consumes,
        "produces": produces,
        "schemes": ["https"],
        "tags": [operation.tag],
        "operationId": operation.id,
        "responses": responses,
        "x-kubernetes-action": operation.action,
        "x-kubernetes-group-version-kind": kind_value(&operation.kind),
    });
    if !parameters.is_empty() {
        value["parameters"] = parameters.into();
    }
    value
}
