//! Fairness: one user floods the server with lists, another works at a human pace. What does the other notice?

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use http::HeaderName;
use serde_json::json;

use crate::client::{Call, Connection, Server, config_map, config_maps};
use crate::{NAMESPACE, Result, quantile, row};

/// In whose name a request is made; the client itself is an administrator, who never waits.
const AS: HeaderName = HeaderName::from_static("impersonate-user");
/// Between two requests of the one who works.
const PAUSE: Duration = Duration::from_millis(10);

/// Measures so many seconds without the flood, and as many with it.
pub(crate) async fn run(server: &Arc<Server>, seconds: u64, connections: usize) -> Result<()> {
    let mut connection = server.connect().await?;
    connection.make_namespace().await?;
    allow(&mut connection).await?;
    let time = Duration::from_secs(seconds);
    let alone = work(&mut connection, time).await?;
    let (ends, lists) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let (flooded, ended, counted) = (server.clone(), ends.clone(), lists.clone());
    let flood = std::thread::spawn(move || flood(&flooded, connections, &ended, &counted));
    tokio::time::sleep(Duration::from_secs(1)).await;
    let before = lists.load(Ordering::Relaxed);
    let flooded = work(&mut connection, time).await;
    let lists = lists.load(Ordering::Relaxed) - before;
    ends.store(true, Ordering::Relaxed);
    flood.join().map_err(|_| "the flood has panicked")??;
    let flooded = flooded?;
    for (what, alone, flooded) in
        [("get", &alone.gets, &flooded.gets), ("create", &alone.creates, &flooded.creates)]
    {
        let [before, after] = [alone, flooded].map(|times| quantile(times, 0.99) * 1e3);
        let [middle, later] = [alone, flooded].map(|times| quantile(times, 0.5) * 1e3);
        row(
            &format!("{what} beside {connections} connections of another user that list"),
            &format!(
                "p50 {middle:.2} ms alone, {later:.2} ms then; p99 {before:.2} ms alone, {after:.2} ms then: {:.1} times; \
                 {} lists/s answered",
                after / before,
                lists as u64 / seconds
            ),
        );
    }
    Ok(())
}

/// Lets both users do what they do.
async fn allow(connection: &mut Connection) -> Result<()> {
    let user = |name| json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": name});
    let binding = json!({
        "metadata": {"name": "bench"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "edit"},
        "subjects": [user("flood"), user("worker")],
    });
    let path = format!("/apis/rbac.authorization.k8s.io/v1/namespaces/{NAMESPACE}/rolebindings");
    let (status, body) = connection.ask(Call::post(path, &binding)).await?;
    if !status.is_success() && status != http::StatusCode::CONFLICT {
        return Err(String::from_utf8_lossy(&body).into_owned());
    }
    // What may be done is known a moment after it was written.
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let call = Call::get(format!("{}?limit=1", config_maps(""))).header(AS, "flood");
        if connection.ask(call).await?.0.is_success() {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err("the users may still do nothing".into());
        }
    }
}

/// How long each request of the one who works took, sorted.
struct Worked {
    gets: Vec<f64>,
    creates: Vec<f64>,
}

async fn work(connection: &mut Connection, time: Duration) -> Result<Worked> {
    let (mut gets, mut creates, begun) = (Vec::new(), Vec::new(), Instant::now());
    for index in 0.. {
        if begun.elapsed() > time {
            break;
        }
        let name = format!("f{index}");
        for (call, times) in [
            (Call::post(config_maps(""), &config_map(&name, "f")), &mut creates),
            (Call::get(config_maps(&name)), &mut gets),
        ] {
            let begun = Instant::now();
            connection.want(call.header(AS, "worker")).await?;
            times.push(begun.elapsed().as_secs_f64());
            tokio::time::sleep(PAUSE).await;
        }
        connection.want(Call::delete(config_maps(&name))).await?;
    }
    for times in [&mut gets, &mut creates] {
        times.sort_by(f64::total_cmp);
    }
    Ok(Worked { gets, creates })
}

/// On a thread of its own: lists by label from all connections, each as soon as the one before is answered.
fn flood(
    server: &Arc<Server>,
    connections: usize,
    ends: &Arc<AtomicBool>,
    lists: &Arc<AtomicUsize>,
) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| error.to_string())?.block_on(async {
        let mut tasks = Vec::new();
        for mut connection in server.connections(connections).await? {
            let (ends, lists) = (ends.clone(), lists.clone());
            tasks.push(tokio::spawn(async move {
                while !ends.load(Ordering::Relaxed) {
                    let path = format!("{}?labelSelector=app%3Dnothing", config_maps(""));
                    let (status, _) = connection.ask(Call::get(path).header(AS, "flood")).await?;
                    if status.is_success() {
                        lists.fetch_add(1, Ordering::Relaxed);
                    }
                }
                Ok::<(), String>(())
            }));
        }
        for task in tasks {
            task.await.map_err(|error| error.to_string())??;
        }
        Ok(())
    })
}
