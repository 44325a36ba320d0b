//! The end of a server: what it is at is finished.

use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request};
use serde_json::json;
use shoal_client::Transport as _;
use shoal_server::Local;

use crate::server::Server;

/// For an answer that waits for nobody: much less than a request waits for rights to be known.
const AT_ONCE: Duration = Duration::from_secs(5);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_asked_while_the_server_ends_is_done_whole() {
    let server = Server::start().await;
    let local = Local::master(server.api().clone(), "test");
    server.api().drain.begin();
    // Each rests on the world holding what the one before wrote.
    for name in ["first", "second", "third"] {
        let body = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}});
        let request = Request::builder()
            .method(Method::POST)
            .uri("/api/v1/namespaces/default/configmaps")
            .header("content-type", "application/json")
            .body(body.to_string().into())
            .expect("a request");
        assert_eq!(local.send(request).await.expect("an answer").status(), 201, "{name}");
    }
    server.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_node_may_not_read_is_refused_also_while_the_server_ends() {
    let server = Server::start().await;
    let local = Local::node(server.api().clone(), "n1");
    server.api().drain.begin();
    let request = Request::builder().uri("/api/v1/namespaces/default/secrets/other").body(Bytes::new());
    let answer = tokio::time::timeout(AT_ONCE, local.send(request.expect("a request"))).await;
    assert_eq!(answer.expect("it does not wait").expect("an answer").status(), 403);
    server.end().await;
}
