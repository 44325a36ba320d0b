//! Pods from their binding to their end.

use std::time::Duration;

use serde_json::{Value, json};
use shoal_client::{Deletion, kinds};
use shoal_runtime::{StorePlace, WorkloadSpec};

use crate::world::{World, container, has_phase, is_true};

fn state(pod: &Value) -> &Value {
    &pod["status"]["containerStatuses"][0]["state"]
}

#[tokio::test]
async fn a_node_registers_and_lives() {
    let world = World::start().await;
    world
        .until("a status", || {
            world.api.requests().iter().any(|one| one == "PATCH /api/v1/nodes/edge-1/status")
        })
        .await;
    let node = world.client.get(&kinds::NODES, "", "edge-1").await.expect("a node");
    assert!(is_true(&node, "Ready"), "{node}");
    assert_eq!(node["status"]["daemonEndpoints"]["kubeletEndpoint"]["Port"], 10250);
    let pods = |node: &Value| node["status"]["capacity"]["pods"].clone();
    assert_eq!(pods(&node), shoal_node::PODS_MAX.to_string(), "by this the cluster measures its range");
    let lease = world.client.get(&kinds::LEASES, "kube-node-lease", "edge-1").await.expect("a lease");
    assert_eq!(lease["spec"]["holderIdentity"], "edge-1");
    // The cluster says out of which range pods get their addresses; they follow.
    let range = shoal_client::Patch::Merge(json!({"spec": {"podCIDR": "10.9.0.0/24"}}));
    world.client.patch(&kinds::NODES, "", "edge-1", "", &range).await.expect("patched");
    let mut names = 0..100;
    let has_new_address = async |name: String| {
        world.pod(&name, json!({"containers": [container("c", "/run", &json!({}))]})).await;
        let pod = world.until_pod(&name, "running", has_phase("Running")).await;
        pod["status"]["podIP"].as_str().is_some_and(|address| address.starts_with("10.9.0."))
    };
    // The first ones may have come before the agent knew.
    while !has_new_address(format!("p{}", names.next().expect("it never follows"))).await {}
    let is_bounded = async {
        while pods(&world.client.get(&kinds::NODES, "", "edge-1").await.expect("a node")) != "253" {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), is_bounded).await.expect("no more pods than addresses");
    world.end().await;
}

#[tokio::test]
async fn what_pods_run_stays_when_artifacts_are_tidied() {
    let world = World::start().await;
    let first = container("first", "/exit-0", &json!({}));
    let spec = json!({"initContainers": [first], "containers": [container("web", "/http", &json!({}))]});
    world.pod("web", spec).await;
    world.until_pod("web", "running", has_phase("Running")).await;
    assert!(world.tidied.lock().is_empty(), "not at once");
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(301)).await;
    tokio::time::resume();
    world.until("a look at the artifacts", || !world.tidied.lock().is_empty()).await;
    let mut in_use = world.tidied.lock()[0].clone();
    in_use.sort();
    assert_eq!(in_use, ["/exit-0", "/http"]);
    world.end().await;
}

#[tokio::test]
async fn a_component_serves_from_ready_to_deleted() {
    let world = World::start().await;
    let probe = json!({"readinessProbe": {"httpGet": {"path": "/", "port": 80}}});
    world.pod("web", json!({"containers": [container("web", "/http", &probe)]})).await;
    let pod = world.until_pod("web", "ready", |pod| is_true(pod, "Ready")).await;
    let uid = pod["metadata"]["uid"].as_str().expect("a uid").to_owned();
    assert_eq!(
        (&pod["status"]["phase"], &pod["status"]["podIP"], &pod["status"]["hostIP"]),
        (&json!("Running"), &json!("10.1.0.2"), &json!("192.0.2.1"))
    );
    let status = &pod["status"]["containerStatuses"][0];
    assert_eq!(
        (&status["ready"], &status["started"], &status["restartCount"]),
        (&json!(true), &json!(true), &json!(0))
    );
    assert_eq!(status["imageID"], "/http@sha256:1");
    assert!(world.endpoints.get(&uid).is_some(), "the edge finds it");

    // A request that is in flight holds the pod until its time is over.
    let in_flight = world.endpoints.replica(&uid).enter();
    let deletion = Deletion { grace_seconds: Some(30), ..Deletion::default() };
    world.client.delete(&kinds::PODS, "shop", "web", &deletion).await.expect("deleted");
    world.until_pod("web", "not ready", |pod| !is_true(pod, "Ready")).await;
    world.until("no more requests", || world.endpoints.get(&uid).is_none()).await;
    assert!(world.get("web").await.is_some(), "it is still at something");
    drop(in_flight);
    world.until_gone("web").await;
    let reasons = world.reasons().await;
    for reason in [
        "Normal Pulled",
        "Normal Created",
        "Normal Started Started container web",
        "Normal Killing Stopping container web",
    ] {
        assert!(reasons.iter().any(|one| one.starts_with(reason)), "{reason}: {reasons:?}");
    }
    // Events are told by the second: their names keep those of one second in order.
    let list = world.client.list(&kinds::EVENTS, "", &shoal_client::Select::default()).await.expect("events");
    let mut named: Vec<_> = list.items.iter().map(|one| (&one["metadata"]["name"], &one["reason"])).collect();
    named.sort_by_key(|(name, _)| name.as_str());
    let order: Vec<_> = named.iter().map(|(_, reason)| reason.as_str().expect("a reason")).collect();
    assert_eq!(order, ["Pulled", "Created", "Started", "Killing"]);
    let assignments = world.data().join("assignments");
    world
        .until("nothing of it is kept", || std::fs::read_dir(&assignments).is_ok_and(|dir| dir.count() == 0))
        .await;
    world.end().await;
}

#[tokio::test]
async fn commands_end_as_their_restart_policy_says() {
    let world = World::start().await;
    let pod = |image: &str, policy: &str| json!({"restartPolicy": policy, "containers": [container("c", image, &json!({}))]});
    world.pod("good", pod("/exit-0", "Never")).await;
    world.pod("bad", pod("/exit-3", "Never")).await;
    world.pod("again", pod("/exit-3", "OnFailure")).await;
    let good = world.until_pod("good", "over", has_phase("Succeeded")).await;
    assert_eq!(
        (&state(&good)["terminated"]["exitCode"], &state(&good)["terminated"]["reason"]),
        (&json!(0), &json!("Completed"))
    );
    let bad = world.until_pod("bad", "over", has_phase("Failed")).await;
    assert_eq!(
        (&state(&bad)["terminated"]["exitCode"], &state(&bad)["terminated"]["reason"]),
        (&json!(3), &json!("Error"))
    );
    let is_looping = |pod: &Value| state(pod)["waiting"]["reason"] == "CrashLoopBackOff";
    let again = world.until_pod("again", "a crash loop", is_looping).await;
    let status = &again["status"]["containerStatuses"][0];
    assert_eq!(
        (&status["restartCount"], &status["lastState"]["terminated"]["exitCode"]),
        (&json!(1), &json!(3))
    );
    assert_eq!(again["status"]["phase"], "Running");
    assert!(world.reasons().await.iter().any(|one| {
        one.starts_with("Warning BackOff Back-off restarting failed container c in pod again_shop(")
    }));
    world.end().await;
}

#[tokio::test]
async fn what_cannot_start_says_why() {
    let world = World::start().await;
    let pod = |container: Value| json!({"containers": [container]});
    let env = json!({"env": [{"name": "A", "valueFrom": {"configMapKeyRef": {"name": "none", "key": "a"}}}]});
    world.pod("config", pod(container("c", "/run", &env))).await;
    world.pod("image", pod(container("c", "/none", &json!({})))).await;
    world.pod("refused", pod(container("c", "/refuse", &json!({})))).await;
    let waits = |reason: &'static str| move |pod: &Value| state(pod)["waiting"]["reason"] == reason;
    let config = world.until_pod("config", "an error", waits("CreateContainerConfigError")).await;
    assert_eq!(state(&config)["waiting"]["message"], "configmap \"none\" not found");
    world.until_pod("image", "an error", waits("ErrImagePull")).await;
    let image = world.until_pod("image", "an error", waits("ImagePullBackOff")).await;
    assert_eq!(
        state(&image)["waiting"]["message"],
        "Back-off pulling image \"/none\": ErrImagePull: there is no such image"
    );
    let refused = world.until_pod("refused", "an error", waits("CreateContainerError")).await;
    assert_eq!(state(&refused)["waiting"]["message"], "`/refuse` is no WebAssembly (build it first)");
    assert!(!world.reasons().await.iter().any(|one| one.contains("Created")), "nothing was created");
    // What was missing comes: nobody waits for the next try.
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "none", "namespace": "shop"}, "data": {"a": "1"}});
    world.client.create(&kinds::CONFIG_MAPS, &map).await.expect("made");
    world.until_pod("config", "running", |pod| state(pod)["running"].is_object()).await;
    let is_it = |spec: &&WorkloadSpec| spec.name == "shop/config/c";
    let env = world.loaded.lock().iter().rev().find(is_it).map(|spec| spec.grants.env.clone());
    assert_eq!(env, Some(vec![("A".to_owned(), "1".to_owned())]));
    world.end().await;
}

#[tokio::test]
async fn stores_that_are_granted_have_their_place_and_missing_credentials_are_told() {
    let world = World::start().await;
    let granted = json!({"shoal.dev/keyvalue": "default", "shoal.dev/blobstore": "files"});
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web", "namespace": "shop", "annotations": granted},
        "spec": {"nodeName": "edge-1", "containers": [container("web", "/http", &json!({}))]},
    });
    world.client.create(&kinds::PODS, &pod).await.expect("a pod");
    world.until_pod("web", "ready", |pod| is_true(pod, "Ready")).await;
    let grants = world.loaded.lock()[0].grants.clone();
    let places: Vec<_> = grants.key_value.iter().chain(&grants.blobs).map(|store| &store.place).collect();
    assert_eq!(places.len(), 2);
    for place in places {
        let StorePlace::Path(path) = place else { panic!("a store of a pod is on the disk") };
        assert!(path.parent().is_some_and(std::path::Path::is_dir), "{}", path.display());
    }

    let spec = json!({
        "imagePullSecrets": [{"name": "none"}], "containers": [container("c", "shop.test/app:1", &json!({}))],
    });
    world.pod("private", spec).await;
    world
        .until_event(
            "Warning FailedToRetrieveImagePullSecret Unable to retrieve some image pull secrets (none); attempting",
        )
        .await;
    world.end().await;
}

#[tokio::test]
async fn a_container_whose_liveness_probe_fails_is_started_again() {
    let world = World::start().await;
    let probe = json!({"livenessProbe": {"httpGet": {"path": "/bad", "port": 80}, "periodSeconds": 1, "failureThreshold": 1}});
    world.pod("web", json!({"containers": [container("web", "/http", &probe)]})).await;
    let restarted = |pod: &Value| pod["status"]["containerStatuses"][0]["restartCount"] == 1;
    world.until_pod("web", "restarted", restarted).await;
    let reasons = world.reasons().await;
    let expected = [
        "Warning Unhealthy Liveness probe failed: HTTP probe failed with statuscode: 500",
        "Normal Killing Container web failed liveness probe, will be restarted",
    ];
    for reason in expected {
        assert!(reasons.iter().any(|one| one == reason), "{reason}: {reasons:?}");
    }
    world.end().await;
}

#[tokio::test]
async fn init_containers_run_first_and_a_deadline_ends_a_pod() {
    let world = World::start().await;
    world
        .pod("web", json!({
            "initContainers": [container("init", "/exit-0", &json!({}))], "containers": [container("web", "/run", &json!({}))],
            "activeDeadlineSeconds": 2,
        }))
        .await;
    let pod = world.until_pod("web", "running", has_phase("Running")).await;
    assert_eq!(pod["status"]["initContainerStatuses"][0]["state"]["terminated"]["exitCode"], 0);
    assert!(is_true(&pod, "Initialized"));
    let order: Vec<String> = world.loaded.lock().iter().map(|spec| spec.name.clone()).collect();
    assert_eq!(order, ["shop/web/init", "shop/web/web"]);
    let failed = world.until_pod("web", "over", has_phase("Failed")).await;
    assert_eq!(failed["status"]["reason"], "DeadlineExceeded");
    assert_eq!(state(&failed)["terminated"]["exitCode"], 137, "it was stopped");
    world.end().await;
}
