//! What clients send: heads, framing, headers, whole connections.
#![allow(unreachable_pub, reason = "a module of the fuzz targets and of the tests of shoal-edge")]

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use http::header::{HOST, HeaderName};
use http::{HeaderValue, Method, Request, Uri, Version};
use shoal_base::drain::Drain;
use shoal_edge::admit;
use shoal_edge::framing::Framing;
use shoal_edge::{Config, Edge, Error, Limits, Listener, Routes, Served};
use shoal_runtime::TraceContext;
use shoal_runtime::fake::echo;

/// The first byte says how the rest is cut into pieces. The verdict does not depend on it, and once a request is
/// ambiguous no later byte makes it right.
pub fn framing(bytes: &[u8]) {
    let Some((cut, bytes)) = bytes.split_first() else { return };
    let run = |size: usize| {
        let mut framing = Framing::default();
        let mut first = None;
        for part in bytes.chunks(size) {
            framing.feed(part);
            assert!(first.is_none() || framing.ambiguous() == first, "the verdict changed");
            first = framing.ambiguous();
        }
        (framing.ambiguous(), framing.in_head())
    };
    let whole = run(bytes.len().max(1));
    assert_eq!(run(usize::from(*cut).max(1)), whole);
    assert_eq!(run(1), whole);
}

/// A request line, then header fields. What is admitted is as the crate promises to its workloads.
pub fn admit(bytes: &[u8]) {
    let Some(request) = parse_head(bytes) else { return };
    let (head, ()) = request.into_parts();
    let limits = Limits { header_count: 8, ..Limits::default() };
    for has_body in [false, true] {
        match admit::check(&head, &limits, has_body) {
            Ok(()) => {
                let hosts = head.headers.get_all(HOST).iter().count();
                assert!(hosts <= 1, "{hosts} hosts were admitted");
                assert!(head.version != Version::HTTP_11 || hosts == 1, "no host was admitted");
                assert!(head.method != Method::CONNECT && head.headers.len() <= limits.header_count);
                assert!(head.uri.path().starts_with('/') || head.uri.path() == "*");
                let host = admit::host_of(&head.uri, &head.headers);
                assert!(!host.contains([' ', '@', ',', '/']), "the host {host:?} was admitted");
            }
            Err(refusal) => {
                assert!(refusal.status().is_client_error(), "{refusal:?} is not the client's fault");
                assert!(!refusal.to_string().is_empty() && !refusal.name().is_empty());
            }
        }
    }
}

/// Makes a request of lines; none where the bytes could not have passed the parser.
fn parse_head(bytes: &[u8]) -> Option<Request<()>> {
    let mut lines = bytes.split(|byte| *byte == b'\n');
    let mut start = lines.next()?.splitn(3, |byte| *byte == b' ');
    let mut request = Request::new(());
    *request.method_mut() = Method::from_bytes(start.next()?).ok()?;
    *request.uri_mut() = Uri::try_from(start.next()?).ok()?;
    *request.version_mut() = match start.next()? {
        b"1.0" => Version::HTTP_10,
        b"2" => Version::HTTP_2,
        _ => Version::HTTP_11,
    };
    for line in lines.filter(|line| !line.is_empty()) {
        let at = line.iter().position(|byte| *byte == b':')?;
        let name = HeaderName::from_bytes(&line[..at]).ok()?;
        let value = HeaderValue::from_bytes(line[at + 1..].trim_ascii()).ok()?;
        request.headers_mut().append(name, value);
    }
    Some(request)
}

/// What is read is written back in version 0 and read the same; zeros are never read.
pub fn traceparent(bytes: &[u8]) {
    let Some(parent) = TraceContext::parse(bytes) else { return };
    assert!(parent.trace_id != 0 && parent.span_id != 0);
    assert_eq!(TraceContext::parse(parent.header().as_bytes()), Some(parent));
}

/// An edge that answers each request with its own body.
pub struct Http {
    address: SocketAddr,
    drain: Drain,
    thread: Option<JoinHandle<Result<Served, Error>>>,
}

/// What an edge may take over one connection before it counts as stuck: far more than its own limits below.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long a client waits for an answer that may not come: longer than an idle edge takes for one.
const GLANCE: Duration = Duration::from_millis(5);

/// A request that is answered whatever came before it, on other connections.
const GOOD: &[u8] = b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";

impl Http {
    /// Serves on a free port of this machine.
    pub fn start() -> Self {
        let second = Duration::from_secs(1);
        let config = Config {
            listeners: vec![Listener::plain(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))],
            threads: NonZeroUsize::new(1),
            limits: Limits {
                header_read: second,
                keep_alive: second,
                body_stall: second,
                write_stall: second,
                ..Limits::default()
            },
            ..Config::default()
        };
        let edge = Edge::bind(config).expect("a free port");
        let (address, drain) = (edge.local_addrs()[0], Drain::new());
        let begun = drain.clone();
        let thread = std::thread::spawn(move || edge.serve(&Routes::to(Arc::new(echo())), &begun));
        Self { address, drain, thread: Some(thread) }
    }

    /// The first byte says how the rest is cut into pieces; the rest is sent over one connection. What comes back
    /// is HTTP or nothing, comes in time, and the next client is served.
    pub fn check(&self, bytes: &[u8]) {
        self.first_status(bytes, GLANCE);
    }

    /// The same for bytes that are answered, be it with a refusal or by closing. Gives the first HTTP/1 status, if any.
    pub fn status_of(&self, bytes: &[u8]) -> Option<u16> {
        self.first_status(bytes, PATIENCE)
    }

    fn first_status(&self, bytes: &[u8], wait: Duration) -> Option<u16> {
        let (cut, bytes) = bytes.split_first()?;
        let answer = self.ask(bytes, usize::from(*cut).max(1), wait);
        let next = self.ask(GOOD, GOOD.len(), PATIENCE);
        assert_eq!(status(&next), Some(200), "the next client was not served");
        // RFC 9113 §3.4: a server begins with a SETTINGS frame, which is type 4 on stream 0.
        let is_http2 = answer.get(3) == Some(&4) && answer.get(5..9) == Some(&[0; 4]);
        assert!(
            answer.is_empty() || is_http2 || status(&answer).is_some(),
            "the answer is not HTTP: {}",
            answer.escape_ascii()
        );
        if is_http2 { None } else { status(&answer) }
    }

    /// Everything that comes back up to the end of the connection. The client ends its side when the answer begins,
    /// or after `wait`: a client that is gone is owed no answer.
    fn ask(&self, bytes: &[u8], size: usize, wait: Duration) -> Vec<u8> {
        let mut socket = TcpStream::connect(self.address).expect("the edge accepts");
        socket.set_nodelay(true).expect("an open socket");
        socket.set_read_timeout(Some(wait)).expect("an open socket");
        socket.set_write_timeout(Some(PATIENCE)).expect("an open socket");
        for part in bytes.chunks(size) {
            // The edge may have refused already.
            if socket.write_all(part).is_err() {
                break;
            }
        }
        let _ = socket.peek(&mut [0]);
        let _ = socket.shutdown(Shutdown::Write);
        socket.set_read_timeout(Some(PATIENCE)).expect("an open socket");
        let mut answer = Vec::new();
        match socket.read_to_end(&mut answer) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
            Err(error) => panic!("the edge does not end the connection: {error}"),
        }
        answer
    }
}

impl Drop for Http {
    fn drop(&mut self) {
        self.drain.begin();
        if let Some(thread) = self.thread.take() {
            let served = thread.join();
            if !std::thread::panicking() {
                served.expect("the edge does not panic").expect("the edge serves to its end");
            }
        }
    }
}

/// The status of an HTTP/1 response that begins as RFC 9112 §4 says.
fn status(answer: &[u8]) -> Option<u16> {
    let rest = answer.strip_prefix(b"HTTP/1.1 ").or_else(|| answer.strip_prefix(b"HTTP/1.0 "))?;
    let code = std::str::from_utf8(rest.get(..3)?).ok()?.parse().ok()?;
    (100..600).contains(&code).then_some(code)
}
