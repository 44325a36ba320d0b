//! Jobs: pods that run to their end.

use std::sync::Arc;

use expect_test::expect;
use serde_json::{Value, json};
use shoal_api::{Status, object};
use shoal_control::controllers::job::{Jobs, UNCOUNTED_MAX};
use shoal_control::known::{JOB, POD};
use shoal_control::plan::{Controller as _, Key, Propagation};
use shoal_control::snapshot::Snapshot as _;
use shoal_control::world::World;

use crate::support::{namespace, object as bare};

/// Holds the pods of Jobs.
const TRACKING: &str = "batch.kubernetes.io/job-tracking";

/// The index of a pod of an indexed Job.
const INDEX: &str = "batch.kubernetes.io/job-completion-index";

fn world(spec: Value) -> World {
    with_job(World::new(vec![Box::new(Jobs)]), spec)
}

/// The same where pods run on a node, which lets them go in its own time.
fn world_with_a_node(spec: Value) -> World {
    let mut world = with_job(World::new(vec![Box::new(Jobs)]).with_grace(), spec);
    world.settle();
    for pod in world.list(&POD, None) {
        world.change(&POD, "demo", object::name(&pod), |pod| pod["spec"]["nodeName"] = json!("n1"));
    }
    world.settle();
    world
}

fn with_job(mut world: World, spec: Value) -> World {
    world.apply(namespace("demo"));
    let mut job = bare("batch/v1", "Job", "j");
    job["spec"] = json!({
        "parallelism": 1, "completions": 1, "backoffLimit": 6, "selector": {"matchLabels": {"job": "j"}},
        "template": {
            "metadata": {"labels": {"job": "j"}},
            "spec": {"containers": [{"name": "c", "image": "job:1"}], "restartPolicy": "Never"},
        },
    });
    for (field, value) in spec.as_object().into_iter().flatten() {
        job["spec"][field] = value.clone();
    }
    world.apply(job);
    world
}

/// The oldest pods that run come to their end.
fn end(world: &mut World, phase: &str, most: usize) {
    let runs = |pod: &Value| pod["status"]["phase"].is_null();
    let names: Vec<String> = (world.list(&POD, Some("demo")).iter())
        .filter(|pod| runs(pod))
        .map(|pod| object::name(pod).to_owned())
        .take(most)
        .collect();
    let now = world.now().to_time();
    for name in names {
        world.change(&POD, "demo", &name, |pod| {
            pod["status"] = json!({
                "phase": phase, "containerStatuses": [{"state": {"terminated": {"finishedAt": now}}}],
            });
        });
    }
}

fn running(world: &World) -> usize {
    world.list(&POD, Some("demo")).iter().filter(|pod| pod["status"]["phase"].is_null()).count()
}

/// The indexes of the pods that run and are not about to go.
fn indexes(world: &World) -> String {
    let runs =
        |pod: &&Arc<Value>| pod["status"]["phase"].is_null() && object::deletion_timestamp(pod).is_none();
    let pods = world.list(&POD, None);
    let mut indexes: Vec<String> = pods
        .iter()
        .filter(runs)
        .filter_map(|pod| object::annotation(pod, INDEX).map(str::to_owned))
        .collect();
    indexes.sort();
    indexes.join(" ")
}

fn status(world: &World) -> String {
    let job = world.get(&JOB, "demo", "j").expect("it is there");
    let mut status = job["status"].clone();
    let conditions = status["conditions"].take();
    let told = conditions.as_array().into_iter().flatten().map(|one| {
        format!("\n{} {} {} {}", one["type"], one["status"], one["reason"], one["message"]).replace('"', "")
    });
    format!("{status}{}\n", told.collect::<String>())
}

#[test]
fn a_job_runs_its_pods_to_their_end() {
    let mut world = world(json!({"completions": 3, "parallelism": 2}));
    expect![[r#"
        job-controller: status Job demo/j
        job-controller: create Pod demo/j-
        job-controller: event Normal SuccessfulCreate about j: Created pod: j-6
        job-controller: create Pod demo/j-
        job-controller: event Normal SuccessfulCreate about j: Created pod: j-8
        job-controller: status Job demo/j
    "#]]
    .assert_eq(&world.settle());
    expect![[r#"
        {"active":2,"conditions":null,"ready":0,"startTime":"2026-01-01T00:00:00Z","terminating":0,"uncountedTerminatedPods":{}}
    "#]].assert_eq(&status(&world));
    for left in [2, 1, 0] {
        end(&mut world, "Succeeded", 1);
        world.settle();
        assert_eq!(running(&world), left.min(2));
    }
    expect![[r#"
        {"completionTime":"2026-01-01T00:00:00Z","conditions":null,"ready":0,"startTime":"2026-01-01T00:00:00Z","succeeded":3,"terminating":0,"uncountedTerminatedPods":{}}
        SuccessCriteriaMet True CompletionsReached Reached expected number of succeeded pods
        Complete True CompletionsReached Reached expected number of succeeded pods
    "#]].assert_eq(&status(&world));
    assert!(world.list(&POD, None).iter().all(|pod| object::finalizers(pod).next().is_none()));
    assert_eq!(world.tick(3600), "");
}

#[test]
fn failures_wait_longer_and_longer_and_end_a_job() {
    let mut world = world(json!({"backoffLimit": 2}));
    world.settle();
    let mut waits = Vec::new();
    for _ in 0..2 {
        end(&mut world, "Failed", 1);
        world.settle();
        let mut seconds = 0;
        while running(&world) == 0 && seconds < 100 {
            world.tick(1);
            seconds += 1;
        }
        waits.push(seconds);
    }
    assert_eq!(waits, [10, 20]);
    end(&mut world, "Failed", 1);
    expect![[r#"
        job-controller: status Job demo/j
        job-controller: patch Pod demo/j-20 {"metadata":{"finalizers":[]}}
        job-controller: event Warning BackoffLimitExceeded about j: Job has reached the specified backoff limit
        job-controller: status Job demo/j
    "#]].assert_eq(&world.settle());
    expect![[r#"
        {"conditions":null,"failed":3,"ready":0,"startTime":"2026-01-01T00:00:00Z","terminating":0,"uncountedTerminatedPods":{}}
        FailureTarget True BackoffLimitExceeded Job has reached the specified backoff limit
        Failed True BackoffLimitExceeded Job has reached the specified backoff limit
    "#]].assert_eq(&status(&world));
}

#[test]
fn a_job_has_a_deadline_and_goes_when_it_is_old() {
    let mut world = world(json!({"activeDeadlineSeconds": 30, "ttlSecondsAfterFinished": 60}));
    world.settle();
    expect![[r#"
        job-controller: status Job demo/j
        job-controller: delete Pod demo/j-6
        job-controller: event Normal SuccessfulDelete about j: Deleted pod: j-6
        job-controller: status Job demo/j
        job-controller: patch Pod demo/j-6 {"metadata":{"finalizers":[]}}
        job-controller: event Warning DeadlineExceeded about j: Job was active longer than specified deadline
        job-controller: status Job demo/j
    "#]]
    .assert_eq(&world.tick(30));
    for pod in world.list(&POD, None) {
        world.change(&POD, "demo", object::name(&pod), |pod| pod["status"] = json!({"phase": "Failed"}));
    }
    world.settle();
    expect![[r#"
        {"conditions":null,"failed":1,"ready":0,"startTime":"2026-01-01T00:00:00Z","terminating":0,"uncountedTerminatedPods":{}}
        FailureTarget True DeadlineExceeded Job was active longer than specified deadline
        Failed True DeadlineExceeded Job was active longer than specified deadline
    "#]].assert_eq(&status(&world));
    assert!(world.tick(59).is_empty());
    expect![[r#"
        job-controller: delete Job demo/j Foreground
    "#]]
    .assert_eq(&world.tick(2));
}

#[test]
fn a_job_is_suspended_and_goes_on() {
    let mut world = world(json!({"suspend": true}));
    world.settle();
    assert_eq!(world.list(&POD, None).len(), 0);
    expect![[r#"
        {"conditions":null,"ready":0,"terminating":0,"uncountedTerminatedPods":{}}
        Suspended True JobSuspended Job suspended
    "#]]
    .assert_eq(&status(&world));
    world.change(&JOB, "demo", "j", |job| job["spec"]["suspend"] = json!(false));
    world.settle();
    assert_eq!(running(&world), 1);
    end(&mut world, "Succeeded", 1);
    world.settle();
    expect![[r#"
        {"completionTime":"2026-01-01T00:00:00Z","conditions":null,"ready":0,"startTime":"2026-01-01T00:00:00Z","succeeded":1,"terminating":0,"uncountedTerminatedPods":{}}
        Suspended False JobResumed Job resumed
        SuccessCriteriaMet True CompletionsReached Reached expected number of succeeded pods
        Complete True CompletionsReached Reached expected number of succeeded pods
    "#]].assert_eq(&status(&world));
}

#[test]
fn an_indexed_job_has_a_pod_for_each_index() {
    let mut world = world(json!({"completionMode": "Indexed", "completions": 5, "parallelism": 3}));
    world.settle();
    assert_eq!(indexes(&world), "0 1 2");
    end(&mut world, "Succeeded", 2);
    world.settle();
    assert_eq!(indexes(&world), "2 3 4");
    end(&mut world, "Succeeded", 9);
    world.settle();
    expect![[r#"
        {"completedIndexes":"0-4","completionTime":"2026-01-01T00:00:00Z","conditions":null,"ready":0,"startTime":"2026-01-01T00:00:00Z","succeeded":5,"terminating":0,"uncountedTerminatedPods":{}}
        SuccessCriteriaMet True CompletionsReached Reached expected number of succeeded pods
        Complete True CompletionsReached Reached expected number of succeeded pods
    "#]].assert_eq(&status(&world));
}

#[test]
fn an_indexed_job_shrinks_and_grows() {
    let mut world =
        world_with_a_node(json!({"completionMode": "Indexed", "completions": 6, "parallelism": 6}));
    let resize = |world: &mut World, count: usize| {
        world.change(&JOB, "demo", "j", |job| {
            job["spec"]["completions"] = json!(count);
            job["spec"]["parallelism"] = json!(count);
        });
        world.settle();
        world.get(&JOB, "demo", "j").expect("it is there")["status"].clone()
    };
    let succeed = |world: &mut World, wanted: &[&str]| {
        for pod in world.list(&POD, None) {
            if wanted.contains(&object::annotation(&pod, INDEX).expect("it has an index")) {
                world.change(&POD, "demo", object::name(&pod), |pod| {
                    pod["status"]["phase"] = json!("Succeeded");
                });
            }
        }
        world.settle();
    };
    succeed(&mut world, &["1", "4", "5"]);
    assert_eq!(indexes(&world), "0 2 3");
    let status = resize(&mut world, 3);
    assert_eq!((&status["completedIndexes"], &status["succeeded"]), (&json!("1"), &json!(1)));
    assert_eq!(indexes(&world), "0 2", "what has no place goes, and nothing else");
    assert!(status["failed"].is_null(), "{status}");
    let status = resize(&mut world, 5);
    assert_eq!(status["completedIndexes"], "1");
    assert_eq!(indexes(&world), "0 2 3 4", "what is wanted again is done again");
    let status = resize(&mut world, 2);
    assert_eq!(indexes(&world), "0");
    assert!(status["completionTime"].is_null(), "{status}");
    succeed(&mut world, &["0"]);
    let job = world.get(&JOB, "demo", "j").expect("it is there");
    assert_eq!(job["status"]["completedIndexes"], "0,1");
}

#[test]
fn of_too_many_pods_those_go_first_that_have_come_the_least_far() {
    let mut world = world(json!({"completions": 9, "parallelism": 4}));
    world.settle();
    let pods: Vec<String> = world.list(&POD, None).iter().map(|pod| object::name(pod).to_owned()).collect();
    // The first has no node yet, the second is not ready.
    for (at, ready) in [(1, "False"), (2, "True"), (3, "True")] {
        world.change(&POD, "demo", &pods[at], |pod| {
            pod["spec"]["nodeName"] = json!("n1");
            pod["status"] = json!({"phase": "Running", "conditions": [{"type": "Ready", "status": ready}]});
        });
    }
    world.settle();
    world.change(&JOB, "demo", "j", |job| job["spec"]["parallelism"] = json!(2));
    world.settle();
    let left: Vec<String> = world.list(&POD, None).iter().map(|pod| object::name(pod).to_owned()).collect();
    assert_eq!(left, pods[2..]);
}

#[test]
fn without_a_count_one_success_is_enough() {
    let mut world = world(json!({"completions": null, "parallelism": 3}));
    world.settle();
    assert_eq!(running(&world), 3);
    end(&mut world, "Succeeded", 1);
    world.settle();
    assert_eq!(running(&world), 2, "those that run come to their end");
    assert!(!status(&world).contains("Complete"));
    end(&mut world, "Succeeded", 2);
    world.settle();
    assert!(status(&world).contains("Complete True"));
}

#[test]
fn a_job_whose_pods_cannot_be_made_says_so() {
    let mut world = world(json!({}));
    world.refuse_to_create(&POD, Status::new(403, "Forbidden", "pods is forbidden: exceeded quota"));
    assert!(
        world
            .settle()
            .contains("Warning FailedCreate about j: Error creating: pods is forbidden: exceeded quota")
    );
    world.allow_all();
    world.tick(2);
    assert_eq!(running(&world), 1);
}

#[test]
fn an_end_is_counted_once_wherever_the_work_is_broken_off() {
    let key = Key::new(&JOB, "demo", "j");
    for (phase, more) in
        [("Succeeded", json!({})), ("Failed", json!({})), ("Succeeded", json!({"completionMode": "Indexed"}))]
    {
        for done in 0..4 {
            let mut spec = json!({"completions": 3, "parallelism": 3});
            spec.as_object_mut().expect("a spec").extend(more.as_object().cloned().expect("fields"));
            let mut world = world(spec);
            world.settle();
            end(&mut world, phase, 1);
            // The first writes of the plan are done, and nobody learns of it.
            for write in Jobs.plan(&world, &key, world.now()).writes.into_iter().take(done) {
                world.write(write).expect("it is written");
            }
            world.settle();
            let job = world.get(&JOB, "demo", "j").expect("it is there");
            assert_eq!(job["status"][phase.to_lowercase()], 1, "{phase} after {done} writes: {job}");
            assert_eq!(job["status"]["uncountedTerminatedPods"], json!({}));
            assert_eq!(running(&world), 2, "a pod that failed is made anew later: {phase}");
        }
    }
}

#[test]
fn an_end_stands_in_the_status_until_its_pod_is_let_go() {
    let mut world = world(json!({"completions": 3, "parallelism": 2}));
    world.settle();
    end(&mut world, "Succeeded", 1);
    end(&mut world, "Failed", 1);
    expect![[r#"
        job-controller: status Job demo/j
        job-controller: patch Pod demo/j-6 {"metadata":{"finalizers":[]}}
        job-controller: patch Pod demo/j-8 {"metadata":{"finalizers":[]}}
        job-controller: status Job demo/j
    "#]]
    .assert_eq(&world.settle());
}

#[test]
fn so_many_ends_stand_in_a_status_at_once() {
    let all = UNCOUNTED_MAX + 1;
    let mut world = world(json!({"completions": all, "parallelism": all}));
    world.settle();
    end(&mut world, "Succeeded", all);
    let plan = Jobs.plan(&world, &Key::new(&JOB, "demo", "j"), world.now());
    assert_eq!(plan.writes.len(), 1 + UNCOUNTED_MAX, "a status, and the pods that it names");
    world.settle();
    assert!(status(&world).contains("Complete True"));
    let job = world.get(&JOB, "demo", "j").expect("it is there");
    assert_eq!(job["status"]["succeeded"], all);
}

#[test]
fn so_many_pods_are_let_go_at_once() {
    for (count, first) in [(UNCOUNTED_MAX, UNCOUNTED_MAX), (UNCOUNTED_MAX + 1, UNCOUNTED_MAX)] {
        let mut world = world(json!({"completions": count, "parallelism": count}));
        world.settle();
        world.delete(&JOB, "demo", "j", Some(Propagation::Foreground));
        let plan = Jobs.plan(&world, &Key::new(&JOB, "demo", "j"), world.now());
        assert_eq!(plan.writes.len(), first);
        world.settle();
        let pods = world.list(&POD, None);
        assert_eq!(pods.len(), count);
        assert!(pods.iter().all(|pod| object::finalizers(pod).next().is_none()), "all are, in the end");
    }
}

#[test]
fn what_a_job_takes_away_itself_has_not_failed() {
    for change in [json!({"parallelism": 1}), json!({"suspend": true})] {
        let mut world = world_with_a_node(json!({"completions": 5, "parallelism": 3, "backoffLimit": 0}));
        let left = if change["suspend"] == true { 0 } else { 1 };
        world.change(&JOB, "demo", "j", |job| {
            for (field, value) in change.as_object().into_iter().flatten() {
                job["spec"][field] = value.clone();
            }
        });
        world.settle();
        let job = world.get(&JOB, "demo", "j").expect("it is there");
        let going =
            world.list(&POD, None).iter().filter(|pod| object::deletion_timestamp(pod).is_some()).count();
        assert_eq!((going, running(&world)), (3 - left, 3), "{change}");
        assert!(job["status"]["failed"].is_null(), "{change}: {}", job["status"]);
        // What the node says of them at the end does not count either.
        for pod in world.list(&POD, None).iter().filter(|pod| object::deletion_timestamp(pod).is_some()) {
            world.change(&POD, "demo", object::name(pod), |pod| pod["status"]["phase"] = json!("Failed"));
        }
        world.settle();
        let job = world.get(&JOB, "demo", "j").expect("it is there");
        assert!(job["status"]["failed"].is_null(), "{change}: {}", job["status"]);
        assert_eq!((world.list(&POD, None).len(), running(&world)), (left, left), "{change}");
    }
}

#[test]
fn a_pod_that_is_being_deleted_is_replaced_at_once_unless_the_job_waits_for_its_end() {
    for (policy, waits) in [
        (json!({}), false),
        (json!({"podReplacementPolicy": "TerminatingOrFailed"}), false),
        (json!({"podReplacementPolicy": "Failed"}), true),
    ] {
        // The node is dead, and nothing that it has ends.
        let mut world = world_with_a_node(policy.clone());
        let first = object::name(&world.list(&POD, None)[0]).to_owned();
        world.delete(&POD, "demo", &first, None);
        world.settle();
        let active = |world: &World| {
            world.list(&POD, None).iter().filter(|pod| object::deletion_timestamp(pod).is_none()).count()
        };
        assert_eq!(active(&world), usize::from(!waits), "{policy}");
        let job = world.get(&JOB, "demo", "j").expect("it is there");
        assert_eq!(job["status"]["failed"].as_i64().unwrap_or(0), i64::from(!waits), "{policy}");
        assert_eq!(job["status"]["terminating"], 1, "{policy}");
        if waits {
            end(&mut world, "Failed", 1);
            world.tick(10);
            assert_eq!(active(&world), 1, "{policy}");
        }
    }
}

#[test]
fn what_is_decided_about_a_job_stays() {
    // The restarts that decide are gone with the pods; the deadline that decides can be moved.
    let restarts = json!({"backoffLimit": 3, "template": {
        "metadata": {"labels": {"job": "j"}},
        "spec": {"containers": [{"name": "c", "image": "job:1"}], "restartPolicy": "OnFailure"},
    }});
    for (spec, reason) in
        [(restarts, "BackoffLimitExceeded"), (json!({"activeDeadlineSeconds": 30}), "DeadlineExceeded")]
    {
        let mut world = world_with_a_node(spec);
        let pod = object::name(&world.list(&POD, None)[0]).to_owned();
        world.change(&POD, "demo", &pod, |pod| {
            pod["status"]["containerStatuses"] = json!([{"restartCount": 3}]);
        });
        world.tick(30);
        assert!(status(&world).contains(&format!("FailureTarget True {reason}")), "{}", status(&world));
        assert!(!status(&world).contains("\nFailed True"), "its pod runs still: {}", status(&world));
        world.change(&JOB, "demo", "j", |job| {
            job["spec"]["activeDeadlineSeconds"] = json!(1000);
            job["spec"]["backoffLimit"] = json!(1000);
        });
        world.tick(60);
        assert_eq!(world.list(&POD, None).len(), 1, "nothing new begins");
        end(&mut world, "Failed", 1);
        world.settle();
        assert!(status(&world).contains(&format!("\nFailed True {reason}")), "{}", status(&world));
        let job = world.get(&JOB, "demo", "j").expect("it is there");
        assert_eq!(job["status"]["failed"], 1);
    }
}

/// The finalizers of each pod, by its name.
fn held(world: &World) -> Vec<String> {
    let line =
        |pod: &Value| format!("{} {:?}", object::name(pod), object::finalizers(pod).collect::<Vec<_>>());
    world.list(&POD, None).iter().map(|pod| line(pod)).collect()
}

#[test]
fn pods_of_a_job_that_is_gone_are_let_go() {
    for anew in [false, true] {
        let mut world = world_with_a_node(json!({"completions": 2, "parallelism": 2}));
        let mut again = Value::clone(&world.get(&JOB, "demo", "j").expect("it is there"));
        assert_eq!(held(&world).len(), 2);
        world.delete(&JOB, "demo", "j", Some(Propagation::Background));
        if anew {
            // One of the same name is not theirs.
            again["metadata"] = json!({"name": "j", "namespace": "demo"});
            again["spec"]["parallelism"] = json!(0);
            again["status"] = json!({});
            world.apply(again);
        }
        let told = world.settle();
        assert_eq!(told.matches(r#"{"metadata":{"finalizers":[]}}"#).count(), 2, "{told}");
        // What runs stays until somebody deletes it, and goes when its node lets it.
        assert_eq!(running(&world), 2);
        for pod in world.list(&POD, None) {
            world.delete(&POD, "demo", object::name(&pod), None);
        }
        end(&mut world, "Failed", 2);
        assert_eq!(held(&world), Vec::<String>::new());
        assert_eq!(world.settle().matches("job-controller").count(), 0);
    }
}

#[test]
fn a_pod_that_no_job_manages_any_more_is_let_go() {
    for (deleted, labels) in [(false, json!({})), (true, json!({"job": "j"}))] {
        let mut world = world_with_a_node(json!({}));
        let name = object::name(&world.list(&POD, None)[0]).to_owned();
        if deleted {
            world.delete(&POD, "demo", &name, None);
        }
        world.change(&POD, "demo", &name, |pod| {
            pod["metadata"]["ownerReferences"] = Value::Null;
            pod["metadata"]["labels"] = labels.clone();
        });
        world.settle();
        let pod = world.get(&POD, "demo", &name).expect("it runs");
        assert_eq!(object::finalizers(&pod).next(), None, "deleted: {deleted}");
    }
}

#[test]
fn what_something_else_manages_is_not_let_go() {
    let mut world = world(json!({"parallelism": 0}));
    let mut pod = bare("v1", "Pod", "other");
    pod["metadata"]["finalizers"] = json!([TRACKING]);
    pod["metadata"]["ownerReferences"] =
        json!([{"apiVersion": "example.org/v1", "kind": "Job", "name": "j", "uid": "x", "controller": true}]);
    world.apply(pod);
    world.settle();
    assert_eq!(held(&world), [format!("other [{TRACKING:?}]")]);
}

#[test]
fn a_job_holds_what_it_takes_and_no_longer_what_it_lets_go() {
    let mut world = world(json!({"completions": 2, "parallelism": 1}));
    let mut free = bare("v1", "Pod", "free");
    free["metadata"]["labels"] = json!({"job": "j"});
    free["metadata"]["finalizers"] = json!(["example.org/own"]);
    world.apply(free);
    world.settle();
    assert_eq!(held(&world), [format!(r#"free ["example.org/own", {TRACKING:?}]"#)], "it is one of its pods");
    end(&mut world, "Succeeded", 1);
    world.settle();
    let job = world.get(&JOB, "demo", "j").expect("it is there");
    assert_eq!(job["status"]["succeeded"], 1, "its end counts");
    let next = object::name(&world.list(&POD, None)[1]).to_owned();
    world.change(&POD, "demo", &next, |pod| pod["metadata"]["labels"] = json!({}));
    world.settle();
    let pod = world.get(&POD, "demo", &next).expect("it runs");
    assert_eq!((object::finalizers(&pod).next(), object::owners(&pod).next()), (None, None));
}
