//! Guests that answer requests, and the grants that they need.

use std::num::NonZeroU32;

use bytes::Bytes;
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use shoal_runtime::{Body, BodyError, FailureKind, Instances, Usage, WorkloadSpec};

use crate::world::{World, call, endless, get, request, send, spec};

#[tokio::test]
async fn a_component_of_each_wasi_version_says_hello() {
    let world = World::new();
    for name in ["hello", "hello-small", "hello-p3"] {
        let invoke = world.serve(&spec(name));
        for _ in 0..3 {
            assert_eq!(get(&invoke, "/").await.as_deref(), Ok("Hello from Shoal\n"), "{name}");
        }
    }
}

/// A guest that is interrupted after its head streams the rest, without a length: on a loaded machine that may be
/// many a request, but not every one.
#[tokio::test]
async fn an_answer_that_is_whole_has_a_length() {
    let world = World::new();
    let invoke = world.serve(&spec("hello"));
    for _ in 0..1000 {
        let answer = invoke.invoke(request("GET", "/", Body::empty()), call()).await.expect("an answer");
        if world.drain.running() == 0 {
            assert_eq!(http_body::Body::size_hint(answer.body()).exact(), Some(17));
            return;
        }
        answer.into_body().collect().await.expect("the rest");
        while world.drain.running() > 0 {
            tokio::task::yield_now().await;
        }
    }
    panic!("no guest ended before its answer was sent");
}

/// Time on the core is that of the process; a core may be taken away from it, on a loaded machine in many a request.
#[tokio::test]
async fn what_a_request_used_is_accounted() {
    let world = World::new();
    let invoke = world.serve(&spec("hello"));
    let mut usage = Usage::default();
    for _ in 0..1000 {
        let call = call();
        let account = call.account.clone();
        invoke.invoke(request("GET", "/", Body::empty()), call).await.expect("an answer");
        usage = account.usage();
        assert!(!usage.instantiate.is_zero() && usage.memory_bytes_peak >= 1 << 20, "{usage:?}");
        if usage.on_core >= usage.instantiate {
            return;
        }
    }
    panic!("no request was on the core for as long as its instance took: {usage:?}");
}

#[tokio::test]
async fn a_request_that_finds_no_room_is_given_back_as_it_came() {
    const SLOTS: u32 = 16;
    for name in ["echo", "echo-p3"] {
        let world = World::with_slots(SLOTS);
        let invoke = world.serve(&spec(name));
        // Their bodies never end, so their instances stay.
        let mut held = Vec::new();
        let (account, id, failure) = loop {
            assert!(held.len() <= 2 * SLOTS as usize, "{name}: the pool has no end");
            let mut request = request("POST", "/here?a=b", endless());
            request.headers_mut().insert("cookie", http::HeaderValue::from_static("a=b"));
            let call = call();
            let (account, id) = (call.account.clone(), call.id);
            match invoke.invoke(request, call).await {
                Ok(answer) => held.push(answer),
                Err(failure) => break (account, id, failure),
            }
            assert!(account.take_back().is_none(), "{name}: it was answered");
        };
        assert_eq!(failure.kind, FailureKind::Overloaded, "{name}: {failure}");
        let (request, call) = account.take_back().expect("it is given back");
        assert_eq!((call.id, request.method().as_str(), request.uri().path()), (id, "POST", "/here"));
        let header = |name| request.headers().get(name).and_then(|value| value.to_str().ok());
        assert_eq!((header("host"), header("cookie")), (Some("shop.test"), Some("a=b")), "{name}");
        let first = request.into_body().frame().await.expect("a frame").expect("it is well");
        assert_eq!(first.into_data().ok().as_deref(), Some(&b"first"[..]), "{name}: nobody has read it");
        assert!(account.take_back().is_none(), "{name}: once");
    }
}

#[tokio::test]
async fn a_hundred_megabytes_stream_through_a_guest() {
    let world = World::new();
    let invoke = world.serve(&spec("echo"));
    let chunk = Bytes::from(vec![0x5a; 1 << 16]);
    let chunks = 1600;
    let frames = (0..chunks).map({
        let chunk = chunk.clone();
        move |_| Ok::<_, BodyError>(Frame::data(chunk.clone()))
    });
    let body = Body::stream(StreamBody::new(futures_util::stream::iter(frames)));
    let call = call();
    let account = call.account.clone();
    let answer = invoke.invoke(request("POST", "/", body), call).await.expect("an answer");
    let mut body = answer.into_body();
    let mut read = 0;
    while let Some(frame) = body.frame().await {
        let data = frame.expect("no error").into_data().unwrap_or_default();
        assert!(data.iter().all(|byte| *byte == 0x5a));
        read += data.len();
    }
    assert_eq!(read, chunks * chunk.len());
    let peak = account.usage().memory_bytes_peak;
    assert!(peak < 4 << 20, "the guest buffered {peak} bytes");
}

#[tokio::test]
async fn reuse_is_refused_where_it_is_not_to_be_had() {
    let world = World::new();
    for name in ["hello-p3", "cli", "cli-p2"] {
        let reused =
            WorkloadSpec { instances: Instances::Reused(NonZeroU32::new(3).expect("three")), ..spec(name) };
        let refusal = world.load(&reused).err().unwrap_or_else(|| panic!("{name} was loaded"));
        assert!(refusal.what.contains("cannot be reused"), "{name}: {refusal}");
    }
}

#[tokio::test]
async fn what_is_not_granted_is_refused_by_name_and_flag() {
    let world = World::new();
    for (name, import, flag) in [
        ("fetch", "wasi:http/outgoing-handler@", "--allow-outbound"),
        ("counter", "wasi:keyvalue/", "--kv"),
        ("counter-draft2", "wasi:keyvalue/", "--kv"),
        ("config", "wasi:config/", "--config"),
        ("blobs", "wasi:blobstore/", "--blobs"),
        ("socket", "wasi:sockets/", "--allow-outbound"),
    ] {
        let refusal = world.load(&spec(name)).err().unwrap_or_else(|| panic!("{name} was loaded"));
        assert!(refusal.what.contains(import) && refusal.what.contains("not granted"), "{name}: {refusal}");
        assert!(refusal.hint.as_deref().is_some_and(|hint| hint.contains(flag)), "{name}: {refusal:?}");
    }
}

#[tokio::test]
async fn a_counter_counts_in_its_granted_store() {
    let world = World::new();
    for name in ["counter", "counter-draft2"] {
        let mut spec = spec(name);
        spec.grants.key_value = vec!["default".parse().expect("a store")];
        let invoke = world.serve(&spec);
        let mut counts = Vec::new();
        for path in ["/a", "/a", "/b", "/a"] {
            counts.push(get(&invoke, path).await.expect("a count").trim().to_owned());
        }
        assert_eq!(counts, ["1", "2", "1", "3"], "{name}");
    }
}

#[tokio::test]
async fn config_is_what_was_granted() {
    let world = World::new();
    let mut spec = spec("config");
    spec.grants.config = vec![("colour".into(), "blue".into())];
    let all = get(&world.serve(&spec), "/").await.expect("an answer");
    assert!(all.contains("colour") && all.contains("blue"), "{all}");
}

#[tokio::test]
async fn files_exist_only_under_a_granted_directory_and_are_written_only_where_that_is_granted() {
    let world = World::new();
    let dir = tempfile::tempdir().expect("a directory");
    std::fs::write(dir.path().join("note.txt"), "fish\n").expect("a file");
    let grant = |mode: &str| format!("{}:/:{mode}", dir.path().display()).parse().expect("a grant");

    let mut read_only = spec("reader");
    read_only.grants.dirs = vec![grant("ro")];
    let invoke = world.serve(&read_only);
    assert_eq!(get(&invoke, "/note.txt").await.as_deref(), Ok("fish\n"));
    let refused = send(&invoke, request("POST", "/new.txt", Body::whole("x"))).await.expect("an answer");
    assert!(!refused.status().is_success(), "{}", refused.status());
    assert!(!dir.path().join("new.txt").exists());

    let mut writable = spec("reader");
    writable.grants.dirs = vec![grant("rw")];
    let written = send(&world.serve(&writable), request("POST", "/new.txt", Body::whole("shark"))).await;
    assert!(written.expect("an answer").status().is_success());
    assert_eq!(std::fs::read_to_string(dir.path().join("new.txt")).expect("a file"), "shark");

    let none = send(&world.serve(&spec("reader")), request("GET", "/note.txt", Body::empty())).await;
    assert!(!none.expect("an answer").status().is_success());
}
