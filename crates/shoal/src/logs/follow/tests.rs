//! Streams that break, nodes that fail, pods that go, and more containers than can be heard at once.

use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::stream;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::Response;
use hyper::body::{Bytes, Frame};
use serde_json::json;
use shoal_cli::cluster::ClusterOptions;
use shoal_cli::cluster::Named;
use shoal_client::{Body, Deletion, Select};
use tokio::time::timeout;

use super::*;
use crate::cluster::testing::{Api, refused, said as answer};

const DEADLINE: Duration = Duration::from_secs(30);
const FIRST: &str = "2026-01-01T00:00:00Z one\n";
const SECOND: &str = "2026-01-01T00:00:01.5Z two\n";

/// A log of this text, at whose end the stream ends or breaks.
fn log(text: &str, is_broken: bool) -> Response<Body> {
    let mut frames = vec![Ok(Frame::data(Bytes::from(text.to_owned())))];
    frames.extend(is_broken.then(|| Err(std::io::Error::other("broken"))));
    answer(200, StreamBody::new(stream::iter(frames)).boxed_unsync())
}

fn pod(phase: &str, containers: usize) -> Value {
    let named = |extra: Value| {
        let one = |number: usize| {
            let mut one = extra.clone();
            one["name"] = json!(format!("c{number}"));
            one
        };
        (0..containers).map(one).collect::<Vec<_>>()
    };
    json!({
        "metadata": {"name": "shop", "namespace": "default"},
        "spec": {"containers": named(json!({}))},
        "status": {"phase": phase, "containerStatuses": named(json!({"restartCount": 0, "state": {"running": {}}}))},
    })
}

/// What is heard of this pod until following it ends.
async fn heard(api: &Api, pod: &Value, is_many: bool) -> Result<String, Exit> {
    let cluster = Cluster::of_client(api.client());
    cluster.client.create(&kinds::PODS, pod).await.expect("a pod");
    let request = LogsRequest {
        cluster: ClusterOptions::default(),
        of: Named { kind: None, name: "shop".into() },
        follow: true,
        previous: false,
        tail: None,
        since: None,
    };
    let whose =
        Whose { shown: "pod/shop".into(), namespace: "default".into(), select: Select::default(), is_many };
    let mut output = Output::new(Vec::new(), false);
    let followed = follow(&cluster, &request, &whose, &mut output);
    timeout(DEADLINE, followed).await.expect("it ends")?;
    Ok(String::from_utf8(output.to).expect("text"))
}

/// An API whose answers to requests for logs come from here, by their number.
fn api(logs: impl Fn(usize) -> Response<Body> + Send + Sync + 'static) -> Api {
    let asked = AtomicUsize::new(0);
    Api::new(move |request| {
        request.uri().path().ends_with("/log").then(|| logs(asked.fetch_add(1, Ordering::SeqCst)))
    })
}

#[tokio::test]
async fn a_stream_that_breaks_is_taken_up_where_it_was() {
    let broken_once = api(|number| match number {
        0 => log(FIRST, true),
        _ => log(&format!("{FIRST}{SECOND}"), false),
    });
    assert_eq!(heard(&broken_once, &pod("Succeeded", 1), true).await, Ok("one\ntwo\n".into()));
    // A node that does not answer for a moment ends nothing, and the others are heard.
    let failing_once = api(|number| match number {
        0 => refused(500),
        1 => refused(503),
        _ => log(FIRST, false),
    });
    assert_eq!(heard(&failing_once, &pod("Succeeded", 2), true).await, Ok("one\none\n".into()));
}

#[tokio::test]
async fn what_does_not_pass_is_said() {
    let forbidden = api(|_| refused(403));
    let code = heard(&forbidden, &pod("Running", 1), true).await.map_err(|exit| exit.code());
    assert_eq!(code, Err(exit::UNAVAILABLE));
}

#[tokio::test]
async fn a_node_that_is_gone_for_good_ends_what_has_ended() {
    let gone = api(|_| refused(502));
    assert_eq!(heard(&gone, &pod("Succeeded", 1), true).await, Ok(String::new()));
}

#[tokio::test]
async fn following_a_pod_ends_when_it_is_gone() {
    let api = api(|_| log(FIRST, false));
    let (client, running) = (api.client(), pod("Running", 1));
    let (heard, ()) = tokio::join!(heard(&api, &running, false), async {
        let is_asked = || api.fake.requests().iter().any(|request| request.contains("/pods"));
        while !is_asked() {
            tokio::task::yield_now().await;
        }
        let now = Deletion { grace_seconds: Some(0), ..Deletion::default() };
        while client.delete(&kinds::PODS, "default", "shop", &now).await.is_err() {
            tokio::task::yield_now().await;
        }
    });
    let heard = heard.expect("heard");
    assert!(heard.is_empty() || heard == "one\n", "{heard}");
}

#[tokio::test]
async fn whoever_has_to_wait_is_heard_when_there_is_room() {
    let api = api(|_| log(FIRST, false));
    let heard = heard(&api, &pod("Succeeded", SPEAKERS_MAX + 1), true).await.expect("heard");
    assert_eq!(heard.lines().count(), SPEAKERS_MAX + 1);
}

#[test]
fn what_is_taken_up_again_reaches_back_to_the_last_line() {
    let all = Said { tail_lines: Some(1), ..Said::default() };
    assert_eq!(resumed(all.clone(), None), all);
    let before = jiff::Timestamp::now().as_nanosecond() - 10_500_000_000;
    let again = resumed(all, Some(before));
    assert_eq!(again.tail_lines, None);
    assert!(again.since_seconds.is_some_and(|seconds| (71..=75).contains(&seconds)), "{again:?}");
}
