//! How a plan is carried out.

use serde_json::json;
use shoal_api::Status;
use shoal_control::known::{CONFIG_MAP, POD, SECRET};
use shoal_control::plan::{Event, Group, Key, Plan, WRITES_AT_ONCE, Write, is_stale};

use crate::support::object as bare;

fn create(name: &str) -> Write {
    Write::create(&CONFIG_MAP, bare("v1", "ConfigMap", name))
}

fn bind(name: &str) -> Write {
    Write::Bind { pod: Key::new(&POD, "demo", name), uid: name.into(), node: "n1".into() }
}

fn event(message: &str) -> Event {
    Event::normal(&POD, &bare("v1", "Pod", "p"), "Told", message.into())
}

/// How many writes each group of a plan has.
fn sizes(writes: Vec<Write>) -> Vec<usize> {
    let groups = Plan { writes, ..Plan::default() }.into_groups();
    assert!(groups.iter().all(|group| group.told.len() == group.writes.len()));
    groups.iter().map(|group| group.writes.len()).collect()
}

#[test]
fn writes_that_do_not_need_each_other_are_in_one_group() {
    let secret = || Write::create(&SECRET, bare("v1", "Secret", "s"));
    let update = || Write::update(&CONFIG_MAP, json!({"metadata": {"name": "a", "namespace": "demo"}}));
    let many = |count: usize| (0..count).map(|at| create(&format!("m{at}"))).collect::<Vec<_>>();
    for (writes, expected) in [
        (vec![], vec![]),
        (vec![create("a")], vec![1]),
        (vec![create("a"), create("b"), secret(), create("c")], vec![2, 1, 1]),
        (vec![update(), update()], vec![1, 1]),
        (vec![create("a"), bind("p"), bind("q")], vec![1, 2]),
        (many(WRITES_AT_ONCE), vec![WRITES_AT_ONCE]),
        (many(WRITES_AT_ONCE + 1), vec![WRITES_AT_ONCE, 1]),
    ] {
        assert_eq!(sizes(writes), expected);
    }
}

#[test]
fn what_is_told_of_a_write_goes_with_it() {
    let mut plan = Plan::write(create("a"));
    plan.write_and_tell(create("b"), event("of b"));
    plan.told.push((1, event("more of b")));
    plan.write_and_tell(bind("p"), event("of p"));
    let groups = plan.into_groups();
    let mut told: Vec<Vec<Vec<&str>>> = Vec::new();
    for group in &groups {
        let writes = group.told.iter();
        told.push(writes.map(|events| events.iter().map(|event| event.message.as_str()).collect()).collect());
    }
    assert_eq!(told, [vec![vec![], vec!["of b", "more of b"]], vec![vec!["of p"]]]);
    assert_eq!(groups.iter().map(Group::holds_up).collect::<Vec<_>>(), [true, false]);
}

#[test]
fn a_world_that_has_changed_is_no_failure() {
    for (reason, stale) in [
        ("Conflict", true),
        ("NotFound", true),
        ("AlreadyExists", true),
        ("Forbidden", false),
        ("Invalid", false),
    ] {
        assert_eq!(is_stale(&Status::new(409, reason, "")), stale, "{reason}");
    }
}
