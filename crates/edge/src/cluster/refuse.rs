//! What answers requests that no Service gets.

use futures_util::future::BoxFuture;
use http::header::{CACHE_CONTROL, LOCATION};
use http::{HeaderValue, Request, Response, StatusCode};
use shoal_runtime::{Answer, Body, Call, Failure, FailureKind, Invoke};

use super::hosts::plain;
use crate::admit::host_of;

/// Says that no route leads anywhere.
#[derive(Debug)]
pub(crate) enum Nowhere {
    /// No route names the host.
    Host,
    /// Routes name the host, and none takes the path.
    Path,
    /// No Service has the port any more; the connection is older.
    Port,
}

/// Sends clients that speak plain HTTP to the same place with TLS.
#[derive(Debug)]
pub(crate) struct ToHttps {
    /// `:8443`; empty where it is the port of the scheme.
    port: String,
}

/// Bytes of a host or path that an answer repeats.
const SHOWN_BYTES: usize = 256;

impl Invoke for Nowhere {
    fn invoke(&self, request: Request<Body>, _call: Call) -> BoxFuture<'static, Answer> {
        let host = shown(&plain(host_of(request.uri(), request.headers())));
        let why = match self {
            Self::Host if host.is_empty() => "no route for a request without a host".to_owned(),
            Self::Host => format!("no route for host {host}"),
            Self::Path => format!("no route for path {} on host {host}", shown(request.uri().path())),
            Self::Port => "no service is published on this port any more".to_owned(),
        };
        Box::pin(std::future::ready(Err(Failure::new(FailureKind::NoRoute, why))))
    }
}

impl ToHttps {
    pub(crate) fn new(port: u16) -> Self {
        Self { port: if port == 443 { String::new() } else { format!(":{port}") } }
    }
}

impl Invoke for ToHttps {
    fn invoke(&self, request: Request<Body>, _call: Call) -> BoxFuture<'static, Answer> {
        let host = host_of(request.uri(), request.headers());
        let (name, port) = (without_port(host), &self.port);
        let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
        let answer = match HeaderValue::try_from(format!("https://{name}{port}{path}")) {
            // 308 keeps method and body.
            Ok(there) => {
                let mut response = Response::new(Body::whole("this host is served with TLS only\n"));
                *response.status_mut() = StatusCode::PERMANENT_REDIRECT;
                response.headers_mut().insert(LOCATION, there);
                response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
                Ok(response)
            }
            Err(_) => Err(Failure::new(FailureKind::NoRoute, "no route for this host but with TLS")),
        };
        Box::pin(std::future::ready(answer))
    }
}

/// The host as it was given, brackets and all, without its port.
fn without_port(host: &str) -> &str {
    match host.rfind(':') {
        Some(at) if !host[at..].contains(']') => &host[..at],
        _ => host,
    }
}

/// Text of a client, cut where it is too long to be repeated.
fn shown(text: &str) -> String {
    let cut = &text[..text.floor_char_boundary(SHOWN_BYTES)];
    cut.escape_debug().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_told_from_an_address() {
        for (host, name) in
            [("a:80", "a"), ("a", "a"), ("[::1]:80", "[::1]"), ("[::1]", "[::1]"), ("a:", "a")]
        {
            assert_eq!(without_port(host), name);
        }
    }

    #[test]
    fn what_is_repeated_is_short_and_plain() {
        assert_eq!(shown(&"a".repeat(SHOWN_BYTES + 1)).len(), SHOWN_BYTES);
        assert_eq!(shown("/\u{1b}[31m"), "/\\u{1b}[31m");
    }
}
