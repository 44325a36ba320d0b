//! Recorded answers of a kube-apiserver 1.32, where they are at hand: who owns what after each write.

use serde_json::{Value, json};
use shoal_api::apply::{Manager, apply, track};
use shoal_api::schema::{Node, builtin};
use shoal_api::{GroupVersion, patch};
use std::collections::BTreeMap;

use crate::golden;
use crate::openapi::Kind;

/// What a client sent and what it was answered.
struct Exchange {
    step: String,
    value: Value,
}

fn exchanges() -> Vec<Exchange> {
    golden::recorded().into_iter().map(|(step, value)| Exchange { step, value }).collect()
}

/// The one custom resource of the recordings.
fn custom(all: &[Exchange]) -> Option<Kind> {
    let bodies = all.iter().map(|exchange| &exchange.value["request_body"]);
    let definition = bodies.into_iter().find(|body| body["kind"] == "CustomResourceDefinition")?;
    let mut schema = definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"].clone();
    schema["properties"]["metadata"] = json!({"$ref": "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"});
    for field in ["apiVersion", "kind"] {
        schema["properties"][field] = json!({"type": "string"});
    }
    let core = golden::document("kube-openapi/v3/api_v1.json")?;
    Some(Kind::new(&schema, &core["components"]["schemas"], 0))
}

/// The schema of a kind: a built-in one, or that of the custom resource.
fn node_of<'k>(custom: &'k Kind, object: &Value) -> Option<Node<'k>> {
    let group_version: GroupVersion = object["apiVersion"].as_str()?.parse().ok()?;
    if group_version.group == "example.com" {
        return Some(custom.node());
    }
    builtin::kind(&group_version.kind(object["kind"].as_str()?))
}

fn query<'e>(exchange: &'e Value, name: &str) -> Option<&'e str> {
    exchange["query"][name][0].as_str()
}

fn entries(object: &Value) -> &[Value] {
    object["metadata"]["managedFields"].as_array().map_or(&[], Vec::as_slice)
}

/// The time of the last write.
fn last_time(object: &Value) -> &str {
    entries(object).iter().filter_map(|entry| entry["time"].as_str()).max().unwrap_or("1970-01-01T00:00:00Z")
}

/// What the server writes itself, after it has noted who owns what: by kind, as JSON pointers.
const WRITTEN_LATER: &[(&str, &[&str])] = &[
    ("Service", &["/spec/clusterIP", "/spec/clusterIPs", "/spec/ipFamilies", "/spec/ipFamilyPolicy"]),
    ("Job", &["/metadata/labels", "/spec/selector", "/spec/template/metadata/labels"]),
    ("PersistentVolumeClaim", &["/metadata/finalizers"]),
    ("Node", &["/spec/taints"]),
    (
        "Pod",
        &[
            "/spec/containers/0/volumeMounts",
            "/spec/volumes",
            "/spec/preemptionPolicy",
            "/spec/priority",
            "/spec/serviceAccount",
            "/spec/serviceAccountName",
            "/spec/tolerations",
        ],
    ),
];

/// The object as it was when it was tracked.
fn as_tracked(answer: &Value) -> Value {
    let mut object = answer.clone();
    object["metadata"]["managedFields"].take();
    let later = WRITTEN_LATER.iter().filter(|(kind, _)| answer["kind"] == *kind);
    for pointer in later.flat_map(|(_, pointers)| *pointers) {
        let (parent, field) = pointer.rsplit_once('/').expect("a pointer");
        if let Some(Value::Object(fields)) = object.pointer_mut(parent) {
            fields.remove(field);
        }
    }
    object
}

/// Whether somebody else has written since `old` was read.
fn is_stale(old: &Value, answer: &Value, manager: &str) -> bool {
    let id = |entry: &Value| ["manager", "operation", "subresource"].map(|field| entry[field].clone());
    let known: Vec<_> = entries(old).iter().map(id).collect();
    entries(answer).iter().any(|entry| entry["manager"] != manager && !known.contains(&id(entry)))
}

/// A conflict, with its causes in one order: there it is that of a hash table.
fn sorted(status: &Value) -> Value {
    let mut status = status.clone();
    let causes = status["details"]["causes"].as_array_mut().expect("a conflict has causes");
    causes.sort_by_key(ToString::to_string);
    status
}

/// A write of the recordings: what it gave, and what it gives here; none for what is no such write.
fn replay(custom: &Kind, value: &Value, seen: &mut BTreeMap<String, Value>) -> Option<(Value, Value)> {
    let path = value["path"].as_str()?;
    let answer = &value["response_body"];
    let is_conflict = answer["details"]["causes"][0]["reason"] == "FieldManagerConflict";
    if answer["metadata"]["uid"].is_null() && !is_conflict {
        return None;
    }
    let created = value["method"] == "POST";
    let place =
        if created { format!("{path}/{}", answer["metadata"]["name"].as_str()?) } else { path.to_string() };
    let old = if is_conflict { seen.get(&place).cloned() } else { seen.insert(place, answer.clone()) };
    let written = matches!(value["method"].as_str(), Some("POST" | "PUT" | "PATCH"));
    if !written || answer["kind"] == "Scale" || !is_conflict && entries(answer).is_empty() {
        return None;
    }
    let applied = text(&value["request_headers"]["Content-Type"]).starts_with("application/apply-patch");
    let agent = text(&value["request_headers"]["User-Agent"]).split('/').next()?;
    let sample = if applied { &value["request_body"] } else { answer };
    let node = node_of(custom, sample)?;
    let manager = Manager {
        name: query(value, "fieldManager").unwrap_or(agent),
        subresource: if path.ends_with("/approval") { "approval" } else { "" },
        api_version: text(&sample["apiVersion"]),
        now: last_time(answer),
        resets: &[&["status"]],
    };
    if old.as_ref().is_some_and(|old| !is_conflict && is_stale(old, answer, manager.name)) {
        return None;
    }
    if applied {
        let force = query(value, "force") == Some("true");
        let result = apply(node, old.as_ref(), sample, &manager, force);
        return match result {
            Ok(object) => Some((entries(answer).into(), entries(&object).into())),
            Err(error) => Some((sorted(answer), sorted(&error.to_status().to_value()))),
        };
    }
    let mut new = if created { as_tracked(answer) } else { answer.clone() };
    new["metadata"]["managedFields"].take();
    // A client that sends entries of its own is replayed with them.
    let operations = value["request_body"].as_array().into_iter().flatten();
    if let Some(sent) = operations.into_iter().find(|one| one["path"] == "/metadata/managedFields") {
        new["metadata"]["managedFields"] = sent["value"].clone();
    }
    let old = if created { None } else { Some(old?) };
    track(node, old.as_ref(), &mut new, &manager);
    Some((entries(answer).into(), entries(&new).into()))
}

#[test]
fn what_is_owned_after_each_write_is_what_kubernetes_says() {
    let all = exchanges();
    let Some(custom) = custom(&all) else { return };
    let mut seen = BTreeMap::new();
    let mut same = 0;
    let mut different = Vec::new();
    for Exchange { step, value } in &all {
        match replay(&custom, value, &mut seen) {
            Some((recorded, here)) if recorded == here => same += 1,
            Some((recorded, here)) => {
                different.push(format!("{step}\n  recorded: {recorded:#}\n  here: {here:#}"));
            }
            None => {}
        }
    }
    assert!(
        different.is_empty(),
        "{same} are the same, {} are not:\n{}",
        different.len(),
        different.join("\n")
    );
    assert!(same >= WRITES, "only {same} writes were compared");
}

/// A patch of the recordings: what the object became, and what it becomes here; none for what is no such patch.
fn patched(custom: &Kind, value: &Value, seen: &mut BTreeMap<String, Value>) -> Option<(Value, Value)> {
    let path = value["path"].as_str()?;
    let answer = &value["response_body"];
    answer["metadata"]["uid"].as_str()?;
    let old = seen.insert(path.into(), answer.clone())?;
    let patch = value["request_body"].clone();
    let name = query(value, "fieldManager").unwrap_or_default();
    if value["method"] != "PATCH" || answer["kind"] == "Scale" || is_stale(&old, answer, name) {
        return None;
    }
    let node = node_of(custom, answer)?;
    let mut object = old;
    match text(&value["request_headers"]["Content-Type"]) {
        "application/strategic-merge-patch+json" => patch::strategic::apply(node, &mut object, patch),
        "application/merge-patch+json" => patch::merge::apply(&mut object, patch),
        "application/json-patch+json" => patch::json::apply(&mut object, &patch),
        _ => return None,
    }
    .expect("it was applied");
    // What controllers write meanwhile is not the patch's.
    let asked = |object: &Value| {
        let mut metadata = object["metadata"].clone();
        for field in ["resourceVersion", "generation", "managedFields"] {
            metadata.as_object_mut().expect("an object").remove(field);
        }
        if let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) {
            annotations.remove("deployment.kubernetes.io/revision");
        }
        json!([metadata, object["spec"], object["data"], object["rules"], object["webhooks"]])
    };
    Some((asked(answer), asked(&object)))
}

#[test]
fn patches_do_what_they_did_to_kubernetes() {
    let all = exchanges();
    let Some(custom) = custom(&all) else { return };
    let mut seen = BTreeMap::new();
    let mut same = 0;
    for Exchange { step, value } in &all {
        if let Some((recorded, here)) = patched(&custom, value, &mut seen) {
            assert_eq!(here, recorded, "{step}");
            same += 1;
        }
    }
    assert!(same >= PATCHES, "only {same} patches were compared");
}

/// Patches that the recordings have, the same aside.
const PATCHES: usize = 15;

/// Writes that the recordings have, without those that somebody else wrote between.
const WRITES: usize = 44;

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
