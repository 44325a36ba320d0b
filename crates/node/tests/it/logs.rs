//! What `kubectl logs` and `kubectl top` ask of a node.

use std::time::Duration;

use http::Request;
use http_body_util::BodyExt as _;
use serde_json::json;

use crate::world::{World, container, has_phase};

async fn ask(world: &World, target: &str) -> (u16, String) {
    let request = Request::builder().uri(target).body(()).expect("a request");
    let answer = world.endpoint.answer(&request).await;
    let status = answer.status().as_u16();
    let body =
        tokio::time::timeout(Duration::from_secs(60), answer.into_body().collect()).await.expect("it ends");
    (status, String::from_utf8_lossy(&body.expect("a body").to_bytes()).into_owned())
}

/// Asks until the answer is as wanted.
async fn ask_until(world: &World, target: &str, is_so: impl Fn(&str) -> bool) {
    let mut last = String::new();
    let so = async {
        loop {
            last = ask(world, target).await.1;
            if is_so(&last) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let is_in_time = tokio::time::timeout(Duration::from_secs(60), so).await.is_ok();
    assert!(is_in_time, "{target}: {last}");
}

#[tokio::test]
async fn logs_are_those_of_the_last_run_or_the_one_before() {
    let world = World::start().await;
    world
        .pod(
            "hello",
            json!({"restartPolicy": "Never", "containers": [container("c", "/say-hello", &json!({}))]}),
        )
        .await;
    world.pod("loop", json!({"containers": [container("c", "/say-again", &json!({}))]})).await;
    world.until_pod("hello", "over", has_phase("Succeeded")).await;
    assert_eq!(ask(&world, "/containerLogs/shop/hello/c").await, (200, "hello\n".into()));
    assert_eq!(
        ask(&world, "/containerLogs/shop/hello/c?follow=true").await,
        (200, "hello\n".into()),
        "nobody writes it any more"
    );
    let (status, text) = ask(&world, "/containerLogs/shop/hello/c?timestamps=true&tailLines=1").await;
    assert!(status == 200 && text.ends_with("Z hello\n"), "{text}");
    assert_eq!(ask(&world, "/containerLogs/shop/hello/c?previous=true").await.0, 400);
    assert_eq!(ask(&world, "/containerLogs/shop/hello/x").await.0, 404);
    assert_eq!(ask(&world, "/containerLogs/shop/none/c").await.0, 404);
    world.pod("stuck", json!({"containers": [container("c", "/none", &json!({}))]})).await;
    let is_stuck = |pod: &serde_json::Value| {
        pod["status"]["containerStatuses"][0]["state"]["waiting"]["reason"] == "ImagePullBackOff"
    };
    world.until_pod("stuck", "stuck", is_stuck).await;
    let why = "container \"c\" in pod \"stuck\" is waiting to start: trying and failing to pull image";
    // The agent hears of its own status by way of the API.
    ask_until(&world, "/containerLogs/shop/stuck/c", |said| said == why).await;
    world
        .until_pod("loop", "restarted", |pod| pod["status"]["containerStatuses"][0]["restartCount"] == 1)
        .await;
    assert_eq!(ask(&world, "/containerLogs/shop/loop/c?previous=true").await, (200, "again\n".into()));
    world.end().await;
}

#[tokio::test]
async fn what_pods_use_is_told_to_metrics_servers() {
    let world = World::start().await;
    world.pod("web", json!({"containers": [container("web", "/run", &json!({}))]})).await;
    world.until_pod("web", "running", has_phase("Running")).await;
    let (status, text) = ask(&world, "/metrics/resource").await;
    assert_eq!(status, 200);
    assert!(
        text.contains(
            "container_cpu_usage_seconds_total{container=\"web\",namespace=\"shop\",pod=\"web\"} 0 "
        ),
        "{text}"
    );
    assert!(text.contains("\nnode_memory_working_set_bytes "), "{text}");
    world
        .pod("done", json!({"restartPolicy": "Never", "containers": [container("c", "/exit-0", &json!({}))]}))
        .await;
    world.until_pod("done", "over", has_phase("Succeeded")).await;
    let is_without = |text: &str| {
        !text.contains("pod=\"done\"") && text.contains("container=\"web\",namespace=\"shop\",pod=\"web\"")
    };
    ask_until(&world, "/metrics/resource", is_without).await;
    let (_, summary) = ask(&world, "/stats/summary").await;
    let summary: serde_json::Value = serde_json::from_str(&summary).expect("JSON");
    assert_eq!(summary["pods"][0]["podRef"]["name"], "web");
    assert_eq!(ask(&world, "/healthz").await, (200, "ok".into()));
    assert_eq!(ask(&world, "/exec/shop/web/web").await.0, 404);
    world.end().await;
}
