//! No route without an identity and a right: every resource of discovery, every part of one, every other path, by every
//! method.

use std::collections::BTreeSet;

use http::Method;
use serde_json::{Value, json};

use crate::client::{Answer, Session};
use crate::server::Server;

/// What a request can be sent by; `OPTIONS` and `HEAD` are asked for by browsers and proxies.
const METHODS: [Method; 7] =
    [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::PATCH, Method::DELETE, Method::OPTIONS];
/// What everyone may ask for, known or not.
const FOR_EVERYONE: [&str; 4] = ["/healthz", "/livez", "/readyz", "/version"];
/// Where whoever is known may ask what they are and may: nothing else answers them.
const FOR_ALL_WHO_ARE_KNOWN: [&str; 3] = [
    "/apis/authentication.k8s.io/v1/selfsubjectreviews",
    "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews",
    "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews",
];
/// Paths that a careless reader takes for another one.
const CROOKED: [&str; 16] = [
    "//api/v1/secrets",
    "/api//v1/secrets",
    "/api/v1//secrets",
    "/api/v1/secrets/",
    "/api/v1/secrets//",
    "/./api/v1/secrets",
    "/livez/../api/v1/secrets",
    "/version/../api/v1/secrets",
    "/livez%2f..%2fapi/v1/secrets",
    "/livez/%2e%2e/api/v1/secrets",
    "/api/v1/%73ecrets",
    "/API/v1/secrets",
    "/api/v1/watch/secrets",
    "/api/v1/watch/namespaces/default/secrets/kept",
    "/api/v1/proxy/namespaces/default/secrets/kept",
    "/versionapi/v1/secrets",
];
/// Source of what answers paths that are no objects: each path that it names is walked.
const SOURCES: [&str; 2] = [include_str!("../../src/paths.rs"), include_str!("../../src/documents.rs")];

/// What there is to walk to.
struct Routes {
    /// Objects, their lists, their parts.
    resources: BTreeSet<String>,
    /// Everything else.
    paths: BTreeSet<String>,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_route_is_reached_without_an_identity_and_a_right() {
    let server = Server::start().await;
    furnish(&server).await;
    let before = kept(&server).await;
    let routes = Routes::of(&server).await;
    assert!(routes.resources.len() > 300 && routes.paths.len() > 60, "the walk is too short");

    let mut stranger = server.stranger().session();
    let bad_tokens = ["Bearer x", "Bearer eyJhbGciOiJub25lIn0.e30.", "Basic YWRtaW46YWRtaW4=", "Bearer "];
    let mut open = open_to(&mut stranger, &routes, &[], 401).await;
    open.retain(|(_, path)| {
        !FOR_EVERYONE.iter().any(|free| path == free || path.starts_with(&format!("{free}/")))
    });
    assert_eq!(open, BTreeSet::new(), "open to strangers");
    for token in bad_tokens {
        for path in routes.resources.iter().chain(&routes.paths).step_by(17) {
            let (status, _) = stranger.ask(&Method::GET, path, &[("authorization", token)]).await;
            let is_for_everyone =
                token == "Bearer " && FOR_EVERYONE.iter().any(|free| path.starts_with(free));
            assert!(status == 401 || is_for_everyone, "{path} with {token}: {status}");
        }
    }

    // By certificate in another's name, and by a token of a ServiceAccount: known, without any rights.
    let account = token(&server).await;
    let mut known = server.client.session();
    let bob = [("impersonate-user", "bob")];
    let bearer = [("authorization", account.as_str())];
    for (session, headers) in [(&mut known, bob), (&mut stranger, bearer)] {
        let open = open_to(session, &routes, &headers, 403).await;
        // Reviews of oneself, whatever stands behind them or in their query.
        let is_review = |method: &str, path: &str| {
            let path = path.replacen("/v1/watch/", "/v1/", 1);
            method == "POST" && FOR_ALL_WHO_ARE_KNOWN.iter().any(|review| path.starts_with(review))
        };
        let (reviews, others): (BTreeSet<_>, BTreeSet<_>) = open
            .into_iter()
            .filter(|(_, path)| !is_told(path))
            .partition(|(method, path)| is_review(method, path));
        assert_eq!(others, BTreeSet::new(), "open to {}", headers[0].1);
        assert!(FOR_ALL_WHO_ARE_KNOWN.iter().all(|path| reviews.contains(&("POST".into(), (*path).into()))));
    }
    assert_eq!(kept(&server).await, before, "refused requests have done something");
    server.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn crooked_paths_lead_nowhere() {
    let server = Server::start().await;
    furnish(&server).await;
    let mut stranger = server.stranger().session();
    let account = token(&server).await;
    for path in CROOKED {
        for headers in [&[][..], &[("authorization", account.as_str())]] {
            let (status, body) = stranger.ask(&Method::GET, path, headers).await;
            assert!([400, 401, 403, 404].contains(&status), "{path}: {status}");
            let told = String::from_utf8_lossy(&body);
            assert!(!told.contains("aGlkZGVu") && !told.contains("SecretList"), "{path}: {told}");
        }
    }
    // Whoever may, may by every spelling that means the same.
    let spelled = ["secrets/kept", "secrets/%6bept", "%73ecrets/kept", "secrets/kept/"];
    for (path, wanted) in spelled.map(|path| (format!("/api/v1/namespaces/default/{path}"), 200)) {
        let (status, _) = server.client.session().ask(&Method::GET, &path, &[]).await;
        assert_eq!(status, wanted, "{path}");
    }
    server.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_rights_in_a_namespace_reach_nothing_that_is_in_none() {
    let server = Server::start().await;
    furnish(&server).await;
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": "all"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "bob"}],
    });
    let bindings = "/apis/rbac.authorization.k8s.io/v1/namespaces/default/rolebindings";
    assert_eq!(server.send(Method::POST, bindings, Some(&binding)).await.status, 201);
    let bob = [("impersonate-user", "bob")];
    let mut session = server.client.session();
    let allowed = "/api/v1/namespaces/default/secrets/kept";
    assert_eq!(session.ask(&Method::GET, allowed, &bob).await.0, 200, "the binding is in force");

    let mut walked = 0;
    let routes = Routes::of(&server).await;
    for version in routes.paths.iter().filter(|path| is_version(path)) {
        let list = server.send(Method::GET, version, None).await.json();
        for resource in list["resources"].as_array().into_iter().flatten() {
            if resource["namespaced"] == true {
                continue;
            }
            let name = resource["name"].as_str().expect("a name");
            let (plural, part) = name.split_once('/').map_or((name, ""), |(plural, part)| (plural, part));
            let place = format!("{version}/namespaces/default/{plural}");
            for path in [place.clone(), format!("{place}/kept"), format!("{place}/default/{part}")] {
                let watched = path.replacen("/v1/", "/v1/watch/", 1);
                for path in [&path, &watched] {
                    for method in &METHODS[..6] {
                        let (status, body) = session.ask(method, path, &bob).await;
                        let told = String::from_utf8_lossy(&body);
                        assert_eq!(status, 404, "{method} {path}: {told}");
                        walked += 1;
                    }
                }
            }
        }
    }
    assert!(walked > 1000, "the walk is too short: {walked}");
    server.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_namespaces_together_can_only_be_looked_at() {
    let server = Server::start().await;
    furnish(&server).await;
    let before = kept(&server).await;
    let body = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x"}});
    for path in ["/api/v1/configmaps", "/api/v1/secrets", "/apis/example.com/v1/parts"] {
        assert_eq!(server.send(Method::GET, path, None).await.status, 200, "{path}");
        for method in [Method::POST, Method::PUT, Method::PATCH, Method::DELETE] {
            let answer = server.send(method.clone(), path, Some(&body)).await;
            assert_eq!(
                (answer.status, answer.json()["reason"].as_str()),
                (405, Some("MethodNotAllowed")),
                "{method} {path}"
            );
        }
    }
    // Of many at once nothing but all of them can be deleted.
    for method in [Method::PUT, Method::PATCH] {
        let path = "/api/v1/namespaces/default/configmaps";
        assert_eq!(server.send(method.clone(), path, Some(&body)).await.status, 405, "{method}");
    }
    assert_eq!(kept(&server).await, before);
    server.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_route_breaks_for_whoever_may() {
    let server = Server::start().await;
    furnish(&server).await;
    let routes = Routes::of(&server).await;
    let mut admin = server.client.session();
    // Without bodies, and to names that are not there: nothing of it can succeed by accident but reading.
    let methods = [Method::HEAD, Method::GET, Method::POST, Method::PUT, Method::PATCH];
    let mut broken = Vec::new();
    for path in routes.resources.iter().chain(&routes.paths).filter(|path| !path.contains("watch")) {
        for method in &methods {
            let (status, body) = admin.ask(method, path, &[]).await;
            // Nodes and Services cannot be reached through this server, and that is said with 503.
            let is_told = status == 503 && path.contains("/proxy");
            if status >= 500 && !is_told {
                broken.push(format!("{method} {path}: {status} {}", String::from_utf8_lossy(&body)));
            }
        }
    }
    assert_eq!(broken, Vec::<String>::new());
    server.end().await;
}

/// Which requests are answered by anything but the refusal.
async fn open_to(
    session: &mut Session,
    routes: &Routes,
    headers: &[(&str, &str)],
    refusal: u16,
) -> BTreeSet<(String, String)> {
    let mut open = BTreeSet::new();
    for path in routes.resources.iter().chain(&routes.paths) {
        for method in &METHODS {
            let (status, _) = session.ask(method, path, headers).await;
            // What no resource can be asked by is answered so to whoever is known.
            let is_no_method = refusal == 403 && *method == Method::OPTIONS && status == 405;
            if status != refusal && !is_no_method {
                open.insert((method.to_string(), path.clone()));
            }
        }
    }
    open
}

/// Whether a path tells what there is, or that the server is well: to whoever is known.
fn is_told(path: &str) -> bool {
    let is_below = |root: &&str| path == *root || path.starts_with(&format!("{root}/"));
    let parts = path.split('/').filter(|part| !part.is_empty()).count();
    FOR_EVERYONE.iter().any(is_below)
        || ["/openapi", "/openid/v1/jwks", "/.well-known/openid-configuration"].iter().any(is_below)
        || (path.starts_with("/api/") && parts <= 2)
        || (path.starts_with("/apis/") && parts <= 3)
        || path == "/api"
        || path == "/apis"
}

impl Routes {
    async fn of(server: &Server) -> Self {
        let mut paths: BTreeSet<String> = FOR_EVERYONE.map(str::to_owned).into();
        let index = server.send(Method::GET, "/", None).await.json();
        paths.extend(texts(&index["paths"]));
        let documents = server.send(Method::GET, "/openapi/v3", None).await.json();
        let documents = documents["paths"].as_object().expect("an index").keys();
        paths.extend(documents.map(|path| format!("/openapi/v3/{path}")));
        for source in SOURCES {
            let literals = source.split('"').skip(1).step_by(2).filter(|text| text.starts_with('/'));
            paths.extend(literals.filter(|text| !text.contains(['{', ' '])).map(str::to_owned));
        }
        paths.extend(
            ["/", "/nothing", "/debug/pprof", "/logs", "/livez/ping", "/readyz/etcd", "/backup/"]
                .map(str::to_owned),
        );
        let mut resources = BTreeSet::new();
        for version in paths.iter().filter(|path| is_version(path)) {
            let list = server.send(Method::GET, version, None).await.json();
            for resource in list["resources"].as_array().into_iter().flatten() {
                resources.extend(routes_of(version, resource));
            }
        }
        Self { resources, paths }
    }
}

/// `/api/v1`, `/apis/GROUP/VERSION`.
fn is_version(path: &str) -> bool {
    let parts: Vec<&str> = path.split('/').skip(1).collect();
    matches!(parts[..], ["api", _] | ["apis", _, _])
}

fn routes_of(version: &str, resource: &Value) -> Vec<String> {
    let name = resource["name"].as_str().expect("a name");
    let (plural, part) = name.split_once('/').unwrap_or((name, ""));
    let place = if resource["namespaced"] == true { "namespaces/default/" } else { "" };
    if !part.is_empty() {
        return vec![
            format!("{version}/{place}{plural}/kept/{part}"),
            format!("{version}/{place}{plural}/kept/{part}/more/of/it"),
        ];
    }
    vec![
        format!("{version}/{plural}"),
        format!("{version}/{plural}?watch=true"),
        format!("{version}/watch/{plural}"),
        format!("{version}/{place}{plural}"),
        format!("{version}/{place}{plural}?watch=true&resourceVersion=0"),
        format!("{version}/{place}{plural}/kept"),
        format!("{version}/watch/{place}{plural}/kept"),
    ]
}

/// Definitions with parts, and objects that a refused request could take away.
async fn furnish(server: &Server) {
    let definition = |scope: &str, plural: &str, kind: &str| {
        json!({
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": format!("{plural}.example.com")},
            "spec": {
                "group": "example.com", "scope": scope, "names": {"kind": kind, "plural": plural},
                "versions": [{
                    "name": "v1", "served": true, "storage": true,
                    "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}},
                    "subresources": {"status": {}, "scale": {"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas"}},
                }],
            },
        })
    };
    for (scope, plural, kind) in [("Namespaced", "parts", "Part"), ("Cluster", "wholes", "Whole")] {
        let body = definition(scope, plural, kind);
        let made = server
            .send(Method::POST, "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", Some(&body))
            .await;
        assert_eq!(made.status, 201, "{}", made.text());
        server.until(&format!("/apis/example.com/v1/{plural}"), |answer| answer.status == 200).await;
    }
    let data = json!({"metadata": {"name": "kept"}, "data": {"x": "aGlkZGVu"}});
    let counted = json!({"metadata": {"name": "kept"}, "spec": {"replicas": 1}, "status": {"replicas": 1}});
    for (path, body) in KEPT.iter().zip([&data, &data, &counted, &counted]) {
        let mut body = body.clone();
        let (version, kind) = if path.contains("example.com") {
            ("example.com/v1", if path.ends_with("parts") { "Part" } else { "Whole" })
        } else {
            ("v1", if path.ends_with("secrets") { "Secret" } else { "ConfigMap" })
        };
        body["apiVersion"] = version.into();
        body["kind"] = kind.into();
        let made = server.send(Method::POST, path, Some(&body)).await;
        assert_eq!(made.status, 201, "{}", made.text());
    }
}

/// Where the objects called `kept` are.
const KEPT: [&str; 4] = [
    "/api/v1/namespaces/default/configmaps",
    "/api/v1/namespaces/default/secrets",
    "/apis/example.com/v1/namespaces/default/parts",
    "/apis/example.com/v1/wholes",
];

async fn kept(server: &Server) -> Vec<Value> {
    let mut found = Vec::new();
    for path in KEPT {
        let answer: Answer = server.send(Method::GET, &format!("{path}/kept"), None).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        found.push(answer.json());
    }
    found
}

/// A token of the account that every pod gets.
async fn token(server: &Server) -> String {
    let path = "/api/v1/namespaces/default/serviceaccounts/default/token";
    let body = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}});
    let answer = server.send(Method::POST, path, Some(&body)).await.json();
    format!("Bearer {}", answer["status"]["token"].as_str().expect("a token"))
}

fn texts(list: &Value) -> impl Iterator<Item = String> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned)
}
