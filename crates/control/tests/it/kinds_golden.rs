//! Objects that a real server took, gave and refused.

use std::fs;

use base64::Engine;
use serde_json::{Value, json};
use shoal_api::schema::builtin;
use shoal_api::{decode, defaults, proto};
use shoal_control::kinds;

use crate::support::{golden, kind_of, lines};

/// One request and its answer.
struct Exchange {
    step: String,
    method: String,
    path: String,
    status: u64,
    request: Value,
    response: Value,
}

#[test]
fn what_is_made_reads_as_the_server_answered() {
    let (mut compared, mut different) = (0, Vec::new());
    for exchange in exchanges().iter().filter(|one| one.method == "POST" && one.status == 201) {
        let kind = kind_of(&exchange.response);
        if !kinds::knows(&kind) || exchange.request["apiVersion"].is_null() || is_question(&kind.kind) {
            continue;
        }
        let mut object = settled(exchange.request.clone());
        for field in ["name", "namespace", "uid", "creationTimestamp"] {
            let given = exchange.response["metadata"][field].clone();
            if !given.is_null() {
                object["metadata"][field] = given;
            }
        }
        kinds::default(&kind, &mut object);
        kinds::prepare_create(&kind, &mut object);
        kinds::default(&kind, &mut object);
        let object = settled(object);
        let wrong = kinds::validate_create(&kind, &object);
        assert_eq!(lines(&wrong), "", "{} {}", exchange.step, exchange.path);
        let (ours, theirs) = (without_others(object), without_others(exchange.response.clone()));
        different.extend(difference(exchange, &ours, &theirs));
        compared += 1;
    }
    assert!(different.is_empty(), "{}", different.join("\n"));
    assert!(compared > 20 || exchanges().is_empty(), "only {compared} were compared");
}

#[test]
fn what_is_replaced_keeps_what_the_server_kept() {
    let (mut compared, mut different) = (0, Vec::new());
    for exchange in exchanges().iter().filter(|one| one.method == "PUT" && one.status == 200) {
        let kind = kind_of(&exchange.response);
        if !kinds::knows(&kind) {
            continue;
        }
        let old = exchange.response.clone();
        let mut new = settled(exchange.request.clone());
        kinds::default(&kind, &mut new);
        kinds::prepare_update(&kind, "", &mut new, &old);
        kinds::default(&kind, &mut new);
        let new = settled(new);
        assert_eq!(lines(&kinds::validate_update(&kind, "", &new, &old)), "", "{}", exchange.path);
        let (ours, theirs) = (without_others(new), without_others(old));
        different.extend(difference(exchange, &ours, &theirs));
        compared += 1;
    }
    assert!(different.is_empty(), "{}", different.join("\n"));
    assert!(compared > 5 || exchanges().is_empty(), "only {compared} were compared");
}

#[test]
fn whatever_the_server_shows_is_complete_and_right() {
    let (mut seen, mut different) = (0, Vec::new());
    for exchange in exchanges().iter().filter(|one| matches!(one.status, 200 | 201)) {
        for object in objects(&exchange.response) {
            let kind = kind_of(&object);
            if !kinds::knows(&kind) || is_question(&kind.kind) || object["metadata"]["uid"].is_null() {
                continue;
            }
            seen += 1;
            let mut again = object.clone();
            kinds::default(&kind, &mut again);
            let again = settled(again);
            different.extend(difference(exchange, &again, &object));
            let wrong = kinds::validate_update(&kind, "", &again, &object);
            different
                .extend(wrong.iter().map(|error| format!("{} {}: {error}", exchange.step, exchange.path)));
            let mut same = object.clone();
            kinds::prepare_update(&kind, "", &mut same, &object);
            different.extend(difference(exchange, &same, &object));
        }
    }
    assert!(different.is_empty(), "{}", different.join("\n"));
    assert!(seen > 100 || exchanges().is_empty(), "only {seen} were seen");
}

#[test]
fn what_the_server_refused_is_refused_in_its_words() {
    let mut compared = 0;
    for exchange in exchanges().iter().filter(|one| one.status == 422 && one.method != "PATCH") {
        let kind = kind_of(&exchange.request);
        if !kinds::knows(&kind) {
            continue;
        }
        let mut object = settled(exchange.request.clone());
        kinds::default(&kind, &mut object);
        let errors = if exchange.method == "POST" {
            kinds::prepare_create(&kind, &mut object);
            kinds::validate_create(&kind, &object)
        } else {
            let Some(old) = before(exchange) else { continue };
            kinds::prepare_update(&kind, "", &mut object, &old);
            kinds::validate_update(&kind, "", &object, &old)
        };
        let ours: Vec<(String, String)> =
            errors.iter().map(|error| (error.path.to_string(), comparable(&error.message))).collect();
        let causes = exchange.response["details"]["causes"].as_array().cloned().unwrap_or_default();
        let text = |cause: &Value, field: &str| cause[field].as_str().unwrap_or_default().to_owned();
        let theirs: Vec<(String, String)> =
            causes.iter().map(|cause| (text(cause, "field"), comparable(&text(cause, "message")))).collect();
        assert_eq!(ours, theirs, "{} {}", exchange.step, exchange.path);
        compared += 1;
    }
    assert!(compared >= 2 || exchanges().is_empty(), "only {compared} were compared");
}

/// Structures as Go prints them hold addresses: only their name is compared.
fn comparable(message: &str) -> String {
    match (message.find("core.PodTemplateSpec{"), message.rfind("}: ")) {
        (Some(start), Some(end)) => format!("{}…{}", &message[..start], &message[end..]),
        _ => message.to_owned(),
    }
}

/// The last that was seen of the object that a request replaces.
fn before(exchange: &Exchange) -> Option<Value> {
    let all = exchanges();
    let mut states = all.iter().filter(|one| one.status == 200 || one.status == 201).flat_map(|one| {
        objects(&one.response).into_iter().filter(|object| {
            object["kind"] == exchange.request["kind"]
                && object["metadata"]["name"] == exchange.request["metadata"]["name"]
                && !object["metadata"]["uid"].is_null()
        })
    });
    states.next_back().or_else(|| states.next())
}

/// As the object would come out of Go's struct.
fn settled(object: Value) -> Value {
    let node = builtin::kind(&kind_of(&object)).expect("a built-in kind");
    let (mut object, _) =
        decode::value(object, node, decode::Strictness::Ignore).expect("an object of its kind");
    defaults::settle(node, &mut object);
    object
}

fn is_question(kind: &str) -> bool {
    kind.ends_with("Review") || matches!(kind, "TokenRequest" | "Eviction" | "Binding" | "Scale")
}

/// Without what the store, the allocators and admission add.
fn without_others(mut object: Value) -> Value {
    let remove = |value: &mut Value, fields: &[&str]| {
        if let Some(map) = value.as_object_mut() {
            map.retain(|field, _| !fields.contains(&field.as_str()));
        }
    };
    remove(&mut object["metadata"], &["resourceVersion", "managedFields"]);
    match object["kind"].as_str().unwrap_or_default() {
        "Service" => {
            remove(&mut object["spec"], &["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"]);
        }
        "Pod" => {
            let fields = [
                "volumes",
                "serviceAccountName",
                "serviceAccount",
                "tolerations",
                "priority",
                "preemptionPolicy",
            ];
            remove(&mut object["spec"], &fields);
            for container in object["spec"]["containers"].as_array_mut().into_iter().flatten() {
                remove(container, &["volumeMounts"]);
            }
        }
        "PersistentVolumeClaim" => remove(&mut object["metadata"], &["finalizers"]),
        "Node" => remove(&mut object["spec"], &["taints"]),
        "Deployment" => remove(&mut object["metadata"], &["generation"]),
        _ => {}
    }
    object
}

/// All objects of an answer: itself, its items, the objects of a watch.
fn objects(answer: &Value) -> Vec<Value> {
    let Some(items) = answer["items"].as_array() else {
        return if answer["kind"].is_string() && answer["apiVersion"].is_string() {
            vec![answer.clone()]
        } else {
            Vec::new()
        };
    };
    let kind = answer["kind"].as_str().unwrap_or_default().trim_end_matches("List");
    let with_kind = |item: &Value| {
        let mut item = item.clone();
        item["kind"] = json!(kind);
        item["apiVersion"] = answer["apiVersion"].clone();
        item
    };
    items.iter().filter(|item| item.is_object()).map(with_kind).collect()
}

/// Fields that differ, ours against theirs, with where they were seen.
fn difference(exchange: &Exchange, ours: &Value, theirs: &Value) -> Vec<String> {
    let mut lines = Vec::new();
    collect("", ours, theirs, &mut lines);
    lines.iter().map(|line| format!("{} {}: {line}", exchange.step, exchange.path)).collect()
}

fn collect(path: &str, ours: &Value, theirs: &Value, lines: &mut Vec<String>) {
    match (ours, theirs) {
        (Value::Object(left), Value::Object(right)) => {
            let added = right.keys().filter(|key| !left.contains_key(*key));
            for key in left.keys().chain(added) {
                match (left.get(key), right.get(key)) {
                    (Some(left), Some(right)) => collect(&format!("{path}.{key}"), left, right, lines),
                    (left, right) => lines.push(format!("{path}.{key}: {left:?} is not {right:?}")),
                }
            }
        }
        (Value::Array(left), Value::Array(right)) if left.len() == right.len() => {
            for (index, (left, right)) in left.iter().zip(right).enumerate() {
                collect(&format!("{path}[{index}]"), left, right, lines);
            }
        }
        _ if ours == theirs => {}
        _ => lines.push(format!("{path}: {ours} is not {theirs}")),
    }
}

/// Everything that was recorded; nothing where the recordings are absent.
fn exchanges() -> Vec<Exchange> {
    let Some(directory) = golden("kubectl") else { return Vec::new() };
    let mut files: Vec<_> =
        fs::read_dir(directory).expect("a directory").flatten().map(|one| one.path()).collect();
    files.sort_by_key(|path| number_of(path));
    let mut all = Vec::new();
    for path in files {
        let text = fs::read_to_string(&path).expect("a text");
        let run: Value = serde_json::from_str(&text).expect("a JSON document");
        for one in run["exchanges"].as_array().into_iter().flatten() {
            all.push(Exchange {
                step: run["name"].as_str().unwrap_or_default().to_owned(),
                method: one["method"].as_str().unwrap_or_default().to_owned(),
                path: one["path"].as_str().unwrap_or_default().to_owned(),
                status: one["status"].as_u64().unwrap_or_default(),
                request: body(&one["request_body"]),
                response: body(&one["response_body"]),
            });
        }
    }
    all
}

fn number_of(path: &std::path::Path) -> u32 {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    name.split('-').next().and_then(|number| number.parse().ok()).unwrap_or(u32::MAX)
}

/// A body as JSON, whatever it came as.
fn body(recorded: &Value) -> Value {
    let bytes = match (&recorded["_text"], &recorded["_base64"]) {
        (Value::String(text), _) => text.as_bytes().to_vec(),
        (_, Value::String(text)) => {
            base64::engine::general_purpose::STANDARD.decode(text).expect("base64 of a recording")
        }
        _ => return recorded.clone(),
    };
    let Ok(object) = proto::decode_object(&bytes) else { return Value::Null };
    if builtin::kind(&kind_of(&object)).is_some() { settled(object) } else { object }
}
