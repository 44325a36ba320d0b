//! Recorded answers of a kube-apiserver 1.32, where they are at hand: who owns what after each write.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use shoal_api::apply::{Manager, apply, track};

use crate::openapi::Kind;

fn golden() -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../../shared/golden");
    path.is_dir().then_some(path)
}

/// What a client sent and what it was answered.
struct Exchange {
    step: String,
    value: Value,
}

fn exchanges(golden: &Path) -> Vec<Exchange> {
    let entries = fs::read_dir(golden.join("kubectl")).expect("the recordings can be listed");
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("readable").path()).collect();
    let number = |path: &PathBuf| -> u32 {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        name.split('-').next().and_then(|number| number.parse().ok()).unwrap_or(u32::MAX)
    };
    files.sort_by_key(number);
    let mut all = Vec::new();
    for path in files {
        let text = fs::read_to_string(&path).expect("readable");
        let recording: Value = serde_json::from_str(&text).expect("JSON");
        let step = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        for value in recording["exchanges"].as_array().into_iter().flatten() {
            all.push(Exchange { step: step.clone(), value: value.clone() });
        }
    }
    all
}

/// The schema of a kind, from the OpenAPI document of its group, or from its definition among the recordings.
fn kind_of(golden: &Path, all: &[Exchange], object: &Value) -> Option<Kind> {
    let api_version = object["apiVersion"].as_str()?;
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let read = |file: &str| -> Option<Value> {
        let text = fs::read_to_string(golden.join("kube-openapi/v3").join(file)).ok()?;
        Some(serde_json::from_str(&text).expect("JSON"))
    };
    let file =
        if group.is_empty() { format!("api_{version}.json") } else { format!("apis_{group}_{version}.json") };
    let Some(document) = read(&file) else {
        let definition = all.iter().map(|exchange| &exchange.value["request_body"]).find(|body| {
            body["kind"] == "CustomResourceDefinition" && body["spec"]["names"]["kind"] == object["kind"]
        })?;
        let mut schema = definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"].clone();
        schema["properties"]["metadata"] = json!({"$ref": "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"});
        for field in ["apiVersion", "kind"] {
            schema["properties"][field] = json!({"type": "string"});
        }
        let core = read("api_v1.json")?;
        return Some(Kind::new(&schema, &core["components"]["schemas"], 0));
    };
    let definitions = &document["components"]["schemas"];
    let is_kind = |definition: &Value| {
        let mut kinds = definition["x-kubernetes-group-version-kind"].as_array().into_iter().flatten();
        kinds.any(|kind| {
            kind["kind"] == object["kind"] && kind["group"] == group && kind["version"] == version
        })
    };
    let definition = definitions.as_object()?.values().find(|definition| is_kind(definition))?;
    Some(Kind::new(definition, definitions, 1))
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
fn replay(
    golden: &Path,
    all: &[Exchange],
    value: &Value,
    seen: &mut BTreeMap<String, Value>,
) -> Option<(Value, Value)> {
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
    let kind = kind_of(golden, all, sample)?;
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
        let result = apply(kind.node(), old.as_ref(), sample, &manager, force);
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
    track(kind.node(), old.as_ref(), &mut new, &manager);
    Some((entries(answer).into(), entries(&new).into()))
}

#[test]
fn what_is_owned_after_each_write_is_what_kubernetes_says() {
    let Some(golden) = golden() else { return };
    let all = exchanges(&golden);
    let mut seen = BTreeMap::new();
    let mut same = 0;
    let mut different = Vec::new();
    for Exchange { step, value } in &all {
        match replay(&golden, &all, value, &mut seen) {
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

/// Writes that the recordings have, without those that somebody else wrote between.
const WRITES: usize = 44;

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
