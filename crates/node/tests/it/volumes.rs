//! Volumes as guests find them.

use serde_json::json;
use shoal_client::{Patch, kinds};

use crate::world::{World, container, has_phase};

#[tokio::test]
async fn volumes_are_directories_that_change_with_their_objects() {
    let world = World::start().await;
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m", "namespace": "shop"}, "data": {"a": "1"}});
    world
        .pod(
            "web",
            json!({
                "volumes": [{"name": "map", "configMap": {"name": "m"}}, {"name": "scratch", "emptyDir": {}}],
                "containers": [container("web", "/run", &json!({"volumeMounts": [
                    {"name": "map", "mountPath": "/etc/map"}, {"name": "scratch", "mountPath": "/tmp"},
                ]}))],
            }),
        )
        .await;
    let waits = world.until_pod("web", "a status", |pod| pod["status"]["phase"] == "Pending").await;
    assert_eq!(waits["status"]["containerStatuses"][0]["state"]["waiting"]["reason"], "ContainerCreating");
    let mut said = Vec::new();
    for _ in 0..1000 {
        said = world.reasons().await;
        if !said.is_empty() {
            break;
        }
        tokio::task::yield_now().await;
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    assert_eq!(
        said,
        ["Warning FailedMount MountVolume.SetUp failed for volume \"map\" : configmap \"m\" not found"]
    );

    world.client.create(&kinds::CONFIG_MAPS, &map).await.expect("made");
    world.until_pod("web", "running", has_phase("Running")).await;
    let dirs = world.loaded.lock()[0].grants.dirs.clone();
    let shown: Vec<(&str, bool)> = dirs.iter().map(|dir| (dir.guest.as_str(), dir.writable)).collect();
    assert_eq!(shown, [("/etc/map", false), ("/tmp", true)]);
    let file = dirs[0].host.join("a");
    let reads = |text: &'static str| std::fs::read_to_string(&file).is_ok_and(|found| found == text);
    assert!(reads("1") && dirs[1].host.is_dir());

    let change = Patch::Merge(json!({"data": {"a": "2"}}));
    world.client.patch(&kinds::CONFIG_MAPS, "shop", "m", "", &change).await.expect("patched");
    world.until("the new text", || reads("2")).await;
    let text = world.get("web").await.expect("a pod");
    assert_eq!(text["status"]["containerStatuses"][0]["restartCount"], 0, "nothing was started again");
    world.patch("web", json!({"metadata": {"annotations": {"x": "y"}}})).await;
    world.end().await;
}

#[tokio::test]
async fn a_part_of_a_volume_stays_as_the_container_found_it() {
    let world = World::start().await;
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m", "namespace": "shop"}, "data": {"a": "1"}});
    world.client.create(&kinds::CONFIG_MAPS, &map).await.expect("made");
    let items = json!([{"key": "a", "path": "part/a"}]);
    let spec = json!({
        "volumes": [{"name": "map", "configMap": {"name": "m", "items": items}}],
        "containers": [container("web", "/run", &json!({"volumeMounts": [
            {"name": "map", "mountPath": "/all"}, {"name": "map", "mountPath": "/part", "subPath": "part"},
        ]}))],
    });
    world.pod("web", spec).await;
    world.until_pod("web", "running", has_phase("Running")).await;
    let dirs = world.loaded.lock()[0].grants.dirs.clone();
    // As a guest has them: open.
    let part = std::fs::File::open(&dirs[1].host).expect("a directory");
    let change = Patch::Merge(json!({"data": {"a": "2"}}));
    world.client.patch(&kinds::CONFIG_MAPS, "shop", "m", "", &change).await.expect("patched");
    let all = dirs[0].host.join("part/a");
    world.until("the new text", || std::fs::read_to_string(&all).is_ok_and(|text| text == "2")).await;
    let through = format!("/proc/self/fd/{}/a", std::os::fd::AsRawFd::as_raw_fd(&part));
    assert_eq!(std::fs::read_to_string(through).expect("it is still there"), "1");
    world.end().await;
}
