//! A node whose API is away, and one that starts without it.

use serde_json::json;
use shoal_client::{Deletion, kinds};

use crate::world::{World, container, has_phase, is_true};

#[tokio::test]
async fn what_was_assigned_runs_again_without_the_api() {
    let world = World::start().await;
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "login", "namespace": "shop"}, "data": {"p": "eA=="}});
    world.client.create(&kinds::SECRETS, &secret).await.expect("made");
    let env = json!({"env": [{"name": "P", "valueFrom": {"secretKeyRef": {"name": "login", "key": "p"}}}]});
    world.pod("web", json!({"containers": [container("web", "/http", &env)]})).await;
    world
        .pod("job", json!({"restartPolicy": "Never", "containers": [container("job", "/run", &json!({}))]}))
        .await;
    world
        .pod(
            "done",
            json!({"restartPolicy": "Never", "containers": [container("done", "/exit-0", &json!({}))]}),
        )
        .await;
    let web = world.until_pod("web", "ready", |pod| is_true(pod, "Ready")).await;
    let job = world.until_pod("job", "running", has_phase("Running")).await;
    world.until_pod("done", "over", has_phase("Succeeded")).await;
    let uid = web["metadata"]["uid"].as_str().expect("a uid").to_owned();
    let address = web["status"]["podIP"].clone();
    let job = job["metadata"]["uid"].as_str().expect("a uid").to_owned();
    let saved = |uid: &str| {
        let file = world.data().join("assignments").join(format!("{uid}.json"));
        std::fs::read_to_string(file).unwrap_or_default()
    };
    let is_saved = || {
        let web = saved(&uid);
        web.contains("\"serving\":[\"web\"]") && web.contains("eA==") && saved(&job).contains("\"running\"")
    };
    world.until("they are saved", is_saved).await;

    let world = world.restart(true).await;
    world.until("it serves again", || world.endpoints.get(&uid).is_some()).await;
    let before = world.asked.lock().iter().find(|one| one.reference == "/http").map(|one| one.before.clone());
    assert_eq!(before, Some(Some("/http@sha256:1".into())), "it says what it was before");
    let env = world
        .loaded
        .lock()
        .iter()
        .find(|spec| spec.name == "shop/web/web")
        .map(|spec| spec.grants.env.clone());
    assert_eq!(env, Some(vec![("P".to_owned(), "x".to_owned())]), "with the Secret from the disk");
    assert!(
        !world.loaded.lock().iter().any(|spec| spec.name.ends_with("/job")),
        "what may not run twice does not"
    );
    assert!(!world.loaded.lock().iter().any(|spec| spec.name.ends_with("/done")), "what is over stays over");

    // The API comes back: it learns what has become of the job, and the pod goes on as it was.
    world.api.set_away(false);
    let job = world.until_pod("job", "over", has_phase("Failed")).await;
    assert_eq!(job["status"]["containerStatuses"][0]["state"]["terminated"]["exitCode"], 137);
    let web = world.until_pod("web", "ready", |pod| is_true(pod, "Ready")).await;
    assert_eq!(web["status"]["containerStatuses"][0]["restartCount"], 0);
    assert_eq!(web["status"]["podIP"], address, "it keeps its address");
    world.end().await;
}

#[tokio::test]
async fn loss_of_contact_stops_nothing_and_deletions_meanwhile_are_found() {
    let world = World::start().await;
    world.pod("web", json!({"containers": [container("web", "/http", &json!({}))]})).await;
    let web = world.until_pod("web", "ready", |pod| is_true(pod, "Ready")).await;
    let uid = web["metadata"]["uid"].as_str().expect("a uid").to_owned();
    let world = world.restart(true).await;
    world.until("it serves again", || world.endpoints.get(&uid).is_some()).await;
    world.api.set_away(false);
    world.client.delete(&kinds::PODS, "shop", "web", &Deletion::confirmed("")).await.expect("deleted");
    world.until("it is gone", || world.endpoints.get(&uid).is_none()).await;
    let assignments = world.data().join("assignments");
    world
        .until("nothing is kept", || std::fs::read_dir(&assignments).is_ok_and(|dir| dir.count() == 0))
        .await;
    world.end().await;
}

#[tokio::test]
async fn what_ends_with_the_process_is_not_run_again() {
    // What is looked at first, the end of the command or that of the process, is by chance.
    for _ in 0..6 {
        let world = World::start().await;
        let spec = json!({"restartPolicy": "OnFailure", "containers": [container("c", "/last", &json!({}))]});
        world.pod("job", spec).await;
        world.until_pod("job", "running", has_phase("Running")).await;
        world.until("it runs", || !world.begun.lock().is_empty()).await;
        world.api.set_away(true);
        world.enough.notify_waiters();
        world.until_ending().await;
        let world = world.restart(true).await;
        world.api.set_away(false);
        let pod = world.until_pod("job", "over", has_phase("Succeeded")).await;
        let status = &pod["status"]["containerStatuses"][0];
        assert_eq!(
            (&status["state"]["terminated"]["exitCode"], &status["restartCount"]),
            (&json!(0), &json!(0))
        );
        assert!(world.loaded.lock().is_empty(), "it is not run twice");
        world.end().await;
    }
}
