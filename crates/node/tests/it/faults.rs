//! What goes wrong around pods, and what may not go wrong then.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use http::{Method, Request};
use parking_lot::Mutex;
use serde_json::{Value, json};
use shoal_api::time::Moment;
use shoal_client::{Deletion, Patch, kinds};
use shoal_runtime::{Account, Body, Call, FailureKind};

use crate::world::{World, container, has_phase, is_true};

fn status(pod: &Value) -> &Value {
    &pod["status"]["containerStatuses"][0]
}

fn call() -> Call {
    Call {
        id: 0,
        scheme: http::uri::Scheme::HTTP,
        peer: std::net::SocketAddr::from(([127, 0, 0, 1], 0)),
        received: Instant::now(),
        account: Arc::new(Account::default()),
    }
}

#[tokio::test]
async fn a_command_waits_until_the_disk_knows_that_it_runs() {
    let world = World::start().await;
    let file = world.data().join("assignments").join("u-1.json");
    // Nothing can be written there.
    let in_the_way = file.with_extension("next");
    std::fs::create_dir(&in_the_way).expect("made");
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "job", "namespace": "shop", "uid": "u-1"},
        "spec": {"nodeName": "edge-1", "restartPolicy": "Never", "containers": [container("c", "/run", &json!({}))]},
    });
    world.client.create(&kinds::PODS, &pod).await.expect("a pod");
    world.until_event("Warning FailedSave The node cannot save the pod on its disk, and tries again: ").await;
    world.until("it is loaded", || !world.loaded.lock().is_empty()).await;
    assert!(world.begun.lock().is_empty() && !file.exists());
    std::fs::remove_dir(&in_the_way).expect("removed");
    world.until("it runs", || !world.begun.lock().is_empty()).await;
    let saved = std::fs::read_to_string(&file).expect("it is saved before it runs");
    assert!(saved.contains("\"running\""), "{saved}");
    // The node goes at once: it never runs again.
    let world = world.restart(true).await;
    world.api.set_away(false);
    let pod = world.until_pod("job", "over", has_phase("Failed")).await;
    assert_eq!(status(&pod)["state"]["terminated"]["exitCode"], 137);
    assert!(world.loaded.lock().is_empty() && world.begun.lock().is_empty(), "it does not run twice");
    world.end().await;
}

#[tokio::test]
async fn a_pod_that_is_too_much_does_not_start_and_says_why() {
    let world = World::start().await;
    let tenfold = |n: usize| json!({"name": format!("V{}", n + 1), "value": format!("$(V{n})").repeat(10)});
    let mut env = vec![json!({"name": "V0", "value": "x"})];
    env.extend((0..20).map(tenfold));
    world.pod("bomb", json!({"containers": [container("c", "/run", &json!({"env": env}))]})).await;
    let reason = |pod: &Value| status(pod)["state"]["waiting"]["reason"] == "CreateContainerConfigError";
    let pod = world.until_pod("bomb", "an error", reason).await;
    let message = status(&pod)["state"]["waiting"]["message"].as_str().unwrap_or_default();
    assert!(
        message.starts_with("the environment and the arguments have more than 2097152 bytes"),
        "{message}"
    );
    world.end().await;
}

#[tokio::test]
async fn a_panic_is_the_trouble_of_one_run_or_one_pod() {
    let first = AtomicU32::new(0);
    let world = World::start_at(move |request| {
        let is_first = request.uri().path() == "/api/v1/namespaces/shop/pods/web/status"
            && first.fetch_add(1, Ordering::Relaxed) == 0;
        assert!(!is_first, "the task of the pod fails here");
        None
    })
    .await;
    // The task of the pod.
    world.pod("web", json!({"containers": [container("web", "/http", &json!({}))]})).await;
    world.until_pod("web", "ready", |pod| is_true(pod, "Ready")).await;
    // The run of a container.
    let spec = json!({"restartPolicy": "Never", "containers": [container("c", "/panic", &json!({}))]});
    world.pod("bad", spec).await;
    let pod = world.until_pod("bad", "over", has_phase("Failed")).await;
    let ended = &status(&pod)["state"]["terminated"];
    assert_eq!(
        (&ended["exitCode"], &ended["message"]),
        (&json!(134), &json!("the agent of the node failed while it ran the container"))
    );
    world.end().await;
}

#[tokio::test]
async fn what_a_failed_task_was_running_ends_with_it() {
    let fails = Arc::new(Mutex::new(""));
    let failing = fails.clone();
    let world = World::start_at(move |request| {
        let mut name = failing.lock();
        let is_now = !name.is_empty() && request.uri().path().ends_with(&format!("/pods/{}/status", *name));
        if is_now {
            *name = "";
        }
        drop(name);
        assert!(!is_now, "the task of the pod fails here");
        None
    })
    .await;
    let containers = [container("web", "/hang", &json!({})), container("side", "/wait", &json!({}))];
    world.pod("web", json!({"containers": containers})).await;
    let web = world.until_pod("web", "ready", |pod| is_true(pod, "Ready")).await;
    let uid = web["metadata"]["uid"].as_str().expect("a uid");
    let replica = world.endpoints.replica(uid);
    let old = replica.invoke().expect("it serves");
    let asked = tokio::spawn(old.invoke(Request::new(Body::empty()), call()));
    *fails.lock() = "web";
    world.enough.notify_waiters();
    let failure = asked.await.expect("it ends").expect_err("it has no answer");
    assert_eq!(failure.kind, FailureKind::Deadline);
    // The next one takes its place.
    let is_another = || replica.invoke().is_some_and(|new| !Arc::ptr_eq(&new, &old));
    world.until("it serves again", is_another).await;

    let containers = [container("c", "/run", &json!({})), container("side", "/wait", &json!({}))];
    world.pod("job", json!({"restartPolicy": "Never", "containers": containers})).await;
    world.until_pod("job", "running", |pod| is_true(pod, "Ready")).await;
    *fails.lock() = "job";
    world.enough.notify_waiters();
    let job = world.until_pod("job", "over", has_phase("Failed")).await;
    let ended = &status(&job)["state"]["terminated"];
    assert_eq!(
        (&ended["exitCode"], &ended["message"]),
        (&json!(137), &json!("the agent of the node failed in the task of the pod, and began it anew"))
    );
    world.end().await;
}

#[tokio::test]
async fn a_pod_is_not_let_go_before_the_disk_has_forgotten_it() {
    let world = World::start().await;
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web", "namespace": "shop", "uid": "u-1"},
        "spec": {"nodeName": "edge-1", "containers": [container("web", "/http", &json!({}))]},
    });
    world.client.create(&kinds::PODS, &pod).await.expect("a pod");
    world.until_pod("web", "ready", |pod| is_true(pod, "Ready")).await;
    let file = world.data().join("assignments").join("u-1.json");
    world
        .until("it is saved", || {
            std::fs::read_to_string(&file).is_ok_and(|text| text.contains("serving\":[\"web"))
        })
        .await;
    // A directory cannot be removed as a file is.
    std::fs::remove_file(&file).expect("removed");
    std::fs::create_dir(&file).expect("made");
    world.client.delete(&kinds::PODS, "shop", "web", &Deletion::default()).await.expect("deleted");
    world
        .until_event("Warning FailedClear The node cannot take the pod off its disk, and tries again: ")
        .await;
    assert!(world.get("web").await.is_some());
    std::fs::remove_dir(&file).expect("removed");
    world.until_gone("web").await;
    world.end().await;
}

#[tokio::test]
async fn a_grace_period_may_be_as_long_as_it_likes() {
    let world = World::start().await;
    let spec = json!({"terminationGracePeriodSeconds": i64::MAX, "containers": [container("web", "/http", &json!({}))]});
    world.pod("web", spec).await;
    world.until_pod("web", "ready", |pod| is_true(pod, "Ready")).await;
    world.client.delete(&kinds::PODS, "shop", "web", &Deletion::default()).await.expect("deleted");
    world.until_gone("web").await;
    world.end().await;
}

#[tokio::test]
async fn a_shorter_grace_counts_and_no_request_outlives_its_pod() {
    let world = World::start().await;
    world.pod("web", json!({"containers": [container("web", "/hang", &json!({}))]})).await;
    let pod = world.until_pod("web", "ready", |pod| is_true(pod, "Ready")).await;
    let uid = pod["metadata"]["uid"].as_str().expect("a uid").to_owned();
    let replica = world.endpoints.replica(&uid);
    let in_flight = replica.enter();
    let answer = replica.invoke().expect("it serves").invoke(Request::new(Body::empty()), call());
    let asked = tokio::spawn(async move {
        let answer = answer.await;
        drop(in_flight);
        answer
    });
    let delete = async |seconds: u32| {
        let deletion = Deletion { grace_seconds: Some(seconds), ..Deletion::default() };
        world.client.delete(&kinds::PODS, "shop", "web", &deletion).await.expect("deleted");
    };
    delete(3600).await;
    world.until("no new requests", || world.endpoints.get(&uid).is_none()).await;
    assert!(!asked.is_finished(), "it has an hour");
    delete(1).await;
    world.until_gone("web").await;
    let failure = asked.await.expect("it ends").expect_err("it has no answer");
    assert_eq!(failure.kind, FailureKind::Deadline);
    world.end().await;
}

#[tokio::test]
async fn another_image_starts_the_container_again() {
    let world = World::start().await;
    let pod =
        |image: &str| json!({"restartPolicy": "Never", "containers": [container("c", image, &json!({}))]});
    world.pod("web", pod("/run")).await;
    world.pod("wrong", pod("/none")).await;
    world.until_pod("web", "running", has_phase("Running")).await;
    world
        .until_pod("wrong", "an error", |pod| status(pod)["state"]["waiting"]["reason"] == "ImagePullBackOff")
        .await;
    let image = |image: &str| json!({"spec": {"containers": [container("c", image, &json!({}))]}});
    world.patch("web", image("/http")).await;
    world.patch("wrong", image("/http")).await;
    let web = world.until_pod("web", "restarted", |pod| {
        status(pod)["restartCount"] == 1
            && status(pod)["imageID"] == "/http@sha256:1"
            && is_true(pod, "Ready")
    });
    assert_eq!(status(&web.await)["lastState"]["terminated"]["exitCode"], 137);
    let wrong = world.until_pod("wrong", "running", |pod| is_true(pod, "Ready")).await;
    assert_eq!(status(&wrong)["restartCount"], 0, "it never ran before");
    world.until_event("Normal Killing Container c definition changed, will be restarted").await;
    world.end().await;
}

#[tokio::test]
async fn a_pod_without_an_address_gets_the_next_that_is_freed() {
    // One address.
    let world = World::start_with(|config| config.pod_cidr = "10.1.0.0/30".parse().expect("a net")).await;
    let spec = || json!({"containers": [container("c", "/run", &json!({}))]});
    world.pod("first", spec()).await;
    let first = world.until_pod("first", "running", has_phase("Running")).await;
    assert_eq!(first["status"]["podIP"], "10.1.0.2");
    world.pod("second", spec()).await;
    world.until_event("Warning NoAddress The range 10.1.0.0/30 of this node has no free address").await;
    let second = world.until_pod("second", "running", has_phase("Running")).await;
    assert_eq!(second["status"]["podIP"], Value::Null);
    world.client.delete(&kinds::PODS, "shop", "first", &Deletion::default()).await.expect("deleted");
    world.until_pod("second", "an address", |pod| pod["status"]["podIP"] == "10.1.0.2").await;
    assert!(world.get("first").await.is_none(), "never two pods at one address");
    world.end().await;
}

#[tokio::test]
async fn a_node_that_was_taken_for_dead_says_soon_that_it_lives() {
    let world = World::start().await;
    let node = async || world.client.get(&kinds::NODES, "", "edge-1").await.expect("a node");
    while !is_true(&node().await, "Ready") {
        tokio::task::yield_now().await;
    }
    let unknown = json!([{"type": "Ready", "status": "Unknown", "reason": "NodeStatusUnknown"}]);
    let change = Patch::Merge(json!({"status": {"conditions": unknown}}));
    let patched = world.client.patch(&kinds::NODES, "", "edge-1", "status", &change).await.expect("patched");
    assert!(!is_true(&patched, "Ready"));
    let is_back = async {
        while !is_true(&node().await, "Ready") {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), is_back).await.expect("it says that it lives");
    world.end().await;
}

#[tokio::test]
async fn a_refused_end_is_told_again() {
    let refusals = Arc::new(AtomicU32::new(0));
    let counted = refusals.clone();
    let world = World::start_at(move |request| {
        let is_end = request.method() == Method::DELETE && request.uri().path().ends_with("/pods/web");
        let is_refused = is_end && counted.fetch_add(1, Ordering::Relaxed) < 2;
        is_refused.then(|| {
            (403, json!({"kind": "Status", "code": 403, "reason": "Forbidden", "message": "not yet"}))
        })
    })
    .await;
    world.pod("web", json!({"containers": [container("web", "/http", &json!({}))]})).await;
    world.until_pod("web", "ready", |pod| is_true(pod, "Ready")).await;
    let assignments = world.data().join("assignments");
    world.client.delete(&kinds::PODS, "shop", "web", &Deletion::default()).await.expect("deleted");
    world.until("a refusal", || refusals.load(Ordering::Relaxed) > 0).await;
    // Whatever happens to the node now, the pod does not run again.
    assert_eq!(std::fs::read_dir(&assignments).expect("a directory").count(), 0);
    assert!(world.get("web").await.is_some());
    world.until_gone("web").await;
    assert_eq!(refusals.load(Ordering::Relaxed), 3);
    world.end().await;
}

#[tokio::test]
async fn tokens_are_renewed_and_files_of_the_pod_follow_it() {
    let count = AtomicU32::new(0);
    let world = World::start_at(move |request| {
        request.uri().path().ends_with("/serviceaccounts/app/token").then(|| {
            let number = count.fetch_add(1, Ordering::Relaxed);
            // The first two end soon: each is renewed after a second.
            let life: i64 = if number < 2 { 1 } else { 3600 };
            let seconds = jiff::Timestamp::now().as_second() + life;
            let until = Moment::from_seconds(seconds).to_time();
            (201, json!({"status": {"token": format!("token-{number}"), "expirationTimestamp": until}}))
        })
    })
    .await;
    let mounts = json!({"volumeMounts": [{"name": "api", "mountPath": "/api"}]});
    let label = json!({"path": "color", "fieldRef": {"fieldPath": "metadata.labels['color']"}});
    let sources = json!([{"serviceAccountToken": {"path": "token"}}, {"downwardAPI": {"items": [label]}}]);
    world
        .pod(
            "web",
            json!({
                "serviceAccountName": "app", "volumes": [{"name": "api", "projected": {"sources": sources}}],
                "containers": [container("web", "/run", &mounts)],
            }),
        )
        .await;
    world.until_pod("web", "running", has_phase("Running")).await;
    let dir = world.loaded.lock()[0].grants.dirs[0].host.clone();
    let reads =
        |file: &str, text: &str| std::fs::read_to_string(dir.join(file)).is_ok_and(|found| found == text);
    world.until("the last token", || reads("token", "token-2")).await;
    assert!(reads("color", ""));
    world.patch("web", json!({"metadata": {"labels": {"color": "blue"}}})).await;
    world.until("the label", || reads("color", "blue")).await;
    assert!(reads("token", "token-2"), "there was nothing to renew");
    let pod = world.get("web").await.expect("a pod");
    assert_eq!(status(&pod)["restartCount"], 0, "nothing was started again");
    world.end().await;
}

#[tokio::test]
async fn what_may_be_missing_holds_no_pod_back_without_the_api() {
    let world = World::start().await;
    let optional = json!({"envFrom": [
        {"configMapRef": {"name": "none", "optional": true}}, {"secretRef": {"name": "none", "optional": true}},
    ]});
    let mut spec = json!({"containers": [container("web", "/http", &optional)]});
    spec["volumes"] = json!([{"name": "v", "configMap": {"name": "none", "optional": true}}]);
    spec["imagePullSecrets"] = json!([{"name": "none"}]);
    world.pod("web", spec).await;
    let pod = world.until_pod("web", "ready", |pod| is_true(pod, "Ready")).await;
    let uid = pod["metadata"]["uid"].as_str().expect("a uid").to_owned();
    let world = world.restart(true).await;
    world.until("it serves again", || world.endpoints.get(&uid).is_some()).await;
    world.end().await;
}
