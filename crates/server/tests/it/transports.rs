//! The client over both of its ways: the same table of steps, over TLS and in process.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};
use shoal_api::object;
use shoal_base::drain::Drain;
use shoal_client::http::Http;
use shoal_client::kubeconfig::Config;
use shoal_client::{Cache, Change, Client, Contact, Deletion, Error, Patch, Resource, Select, kinds};
use shoal_server::Local;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use crate::server::Server;

const WITHIN: Duration = Duration::from_secs(20);
/// Less than a client waits for one connection.
const AT_ONCE: Duration = Duration::from_secs(8);
const MAPS: &Resource = &kinds::CONFIG_MAPS;

fn map(name: &str, value: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": "default", "labels": {"test": name}},
        "data": {"value": value},
    })
}

fn code(result: Result<Value, Error>) -> u16 {
    result.map_or_else(|error| error.code(), |_| 200)
}

async fn verbs(client: &Client, name: &str) {
    let made = client.create(MAPS, &map(name, "1")).await.expect("made");
    let again = client.create(MAPS, &map(name, "1")).await.expect_err("there is one");
    assert!(again.is_already_there() && !again.is_conflict(), "{again:?}");
    let merge = Patch::Merge(json!({"data": {"value": "2"}}));
    let patched = client.patch(MAPS, "default", name, "", &merge).await.expect("patched");
    assert_eq!(patched["data"]["value"], "2");
    let stale = client.update(MAPS, &made).await.expect_err("it has changed");
    assert!(stale.is_conflict(), "{stale:?}");
    assert_eq!(
        stale.to_string().split(':').next(),
        Some(&*format!("Operation cannot be fulfilled on configmaps {name:?}"))
    );
    let mut newer = patched.clone();
    newer["data"]["value"] = json!("3");
    assert_eq!(client.update(MAPS, &newer).await.expect("updated")["data"]["value"], "3");
    let object = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "default"},
        "data": {"applied": "yes"},
    });
    let apply = Patch::Apply { object, manager: "tester".into(), force: false };
    let applied = client.patch(MAPS, "default", name, "", &apply).await.expect("applied");
    assert_eq!(applied["data"], json!({"value": "3", "applied": "yes"}));
    let list = client.list(MAPS, "default", &Select::labels(format!("test={name}"))).await.expect("a list");
    let mut lean = applied.clone();
    let owners = object::metadata_mut(&mut lean).remove("managedFields").expect("two have written it");
    assert_eq!(owners.as_array().map(Vec::len), Some(2));
    assert_eq!(list.items, [lean], "an object of a list says what it is, and not who wrote it");
    // What is written back as it was read in a list has lost nothing.
    let written = client.update(MAPS, &list.items[0]).await.expect("updated");
    assert_eq!(written["metadata"]["managedFields"], owners);
    let other = Deletion { uid: "another".into(), ..Deletion::default() };
    assert_eq!(code(client.delete(MAPS, "default", name, &other).await), 409);
    assert_eq!(code(client.delete(MAPS, "default", name, &Deletion::default()).await), 200);
    assert!(client.get(MAPS, "default", name).await.expect_err("it is gone").is_not_found());
}

async fn watches(client: &Client, name: &str) {
    let select = Select::named(name);
    let from = client.list(MAPS, "default", &select).await.expect("a list").revision;
    let mut events = client.watch(MAPS, "default", &select, &from).await.expect("a watch");
    client.create(MAPS, &map(name, "1")).await.expect("made");
    client.create(MAPS, &map(&format!("{name}-other"), "1")).await.expect("made");
    client.delete(MAPS, "default", name, &Deletion::default()).await.expect("deleted");
    let mut seen = Vec::new();
    while seen.len() < 2 {
        let change = tokio::time::timeout(WITHIN, events.next()).await.expect("a change in time");
        match change.expect("a change").expect("the watch goes on") {
            Change::Set(object) => seen.push(format!("set {}", object["metadata"]["name"])),
            Change::Gone(object) => seen.push(format!("gone {}", object["metadata"]["name"])),
            Change::Reached(_) => {}
        }
    }
    assert_eq!(seen, [format!("set {name:?}"), format!("gone {name:?}")]);
}

async fn caches(client: &Client, name: &str) {
    let drain = Drain::new();
    let cache = Cache::new(client.clone(), MAPS.clone(), "default", Select::labels(format!("test={name}")));
    assert_eq!(cache.contact(), Contact::Never);
    let follow = tokio::spawn({
        let (cache, drain) = (cache.clone(), drain.clone());
        async move { cache.run(&drain).await }
    });
    tokio::time::timeout(WITHIN, cache.read()).await.expect("it reads");
    let mut changes = cache.changes();
    client.create(MAPS, &map(name, "1")).await.expect("made");
    until(&mut changes, || cache.get("default", name).is_some()).await;
    let unlabel = Patch::Merge(json!({"metadata": {"labels": null}}));
    client.patch(MAPS, "default", name, "", &unlabel).await.expect("patched");
    until(&mut changes, || cache.all().is_empty()).await;
    drain.begin();
    tokio::time::timeout(WITHIN, follow).await.expect("it ends").expect("it ends well");
}

async fn until(changes: &mut tokio::sync::watch::Receiver<u64>, is_so: impl Fn() -> bool) {
    while !is_so() {
        let changed = tokio::time::timeout(WITHIN, changes.changed()).await.expect("a change in time");
        changed.expect("the cache is there");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_ways_are_one() {
    let server = Server::start().await;
    let config = Config::from_text(&server.kubeconfig, None, Path::new(".")).expect("a kubeconfig");
    let over_tls = Client::new(Arc::new(Http::new(&config).expect("a way")), "test");
    let in_process = Client::new(Arc::new(Local::master(server.api().clone(), "test")), "test");
    for (way, client) in [("tls", over_tls), ("local", in_process)] {
        verbs(&client, &format!("verbs-{way}")).await;
        watches(&client, &format!("watches-{way}")).await;
        caches(&client, &format!("caches-{way}")).await;
        let large = map("large", &"x".repeat(4 << 20));
        assert_eq!(code(client.create(MAPS, &large).await), 413, "{way}");
    }
    server.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_known_may_still_not_do_everything() {
    let server = Server::start().await;
    let node = Client::new(Arc::new(Local::node(server.api().clone(), "one")), "test");
    let mut object = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "one"}});
    assert_eq!(code(node.create(&kinds::NODES, &object).await), 200, "a node registers itself");
    object["metadata"]["name"] = json!("two");
    assert_eq!(code(node.create(&kinds::NODES, &object).await), 403, "not another");
    assert_eq!(code(node.create(MAPS, &map("x", "1")).await), 403);
    assert_eq!(code(node.get(&kinds::SECRETS, "kube-system", "x").await), 403);
    server.end().await;
}

/// What an agent does for a pod of its node, with the rights of a node.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_follows_what_its_pods_use_and_nothing_else() {
    let server = Server::start().await;
    let master = Client::new(Arc::new(Local::master(server.api().clone(), "test")), "test");
    let node = Client::new(Arc::new(Local::node(server.api().clone(), "one")), "test");
    let object = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "one"}});
    node.create(&kinds::NODES, &object).await.expect("a node");
    for name in ["used", "unused"] {
        master.create(MAPS, &map(name, "1")).await.expect("made");
    }
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web", "namespace": "default"},
        "spec": {"nodeName": "one", "containers": [
            {"name": "web", "image": "/web.wasm", "envFrom": [{"configMapRef": {"name": "used"}}]},
        ]},
    });
    let pod = master.create(&kinds::PODS, &pod).await.expect("a pod");
    let uid = pod["metadata"]["uid"].as_str().expect("a uid");

    let drain = Drain::new();
    let named = |of: &Resource, namespace: &str, name: &str| {
        let cache = Cache::new(node.clone(), of.clone(), namespace, Select::named(name));
        let (followed, drain) = (cache.clone(), drain.clone());
        tokio::spawn(async move { followed.run(&drain).await });
        cache
    };
    let (own, used) = (named(&kinds::NODES, "", "one"), named(MAPS, "default", "used"));
    let both = async { tokio::join!(own.read(), used.read()) };
    tokio::time::timeout(WITHIN, both).await.expect("they may be read");
    assert!(own.get("", "one").is_some() && used.get("default", "used").is_some());
    let list = |of: Resource, select: Select| {
        let node = node.clone();
        async move { node.list(&of, "default", &select).await.map_or_else(|error| error.code(), |_| 200) }
    };
    assert_eq!(list(MAPS.clone(), Select::named("unused")).await, 403);
    assert_eq!(list(MAPS.clone(), Select::default()).await, 403);
    // What only looks like a term is a part of another one's value.
    for smuggled in ["metadata.name!=x\\,metadata.name=used", "metadata.name!=x\\,spec.nodeName=one"] {
        assert_eq!(list(MAPS.clone(), Select::fields(smuggled)).await, 403, "{smuggled}");
        assert_eq!(list(kinds::PODS, Select::fields(smuggled)).await, 403, "{smuggled}");
    }
    assert_eq!(list(kinds::NODES, Select::named("two")).await, 403);
    assert_eq!(list(kinds::PODS, Select::fields("spec.nodeName=one")).await, 200);

    let token = json!({
        "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest",
        "spec": {"boundObjectRef": {"kind": "Pod", "apiVersion": "v1", "name": "web", "uid": uid}},
    });
    let made = node
        .create_in(&kinds::SERVICE_ACCOUNTS, "default", "default", "token", &token)
        .await
        .expect("a token");
    assert!(made["status"]["token"].is_string());
    let status = |uid: &str| Patch::Merge(json!({"metadata": {"uid": uid}, "status": {"phase": "Running"}}));
    let told = node.patch(&kinds::PODS, "default", "web", "status", &status(uid)).await.expect("patched");
    assert_eq!(told["status"]["phase"], "Running");
    let other = node.patch(&kinds::PODS, "default", "web", "status", &status("another")).await;
    assert!(matches!(code(other), 409 | 422), "another pod of this name is left alone");
    let gone = node.delete(&kinds::PODS, "default", "web", &Deletion::confirmed(uid)).await;
    assert_eq!(code(gone), 200);
    assert_eq!(code(master.get(&kinds::PODS, "default", "web").await), 404);
    drain.begin();
    server.end().await;
}

#[tokio::test]
async fn a_server_that_is_not_there_is_named() {
    let config = Config {
        server: "https://127.0.0.1:1".into(),
        server_name: String::new(),
        authorities: None,
        certificate: None,
        token: shoal_client::kubeconfig::Token::None,
        namespace: String::new(),
    };
    let client = Client::new(Arc::new(Http::new(&config).expect("a way")), "test");
    let error = client.get(&kinds::NODES, "", "one").await.expect_err("nobody listens");
    assert!(
        error.may_pass() && error.to_string().starts_with("cannot reach the API at https://127.0.0.1:1: "),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_connections_cannot_be_shared_they_are_made_at_the_same_time() {
    const REQUESTS: usize = 4;
    let server = Server::start().await;
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
    let address = listener.local_addr().expect("an address");
    // What nodes serve is HTTP/1.1 only.
    let tls = server.pki().node_config("n1", &[address.ip().to_string()], Timestamp::now());
    let acceptor = TlsAcceptor::from(tls.expect("a certificate"));
    let kubeconfig = server.pki().admin_kubeconfig(&format!("https://{address}"), Timestamp::now());
    let config = Config::from_text(&kubeconfig.expect("one"), None, Path::new(".")).expect("a kubeconfig");
    let client = Client::new(Arc::new(Http::new(&config).expect("a way")), "test");
    let mut asked = JoinSet::new();
    for _ in 0..REQUESTS {
        let client = client.clone();
        asked.spawn(async move { client.get(&kinds::NODES, "", "one").await });
    }
    let all_come = async {
        // From the first one the client learns what the server speaks.
        let (first, _) = listener.accept().await.expect("a connection");
        let first = acceptor.accept(first).await.expect("a handshake");
        let mut others = Vec::new();
        // None of the others gets a word before all of them are there.
        while others.len() < REQUESTS - 1 {
            others.push(listener.accept().await.expect("a connection"));
        }
        drop((first, others));
    };
    assert!(tokio::time::timeout(AT_ONCE, all_come).await.is_ok(), "one waited for another");
    drop(asked);
    server.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_may_read_what_a_pod_names_as_soon_as_there_is_the_pod() {
    let server = Server::start().await;
    let master = Client::new(Arc::new(Local::master(server.api().clone(), "test")), "test");
    let node = Client::new(Arc::new(Local::node(server.api().clone(), "one")), "test");
    for at in 0..100 {
        let name = format!("map-{at}");
        master.create(MAPS, &map(&name, "1")).await.expect("made");
        assert_eq!(code(node.get(MAPS, "default", &name).await), 403, "no pod of the node names {name}");
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "default"},
            "spec": {
                "nodeName": "one", "automountServiceAccountToken": false,
                "containers": [{"name": "c", "image": "web:1", "envFrom": [{"configMapRef": {"name": name}}]}],
            },
        });
        master.create(&kinds::PODS, &pod).await.expect("made");
        assert_eq!(code(node.get(MAPS, "default", &name).await), 200, "{name}");
    }
    server.end().await;
}
