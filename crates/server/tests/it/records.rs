//! What is written down of requests, and what they cost when they ask for nothing that is there.

use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;
use http::{Method, Request};
use serde_json::{Value, json};
use shoal_client::Transport as _;
use shoal_control::rbac::User;
use shoal_server::Local;
use shoal_server::fair::{QUEUE_MAX, SHORT, Work};

use crate::server::Server;
use crate::store::TestStore;

/// For a line of the audit log to be written.
const SOON: Duration = Duration::from_secs(30);

/// The entry of the audit log of the request with this path and query.
async fn recorded(server: &Server, uri: &str) -> Value {
    let found = async {
        loop {
            let text = std::fs::read_to_string(server.dir().join("audit.log")).expect("a log");
            let mut entries = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
            if let Some(entry) = entries.find(|entry| entry["requestURI"] == uri) {
                return entry;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(SOON, found).await.expect("it is written down, as it was written")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_audit_log_says_who_asked_in_whose_name_and_for_what_exactly() {
    let server = Server::start().await;
    let uri = "/api/v1/namespaces/default/pods?labelSelector=app%3Dx&limit=5";
    assert_eq!(server.send(Method::GET, uri, None).await.status, 200);
    let entry = recorded(&server, uri).await;
    assert_eq!(entry["user"]["username"], "shoal-admin");
    assert_eq!(entry["impersonatedUser"], Value::Null);
    assert_eq!(entry["responseStatus"]["code"], 200);

    let uri = "/api/v1/namespaces/default/p%6Fds?limit=6";
    let bob = [("impersonate-user", "bob"), ("impersonate-group", "dev")];
    assert_eq!(server.client.send(Method::GET, uri, &bob, Vec::new()).await.status, 403);
    let entry = recorded(&server, uri).await;
    assert_eq!(
        (&entry["user"]["username"], &entry["user"]["groups"][0]),
        (&json!("shoal-admin"), &json!("system:masters"))
    );
    assert_eq!(
        entry["impersonatedUser"],
        json!({"username": "bob", "groups": ["dev", "system:authenticated"]})
    );
    assert_eq!((&entry["objectRef"]["resource"], &entry["verb"]), (&json!("pods"), &json!("list")));
    assert_eq!(entry["annotations"]["authorization.k8s.io/decision"], "forbid");
    server.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_refused_before_anything_else_is_written_down() {
    let server = Server::start().await;
    let local = Local::new(server.api().clone(), User::new("helper", &["system:authenticated"]));
    let [root, nobody, trace] =
        ["root", "", "root"].map(|user| Request::builder().header("impersonate-user", user));
    let uris = ["/api/v1/pods?as=root", "/api/v1/pods?as=nobody", "/version?method=trace"];
    let forbid = json!("forbid");
    for (request, uri, code, reason, decision) in [
        (root, uris[0], 403, "Forbidden", forbid.clone()),
        (nobody, uris[1], 400, "BadRequest", Value::Null),
        // Whether they may be somebody else is asked first.
        (trace.method(Method::TRACE), uris[2], 403, "Forbidden", forbid),
        (Request::builder().method(Method::TRACE), "/version?method", 405, "MethodNotAllowed", Value::Null),
    ] {
        let request = request.uri(uri).body(Bytes::new()).expect("a request");
        let answer = local.send(request).await.expect("an answer");
        assert_eq!(answer.status(), code, "{uri}");
        let entry = recorded(&server, uri).await;
        assert_eq!(entry["user"]["username"], "helper", "{uri}");
        assert_eq!(entry["verb"], if uri.contains("pods") { "list" } else { "" }, "{uri}");
        assert_eq!(entry["impersonatedUser"], Value::Null, "nobody became somebody else: {uri}");
        assert_eq!(
            (&entry["responseStatus"]["code"], &entry["responseStatus"]["reason"]),
            (&json!(code), &json!(reason)),
            "{uri}"
        );
        assert_eq!(entry["auditID"], answer.headers()["audit-id"].to_str().expect("text"), "{uri}");
        assert_eq!(entry["annotations"]["authorization.k8s.io/decision"], decision, "{uri}");
    }
    server.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_is_not_known_is_written_down_with_what_they_showed() {
    let server = Server::start().await;
    let mut stranger = server.stranger().session();
    for (at, (header, tried)) in [
        ("", "no credentials provided"),
        ("Bearer eyJhbGciOiJub25lIn0.e30.", "attempted: bearer"),
        ("Basic YWRtaW46YWRtaW4=", "attempted: basic"),
        ("Bearer", "no credentials provided"),
    ]
    .into_iter()
    .enumerate()
    {
        let uri = format!("/api/v1/namespaces/default/secrets/s?{at}");
        let headers = [("authorization", header)];
        let headers = if header.is_empty() { &[][..] } else { &headers };
        let (status, _) = stranger.ask(&Method::DELETE, &uri, headers).await;
        assert_eq!(status, 401, "{header}");
        let entry = recorded(&server, &uri).await;
        assert_eq!((&entry["stage"], &entry["verb"]), (&json!("ResponseStarted"), &json!("delete")));
        assert_eq!(entry["user"], json!({}), "nobody is known");
        let told = json!({"metadata": {}, "code": 401, "message": format!("Authentication failed, {tried}")});
        assert_eq!(entry["responseStatus"], told, "{header}");
        assert_eq!(entry["objectRef"]["name"], "s");
        assert_eq!(entry["annotations"], Value::Null, "nobody has decided what they may do");
    }
    let log = std::fs::read_to_string(server.dir().join("audit.log")).expect("a log");
    assert!(
        !log.contains("eyJhbGciOiJub25lIn0") && !log.contains("YWRtaW46YWRtaW4"),
        "what was shown itself"
    );
    server.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_is_sent_away_because_too_many_wait_is_written_down() {
    let server = Server::start().await;
    let flood = User::new("flood", &["system:authenticated"]);
    // Reviews of oneself are for everyone, and take a place like all that is short.
    let path = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
    let fair = &server.api().fair;
    let mut places = Vec::new();
    for _ in 0..SHORT {
        places.push(fair.place("other", Work::Short).await.expect("room"));
    }
    let mut waiting: Vec<_> = (0..QUEUE_MAX).map(|_| Box::pin(fair.place("flood", Work::Short))).collect();
    for one in &mut waiting {
        assert!(one.now_or_never().is_none(), "it waits");
    }
    let request = Request::builder().method(Method::POST).uri(path).body(Bytes::new()).expect("a request");
    let answer = Local::new(server.api().clone(), flood).send(request).await.expect("an answer");
    assert_eq!(answer.status(), 429);
    let entry = recorded(&server, path).await;
    assert_eq!((&entry["stage"], &entry["verb"]), (&json!("ResponseComplete"), &json!("create")));
    assert_eq!(entry["user"]["username"], "flood");
    let status = &entry["responseStatus"];
    assert_eq!((&status["code"], &status["reason"]), (&json!(429), &json!("TooManyRequests")));
    drop((waiting, places));
    server.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn why_a_request_failed_is_written_down_but_for_what_may_quote_a_secret() {
    let server = Server::start().await;
    let gone = "/api/v1/namespaces/default/pods/gone";
    assert_eq!(server.send(Method::GET, gone, None).await.status, 404);
    let entry = recorded(&server, gone).await;
    let told = json!({
        "metadata": {}, "status": "Failure", "reason": "NotFound", "message": "pods \"gone\" not found", "code": 404,
    });
    assert_eq!(entry["responseStatus"], told);
    assert_eq!(entry["annotations"]["authorization.k8s.io/decision"], "allow");

    let secrets = "/api/v1/namespaces/default/secrets";
    let bad = json!({"metadata": {"name": "s"}, "stringData": {"hunter 2": "x"}});
    assert_eq!(server.send(Method::POST, secrets, Some(&bad)).await.status, 422);
    let entry = recorded(&server, secrets).await;
    let told = json!({"metadata": {}, "status": "Failure", "reason": "Invalid", "code": 422});
    assert_eq!(entry["responseStatus"], told);
    server.end().await;
}

/// The code of the answer to a node that asks for something, and what the audit log says was decided.
async fn asked_by_a_node(server: &Server, method: Method, uri: &str) -> (u16, Value) {
    let request = Request::builder().method(method).uri(uri).body(Bytes::new()).expect("a request");
    let answer = Local::node(server.api().clone(), "n1").send(request).await.expect("an answer");
    let entry = recorded(server, uri).await;
    (answer.status().as_u16(), entry["annotations"]["authorization.k8s.io/decision"].clone())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_is_refused_without_a_word_of_the_store_where_no_pod_could_give_it_the_right() {
    let store = TestStore::new();
    let server = Server::start_on(store.clone(), None).await;
    let core = "/api/v1/namespaces/default";
    let secret = format!("{core}/secrets/s");
    assert_eq!(asked_by_a_node(&server, Method::GET, &secret).await, (403, json!("forbid")));
    // Whoever asks the store for anything now gets no answer.
    store.mute();
    for (method, path) in [
        (Method::DELETE, "secrets/s"),
        (Method::GET, "replicationcontrollers/c"),
        (Method::POST, "serviceaccounts"),
        (Method::DELETE, "pods"),
        (Method::PATCH, "configmaps/c"),
        (Method::GET, "persistentvolumeclaims"),
    ] {
        let uri = format!("{core}/{path}?{method}");
        assert_eq!(asked_by_a_node(&server, method, &uri).await, (403, json!("forbid")), "{uri}");
    }
    for (method, path) in [
        (Method::GET, "secrets/s"),
        (Method::GET, "configmaps?fieldSelector=metadata.name%3Dc"),
        (Method::GET, "pods/p"),
        (Method::GET, "persistentvolumeclaims/c"),
        (Method::PATCH, "persistentvolumeclaims/c/status"),
        (Method::POST, "serviceaccounts/a/token"),
    ] {
        let uri = format!("{core}/{path}{}", if path.contains('?') { "&mute" } else { "?mute" });
        // Nobody has decided anything.
        assert_eq!(asked_by_a_node(&server, method, &uri).await, (503, Value::Null), "{uri}");
    }
    server.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn resources_that_are_made_up_make_no_series() {
    let server = Server::start().await;
    // It waits for a revision that does not come, and so is not answered with 404.
    let answer = server.send(Method::GET, "/api/v1/madeups?resourceVersion=999999999", None).await;
    assert_eq!(answer.status, 504, "{}", answer.text());
    assert_eq!(server.send(Method::GET, "/api/v1/madeups", None).await.status, 404);
    let text = server.send(Method::GET, "/metrics", None).await.text();
    assert!(text.contains("resource=\"\",code=\"504\"") && !text.contains("madeups"), "{text}");
    server.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn definitions_are_read_when_they_have_changed_only() {
    let store = TestStore::new();
    let server = Server::start_on(store.clone(), None).await;
    let things = "/apis/example.com/v1/things";
    assert_eq!(server.send(Method::GET, things, None).await.status, 404);
    let of_definitions = || {
        let table = b"/registry/apiextensions.k8s.io/customresourcedefinitions/";
        let listed = store.listed().into_iter().filter(|(prefix, _)| prefix.starts_with(table));
        listed.map(|(_, keys_only)| keys_only).collect::<Vec<_>>()
    };
    of_definitions();
    for _ in 0..3 {
        assert_eq!(server.send(Method::GET, things, None).await.status, 404);
    }
    let listed = of_definitions();
    assert!(listed.len() >= 3 && listed.iter().all(|keys_only| *keys_only), "{listed:?}");
    let definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "things.example.com"},
        "spec": {
            "group": "example.com", "scope": "Cluster", "names": {"kind": "Thing", "plural": "things"},
            "versions": [{
                "name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {"type": "object"}},
            }],
        },
    });
    let definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    assert_eq!(server.send(Method::POST, definitions, Some(&definition)).await.status, 201);
    server.until(things, |answer| answer.status == 200).await;
    assert!(of_definitions().contains(&false), "what is new was read");
    server.end().await;
}
