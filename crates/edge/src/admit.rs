//! Phase *admit*: what a request head must be before a guest sees it. No IO: heads in, refusals out.

use std::fmt;

use http::header::{CONTENT_LENGTH, EXPECT, HOST, TRANSFER_ENCODING};
use http::{HeaderMap, Method, StatusCode, Uri, Version, request};

use crate::limits::{Limit, Limits};

/// Why a request is answered by the edge and not by a guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It is not HTTP as it should be; the text says why.
    Malformed(&'static str),
    /// A limit was hit.
    Limit(Limit),
    /// It expects what the edge does not do.
    Expectation,
}

impl Refusal {
    /// What the client is told.
    pub const fn status(self) -> StatusCode {
        match self {
            Self::Malformed(_) => StatusCode::BAD_REQUEST,
            Self::Limit(limit) => limit.status(),
            Self::Expectation => StatusCode::EXPECTATION_FAILED,
        }
    }

    /// The name in logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Malformed(_) => "malformed",
            Self::Limit(limit) => limit.name(),
            Self::Expectation => "expectation",
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(why) => write!(f, "the request is malformed: {why}"),
            Self::Limit(limit) => f.write_str(sentence(*limit)),
            Self::Expectation => f.write_str("only `expect: 100-continue` can be met"),
        }
    }
}

/// Checks a request head.
///
/// # Errors
/// The first thing that is wrong with it.
pub fn check(head: &request::Parts, limits: &Limits, has_body: bool) -> Result<(), Refusal> {
    if head.method == Method::CONNECT {
        return Err(Refusal::Malformed("CONNECT asks for a tunnel, and there is none"));
    }
    if head.headers.len() > limits.header_count {
        return Err(Refusal::Limit(Limit::HeaderCount));
    }
    check_target(&head.method, &head.uri, limits)?;
    check_host(&head.uri, &head.headers, head.version)?;
    if has_body { check_body(&head.headers, head.version, limits) } else { Ok(()) }
}

/// The host that a request is for, with its port if it says one; empty if it says none.
pub fn host_of<'a>(uri: &'a Uri, headers: &'a HeaderMap) -> &'a str {
    let from_header = || headers.get(HOST).and_then(|host| host.to_str().ok());
    uri.authority().map(|authority| authority.as_str()).or_else(from_header).unwrap_or("")
}

fn check_target(method: &Method, uri: &Uri, limits: &Limits) -> Result<(), Refusal> {
    let path = uri.path();
    let query_bytes = uri.query().map_or(0, |query| query.len() + 1);
    let origin_bytes = uri.authority().map_or(0, |authority| authority.as_str().len() + "https://".len());
    if (path.len() + query_bytes + origin_bytes) as u64 > limits.uri.0 {
        return Err(Refusal::Limit(Limit::Uri));
    }
    if path == "*" && method != Method::OPTIONS {
        return Err(Refusal::Malformed("only OPTIONS may have the target *"));
    }
    if path != "*" && !path.starts_with('/') {
        return Err(Refusal::Malformed("the target is no path"));
    }
    if uri.scheme_str().is_some_and(|scheme| scheme != "http" && scheme != "https") {
        return Err(Refusal::Malformed("the target is neither http nor https"));
    }
    Ok(())
}

/// RFC 9112 §3.2: exactly one `host` in HTTP/1.1, and the same as that of the target if both are given.
/// RFC 9113 §8.3.1: `:authority` must agree with `host` too.
fn check_host(uri: &Uri, headers: &HeaderMap, version: Version) -> Result<(), Refusal> {
    let mut hosts = headers.get_all(HOST).iter();
    let host = match (hosts.next(), hosts.next()) {
        (Some(host), None) => host.as_bytes(),
        (Some(_), Some(_)) => return Err(Refusal::Malformed("it names more than one host")),
        (None, _) if version == Version::HTTP_11 => return Err(Refusal::Malformed("it names no host")),
        (None, _) if version == Version::HTTP_2 && uri.authority().is_none() => {
            return Err(Refusal::Malformed("it names no host"));
        }
        (None, _) => return Ok(()),
    };
    if !host.iter().copied().all(is_host_byte) {
        return Err(Refusal::Malformed("the host is no name and no address"));
    }
    match uri.authority() {
        Some(authority) if !authority.as_str().as_bytes().eq_ignore_ascii_case(host) => {
            Err(Refusal::Malformed("the target and the host header name different hosts"))
        }
        Some(authority) if authority.as_str().contains('@') => {
            Err(Refusal::Malformed("the target holds a user name"))
        }
        Some(_) | None => Ok(()),
    }
}

/// Names and addresses with a port, RFC 3986 §3.2.2 without the delimiters that no host uses.
fn is_host_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b':' | b'_' | b'~' | b'%' | b'[' | b']')
}

fn check_body(headers: &HeaderMap, version: Version, limits: &Limits) -> Result<(), Refusal> {
    if headers.get(EXPECT).is_some_and(|value| !value.as_bytes().eq_ignore_ascii_case(b"100-continue")) {
        return Err(Refusal::Expectation);
    }
    if version < Version::HTTP_2 {
        let mut encodings = headers.get_all(TRANSFER_ENCODING).iter();
        match (encodings.next(), encodings.next()) {
            (None, _) => {}
            (Some(one), None) if one.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked") => {}
            (Some(_), _) => return Err(Refusal::Malformed("its transfer-encoding is not just chunked")),
        }
    }
    let declared = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if declared.is_some_and(|bytes| bytes > limits.request_body.0) {
        return Err(Refusal::Limit(Limit::RequestBody));
    }
    Ok(())
}

/// What the client reads when this limit was hit.
const fn sentence(limit: Limit) -> &'static str {
    match limit {
        Limit::HeaderRead => "the request head did not arrive in time",
        Limit::TlsHandshake => "the TLS handshake took too long",
        Limit::KeepAlive => "the connection was idle for too long",
        Limit::BodyStall => "the request body did not arrive in time",
        Limit::WriteStall => "the response was not taken in time",
        Limit::HeaderList => "the request head is too large",
        Limit::HeaderCount => "the request has too many header fields",
        Limit::Uri => "the request target is too long",
        Limit::RequestBody => "the request body is too large",
        Limit::Connections | Limit::ConnectionsPerPeer => "there are too many connections",
        Limit::RequestsPerThread => "there are too many requests in flight",
        Limit::H2Resets => "too many requests were cancelled",
    }
}

#[cfg(test)]
mod tests {
    use http::Request;
    use shoal_base::units::Bytes;

    use super::*;

    fn limits() -> Limits {
        Limits { uri: Bytes(20), header_count: 3, request_body: Bytes(100), ..Limits::default() }
    }

    fn verdict(
        method: &str,
        target: &str,
        version: Version,
        headers: &[(&str, &str)],
    ) -> Result<(), Refusal> {
        let mut request = Request::builder().method(method).uri(target).version(version);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (head, ()) = request.body(()).expect("a request").into_parts();
        check(&head, &limits(), true)
    }

    #[test]
    fn ordinary_requests_pass() {
        for (method, target, version, headers) in [
            ("GET", "/", Version::HTTP_11, &[("host", "a.test:8080")][..]),
            ("GET", "/", Version::HTTP_11, &[("host", "[::1]:80")]),
            ("GET", "/", Version::HTTP_11, &[("host", "")]),
            ("GET", "/", Version::HTTP_10, &[]),
            ("GET", "/", Version::HTTP_2, &[("host", "a")]),
            ("GET", "http://a.test/", Version::HTTP_2, &[]),
            ("GET", "http://A.test/", Version::HTTP_11, &[("host", "a.TEST")]),
            ("OPTIONS", "*", Version::HTTP_11, &[("host", "a")]),
            (
                "POST",
                "/",
                Version::HTTP_11,
                &[("host", "a"), ("expect", "100-Continue"), ("content-length", "100")],
            ),
        ] {
            assert_eq!(verdict(method, target, version, headers), Ok(()), "{method} {target} {headers:?}");
        }
    }

    #[test]
    fn malformed_heads_say_what_is_wrong() {
        for (method, target, version, headers, why) in [
            (
                "CONNECT",
                "a:1",
                Version::HTTP_11,
                &[("host", "a:1")][..],
                "CONNECT asks for a tunnel, and there is none",
            ),
            ("GET", "/", Version::HTTP_11, &[], "it names no host"),
            ("GET", "/", Version::HTTP_2, &[], "it names no host"),
            ("GET", "/", Version::HTTP_11, &[("host", "a"), ("host", "a")], "it names more than one host"),
            ("GET", "/", Version::HTTP_11, &[("host", "a b")], "the host is no name and no address"),
            ("GET", "/", Version::HTTP_11, &[("host", "a,b")], "the host is no name and no address"),
            ("GET", "/", Version::HTTP_11, &[("host", "a@b")], "the host is no name and no address"),
            (
                "GET",
                "http://a/",
                Version::HTTP_11,
                &[("host", "b")],
                "the target and the host header name different hosts",
            ),
            (
                "GET",
                "http://a/",
                Version::HTTP_2,
                &[("host", "b")],
                "the target and the host header name different hosts",
            ),
            ("GET", "ftp://a/", Version::HTTP_11, &[("host", "a")], "the target is neither http nor https"),
            ("GET", "*", Version::HTTP_11, &[("host", "a")], "only OPTIONS may have the target *"),
            ("GET", "a.test", Version::HTTP_11, &[("host", "a.test")], "the target is no path"),
            (
                "POST",
                "/",
                Version::HTTP_11,
                &[("host", "a"), ("transfer-encoding", "gzip, chunked")],
                "its transfer-encoding is not just chunked",
            ),
            (
                "POST",
                "/",
                Version::HTTP_11,
                &[("host", "a"), ("transfer-encoding", "chunked"), ("transfer-encoding", "chunked")],
                "its transfer-encoding is not just chunked",
            ),
        ] {
            let got = verdict(method, target, version, headers);
            assert_eq!(got, Err(Refusal::Malformed(why)), "{method} {target} {headers:?}");
        }
    }

    #[test]
    fn limits_hold_at_their_edges() {
        let host = ("host", "a");
        let get = |target: &str| verdict("GET", target, Version::HTTP_11, &[host]);
        assert_eq!(get("/234567890123456?890"), Ok(()));
        assert_eq!(get("/234567890123456?8901"), Err(Refusal::Limit(Limit::Uri)));
        let with = |headers: &[(&str, &str)]| verdict("POST", "/", Version::HTTP_11, headers);
        assert_eq!(with(&[host, ("b", ""), ("c", "")]), Ok(()));
        assert_eq!(with(&[host, ("b", ""), ("c", ""), ("c", "")]), Err(Refusal::Limit(Limit::HeaderCount)));
        assert_eq!(with(&[host, ("content-length", "100")]), Ok(()));
        assert_eq!(with(&[host, ("content-length", "101")]), Err(Refusal::Limit(Limit::RequestBody)));
        assert_eq!(with(&[host, ("expect", "miracles")]), Err(Refusal::Expectation));
    }
}
