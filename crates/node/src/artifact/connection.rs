//! A connection to a registry: TCP, TLS, HTTP/1.1.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Request, Response, Uri, header};
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use shoal_base::error_chain::chain;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_util::task::AbortOnDropHandle;

use super::reference::split_port;

/// How long a connection may take to notice that an answer has been read: no longer than a new one takes.
const READY_WAIT: Duration = Duration::from_millis(100);

/// What is sent with a request.
pub(super) type RequestBody = UnsyncBoxBody<Bytes, io::Error>;

/// Who is spoken to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Endpoint {
    pub(super) is_https: bool,
    /// A name or an address; one of IPv6 has its brackets.
    pub(super) host: String,
    pub(super) port: u16,
}

/// Why there is no connection.
#[derive(Debug)]
pub(super) enum DialError {
    /// Nobody answers.
    Unreachable(String),
    /// Somebody answers who does not speak TLS.
    NotTls(String),
    /// It is not who it should be.
    Untrusted(String),
}

impl Endpoint {
    /// The registry of a reference, or the host of a URL.
    pub(super) fn new(is_https: bool, authority: &str) -> Self {
        let (host, port) = split_port(authority);
        let default = if is_https { 443 } else { 80 };
        Self { is_https, host: host.into(), port: port.and_then(|port| port.parse().ok()).unwrap_or(default) }
    }

    /// Who a URL is of, and what is asked of them; none when it is no URL of HTTP.
    pub(super) fn of_url(url: &str) -> Option<(Self, String)> {
        let uri: Uri = url.parse().ok()?;
        let is_https = match uri.scheme_str()? {
            "https" => true,
            "http" => false,
            _ => return None,
        };
        // A name before an `@` would be sent as part of the host.
        let authority = uri.authority().filter(|authority| !authority.as_str().contains('@'))?;
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        Some((Self::new(is_https, authority.as_str()), path.to_string()))
    }

    /// `host`, or `host:port` where the port is not the usual one.
    pub(super) fn authority(&self) -> String {
        let usual = if self.is_https { 443 } else { 80 };
        if self.port == usual { self.host.clone() } else { format!("{}:{}", self.host, self.port) }
    }

    /// Whether nobody else can be in between.
    pub(super) fn is_loopback(&self) -> bool {
        let bare = self.bare_host();
        bare == "localhost" || bare.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
    }

    fn bare_host(&self) -> &str {
        self.host.trim_start_matches('[').trim_end_matches(']')
    }
}

/// An open connection, for one request after the other.
pub(super) struct Connection {
    sender: SendRequest<RequestBody>,
    _driver: AbortOnDropHandle<()>,
}

impl Connection {
    pub(super) async fn open(endpoint: &Endpoint, tls: &Arc<ClientConfig>) -> Result<Self, DialError> {
        let unreachable = |error: io::Error| {
            DialError::Unreachable(format!("cannot connect to {}: {error}", endpoint.authority()))
        };
        let stream = TcpStream::connect((endpoint.bare_host(), endpoint.port)).await.map_err(unreachable)?;
        // Small requests follow one another; that none is held back is all that is asked.
        let _ = stream.set_nodelay(true);
        if !endpoint.is_https {
            return Self::speak(stream, endpoint).await;
        }
        let name = ServerName::try_from(endpoint.bare_host().to_string())
            .map_err(|error| DialError::Untrusted(format!("`{}` is no host name: {error}", endpoint.host)))?;
        let stream = TlsConnector::from(tls.clone())
            .connect(name, stream)
            .await
            .map_err(|error| tls_error(endpoint, &error))?;
        Self::speak(stream, endpoint).await
    }

    async fn speak(
        stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
        endpoint: &Endpoint,
    ) -> Result<Self, DialError> {
        let failed = |error: hyper::Error| {
            DialError::Unreachable(format!("cannot speak with {}: {}", endpoint.authority(), chain(&error)))
        };
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(failed)?;
        // What goes wrong with a connection is told to the request that is on it.
        let driver = tokio::spawn(async move { drop(connection.await) });
        Ok(Self { sender, _driver: AbortOnDropHandle::new(driver) })
    }

    /// Whether another request can be sent: the last answer has been read, and nobody has hung up.
    pub(super) async fn is_ready(&mut self) -> bool {
        matches!(timeout(READY_WAIT, self.sender.ready()).await, Ok(Ok(())))
    }

    /// Sends a request to `path`. Comes back with the head of the answer.
    pub(super) async fn send(
        &mut self,
        endpoint: &Endpoint,
        mut request: Request<RequestBody>,
    ) -> Result<Response<Incoming>, String> {
        let host = HeaderValue::try_from(endpoint.authority()).map_err(|error| error.to_string())?;
        let agent = HeaderValue::from_static(concat!("shoal/", env!("CARGO_PKG_VERSION")));
        request.headers_mut().insert(header::HOST, host);
        request.headers_mut().insert(header::USER_AGENT, agent);
        self.sender.send_request(request).await.map_err(|error| chain(&error).to_string())
    }
}

fn tls_error(endpoint: &Endpoint, error: &io::Error) -> DialError {
    let what = format!("no secure connection to {}: {error}", endpoint.authority());
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match inner {
        Some(rustls::Error::InvalidMessage(_)) => DialError::NotTls(what),
        Some(_) => DialError::Untrusted(what),
        // Who does not know TLS hangs up.
        None => DialError::NotTls(what),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(is_https: bool, host: &str, port: u16) -> Endpoint {
        Endpoint { is_https, host: host.into(), port }
    }

    #[test]
    fn an_endpoint_is_read_from_a_registry_or_a_url() {
        assert_eq!(Endpoint::new(true, "ghcr.io"), endpoint(true, "ghcr.io", 443));
        assert_eq!(Endpoint::new(false, "[::1]:5000"), endpoint(false, "[::1]", 5000));
        let of = |url: &str| Endpoint::of_url(url);
        let expected = Some((endpoint(true, "auth.docker.io", 443), "/token?a=b".to_string()));
        assert_eq!(of("https://auth.docker.io/token?a=b"), expected);
        assert_eq!(of("http://a:8080"), Some((endpoint(false, "a", 8080), "/".to_string())));
        for nothing in ["", "/path", "ftp://a/b", "https://", "https://ada:x@host/", "mailto:a"] {
            assert_eq!(of(nothing), None, "{nothing}");
        }
        assert_eq!(endpoint(true, "a", 443).authority(), "a");
        assert_eq!(endpoint(false, "a", 443).authority(), "a:443");
    }

    #[test]
    fn loopback_is_this_machine_only() {
        for (host, expected) in [
            ("localhost", true),
            ("127.0.0.1", true),
            ("127.9.9.9", true),
            ("[::1]", true),
            ("localhost.example.com", false),
            ("10.0.0.1", false),
            ("0.0.0.0", false),
            ("[::2]", false),
        ] {
            assert_eq!(endpoint(false, host, 80).is_loopback(), expected, "{host}");
        }
    }
}
