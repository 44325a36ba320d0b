//! Garbage collection: what goes with whom.

use expect_test::expect;
use serde_json::json;
use shoal_control::controllers::garbage::GarbageCollector;
use shoal_control::known::{DEPLOYMENT, POD, REPLICA_SET};
use shoal_control::plan::Propagation;
use shoal_control::world::World;

use crate::support::{object, owned, world};

/// A Deployment, its ReplicaSet, and two pods of it.
fn family() -> World {
    let mut world = world(GarbageCollector);
    world.apply(object("apps/v1", "Deployment", "web"));
    world.apply(owned(object("apps/v1", "ReplicaSet", "web-1"), &[("Deployment", "web", true)]));
    for name in ["web-1-a", "web-1-b"] {
        world.apply(owned(object("v1", "Pod", name), &[("ReplicaSet", "web-1", true)]));
    }
    assert_eq!(world.settle(), "", "nothing is garbage");
    world
}

#[test]
fn in_the_background_children_follow() {
    let mut world = family();
    world.delete(&DEPLOYMENT, "demo", "web", Some(Propagation::Background));
    expect![[r#"
        garbage-collector-controller: delete ReplicaSet demo/web-1 Background
        garbage-collector-controller: delete Pod demo/web-1-a Background
        garbage-collector-controller: delete Pod demo/web-1-b Background
    "#]]
    .assert_eq(&world.settle());
}

#[test]
fn in_the_foreground_children_go_first() {
    let mut world = family();
    world.delete(&DEPLOYMENT, "demo", "web", Some(Propagation::Foreground));
    expect![[r#"
        garbage-collector-controller: delete ReplicaSet demo/web-1 Foreground
        garbage-collector-controller: delete Pod demo/web-1-a Background
        garbage-collector-controller: delete Pod demo/web-1-b Background
        garbage-collector-controller: patch ReplicaSet demo/web-1 {"metadata":{"finalizers":[]}}
        garbage-collector-controller: patch Deployment demo/web {"metadata":{"finalizers":[]}}
    "#]]
    .assert_eq(&world.settle());
    assert_eq!(world.show(&DEPLOYMENT) + &world.show(&REPLICA_SET) + &world.show(&POD), "");
}

#[test]
fn an_orphan_stays_without_its_owner() {
    let mut world = family();
    world.delete(&REPLICA_SET, "demo", "web-1", Some(Propagation::Orphan));
    expect![[r#"
        garbage-collector-controller: patch Pod demo/web-1-a {"metadata":{"ownerReferences":[]}}
        garbage-collector-controller: patch Pod demo/web-1-b {"metadata":{"ownerReferences":[]}}
        garbage-collector-controller: patch ReplicaSet demo/web-1 {"metadata":{"finalizers":[]}}
    "#]]
    .assert_eq(&world.settle());
}

#[test]
fn what_holds_a_child_holds_its_foremost_parents() {
    let mut world = family();
    world.change(&POD, "demo", "web-1-a", |pod| pod["metadata"]["finalizers"] = json!(["example.com/hold"]));
    world.delete(&DEPLOYMENT, "demo", "web", Some(Propagation::Foreground));
    expect![[r#"
        garbage-collector-controller: delete ReplicaSet demo/web-1 Foreground
        garbage-collector-controller: delete Pod demo/web-1-a Background
        garbage-collector-controller: delete Pod demo/web-1-b Background
    "#]]
    .assert_eq(&world.settle());
    world.change(&POD, "demo", "web-1-a", |pod| pod["metadata"]["finalizers"] = json!([]));
    expect![[r#"
        garbage-collector-controller: patch ReplicaSet demo/web-1 {"metadata":{"finalizers":[]}}
        garbage-collector-controller: patch Deployment demo/web {"metadata":{"finalizers":[]}}
    "#]]
    .assert_eq(&world.settle());
}

#[test]
fn a_child_that_does_not_block_holds_nobody() {
    let mut world = world(GarbageCollector);
    world.apply(object("apps/v1", "ReplicaSet", "rs"));
    let mut pod = owned(object("v1", "Pod", "a"), &[("ReplicaSet", "rs", false)]);
    pod["metadata"]["finalizers"] = json!(["example.com/hold"]);
    world.apply(pod);
    world.settle();
    world.delete(&REPLICA_SET, "demo", "rs", Some(Propagation::Foreground));
    expect![[r#"
        garbage-collector-controller: delete Pod demo/a Background
        garbage-collector-controller: patch ReplicaSet demo/rs {"metadata":{"finalizers":[]}}
    "#]]
    .assert_eq(&world.settle());
}

#[test]
fn an_owner_that_never_was_is_no_owner() {
    let mut world = world(GarbageCollector);
    world.apply(object("apps/v1", "ReplicaSet", "rs"));
    // The right name with another identity; one of two owners; an owner of a kind that nobody knows.
    let mut other = owned(object("v1", "Pod", "other"), &[("ReplicaSet", "rs", true)]);
    other["metadata"]["ownerReferences"][0]["uid"] = json!("older");
    world.apply(other);
    world
        .apply(owned(object("v1", "Pod", "half"), &[("ReplicaSet", "rs", true), ("ReplicaSet", "no", true)]));
    world.apply(owned(object("v1", "Pod", "unknown"), &[("Widget", "w", true)]));
    expect![[r#"
        garbage-collector-controller: patch Pod demo/half {"metadata":{"ownerReferences":[{"apiVersion":"apps/v1","blockOwnerDeletion":true,"controller":true,"kind":"ReplicaSet","name":"rs","uid":"rs"}]}}
        garbage-collector-controller: delete Pod demo/other Background
    "#]].assert_eq(&world.settle());
    assert_eq!(world.tick(60), "", "a kind that comes back decides");
    world.add_resource("apps/v1", "Widget", "widgets", true);
    expect![[r#"
        garbage-collector-controller: delete Pod demo/unknown Background
    "#]]
    .assert_eq(&world.tick(60));
}

#[test]
fn owners_of_another_namespace_own_nothing() {
    let mut world = world(GarbageCollector);
    let mut owner = object("apps/v1", "ReplicaSet", "rs");
    owner["metadata"]["namespace"] = json!("elsewhere");
    world.apply(owner);
    world.apply(owned(object("v1", "Pod", "a"), &[("ReplicaSet", "rs", true)]));
    let mut node = owned(object("v1", "Node", "n"), &[("ReplicaSet", "rs", true)]);
    node["metadata"].as_object_mut().expect("an object").remove("namespace");
    world.apply(node);
    expect![[r#"
        garbage-collector-controller: event Warning OwnerRefInvalidNamespace about n: ownerRef [apps/v1/ReplicaSet, namespace: , name: rs, uid: rs] does not exist in namespace ""
        garbage-collector-controller: event Warning OwnerRefInvalidNamespace about a: ownerRef [apps/v1/ReplicaSet, namespace: demo, name: rs, uid: rs] does not exist in namespace "demo"
        garbage-collector-controller: delete Pod demo/a Background
    "#]].assert_eq(&world.settle());
}

#[test]
fn two_that_own_each_other_go_together() {
    let mut world = world(GarbageCollector);
    world.apply(owned(object("apps/v1", "ReplicaSet", "a"), &[("ReplicaSet", "b", true)]));
    world.apply(owned(object("apps/v1", "ReplicaSet", "b"), &[("ReplicaSet", "a", true)]));
    world.settle();
    world.delete(&REPLICA_SET, "demo", "a", Some(Propagation::Foreground));
    expect![[r#"
        garbage-collector-controller: patch ReplicaSet demo/b {"metadata":{"ownerReferences":[{"apiVersion":"apps/v1","blockOwnerDeletion":false,"controller":true,"kind":"ReplicaSet","name":"a","uid":"a"}]}}
        garbage-collector-controller: delete ReplicaSet demo/b Foreground
        garbage-collector-controller: patch ReplicaSet demo/a {"metadata":{"finalizers":[]}}
        garbage-collector-controller: patch ReplicaSet demo/b {"metadata":{"finalizers":[]}}
    "#]].assert_eq(&world.settle());
    assert_eq!(world.show(&REPLICA_SET), "");
}

#[test]
fn one_that_owns_itself_waits_for_nobody() {
    let mut world = world(GarbageCollector);
    world.apply(owned(object("apps/v1", "ReplicaSet", "a"), &[("ReplicaSet", "a", true)]));
    assert_eq!(world.settle(), "");
    world.delete(&REPLICA_SET, "demo", "a", Some(Propagation::Foreground));
    expect![[r#"
        garbage-collector-controller: patch ReplicaSet demo/a {"metadata":{"finalizers":[]}}
    "#]]
    .assert_eq(&world.settle());
}
