//! What holds for any sets of fields, any patches, and any order of writes.

use proptest::prelude::*;
use serde_json::{Map, Value, json};
use shoal_api::apply::{Element, Manager, Set, apply, settle, track};
use shoal_api::patch;

use crate::apply::things;

/// Paths of up to three steps, of few names, so that sets meet.
fn sets() -> impl Strategy<Value = Set> {
    let step = prop_oneof![
        "[ab]".prop_map(|name| Element::field(&name)),
        "[xy]".prop_map(|value| Element::value(&json!(value))),
        (0..2).prop_map(|port| Element::key(Map::from_iter([("port".to_string(), json!(port))]))),
    ];
    let path = prop::collection::vec(step, 1..4);
    prop::collection::vec(path, 0..6).prop_map(|paths| {
        let mut set = Set::default();
        paths.iter().for_each(|path| set.insert(path));
        set
    })
}

fn minus(one: &Set, other: &Set) -> Set {
    let mut left = one.clone();
    left.difference(other);
    left
}

/// A `spec` of the things of the stories.
fn specs() -> impl Strategy<Value = Value> {
    let ports = prop::sample::subsequence(
        vec![json!({"port": 80, "protocol": "TCP"}), json!({"port": 53, "protocol": "UDP"})],
        0..=2,
    );
    let item = (prop::option::of("[vw]"), prop::option::of(ports));
    let items = prop::collection::btree_map("[ijk]", item, 0..3).prop_map(|items| -> Vec<Value> {
        let item = |(name, rest): (String, (Option<String>, Option<Vec<Value>>))| {
            let (value, ports) = rest;
            let mut item = json!({"name": name});
            if let Some(value) = value {
                item["value"] = json!(value);
            }
            if let Some(ports) = ports.filter(|ports| !ports.is_empty()) {
                item["ports"] = json!(ports);
            }
            item
        };
        items.into_iter().map(item).collect()
    });
    let map = prop::collection::btree_map("[xyz]", "[12]", 1..3);
    let tags = prop::sample::subsequence(vec!["r", "s", "t"], 1..=3).prop_shuffle();
    (
        prop::option::of(0..3),
        prop::option::of(map.clone()),
        prop::option::of(map),
        prop::option::of(tags),
        items,
        any::<bool>(),
    )
        .prop_map(|(replicas, map, whole, tags, items, reverse)| {
            let mut spec = json!({});
            if let Some(replicas) = replicas {
                spec["replicas"] = json!(replicas);
            }
            if let Some(map) = map {
                spec["map"] = json!(map);
            }
            if let Some(whole) = whole {
                spec["whole"] = json!(whole);
            }
            if let Some(tags) = tags {
                spec["tags"] = json!(tags);
            }
            let items: Vec<Value> = if reverse { items.into_iter().rev().collect() } else { items };
            if !items.is_empty() {
                spec["items"] = json!(items);
            }
            spec
        })
}

fn manager(name: &str) -> Manager<'_> {
    Manager { name, subresource: "", api_version: "v1", now: "2026-01-01T00:00:00Z", resets: &[] }
}

fn thing(spec: &Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Thing", "metadata": {"name": "a", "uid": "u"}, "spec": spec})
}

/// Whether an object has all that a configuration states; lists with keys item by item.
fn has(object: &Value, config: &Value, key: Option<&str>) -> bool {
    match (object, config) {
        (Value::Object(object), Value::Object(config)) => config.iter().all(|(name, value)| {
            let key = match name.as_str() {
                "items" => Some("name"),
                "ports" => Some("port"),
                "tags" => Some(""),
                _ => None,
            };
            object.get(name).is_some_and(|object| has(object, value, key))
        }),
        (Value::Array(object), Value::Array(config)) => match key {
            Some("") => config.iter().all(|item| object.contains(item)),
            Some(key) => config
                .iter()
                .all(|item| object.iter().any(|one| one[key] == item[key] && has(one, item, None))),
            None => object == config,
        },
        _ => object == config,
    }
}

/// Any small document of the names and words that patches know.
fn documents() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (0..3).prop_map(Value::from),
        prop::sample::select(vec!["i", "j", "delete", "replace", "merge", "/spec/map"]).prop_map(Value::from),
    ];
    let name = prop::sample::select(vec![
        "spec",
        "metadata",
        "items",
        "name",
        "map",
        "tags",
        "ports",
        "port",
        "free",
        "whole",
        "managedFields",
        "$patch",
        "$retainKeys",
        "$setElementOrder/items",
        "$deleteFromPrimitiveList/tags",
    ]);
    leaf.prop_recursive(5, 40, 4, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(name.clone().prop_map(String::from), inner, 0..4)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

fn operations() -> impl Strategy<Value = Value> {
    let name = prop::sample::select(vec!["add", "remove", "replace", "move", "copy", "test"]);
    let path = prop::collection::vec(
        prop::sample::select(vec!["/spec", "/items", "/map", "/0", "/-", "/-1", "/name", "/~0", ""]),
        0..4,
    )
    .prop_map(|parts| parts.concat());
    let operation = (name, path.clone(), path, documents());
    let operation = operation.prop_map(
        |(name, path, from, value)| json!({"op": name, "path": path, "from": from, "value": value}),
    );
    prop::collection::vec(operation, 0..6).prop_map(Value::from)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn sets_obey_the_laws(one in sets(), other in sets()) {
        let both = one.intersection(&other);
        let all = one.clone().union(&other);
        prop_assert_eq!(&both, &other.intersection(&one));
        prop_assert_eq!(&all, &other.clone().union(&one));
        prop_assert_eq!(&minus(&one, &other).union(&both), &one);
        prop_assert!(minus(&one, &other).intersection(&other).is_empty());
        prop_assert!(minus(&minus(&all, &one), &other).is_empty());
        prop_assert_eq!(minus(&all, &other), minus(&one, &other));
        prop_assert_eq!(Set::from_value(&all.to_value()), Ok(all.clone()));
        let mut below = all.clone();
        below.difference_below(&one);
        prop_assert!(below.intersection(&one).is_empty() && minus(&below, &minus(&all, &one)).is_empty());
    }

    #[test]
    fn what_is_applied_is_there_and_applied_once(steps in prop::collection::vec((0..3_usize, specs()), 1..6)) {
        let kind = things(1);
        let mut object: Option<Value> = None;
        for (who, spec) in steps {
            let config = thing(&spec);
            let manager = manager(["a", "b", "c"][who]);
            let applied = apply(kind.node(), object.as_ref(), &config, &manager, true).expect("forced");
            prop_assert!(has(&applied["spec"], &spec, None), "{} and {}", applied["spec"], spec);
            let mut again = apply(kind.node(), Some(&applied), &config, &manager, false).expect("it owns all of it");
            prop_assert!(settle(&applied, &mut again), "{} and {}", applied, again);
            object = Some(applied);
        }
        // When all state nothing, nothing is left.
        for name in ["a", "b", "c"] {
            object = Some(apply(kind.node(), object.as_ref(), &thing(&json!({})), &manager(name), true).expect("nothing"));
        }
        prop_assert_eq!(&object.expect("it was applied")["spec"], &json!({}));
    }

    #[test]
    fn whoever_updates_owns_what_differs(old in specs(), new in specs(), config in specs()) {
        let kind = things(1);
        let (mut before, mut after) = (thing(&old), thing(&new));
        for object in [&mut before, &mut after] {
            object["metadata"]["labels"] = json!({"of": "the creator"});
        }
        track(kind.node(), None, &mut before, &manager("creator"));
        track(kind.node(), Some(&before), &mut after, &manager("changer"));
        let mut again = after.clone();
        track(kind.node(), Some(&after), &mut again, &manager("reader"));
        prop_assert_eq!(&again, &after);
        let entries = after["metadata"]["managedFields"].as_array().cloned().unwrap_or_default();
        prop_assert_eq!(entries.iter().any(|entry| entry["manager"] == "changer"), has_more(&old, &new));
        // Who states what is there has no conflict.
        let whole = |spec: &Value| spec.get("whole").cloned();
        let same_whole = whole(&config).is_none() || whole(&config) == whole(&new);
        let is_there = has(&after["spec"], &config, None) && same_whole;
        let applied = apply(kind.node(), Some(&after), &thing(&config), &manager("applier"), false);
        prop_assert!(applied.is_ok() || !is_there, "{:?}", applied);
    }

    #[test]
    fn any_patch_is_applied_or_refused(document in documents(), patch in documents(), operations in operations()) {
        let kind = things(1);
        let _ = patch::json::apply(&mut document.clone(), &operations);
        let _ = patch::strategic::apply(kind.node(), &mut document.clone(), patch.clone());
        let (mut object, mut config) = (document, patch);
        for value in [&mut object, &mut config] {
            if let Value::Object(fields) = value {
                fields.insert("apiVersion".into(), json!("v1"));
            }
        }
        let applied = apply(kind.node(), Some(&object), &config, &manager("a"), true);
        if let (Ok(applied), true) = (&applied, object.is_object()) {
            let mut again = apply(kind.node(), Some(applied), &config, &manager("a"), false).expect("it owns all of it");
            prop_assert!(settle(applied, &mut again), "{} and {}", applied, again);
        }
        track(kind.node(), Some(&object), &mut config, &manager("b"));
        let mut again = config.clone();
        track(kind.node(), Some(&config), &mut again, &manager("c"));
        prop_assert_eq!(again, config);
    }

    #[test]
    fn a_strategic_patch_without_directives_has_its_way(old in specs(), new in specs()) {
        let kind = things(1);
        let (mut strategic, mut merged) = (json!({"spec": old}), json!({"spec": old}));
        let patch = json!({"spec": new});
        patch::strategic::apply(kind.node(), &mut strategic, patch.clone()).expect("no directives");
        patch::merge::apply(&mut merged, patch).expect("an object");
        // Nothing here has a strategy, so both do the same.
        prop_assert_eq!(&strategic, &merged);
        prop_assert!(has(&strategic["spec"], &new, None));
    }
}

/// Whether `new` has a value that `old` does not have.
fn has_more(old: &Value, new: &Value) -> bool {
    match (old, new) {
        (Value::Object(old), Value::Object(new)) => new.iter().any(|(name, value)| {
            old.get(name).is_none_or(|old| match name.as_str() {
                "tags" => value
                    .as_array()
                    .into_iter()
                    .flatten()
                    .any(|tag| !old.as_array().is_some_and(|old| old.contains(tag))),
                "items" | "ports" => {
                    let key = if name == "items" { "name" } else { "port" };
                    let find = |item: &Value| {
                        old.as_array().into_iter().flatten().find(|one| one[key] == item[key]).cloned()
                    };
                    value
                        .as_array()
                        .into_iter()
                        .flatten()
                        .any(|item| find(item).is_none_or(|one| has_more(&one, item)))
                }
                "whole" => old != value,
                _ => has_more(old, value),
            })
        }),
        _ => old != new,
    }
}
