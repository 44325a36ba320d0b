//! What the conformance tests of Kubernetes ask of an API server, as far as it needs no containers. `docs/conformance.md` has
//! the list.

use std::time::Duration;

use http::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::client::{Answer, Stream};
use crate::server::Server;

/// For an event of a watch.
const EVENT_WITHIN: Duration = Duration::from_secs(20);
/// Who writes here.
const MERGE: &[(&str, &str)] = &[("content-type", "application/merge-patch+json")];

/// A kind, and what its objects look like.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Kind {
    /// Group and version; empty: the core's.
    #[serde(default)]
    group: String,
    /// As paths name it.
    kinds: String,
    object: Value,
    /// What may be written to `status`; none: controllers write it, or there is none.
    #[serde(default)]
    status: Value,
    /// It is in no namespace.
    #[serde(default)]
    cluster: bool,
    /// All of them can be deleted at once.
    #[serde(default = "yes")]
    collection: bool,
    /// Something has to be done before one of them is gone.
    #[serde(default)]
    protected: bool,
}

fn yes() -> bool {
    true
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_kind_is_made_read_changed_followed_and_deleted() {
    let kinds: Vec<Kind> = serde_saphyr::from_str(include_str!("conformance/kinds.yaml")).expect("the kinds");
    let server = Server::start().await;
    let everywhere = server.send(Method::GET, "/apis", None).await.json();
    assert!(everywhere["groups"].as_array().is_some_and(|groups| groups.len() > 15), "{everywhere}");
    for kind in &kinds {
        Life { server: &server, kind }.lived().await;
    }
    server.end().await;
}

/// One object from its creation to its end.
struct Life<'s> {
    server: &'s Server,
    kind: &'s Kind,
}

impl Life<'_> {
    async fn lived(&self) {
        let made = self.made("one").await;
        assert_eq!(self.post(&self.object("one")).await.status, 409, "{}: twice", self.all());
        let listed = self.get(&format!("{}?labelSelector=life%3Done", self.all())).await;
        assert_eq!(listed["items"].as_array().map(Vec::len), Some(1), "{listed}");
        assert_eq!(listed["items"][0]["metadata"]["uid"], made["metadata"]["uid"]);
        let revision = listed["metadata"]["resourceVersion"].as_str().expect("a revision");
        let mut events = self.follow(revision).await;
        self.changed(&mut events, &made).await;
        self.told().await;
        self.ended(&mut events).await;
        self.ended_together().await;
    }

    async fn changed(&self, events: &mut Stream, made: &Value) {
        let one = self.one("one");
        let patch = json!({"metadata": {"annotations": {"patched": "yes"}}});
        let patched = self.write(Method::PATCH, &one, MERGE, &patch).await;
        assert_eq!(patched["metadata"]["annotations"]["patched"], "yes");
        assert_eq!(self.until(events, "MODIFIED", "/metadata/annotations/patched").await, "yes");
        let mut old = made.clone();
        old["metadata"]["annotations"] = json!({"stale": "yes"});
        let stale = self.server.send(Method::PUT, &one, Some(&old));
        assert_eq!(stale.await.status, 409, "{one}: an old revision is written");
        let mut newer = self.get(&one).await;
        newer["metadata"]["annotations"]["updated"] = "yes".into();
        // Controllers may have written in between.
        let updated = loop {
            let answer = self.server.send(Method::PUT, &one, Some(&newer)).await;
            if answer.status != 409 {
                break answer;
            }
            newer = self.get(&one).await;
            newer["metadata"]["annotations"]["updated"] = "yes".into();
        };
        assert_eq!(updated.status, 200, "{one}: {}", updated.text());
        let mut applied = self.object("one");
        applied["metadata"]["annotations"] = json!({"applied": "yes"});
        let target = format!("{one}?fieldManager=tester&force=true");
        let apply = &[("content-type", "application/apply-patch+yaml")];
        let applied = self.write(Method::PATCH, &target, apply, &applied).await;
        assert_eq!(applied["metadata"]["annotations"]["updated"], "yes", "what others wrote stays");
        assert_eq!(applied["metadata"]["uid"], made["metadata"]["uid"]);
        let tried = self
            .write(
                Method::PATCH,
                &format!("{one}?dryRun=All"),
                MERGE,
                &json!({"metadata": {"labels": {"dry": "run"}}}),
            )
            .await;
        assert_eq!(tried["metadata"]["labels"]["dry"], "run");
        assert_eq!(self.get(&one).await["metadata"]["labels"].get("dry"), None, "{one}: a dry run was kept");
    }

    /// Writes what others tell of it.
    async fn told(&self) {
        if self.kind.status.is_null() {
            return;
        }
        let status = format!("{}/status", self.one("one"));
        let patched = self.write(Method::PATCH, &status, MERGE, &json!({"status": self.kind.status})).await;
        for (key, wanted) in self.kind.status.as_object().expect("fields") {
            let found = &patched["status"][key];
            // Lists and objects come back with their defaults.
            let is_there = found == wanted || (wanted.is_array() || wanted.is_object()) && !found.is_null();
            assert!(is_there, "{status}: {key} is {found}");
        }
        let read = self.get(&status).await;
        assert_eq!(read["metadata"]["uid"], patched["metadata"]["uid"]);
        let spec = self.write(Method::PATCH, &status, MERGE, &json!({"spec": {"nothing": 1}})).await;
        assert_eq!(spec["spec"], read["spec"], "{status} wrote the spec");
    }

    async fn ended(&self, events: &mut Stream) {
        let one = self.one("one");
        let other = json!({"kind": "DeleteOptions", "apiVersion": "v1", "preconditions": {"uid": "another"}});
        assert_eq!(
            self.server.send(Method::DELETE, &one, Some(&other)).await.status,
            409,
            "{one}: another uid"
        );
        let now = json!({"kind": "DeleteOptions", "apiVersion": "v1", "gracePeriodSeconds": 0});
        let deleted = self.server.send(Method::DELETE, &one, Some(&now)).await;
        assert!([200, 202].contains(&deleted.status), "{one}: {}", deleted.text());
        if self.kind.protected {
            self.server.until(&one, |answer| answer.status == 404).await;
        }
        self.until(events, "DELETED", "/metadata/name").await;
        assert_eq!(self.server.send(Method::GET, &one, None).await.status, 404, "{one} is still there");
    }

    async fn ended_together(&self) {
        if !self.kind.collection {
            return;
        }
        for name in ["two", "three"] {
            self.made(name).await;
        }
        let target = format!("{}?labelSelector=life%20in%20(two,three)&gracePeriodSeconds=0", self.all());
        let deleted = self.server.send(Method::DELETE, &target, None).await;
        assert_eq!(deleted.status, 200, "{target}: {}", deleted.text());
        let left = format!("{}?labelSelector=life", self.all());
        self.server.until(&left, |answer| answer.json()["items"] == json!([])).await;
    }

    /// The collection.
    fn all(&self) -> String {
        let Kind { group, kinds, cluster, .. } = self.kind;
        let group = if group.is_empty() { "/api/v1".to_owned() } else { format!("/apis/{group}") };
        if *cluster { format!("{group}/{kinds}") } else { format!("{group}/namespaces/default/{kinds}") }
    }

    fn one(&self, name: &str) -> String {
        format!("{}/{}", self.all(), self.name(name))
    }

    /// Names that no other kind uses: events of both groups are the same objects.
    fn name(&self, name: &str) -> String {
        format!("{}-{name}", self.kind.object["kind"].as_str().unwrap_or_default().to_lowercase())
    }

    fn object(&self, name: &str) -> Value {
        let mut object = self.kind.object.clone();
        object["apiVersion"] =
            if self.kind.group.is_empty() { "v1".into() } else { self.kind.group.clone().into() };
        object["metadata"] = json!({"name": self.name(name), "labels": {"life": name}});
        object
    }

    async fn post(&self, object: &Value) -> Answer {
        self.server.send(Method::POST, &self.all(), Some(object)).await
    }

    async fn made(&self, name: &str) -> Value {
        let answer = self.post(&self.object(name)).await;
        assert_eq!(answer.status, 201, "{}: {}", self.all(), answer.text());
        answer.json()
    }

    async fn get(&self, target: &str) -> Value {
        let answer = self.server.send(Method::GET, target, None).await;
        assert_eq!(answer.status, 200, "{target}: {}", answer.text());
        answer.json()
    }

    async fn write(&self, method: Method, target: &str, headers: &[(&str, &str)], body: &Value) -> Value {
        let answer = self.server.client.send(method, target, headers, body.to_string().into_bytes()).await;
        assert!([200, 201].contains(&answer.status), "{target}: {}", answer.text());
        answer.json()
    }

    async fn follow(&self, revision: &str) -> Stream {
        let target = format!("{}?watch=true&labelSelector=life%3Done&resourceVersion={revision}", self.all());
        let stream = self.server.client.stream(Method::GET, &target, &[], Vec::new()).await;
        assert_eq!(stream.status, 200, "{target}");
        stream
    }

    /// The value of a field in the first event of a type that has it.
    async fn until(&self, events: &mut Stream, event_type: &str, path: &str) -> Value {
        loop {
            let event = events.next(EVENT_WITHIN).await;
            let event = event.unwrap_or_else(|| panic!("{}: no event {event_type} with {path}", self.all()));
            let found = event["object"].pointer(path);
            if event["type"] == event_type
                && let Some(found) = found
            {
                return found.clone();
            }
        }
    }
}
