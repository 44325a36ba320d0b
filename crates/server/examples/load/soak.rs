//! Churn for a long time: objects and definitions come, change and go, are listed and followed. Does anything grow?

mod growth;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use http::Method;
use http_body_util::BodyExt as _;
use serde_json::{Value, json};

use crate::client::{Call, Connection, Server, config_map, config_maps};
use crate::{Result, row, say};
use growth::{Growth, Sample};

/// Clients that make objects and take them away.
const CHURNERS: usize = 4;
/// Clients that watch for a while, and again.
const WATCHERS: usize = 8;
/// Between two operations of one client: moderate, not as fast as it goes.
const PAUSE: Duration = Duration::from_millis(8);
/// Life of one watch.
const WATCH_SECONDS: u64 = 20;
/// Between two looks at the server.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// Objects of one churner that live at once.
const ALIVE: u64 = 200;
/// The resource whose definition comes and goes.
const WIDGETS: &str = "/apis/soak.shoal.dev/v1/namespaces/bench/widgets";

/// What was done so far, by all clients.
#[derive(Default)]
struct Done {
    operations: AtomicU64,
    events: AtomicU64,
    definitions: AtomicU64,
}

/// Churns, and tells what has grown.
pub(crate) async fn run(server: &Arc<Server>, seconds: u64, data: &Path) -> Result<()> {
    server.connect().await?.make_namespace().await?;
    let (done, ends) = (Arc::new(Done::default()), Instant::now() + Duration::from_secs(seconds));
    let mut clients = Vec::new();
    for number in 0..CHURNERS {
        clients.push(tokio::spawn(churn(server.connect().await?, number, ends, done.clone())));
    }
    for _ in 0..WATCHERS {
        clients.push(tokio::spawn(follow(server.clone(), ends, done.clone())));
    }
    clients.push(tokio::spawn(define(server.connect().await?, ends, done.clone())));
    clients.push(tokio::spawn(list(server.connect().await?, ends, done.clone())));
    let mut samples = Vec::new();
    while Instant::now() < ends {
        tokio::time::sleep(LOOK_EVERY.min(ends.saturating_duration_since(Instant::now()))).await;
        let sample = Sample::take(server.process, data);
        say(&format!("{sample}, {} operations", done.operations.load(Ordering::Relaxed)));
        samples.push(sample);
    }
    for client in clients {
        client.await.map_err(|error| error.to_string())??;
    }
    let load = |number: &AtomicU64| number.load(Ordering::Relaxed);
    row(
        &format!("churn of {} minutes", seconds / 60),
        &format!(
            "{} operations, {} events to {WATCHERS} watchers, {} definitions came and went",
            load(&done.operations),
            load(&done.events),
            load(&done.definitions)
        ),
    );
    Growth::of(&samples).tell()
}

/// Makes an object, changes it three ways, and deletes one that is old.
async fn churn(mut connection: Connection, number: usize, ends: Instant, done: Arc<Done>) -> Result<()> {
    let name = |index: u64| format!("s{number}-{index}");
    for index in 0.. {
        if Instant::now() > ends {
            break;
        }
        let own = config_maps(&name(index));
        let mut changed = config_map(&name(index), "y");
        changed["data"]["index"] = index.to_string().into();
        let mut calls = vec![
            Call::post(config_maps(""), &config_map(&name(index), "x")),
            Call::put(&own, &changed),
            Call::merge(&own, &json!({"metadata": {"labels": {"round": (index % 7).to_string()}}})),
            applied(&own, &name(index)),
            Call::get(&own),
        ];
        calls.extend(index.checked_sub(ALIVE).map(|old| Call::delete(config_maps(&name(old)))));
        for call in calls {
            connection.want(call).await?;
            done.operations.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(PAUSE).await;
        }
    }
    Ok(())
}

fn applied(path: &str, name: &str) -> Call {
    let body = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"applied": "yes"},
    });
    let path = format!("{path}?fieldManager=soak&force=true");
    Call {
        body: Some((body.to_string().into_bytes(), "application/apply-patch+yaml")),
        method: Method::PATCH,
        ..Call::get(path)
    }
}

/// Watches for a while, then again from the newest on a new connection.
async fn follow(server: Arc<Server>, ends: Instant, done: Arc<Done>) -> Result<()> {
    while Instant::now() < ends {
        let mut connection = server.connect().await?;
        let list = connection.json(Call::get(format!("{}?limit=1", config_maps("")))).await?;
        let from = list["metadata"]["resourceVersion"].as_str().unwrap_or_default();
        let path = format!(
            "{}?watch=true&allowWatchBookmarks=true&resourceVersion={from}&timeoutSeconds={WATCH_SECONDS}",
            config_maps("")
        );
        let mut body = connection.send(Call::get(path)).await?.into_body();
        while let Some(frame) = body.frame().await {
            let bytes = frame.map_err(|error| error.to_string())?.into_data().unwrap_or_default();
            if bytes.starts_with(b"{\"type\":\"ERROR\"") {
                return Err(format!("a watch failed: {}", String::from_utf8_lossy(&bytes)));
            }
            done.events.fetch_add(memchr::memchr_iter(b'\n', &bytes).count() as u64, Ordering::Relaxed);
        }
    }
    Ok(())
}

/// Makes a definition, objects of it, and takes all away again.
async fn define(mut connection: Connection, ends: Instant, done: Arc<Done>) -> Result<()> {
    let definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    let own = format!("{definitions}/widgets.soak.shoal.dev");
    while Instant::now() < ends {
        connection.want(Call::post(definitions, &definition())).await?;
        until(&mut connection, WIDGETS, true).await?;
        for index in 0..20 {
            let body = json!({
                "apiVersion": "soak.shoal.dev/v1", "kind": "Widget", "metadata": {"name": format!("w{index}")},
                "spec": {"size": index},
            });
            connection.want(Call::post(WIDGETS, &body)).await?;
            tokio::time::sleep(PAUSE).await;
        }
        connection.want(Call::get("/openapi/v3/apis/soak.shoal.dev/v1")).await?;
        connection.want(Call::delete(&own)).await?;
        until(&mut connection, &own, false).await?;
        done.definitions.fetch_add(1, Ordering::Relaxed);
        done.operations.fetch_add(23, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
    Ok(())
}

fn definition() -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.soak.shoal.dev"},
        "spec": {
            "group": "soak.shoal.dev", "scope": "Namespaced", "names": {"plural": "widgets", "kind": "Widget"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {
                "type": "object", "properties": {"spec": {"type": "object", "properties": {
                    "size": {"type": "integer", "minimum": 0},
                }}},
            }}}],
        },
    })
}

/// Waits until a path is there, or is there no more.
async fn until(connection: &mut Connection, path: &str, is: bool) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(30);
    while connection.ask(Call::get(path)).await?.0.is_success() != is {
        if Instant::now() > deadline {
            return Err(format!("{path} is still {}", if is { "not there" } else { "there" }));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

/// Lists everything, whole and in pages.
async fn list(mut connection: Connection, ends: Instant, done: Arc<Done>) -> Result<()> {
    let table = "application/json;as=Table;v=v1;g=meta.k8s.io";
    while Instant::now() < ends {
        connection.want(Call::get(config_maps(""))).await?;
        connection.want(Call::get(config_maps("")).accepting(table)).await?;
        let first = connection.json(Call::get(format!("{}?limit=100", config_maps("")))).await?;
        let token = first["metadata"]["continue"].as_str().unwrap_or_default();
        connection.want(Call::get(format!("{}?limit=100&continue={token}", config_maps("")))).await?;
        done.operations.fetch_add(4, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    Ok(())
}
