//! The endpoints that nodes serve, as kubelets do: where they are, and how this server calls them.
//!
//! A node says in its status under which addresses and at which port it can be reached. The server shows it a certificate
//! of the cluster's authority and believes only the one that the same authority gave to this very node; nothing of the
//! credentials of whoever asked the server is passed on.

mod tunnel;
mod usage;
mod websocket;

use std::io;
use std::net::Ipv6Addr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http::header::{CONNECTION, HOST, HeaderName, UPGRADE};
use http::{HeaderMap, HeaderValue, Method, Request as HttpRequest, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited, StreamBody};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;
use serde_json::Value;
use shoal_api::Status;
use shoal_control::known;
use shoal_control::snapshot::Snapshot as _;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use self::tunnel::Wrap;
use crate::answer::{Answer, Body};
use crate::api::{Api, Request};
use crate::pki::Kubelets;

pub(crate) use usage::answer as usage;

/// Where a kubelet listens when its node does not say.
const PORT_DEFAULT: u16 = 10250;
/// For a connection to one address and its handshake: a node that is there answers much sooner, also where the first
/// packet is lost.
const CONNECT_TIME: Duration = Duration::from_secs(3);
/// For all addresses of a node: three of them may say nothing. Whoever asks should hear of it while they still wait.
const REACH_TIME: Duration = Duration::from_secs(9);
/// For the head of an answer. What follows takes as long as it takes.
const HEAD_TIME: Duration = Duration::from_secs(30);
/// Bytes of an error that are passed on.
const ERROR_BYTES_MAX: usize = 16 << 10;
/// Addresses of one node that are tried.
const ADDRESSES_MAX: usize = 8;

const PROTOCOL_VERSION: HeaderName = HeaderName::from_static("x-stream-protocol-version");
const WEBSOCKET_KEY: HeaderName = HeaderName::from_static("sec-websocket-key");
const WEBSOCKET_PROTOCOL: HeaderName = HeaderName::from_static("sec-websocket-protocol");
const WEBSOCKET_ACCEPT: HeaderName = HeaderName::from_static("sec-websocket-accept");
/// The framing of port-forwarding, whether the bytes come in WebSocket messages or not.
const SPDY: &str = "SPDY/3.1";
/// What a client puts before the protocol that it speaks through WebSocket messages.
const TUNNELED: &str = "SPDY/3.1+";

/// What the server knows of nodes beside their objects.
pub struct Nodes {
    kubelets: Kubelets,
    usage: usage::Cache,
}

/// Where a node is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Endpoint {
    /// Its name.
    pub node: String,
    /// Host names and addresses, best first.
    pub hosts: Vec<String>,
    /// The port of its kubelet.
    pub port: u16,
}

/// The host at which a node was reached, without brackets, and the connection.
type Reached<'e> = (&'e str, TlsStream<TcpStream>);

impl Nodes {
    /// Calls nodes through these TLS clients.
    pub fn new(kubelets: Kubelets) -> Self {
        Self { kubelets, usage: usage::Cache::default() }
    }
}

impl Endpoint {
    /// Where a node is reached.
    ///
    /// # Errors
    /// 503: there is no such node, or it has not said.
    pub(crate) fn of(api: &Api, node: &str) -> Result<Self, Status> {
        let found = api.world.view().get(&known::NODE, "", node);
        let found = found.ok_or_else(|| unconnected(node, "there is no such node"))?;
        Self::read(&found).ok_or_else(|| unconnected(node, "its status has no address"))
    }

    /// What a node's status says; none: it has no address.
    fn read(node: &Value) -> Option<Self> {
        // Addresses before names: these need no resolver that knows the nodes.
        const ORDER: [&str; 5] = ["InternalIP", "ExternalIP", "InternalDNS", "ExternalDNS", "Hostname"];
        let status = &node["status"];
        let of_type = |wanted: &'static str| {
            let all = status["addresses"].as_array().into_iter().flatten();
            all.filter(move |one| one["type"] == wanted).filter_map(|one| one["address"].as_str())
        };
        let hosts: Vec<String> =
            ORDER.into_iter().flat_map(of_type).take(ADDRESSES_MAX).map(str::to_owned).collect();
        let port = status["daemonEndpoints"]["kubeletEndpoint"]["Port"].as_u64();
        let port = port.and_then(|port| u16::try_from(port).ok()).filter(|port| *port > 0);
        let node = shoal_api::object::name(node).to_owned();
        (!hosts.is_empty()).then_some(Self { node, hosts, port: port.unwrap_or(PORT_DEFAULT) })
    }
}

/// A node cannot be asked.
fn unconnected(node: &str, why: &str) -> Status {
    Status::unavailable(format!("the node {node:?} is not connected to this server: {why}"))
}

/// Sends a request to a node. The answer's body comes as the node sends it.
///
/// # Errors
/// 503: it cannot be reached; 504: it does not answer.
pub(crate) async fn call(
    api: &Arc<Api>,
    endpoint: &Endpoint,
    request: HttpRequest<Full<Bytes>>,
) -> Result<Response<Incoming>, Status> {
    let reached = reach(api, endpoint).await?;
    send(api, endpoint, reached, request).await
}

/// Sends a request to the node at the other end of a connection.
///
/// # Errors
/// 503: it breaks off; 504: it does not answer.
async fn send(
    api: &Arc<Api>,
    endpoint: &Endpoint,
    (host, stream): Reached<'_>,
    mut request: HttpRequest<Full<Bytes>>,
) -> Result<Response<Incoming>, Status> {
    let failed = |why: &dyn std::fmt::Display| unconnected(&endpoint.node, &why.to_string());
    let authority = HeaderValue::from_str(&authority(host, endpoint.port)).map_err(|error| failed(&error))?;
    request.headers_mut().insert(HOST, authority);
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|error| failed(&error))?;
    let guard = api.drain.guard();
    // It ends with the answer, or when the answer is dropped.
    tokio::spawn(async move {
        if let Err(error) = connection.with_upgrades().await {
            tracing::debug!(%error, "a connection to a node broke off");
        }
        drop(guard);
    });
    match timeout(HEAD_TIME, sender.send_request(request)).await {
        Ok(answer) => answer.map_err(|error| failed(&error)),
        Err(_) => Err(Status::timeout(format!(
            "the node {:?} did not answer in {} seconds",
            endpoint.node,
            HEAD_TIME.as_secs()
        ))),
    }
}

/// A connection to the first host of a node that takes one, and has the certificate of this node for its name.
///
/// # Errors
/// 503: no host takes one in time.
async fn reach<'e>(api: &Api, endpoint: &'e Endpoint) -> Result<Reached<'e>, Status> {
    let failed = |why: &str| unconnected(&endpoint.node, why);
    let client = api.nodes.kubelets.client(&endpoint.node, api.timestamp());
    let connector = TlsConnector::from(client.map_err(|error| failed(&error.to_string()))?);
    let connector = &connector;
    let reached = first(endpoint, |host| async move {
        let name = ServerName::try_from(host.to_owned()).map_err(|error| error.to_string())?;
        let stream = TcpStream::connect((host, endpoint.port)).await.map_err(|error| error.to_string())?;
        // Small frames should not wait for more.
        let _ = stream.set_nodelay(true);
        connector.connect(name, stream).await.map_err(|error| error.to_string())
    });
    reached.await.map_err(|why| failed(&why))
}

/// The first host of a node to which `connect` comes in time, without brackets, and what came of it.
async fn first<'e, T, F: Future<Output = Result<T, String>>>(
    endpoint: &'e Endpoint,
    connect: impl Fn(&'e str) -> F,
) -> Result<(&'e str, T), String> {
    let until = Instant::now() + REACH_TIME;
    let mut why = Vec::new();
    for (tried, host) in endpoint.hosts.iter().enumerate() {
        let time = CONNECT_TIME.min(until.saturating_duration_since(Instant::now()));
        if time.is_zero() {
            let (left, seconds) = (endpoint.hosts.len() - tried, REACH_TIME.as_secs());
            why.push(format!("{left} more not tried, as {seconds} seconds were over"));
            break;
        }
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let error = match timeout(time, connect(host)).await {
            Ok(Ok(connected)) => return Ok((host, connected)),
            Ok(Err(error)) => error,
            Err(_) => format!("no connection in {} seconds", time.as_secs_f32().ceil()),
        };
        why.push(format!("{}: {error}", authority(host, endpoint.port)));
    }
    Err(why.join("; "))
}

/// `HOST:PORT`, as addresses have it: those of IPv6 in brackets.
fn authority(host: &str, port: u16) -> String {
    if host.parse::<Ipv6Addr>().is_ok() { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// An answer of a node as one of the server, whose body comes as it comes and breaks off with the drain.
pub(crate) fn passed_on(api: &Api, answer: Response<Incoming>) -> Answer {
    let (mut parts, body) = answer.into_parts();
    without_hops(&mut parts.headers);
    Answer::from_parts(parts, until_drain(api, body))
}

/// What is cut is an error, not an end: whoever reads must not take it for the whole.
fn until_drain(api: &Api, body: Incoming) -> Body {
    let pieces = stream::unfold((Some(body), api.drain.clone()), |(body, drain)| async move {
        let mut body = body?;
        tokio::select! {
            frame = body.frame() => Some((frame?.map_err(io::Error::other), (Some(body), drain))),
            () = drain.begun() => Some((Err(io::Error::other("the server is shutting down")), (None, drain))),
        }
    });
    StreamBody::new(pieces).boxed_unsync()
}

/// The answer of a node that is no success, as a failure.
pub(crate) async fn refusal(answer: Response<Incoming>) -> Status {
    let code = answer.status().as_u16();
    let body = timeout(HEAD_TIME, Limited::new(answer.into_body(), ERROR_BYTES_MAX).collect()).await;
    let text = match body {
        Ok(Ok(body)) => String::from_utf8_lossy(&body.to_bytes()).trim().to_owned(),
        _ => String::from("its reason cannot be read"),
    };
    let reason = match code {
        400 => "BadRequest",
        404 => "NotFound",
        405 => "MethodNotAllowed",
        409 => "Conflict",
        429 => "TooManyRequests",
        503 => "ServiceUnavailable",
        _ => "InternalError",
    };
    // A node that does not believe this server is no mistake of whoever asked.
    let code = if code < 400 || [401, 403].contains(&code) { 500 } else { code };
    Status::new(code, reason, text)
}

/// Leaves out what is between two ends of a connection, and what proves who asks.
pub(crate) fn without_hops(headers: &mut HeaderMap) {
    const HOPS: [&str; 10] = [
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "host",
        "authorization",
    ];
    for name in HOPS {
        headers.remove(name);
    }
    let identities: Vec<HeaderName> =
        headers.keys().filter(|name| name.as_str().starts_with("impersonate-")).cloned().collect();
    for name in identities {
        headers.remove(name);
    }
}

/// Opens a tunnel to `target` of a node, as the client asks: SPDY by itself, or in WebSocket messages.
///
/// # Errors
/// 400: the client asks for something else; and those of [`call`].
pub(crate) async fn tunnel(
    api: &Arc<Api>,
    request: &Request,
    endpoint: &Endpoint,
    target: &str,
) -> Result<Answer, Status> {
    let (wrap, protocols) = asked(&request.headers)?;
    let client = request.upgrade.lock().take();
    let client = client.ok_or_else(|| Status::bad_request("this connection cannot be upgraded"))?;
    let mut to_node = HttpRequest::builder()
        .method(Method::POST)
        .uri(target)
        .header(CONNECTION, "Upgrade")
        .header(UPGRADE, SPDY);
    for protocol in &protocols {
        to_node = to_node.header(PROTOCOL_VERSION, protocol);
    }
    let to_node = to_node.body(Full::new(Bytes::new())).map_err(Status::internal)?;
    let answer = call(api, endpoint, to_node).await?;
    if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
        return Err(refusal(answer).await);
    }
    let chosen = answer.headers().get(PROTOCOL_VERSION).cloned();
    let node = hyper::upgrade::on(answer).await.map_err(Status::internal)?;
    let mut agreed = agreement(wrap, &request.headers, chosen.as_ref());
    agreed.headers_mut().insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    tunnel::join(client, wrap, node, &api.drain);
    Ok(agreed)
}

/// How a client wants a tunnel, and the protocols that it speaks inside.
fn asked(headers: &HeaderMap) -> Result<(Wrap, Vec<String>), Status> {
    let text =
        |name: &HeaderName| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let listed = |name: &HeaderName| {
        let all = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
        all.flat_map(|line| line.split(',')).map(|one| one.trim().to_owned()).collect::<Vec<_>>()
    };
    let upgrade = text(&UPGRADE);
    if upgrade.eq_ignore_ascii_case(SPDY) {
        return Ok((Wrap::Plain, listed(&PROTOCOL_VERSION)));
    }
    if !upgrade.eq_ignore_ascii_case("websocket") {
        return Err(Status::bad_request("Upgrade request required"));
    }
    let spoken = listed(&WEBSOCKET_PROTOCOL);
    let inside: Vec<String> =
        spoken.iter().filter_map(|one| one.strip_prefix(TUNNELED)).map(str::to_owned).collect();
    if inside.is_empty() || text(&WEBSOCKET_KEY).is_empty() {
        return Err(Status::bad_request(format!(
            "unable to upgrade: through WebSocket a port is forwarded by {TUNNELED}portforward.k8s.io only"
        )));
    }
    Ok((Wrap::WebSocket, inside))
}

/// The answer with which a client and the server change to what they agreed on.
fn agreement(wrap: Wrap, asked: &HeaderMap, chosen: Option<&HeaderValue>) -> Answer {
    let mut answer = Answer::new(crate::answer::full(Bytes::new()));
    *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = answer.headers_mut();
    match wrap {
        Wrap::Plain => {
            headers.insert(UPGRADE, HeaderValue::from_static(SPDY));
            if let Some(chosen) = chosen {
                headers.insert(PROTOCOL_VERSION, chosen.clone());
            }
        }
        Wrap::WebSocket => {
            headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
            let key = asked.get(WEBSOCKET_KEY).and_then(|key| key.to_str().ok()).unwrap_or_default();
            if let Ok(accept) = HeaderValue::from_str(&websocket::accept(key)) {
                headers.insert(WEBSOCKET_ACCEPT, accept);
            }
            let inside = chosen.and_then(|chosen| chosen.to_str().ok()).unwrap_or_default();
            if let Ok(protocol) = HeaderValue::from_str(&format!("{TUNNELED}{inside}")) {
                headers.insert(WEBSOCKET_PROTOCOL, protocol);
            }
        }
    }
    answer
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_node_says_where_it_is() {
        let node = |status: Value| Endpoint::read(&json!({"metadata": {"name": "n1"}, "status": status}));
        let addresses = json!([
            {"type": "Hostname", "address": "n1"}, {"type": "InternalIP", "address": "10.0.0.1"},
            {"type": "Unknown", "address": "x"}, {"type": "InternalIP", "address": "fd00::1"},
        ]);
        let found =
            node(json!({"addresses": addresses, "daemonEndpoints": {"kubeletEndpoint": {"Port": 7}}}));
        let found = found.expect("it has addresses");
        assert_eq!((found.hosts, found.port), (["10.0.0.1", "fd00::1", "n1"].map(String::from).to_vec(), 7));
        for port in [json!(null), json!(0), json!(70_000), json!("x")] {
            let daemon = json!({"kubeletEndpoint": {"Port": port}});
            let found = node(json!({"addresses": addresses, "daemonEndpoints": daemon})).expect("found");
            assert_eq!(found.port, PORT_DEFAULT, "{port}");
        }
        assert_eq!(node(json!({})), None);
    }

    #[tokio::test(start_paused = true)]
    async fn each_address_of_a_node_has_its_time() {
        let hosts = ["192.0.2.1", "[fd00::1]", "192.0.2.2", "n1"].map(String::from).to_vec();
        let endpoint = Endpoint { node: "n1".into(), hosts, port: 7 };
        let begun = Instant::now();
        let silent = |host| async move {
            match host {
                "n1" => Ok(()),
                "192.0.2.2" => Err(String::from("refused")),
                _ => std::future::pending().await,
            }
        };
        assert_eq!(first(&endpoint, silent).await, Ok(("n1", ())));
        assert_eq!(begun.elapsed(), CONNECT_TIME * 2, "two of them say nothing");
        let endpoint = Endpoint { hosts: endpoint.hosts[..3].to_vec(), ..endpoint.clone() };
        assert_eq!(
            first(&endpoint, silent).await.expect_err("none is there"),
            "192.0.2.1:7: no connection in 3 seconds; [fd00::1]:7: no connection in 3 seconds; 192.0.2.2:7: refused"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn all_addresses_of_a_node_have_one_time_together() {
        let hosts: Vec<String> = (1..=ADDRESSES_MAX).map(|last| format!("192.0.2.{last}")).collect();
        let endpoint = Endpoint { node: "n1".into(), hosts, port: 7 };
        let begun = Instant::now();
        let why = first(&endpoint, |_| std::future::pending::<Result<(), _>>()).await.expect_err("no host");
        assert_eq!(begun.elapsed(), REACH_TIME);
        assert!(
            why.ends_with(
                "192.0.2.3:7: no connection in 3 seconds; 5 more not tried, as 9 seconds were over"
            ),
            "{why}"
        );
        // Those that say no at once are all asked.
        let why =
            first(&endpoint, async |_| Err::<(), _>(String::from("refused"))).await.expect_err("no host");
        assert_eq!(why.matches("refused").count(), ADDRESSES_MAX);
    }

    #[test]
    fn an_address_of_ipv6_is_in_brackets_before_a_port_only() {
        assert_eq!(authority("fd00::1", 7), "[fd00::1]:7");
        assert_eq!((authority("10.0.0.1", 7), authority("n1", 7)), ("10.0.0.1:7".into(), "n1:7".into()));
        assert!(ServerName::try_from("fd00::1").is_ok(), "TLS takes it without");
    }

    #[test]
    fn credentials_are_not_passed_on() {
        let mut headers = HeaderMap::new();
        for name in ["authorization", "impersonate-user", "impersonate-extra-x", "upgrade", "accept"] {
            headers.insert(HeaderName::from_static(name), HeaderValue::from_static("x"));
        }
        without_hops(&mut headers);
        assert_eq!(headers.keys().collect::<Vec<_>>(), ["accept"]);
    }

    #[test]
    fn a_tunnel_is_asked_for_in_two_ways() {
        let read = |headers: &[(&'static str, &str)]| {
            let mut map = HeaderMap::new();
            for (name, value) in headers {
                map.append(HeaderName::from_static(name), value.parse().expect("a value"));
            }
            asked(&map).map_err(|status| status.code)
        };
        let inside = || vec![String::from("portforward.k8s.io")];
        let spdy = [("upgrade", "SPDY/3.1"), ("x-stream-protocol-version", "portforward.k8s.io")];
        assert_eq!(read(&spdy), Ok((Wrap::Plain, inside())));
        let key = ("sec-websocket-key", "k");
        let web = |protocol| read(&[("upgrade", "websocket"), key, ("sec-websocket-protocol", protocol)]);
        assert_eq!(web("SPDY/3.1+portforward.k8s.io"), Ok((Wrap::WebSocket, inside())));
        assert_eq!(web("v4.channel.k8s.io"), Err(400));
        assert_eq!(read(&[]), Err(400));
    }
}
