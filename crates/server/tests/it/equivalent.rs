//! Webhooks and policies that mean another version of what is written.

use std::sync::{Arc, Mutex};

use base64::prelude::{BASE64_STANDARD, Engine as _};
use http::Method;
use serde_json::{Value, json};

use crate::hook::Hook;
use crate::server::Server;

const CONFIGURATIONS: &str = "/apis/admissionregistration.k8s.io/v1";
const SCALERS: &str = "/apis/autoscaling/v1/namespaces/default/horizontalpodautoscalers";

fn rule() -> Value {
    json!({
        "apiGroups": ["autoscaling"], "apiVersions": ["v2"], "operations": ["CREATE", "UPDATE"],
        "resources": ["horizontalpodautoscalers"],
    })
}

fn scaler(name: &str, percent: u32) -> Value {
    json!({
        "apiVersion": "autoscaling/v1", "kind": "HorizontalPodAutoscaler", "metadata": {"name": name},
        "spec": {
            "maxReplicas": 3, "targetCPUUtilizationPercentage": percent,
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
        },
    })
}

async fn made(server: &Server, path: &str, object: &Value) {
    let answer = server.send(Method::POST, path, Some(object)).await;
    assert_eq!(answer.status, 201, "{}", answer.text());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_webhook_sees_and_changes_the_version_that_it_means() {
    let server = Server::start().await;
    let seen: Arc<Mutex<Vec<Value>>> = Arc::default();
    let log = seen.clone();
    let hook = Hook::start(move |request| {
        log.lock().expect("no test panics with it").push(request.clone());
        let patch = json!([{
            "op": "replace", "path": "/spec/metrics/0/resource/target/averageUtilization", "value": 33,
        }]);
        let patch = BASE64_STANDARD.encode(patch.to_string());
        json!({"allowed": true, "patchType": "JSONPatch", "patch": patch})
    })
    .await;
    let configuration = |policy: &str| {
        json!({
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingWebhookConfiguration",
            "metadata": {"name": "w"},
            "webhooks": [{
                "name": "w.example.com", "clientConfig": hook.config, "rules": [rule()], "matchPolicy": policy,
                "sideEffects": "None", "admissionReviewVersions": ["v1"],
            }],
        })
    };
    let path = format!("{CONFIGURATIONS}/mutatingwebhookconfigurations");
    made(&server, &path, &configuration("Equivalent")).await;
    let answer = server.send(Method::POST, SCALERS, Some(&scaler("a", 80))).await;
    assert_eq!(answer.status, 201, "{}", answer.text());
    assert_eq!(answer.json()["apiVersion"], "autoscaling/v1");
    assert_eq!(answer.json()["spec"]["targetCPUUtilizationPercentage"], 33);
    let request = seen.lock().expect("no test panics with it").pop().expect("it was asked");
    assert_eq!(request["object"]["apiVersion"], "autoscaling/v2");
    assert_eq!(
        (&request["kind"]["version"], &request["requestKind"]["version"]),
        (&json!("v2"), &json!("v1"))
    );
    assert_eq!(request["options"], json!({"kind": "CreateOptions", "apiVersion": "meta.k8s.io/v1"}));

    let exact = json!({"webhooks": configuration("Exact")["webhooks"]}).to_string().into_bytes();
    let headers = [("content-type", "application/merge-patch+json")];
    let answer = server.client.send(Method::PATCH, &format!("{path}/w"), &headers, exact).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let answer = server.send(Method::POST, SCALERS, Some(&scaler("b", 80))).await;
    assert_eq!(answer.json()["spec"]["targetCPUUtilizationPercentage"], 80);
    assert_eq!(hook.asked(), 1, "the rules name another version only");
    server.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_policy_judges_the_version_that_it_means() {
    let server = Server::start().await;
    let policy = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy", "metadata": {"name": "p"},
        "spec": {
            "matchConstraints": {"resourceRules": [rule()]},
            "validations": [{"expression": "object.spec.metrics[0].resource.target.averageUtilization < 50"}],
        },
    });
    let binding = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": "p"}, "spec": {"policyName": "p", "validationActions": ["Deny"]},
    });
    made(&server, &format!("{CONFIGURATIONS}/validatingadmissionpolicies"), &policy).await;
    made(&server, &format!("{CONFIGURATIONS}/validatingadmissionpolicybindings"), &binding).await;
    made(&server, SCALERS, &scaler("low", 20)).await;
    let answer = server.send(Method::POST, SCALERS, Some(&scaler("high", 80))).await;
    assert_eq!(answer.status, 422, "{}", answer.text());
    assert!(answer.text().contains("failed expression: object.spec.metrics[0]"), "{}", answer.text());
    let path = format!("{CONFIGURATIONS}/validatingadmissionpolicies/p");
    let checked = server.until(&path, |answer| answer.json()["status"]["observedGeneration"] == 1).await;
    assert_eq!(checked.json()["status"]["typeChecking"], json!({}));
    server.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_webhook_hears_how_something_is_deleted_and_its_warnings_are_told() {
    let server = Server::start().await;
    let seen: Arc<Mutex<Vec<Value>>> = Arc::default();
    let log = seen.clone();
    let hook = Hook::start(move |request| {
        log.lock().expect("no test panics with it").push(request.clone());
        json!({"allowed": true, "warnings": ["it will be missed"]})
    })
    .await;
    let configuration = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": "w"},
        "webhooks": [{
            "name": "w.example.com", "clientConfig": hook.config, "sideEffects": "None", "admissionReviewVersions": ["v1"],
            "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["DELETE"], "resources": ["configmaps"]}],
            "matchConditions": [{"name": "some", "expression": "oldObject.metadata.name != 'kube-root-ca.crt'"}],
        }],
    });
    made(&server, &format!("{CONFIGURATIONS}/validatingwebhookconfigurations"), &configuration).await;
    let maps = "/api/v1/namespaces/default/configmaps";
    for name in ["a", "b", "c"] {
        let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}});
        made(&server, maps, &map).await;
    }
    for path in [format!("{maps}/a?propagationPolicy=Orphan"), maps.to_owned()] {
        let answer = server.send(Method::DELETE, &path, None).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let told: Vec<_> = answer.headers.get_all("warning").iter().collect();
        assert_eq!(told, ["299 - \"it will be missed\""], "{path}");
        // What it owned is let go first; until then it is one of those that are deleted next.
        server.until(&format!("{maps}/a"), |answer| answer.status == 404).await;
    }
    let seen = std::mem::take(&mut *seen.lock().expect("no test panics with it"));
    let options: Vec<&Value> = seen.iter().map(|request| &request["options"]).collect();
    let plain = json!({"kind": "DeleteOptions", "apiVersion": "meta.k8s.io/v1"});
    let orphan =
        json!({"kind": "DeleteOptions", "apiVersion": "meta.k8s.io/v1", "propagationPolicy": "Orphan"});
    assert_eq!(options, [&orphan, &plain, &plain]);
    server.end().await;
}
