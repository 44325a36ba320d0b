//! What nodes do for those who ask the server: logs, ports, their own endpoints, metrics.

use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request};
use serde_json::{Value, json};
use shoal_client::Transport as _;
use shoal_control::rbac::User;
use shoal_server::Local;
use tokio::io::AsyncWriteExt as _;
use tokio::task::JoinSet;

use crate::hook::Hook;
use crate::kubectl::tool::Tool;
use crate::server::Server;
use crate::test_node::TestNode;

const POD: &str = "/api/v1/namespaces/default/pods/p";
/// For what comes at once.
const SOON: Duration = Duration::from_secs(30);

fn pod(name: &str, node: Option<&str>) -> Value {
    let mut pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": name}},
        "spec": {"containers": [{"name": "c", "image": "hello.wasm"}]},
    });
    if let Some(node) = node {
        pod["spec"]["nodeName"] = json!(node);
    }
    pod
}

/// A server with the node `n1`, on which the pod `p` is.
async fn cluster() -> (Server, TestNode) {
    let server = Server::start().await;
    let node = TestNode::start(&server).await;
    let port = node.address.port();
    register(&server, "n1", json!({
        "addresses": [{"type": "Hostname", "address": "n1.invalid"}, {"type": "InternalIP", "address": "127.0.0.1"}],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": port}}, "allocatable": {"cpu": "2", "memory": "1Gi"},
    }))
    .await;
    created(&server, "/api/v1/namespaces/default/pods", &pod("p", Some("n1"))).await;
    (server, node)
}

async fn register(server: &Server, name: &str, status: Value) {
    let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}});
    created(server, "/api/v1/nodes", &node).await;
    let patch = json!({"status": status}).to_string().into_bytes();
    let headers = [("content-type", "application/merge-patch+json")];
    let path = format!("/api/v1/nodes/{name}/status");
    let answer = server.client.send(Method::PATCH, &path, &headers, patch).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
}

async fn created(server: &Server, path: &str, object: &Value) {
    let answer = server.send(Method::POST, path, Some(object)).await;
    assert_eq!(answer.status, 201, "{}", answer.text());
}

async fn get(server: &Server, path: &str) -> (u16, String) {
    let answer = server.send(Method::GET, path, None).await;
    (answer.status, answer.text())
}

fn message(text: &str) -> String {
    serde_json::from_str::<Value>(text).expect("a status")["message"].as_str().unwrap_or_default().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn logs_come_from_the_node_as_they_are_written() {
    let (server, node) = cluster().await;
    let path = format!("{POD}/log?tailLines=5&timestamps=true&pretty=true&container=c");
    let expected = "/containerLogs/default/p/c?tailLines=5&timestamps=true\n";
    assert_eq!(get(&server, &path).await, (200, expected.into()));

    let mut log = server.client.raw(&format!("GET {POD}/log?follow=true HTTP/1.1"), &[]).await;
    let head = log.head().await;
    assert!(head.starts_with("HTTP/1.1 200 OK") && head.contains("content-type: text/plain\r\n"), "{head}");
    // Each line comes before the next one is written.
    for line in ["one\n", "more\n", "more\n"] {
        assert!(log.until(line).await.ends_with(line));
        node.lines.add_permits(1);
    }
    drop(log);

    for (path, code, expected) in [
        ("log?container=x", 400, "container x is not valid for pod p"),
        (
            "log?sinceSeconds=0",
            422,
            "PodLogOptions \"p\" is invalid: sinceSeconds: Invalid value: 0: must be greater than 0",
        ),
        (
            "log?tailLines=-1",
            422,
            "PodLogOptions \"p\" is invalid: tailLines: Invalid value: -1: must be greater than or equal to 0",
        ),
        (
            "log?limitBytes=0",
            422,
            "PodLogOptions \"p\" is invalid: limitBytes: Invalid value: 0: must be greater than 0",
        ),
    ] {
        let (status, text) = get(&server, &format!("{POD}/{path}")).await;
        assert_eq!((status, message(&text)), (code, expected.to_owned()), "{path}");
    }
    server.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_is_followed_ends_with_the_server() {
    let (server, node) = cluster().await;
    let mut log = server.client.raw(&format!("GET {POD}/log?follow=true HTTP/1.1"), &[]).await;
    assert!(log.until("one\n").await.contains("200 OK"));
    server.end().await;
    drop(node);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_is_cut_does_not_look_whole() {
    let (server, node) = cluster().await;
    let mut log = server.client.raw(&format!("GET {POD}/log?follow=true HTTP/1.1"), &[]).await;
    assert!(log.until("one\n").await.contains("transfer-encoding: chunked"));
    let ((), rest) = tokio::join!(server.end(), log.rest());
    assert!(!rest.contains("0\r\n\r\n"), "{rest:?}");
    drop(node);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_the_node_itself_is_believed_at_its_address() {
    let (server, node) = cluster().await;
    let at = |port: u16| {
        json!({
            "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": port}},
        })
    };
    let own_port = server.address.rsplit(':').next().expect("a port").parse().expect("a number");
    // Whoever may write their status leads them to another node, and to this server.
    register(&server, "n2", at(node.address.port())).await;
    register(&server, "n3", at(own_port)).await;
    for (name, shown) in [("n2", "system:node:n1"), ("n3", "kube-apiserver")] {
        for path in ["echo/it", "api/v1/namespaces/default/secrets"] {
            let (status, text) = get(&server, &format!("/api/v1/nodes/{name}/proxy/{path}")).await;
            let wanted = format!(
                "its certificate is that of {shown:?}, not of \"system:node:{name}\"; give the node one of the signer kubernetes.io/kubelet-serving"
            );
            assert!(status == 503 && message(&text).contains(&wanted), "{status} {text}");
        }
    }
    server.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_shown_to_nodes_may_do_what_nodes_are_asked_and_nothing_else() {
    let (server, _node) = cluster().await;
    assert_eq!(get(&server, &format!("{POD}/log")).await.0, 200);
    let shown = std::fs::read(server.dir().join("pki/kubelet-client.pem")).expect("it was shown");
    let client = server.with_certificate(&shown);
    let ask = async |path: &str| {
        let answer = client.send(Method::GET, path, &[], Vec::new()).await;
        (answer.status, answer.text())
    };
    let (status, text) = ask("/api/v1/namespaces/default/secrets").await;
    assert_eq!(status, 403);
    assert!(message(&text).contains("User \"kube-apiserver-kubelet-client\" cannot list"), "{text}");
    assert_eq!(ask("/metrics").await.0, 403);
    assert_eq!(ask("/api/v1/nodes/n1").await.0, 200);
    assert_eq!(ask("/api/v1/nodes/n1/proxy/echo/it").await.0, 418);
    server.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_has_no_node_or_none_that_is_connected_says_so() {
    let (server, _node) = cluster().await;
    let pods = "/api/v1/namespaces/default/pods";
    created(&server, pods, &pod("pending", None)).await;
    let answer = server.send(Method::GET, &format!("{pods}/pending/log"), None).await;
    assert_eq!((answer.status, answer.content_type(), answer.text()), (204, String::new(), String::new()));
    let (status, text) = get(&server, &format!("{pods}/pending/portforward")).await;
    assert_eq!((status, message(&text).as_str()), (400, "pod pending does not have a host assigned"));

    register(&server, "silent", json!({})).await;
    let closed =
        std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("one").port();
    let status = json!({
        "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": closed}},
    });
    register(&server, "gone", status).await;
    for (node, why) in [
        ("silent", "its status has no address"),
        ("gone", "Connection refused"),
        ("unknown", "there is no such node"),
    ] {
        created(&server, pods, &pod(&format!("on-{node}"), Some(node))).await;
        let (status, text) = get(&server, &format!("{pods}/on-{node}/log")).await;
        let message = message(&text);
        assert_eq!(status, 503, "{message}");
        assert!(
            message.starts_with(&format!("the node {node:?} is not connected to this server: ")),
            "{message}"
        );
        assert!(message.contains(why), "{message}");
    }

    for part in ["exec?command=ls", "attach"] {
        let (status, text) = get(&server, &format!("{POD}/{part}")).await;
        assert_eq!(status, 400);
        assert!(message(&text).contains("it has no shell"), "{text}");
    }
    assert_eq!(get(&server, &format!("{pods}/none/exec?command=ls")).await.0, 404);
    server.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ports_are_forwarded_by_spdy_and_through_websocket() {
    let (server, _node) = cluster().await;
    let spdy = [
        ("Connection", "Upgrade"),
        ("Upgrade", "SPDY/3.1"),
        ("X-Stream-Protocol-Version", "portforward.k8s.io"),
    ];
    let mut stream = server.client.raw(&format!("POST {POD}/portforward HTTP/1.1"), &spdy).await;
    let head = stream.head().await;
    assert!(head.starts_with("HTTP/1.1 101 Switching Protocols"), "{head}");
    assert!(head.contains("x-stream-protocol-version: portforward.k8s.io\r\n"), "{head}");
    stream.socket.write_all(b"bytes").await.expect("written");
    assert_eq!(stream.until("BYTES").await, "BYTES");

    let web = [
        ("Connection", "Upgrade"),
        ("Upgrade", "websocket"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ("Sec-WebSocket-Protocol", "SPDY/3.1+portforward.k8s.io"),
    ];
    let mut stream = server.client.raw(&format!("GET {POD}/portforward HTTP/1.1"), &web).await;
    let head = stream.head().await;
    assert!(head.contains("sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"), "{head}");
    assert!(head.contains("sec-websocket-protocol: SPDY/3.1+portforward.k8s.io\r\n"), "{head}");
    stream.socket.write_all(b"\x82\x82\0\0\0\0hi").await.expect("written");
    assert!(stream.until("HI").await.ends_with("\u{2}HI"));
    // Both tunnels are open while the server ends.
    server.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_endpoints_of_a_node_are_reached_without_credentials() {
    let (server, node) = cluster().await;
    let headers = [("x-mine", "1"), ("authorization", ""), ("content-type", "text/plain")];
    for name in ["n1".to_owned(), format!("https:n1:{}", node.address.port())] {
        let path = format!("/api/v1/nodes/{name}/proxy/echo/it?a=b%20c");
        let answer = server.client.send(Method::PUT, &path, &headers, b"body".to_vec()).await;
        let expected = "PUT /echo/it?a=b+c authorization=false x-mine=true body";
        assert_eq!((answer.status, answer.text().as_str()), (418, expected), "{name}");
    }
    // What the path says stays in the path.
    let escaped = "/echo/it%20is%3Fa=b%25%23/%C3%A4";
    let (status, text) = get(&server, &format!("/api/v1/nodes/n1/proxy{escaped}?c=d")).await;
    assert_eq!((status, text), (418, format!("GET {escaped}?c=d authorization=false x-mine=false ")));
    let (status, text) = get(&server, "/api/v1/nodes/n1:1/proxy/x").await;
    assert_eq!(status, 400);
    assert!(message(&text).contains("only the port of its kubelet"), "{text}");
    assert_eq!(get(&server, "/api/v1/nodes/other/proxy/x").await.0, 404);
    server.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_nodes_and_pods_use_is_told_as_metrics() {
    let (server, _node) = cluster().await;
    created(&server, "/api/v1/namespaces/default/pods", &pod("idle", None)).await;
    let api = "/apis/metrics.k8s.io/v1beta1";
    let (status, text) = get(&server, &format!("{api}/nodes")).await;
    let list: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(
        (status, &list["kind"], list["items"].as_array().map(Vec::len)),
        (200, &json!("NodeMetricsList"), Some(1))
    );
    assert_eq!(list["items"][0]["usage"], json!({"cpu": "500m", "memory": "100Mi"}));
    assert_eq!(list["items"][0]["window"], "10s");
    let (_, text) = get(&server, &format!("{api}/namespaces/default/pods/p")).await;
    let one: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(one["containers"], json!([{"name": "c", "usage": {"cpu": "100m", "memory": "3Mi"}}]));
    let count =
        |text: &str| serde_json::from_str::<Value>(text).expect("JSON")["items"].as_array().map(Vec::len);
    for (query, expected) in [("", 1), ("?labelSelector=app%3Dp", 1), ("?labelSelector=app%3Dx", 0)] {
        let (_, text) = get(&server, &format!("{api}/pods{query}")).await;
        assert_eq!(count(&text), Some(expected), "{query}");
    }
    for missing in ["nodes/x", "namespaces/default/pods/idle", "namespaces/default/pods/x"] {
        assert_eq!(get(&server, &format!("{api}/{missing}")).await.0, 404, "{missing}");
    }

    if let Some(tool) = Tool::find() {
        let tool = tool.in_directory(server.dir(), &server.kubeconfig);
        let top = tool.run("kubectl top node; kubectl top pod -A --containers; kubectl logs p", SOON).await;
        assert_eq!(
            top.stdout,
            "NAME   CPU(cores)   CPU(%)   MEMORY(bytes)   MEMORY(%)   \n\
             n1     500m         25%      100Mi           9%          \n\
             NAMESPACE   POD   NAME   CPU(cores)   MEMORY(bytes)   \n\
             default     p     c      100m         3Mi             \n\
             /containerLogs/default/p/c\n",
            "{}",
            top.stderr
        );
        let exec = tool.run("kubectl exec p -- ls", SOON).await;
        assert!(exec.stderr.contains("it has no shell"), "{}", exec.stderr);
    }
    server.end().await;
}

/// Takes connections at `port` of `address` and never says a word.
fn silent(address: &str, port: u16) -> std::net::TcpListener {
    std::net::TcpListener::bind((address, port)).expect("an address of this machine")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_metrics_of_a_node_are_read_where_its_first_address_is_silent() {
    let server = Server::start().await;
    let node = TestNode::start(&server).await;
    let port = node.address.port();
    let _silent = silent("127.0.0.2", port);
    register(&server, "n1", json!({
        "addresses": [{"type": "InternalIP", "address": "127.0.0.2"}, {"type": "InternalIP", "address": "127.0.0.1"}],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": port}},
    }))
    .await;
    let (status, text) = get(&server, "/apis/metrics.k8s.io/v1beta1/nodes/n1").await;
    assert_eq!(status, 200, "{text}");
    server.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waits_for_metrics_has_a_place_and_leaves_it_to_others() {
    let server = Server::start().await;
    let nobody = silent("127.0.0.1", 0);
    let addresses =
        ["InternalIP", "ExternalIP", "Hostname"].map(|of| json!({"type": of, "address": "127.0.0.1"}));
    let port = nobody.local_addr().expect("an address").port();
    let status = json!({"addresses": addresses, "daemonEndpoints": {"kubeletEndpoint": {"Port": port}}});
    register(&server, "n1", status).await;
    created(&server, "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", &json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": "viewer"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "viewer"}],
    }))
    .await;
    // One who is no master: those need no place.
    let local = Local::new(server.api().clone(), User::new("viewer", &[]));
    let list = |path: &str| {
        let request = Request::builder().uri(path).body(Bytes::new()).expect("a request");
        local.send(request)
    };
    let until = |path: &'static str| async move {
        while !list(path).await.expect("an answer").status().is_success() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(SOON, until("/api/v1/pods")).await.expect("the binding is known");

    let lists = 2 * std::thread::available_parallelism().expect("a number").get() + 1;
    let mut waiting = JoinSet::new();
    for _ in 0..lists {
        waiting.spawn(list("/apis/metrics.k8s.io/v1beta1/nodes"));
    }
    let all_wait = async {
        while server.api().fair.load() != (lists, 0) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(SOON, all_wait).await.expect("all of them have a place outside");
    let pods = list("/api/v1/pods").await.expect("an answer");
    assert_eq!(pods.status(), 200);
    assert_eq!(server.api().fair.load(), (lists, 0), "all of them wait still, and nobody waited for them");
    drop(waiting);
    server.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_webhook_may_refuse_a_connection() {
    let (server, _node) = cluster().await;
    let hook = Hook::start(|request| {
        let (kind, resource) = (&request["kind"]["kind"], &request["subResource"]);
        json!({"allowed": false, "status": {"message": format!("{kind} through {resource}")}})
    })
    .await;
    let rule = json!({
        "apiGroups": [""], "apiVersions": ["v1"], "operations": ["CONNECT"], "resources": ["pods/portforward"],
    });
    let configuration = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": "w"},
        "webhooks": [{
            "name": "w.example.com", "clientConfig": hook.config, "rules": [rule], "sideEffects": "None",
            "admissionReviewVersions": ["v1"],
        }],
    });
    let path = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations";
    created(&server, path, &configuration).await;
    let (status, text) = get(&server, &format!("{POD}/portforward")).await;
    assert_eq!(status, 400);
    assert!(message(&text).ends_with("\"PodPortForwardOptions\" through \"portforward\""), "{text}");
    assert_eq!(get(&server, &format!("{POD}/log")).await.0, 200, "a log is no connection");
    server.end().await;
}
