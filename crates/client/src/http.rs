//! The way over TLS: one HTTP/2 connection for all requests and watches, made anew when it is lost; a connection for each
//! request where the server speaks HTTP/1.1 only.

use std::fmt::Display;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::header::{AUTHORIZATION, HOST};
use http::{HeaderValue, Request, Response, Uri};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use parking_lot::Mutex;
use rustls::crypto::aws_lc_rs;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use shoal_base::error_chain::chain;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::kubeconfig::{Config, Token};
use crate::{Body, Error, Transport};

/// For a connection with its handshake, and for the wait for one that another request makes.
const CONNECT_TIME: Duration = Duration::from_secs(10);
/// Between pings, and for the answer to one: a server that went away without a word is found in a minute.
const PING_EVERY: Duration = Duration::from_secs(30);
/// How long a token that was read from a file is used: those of pods are renewed long before they end.
const TOKEN_FRESH: Duration = Duration::from_secs(60);

/// An API server, over TLS.
#[derive(Clone)]
pub struct Http(Arc<Server>);

struct Server {
    /// `https://HOST:PORT`, maybe with a path.
    name: String,
    authority: String,
    /// `HOST:PORT`.
    address: String,
    /// Before the path of each request; mostly empty.
    prefix: String,
    expected: ServerName<'static>,
    tls: TlsConnector,
    token: Token,
    /// The one that all requests share, where the server speaks HTTP/2.
    shared: Mutex<Option<http2::SendRequest<Full<Bytes>>>>,
    /// Held by whoever makes the shared connection: the others wait for that one.
    connecting: tokio::sync::Mutex<()>,
    /// The server speaks HTTP/1.1 only, as was found: each request has a connection of its own, and waits for no other.
    is_unshared: AtomicBool,
    /// The token of the file as it was read, and when.
    read: Mutex<Option<(HeaderValue, Instant)>>,
}

/// A connection that was just made.
enum Made {
    /// For many requests.
    Many(http2::SendRequest<Full<Bytes>>),
    /// For one.
    One(http1::SendRequest<Full<Bytes>>),
}

impl Http {
    /// A way to the server. Connects with the first request.
    ///
    /// # Errors
    /// A sentence: the address, the certificates or the key cannot be used.
    pub fn new(config: &Config) -> Result<Self, String> {
        let uri: Uri = config.server.parse().map_err(|_| format!("{} is no URL", config.server))?;
        let Some(authority) = uri.authority().filter(|_| uri.scheme_str() == Some("https")) else {
            return Err(format!("{} is no https URL", config.server));
        };
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        let expected = if config.server_name.is_empty() { host } else { &config.server_name };
        let expected = ServerName::try_from(expected.to_owned())
            .map_err(|_| format!("{expected:?} can be no name of a certificate"))?;
        Ok(Self(Arc::new(Server {
            name: config.server.clone(),
            authority: authority.to_string(),
            address: format!("{}:{}", authority.host(), authority.port_u16().unwrap_or(443)),
            prefix: uri.path().trim_end_matches('/').to_owned(),
            expected,
            tls: TlsConnector::from(Arc::new(tls(config)?)),
            token: config.token.clone(),
            shared: Mutex::default(),
            connecting: tokio::sync::Mutex::default(),
            is_unshared: AtomicBool::new(false),
            read: Mutex::default(),
        })))
    }
}

impl Transport for Http {
    fn send(&self, request: Request<Bytes>) -> BoxFuture<'static, Result<Response<Body>, Error>> {
        let server = self.0.clone();
        async move { server.send(request).await }.boxed()
    }

    fn server(&self) -> &str {
        &self.0.name
    }
}

impl Server {
    async fn send(&self, request: Request<Bytes>) -> Result<Response<Body>, Error> {
        let (mut parts, body) = request.into_parts();
        if let Some(token) = self.token()? {
            parts.headers.insert(AUTHORIZATION, token);
        }
        let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
        let target = match self.connection().await? {
            Made::Many(mut sender) => {
                let target = format!("https://{}{}{path}", self.authority, self.prefix);
                parts.uri = target.parse().map_err(|error| self.failed(error))?;
                let request = Request::from_parts(parts, Full::new(body));
                sender.ready().await.map_err(|error| self.broken(&error))?;
                sender.send_request(request).await
            }
            Made::One(mut sender) => {
                parts.uri = format!("{}{path}", self.prefix).parse().map_err(|error| self.failed(error))?;
                let host = HeaderValue::from_str(&self.authority).map_err(|error| self.failed(error))?;
                parts.headers.insert(HOST, host);
                sender.send_request(Request::from_parts(parts, Full::new(body))).await
            }
        };
        Ok(target.map_err(|error| self.broken(&error))?.map(streamed))
    }

    /// The connection that there is, or a new one.
    async fn connection(&self) -> Result<Made, Error> {
        if let Some(sender) = self.shared() {
            return Ok(Made::Many(sender));
        }
        match timeout(CONNECT_TIME, self.make()).await {
            Ok(made) => made.map_err(|why| self.failed(why)),
            Err(_) => Err(self.failed(format!("no connection in {} seconds", CONNECT_TIME.as_secs()))),
        }
    }

    /// The connection that all share, if it is there.
    fn shared(&self) -> Option<http2::SendRequest<Full<Bytes>>> {
        self.shared.lock().as_ref().filter(|sender| !sender.is_closed()).cloned()
    }

    /// A connection: of those who want one at the same time, one makes it for all.
    async fn make(&self) -> Result<Made, String> {
        let is_unshared = self.is_unshared.load(Relaxed);
        let turn = if is_unshared { None } else { Some(self.connecting.lock().await) };
        // Who waited for a connection that nobody can share lets the others go on at once.
        let turn = turn.filter(|_| !self.is_unshared.load(Relaxed));
        if let Some(sender) = self.shared() {
            return Ok(Made::Many(sender));
        }
        let stream = self.reach().await?;
        let is_shared = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        self.is_unshared.store(!is_shared, Relaxed);
        if is_shared {
            let sender = many(stream).await?;
            *self.shared.lock() = Some(sender.clone());
            return Ok(Made::Many(sender));
        }
        // Nobody else can use this one.
        drop(turn);
        let (sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|error| text(&error))?;
        // It ends with the answer, or when the answer is dropped.
        tokio::spawn(connection);
        Ok(Made::One(sender))
    }

    async fn reach(&self) -> Result<TlsStream<TcpStream>, String> {
        let stream = TcpStream::connect(&self.address).await.map_err(|error| text(&error))?;
        // Small requests should not wait for more.
        let _ = stream.set_nodelay(true);
        self.tls.connect(self.expected.clone(), stream).await.map_err(|error| text(&error))
    }

    fn token(&self) -> Result<Option<HeaderValue>, Error> {
        let bearer = |text: &str| {
            let mut value = HeaderValue::from_str(&format!("Bearer {}", text.trim()))
                .map_err(|_| self.failed("its token has characters that no token has"))?;
            value.set_sensitive(true);
            Ok(value)
        };
        let file = match &self.token {
            Token::None => return Ok(None),
            Token::Text(text) => return bearer(text).map(Some),
            Token::File(file) => file,
        };
        if let Some((value, at)) = &*self.read.lock()
            && at.elapsed() < TOKEN_FRESH
        {
            return Ok(Some(value.clone()));
        }
        let text = std::fs::read_to_string(file).map_err(|error| {
            self.failed(format!("cannot read its token from {}: {error}", file.display()))
        })?;
        if text.trim().is_empty() {
            return Err(self.failed(format!("its token in {} is empty", file.display())));
        }
        let value = bearer(&text)?;
        *self.read.lock() = Some((value.clone(), Instant::now()));
        Ok(Some(value))
    }

    fn failed(&self, why: impl Display) -> Error {
        Error::Unreachable { server: self.name.clone(), why: why.to_string() }
    }

    fn broken(&self, error: &hyper::Error) -> Error {
        self.failed(chain(error))
    }
}

/// A connection for many requests.
async fn many(stream: TlsStream<TcpStream>) -> Result<http2::SendRequest<Full<Bytes>>, String> {
    let (sender, connection) = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_EVERY)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|error| text(&error))?;
    // It ends with the last sender, or when the server goes.
    tokio::spawn(connection);
    Ok(sender)
}

fn text(error: &(dyn std::error::Error + 'static)) -> String {
    chain(error).to_string()
}

fn streamed(body: Incoming) -> Body {
    body.map_err(io::Error::other).boxed_unsync()
}

fn tls(config: &Config) -> Result<ClientConfig, String> {
    let mut roots = RootCertStore::empty();
    match &config.authorities {
        None => roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
        Some(pem) => {
            let certificates: Vec<CertificateDer<'_>> =
                CertificateDer::pem_slice_iter(pem).flatten().collect();
            if roots.add_parsable_certificates(certificates).0 == 0 {
                return Err("the certificate authority of the server holds no certificate".into());
            }
        }
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("the provider has the default versions")
        .with_root_certificates(roots);
    let mut tls = match &config.certificate {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let certificates = CertificateDer::pem_slice_iter(certificate).flatten().collect();
            let key = PrivateKeyDer::from_pem_slice(key)
                .map_err(|error| format!("the client's key cannot be read: {error}"))?;
            builder
                .with_client_auth_cert(certificates, key)
                .map_err(|error| format!("the client's certificate cannot be used: {error}"))?
        }
    };
    tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(tls)
}
