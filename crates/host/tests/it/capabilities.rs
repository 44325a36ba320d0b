//! Guests with stores, containers, settings and a log of their own.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use http::StatusCode;
use http_body::Frame;
use http_body_util::StreamBody;
use shoal_base::units;
use shoal_runtime::{Body, BodyError, Grants, Invoke, Limits, StoreGrant, StorePlace, WorkloadSpec};

use crate::world::{Lines, World, get, request, send, spec};

/// Requests in flight at once.
const AT_ONCE: usize = 32;

fn store(name: &str, path: &Path) -> StoreGrant {
    StoreGrant { name: name.into(), place: StorePlace::Path(path.into()) }
}

fn granted(name: &str, grants: Grants) -> WorkloadSpec {
    WorkloadSpec { grants, ..spec(name) }
}

/// Sends a request; gives the status and the body.
async fn ask(invoke: &Arc<dyn Invoke>, method: &str, path: &str, body: Body) -> (StatusCode, Vec<u8>) {
    let answer = send(invoke, request(method, path, body)).await.expect("an answer");
    (answer.status(), answer.into_body())
}

/// The body of an answer that must be a success.
async fn done(invoke: &Arc<dyn Invoke>, method: &str, path: &str, body: Body) -> String {
    let (status, body) = ask(invoke, method, path, body).await;
    let body = String::from_utf8_lossy(&body).into_owned();
    assert!(status.is_success(), "{method} {path}: {status} {body}");
    body
}

#[tokio::test]
async fn requests_at_the_same_time_lose_no_count_and_the_file_keeps_it() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("counts.db");
    let mut expected = 0;
    // Both drafts, one after the other, on one file, each in a host of its own.
    for name in ["counter", "counter-draft2"] {
        let world = World::new();
        let key_value = vec![store("default", &file)];
        let invoke = world.serve(&granted(name, Grants { key_value, ..Grants::default() }));
        let requests = (0..AT_ONCE).map(|_| get(&invoke, "/hits"));
        let counts = futures_util::future::join_all(requests).await;
        let mut counts: Vec<usize> = counts
            .into_iter()
            .map(|count| count.expect("an answer").trim().parse().expect("a count"))
            .collect();
        counts.sort_unstable();
        assert_eq!(counts, (expected + 1..=expected + AT_ONCE).collect::<Vec<_>>(), "{name}");
        expected += AT_ONCE;
    }
}

#[tokio::test]
async fn a_store_that_is_not_granted_is_no_such_store() {
    let world = World::new();
    for name in ["counter", "counter-draft2"] {
        let key_value = vec!["default".parse().expect("a grant")];
        let invoke = world.serve(&granted(name, Grants { key_value, ..Grants::default() }));
        assert_eq!(get(&invoke, "/a?store=carts").await.as_deref(), Ok("no-such-store\n"), "{name}");
    }
}

#[tokio::test]
async fn two_workloads_share_a_store_in_a_file() {
    let directory = tempfile::tempdir().expect("a directory");
    let world = World::new();
    let grants = || Grants {
        key_value: vec![store("default", &directory.path().join("shared.db"))],
        ..Grants::default()
    };
    let (one, two) =
        (world.serve(&granted("counter", grants())), world.serve(&granted("counter-draft2", grants())));
    for (invoke, count) in [(&one, "1"), (&two, "2"), (&one, "3")] {
        assert_eq!(get(invoke, "/n").await.expect("a count").trim(), count);
    }
}

#[tokio::test]
async fn a_store_in_a_file_that_is_none_refuses_the_workload() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("notes.txt");
    std::fs::write(&file, "not a database, but enough text to be taken for a damaged one\n".repeat(20))
        .expect("a file");
    let world = World::new();
    let grants = Grants { key_value: vec![store("default", &file)], ..Grants::default() };
    let refusal = world.load(&granted("counter", grants)).err().expect("refused");
    assert!(refusal.what.contains("the key-value store `default` cannot use"), "{refusal}");
    assert!(refusal.hint.is_some());
}

#[tokio::test]
async fn objects_stream_through_a_guest_into_containers_and_back() {
    let directory = tempfile::tempdir().expect("a directory");
    let world = World::new();
    for place in ["default".parse().expect("a grant"), store("default", directory.path())] {
        let invoke = world.serve(&granted("blobs", Grants { blobs: vec![place], ..Grants::default() }));
        let chunk = Bytes::from((0..=255).cycle().take(100_000).collect::<Vec<u8>>());
        let piece = chunk.clone();
        let frames = (0..100).map(move |_| Ok::<_, BodyError>(Frame::data(piece.clone())));
        let body = Body::stream(StreamBody::new(futures_util::stream::iter(frames)));
        done(&invoke, "PUT", "/photos/large", body).await;
        done(&invoke, "PUT", "/photos/small", Body::whole("0123456789")).await;
        let (status, large) = ask(&invoke, "GET", "/photos/large", Body::empty()).await;
        assert_eq!(status, 200);
        assert!(large.len() == 10_000_000 && large.chunks(chunk.len()).all(|part| part == chunk));
        assert_eq!(done(&invoke, "GET", "/photos/small?start=2&end=4", Body::empty()).await, "234");
        let info = done(&invoke, "GET", "/photos/large?info", Body::empty()).await;
        assert_eq!(info, "name: large\ncontainer: photos\nsize: 10000000\n");
        done(&invoke, "PUT", "/other", Body::empty()).await;
        done(&invoke, "POST", "/photos/small?copy=other/copy", Body::empty()).await;
        done(&invoke, "POST", "/photos/small?move=photos/moved", Body::empty()).await;
        assert_eq!(done(&invoke, "GET", "/other", Body::empty()).await, "copy\n");
        assert_eq!(done(&invoke, "GET", "/other/copy", Body::empty()).await, "0123456789");
        done(&invoke, "DELETE", "/photos/large", Body::empty()).await;
        assert_eq!(done(&invoke, "GET", "/photos", Body::empty()).await, "moved\n");
        done(&invoke, "DELETE", "/photos", Body::empty()).await;
        let (status, text) = ask(&invoke, "GET", "/photos", Body::empty()).await;
        let text = String::from_utf8_lossy(&text).into_owned();
        assert_eq!(
            (status, text.as_str()),
            (StatusCode::NOT_FOUND, "the container `photos` does not exist; create it first\n")
        );
    }
}

#[tokio::test]
async fn a_container_that_is_not_granted_is_refused() {
    let world = World::new();
    let blobs = vec!["photos".parse().expect("a grant")];
    let invoke = world.serve(&granted("blobs", Grants { blobs, ..Grants::default() }));
    done(&invoke, "PUT", "/photos/one", Body::whole("1")).await;
    let (status, text) = ask(&invoke, "PUT", "/music/one", Body::whole("1")).await;
    assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(String::from_utf8_lossy(&text), "access denied: the container `music` is not granted\n");
}

#[tokio::test]
async fn settings_are_those_that_were_granted() {
    let world = World::new();
    let config = vec![("mode".into(), "fast".into()), ("colour".into(), "blue".into())];
    let invoke = world.serve(&granted("config", Grants { config, ..Grants::default() }));
    assert_eq!(get(&invoke, "/").await.as_deref(), Ok("colour=blue\nmode=fast\n"));
    assert_eq!(get(&invoke, "/mode").await.as_deref(), Ok("fast\n"));
    assert_eq!(get(&invoke, "/secret").await.as_deref(), Ok("`secret` is not set\n"));
}

#[tokio::test]
async fn what_a_guest_says_is_logged_with_its_level_and_context() {
    let lines = Lines::default();
    let _listening = lines.listen();
    let world = World::new();
    let invoke = world.serve(&spec("logging"));
    done(&invoke, "POST", "/warn?context=stock", Body::whole("only 3 left\nERROR forged")).await;
    done(&invoke, "POST", "/debug?context=stock", Body::whole("not heard")).await;
    let text = lines.text();
    let line = "WARN guest: only 3 left\\nERROR forged workload=\"logging\" context=\"stock\"";
    assert!(text.lines().any(|found| found.trim() == line), "{text}");
    assert!(!text.contains("not heard"), "{text}");
}

#[tokio::test]
async fn a_guest_that_floods_the_log_is_cut_off_and_answers() {
    let lines = Lines::default();
    let _listening = lines.listen();
    let world = World::new();
    let limits = Limits { log_rate: units::Bytes::kib(10), ..Limits::default() };
    let invoke = world.serve(&WorkloadSpec { limits: limits.into(), ..spec("log-flood") });
    assert_eq!(get(&invoke, "/?lines=20000&bytes=100").await.as_deref(), Ok("wrote 20000 lines\n"));
    let text = lines.text();
    let written = text.lines().filter(|line| line.contains("xxxxx")).count();
    // A burst of 10 KiB as written, and 10 KiB more for each second that the flood took; far from 20,000 lines.
    assert!((50..1_200).contains(&written), "{written} lines of some 178 bytes");
}
