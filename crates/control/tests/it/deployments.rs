//! Deployments and ReplicaSets: pods of one template after the other.

use expect_test::{Expect, expect};
use serde_json::{Value, json};
use shoal_api::{Status, object};
use shoal_control::controllers::deployment::Deployments;
use shoal_control::controllers::replica_set::{PODS_PER_PLAN_MAX, ReplicaSets};
use shoal_control::known::{DEPLOYMENT, POD, REPLICA_SET};
use shoal_control::plan::{Controller as _, Key};
use shoal_control::snapshot::Snapshot as _;
use shoal_control::world::World;

use crate::support::{namespace, object as bare};

const DEMO: &str = "demo";

fn web(replicas: i64, strategy: Value) -> Value {
    let mut web = bare("apps/v1", "Deployment", "web");
    web["spec"] = json!({
        "replicas": replicas, "selector": {"matchLabels": {"app": "web"}}, "strategy": strategy,
        "template": {
            "metadata": {"labels": {"app": "web"}},
            "spec": {"containers": [{"name": "c", "image": "web:1"}]},
        },
        "progressDeadlineSeconds": 600, "revisionHistoryLimit": 10,
    });
    web
}

fn rolling(surge: Value, unavailable: Value) -> Value {
    json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}})
}

fn world() -> World {
    let mut world = World::new(vec![Box::new(ReplicaSets), Box::new(Deployments)]);
    world.apply(namespace(DEMO));
    world
}

/// A world where a Deployment of `web:1` has all its pods, and they are ready.
fn settled(replicas: i64, strategy: Value) -> World {
    let mut world = world();
    world.apply(web(replicas, strategy));
    world.settle();
    ready(&mut world, "web:1", usize::MAX);
    world.settle();
    world
}

/// Pods of an image become ready, at most so many; controllers answer.
fn ready(world: &mut World, image: &str, most: usize) {
    let now = world.now().to_time();
    let waits =
        |pod: &Value| pod["spec"]["containers"][0]["image"] == image && pod["status"]["phase"] != "Running";
    let names: Vec<String> = (world.list(&POD, Some(DEMO)).iter())
        .filter(|pod| waits(pod))
        .map(|pod| object::name(pod).to_owned())
        .take(most)
        .collect();
    for name in names {
        world.change(&POD, DEMO, &name, |pod| {
            pod["spec"]["nodeName"] = json!("n1");
            pod["status"] = json!({
                "phase": "Running",
                "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": now}],
            });
        });
    }
}

fn set_image(world: &mut World, image: &str) {
    world.change(&DEPLOYMENT, DEMO, "web", |web| {
        web["spec"]["template"]["spec"]["containers"][0]["image"] = json!(image);
    });
}

/// The image, wanted and available pods and annotations of each set; the counts and conditions of the Deployment.
fn shown(world: &World) -> String {
    let mut lines: Vec<String> = (world.list(&REPLICA_SET, Some(DEMO)).iter())
        .map(|set| {
            let annotation = |key: &str| {
                object::annotation(set, &format!("deployment.kubernetes.io/{key}")).unwrap_or("-").to_owned()
            };
            format!(
                "{}: {} wanted, {} available, revision {} ({}), of {} at most {}\n",
                set["spec"]["template"]["spec"]["containers"][0]["image"].as_str().unwrap_or_default(),
                set["spec"]["replicas"],
                set["status"]["availableReplicas"],
                annotation("revision"),
                annotation("revision-history"),
                annotation("desired-replicas"),
                annotation("max-replicas"),
            )
        })
        .collect();
    lines.sort();
    lines.concat() + &status(world)
}

fn status(world: &World) -> String {
    let web = world.get(&DEPLOYMENT, DEMO, "web").expect("it is there");
    let mut status = web["status"].clone();
    let conditions = status["conditions"].take();
    let counts: Vec<String> = (status.as_object().into_iter().flatten())
        .filter(|(_, count)| !count.is_null())
        .map(|(field, count)| format!("{field} {count}"))
        .collect();
    let told = conditions.as_array().into_iter().flatten().map(|one| {
        format!("\n{} {} {} {}", one["type"], one["status"], one["reason"], one["message"]).replace('"', "")
    });
    format!("{}{}\n", counts.join(", "), told.collect::<String>())
}

/// Everything that events say, one in a line, names of pods and hashes left out.
fn events(story: &str) -> String {
    let told = story.lines().filter_map(|line| line.split_once(": event ").map(|(_, event)| event));
    let mut lines: Vec<String> = told.map(|event| short(event) + "\n").collect();
    lines.dedup();
    lines.concat()
}

fn short(line: &str) -> String {
    let word = |word: &str| {
        let hash = |part: &str| {
            part.len() >= 6 && part.bytes().all(|byte| b"bcdfghjklmnpqrstvwxz2456789".contains(&byte))
        };
        let parts = word.split('-').filter(|part| !hash(part.trim_end_matches([':', '"'])));
        parts.collect::<Vec<_>>().join("-")
    };
    line.split(' ').map(word).collect::<Vec<_>>().join(" ")
}

fn check(got: &str, want: Expect) {
    want.assert_eq(got);
}

#[test]
fn a_deployment_comes_up() {
    let mut world = world();
    world.apply(web(3, rolling(json!("25%"), json!("25%"))));
    let story = world.settle();
    check(
        &events(&story),
        expect![[r#"
            Normal ScalingReplicaSet about web: Scaled up replica set web from 0 to 3
            Normal SuccessfulCreate about web Created pod: web-8
            Normal SuccessfulCreate about web Created pod: web-10
            Normal SuccessfulCreate about web Created pod: web-12
        "#]],
    );
    check(
        &shown(&world),
        expect![[r#"
        web:1: 3 wanted, null available, revision 1 (-), of 3 at most 4
        observedGeneration 1, replicas 3, unavailableReplicas 3, updatedReplicas 3
        Available False MinimumReplicasUnavailable Deployment does not have minimum availability.
        Progressing True ReplicaSetUpdated ReplicaSet \web-cbf448f5\ is progressing.
    "#]],
    );
    ready(&mut world, "web:1", 2);
    world.settle();
    check(
        &status(&world),
        expect![[r#"
        availableReplicas 2, observedGeneration 1, readyReplicas 2, replicas 3, unavailableReplicas 1, updatedReplicas 3
        Available False MinimumReplicasUnavailable Deployment does not have minimum availability.
        Progressing True ReplicaSetUpdated ReplicaSet \web-cbf448f5\ is progressing.
    "#]],
    );
    ready(&mut world, "web:1", 9);
    world.settle();
    check(
        &status(&world),
        expect![[r#"
        availableReplicas 3, observedGeneration 1, readyReplicas 3, replicas 3, updatedReplicas 3
        Available True MinimumReplicasAvailable Deployment has minimum availability.
        Progressing True NewReplicaSetAvailable ReplicaSet \web-cbf448f5\ has successfully progressed.
    "#]],
    );
    let pod = world.list(&POD, Some(DEMO)).remove(0);
    let hash = object::label(&pod, "pod-template-hash").expect("pods have the hash of their template");
    let owner = object::owners(&pod).next().expect("pods have an owner");
    assert_eq!(owner["name"], format!("web-{hash}"));
    assert_eq!((&owner["controller"], &owner["blockOwnerDeletion"]), (&json!(true), &json!(true)));
    assert_eq!(world.settle(), "");
}

#[test]
fn a_rollout_goes_step_by_step_and_back_again() {
    let mut world = settled(4, rolling(json!(1), json!(1)));
    world.tick(10);
    set_image(&mut world, "web:2");
    let mut told = events(&world.settle());
    for _ in 0..8 {
        ready(&mut world, "web:2", 1);
        told.push_str(&events(&world.settle()));
    }
    check(
        &told,
        expect![[r#"
            Normal ScalingReplicaSet about web: Scaled up replica set web from 0 to 1
            Normal ScalingReplicaSet about web: Scaled down replica set web from 4 to 3
            Normal SuccessfulCreate about web Created pod: web-29
            Normal SuccessfulDelete about web Deleted pod: web-10
            Normal ScalingReplicaSet about web: Scaled up replica set web from 1 to 2
            Normal SuccessfulCreate about web Created pod: web-36
            Normal ScalingReplicaSet about web: Scaled down replica set web from 3 to 2
            Normal SuccessfulDelete about web Deleted pod: web-12
            Normal ScalingReplicaSet about web: Scaled up replica set web from 2 to 3
            Normal SuccessfulCreate about web Created pod: web-48
            Normal ScalingReplicaSet about web: Scaled down replica set web from 2 to 1
            Normal SuccessfulDelete about web Deleted pod: web-14
            Normal ScalingReplicaSet about web: Scaled up replica set web from 3 to 4
            Normal SuccessfulCreate about web Created pod: web-60
            Normal ScalingReplicaSet about web: Scaled down replica set web from 1 to 0
            Normal SuccessfulDelete about web Deleted pod: web-8
        "#]],
    );
    check(
        &shown(&world),
        expect![[r#"
        web:1: 0 wanted, null available, revision 1 (-), of 4 at most 5
        web:2: 4 wanted, 4 available, revision 2 (-), of 4 at most 5
        availableReplicas 4, observedGeneration 2, readyReplicas 4, replicas 4, updatedReplicas 4
        Available True MinimumReplicasAvailable Deployment has minimum availability.
        Progressing True NewReplicaSetAvailable ReplicaSet \web-5f7675f7b\ has successfully progressed.
    "#]],
    );
    // As `kubectl rollout undo`: the template is what it was.
    set_image(&mut world, "web:1");
    for _ in 0..8 {
        world.settle();
        ready(&mut world, "web:1", 4);
    }
    world.settle();
    check(
        &shown(&world),
        expect![[r#"
        web:1: 4 wanted, 4 available, revision 3 (1), of 4 at most 5
        web:2: 0 wanted, null available, revision 2 (-), of 4 at most 5
        availableReplicas 4, observedGeneration 3, readyReplicas 4, replicas 4, updatedReplicas 4
        Available True MinimumReplicasAvailable Deployment has minimum availability.
        Progressing True NewReplicaSetAvailable ReplicaSet \web-cbf448f5\ has successfully progressed.
    "#]],
    );
}

#[test]
fn enough_pods_are_available_at_any_time() {
    for (surge, unavailable) in [(0, 1), (1, 0), (2, 3), (0, 10), (10, 10)] {
        let mut world = settled(10, rolling(json!(surge), json!(unavailable)));
        set_image(&mut world, "web:2");
        let mut steps = 0;
        loop {
            world.settle();
            let pods = world.list(&POD, Some(DEMO));
            let available = pods.iter().filter(|pod| pod["status"]["phase"] == "Running").count();
            assert!(available >= 10 - unavailable.min(10), "{available} of {} in step {steps}", pods.len());
            assert!(pods.len() <= 10 + surge, "{} in step {steps}", pods.len());
            let new = |pod: &Value| pod["spec"]["containers"][0]["image"] == "web:2";
            if pods.len() == 10 && available == 10 && pods.iter().all(|pod| new(pod)) {
                break;
            }
            ready(&mut world, "web:2", 1);
            steps += 1;
            assert!(steps < 60, "it does not end");
        }
    }
}

#[test]
fn a_rollout_that_stands_still_is_told_of() {
    let mut world = world();
    world.apply(web(2, rolling(json!(1), json!(0))));
    world.settle();
    check(
        &status(&world),
        expect![[r#"
        observedGeneration 1, replicas 2, unavailableReplicas 2, updatedReplicas 2
        Available False MinimumReplicasUnavailable Deployment does not have minimum availability.
        Progressing True ReplicaSetUpdated ReplicaSet \web-cbf448f5\ is progressing.
    "#]],
    );
    world.tick(602);
    check(
        &status(&world),
        expect![[r#"
        observedGeneration 1, replicas 2, unavailableReplicas 2, updatedReplicas 2
        Available False MinimumReplicasUnavailable Deployment does not have minimum availability.
        Progressing False ProgressDeadlineExceeded ReplicaSet \web-cbf448f5\ has timed out progressing.
    "#]],
    );
    ready(&mut world, "web:1", 9);
    world.settle();
    check(
        &status(&world),
        expect![[r#"
        availableReplicas 2, observedGeneration 1, readyReplicas 2, replicas 2, updatedReplicas 2
        Available True MinimumReplicasAvailable Deployment has minimum availability.
        Progressing True NewReplicaSetAvailable ReplicaSet \web-cbf448f5\ has successfully progressed.
    "#]],
    );
}

#[test]
fn a_deadline_that_is_over_is_not_waited_for() {
    let mut world = settled(2, rolling(json!(1), json!(0)));
    world.tick(700);
    let pods = world.list(&POD, Some(DEMO));
    let name = object::name(&pods[0]).to_owned();
    world.change(&POD, DEMO, &name, |pod| pod["status"]["conditions"][0]["status"] = json!("False"));
    world.settle();
    assert!(status(&world).contains("unavailableReplicas 1"), "{}", status(&world));
    // Asked for a moment that has passed, whoever runs the plans would make this one again and again.
    let plan = Deployments.plan(&world, &Key::new(&DEPLOYMENT, DEMO, "web"), world.now());
    assert!(plan.requeue_at.is_none_or(|at| at > world.now()), "{:?}", plan.requeue_at);
}

#[test]
fn a_pause_holds_a_rollout_but_not_the_number() {
    let mut world = settled(4, rolling(json!(2), json!(0)));
    set_image(&mut world, "web:2");
    world.settle();
    world.change(&DEPLOYMENT, DEMO, "web", |web| web["spec"]["paused"] = json!(true));
    world.settle();
    ready(&mut world, "web:2", 9);
    world.settle();
    check(
        &shown(&world),
        expect![[r#"
        web:1: 4 wanted, 4 available, revision 1 (-), of 4 at most 6
        web:2: 2 wanted, 2 available, revision 2 (-), of 4 at most 6
        availableReplicas 6, observedGeneration 3, readyReplicas 6, replicas 6, updatedReplicas 2
        Available True MinimumReplicasAvailable Deployment has minimum availability.
        Progressing Unknown DeploymentPaused Deployment is paused
    "#]],
    );
    // Both sets grow by their share.
    world.change(&DEPLOYMENT, DEMO, "web", |web| web["spec"]["replicas"] = json!(10));
    check(
        &events(&world.settle()),
        expect![[r#"
            Normal ScalingReplicaSet about web: Scaled up replica set web from 4 to 8
            Normal ScalingReplicaSet about web: Scaled up replica set web from 2 to 4
            Normal SuccessfulCreate about web Created pod: web-44
            Normal SuccessfulCreate about web Created pod: web-46
            Normal SuccessfulCreate about web Created pod: web-49
            Normal SuccessfulCreate about web Created pod: web-51
            Normal SuccessfulCreate about web Created pod: web-53
            Normal SuccessfulCreate about web Created pod: web-55
        "#]],
    );
    check(
        &shown(&world),
        expect![[r#"
        web:1: 8 wanted, 4 available, revision 1 (-), of 10 at most 12
        web:2: 4 wanted, 2 available, revision 2 (-), of 10 at most 12
        availableReplicas 6, observedGeneration 4, readyReplicas 6, replicas 12, unavailableReplicas 6, updatedReplicas 4
        Progressing Unknown DeploymentPaused Deployment is paused
        Available False MinimumReplicasUnavailable Deployment does not have minimum availability.
    "#]],
    );
    world.change(&DEPLOYMENT, DEMO, "web", |web| web["spec"]["paused"] = json!(false));
    for _ in 0..8 {
        world.settle();
        ready(&mut world, "web:2", 9);
        ready(&mut world, "web:1", 9);
    }
    check(
        &shown(&world),
        expect![[r#"
        web:1: 0 wanted, null available, revision 1 (-), of 10 at most 12
        web:2: 10 wanted, 10 available, revision 2 (-), of 10 at most 12
        availableReplicas 10, observedGeneration 5, readyReplicas 10, replicas 10, updatedReplicas 10
        Available True MinimumReplicasAvailable Deployment has minimum availability.
        Progressing True NewReplicaSetAvailable ReplicaSet \web-5f7675f7b\ has successfully progressed.
    "#]],
    );
}

#[test]
fn recreate_waits_for_the_old_pods_to_go() {
    let mut world = settled(2, json!({"type": "Recreate"}));
    for pod in world.list(&POD, Some(DEMO)) {
        world.change(&POD, DEMO, object::name(&pod), |pod| {
            pod["metadata"]["finalizers"] = json!(["demo/hold"]);
        });
    }
    set_image(&mut world, "web:2");
    check(
        &events(&world.settle()),
        expect![[r#"
            Normal ScalingReplicaSet about web: Scaled down replica set web from 2 to 0
            Normal SuccessfulDelete about web Deleted pod: web-10
            Normal SuccessfulDelete about web Deleted pod: web-8
        "#]],
    );
    for pod in world.list(&POD, Some(DEMO)) {
        world.change(&POD, DEMO, object::name(&pod), |pod| {
            object::metadata_mut(pod).remove("finalizers");
        });
    }
    check(
        &events(&world.settle()),
        expect![[r#"
            Normal ScalingReplicaSet about web: Scaled up replica set web from 0 to 2
            Normal SuccessfulCreate about web Created pod: web-32
            Normal SuccessfulCreate about web Created pod: web-34
        "#]],
    );
}

#[test]
fn old_sets_beyond_the_limit_go() {
    let mut world = world();
    let mut deployment = web(1, rolling(json!(1), json!(1)));
    deployment["spec"]["revisionHistoryLimit"] = json!(2);
    world.apply(deployment);
    for image in 1..6 {
        set_image(&mut world, &format!("web:{image}"));
        for _ in 0..3 {
            world.settle();
            ready(&mut world, &format!("web:{image}"), 9);
        }
        world.tick(1);
    }
    check(
        &shown(&world),
        expect![[r#"
        web:3: 0 wanted, null available, revision 3 (-), of 1 at most 2
        web:4: 0 wanted, null available, revision 4 (-), of 1 at most 2
        web:5: 1 wanted, 1 available, revision 5 (-), of 1 at most 2
        availableReplicas 1, observedGeneration 5, readyReplicas 1, replicas 1, updatedReplicas 1
        Available True MinimumReplicasAvailable Deployment has minimum availability.
        Progressing True NewReplicaSetAvailable ReplicaSet \web-6db9f86fff\ has successfully progressed.
    "#]],
    );
}

#[test]
fn a_hash_that_is_taken_is_salted() {
    let mut first = world();
    first.apply(web(1, rolling(json!(1), json!(1))));
    first.settle();
    let taken = object::name(&first.list(&REPLICA_SET, Some(DEMO))[0]).to_owned();
    let mut world = world();
    let mut foreign = bare("apps/v1", "ReplicaSet", &taken);
    foreign["spec"] = json!({"replicas": 0, "selector": {"matchLabels": {"app": "other"}}, "template": {}});
    world.apply(foreign);
    world.apply(web(1, rolling(json!(1), json!(1))));
    world.tick(2);
    check(
        &status(&world),
        expect![[r#"
        collisionCount 1, observedGeneration 1, replicas 1, unavailableReplicas 1, updatedReplicas 1
        Available True MinimumReplicasAvailable Deployment has minimum availability.
        Progressing True ReplicaSetUpdated ReplicaSet \web-7788856b5d\ is progressing.
    "#]],
    );
    assert_eq!(world.list(&REPLICA_SET, Some(DEMO)).len(), 2);
    assert_eq!(world.list(&POD, Some(DEMO)).len(), 1);
}

#[test]
fn a_set_takes_what_it_selects_and_lets_go_what_it_does_not() {
    let mut world = world();
    let mut set = bare("apps/v1", "ReplicaSet", "rs");
    let template = json!({"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c"}]}});
    set["spec"] = json!({"replicas": 2, "selector": {"matchLabels": {"app": "web"}}, "template": template});
    let mut lonely = bare("v1", "Pod", "lonely");
    lonely["metadata"]["labels"] = json!({"app": "web"});
    world.apply(lonely);
    world.apply(set);
    check(
        &world.settle(),
        expect![[r#"
        replicaset-controller: patch Pod demo/lonely {"metadata":{"ownerReferences":[{"apiVersion":"apps/v1","blockOwnerDeletion":true,"controller":true,"kind":"ReplicaSet","name":"rs","uid":"rs"}]}}
        replicaset-controller: create Pod demo/rs-
        replicaset-controller: event Normal SuccessfulCreate about rs: Created pod: rs-8
        replicaset-controller: status ReplicaSet demo/rs
    "#]],
    );
    world.change(&POD, DEMO, "lonely", |pod| pod["metadata"]["labels"]["app"] = json!("debug"));
    check(
        &world.settle(),
        expect![[r#"
        replicaset-controller: patch Pod demo/lonely {"metadata":{"ownerReferences":[]}}
        replicaset-controller: create Pod demo/rs-
        replicaset-controller: event Normal SuccessfulCreate about rs: Created pod: rs-13
    "#]],
    );
    let lonely = world.get(&POD, DEMO, "lonely").expect("it is there");
    assert_eq!(object::owners(&lonely).count(), 0);
}

#[test]
fn the_least_useful_pods_go_first() {
    let mut world = world();
    let mut set = bare("apps/v1", "ReplicaSet", "rs");
    let template = json!({"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c"}]}});
    set["spec"] = json!({"replicas": 6, "selector": {"matchLabels": {"app": "web"}}, "template": template});
    let pod = |name: &str, node: Value, phase: &str, ready: bool, cost: &str| {
        let mut pod = bare("v1", "Pod", name);
        pod["metadata"]["labels"] = json!({"app": "web"});
        pod["metadata"]["annotations"] = json!({"controller.kubernetes.io/pod-deletion-cost": cost});
        pod["spec"] = json!({"nodeName": node});
        pod["status"] = json!({"phase": phase, "conditions": [{
            "type": "Ready", "status": if ready { "True" } else { "False" },
            "lastTransitionTime": "2025-12-31T00:00:00Z",
        }]});
        pod
    };
    for pod in [
        pod("unassigned", Value::Null, "Pending", false, "0"),
        pod("pending", json!("n1"), "Pending", false, "0"),
        pod("unready", json!("n1"), "Running", false, "0"),
        pod("cheap", json!("n2"), "Running", true, "-5"),
        pod("crowded", json!("n1"), "Running", true, "0"),
        pod("alone", json!("n3"), "Running", true, "0"),
    ] {
        world.apply(pod);
    }
    world.apply(set);
    world.settle();
    world.change(&REPLICA_SET, DEMO, "rs", |set| set["spec"]["replicas"] = json!(0));
    let story = world.settle();
    let gone: Vec<&str> =
        story.lines().filter_map(|line| Some(line.split_once("Deleted pod: ")?.1)).collect();
    assert_eq!(gone, ["unassigned", "pending", "unready", "cheap", "crowded", "alone"]);
}

#[test]
fn pods_count_as_available_after_a_while() {
    let mut world = world();
    let mut deployment = web(1, rolling(json!(1), json!(0)));
    deployment["spec"]["minReadySeconds"] = json!(5);
    world.apply(deployment);
    world.settle();
    ready(&mut world, "web:1", 1);
    world.settle();
    check(
        &status(&world),
        expect![[r#"
        observedGeneration 1, readyReplicas 1, replicas 1, unavailableReplicas 1, updatedReplicas 1
        Available False MinimumReplicasUnavailable Deployment does not have minimum availability.
        Progressing True ReplicaSetUpdated ReplicaSet \web-cbf448f5\ is progressing.
    "#]],
    );
    world.tick(4);
    assert!(!status(&world).starts_with("availableReplicas"));
    world.tick(1);
    check(
        &status(&world),
        expect![[r#"
        availableReplicas 1, observedGeneration 1, readyReplicas 1, replicas 1, updatedReplicas 1
        Available True MinimumReplicasAvailable Deployment has minimum availability.
        Progressing True NewReplicaSetAvailable ReplicaSet \web-cbf448f5\ has successfully progressed.
    "#]],
    );
}

#[test]
fn pods_that_cannot_be_made_are_told_of() {
    let mut world = world();
    world.refuse_to_create(
        &POD,
        Status::new(403, "Forbidden", "pods \"web-\" is forbidden: exceeded quota: q"),
    );
    world.apply(web(1, rolling(json!(1), json!(1))));
    let story = world.settle();
    check(
        &events(&story),
        expect![[r#"
            Normal ScalingReplicaSet about web: Scaled up replica set web from 0 to 1
            Warning FailedCreate about web Error creating: pods "web-" is forbidden: exceeded quota: q
        "#]],
    );
    check(
        &status(&world),
        expect![[r#"
        observedGeneration 1, unavailableReplicas 1
        Progressing True NewReplicaSetCreated Created new replica set \web-cbf448f5\
        Available True MinimumReplicasAvailable Deployment has minimum availability.
        ReplicaFailure True FailedCreate pods \web-\ is forbidden: exceeded quota: q
    "#]],
    );
    world.allow_all();
    world.tick(2);
    ready(&mut world, "web:1", 9);
    world.settle();
    check(
        &status(&world),
        expect![[r#"
        availableReplicas 1, observedGeneration 1, readyReplicas 1, replicas 1, updatedReplicas 1
        Available True MinimumReplicasAvailable Deployment has minimum availability.
        Progressing True NewReplicaSetAvailable ReplicaSet \web-cbf448f5\ has successfully progressed.
    "#]],
    );
}

#[test]
fn a_plan_makes_and_deletes_so_many_pods() {
    for replicas in [PODS_PER_PLAN_MAX, PODS_PER_PLAN_MAX + 1] {
        let mut world = world();
        let mut set = bare("apps/v1", "ReplicaSet", "rs");
        let template =
            json!({"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c"}]}});
        set["spec"] =
            json!({"replicas": replicas, "selector": {"matchLabels": {"app": "web"}}, "template": template});
        world.apply(set);
        let key = Key::new(&REPLICA_SET, DEMO, "rs");
        assert_eq!(ReplicaSets.plan(&world, &key, world.now()).writes.len(), PODS_PER_PLAN_MAX);
        world.settle();
        assert_eq!(world.list(&POD, Some(DEMO)).len(), replicas, "the next plan makes the rest");
        world.change(&REPLICA_SET, DEMO, "rs", |set| set["spec"]["replicas"] = json!(0));
        assert_eq!(ReplicaSets.plan(&world, &key, world.now()).writes.len(), PODS_PER_PLAN_MAX);
    }
}

/// The ReplicaSet of an image.
fn set_of(world: &World, image: &str) -> String {
    let of = |set: &Value| set["spec"]["template"]["spec"]["containers"][0]["image"] == image;
    let sets = world.list(&REPLICA_SET, Some(DEMO));
    object::name(sets.iter().find(|set| of(set)).expect("there is one")).to_owned()
}

/// What the Deployment does next with sets, in words.
fn next(world: &World) -> String {
    let key = Key::new(&DEPLOYMENT, DEMO, "web");
    let events = Deployments.plan(world, &key, world.now()).events;
    events.iter().map(|event| short(&event.message) + "\n").collect()
}

/// A set has seen what it should be, and counts so many pods as available.
fn seen(world: &mut World, set: &str, available: i64) {
    world.change(&REPLICA_SET, DEMO, set, |set| {
        set["status"]["observedGeneration"] = set["metadata"]["generation"].clone();
        set["status"]["availableReplicas"] = json!(available);
    });
}

fn resize(world: &mut World, set: &str, replicas: i64) {
    world.change(&REPLICA_SET, DEMO, set, |set| set["spec"]["replicas"] = json!(replicas));
}

#[test]
fn counts_from_before_a_set_was_resized_are_not_relied_on() {
    let mut world = settled(3, rolling(json!(1), json!(0)));
    set_image(&mut world, "web:2");
    world.settle();
    let (old, new) = (set_of(&world, "web:1"), set_of(&world, "web:2"));
    seen(&mut world, &new, 1);
    check(&next(&world), expect!["Scaled down replica set web from 3 to 2\n"]);
    // It was told to shrink, did, and was told to grow again before it had said so: one pod is there, not three.
    resize(&mut world, &old, 1);
    resize(&mut world, &old, 3);
    check(&next(&world), expect![""]);
    seen(&mut world, &old, 3);
    check(&next(&world), expect!["Scaled down replica set web from 3 to 2\n"]);
    // What it does not count may serve by now: it is not taken as broken.
    resize(&mut world, &old, 2);
    resize(&mut world, &new, 2);
    seen(&mut world, &new, 2);
    world.change(&REPLICA_SET, DEMO, &old, |set| set["status"]["availableReplicas"] = json!(0));
    check(&next(&world), expect![""]);
    seen(&mut world, &old, 0);
    check(&next(&world), expect!["Scaled down replica set web from 2 to 1\n"]);
    resize(&mut world, &old, 3);
    seen(&mut world, &old, 3);
    resize(&mut world, &new, 1);
    // Of more than the newest wants, because they could not be deleted, the excess replaces nothing.
    seen(&mut world, &new, 2);
    check(&next(&world), expect!["Scaled down replica set web from 3 to 2\n"]);
    // The same where the newest set has all its pods, as far as it can tell.
    resize(&mut world, &old, 1);
    seen(&mut world, &old, 1);
    resize(&mut world, &new, 3);
    world.change(&REPLICA_SET, DEMO, &new, |set| set["status"]["availableReplicas"] = json!(3));
    world.change(&DEPLOYMENT, DEMO, "web", |web| web["spec"]["paused"] = json!(true));
    check(&next(&world), expect![""]);
    seen(&mut world, &new, 3);
    check(&next(&world), expect!["Scaled down replica set web from 1 to 0\n"]);
}

#[test]
fn recreate_waits_until_the_old_set_knows_that_it_wants_nothing() {
    let mut world = World::new(vec![Box::new(Deployments)]);
    world.apply(namespace(DEMO));
    world.apply(web(2, json!({"type": "Recreate"})));
    world.settle();
    let old = set_of(&world, "web:1");
    set_image(&mut world, "web:2");
    check(
        &events(&world.settle()),
        expect![[r#"
            Normal ScalingReplicaSet about web: Scaled down replica set web from 2 to 0
        "#]],
    );
    seen(&mut world, &old, 0);
    check(
        &events(&world.settle()),
        expect![[r#"
            Normal ScalingReplicaSet about web: Scaled up replica set web from 0 to 2
        "#]],
    );
}
