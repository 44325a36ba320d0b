//! Custom resources of several versions: converted by a webhook, or by name only.

#![expect(clippy::needless_pass_by_value, reason = "values that are made in place")]

use std::time::Duration;

use http::Method;
use serde_json::{Value, json};

use crate::hook::Hook;
use crate::server::Server;

const CRDS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const MERGE: [(&str, &str); 1] = [("content-type", "application/merge-patch+json")];

/// `gates`: `spec.address` in v1 is `spec.host` and `spec.port` in v2.
fn definition(stored: &str, conversion: Value) -> Value {
    let version = |name: &str, fields: Value| {
        json!({
            "name": name, "served": true, "storage": name == stored, "subresources": {"status": {}},
            "selectableFields": [{"jsonPath": if name == "v1" { ".spec.address" } else { ".spec.host" }}],
            "schema": {"openAPIV3Schema": {"type": "object", "properties": {
                "spec": {"type": "object", "properties": fields},
                "status": {"type": "object", "properties": {"open": {"type": "boolean"}}},
            }}},
        })
    };
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "gates.example.com"},
        "spec": {
            "group": "example.com", "scope": "Namespaced",
            "names": {"plural": "gates", "singular": "gate", "kind": "Gate", "listKind": "GateList"},
            "versions": [
                version("v1", json!({"address": {"type": "string"}})),
                version("v2", json!({
                    "host": {"type": "string"}, "port": {"type": "integer"},
                    "scheme": {"type": "string", "default": "https"},
                })),
            ],
            "conversion": conversion,
        },
    })
}

fn by(hook: &Hook) -> Value {
    json!({"strategy": "Webhook", "webhook": {"clientConfig": hook.config, "conversionReviewVersions": ["v1"]}})
}

fn converted(request: &Value) -> Value {
    let wanted = request["desiredAPIVersion"].clone();
    let convert = |object: &Value| {
        let mut object = object.clone();
        object["apiVersion"] = wanted.clone();
        // Versions of everything but labels and annotations that a webhook gives are not taken.
        object["metadata"]["creationTimestamp"] = json!("2001-01-01T00:00:00Z");
        object["metadata"]["annotations"]["converted"] = json!("yes");
        let spec = &object["spec"];
        if wanted == "example.com/v1" {
            let address = format!("{}:{}", spec["host"].as_str().unwrap_or_default(), spec["port"]);
            object["spec"] = json!({"address": address, "unknown": 1});
        } else if let Some((host, port)) = spec["address"].as_str().unwrap_or_default().split_once(':') {
            object["spec"] = json!({"host": host, "port": port.parse::<u16>().unwrap_or(0)});
        }
        object
    };
    let objects: Vec<Value> = request["objects"].as_array().into_iter().flatten().map(convert).collect();
    json!({"result": {"status": "Success"}, "convertedObjects": objects})
}

fn gates(version: &str) -> String {
    format!("/apis/example.com/{version}/namespaces/default/gates")
}

fn gate(version: &str, name: &str, spec: Value) -> Value {
    json!({"apiVersion": format!("example.com/{version}"), "kind": "Gate", "metadata": {"name": name}, "spec": spec})
}

async fn defined(server: &Server, definition: &Value) {
    let answer = server.send(Method::POST, CRDS, Some(definition)).await;
    assert_eq!(answer.status, 201, "{}", answer.text());
    server.until(&gates("v1"), |answer| answer.status == 200).await;
    server.until(&gates("v2"), |answer| answer.status == 200).await;
}

async fn ok(server: &Server, method: Method, path: &str, body: Option<&Value>) -> Value {
    let answer = server.send(method, path, body).await;
    assert!([200, 201].contains(&answer.status), "{path}: {}", answer.text());
    answer.json()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn objects_are_shown_in_the_version_that_is_asked_for() {
    let server = Server::start().await;
    let hook = Hook::start(converted).await;
    defined(&server, &definition("v2", by(&hook))).await;
    let mut watch =
        server.client.stream(Method::GET, &format!("{}?watch=true", gates("v1")), &[], Vec::new()).await;

    let made =
        ok(&server, Method::POST, &gates("v1"), Some(&gate("v1", "a", json!({"address": "x:80"})))).await;
    assert_eq!((&made["apiVersion"], &made["spec"]), (&json!("example.com/v1"), &json!({"address": "x:80"})));
    let one = |version: &str| format!("{}/a", gates(version));
    let in_v2 = ok(&server, Method::GET, &one("v2"), None).await;
    assert_eq!(in_v2["spec"], json!({"host": "x", "port": 80, "scheme": "https"}));
    for field in ["uid", "creationTimestamp", "name", "resourceVersion"] {
        assert_eq!(in_v2["metadata"][field], made["metadata"][field], "{field}");
    }
    assert_eq!(in_v2["metadata"]["annotations"]["converted"], "yes");

    // Written in one version, seen in the other.
    let patch = json!({"spec": {"port": 81}}).to_string().into_bytes();
    let answer = server.client.send(Method::PATCH, &one("v2"), &MERGE, patch).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let mut in_v1 = ok(&server, Method::GET, &one("v1"), None).await;
    assert_eq!(in_v1["spec"], json!({"address": "x:81"}));
    in_v1["spec"]["address"] = json!("y:82");
    let in_v1 = ok(&server, Method::PUT, &one("v1"), Some(&in_v1)).await;
    assert_eq!((&in_v1["spec"], &in_v1["metadata"]["generation"]), (&json!({"address": "y:82"}), &json!(3)));
    let mut status = in_v1.clone();
    status["status"] = json!({"open": true});
    ok(&server, Method::PUT, &format!("{}/status", one("v1")), Some(&status)).await;

    let apply = json!({"apiVersion": "example.com/v1", "kind": "Gate", "metadata": {"labels": {"a": "b"}}});
    let headers = [("content-type", "application/apply-patch+yaml")];
    let path = format!("{}?fieldManager=me", one("v1"));
    let answer = server.client.send(Method::PATCH, &path, &headers, apply.to_string().into_bytes()).await;
    assert_eq!(answer.status, 200, "{}", answer.text());

    ok(&server, Method::POST, &gates("v2"), Some(&gate("v2", "b", json!({"host": "z", "port": 1})))).await;
    let list = ok(&server, Method::GET, &gates("v1"), None).await;
    let addresses: Vec<&Value> =
        list["items"].as_array().expect("items").iter().map(|one| &one["spec"]["address"]).collect();
    assert_eq!(addresses, ["y:82", "z:1"]);
    let query = format!("{}?fieldSelector=spec.address%3Dz:1", gates("v1"));
    let chosen = ok(&server, Method::GET, &query, None).await;
    assert_eq!(chosen["items"].as_array().map(Vec::len), Some(1));

    let mut seen = Vec::new();
    while seen.last().is_none_or(|last| last != "z:1") {
        let event = watch.next(Duration::from_secs(30)).await.expect("an event");
        assert_eq!(event["object"]["apiVersion"], "example.com/v1", "{event}");
        seen.push(event["object"]["spec"]["address"].as_str().unwrap_or_default().to_owned());
    }
    assert_eq!(seen, ["x:80", "x:81", "y:82", "y:82", "y:82", "z:1"]);

    let asked = hook.asked();
    ok(&server, Method::GET, &gates("v1"), None).await;
    assert_eq!(hook.asked(), asked, "what was converted is remembered");
    let gone = server.send(Method::DELETE, &one("v1"), None).await;
    assert_eq!(gone.status, 200, "{}", gone.text());
    server.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_webhook_that_fails_or_lies_is_no_conversion() {
    let server = Server::start().await;
    let hook = Hook::start(converted).await;
    defined(&server, &definition("v2", by(&hook))).await;
    ok(&server, Method::POST, &gates("v2"), Some(&gate("v2", "a", json!({"host": "x", "port": 1})))).await;
    let path = format!("{}/a", gates("v1"));
    let refused = |says: &'static str| {
        let (server, path) = (&server, &path);
        async move {
            let answer = server.send(Method::GET, path, None).await;
            let message = answer.json()["message"].as_str().unwrap_or_default().to_owned();
            let head = "conversion webhook for example.com/v1, Kind=Gate failed: ";
            assert_eq!(answer.status, 500, "{message}");
            assert!(message.contains(head) && message.contains(says), "{message}");
        }
    };
    hook.answer(|_| json!({"result": {"status": "Failure", "message": "not today"}}));
    refused("not today").await;
    hook.answer(|request| {
        let mut answer = converted(request);
        answer["convertedObjects"][0]["metadata"]["name"] = json!("other");
        answer
    });
    refused("metadata.name").await;
    hook.answer(|_| json!({"result": {"status": "Success"}, "convertedObjects": []}));
    refused("returned 0 objects, expected 1").await;
    let create = gate("v1", "b", json!({"address": "x:1"}));
    assert_eq!(server.send(Method::POST, &gates("v1"), Some(&create)).await.status, 500);
    // The stored version needs no conversion.
    ok(&server, Method::GET, &format!("{}/a", gates("v2")), None).await;
    hook.answer(converted);
    ok(&server, Method::GET, &path, None).await;
    server.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_stored_in_an_older_version_is_shown_in_the_new_one() {
    let server = Server::start().await;
    let none = json!({"strategy": "None"});
    defined(&server, &definition("v1", none.clone())).await;
    ok(&server, Method::POST, &gates("v1"), Some(&gate("v1", "a", json!({"address": "x"})))).await;
    let versions = definition("v2", none)["spec"]["versions"].clone();
    let patch = json!({"spec": {"versions": versions}}).to_string().into_bytes();
    let answer = server.client.send(Method::PATCH, &format!("{CRDS}/gates.example.com"), &MERGE, patch).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    // The new definition is served a moment later; then every version shows itself.
    let in_v2 = |answer: &crate::client::Answer| {
        let object = answer.json();
        object["apiVersion"] == "example.com/v2" && object["spec"] == json!({"scheme": "https"})
    };
    server.until(&format!("{}/a", gates("v2")), in_v2).await;
    let list = ok(&server, Method::GET, &gates("v2"), None).await;
    assert_eq!(list["items"][0]["apiVersion"], "example.com/v2");
    let in_v1 = ok(&server, Method::GET, &format!("{}/a", gates("v1")), None).await;
    assert_eq!((&in_v1["apiVersion"], &in_v1["spec"]["address"]), (&json!("example.com/v1"), &json!("x")));
    server.end().await;
}
