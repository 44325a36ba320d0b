//! PodDisruptionBudgets: how many pods may go.

use expect_test::expect;
use serde_json::{Value, json};
use shoal_control::controllers::disruption::Disruption;
use shoal_control::known::{POD, POD_DISRUPTION_BUDGET, REPLICA_SET};
use shoal_control::world::World;

use crate::support::{object, owned, pod, world};

fn budget(spec: Value) -> Value {
    let mut budget = object("policy/v1", "PodDisruptionBudget", "pdb");
    budget["metadata"]["generation"] = json!(1);
    budget["spec"] = spec;
    budget["spec"]["selector"] = json!({"matchLabels": {"app": "web"}});
    budget
}

/// A ReplicaSet that wants four, and as many pods of which one is not ready.
fn four() -> World {
    let mut world = world(Disruption);
    let mut set = object("apps/v1", "ReplicaSet", "rs");
    set["spec"] = json!({"replicas": 4});
    world.apply(set);
    for (number, ready) in [true, true, true, false].into_iter().enumerate() {
        let pod = pod(&format!("p{number}"), &format!("10.1.0.{number}"), ready);
        world.apply(owned(pod, &[("ReplicaSet", "rs", true)]));
    }
    world
}

fn status(world: &World) -> Value {
    let budget: Value = serde_json::from_str(world.show(&POD_DISRUPTION_BUDGET).trim()).expect("one budget");
    budget["status"].clone()
}

fn counts(status: &Value) -> String {
    let number = |field: &str| status[field].to_string();
    format!(
        "expected {} desired {} healthy {} allowed {} {} {}",
        number("expectedPods"),
        number("desiredHealthy"),
        number("currentHealthy"),
        number("disruptionsAllowed"),
        status["conditions"][0]["reason"],
        status["conditions"][0]["message"]
    )
}

#[test]
fn budgets_are_counted_in_each_of_their_ways() {
    let told: String = [
        json!({"minAvailable": 2}),
        json!({"minAvailable": 3}),
        json!({"minAvailable": "50%"}),
        json!({"maxUnavailable": 1}),
        json!({"maxUnavailable": "50%"}),
        json!({"maxUnavailable": 9}),
        json!({"maxUnavailable": "x"}),
    ]
    .into_iter()
    .map(|spec| {
        let mut world = four();
        world.apply(budget(spec.clone()));
        world.settle();
        let mut shown = spec;
        shown.as_object_mut().expect("an object").remove("selector");
        format!("{shown}: {}\n", counts(&status(&world)))
    })
    .collect();
    expect![[r#"
        {"minAvailable":2}: expected 4 desired 2 healthy 3 allowed 1 "SufficientPods" ""
        {"minAvailable":3}: expected 4 desired 3 healthy 3 allowed 0 "InsufficientPods" ""
        {"minAvailable":"50%"}: expected 4 desired 2 healthy 3 allowed 1 "SufficientPods" ""
        {"maxUnavailable":1}: expected 4 desired 3 healthy 3 allowed 0 "InsufficientPods" ""
        {"maxUnavailable":"50%"}: expected 4 desired 2 healthy 3 allowed 1 "SufficientPods" ""
        {"maxUnavailable":9}: expected 4 desired 0 healthy 3 allowed 3 "SufficientPods" ""
        {"maxUnavailable":"x"}: expected 0 desired 0 healthy 0 allowed 0 "SyncFailed" "invalid value for IntOrString: \"x\" is not a percentage"
    "#]].assert_eq(&told);
}

#[test]
fn an_evicted_pod_counts_as_gone_for_two_minutes() {
    let mut world = four();
    let mut budget = budget(json!({"minAvailable": 2}));
    budget["status"] = json!({"disruptedPods": {"p0": "2026-01-01T00:00:00Z"}, "observedGeneration": 1});
    world.apply(budget);
    expect![[r#"
        disruption-controller: status PodDisruptionBudget demo/pdb
    "#]]
    .assert_eq(&world.settle());
    expect![[r#"expected 4 desired 2 healthy 2 allowed 0 "InsufficientPods" """#]]
        .assert_eq(&counts(&status(&world)));
    expect![[r#"
        disruption-controller: event Warning NotDeleted about p0: Pod was expected by PDB demo/pdb to be deleted but it wasn't
        disruption-controller: status PodDisruptionBudget demo/pdb
    "#]].assert_eq(&world.tick(120));
    expect![[r#"expected 4 desired 2 healthy 3 allowed 1 "SufficientPods" """#]]
        .assert_eq(&counts(&status(&world)));
}

#[test]
fn changes_of_pods_and_of_their_number_are_followed() {
    let mut world = four();
    world.apply(budget(json!({"maxUnavailable": 1})));
    world.settle();
    world.change(&POD, "demo", "p3", |pod| pod["status"]["conditions"][0]["status"] = json!("True"));
    world.settle();
    expect![[r#"expected 4 desired 3 healthy 4 allowed 1 "SufficientPods" """#]]
        .assert_eq(&counts(&status(&world)));
    world.change(&REPLICA_SET, "demo", "rs", |set| set["spec"]["replicas"] = json!(2));
    world.settle();
    expect![[r#"expected 2 desired 1 healthy 4 allowed 3 "SufficientPods" """#]]
        .assert_eq(&counts(&status(&world)));
    world.delete(&REPLICA_SET, "demo", "rs", None);
    world.settle();
    expect![[
        r#"expected 2 desired 1 healthy 4 allowed 0 "SyncFailed" "found no controllers for pod \"p0\"""#
    ]]
    .assert_eq(&counts(&status(&world)));
}
