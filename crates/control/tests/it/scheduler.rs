//! The scheduler: where pods go, and why some go nowhere.

use expect_test::{Expect, expect};
use serde_json::{Value, json};
use shoal_api::object;
use shoal_api::time::Moment;
use shoal_control::controllers::scheduler::{PODS_PER_PLAN_MAX, REFUSALS_PER_PLAN_MAX, Scheduler};
use shoal_control::known::{NODE, POD};
use shoal_control::plan::{Controller, Interest, Key, Plan, Write};
use shoal_control::snapshot::Snapshot;
use shoal_control::world::World;

use crate::support::{namespace, object as bare};

fn node(name: &str, cpu: &str, more: Value) -> Value {
    let mut node = json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {"name": name, "uid": name, "labels": {"kubernetes.io/hostname": name}},
        "spec": {}, "status": {"allocatable": {"cpu": cpu, "memory": "4Gi", "pods": "10"}},
    });
    for (place, value) in more.as_object().into_iter().flatten() {
        match place.strip_prefix("label ") {
            Some(label) => node["metadata"]["labels"][label] = value.clone(),
            None => node["spec"][place] = value.clone(),
        }
    }
    node
}

fn pod(name: &str, cpu: &str, more: Value) -> Value {
    let mut pod = bare("v1", "Pod", name);
    pod["metadata"]["labels"] = json!({"app": "web"});
    pod["spec"] = json!({
        "containers": [{"name": "c", "resources": {"requests": {"cpu": cpu}}}], "schedulerName": "default-scheduler",
    });
    for (field, value) in more.as_object().into_iter().flatten() {
        pod["spec"][field] = value.clone();
    }
    pod["status"] = json!({"phase": "Pending"});
    pod
}

fn world(nodes: Vec<Value>) -> World {
    let mut world = World::new(vec![Box::<Scheduler>::default()]);
    world.apply(namespace("demo"));
    nodes.into_iter().for_each(|node| world.apply(node));
    world.settle();
    world
}

/// What becomes of pods on three nodes, the last of which is tainted.
fn check(pods: Vec<Value>, want: Expect) {
    let mut world = world(vec![
        node("n1", "2", json!({"label zone": "a", "label disk": "ssd"})),
        node("n2", "1", json!({"label zone": "b"})),
        node(
            "n3",
            "8",
            json!({"label zone": "b", "taints": [{"key": "gpu", "value": "yes", "effect": "NoSchedule"}]}),
        ),
    ]);
    let mut told = String::new();
    for pod in pods {
        world.apply(pod);
        told.push_str(&world.settle());
    }
    let lines = told.lines().filter(|line| !line.contains("patch Pod"));
    want.assert_eq(&lines.map(|line| line.replace("default-scheduler: ", "") + "\n").collect::<String>());
}

#[test]
fn a_pod_goes_where_most_is_left() {
    check(
        vec![pod("a", "100m", json!({})), pod("b", "100m", json!({})), pod("c", "1500m", json!({}))],
        expect![[r#"
            bind Pod demo/a to n1
            event Normal Scheduled about a: Successfully assigned demo/a to n1
            bind Pod demo/b to n2
            event Normal Scheduled about b: Successfully assigned demo/b to n2
            bind Pod demo/c to n1
            event Normal Scheduled about c: Successfully assigned demo/c to n1
        "#]],
    );
}

#[test]
fn what_fits_nowhere_learns_why() {
    check(
        vec![
            pod("big", "3", json!({})),
            pod("huge", "100", json!({"tolerations": [{"operator": "Exists"}]})),
            pod("ssd", "3", json!({"nodeSelector": {"disk": "ssd"}})),
            pod("never", "3", json!({"preemptionPolicy": "Never"})),
            pod("nowhere", "1m", json!({"nodeSelector": {"disk": "floppy"}})),
        ],
        expect![[r#"
            event Warning FailedScheduling about big: 0/3 nodes are available: 1 node(s) had untolerated taint {gpu: yes}, 2 Insufficient cpu. preemption: 0/3 nodes are available: 3 Preemption is not helpful for scheduling.
            event Warning FailedScheduling about huge: 0/3 nodes are available: 3 Insufficient cpu. preemption: 0/3 nodes are available: 3 Preemption is not helpful for scheduling.
            event Warning FailedScheduling about ssd: 0/3 nodes are available: 1 Insufficient cpu, 1 node(s) didn't match Pod's node affinity/selector, 1 node(s) had untolerated taint {gpu: yes}. preemption: 0/3 nodes are available: 3 Preemption is not helpful for scheduling.
            event Warning FailedScheduling about never: 0/3 nodes are available: 1 node(s) had untolerated taint {gpu: yes}, 2 Insufficient cpu. preemption: not eligible due to preemptionPolicy=Never.
            event Warning FailedScheduling about nowhere: 0/3 nodes are available: 1 node(s) had untolerated taint {gpu: yes}, 2 node(s) didn't match Pod's node affinity/selector. preemption: 0/3 nodes are available: 3 Preemption is not helpful for scheduling.
        "#]],
    );
}

#[test]
fn nodes_are_chosen_by_their_labels_and_taints() {
    let affinity = |operator: &str, values: Value| {
        json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
            {"matchExpressions": [{"key": "zone", "operator": operator, "values": values}]},
        ]}}}})
    };
    let wish = json!({"affinity": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [
        {"weight": 10, "preference": {"matchExpressions": [{"key": "zone", "operator": "In", "values": ["b"]}]}},
    ]}}});
    let by_name = json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {
        "nodeSelectorTerms": [{"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n2"]}]}],
    }}}});
    check(
        vec![
            pod("in-b", "1m", affinity("In", json!(["b"]))),
            pod("not-b", "1m", affinity("NotIn", json!(["b"]))),
            pod("wishes-b", "1m", wish),
            pod("by-name", "1m", by_name),
            pod("tolerates", "4", json!({"tolerations": [{"key": "gpu", "operator": "Exists"}]})),
            pod(
                "other-value",
                "4",
                json!({"tolerations": [{"key": "gpu", "operator": "Equal", "value": "no"}]}),
            ),
        ],
        expect![[r#"
            bind Pod demo/in-b to n2
            event Normal Scheduled about in-b: Successfully assigned demo/in-b to n2
            bind Pod demo/not-b to n1
            event Normal Scheduled about not-b: Successfully assigned demo/not-b to n1
            bind Pod demo/wishes-b to n2
            event Normal Scheduled about wishes-b: Successfully assigned demo/wishes-b to n2
            bind Pod demo/by-name to n2
            event Normal Scheduled about by-name: Successfully assigned demo/by-name to n2
            bind Pod demo/tolerates to n3
            event Normal Scheduled about tolerates: Successfully assigned demo/tolerates to n3
            event Warning FailedScheduling about other-value: 0/3 nodes are available: 1 node(s) had untolerated taint {gpu: yes}, 2 Insufficient cpu. preemption: 0/3 nodes are available: 3 Preemption is not helpful for scheduling.
        "#]],
    );
}

#[test]
fn a_port_of_a_node_is_taken_once() {
    let ports = |address: &str| json!({"containers": [{"name": "c", "ports": [{"containerPort": 80, "hostPort": 80, "hostIP": address}]}]});
    check(
        vec![pod("a", "", ports("")), pod("b", "", ports("127.0.0.1")), pod("c", "", ports("127.0.0.1"))],
        expect![[r#"
            bind Pod demo/a to n1
            event Normal Scheduled about a: Successfully assigned demo/a to n1
            bind Pod demo/b to n2
            event Normal Scheduled about b: Successfully assigned demo/b to n2
            event Warning FailedScheduling about c: 0/3 nodes are available: 1 node(s) had untolerated taint {gpu: yes}, 2 node(s) didn't have free ports for the requested pod ports. preemption: 0/3 nodes are available: 1 Preemption is not helpful for scheduling, 2 No preemption victims found for incoming pod.
        "#]],
    );
}

#[test]
fn pods_keep_together_apart_and_evenly_spread() {
    let term =
        |topology: &str| json!([{"labelSelector": {"matchLabels": {"app": "web"}}, "topologyKey": topology}]);
    let near = json!({"affinity": {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": term("zone")}}});
    let apart = json!({"affinity": {"podAntiAffinity": {
        "requiredDuringSchedulingIgnoredDuringExecution": term("kubernetes.io/hostname"),
    }}});
    check(
        vec![pod("first", "1m", near.clone()), pod("near", "1m", near.clone()), pod("also", "1m", near)],
        expect![[r#"
            bind Pod demo/first to n1
            event Normal Scheduled about first: Successfully assigned demo/first to n1
            bind Pod demo/near to n1
            event Normal Scheduled about near: Successfully assigned demo/near to n1
            bind Pod demo/also to n1
            event Normal Scheduled about also: Successfully assigned demo/also to n1
        "#]],
    );
    check(
        vec![
            pod("one", "1m", apart.clone()),
            pod("two", "1m", apart.clone()),
            pod("three", "1m", apart),
            pod("refused-by-others", "1m", json!({})),
        ],
        expect![[r#"
            bind Pod demo/one to n1
            event Normal Scheduled about one: Successfully assigned demo/one to n1
            bind Pod demo/two to n2
            event Normal Scheduled about two: Successfully assigned demo/two to n2
            event Warning FailedScheduling about three: 0/3 nodes are available: 1 node(s) had untolerated taint {gpu: yes}, 2 node(s) didn't match pod anti-affinity rules. preemption: 0/3 nodes are available: 1 Preemption is not helpful for scheduling, 2 No preemption victims found for incoming pod.
            event Warning FailedScheduling about refused-by-others: 0/3 nodes are available: 1 node(s) had untolerated taint {gpu: yes}, 2 node(s) didn't satisfy existing pods anti-affinity rules. preemption: 0/3 nodes are available: 1 Preemption is not helpful for scheduling, 2 No preemption victims found for incoming pod.
        "#]],
    );
    let spread = json!({"topologySpreadConstraints": [{
        "maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": {"matchLabels": {"app": "web"}},
    }], "tolerations": [{"operator": "Exists"}]});
    check(
        (0..6).map(|at| pod(&format!("p{at}"), "1m", spread.clone())).collect(),
        expect![[r#"
        bind Pod demo/p0 to n1
        event Normal Scheduled about p0: Successfully assigned demo/p0 to n1
        bind Pod demo/p1 to n2
        event Normal Scheduled about p1: Successfully assigned demo/p1 to n2
        bind Pod demo/p2 to n3
        event Normal Scheduled about p2: Successfully assigned demo/p2 to n3
        bind Pod demo/p3 to n1
        event Normal Scheduled about p3: Successfully assigned demo/p3 to n1
        bind Pod demo/p4 to n2
        event Normal Scheduled about p4: Successfully assigned demo/p4 to n2
        bind Pod demo/p5 to n3
        event Normal Scheduled about p5: Successfully assigned demo/p5 to n3
    "#]],
    );
}

#[test]
fn what_waits_goes_when_there_is_room() {
    let mut world = world(vec![node("n1", "1", json!({}))]);
    world.apply(pod("a", "800m", json!({})));
    world.settle();
    world.apply(pod("b", "800m", json!({})));
    world.settle();
    expect![[r#"[{"lastProbeTime":null,"lastTransitionTime":"2026-01-01T00:00:00Z","message":"0/1 nodes are available: 1 Insufficient cpu. preemption: 0/1 nodes are available: 1 No preemption victims found for incoming pod.","reason":"Unschedulable","status":"False","type":"PodScheduled"}]"#]].assert_eq(&shown(&world, "b"));
    world.delete(&POD, "demo", "a", None);
    expect![[r#"
        default-scheduler: bind Pod demo/b to n1
        default-scheduler: event Normal Scheduled about b: Successfully assigned demo/b to n1
    "#]]
    .assert_eq(&world.settle());
    world.apply(pod("c", "800m", json!({})));
    world.settle();
    world.apply(node("n2", "1", json!({})));
    expect![[r#"
        default-scheduler: bind Pod demo/c to n2
        default-scheduler: event Normal Scheduled about c: Successfully assigned demo/c to n2
    "#]]
    .assert_eq(&world.settle());
    world.change(&NODE, "", "n1", |node| node["spec"]["unschedulable"] = json!(true));
    world.apply(pod("d", "800m", json!({})));
    world.settle();
    expect![[r#"[{"lastProbeTime":null,"lastTransitionTime":"2026-01-01T00:00:00Z","message":"0/2 nodes are available: 1 Insufficient cpu, 1 node(s) were unschedulable. preemption: 0/2 nodes are available: 1 No preemption victims found for incoming pod, 1 Preemption is not helpful for scheduling.","reason":"Unschedulable","status":"False","type":"PodScheduled"}]"#]].assert_eq(&shown(&world, "d"));
}

fn shown(world: &World, name: &str) -> String {
    let pod = world.get(&POD, "demo", name).expect("it is there");
    pod["status"]["conditions"].to_string()
}

#[test]
fn urgent_pods_go_first_and_gated_and_foreign_ones_not_at_all() {
    let mut world = world(vec![node("n1", "1", json!({}))]);
    world.apply(pod("calm", "800m", json!({"priority": 0})));
    world.apply(pod("urgent", "800m", json!({"priority": 1000})));
    world.apply(pod("gated", "1m", json!({"schedulingGates": [{"name": "a/b"}], "priority": 9})));
    world.apply(pod("foreign", "1m", json!({"schedulerName": "other", "priority": 9})));
    world.settle();
    let bound: Vec<String> = (world.list(&POD, None).iter())
        .filter(|pod| pod["spec"]["nodeName"].is_string())
        .map(|pod| object::name(pod).to_owned())
        .collect();
    assert_eq!(bound, ["urgent"]);
}

#[test]
fn a_plan_places_so_many_pods_and_asks_for_another() {
    let nodes = 60;
    let mut world = world((0..nodes).map(|at| node(&format!("n{at}"), "100", json!({}))).collect());
    let pods = PODS_PER_PLAN_MAX + 3;
    (0..pods).for_each(|at| world.apply(pod(&format!("p{at}"), "1m", json!({}))));
    let scheduler = Scheduler::default();
    let key = Key::new(&POD, "", "");
    let plan = scheduler.plan(&world, &key, world.now());
    assert_eq!((plan.writes.len(), plan.requeue_at), (PODS_PER_PLAN_MAX, Some(world.now())));
    // What was planned and not carried out is planned again in the same way.
    assert_eq!(scheduler.plan(&world, &key, world.now()), plan);
    world.settle();
    let mut counts = std::collections::BTreeMap::new();
    for pod in world.list(&POD, None) {
        *counts.entry(pod["spec"]["nodeName"].to_string()).or_insert(0) += 1;
    }
    assert_eq!(counts.values().sum::<usize>(), pods);
    assert!(counts.values().all(|count| *count <= 10), "no node has more pods than it takes: {counts:?}");
    assert_eq!(counts.len(), nodes);
}

#[test]
fn a_plan_tells_so_many_pods_why_they_wait() {
    for (pods, again) in [(REFUSALS_PER_PLAN_MAX, false), (REFUSALS_PER_PLAN_MAX + 1, true)] {
        let mut world = world(Vec::new());
        (0..pods).for_each(|at| world.apply(pod(&format!("p{at}"), "1m", json!({}))));
        let plan = Scheduler::default().plan(&world, &Key::new(&POD, "", ""), world.now());
        assert_eq!((plan.writes.len(), plan.requeue_at.is_some()), (REFUSALS_PER_PLAN_MAX, again));
        world.tick(5);
        let told = world.list(&POD, None).iter().filter(|pod| pod["status"]["conditions"].is_array()).count();
        assert_eq!(told, pods);
        assert_eq!(world.tick(60), "", "what is known is not told again");
    }
}

#[test]
fn containers_and_init_containers_are_not_the_same() {
    // Together they ask for the same; but only containers run at the same time.
    let container = |name: &str| json!({"name": name, "resources": {"requests": {"cpu": "1"}}});
    let in_turn = json!({"containers": [container("a")], "initContainers": [container("b")]});
    let at_once = json!({"containers": [container("a"), container("b")]});
    let mut world = world(vec![node("n1", "2", json!({}))]);
    world.apply(pod("in-turn", "", in_turn));
    world.apply(pod("together", "", at_once));
    world.settle();
    let bound = |name: &str| world.get(&POD, "demo", name).expect("it is there")["spec"]["nodeName"].clone();
    assert_eq!((bound("in-turn"), bound("together")), (json!("n1"), Value::Null));
}

#[test]
fn pods_that_get_a_node_come_before_those_that_get_none() {
    let mut world = world(vec![node("n1", "1", json!({}))]);
    world.apply(pod("a-large", "2", json!({})));
    world.apply(pod("b-small", "100m", json!({})));
    let plan = Scheduler::default().plan(&world, &Key::new(&POD, "", ""), world.now());
    assert!(matches!(plan.writes.as_slice(), [Write::Bind { .. }, Write::Patch { .. }]), "{:?}", plan.writes);
    let told: Vec<(usize, &str)> = plan.told.iter().map(|(at, event)| (*at, event.reason)).collect();
    assert_eq!(told, [(0, "Scheduled"), (1, "FailedScheduling")]);
}

/// Binds a pod that is gone and one that is there, and labels a third.
struct Blunder;

impl Controller for Blunder {
    fn name(&self) -> &'static str {
        "blunder"
    }

    fn interests(&self) -> Vec<Interest> {
        vec![Interest::of(&NODE, |_, kind, node| vec![Key::of(kind, node)])]
    }

    fn plan(&self, world: &dyn Snapshot, _: &Key, _: Moment) -> Plan {
        let bind = |name: &str| Write::Bind {
            pod: Key::new(&POD, "demo", name),
            uid: name.into(),
            node: "n1".into(),
        };
        let other = world.get(&POD, "demo", "other").expect("it is there");
        let label = Write::patch_metadata(&POD, &other, json!({"labels": {"app": "other"}}));
        Plan { writes: vec![bind("gone"), bind("here"), label], ..Plan::default() }
    }
}

#[test]
fn a_pod_that_cannot_be_bound_holds_nothing_up() {
    let mut world = World::new(vec![Box::new(Blunder)]);
    world.apply(namespace("demo"));
    world.apply(pod("here", "1m", json!({})));
    world.apply(pod("other", "1m", json!({})));
    world.apply(node("n1", "1", json!({})));
    expect![[r#"
        blunder: bind Pod demo/gone to n1: Pod "gone" not found
        blunder: bind Pod demo/here to n1
        blunder: patch Pod demo/other {"metadata":{"labels":{"app":"other"}}}
    "#]]
    .assert_eq(&world.settle());
}
