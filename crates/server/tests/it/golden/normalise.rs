//! What two servers cannot have in common: ids, revisions, times, addresses. Each rule keeps the *kind* of the value,
//! so that a uid that is missing, or is no uid, still shows.

use serde_json::{Map, Value};

/// Columns of tables that tell how long something has been.
const AGES: [&str; 5] = ["Age", "Last Seen", "First Seen", "Duration", "Last Schedule"];
/// Lists whose order kube-apiserver leaves to chance, and what they are sorted by here.
const UNORDERED: [(&str, &str); 3] = [
    ("/details/causes", "message"),
    ("/status/nonResourceRules", "nonResourceURLs"),
    ("/status/resourceRules", "resources"),
];
/// Names that end in drawn letters: the prefix stays.
const DRAWN_NAMES: [&str; 1] = ["kube-api-access-"];
/// Bytes of a uid.
const UID_BYTES: usize = 36;
/// Letters that are drawn for a name.
const DRAWN_LETTERS: usize = 5;
/// Letters of a time in the name of an event.
const EVENT_LETTERS: usize = 16;

/// Makes a value the same on every server that behaves the same.
pub(super) fn normalise(value: &mut Value) {
    if value["kind"] == "Table" {
        table(value);
    }
    walk("", value);
    for (list, key) in UNORDERED {
        if let Some(items) = value.pointer_mut(list).and_then(Value::as_array_mut) {
            items.sort_by_key(|item| item[key].to_string());
        }
    }
}

fn walk(key: &str, value: &mut Value) {
    match value {
        Value::Object(fields) => {
            generated(fields);
            event(fields);
            let named: Vec<String> = fields.keys().filter(|key| word("", key) != **key).cloned().collect();
            for key in named {
                if let Some(field) = fields.remove(&key) {
                    fields.insert(word("", &key), field);
                }
            }
            for (key, field) in fields.iter_mut() {
                walk(key, field);
            }
            // They stand in the order of their times, which are not these.
            if let Some(Value::Array(owners)) = fields.get_mut("managedFields") {
                owners.sort_by_key(super::compare::identity);
            }
        }
        Value::Array(items) => {
            items.iter_mut().for_each(|item| walk(key, item));
            // They stand in the order of their names, of which an end was drawn or computed.
            if items.iter().any(is_named_by_chance) {
                items.sort_by_key(super::compare::identity);
            }
        }
        Value::String(text) => *text = word(key, text),
        _ => {}
    }
}

/// The name of an object that was drawn after its `generateName`.
fn generated(metadata: &mut Map<String, Value>) {
    let Some(prefix) = metadata.get("generateName").and_then(Value::as_str) else { return };
    let name = metadata.get("name").and_then(Value::as_str);
    let is_drawn =
        name.and_then(|name| name.strip_prefix(prefix)).is_some_and(|drawn| drawn.len() == DRAWN_LETTERS);
    if is_drawn {
        let name = format!("{prefix}<drawn>");
        metadata.insert("name".into(), name.into());
    }
}

fn is_named_by_chance(item: &Value) -> bool {
    let metadata = if item["object"].is_object() { &item["object"]["metadata"] } else { &item["metadata"] };
    let is_drawn = metadata["name"].as_str().is_some_and(|name| name.contains("<drawn>"));
    is_drawn || metadata["labels"]["pod-template-hash"].is_string()
}

/// The name of an event is that of its object and a time.
fn event(fields: &mut Map<String, Value>) {
    if !fields.contains_key("involvedObject") && !fields.contains_key("regarding") {
        return;
    }
    let Some(name) = fields.get_mut("metadata").and_then(|metadata| metadata.get_mut("name")) else { return };
    let drawn = name.as_str().and_then(|text| text.rsplit_once('.'));
    let is_drawn = |end: &str| end.len() == EVENT_LETTERS && end.bytes().all(|byte| byte.is_ascii_hexdigit());
    if let Some((of, _)) = drawn.filter(|(_, end)| is_drawn(end)) {
        *name = format!("{of}.<drawn>").into();
    }
}

/// A text that names a ReplicaSet, without the hash of its template.
fn without_template(text: &str) -> String {
    let named = ["ReplicaSet \"", "replica set \"", "replica set "].into_iter().find_map(|before| {
        let begin = text.find(before)? + before.len();
        let end = text[begin..].find(['"', ' ']).map_or(text.len(), |length| begin + length);
        Some(begin + text[begin..end].rfind('-')? + 1..end)
    });
    named
        .map_or_else(|| text.into(), |hash| format!("{}<template>{}", &text[..hash.start], &text[hash.end..]))
}

/// A text without what was drawn, counted or measured for it.
fn word(key: &str, text: &str) -> String {
    match key {
        "uid" | "podUID" if is_uid(text) => "<uid>".into(),
        "resourceVersion" if text.bytes().all(|byte| byte.is_ascii_digit()) && text != "0" => {
            "<revision>".into()
        }
        "clusterIP" | "clusterIPs" | "cells" if is_service_address(text) => "<service address>".into(),
        "token" if text.starts_with("eyJ") => "<token>".into(),
        "authentication.kubernetes.io/credential-id" => "<credential>".into(),
        _ if is_time(text) => "<time>".into(),
        _ if text == "REDACTED PEM" || text.starts_with("-----BEGIN ") => "<pem>".into(),
        _ => without_uids(&without_template(&drawn_name(text))),
    }
}

/// A text that names things by their uid.
fn without_uids(text: &str) -> String {
    let found = text.char_indices().find(|(at, _)| text.get(*at..at + UID_BYTES).is_some_and(is_uid));
    match found {
        Some((at, _)) => format!("{}<uid>{}", &text[..at], without_uids(&text[at + UID_BYTES..])),
        None => text.into(),
    }
}

/// Cells that tell an age, or an address.
fn table(value: &mut Value) {
    let columns = value["columnDefinitions"].as_array().cloned().unwrap_or_default();
    for row in value["rows"].as_array_mut().into_iter().flatten() {
        let prefix = row["object"]["metadata"]["generateName"].as_str().unwrap_or_default().to_owned();
        if let Some(name) = row["cells"][0].as_str().and_then(|name| name.strip_prefix(&prefix))
            && !prefix.is_empty()
            && name.len() == DRAWN_LETTERS
        {
            row["cells"][0] = format!("{prefix}<drawn>").into();
        }
        for (column, cell) in columns.iter().zip(row["cells"].as_array_mut().into_iter().flatten()) {
            let is_age = AGES.contains(&column["name"].as_str().unwrap_or_default());
            if let Some(text) = cell.as_str()
                && is_age
                && is_duration(text)
            {
                *cell = "<age>".into();
            }
        }
    }
}

fn is_uid(text: &str) -> bool {
    let fits = |(at, byte): (usize, u8)| match at {
        8 | 13 | 18 | 23 => byte == b'-',
        _ => byte.is_ascii_hexdigit(),
    };
    text.len() == UID_BYTES && text.bytes().enumerate().all(fits)
}

/// RFC 3339, with or without parts of a second.
fn is_time(text: &str) -> bool {
    let shape: String =
        text.chars().take(20).map(|letter| if letter.is_ascii_digit() { '0' } else { letter }).collect();
    text.len() <= 30 && (shape == "0000-00-00T00:00:00Z" || shape == "0000-00-00T00:00:00.")
}

fn is_duration(text: &str) -> bool {
    let begins = text.starts_with(|letter: char| letter.is_ascii_digit());
    begins
        && text.ends_with(['s', 'm', 'h', 'd'])
        && text.chars().all(|letter| "0123456789smhd".contains(letter))
}

/// In the ranges that the recorded server and this one draw the addresses of Services from.
fn is_service_address(text: &str) -> bool {
    (text.starts_with("10.0.") || text.starts_with("10.96.")) && text.parse::<std::net::Ipv4Addr>().is_ok()
}

fn drawn_name(text: &str) -> String {
    for prefix in DRAWN_NAMES {
        if let Some(at) = text.find(prefix) {
            let end = at + prefix.len();
            let drawn = text[end..].bytes().take_while(u8::is_ascii_alphanumeric).count();
            if drawn == DRAWN_LETTERS {
                return format!("{}<drawn>{}", &text[..end], &text[end + drawn..]);
            }
        }
    }
    text.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_what_is_drawn_counted_or_measured_is_evened_out() {
        let mut value = json!({
            "kind": "Table",
            "columnDefinitions": [{"name": "Name"}, {"name": "Age"}, {"name": "Cluster-IP"}],
            "metadata": {"resourceVersion": "7", "uid": "c234bf20-43b8-41c1-b568-934d95a20d2d"},
            "rows": [{"cells": ["10s", "10s", "10.0.3.4"]}, {"cells": ["b", "<unknown>", "None"]}],
            "made": {"metadata": {"generateName": "web-", "name": "web-x2k4l"}},
            "owned": {"k:{\"uid\":\"c234bf20-43b8-41c1-b568-934d95a20d2d\"}": {}},
            "other": {"resourceVersion": "x", "uid": "short", "at": "2026-11-22T10:53:03Z", "token": "eyJx.y"},
            "volume": "kube-api-access-b8stp",
            "message": "ReplicaSet \"web-5b5fcc74\" is progressing.", "note": "Scaled up replica set web-5b5fcc74 from 0 to 3",
            "told": {"involvedObject": {}, "metadata": {"name": "web.18ea5891767c2555"}},
        });
        normalise(&mut value);
        let wanted = json!({
            "kind": "Table",
            "columnDefinitions": [{"name": "Name"}, {"name": "Age"}, {"name": "Cluster-IP"}],
            "metadata": {"resourceVersion": "<revision>", "uid": "<uid>"},
            "rows": [{"cells": ["10s", "<age>", "<service address>"]}, {"cells": ["b", "<unknown>", "None"]}],
            "made": {"metadata": {"generateName": "web-", "name": "web-<drawn>"}},
            "owned": {"k:{\"uid\":\"<uid>\"}": {}},
            "other": {"resourceVersion": "x", "uid": "short", "at": "<time>", "token": "<token>"},
            "volume": "kube-api-access-<drawn>",
            "message": "ReplicaSet \"web-<template>\" is progressing.", "note": "Scaled up replica set web-<template> from 0 to 3",
            "told": {"involvedObject": {}, "metadata": {"name": "web.<drawn>"}},
        });
        assert_eq!(value, wanted);
    }
}
