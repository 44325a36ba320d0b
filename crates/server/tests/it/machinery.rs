//! What lists, watches, discovery and the checks of fields promise to clients, beyond what every kind has in common.

use std::time::Duration;

use http::Method;
use serde_json::{Value, json};

use crate::client::{Answer, Stream};
use crate::server::Server;

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
/// For an event of a watch.
const EVENT_WITHIN: Duration = Duration::from_secs(20);

async fn get(server: &Server, target: &str) -> Value {
    let answer = server.send(Method::GET, target, None).await;
    assert_eq!(answer.status, 200, "{target}: {}", answer.text());
    answer.json()
}

async fn patch(server: &Server, target: &str, body: &Value) -> Answer {
    let merge = [("content-type", "application/merge-patch+json")];
    server.client.send(Method::PATCH, target, &merge, body.to_string().into_bytes()).await
}

async fn make(server: &Server, target: &str, body: &Value) -> Value {
    let answer = server.send(Method::POST, target, Some(body)).await;
    assert_eq!(answer.status, 201, "{target}: {}", answer.text());
    answer.json()
}

fn map(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "labels": {"seen": "yes"}}, "data": {"n": "0"}})
}

async fn follow(server: &Server, query: &str) -> Stream {
    let target = format!("{MAPS}?watch=true&labelSelector=seen%3Dyes{query}");
    server.client.stream(Method::GET, &target, &[], Vec::new()).await
}

/// The next events, in words.
async fn told(stream: &mut Stream, events: usize) -> Vec<String> {
    let mut told = Vec::new();
    for _ in 0..events {
        let event = stream.next(EVENT_WITHIN).await.expect("an event");
        let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let (kind, object) = (word(&event["type"]), &event["object"]);
        told.push(format!("{kind} {} {}", word(&object["metadata"]["name"]), word(&object["data"]["n"])));
    }
    told
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lists_come_in_chunks_of_one_revision() {
    const MAPS_MADE: usize = 23;
    const CHUNK: usize = 5;
    let server = Server::start().await;
    for number in 0..MAPS_MADE {
        make(&server, MAPS, &map(&format!("m{number:02}"))).await;
    }
    let (mut names, mut token, mut revisions) = (Vec::new(), String::new(), Vec::new());
    loop {
        let page = get(&server, &format!("{MAPS}?limit={CHUNK}&continue={token}")).await;
        let items = page["items"].as_array().expect("items");
        names.extend(items.iter().map(|item| item["metadata"]["name"].clone()));
        revisions.push(page["metadata"]["resourceVersion"].clone());
        // What is made or deleted in between is not seen.
        let _ = server.send(Method::DELETE, &format!("{MAPS}/m22"), None).await;
        token = page["metadata"]["continue"].as_str().unwrap_or_default().to_owned();
        if token.is_empty() {
            break;
        }
        let left = page["metadata"]["remainingItemCount"].as_u64().expect("a count");
        assert_eq!(left as usize, MAPS_MADE + 1 - names.len(), "the map of the authority is one of them");
        assert_eq!(items.len(), CHUNK);
    }
    assert_eq!(names.len(), MAPS_MADE + 1);
    revisions.dedup();
    assert_eq!(revisions.len(), 1, "all chunks are of one revision");
    let broken = server.send(Method::GET, &format!("{MAPS}?limit=1&continue=broken"), None).await;
    assert_eq!(broken.status, 400);
    server.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watches_begin_anywhere_and_agree_with_each_other() {
    let server = Server::start().await;
    let first = make(&server, MAPS, &map("a")).await;
    let from = first["metadata"]["resourceVersion"].as_str().expect("a revision").to_owned();
    let mut one = follow(&server, &format!("&resourceVersion={from}")).await;
    let change = |n: &str| json!({"data": {"n": n}});
    assert_eq!(patch(&server, &format!("{MAPS}/a"), &change("1")).await.status, 200);
    let second = patch(&server, &format!("{MAPS}/a"), &change("2")).await.json();
    // Whoever no longer matches is gone, and comes back as new.
    for label in ["no", "yes"] {
        patch(&server, &format!("{MAPS}/a"), &json!({"metadata": {"labels": {"seen": label}}})).await;
    }
    make(&server, MAPS, &map("b")).await;
    server.send(Method::DELETE, &format!("{MAPS}/a"), None).await;
    let all = ["MODIFIED a 1", "MODIFIED a 2", "DELETED a 2", "ADDED a 2", "ADDED b 0", "DELETED a 2"];
    assert_eq!(told(&mut one, all.len()).await, all);
    // One that begins later goes on from there; one that begins where the first did sees the same in the same order.
    let later = second["metadata"]["resourceVersion"].as_str().expect("a revision");
    let mut rest = follow(&server, &format!("&resourceVersion={later}")).await;
    assert_eq!(told(&mut rest, 4).await, all[2..]);
    let mut again = follow(&server, &format!("&resourceVersion={from}")).await;
    assert_eq!(told(&mut again, all.len()).await, all);
    // And one that begins with what is there.
    let mut initial =
        follow(&server, "&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true")
            .await;
    assert_eq!(told(&mut initial, 2).await, ["ADDED b 0", "BOOKMARK  "]);
    drop((one, rest, again, initial));
    server.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_shown_as_a_table_is_refused() {
    let server = Server::start().await;
    let table =
        [("accept", "application/json;as=Table;v=v1;g=meta.k8s.io"), ("content-type", "application/json")];
    let review = json!({"spec": {"nonResourceAttributes": {"verb": "get", "path": "/"}}});
    let reviews = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
    let answer = server.client.send(Method::POST, reviews, &table, review.to_string().into_bytes()).await;
    assert_eq!(
        (answer.status, answer.json()["reason"].as_str()),
        (406, Some("NotAcceptable")),
        "{}",
        answer.text()
    );
    let pods = server.client.send(Method::GET, "/api/v1/pods", &table, Vec::new()).await.json();
    assert_eq!(pods["kind"], "Table");
    server.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn discovery_names_every_group_its_version_and_its_kinds() {
    let server = Server::start().await;
    let groups = get(&server, "/apis").await;
    let accept = [("accept", "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList")];
    let aggregated = server.client.send(Method::GET, "/apis", &accept, Vec::new()).await.json();
    let mut seen = 0;
    for group in groups["groups"].as_array().expect("groups") {
        let name = group["name"].as_str().expect("a name");
        let versions = group["versions"].as_array().expect("versions");
        assert!(versions.contains(&group["preferredVersion"]), "{group}");
        assert_eq!(&get(&server, &format!("/apis/{name}")).await["versions"], &group["versions"]);
        for version in versions {
            let path = format!("/apis/{}", version["groupVersion"].as_str().expect("a version"));
            let list = get(&server, &path).await;
            let resources = list["resources"].as_array().expect("resources");
            assert!(
                !resources.is_empty()
                    && resources.iter().all(|one| !one["verbs"].as_array().expect("verbs").is_empty())
            );
            let at_once = aggregated["items"].as_array().expect("groups").iter();
            let at_once = at_once.filter(|one| one["metadata"]["name"] == name);
            let at_once: Vec<&Value> =
                at_once.flat_map(|one| one["versions"].as_array().expect("versions")).collect();
            let mine = at_once
                .iter()
                .find(|one| one["version"] == version["version"])
                .expect("it is told at once too");
            let whole = resources
                .iter()
                .filter(|one| !one["name"].as_str().is_some_and(|name| name.contains('/')))
                .count();
            assert_eq!(mine["resources"].as_array().map(Vec::len), Some(whole), "{path}");
            seen += whole;
        }
    }
    assert!(seen > 40, "{seen} kinds");
    server.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unknown_and_double_fields_are_refused_told_or_dropped() {
    let server = Server::start().await;
    define(&server, "gauges", &[("v1", true, true)]).await;
    let text = |api: &str, kind: &str, rest: &str| {
        format!(
            r#"{{"apiVersion": "{api}", "kind": "{kind}", "metadata": {{"name": "x", "unknownMeta": 1}}, {rest}}}"#
        )
    };
    let built_in = text("v1", "ConfigMap", r#""data": {"a": "1", "a": "2"}, "extra": true"#);
    let custom = text("machinery.example.com/v1", "Gauges", r#""spec": {"n": 1, "n": 2}, "extra": true"#);
    let gauges = "/apis/machinery.example.com/v1/namespaces/default/gauges";
    for (target, body, double) in [(MAPS, &built_in, "data.a"), (gauges, &custom, "spec.n")] {
        let post = |validation: &str| {
            let target = format!("{target}?dryRun=All&fieldValidation={validation}");
            let (server, body) = (&server, body.clone().into_bytes());
            async move {
                server.client.send(Method::POST, &target, &[("content-type", "application/json")], body).await
            }
        };
        let strict = post("Strict").await;
        assert_eq!(strict.status, 400, "{}", strict.text());
        let told = [
            "unknown field \"extra\"",
            "unknown field \"metadata.unknownMeta\"",
            &format!("duplicate field \"{double}\""),
        ]
        .map(str::to_owned);
        let message = strict.json()["message"].as_str().unwrap_or_default().to_owned();
        assert!(told.iter().all(|what| message.contains(what)), "{message}");
        let warn = post("Warn").await;
        assert_eq!(warn.status, 201, "{}", warn.text());
        let warnings: Vec<&str> =
            warn.headers.get_all("warning").iter().filter_map(|value| value.to_str().ok()).collect();
        assert_eq!(warnings.len(), 3, "{warnings:?}");
        assert_eq!(warn.json().get("extra"), None);
        let ignore = post("Ignore").await;
        assert!(ignore.status == 201 && ignore.headers.get("warning").is_none(), "{}", ignore.text());
        assert_eq!(post("Perhaps").await.status, 422);
    }
    server.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn documents_follow_definitions_from_version_to_version() {
    let server = Server::start().await;
    define(&server, "dials", &[("v1", true, true), ("v2", true, false)]).await;
    define(&server, "gauges", &[("v1", true, true)]).await;
    let documents = |version: &'static str| {
        let server = &server;
        async move {
            let v3 = server
                .send(Method::GET, &format!("/openapi/v3/apis/machinery.example.com/{version}"), None)
                .await;
            let has = |plural: &str| v3.text().contains(&format!("/namespaces/{{namespace}}/{plural}"));
            let v2 = get(server, "/openapi/v2").await;
            let defined = |kind: &str| {
                v2["definitions"].get(format!("com.example.machinery.{version}.{kind}")).is_some()
            };
            (has("dials"), has("gauges"), defined("Dials"), defined("Gauges"))
        }
    };
    assert_eq!(documents("v1").await, (true, true, true, true));
    assert_eq!(documents("v2").await, (true, false, true, false));
    let path = format!("{DEFINITIONS}/dials.machinery.example.com");
    // A version gets another name, and one is no longer served.
    let renamed = json!({"spec": {"versions": [version("v1", false, true), version("v3", true, false)]}});
    let answer = patch(&server, &path, &renamed).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(documents("v1").await, (false, true, false, true));
    assert_eq!(documents("v2").await, (false, false, false, false));
    assert_eq!(documents("v3").await, (true, false, true, false));
    let gone = server.send(Method::GET, "/apis/machinery.example.com/v2/dials", None).await;
    assert_eq!(gone.status, 404);
    server.end().await;
}

fn version(name: &str, served: bool, storage: bool) -> Value {
    let schema = json!({"type": "object", "properties": {"spec": {"type": "object", "properties": {"n": {"type": "integer", "default": 7}}}}});
    json!({"name": name, "served": served, "storage": storage, "schema": {"openAPIV3Schema": schema}})
}

/// A definition whose kind is named as its resource.
async fn define(server: &Server, plural: &str, versions: &[(&str, bool, bool)]) {
    let kind = format!("{}{}", plural[..1].to_uppercase(), &plural[1..]);
    let versions: Vec<Value> =
        versions.iter().map(|(name, served, storage)| version(name, *served, *storage)).collect();
    let body = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{plural}.machinery.example.com")},
        "spec": {"group": "machinery.example.com", "scope": "Namespaced", "names": {"kind": kind, "plural": plural}, "versions": versions},
    });
    make(server, DEFINITIONS, &body).await;
    let path = format!("/apis/machinery.example.com/v1/{plural}");
    server.until(&path, |answer| answer.status == 200).await;
}
