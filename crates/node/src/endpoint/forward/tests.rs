//! What a client of forwarded ports is told, and what it may take up; what of a node it reaches.

use std::path::PathBuf;

use futures_util::future::BoxFuture;
use serde_json::json;
use shoal_base::drain::Drain;
use shoal_client::fake::Fake;
use shoal_client::kinds;
use shoal_runtime::fake::{FakeInvoke, FakeRuntime, command};
use shoal_runtime::{CommandExit, Endpoints};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::{Notify, watch};

use super::*;
use crate::agent::Agent;
use crate::config::{Config, Fetch, FetchFailure, Fetched, Image, Machine};
use crate::shared::{Here, Wanted};

const WITHIN: Duration = Duration::from_secs(20);

struct Images;

impl Fetch for Images {
    fn fetch(&self, image: Image) -> BoxFuture<'static, Result<Fetched, FetchFailure>> {
        let path = PathBuf::from(&image.reference);
        Box::pin(async move {
            Ok(Fetched { path, id: image.reference, size_bytes: 1, pulled: None, unasked: None })
        })
    }

    fn tidy(&self, _in_use: Vec<String>) -> BoxFuture<'static, ()> {
        Box::pin(async {})
    }
}

/// A node whose commands all run until they are told to end.
fn node() -> (Fake, Config, Arc<Notify>, TempDir) {
    let (api, dir, end) = (Fake::new(), tempfile::tempdir().expect("a directory"), Arc::new(Notify::new()));
    let ends = end.clone();
    let config = Config {
        name: "edge-1".into(),
        data: dir.path().join("node"),
        client: api.client(),
        runtime: Arc::new(FakeRuntime::new(move |_: &shoal_runtime::WorkloadSpec| {
            let ends = ends.clone();
            Ok(command(async move {
                ends.notified().await;
                CommandExit::Code(0)
            }))
        })),
        endpoints: Endpoints::default(),
        mesh: None,
        fetch: Arc::new(Images),
        machine: Machine::default(),
        pod_cidr: "10.1.0.0/24".parse().expect("a net"),
        labels: std::collections::BTreeMap::new(),
        port: None,
    };
    (api, config, end, dir)
}

/// The tunnel of a pod that answers no request and reads no body, and its client.
fn silent() -> (Streams, Client, TempDir) {
    let (_, config, _, dir) = node();
    let (shared, _) = Shared::new(Arc::new(config), Drain::new());
    let pod = Arc::new(json!({"metadata": {"name": "web", "namespace": "shop", "uid": "u-1"}}));
    let (wanted, _) = watch::channel(Wanted { pod: pod.clone(), is_there: true });
    let mut here: Here = crate::worker::here(wanted);
    here.serves = Some(Arc::new(FakeInvoke::new(|request, _| async move {
        let _held = request;
        std::future::pending().await
    })));
    shared.pods.lock().insert("u-1".into(), here);
    let (out, queue) = mpsc::channel(QUEUE_MAX);
    (Streams::new(Target { shared, pod }, out), Client { queue, frames: Frames::default() }, dir)
}

fn open(stream: u32, kind: &str, connection: &str, port: &str) -> Frame {
    let headers = [("streamtype", kind), ("port", port), ("requestid", connection)];
    let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    Frame::Open { stream, is_last: false, headers }
}

fn data(stream: u32, bytes: &[u8]) -> Frame {
    Frame::Data { stream, is_last: false, bytes: Bytes::copy_from_slice(bytes) }
}

/// The other end of a tunnel.
struct Client {
    queue: mpsc::Receiver<Bytes>,
    frames: Frames,
}

impl Client {
    /// What it is told, as long as nothing more is said.
    fn told(&mut self) -> Vec<Frame> {
        while let Ok(bytes) = self.queue.try_recv() {
            self.frames.bytes().extend_from_slice(&bytes);
        }
        std::iter::from_fn(|| self.frames.take().expect("frames")).collect()
    }
}

/// What is said on this stream, and whether it has ended.
fn text_of(frames: &[Frame], of: u32) -> (String, bool) {
    let (mut text, mut has_ended) = (String::new(), false);
    for frame in frames {
        if let Frame::Data { stream, is_last, bytes } = frame
            && *stream == of
        {
            text.push_str(&String::from_utf8_lossy(bytes));
            has_ended |= is_last;
        }
    }
    (text, has_ended)
}

#[tokio::test]
async fn connections_beyond_the_limit_are_refused_and_leave_nothing_behind() {
    let (mut streams, mut client, _dir) = silent();
    let connections = FORWARDS_MAX + UNPAIRED_MAX + 1;
    for connection in 0..connections {
        let (error, data) = (4 * connection as u32 + 1, 4 * connection as u32 + 3);
        streams.take(open(error, "error", &connection.to_string(), "80")).await;
        streams.take(open(data, "data", &connection.to_string(), "80")).await;
        let frames = client.told();
        let is_refused = frames.contains(&Frame::Reset(data));
        assert!(!frames.contains(&Frame::Reset(error)), "connection {connection}");
        assert_eq!(is_refused, connection >= FORWARDS_MAX, "connection {connection}");
        let why = "there are 256 connections through this tunnel: end one, or open another tunnel";
        let expected = if is_refused { (why.to_owned(), true) } else { (String::new(), false) };
        assert_eq!(text_of(&frames, error), expected, "connection {connection}");
    }
    assert!(streams.unpaired.is_empty());
    // One goes: there is room for another.
    streams.take(Frame::Reset(3)).await;
    streams.take(open(5001, "error", "x", "80")).await;
    streams.take(open(5003, "data", "x", "80")).await;
    assert!(!client.told().contains(&Frame::Reset(5003)));
    // Error streams that never get their data streams have a limit, too.
    for waiting in 0..=UNPAIRED_MAX {
        let stream = 6001 + 2 * waiting as u32;
        streams.take(open(stream, "error", &format!("waits-{waiting}"), "80")).await;
        assert_eq!(client.told().contains(&Frame::Reset(stream)), waiting == UNPAIRED_MAX);
    }
}

#[tokio::test]
async fn a_port_that_is_none_is_told_where_errors_are() {
    for port in ["", "http", "65536", "-1"] {
        let (mut streams, mut client, _dir) = silent();
        streams.take(open(1, "error", "0", port)).await;
        streams.take(open(3, "data", "0", port)).await;
        let frames = client.told();
        let why = format!("the port {port:?} of the connection is no port: name one from 1 to 65535");
        assert_eq!(text_of(&frames, 1), (why, true));
        assert_eq!(text_of(&frames, 3), (String::new(), true));
        assert!(streams.forwards.is_empty() && streams.unpaired.is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn what_waits_for_the_pods_of_a_tunnel_has_one_limit() {
    const CONNECTIONS: u32 = 8;
    let (mut streams, mut client, _dir) = silent();
    let data_stream = |connection: u32| 4 * connection + 3;
    for connection in 0..CONNECTIONS {
        streams.take(open(4 * connection + 1, "error", &connection.to_string(), "80")).await;
        streams.take(open(data_stream(connection), "data", &connection.to_string(), "80")).await;
        let head = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 1000000000\r\n\r\n";
        streams.take(data(data_stream(connection), head)).await;
        client.told();
    }
    let longest = vec![0; spdy::FRAME_BYTES_MAX];
    // The clock stands still as long as anything goes on: this is over when everything waits.
    let mut taken = 0;
    let is_taken = async |streams: &mut Streams, connection: u32| {
        let frame = data(data_stream(connection), &longest);
        tokio::time::timeout(Duration::from_secs(1), streams.take(frame)).await.is_ok()
    };
    while is_taken(&mut streams, taken % CONNECTIONS).await {
        taken += 1;
        assert!(taken as usize <= WAITING_BYTES_MAX / longest.len(), "more than its limit waits");
    }
    assert_eq!(taken as usize, WAITING_BYTES_MAX / longest.len());
    // What goes with its connection makes room.
    streams.take(Frame::Reset(data_stream(0))).await;
    assert!(is_taken(&mut streams, 5).await);
    assert!(!is_taken(&mut streams, 6).await);
}

#[tokio::test]
async fn a_stream_that_is_over_when_it_begins_ends_the_side_of_the_pod() {
    let (mut streams, mut client, _dir) = silent();
    streams.take(open(1, "error", "0", "80")).await;
    let Frame::Open { stream, headers, .. } = open(3, "data", "0", "80") else { unreachable!("it opens") };
    streams.take(Frame::Open { stream, is_last: true, headers }).await;
    // Nobody asks anything, so the connection is over at once.
    let over = async {
        let mut ended = Vec::new();
        while ended.len() < 2 {
            let bytes = client.queue.recv().await.expect("the tunnel is there");
            client.frames.bytes().extend_from_slice(&bytes);
            for frame in client.told() {
                if let Frame::Data { stream, is_last: true, .. } = frame {
                    ended.push(stream);
                }
            }
        }
        ended
    };
    assert_eq!(tokio::time::timeout(WITHIN, over).await.expect("it ends"), [3, 1]);
}

#[tokio::test]
async fn a_command_is_reached_while_it_runs_and_at_the_ports_that_it_was_granted() {
    let (api, config, end, _dir) = node();
    let drain = Drain::new();
    let agent = Agent::new(config, drain.clone()).expect("an agent");
    let shared = agent.shared();
    let running = tokio::spawn(agent.run());
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a listener");
    let other = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("another");
    let port = listener.local_addr().expect("an address").port();
    let others = other.local_addr().expect("an address").port();
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "job", "namespace": "shop", "uid": "u-1", "annotations": {grants::LISTEN: port.to_string()}},
        "spec": {"nodeName": "edge-1", "restartPolicy": "Never", "containers": [{"name": "c", "image": "/run"}]},
    });
    let target = Target { shared: shared.clone(), pod: Arc::new(pod.clone()) };
    let why = async |port: u16| target.connect(port).await.err();
    let nothing = |port: u16| {
        let why = format!(
            "pod \"job\" has nothing at port {port}: no container of it answers requests now, and none runs a command now \
             that was granted the port with its annotation shoal.dev/allow-listen"
        );
        Some(why)
    };
    assert_eq!(why(port).await, nothing(port), "the pod is not here yet");
    let client = api.client();
    client.create(&kinds::PODS, &pod).await.expect("a pod");
    let until = async |reached: bool| {
        let is_so = async {
            while why(port).await.is_none() != reached {
                tokio::task::yield_now().await;
            }
        };
        assert!(tokio::time::timeout(WITHIN, is_so).await.is_ok(), "never reached: {reached}");
    };
    until(true).await;
    // What it is told while it runs is no grant.
    let both = format!("{port},{others}");
    let change = shoal_client::Patch::Merge(json!({"metadata": {"annotations": {grants::LISTEN: both}}}));
    client.patch(&kinds::PODS, "shop", "job", "", &change).await.expect("patched");
    let is_seen = async {
        let seen = || shared.pod("shop", "job").expect("it runs");
        while object::annotation(&seen(), grants::LISTEN) != Some(both.as_str()) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(WITHIN, is_seen).await.expect("it is seen");
    assert_eq!(why(others).await, nothing(others));
    assert_eq!(why(port).await, None);
    // The port is somebody else's from now on.
    end.notify_one();
    until(false).await;
    assert_eq!(why(port).await, nothing(port));
    drain.begin();
    tokio::time::timeout(WITHIN, running).await.expect("it ends").expect("it ends well");
}

#[test]
fn a_tunnel_of_ports_is_asked_for_in_these_words() {
    let of = |method: Method, all: &[(&'static str, &str)]| {
        let mut headers = HeaderMap::new();
        for (name, value) in all {
            headers.append(*name, value.parse().expect("a value"));
        }
        asked(&method, &headers).is_ok()
    };
    let spdy = ("upgrade", "spdy/3.1");
    assert!(of(Method::POST, &[spdy, (PROTOCOL_VERSION, "v9.k8s.io, portforward.k8s.io")]));
    assert!(of(Method::GET, &[spdy, (PROTOCOL_VERSION, "x"), (PROTOCOL_VERSION, PROTOCOL)]));
    assert!(!of(Method::PUT, &[spdy, (PROTOCOL_VERSION, PROTOCOL)]));
    assert!(!of(Method::POST, &[("upgrade", "websocket"), (PROTOCOL_VERSION, PROTOCOL)]));
    assert!(!of(Method::POST, &[spdy]));
}

#[test]
fn streams_are_paired_by_what_the_client_calls_them_or_by_their_order() {
    assert_eq!(role(1, Some("error"), Some("7")), Some((false, "7".into())));
    assert_eq!(role(9, Some("data"), Some("7")), Some((true, "7".into())));
    assert_eq!(role(1, Some("error"), None), Some((false, "1".into())));
    assert_eq!(role(3, Some("data"), None), Some((true, "1".into())));
    assert_eq!(role(1, Some("data"), None), None);
    assert_eq!(role(1, Some("x"), None), None);
    assert_eq!(role(1, None, Some("7")), None);
}
