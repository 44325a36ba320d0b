//! Nodes that are lost, what becomes of their pods, and their addresses.

use expect_test::expect;
use serde_json::{Value, json};
use shoal_control::controllers::nodes::{GRACE_SECONDS, NodeLifecycle, PodRanges};
use shoal_control::controllers::pod_garbage::{ENDED_PODS_MAX, PodGarbage, QUARANTINE_SECONDS};
use shoal_control::controllers::pods::is_ready;
use shoal_control::controllers::replica_set::PODS_PER_PLAN_MAX;
use shoal_control::controllers::taint_eviction::TaintEviction;
use shoal_control::known::{LEASE, NODE, POD};
use shoal_control::plan::{Controller as _, Key, Write};
use shoal_control::snapshot::Snapshot as _;
use shoal_control::world::World;

use crate::support::{namespace, object as bare, pod};

fn node(name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "uid": name}, "spec": {},
        "status": {"conditions": [{
            "type": "Ready", "status": "True", "reason": "KubeletReady", "message": "kubelet is posting ready status",
            "lastHeartbeatTime": "2026-01-01T00:00:00Z", "lastTransitionTime": "2026-01-01T00:00:00Z",
        }]},
    })
}

fn lease(world: &World, node: &str) -> Value {
    json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": {"namespace": "kube-node-lease", "name": node},
        "spec": {"holderIdentity": node, "leaseDurationSeconds": 40, "renewTime": world.now().to_micro_time()},
    })
}

fn world(nodes: &[&str]) -> World {
    let mut world = World::new(vec![
        Box::new(NodeLifecycle { since: "2026-01-01T00:00:00Z".parse().expect("a time") }),
        Box::new(TaintEviction),
        Box::<PodGarbage>::default(),
    ]);
    world.apply(namespace("demo"));
    for name in nodes {
        world.apply(node(name));
        world.apply(lease(&world, name));
    }
    world.settle();
    world
}

/// So many seconds pass, while these nodes renew their leases.
fn pass(world: &mut World, seconds: i64, alive: &[&str]) -> String {
    let mut told = String::new();
    for _ in 0..seconds / 10 {
        told.push_str(&world.tick(10));
        for name in alive {
            world.apply(lease(world, name));
        }
    }
    told
}

fn taints(world: &World, name: &str) -> String {
    let node = world.get(&NODE, "", name).expect("it is there");
    let taints = node["spec"]["taints"].as_array().cloned().unwrap_or_default();
    let shown = taints.iter().map(|taint| format!("{}:{}", taint["key"], taint["effect"]).replace('"', ""));
    shown.collect::<Vec<_>>().join(" ")
}

fn tolerating(name: &str, seconds: Value) -> Value {
    let mut pod = pod(name, "10.244.0.2", true);
    pod["spec"]["tolerations"] = json!([{
        "key": "node.kubernetes.io/unreachable", "operator": "Exists", "effect": "NoExecute",
        "tolerationSeconds": seconds,
    }]);
    pod
}

#[test]
fn a_node_that_is_silent_is_lost_and_its_pods_go_when_their_time_is_over() {
    let mut world = world(&["n1", "n2"]);
    world.apply(tolerating("five-minutes", json!(300)));
    world.apply(tolerating("for-ever", Value::Null));
    world.apply(pod("not-at-all", "10.244.0.3", true));
    assert_eq!(pass(&mut world, 120, &["n1", "n2"]), "");
    assert_eq!(pass(&mut world, GRACE_SECONDS, &["n2"]), "");
    expect![[r#"
        node-controller: event Normal NodeNotReady about n1: Node n1 status is now: NodeNotReady
        node-controller: patch Node n1 {"metadata":{},"status":{"conditions":[{"lastHeartbeatTime":"2026-01-01T00:00:00Z","lastTransitionTime":"2026-01-01T00:02:41Z","message":"Kubelet stopped posting node status.","reason":"NodeStatusUnknown","status":"Unknown","type":"Ready"},{"lastHeartbeatTime":"2026-01-01T00:00:00Z","lastTransitionTime":"2026-01-01T00:02:41Z","message":"Kubelet never posted node status.","reason":"NodeStatusNeverUpdated","status":"Unknown","type":"MemoryPressure"},{"lastHeartbeatTime":"2026-01-01T00:00:00Z","lastTransitionTime":"2026-01-01T00:02:41Z","message":"Kubelet never posted node status.","reason":"NodeStatusNeverUpdated","status":"Unknown","type":"DiskPressure"},{"lastHeartbeatTime":"2026-01-01T00:00:00Z","lastTransitionTime":"2026-01-01T00:02:41Z","message":"Kubelet never posted node status.","reason":"NodeStatusNeverUpdated","status":"Unknown","type":"PIDPressure"}]}}
        node-controller: patch Node n1 {"metadata":{},"spec":{"taints":[{"effect":"NoSchedule","key":"node.kubernetes.io/unreachable","timeAdded":"2026-01-01T00:02:41Z"},{"effect":"NoExecute","key":"node.kubernetes.io/unreachable","timeAdded":"2026-01-01T00:02:41Z"}]}}
        node-controller: patch Pod demo/five-minutes {"metadata":{},"status":{"conditions":[{"lastTransitionTime":"2026-01-01T00:02:41Z","status":"False","type":"Ready"}]}}
        node-controller: event Warning NodeNotReady about five-minutes: Node is not ready
        node-controller: patch Pod demo/for-ever {"metadata":{},"status":{"conditions":[{"lastTransitionTime":"2026-01-01T00:02:41Z","status":"False","type":"Ready"}]}}
        node-controller: event Warning NodeNotReady about for-ever: Node is not ready
        node-controller: patch Pod demo/not-at-all {"metadata":{},"status":{"conditions":[{"lastTransitionTime":"2026-01-01T00:02:41Z","status":"False","type":"Ready"}]}}
        node-controller: event Warning NodeNotReady about not-at-all: Node is not ready
        taint-eviction-controller: patch Pod demo/not-at-all {"metadata":{},"status":{"conditions":[{"lastTransitionTime":"2026-01-01T00:02:41Z","status":"False","type":"Ready"},{"lastTransitionTime":"2026-01-01T00:02:41Z","message":"Taint manager: deleting due to NoExecute taint","reason":"DeletionByTaintManager","status":"True","type":"DisruptionTarget"}]}}
        taint-eviction-controller: delete Pod demo/not-at-all
        taint-eviction-controller: event Normal TaintManagerEviction about not-at-all: Marking for deletion Pod demo/not-at-all
    "#]].assert_eq(&pass(&mut world, 20, &["n2"]));
    expect!["node.kubernetes.io/unreachable:NoSchedule node.kubernetes.io/unreachable:NoExecute"]
        .assert_eq(&taints(&world, "n1"));
    assert_eq!(pass(&mut world, 270, &["n2"]), "");
    expect![[r#"
        taint-eviction-controller: patch Pod demo/five-minutes {"metadata":{},"status":{"conditions":[{"lastTransitionTime":"2026-01-01T00:02:41Z","status":"False","type":"Ready"},{"lastTransitionTime":"2026-01-01T00:07:41Z","message":"Taint manager: deleting due to NoExecute taint","reason":"DeletionByTaintManager","status":"True","type":"DisruptionTarget"}]}}
        taint-eviction-controller: delete Pod demo/five-minutes
        taint-eviction-controller: event Normal TaintManagerEviction about five-minutes: Marking for deletion Pod demo/five-minutes
    "#]].assert_eq(&pass(&mut world, 30, &["n2"]));
    assert_eq!(world.list(&POD, None).len(), 1);
    // It comes back.
    world.apply(lease(&world, "n1"));
    let now = world.now().to_time();
    world.change(&NODE, "", "n1", |node| {
        node["status"]["conditions"] = json!([{"type": "Ready", "status": "True", "lastHeartbeatTime": now}]);
    });
    world.settle();
    assert_eq!(taints(&world, "n1"), "");
}

#[test]
fn so_many_pods_of_a_lost_node_are_written_in_one_plan() {
    for (count, more) in [(PODS_PER_PLAN_MAX, false), (PODS_PER_PLAN_MAX + 1, true)] {
        let mut world = world(&["n1"]);
        for at in 0..count {
            world.apply(pod(&format!("p{at}"), "10.244.0.3", true));
        }
        world.change(&NODE, "", "n1", |node| node["status"]["conditions"][0]["status"] = json!("False"));
        let since = world.now();
        let plan = NodeLifecycle { since }.plan(&world, &Key::new(&NODE, "", "n1"), world.now());
        let pods =
            plan.writes.iter().filter(|write| matches!(write, Write::Patch { key, .. } if key.kind == *POD));
        assert_eq!(pods.count(), PODS_PER_PLAN_MAX);
        assert_eq!(plan.requeue_at == Some(world.now()), more, "{count} pods");
        world.tick(1);
        let ready = world.list(&POD, None).iter().filter(|pod| is_ready(pod)).count();
        assert_eq!(ready, 0, "{count} pods");
    }
}

#[test]
fn where_every_node_is_silent_no_pod_is_sent_away() {
    let mut world = world(&["n1", "n2"]);
    world.apply(pod("not-at-all", "10.244.0.3", true));
    pass(&mut world, 1200, &[]);
    assert_eq!(taints(&world, "n1"), "node.kubernetes.io/unreachable:NoSchedule");
    assert_eq!(world.list(&POD, None).len(), 1);
    // One that comes back proves that the others are lost.
    world.apply(lease(&world, "n2"));
    let now = world.now().to_time();
    world.change(&NODE, "", "n2", |node| {
        node["status"]["conditions"] = json!([{"type": "Ready", "status": "True", "lastHeartbeatTime": now}]);
    });
    pass(&mut world, 60, &["n2"]);
    assert_eq!(world.list(&POD, None).len(), 0);
}

#[test]
fn time_before_the_process_looked_does_not_count() {
    let mut world =
        World::new(vec![Box::new(NodeLifecycle { since: "2026-01-01T01:00:00Z".parse().expect("a time") })]);
    world.apply(node("n1"));
    world.tick(3600 + GRACE_SECONDS);
    assert_eq!(taints(&world, "n1"), "");
    world.tick(1);
    assert_eq!(taints(&world, "n1"), "node.kubernetes.io/unreachable:NoSchedule");
}

#[test]
fn taints_follow_what_a_node_says() {
    let mut world = world(&["n1"]);
    world.change(&NODE, "", "n1", |node| {
        node["spec"] = json!({"unschedulable": true, "taints": [{"key": "own", "effect": "NoExecute"}]});
        node["status"]["conditions"] = json!([
            {"type": "Ready", "status": "False", "lastHeartbeatTime": "2026-01-01T00:00:00Z"},
            {"type": "MemoryPressure", "status": "True"},
        ]);
    });
    world.settle();
    expect!["own:NoExecute node.kubernetes.io/not-ready:NoSchedule node.kubernetes.io/memory-pressure:NoSchedule node.kubernetes.io/unschedulable:NoSchedule"].assert_eq(&taints(&world, "n1"));
    let node = world.get(&NODE, "", "n1").expect("it is there");
    assert!(node["spec"]["taints"][0]["timeAdded"].is_string(), "a taint that is waited for has a time");
    world.change(&NODE, "", "n1", |node| {
        node["spec"]["unschedulable"] = Value::Null;
        node["status"]["conditions"] = json!([{"type": "Ready", "status": "True"}]);
    });
    world.settle();
    assert_eq!(taints(&world, "n1"), "own:NoExecute");
}

#[test]
fn pods_of_a_node_that_is_gone_go_after_a_while() {
    let mut world = world(&["n1"]);
    world.apply(pod("a", "10.244.0.3", true));
    world.delete(&NODE, "", "n1", None);
    assert_eq!(world.tick(QUARANTINE_SECONDS - 1), "");
    expect![[r#"
        pod-garbage-collector: patch Pod demo/a {"metadata":{},"status":{"conditions":[{"status":"True","type":"Ready"},{"lastTransitionTime":"2026-01-01T00:00:40Z","message":"PodGC: node no longer exists","reason":"DeletionByPodGC","status":"True","type":"DisruptionTarget"}],"phase":"Failed"}}
        pod-garbage-collector: delete Pod demo/a
        pod-garbage-collector: event Normal NodeGone about a: Node n1 is gone and did not come back
    "#]].assert_eq(&world.tick(1));
    world.apply(node("n1"));
    world.apply(pod("b", "10.244.0.3", true));
    world.settle();
    world.delete(&NODE, "", "n1", None);
    world.tick(10);
    world.apply(node("n1"));
    world.tick(QUARANTINE_SECONDS);
    assert_eq!(world.list(&POD, None).len(), 1, "a node that comes back keeps its pods");
}

#[test]
fn of_pods_that_have_ended_the_oldest_go() {
    let mut world = World::new(Vec::new());
    for at in 0..ENDED_PODS_MAX + 2 {
        let mut pod = bare("v1", "Pod", &format!("p{at:05}"));
        pod["status"] = json!({"phase": "Succeeded"});
        if at == 7 || at == 9 {
            pod["metadata"]["creationTimestamp"] = json!("2025-01-01T00:00:00Z");
        }
        world.apply(pod);
    }
    let plan = PodGarbage::default().plan(&world, &Key::new(&POD, "", ""), world.now());
    let names: Vec<String> = plan.writes.iter().map(|write| format!("{write:?}")).collect();
    assert_eq!(names.len(), 2);
    assert!(names[0].contains("p00007") && names[1].contains("p00009"));
}

fn can_run(name: &str, pods: &str) -> Value {
    let mut node = node(name);
    node["status"]["capacity"] = json!({"pods": pods});
    node
}

fn range(world: &World, name: &str) -> String {
    world.get(&NODE, "", name).expect("it is there")["spec"]["podCIDR"].as_str().unwrap_or("-").to_owned()
}

#[test]
fn each_node_gets_a_range_of_its_own() {
    let mut world = World::new(vec![Box::new(PodRanges)]);
    let mut given = node("given");
    given["spec"] = json!({"podCIDR": "10.128.1.0/24", "podCIDRs": ["10.128.1.0/24"]});
    let mut wide = node("wide");
    wide["spec"] = json!({"podCIDR": "10.128.2.0/23"});
    world.apply(given);
    world.apply(wide);
    for name in ["a", "b", "c"] {
        world.apply(node(name));
    }
    world.settle();
    assert_eq!(
        ["a", "b", "c"].map(|name| range(&world, name)),
        ["10.128.0.0/24", "10.128.4.0/24", "10.128.5.0/24"]
    );
    world.delete(&NODE, "", "b", None);
    world.apply(node("d"));
    world.settle();
    assert_eq!(range(&world, "d"), "10.128.4.0/24", "what is free is given again");
    assert!(world.get(&LEASE, "", "a").is_none());
}

#[test]
fn a_node_gets_an_address_for_each_pod_that_it_can_run() {
    let mut world = World::new(vec![Box::new(PodRanges)]);
    let expected = [
        ("few", "253", "10.128.0.0/24"),
        ("more", "254", "10.128.2.0/23"),
        ("many", "2k", "10.128.8.0/21"),
        ("least", "1", "10.128.1.0/24"),
        ("most", "1M", "10.129.0.0/16"),
        ("unreadable", "lots", "10.128.4.0/24"),
    ];
    for (name, pods, range_of_it) in expected {
        world.apply(can_run(name, pods));
        world.settle();
        assert_eq!(range(&world, name), range_of_it, "{name}");
    }
}

#[test]
fn a_node_waits_for_a_range_when_there_is_none() {
    let mut world = World::new(vec![Box::new(PodRanges)]);
    for at in 0..128 {
        world.apply(can_run(&format!("full{at:03}"), "65k"));
    }
    world.settle();
    assert_eq!(range(&world, "full127"), "10.255.0.0/16");
    world.apply(node("late"));
    let told = world.settle();
    assert!(told.contains("CIDRNotAvailable"), "{told}");
    assert_eq!(range(&world, "late"), "-");
    world.delete(&NODE, "", "full003", None);
    world.tick(31);
    assert_eq!(range(&world, "late"), "10.131.0.0/24");
}
