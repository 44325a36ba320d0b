//! Rotations of the key that seals Secrets, where something goes wrong.

use std::pin::pin;

use bytes::Bytes;
use http::{Method, Request};
use serde_json::{Value, json};
use shoal_client::Transport as _;
use shoal_server::Local;

use crate::server::Server;
use crate::store::TestStore;

const SECRETS: &str = "/api/v1/namespaces/default/secrets";
/// More than there may be keys.
const BROKEN: usize = 20;
/// Requests that are answered while something is waited for.
const MEANWHILE: usize = 50;

fn secret(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": {"password": "hunter2"}})
}

fn post(path: &str, body: &str) -> Request<Bytes> {
    let request = Request::builder().method(Method::POST).uri(path);
    let request = request.header("content-type", "application/json");
    request.body(Bytes::copy_from_slice(body.as_bytes())).expect("a request")
}

/// The names of the keys, the one that seals first.
fn keys(server: &Server) -> Vec<String> {
    let text = std::fs::read_to_string(server.dir().join("secrets.keys")).expect("the keys");
    text.lines().map(|line| line.split(' ').next().unwrap_or_default().to_owned()).collect()
}

/// Whether a Secret is sealed with the key that seals now.
async fn is_current(server: &Server, name: &str) -> bool {
    let key = format!("/registry/core/secrets/default/{name}");
    let stored = server.store().get(key.as_bytes(), None).await.expect("read").object.expect("there");
    stored.value.starts_with(format!("shoal:enc:v1:{}:", keys(server)[0]).as_bytes())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rotation_that_breaks_off_again_and_again_goes_on_with_its_key() {
    let store = TestStore::new();
    let server = Server::start_on(store.clone(), None).await;
    let made = server.send(Method::POST, SECRETS, Some(&secret("kept"))).await;
    assert_eq!(made.status, 201, "{}", made.text());
    let before = keys(&server);
    store.refuse_secrets(true);
    let mut begun = None;
    for broken in 0..BROKEN {
        let answer = server.send(Method::POST, "/rotate-keys", None).await;
        assert_eq!(answer.status, 503, "{broken}: {}", answer.text());
        let now = keys(&server);
        assert_eq!(now[1..], before, "one key is new");
        assert_eq!(begun.get_or_insert(now.clone()), &now, "and stays the same");
    }
    store.refuse_secrets(false);
    let answer = server.send(Method::POST, "/rotate-keys", None).await;
    assert_eq!((answer.status, answer.json()), (200, json!({"sealed": 1})), "{}", answer.text());
    assert_eq!(Some(&keys(&server)[..]), begun.as_ref().map(|keys| &keys[..1]));
    assert!(is_current(&server, "kept").await);
    server.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_whose_client_has_gone_keeps_the_key_until_it_is_done() {
    let store = TestStore::new();
    let server = Server::start_on(store.clone(), None).await;
    let local = Local::master(server.api().clone(), "test");
    let gate = store.hold_a_secret();
    {
        let mut write = local.send(post(SECRETS, &secret("left").to_string()));
        tokio::select! {
            _ = &mut write => panic!("it is held"),
            () = store.holds.notified() => {}
        }
    }
    let mut rotation = pin!(local.send(post("/rotate-keys", "")));
    let others = async {
        for _ in 0..MEANWHILE {
            assert_eq!(server.send(Method::GET, "/api/v1/namespaces/default", None).await.status, 200);
        }
    };
    tokio::select! {
        _ = &mut rotation => panic!("a write with the old key is not done"),
        () = others => {}
    }
    gate.add_permits(1);
    assert_eq!(rotation.await.expect("an answer").status(), 200);
    server.until(&format!("{SECRETS}/left"), |answer| answer.status == 200).await;
    assert!(is_current(&server, "left").await && keys(&server).len() == 1);
    server.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_secrets_than_are_sealed_at_once_are_all_sealed_anew() {
    let server = Server::start().await;
    let names: Vec<String> = (0..40).map(|number| format!("s{number}")).collect();
    for name in &names {
        assert_eq!(server.send(Method::POST, SECRETS, Some(&secret(name))).await.status, 201);
    }
    let answer = server.send(Method::POST, "/rotate-keys", None).await;
    assert_eq!((answer.status, answer.json()), (200, json!({"sealed": names.len()})), "{}", answer.text());
    for name in &names {
        assert!(is_current(&server, name).await, "{name}");
    }
    server.end().await;
}
