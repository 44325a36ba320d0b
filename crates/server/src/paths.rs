//! What is not about objects: health, version, metrics, discovery, OpenAPI, keys.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, Method, StatusCode};
use serde_json::json;
use shoal_api::Status;

use crate::answer::{self, Answer};
use crate::api::Api;
use crate::backup;
use crate::custom;
use crate::leader;
use crate::options::Query;
use crate::{rotate, route};

/// The Kubernetes version whose API this is.
pub(crate) const MINOR: &str = "32";
/// The same, as clients read it, with our own version behind.
pub(crate) const GIT_VERSION: &str = concat!("v1.32.0+shoal-", env!("CARGO_PKG_VERSION"));
/// How long a health check may take before it has failed.
const HEALTH_TIME: Duration = Duration::from_secs(5);

/// Answers a request for a path.
pub(crate) async fn answer(
    api: &Arc<Api>,
    method: &Method,
    path: &str,
    query: &Query,
    headers: &HeaderMap,
) -> Answer {
    if method == Method::POST && path == "/rotate-keys" {
        return rotate::answer(api).await.unwrap_or_else(|status| answer::failure(&status));
    }
    if ![Method::GET, Method::HEAD].contains(method) {
        return route::nothing_here();
    }
    match path.trim_end_matches('/') {
        "/version" => answer::json(StatusCode::OK, &version()),
        "/metrics" => metrics(api),
        "/backup" => backup::answer(api).await.unwrap_or_else(|status| answer::failure(&status)),
        "/openid/v1/jwks" => answer::json(StatusCode::OK, &api.access.keys()),
        "/.well-known/openid-configuration" => answer::json(StatusCode::OK, &api.access.configuration()),
        "" => answer::json(StatusCode::OK, &json!({"paths": roots(api)})),
        other if is_health(other) => health(api, other, query).await,
        other => {
            documents(api, other, query, headers).await.unwrap_or_else(|status| answer::failure(&status))
        }
    }
}

/// What is served, as it is now.
async fn documents(api: &Api, path: &str, query: &Query, headers: &HeaderMap) -> Result<Answer, Status> {
    custom::settle(api).await?;
    let documents = api.documents.load();
    let answer = documents.answer(path, query.is_there("hash"), headers, &api.address);
    Ok(answer.unwrap_or_else(route::nothing_here))
}

fn version() -> serde_json::Value {
    json!({
        "major": "1", "minor": MINOR, "gitVersion": GIT_VERSION, "gitCommit": "", "gitTreeState": "clean",
        "buildDate": "", "goVersion": "", "compiler": "rustc",
        "platform": format!("{}/{}", std::env::consts::OS, architecture()),
    })
}

/// The processor as Go names it.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn metrics(api: &Api) -> Answer {
    let mut text = api.metrics.text(&api.fair);
    let leads = u8::from(api.leads.load(std::sync::atomic::Ordering::Relaxed));
    text.push_str(&format!(
        "# HELP leader_election_master_status Whether this server runs the controllers.\n\
         # TYPE leader_election_master_status gauge\n\
         leader_election_master_status{{name=\"{}\"}} {leads}\n",
        leader::NAME
    ));
    text.push_str(&api.objects.store().metrics());
    answer::bytes(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", text)
}

fn roots(api: &Api) -> Vec<String> {
    let mut paths: Vec<String> =
        ["/.well-known/openid-configuration", "/api", "/api/v1", "/apis"].map(str::to_owned).to_vec();
    for served in api.registry.load().all() {
        let version = &served.resource.group_version;
        if !version.group.is_empty() {
            paths.push(format!("/apis/{}", version.group));
            paths.push(format!("/apis/{version}"));
        }
    }
    let rest = [
        "/healthz",
        "/livez",
        "/metrics",
        "/openapi/v2",
        "/openapi/v3",
        "/openid/v1/jwks",
        "/readyz",
        "/version",
    ];
    paths.extend(rest.map(str::to_owned));
    paths.sort();
    paths.dedup();
    paths
}

fn is_health(path: &str) -> bool {
    ["/healthz", "/livez", "/readyz"]
        .iter()
        .any(|root| path.strip_prefix(root).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')))
}

/// One thing that must be well.
struct Check {
    name: &'static str,
    failure: Option<String>,
}

async fn health(api: &Arc<Api>, path: &str, query: &Query) -> Answer {
    let mut parts = path.trim_start_matches('/').splitn(2, '/');
    let root = parts.next().unwrap_or_default();
    let mut checks =
        vec![Check { name: "ping", failure: None }, Check { name: "etcd", failure: store(api).await }];
    if root == "readyz" {
        checks.push(Check { name: "informer-sync", failure: informed(api) });
        checks.push(Check {
            name: "shutdown",
            failure: api.drain.has_begun().then(|| "the server is shutting down".into()),
        });
    }
    if let Some(name) = parts.next() {
        let Some(check) = checks.iter().find(|check| check.name == name) else {
            return route::nothing_here();
        };
        return if check.failure.is_none() {
            answer::text(StatusCode::OK, "ok")
        } else {
            failed(root, &checks)
        };
    }
    let excluded = |check: &Check| query.get("exclude") == Some(check.name);
    if checks.iter().any(|check| check.failure.is_some() && !excluded(check)) {
        return failed(root, &checks);
    }
    if !query.is_there("verbose") {
        return answer::text(StatusCode::OK, "ok");
    }
    let mut text: String = checks.iter().map(|check| format!("[+]{} ok\n", check.name)).collect();
    text.push_str(&format!("{root} check passed\n"));
    answer::text(StatusCode::OK, text)
}

fn failed(root: &str, checks: &[Check]) -> Answer {
    let mut text = String::new();
    for check in checks {
        match &check.failure {
            None => text.push_str(&format!("[+]{} ok\n", check.name)),
            Some(why) => text.push_str(&format!("[-]{} failed: {why}\n", check.name)),
        }
    }
    text.push_str(&format!("{root} check failed\n"));
    answer::text(StatusCode::INTERNAL_SERVER_ERROR, text)
}

/// Whether the store takes and gives. It is named `etcd`, as those who watch over API servers look for it.
async fn store(api: &Api) -> Option<String> {
    match tokio::time::timeout(HEALTH_TIME, api.objects.store().health()).await {
        Ok(Ok(_)) => None,
        Ok(Err(error)) => Some(error.to_string()),
        Err(_) => Some(format!("no answer from the store in {} s", HEALTH_TIME.as_secs())),
    }
}

fn informed(api: &Api) -> Option<String> {
    (api.world.revision().0 == 0).then(|| "the objects are still being read".into())
}
