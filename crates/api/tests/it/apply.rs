//! Server-side apply as stories: who does what, and what the object and its owners are then.

#![expect(clippy::needless_pass_by_value, reason = "what a story states reads better without borrowing")]

use std::fmt::Write as _;

use serde_json::{Value, json};
use shoal_api::apply::{Manager, Set, apply, settle, track, validate};
use shoal_api::field::Path;

use crate::openapi::Kind;

/// `spec` of a kind with one field of each sort; `tag` is 0 for a custom resource.
pub(crate) fn things(tag: u32) -> Kind {
    let text = json!({"type": "string"});
    let texts = json!({"type": "object", "additionalProperties": text});
    let port = json!({
        "type": "object",
        "properties": {
            "port": {"type": "integer"},
            "protocol": {"type": "string", "default": "TCP"},
            "name": text,
        },
    });
    let item = json!({
        "type": "object",
        "required": ["name"],
        "properties": {
            "name": text,
            "value": text,
            "ports": {
                "type": "array", "items": port,
                "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["port", "protocol"],
            },
        },
    });
    let spec = json!({
        "type": "object",
        "properties": {
            "replicas": {"type": "integer"},
            "paused": {"type": "boolean"},
            "map": texts,
            "whole": {"type": "object", "additionalProperties": text, "x-kubernetes-map-type": "atomic"},
            "tags": {"type": "array", "items": text, "x-kubernetes-list-type": "set"},
            "plain": {"type": "array", "items": text},
            "items": {
                "type": "array", "items": item,
                "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"],
            },
            "free": {"type": "object", "properties": {"known": text}, "x-kubernetes-preserve-unknown-fields": true},
            "any": {},
        },
    });
    let metadata = json!({
        "type": "object",
        "properties": {
            "name": text, "namespace": text, "uid": text, "resourceVersion": text,
            "labels": texts, "annotations": texts,
            "finalizers": {"type": "array", "items": text, "x-kubernetes-list-type": "set"},
        },
    });
    let status = json!({"type": "object", "properties": {"phase": text}, "default": {}});
    let zero = |mut schema: Value| {
        if tag != 0 {
            schema["default"] = json!({});
        }
        schema
    };
    let root = json!({
        "type": "object",
        "properties": {
            "apiVersion": text, "kind": text, "metadata": zero(metadata), "spec": zero(spec), "status": zero(status),
        },
    });
    Kind::new(&root, &json!({}), tag)
}

/// A world with one object in it.
struct World {
    kind: Kind,
    object: Option<Value>,
    seconds: u32,
}

impl World {
    fn new(tag: u32) -> Self {
        Self { kind: things(tag), object: None, seconds: 0 }
    }

    /// With what every object has, and `rest`.
    fn thing(mut rest: Value) -> Value {
        rest["apiVersion"] = json!("example.com/v1");
        rest["kind"] = json!("Thing");
        rest["metadata"]["name"] = json!("a");
        rest
    }

    fn write(&mut self, write: impl FnOnce(&Kind, Option<&Value>, &str) -> Result<Value, String>) -> String {
        self.seconds += 1;
        let now = format!("2026-01-01T00:00:{:02}Z", self.seconds);
        match write(&self.kind, self.object.as_ref(), &now) {
            Ok(mut object) => {
                let same = self.object.as_ref().is_some_and(|old| settle(old, &mut object));
                object["metadata"]["uid"] = json!("u");
                self.object = Some(object);
                if same { "nothing to write\n".into() } else { self.show() }
            }
            Err(error) => format!("{error}\n"),
        }
    }

    fn apply_through(&mut self, name: &str, subresource: &str, force: bool, config: Value) -> String {
        self.write(|kind, live, now| {
            let resets: &[&[&str]] = if subresource == "status" { &[&["spec"]] } else { &[&["status"]] };
            let manager = Manager { name, subresource, api_version: "example.com/v1", now, resets };
            apply(kind.node(), live, &Self::thing(config), &manager, force).map_err(|error| error.to_string())
        })
    }

    fn apply(&mut self, name: &str, spec: Value) -> String {
        self.apply_through(name, "", false, json!({"spec": spec}))
    }

    fn force(&mut self, name: &str, spec: Value) -> String {
        self.apply_through(name, "", true, json!({"spec": spec}))
    }

    fn update(&mut self, name: &str, change: impl FnOnce(&mut Value)) -> String {
        self.write(|kind, live, now| {
            let manager =
                Manager { name, subresource: "", api_version: "example.com/v1", now, resets: &[&["status"]] };
            let mut new = live.cloned().unwrap_or_else(|| Self::thing(json!({})));
            change(&mut new);
            track(kind.node(), live, &mut new, &manager);
            Ok(new)
        })
    }

    /// `spec`, and a line for each manager.
    fn show(&self) -> String {
        let object = self.object.as_ref().expect("there is an object");
        let mut text = format!("{}\n", object["spec"]);
        for entry in object["metadata"]["managedFields"].as_array().into_iter().flatten() {
            let paths = Set::from_value(&entry["fieldsV1"]).expect("a set").paths();
            let time = entry["time"].as_str().map_or("--", |time| &time[17..19]);
            let subresource = entry["subresource"].as_str().map_or(String::new(), |name| format!("/{name}"));
            let (manager, operation) = (&entry["manager"], &entry["operation"]);
            let manager = format!("{}{subresource}", manager.as_str().unwrap_or_default());
            let operation = operation.as_str().unwrap_or_default();
            writeln!(text, "  {manager} {operation} {time}: {}", paths.join(" "))
                .expect("text can be written");
        }
        text
    }
}

#[track_caller]
fn same(shown: &str, expected: &[&str]) {
    let lines: Vec<&str> = shown.lines().map(str::trim_start).collect();
    assert_eq!(lines, expected);
}

#[test]
fn what_is_not_stated_any_more_is_removed() {
    let mut world = World::new(1);
    same(
        &world.apply(
            "a",
            json!({"replicas": 1, "map": {"x": "1", "y": "2"}, "items": [{"name": "i", "value": "v"}]}),
        ),
        &[
            r#"{"items":[{"name":"i","value":"v"}],"map":{"x":"1","y":"2"},"replicas":1}"#,
            r#"a Apply 01: .spec.replicas .spec.items[name="i"] .spec.items[name="i"].name .spec.items[name="i"].value .spec.map.x .spec.map.y"#,
        ],
    );
    same(
        &world.apply("a", json!({"map": {"x": "1"}, "items": [{"name": "j"}]})),
        &[
            r#"{"items":[{"name":"j"}],"map":{"x":"1"}}"#,
            r#"a Apply 02: .spec.items[name="j"] .spec.items[name="j"].name .spec.map.x"#,
        ],
    );
    same(&world.apply("a", json!({"map": {"x": "1"}, "items": [{"name": "j"}]})), &["nothing to write"]);
    same(&world.apply("a", json!({"replicas": 2})), &[r#"{"replicas":2}"#, "a Apply 04: .spec.replicas"]);
}

#[test]
fn what_others_own_stays() {
    let mut world = World::new(1);
    world.apply("a", json!({"items": [{"name": "i", "value": "v"}], "tags": ["x"]}));
    same(
        &world.apply("b", json!({"items": [{"name": "i", "value": "v"}], "tags": ["y"]})),
        &[
            r#"{"items":[{"name":"i","value":"v"}],"tags":["x","y"]}"#,
            r#"a Apply 01: .spec.items[name="i"] .spec.items[name="i"].name .spec.items[name="i"].value .spec.tags[="x"]"#,
            r#"b Apply 02: .spec.items[name="i"] .spec.items[name="i"].name .spec.items[name="i"].value .spec.tags[="y"]"#,
        ],
    );
    same(
        &world.apply("a", json!({"replicas": 1})),
        &[
            r#"{"items":[{"name":"i","value":"v"}],"replicas":1,"tags":["y"]}"#,
            r#"b Apply 02: .spec.items[name="i"] .spec.items[name="i"].name .spec.items[name="i"].value .spec.tags[="y"]"#,
            "a Apply 03: .spec.replicas",
        ],
    );
}

#[test]
fn a_conflict_names_its_managers_and_force_takes_over() {
    let mut world = World::new(1);
    world.apply("a", json!({"replicas": 1, "map": {"x": "1"}}));
    same(
        &world.apply("b", json!({"replicas": 2})),
        &[r#"Apply failed with 1 conflict: conflict with "a": .spec.replicas"#],
    );
    world.update("c", |object| object["spec"]["paused"] = json!(true));
    same(
        &world.apply("b", json!({"replicas": 2, "map": {"x": "2"}, "paused": false})),
        &[
            r#"Apply failed with 3 conflicts: conflicts with "a":"#,
            "- .spec.replicas",
            "- .spec.map.x",
            r#"conflicts with "c" using example.com/v1:"#,
            "- .spec.paused",
        ],
    );
    same(
        &world.force("b", json!({"replicas": 2, "paused": false})),
        &[
            r#"{"map":{"x":"1"},"paused":false,"replicas":2}"#,
            "a Apply 01: .spec.map.x",
            "b Apply 05: .spec.paused .spec.replicas",
        ],
    );
    // Who states the same shares it.
    same(
        &world.apply("d", json!({"replicas": 2})),
        &[
            r#"{"map":{"x":"1"},"paused":false,"replicas":2}"#,
            "d Apply --: .spec.replicas",
            "a Apply 01: .spec.map.x",
            "b Apply 05: .spec.paused .spec.replicas",
        ],
    );
}

#[test]
fn an_update_takes_what_it_changes() {
    let mut world = World::new(1);
    world.apply("a", json!({"replicas": 1, "whole": {"x": "1"}, "items": [{"name": "i", "value": "v"}]}));
    same(
        &world.update("b", |object| {
            object["spec"]["whole"]["y"] = json!("2");
            object["spec"]["items"][0]["value"] = json!("w");
            object["spec"]["items"].as_array_mut().expect("a list").push(json!({"name": "j"}));
            object["spec"].as_object_mut().expect("an object").remove("replicas");
            object["status"] = json!({"phase": "never through here"});
        }),
        &[
            r#"{"items":[{"name":"i","value":"w"},{"name":"j"}],"whole":{"x":"1","y":"2"}}"#,
            r#"a Apply 01: .spec.items[name="i"] .spec.items[name="i"].name"#,
            r#"b Update 02: .spec.whole .spec.items[name="j"] .spec.items[name="i"].value .spec.items[name="j"].name"#,
        ],
    );
    // Whoever only changed something in an item does not keep it.
    same(
        &world.apply("a", json!({})),
        &[
            r#"{"items":[{"name":"j"}],"whole":{"x":"1","y":"2"}}"#,
            "a Apply 03: .spec",
            r#"b Update 02: .spec.whole .spec.items[name="j"] .spec.items[name="j"].name"#,
        ],
    );
}

#[test]
fn keys_have_defaults_and_an_order() {
    let mut world = World::new(1);
    same(
        &world.apply(
            "a",
            json!({"items": [{"name": "i", "ports": [{"port": 80}, {"port": 53, "protocol": "UDP"}]}]}),
        ),
        &[
            r#"{"items":[{"name":"i","ports":[{"port":80},{"port":53,"protocol":"UDP"}]}]}"#,
            r#"a Apply 01: .spec.items[name="i"] .spec.items[name="i"].name .spec.items[name="i"].ports[port=53,protocol="UDP"] .spec.items[name="i"].ports[port=80,protocol="TCP"] .spec.items[name="i"].ports[port=53,protocol="UDP"].port .spec.items[name="i"].ports[port=53,protocol="UDP"].protocol .spec.items[name="i"].ports[port=80,protocol="TCP"].port"#,
        ],
    );
    world.update("defaults", |object| object["spec"]["items"][0]["ports"][0]["protocol"] = json!("TCP"));
    let ports = json!([{"port": 53, "protocol": "UDP"}, {"port": 80, "name": "http"}]);
    let shown = world.apply("a", json!({"items": [{"name": "i", "ports": ports}]}));
    assert!(
        shown.starts_with(
            r#"{"items":[{"name":"i","ports":[{"port":53,"protocol":"UDP"},{"name":"http","port":80,"protocol":"TCP"}]}]}"#
        ),
        "{shown}"
    );
}

#[test]
fn what_is_no_configuration_is_refused() {
    let mut world = World::new(1);
    let prefix = "failed to create typed patch object (/a; example.com/v1, Kind=Thing): ";
    for (spec, expected) in [
        (json!({"nope": 1}), ".spec.nope: field not declared in schema"),
        (
            json!({"replicas": "1"}),
            ".spec.replicas: expected numeric (int or float), got *value.valueUnstructured",
        ),
        (json!({"map": {"x": 1}}), ".spec.map.x: expected string, got &value.valueUnstructured{Value:1}"),
        (json!({"items": {"name": "x"}}), ".spec.items: expected list, got &{map[name:x]}"),
        (json!({"map": [1]}), ".spec.map: expected map, got &{[1]}"),
        (json!({"tags": ["a", "a"]}), r#".spec.tags: duplicate entries for key [="a"]"#),
        (
            json!({"items": [{"name": "i"}, {"name": "i"}]}),
            r#".spec.items: duplicate entries for key [name="i"]"#,
        ),
        (
            json!({"items": [{"value": "i"}]}),
            ".spec.items: element 0: associative list with keys has an element that omits key field \"name\" (and \
             doesn't have default value)",
        ),
        (
            json!({"items": [1]}),
            ".spec.items: element 0: associative list with keys may not have non-map elements",
        ),
        (
            json!({"tags": [null]}),
            ".spec.tags: element 0: associative list without keys has an element that's an explicit null",
        ),
    ] {
        assert_eq!(world.apply("a", spec), format!("{prefix}{expected}\n"));
    }
    let two = world.apply("a", json!({"b": 1, "c": 1}));
    assert_eq!(
        two,
        format!(
            "{prefix}errors:\n  .spec.b: field not declared in schema\n  .spec.c: field not declared in schema\n"
        )
    );
    let managed = json!({"metadata": {"managedFields": []}});
    assert_eq!(world.apply_through("a", "", false, managed), "metadata.managedFields must be nil\n");
    assert!(world.object.is_none());
}

#[test]
fn a_custom_resource_owns_its_containers_too() {
    let mut world = World::new(0);
    same(
        &world.update("a", |object| {
            object["spec"] = json!({"map": {"x": "1"}, "free": {"deep": {"er": [1]}}, "any": {"b": 1}});
        }),
        &[
            r#"{"any":{"b":1},"free":{"deep":{"er":[1]}},"map":{"x":"1"}}"#,
            "a Update 01: .spec .spec.any .spec.free .spec.map .spec.free.deep .spec.free.deep.er .spec.map.x",
        ],
    );
    let mut world = World::new(0);
    world.apply("a", json!({"map": {"x": "1"}, "free": {"known": "k", "deep": {"er": 1}}}));
    same(
        &world.apply("a", json!({"free": {"known": "k"}})),
        &[r#"{"free":{"known":"k"}}"#, "a Apply 02: .spec.free.known"],
    );
}

#[test]
fn before_anybody_applied_there_was_an_owner_too() {
    let mut world = World::new(1);
    world.object =
        Some(World::thing(json!({"metadata": {"uid": "u"}, "spec": {"replicas": 1, "map": {"x": "1"}}})));
    same(
        &world.update("u", |object| object["spec"]["replicas"] = json!(2)),
        &[r#"{"map":{"x":"1"},"replicas":2}"#],
    );
    same(
        &world.apply("a", json!({"replicas": 3})),
        &[
            r#"Apply failed with 1 conflict: conflict with "before-first-apply" using example.com/v1: .spec.replicas"#,
        ],
    );
    same(
        &world.force("a", json!({"replicas": 3})),
        &[
            r#"{"map":{"x":"1"},"replicas":3}"#,
            "a Apply 03: .spec.replicas",
            "before-first-apply Update 03: .spec.map .spec.map.x",
        ],
    );
    // A client may be rid of all owners.
    same(
        &world.update("u", |object| object["metadata"]["managedFields"] = json!([{}])),
        &[r#"{"map":{"x":"1"},"replicas":3}"#],
    );
}

#[test]
fn kubectl_takes_over_what_it_applied_from_the_client() {
    let client_side = || {
        let mut world = World::new(1);
        world.update("kubectl-client-side-apply", |object| {
            let last = "{\"apiVersion\":\"example.com/v1\",\"kind\":\"Thing\",\"spec\":{\"replicas\":1}}\n";
            object["metadata"]["annotations"] =
                json!({"kubectl.kubernetes.io/last-applied-configuration": last});
            object["spec"] = json!({"replicas": 1, "paused": true});
        });
        world
    };
    let mut world = client_side();
    same(
        &world.apply("other", json!({"replicas": 2})),
        &[
            r#"Apply failed with 1 conflict: conflict with "kubectl-client-side-apply" using example.com/v1: .spec.replicas"#,
        ],
    );
    same(
        &world.apply("kubectl", json!({"replicas": 2, "paused": false})),
        &[
            r#"Apply failed with 1 conflict: conflict with "kubectl-client-side-apply" using example.com/v1: .spec.paused"#,
        ],
    );
    let mut world = client_side();
    let shown = world.apply("kubectl", json!({"replicas": 2}));
    assert!(
        shown.starts_with("{\"paused\":true,\"replicas\":2}\n  kubectl Apply 02: .spec.replicas\n"),
        "{shown}"
    );
    let object = world.object.expect("it was applied");
    assert_eq!(
        object["metadata"]["annotations"]["kubectl.kubernetes.io/last-applied-configuration"],
        "{\"apiVersion\":\"example.com/v1\",\"kind\":\"Thing\",\"metadata\":{\"name\":\"a\"},\"spec\":{\"replicas\":2}}\n"
    );
}

#[test]
fn through_a_subresource_only_its_fields_are_owned() {
    let mut world = World::new(1);
    world.apply("a", json!({"replicas": 1}));
    same(
        &world.apply_through(
            "a",
            "status",
            false,
            json!({"spec": {"replicas": 7}, "status": {"phase": "Ready"}}),
        ),
        &[
            // That `spec` is put back is the work of the kind's strategy; here it is only not owned.
            r#"{"replicas":7}"#,
            "a Apply 01: .spec.replicas",
            "a/status Apply 02: .status.phase",
        ],
    );
}

#[test]
fn many_managers_are_put_together() {
    let mut world = World::new(1);
    for at in 0..shoal_api::apply::UPDATE_MANAGERS_MAX {
        world.update(&format!("m{at}"), |object| object["spec"]["map"][format!("k{at}")] = json!("v"));
    }
    let managers = |world: &World| -> Vec<String> {
        let object = world.object.as_ref().expect("there is one");
        let entries = object["metadata"]["managedFields"].as_array().expect("tracked");
        entries.iter().map(|entry| entry["manager"].as_str().unwrap_or_default().into()).collect()
    };
    assert_eq!(managers(&world).len(), shoal_api::apply::UPDATE_MANAGERS_MAX);
    assert!(!managers(&world).contains(&"ancient-changes".into()));
    let shown = world.update("last", |object| object["spec"]["map"]["last"] = json!("v"));
    assert_eq!(managers(&world).len(), shoal_api::apply::UPDATE_MANAGERS_MAX);
    assert!(shown.contains("ancient-changes Update 02: .spec.map .spec.map.k0 .spec.map.k1\n"), "{shown}");
}

#[test]
fn fields_below_what_is_whole_now_become_it() {
    let mut world = World::new(0);
    let entry = json!({
        "manager": "old", "operation": "Update", "apiVersion": "example.com/v1", "fieldsType": "FieldsV1",
        "fieldsV1": {"f:spec": {"f:whole": {".": {}, "f:x": {}}, "f:plain": {"v:\"a\"": {}}}},
    });
    world.object = Some(World::thing(json!({
        "metadata": {"uid": "u", "managedFields": [entry]}, "spec": {"whole": {"x": "1"}, "plain": ["a"]},
    })));
    same(
        &world.update("u", |object| object["spec"]["replicas"] = json!(1)),
        &[
            r#"{"plain":["a"],"replicas":1,"whole":{"x":"1"}}"#,
            "old Update --: .spec.plain .spec.whole",
            "u Update 01: .spec.replicas",
        ],
    );
}

#[test]
fn entries_that_cannot_be_read_are_passed_over() {
    let mut world = World::new(1);
    world.apply("a", json!({"replicas": 1}));
    for entries in [
        json!([{"manager": "x"}]),
        json!("x"),
        json!([{"operation": "Apply", "apiVersion": "v1", "fieldsType": "X"}]),
    ] {
        let shown = world.update("u", |object| object["metadata"]["managedFields"] = entries.clone());
        same(&shown, &["nothing to write"]);
    }
    // A client that does not send them does not lose them.
    let shown = world.update("u", |object| {
        object["metadata"].as_object_mut().expect("an object").remove("managedFields");
    });
    same(&shown, &["nothing to write"]);
}

#[test]
fn each_limit_holds_at_its_edge() {
    let entry = |manager: usize, subresource: usize| {
        json!([{
            "manager": "m".repeat(manager), "subresource": "s".repeat(subresource), "operation": "Update",
            "fieldsType": "FieldsV1",
        }])
    };
    let tell = |entries: Value| -> Vec<String> {
        let wrong = validate(&entries, &Path::new("metadata").child("managedFields"));
        wrong.iter().map(ToString::to_string).collect()
    };
    assert_eq!(tell(entry(128, 256)), Vec::<String>::new());
    assert_eq!(
        tell(entry(129, 257)),
        [
            "metadata.managedFields[0].fieldManager: Too long: may not be more than 128 bytes",
            "metadata.managedFields[0].subresource: Too long: may not be more than 256 bytes",
        ]
    );
    assert_eq!(
        tell(json!([{"operation": "Patch", "fieldsType": "V2", "manager": "a\u{7}"}])),
        [
            "metadata.managedFields[0].operation: Invalid value: \"Patch\": must be `Apply` or `Update`",
            "metadata.managedFields[0].fieldsType: Invalid value: \"V2\": must be `FieldsV1`",
            "metadata.managedFields[0].fieldManager: Invalid value: \"a\\u{7}\": should not contain unprintable characters",
        ]
    );
    // Of very many mistakes, a hundred are told.
    let mut world = World::new(1);
    let mut told = |count: usize| {
        let fields = (0..count).map(|at| (format!("f{at:03}"), json!(1)));
        world.apply("a", Value::Object(fields.collect())).matches("field not declared").count()
    };
    assert_eq!((told(99), told(100), told(101)), (99, 100, 100));
    // An annotation that would not fit is emptied.
    let refreshed = |bytes: usize| {
        let mut world = World::new(1);
        let key = "kubectl.kubernetes.io/last-applied-configuration";
        world.update("u", |object| {
            object["metadata"]["annotations"] = json!({ key: "{}", "x": "x".repeat(bytes) });
        });
        world.apply("kubectl", json!({}));
        let object = world.object.expect("it was applied");
        object["metadata"]["annotations"][key].as_str().map(str::len)
    };
    let text =
        r#"{"apiVersion":"example.com/v1","kind":"Thing","metadata":{"name":"a"},"spec":{}}"#.len() + 1;
    let room = (256 << 10) - "kubectl.kubernetes.io/last-applied-configuration".len() - text - "x".len();
    assert_eq!((refreshed(room), refreshed(room + 1)), (Some(text), Some(0)));
}
