//! Workloads on a server with all controllers: from a Deployment to pods that have their nodes.

use std::time::Instant;

use http::Method;
use serde_json::{Value, json};
use shoal_server::Controllers;

use crate::server::Server;

const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";
const PODS: &str = "/api/v1/namespaces/default/pods";

fn node(name: &str) -> Value {
    let capacity = json!({"cpu": "8", "memory": "16Gi", "pods": "110"});
    json!({
        "apiVersion": "v1", "kind": "Node", "metadata": {"name": name},
        "status": {
            "capacity": capacity, "allocatable": capacity,
            "conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady"}],
        },
    })
}

fn web(replicas: i64) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
        "spec": {
            "replicas": replicas, "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [{"name": "c", "image": "web:1", "resources": {"requests": {"cpu": "10m"}}}]},
            },
        },
    })
}

fn bound(list: &Value) -> usize {
    let pods = list["items"].as_array().expect("a list");
    pods.iter().filter(|pod| pod["spec"]["nodeName"].is_string()).count()
}

/// Waits until so many pods have their nodes, and no more are there.
async fn wait_for_pods(server: &Server, count: usize) -> Value {
    let there = |answer: &crate::client::Answer| {
        let list = answer.json();
        list["items"].as_array().is_some_and(|pods| pods.len() == count) && bound(&list) == count
    };
    server.until(PODS, there).await.json()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deployment_becomes_pods_on_nodes_and_follows_its_size() {
    let server = Server::start_with(Controllers::All).await;
    for name in ["n1", "n2", "n3"] {
        let made = server.send(Method::POST, "/api/v1/nodes", Some(&node(name))).await;
        assert_eq!(made.status, 201, "{}", made.text());
    }
    let made = server.send(Method::POST, DEPLOYMENTS, Some(&web(3))).await;
    assert_eq!(made.status, 201, "{}", made.text());
    let pods = wait_for_pods(&server, 3).await;
    let mut nodes: Vec<&str> = pods["items"]
        .as_array()
        .expect("pods")
        .iter()
        .filter_map(|pod| pod["spec"]["nodeName"].as_str())
        .collect();
    nodes.sort_unstable();
    assert_eq!(nodes, ["n1", "n2", "n3"], "siblings go to different nodes");
    let managers: Vec<&str> = pods["items"][0]["metadata"]["managedFields"]
        .as_array()
        .expect("fields have managers")
        .iter()
        .filter_map(|entry| entry["manager"].as_str())
        .collect();
    assert_eq!(managers[0], "kube-controller-manager");
    let scaled = json!({"spec": {"replicas": 50}});
    let patch = [("content-type", "application/merge-patch+json")];
    let began = Instant::now();
    let path = format!("{DEPLOYMENTS}/web");
    let answer = server.client.send(Method::PATCH, &path, &patch, scaled.to_string().into_bytes()).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    wait_for_pods(&server, 50).await;
    eprintln!("3 to 50 pods on their nodes in {:?}", began.elapsed());
    let counted = |answer: &crate::client::Answer| {
        let status = &answer.json()["status"];
        status["replicas"] == 50 && status["observedGeneration"] == 2 && status["updatedReplicas"] == 50
    };
    server.until(&path, counted).await;
    let scaled = json!({"spec": {"replicas": 0}});
    server.client.send(Method::PATCH, &path, &patch, scaled.to_string().into_bytes()).await;
    // Nobody runs on these nodes who would let the pods go; they are being deleted.
    let going = |answer: &crate::client::Answer| {
        let list = answer.json();
        let pods = list["items"].as_array().expect("pods");
        pods.iter().all(|pod| pod["metadata"]["deletionTimestamp"].is_string())
    };
    server.until(PODS, going).await;
    server.end().await;
}
