//! An HTTPS client that sends exactly what it is told to: recorded requests must go out as they were recorded.

use std::io::Read as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use bytes::Bytes;
use flate2::read::GzDecoder;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, HOST};
use http::{HeaderMap, Method, Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use rustls::client::WantsClientCert;
use rustls::{ClientConfig, ConfigBuilder, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// For an answer, or for the next part of one that streams.
const ANSWER_WITHIN: Duration = Duration::from_secs(60);

/// Speaks to one server as whom a kubeconfig names.
#[derive(Clone)]
pub(crate) struct Client {
    address: SocketAddr,
    tls: TlsConnector,
}

/// A client with one connection, for many requests one after the other.
pub(crate) struct Session {
    client: Client,
    sender: Option<SendRequest<Full<Bytes>>>,
}

/// An answer, whole.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    /// The status code.
    pub(crate) status: u16,
    /// As they came.
    pub(crate) headers: HeaderMap,
    /// Without its content encoding.
    pub(crate) body: Bytes,
}

/// An answer that goes on.
pub(crate) struct Stream {
    /// The status code.
    pub(crate) status: u16,
    /// As they came.
    pub(crate) headers: HeaderMap,
    body: Incoming,
    rest: Vec<u8>,
}

impl Client {
    /// A client with the certificate in a kubeconfig.
    pub(crate) fn of(kubeconfig: &str, address: SocketAddr) -> Self {
        let certificate = CertificateDer::from_pem_slice(&field(kubeconfig, "client-certificate-data:"))
            .expect("a certificate");
        let key = PrivateKeyDer::from_pem_slice(&field(kubeconfig, "client-key-data:")).expect("a key");
        let config =
            trusting(kubeconfig).with_client_auth_cert(vec![certificate], key).expect("a key that fits");
        Self { address, tls: TlsConnector::from(Arc::new(config)) }
    }

    /// A client that knows the server but shows no certificate.
    pub(crate) fn stranger(kubeconfig: &str, address: SocketAddr) -> Self {
        let config = trusting(kubeconfig).with_no_client_auth();
        Self { address, tls: TlsConnector::from(Arc::new(config)) }
    }

    /// A client that keeps its connection.
    pub(crate) fn session(&self) -> Session {
        Session { client: self.clone(), sender: None }
    }

    /// Sends a request on a connection of its own and reads the whole answer.
    pub(crate) async fn send(
        &self,
        method: Method,
        target: &str,
        headers: &[(&str, &str)],
        body: Vec<u8>,
    ) -> Answer {
        let stream = self.stream(method, target, headers, body).await;
        let body = tokio::time::timeout(ANSWER_WITHIN, stream.body.collect()).await;
        let body =
            body.unwrap_or_else(|_| panic!("{target} did not end")).expect("a whole answer").to_bytes();
        let is_gzip = stream.headers.get(CONTENT_ENCODING).is_some_and(|value| value == "gzip");
        Answer {
            status: stream.status,
            headers: stream.headers,
            body: if is_gzip { inflated(&body) } else { body },
        }
    }

    /// Sends a request and reads the head of its answer.
    pub(crate) async fn stream(
        &self,
        method: Method,
        target: &str,
        headers: &[(&str, &str)],
        body: Vec<u8>,
    ) -> Stream {
        let mut request =
            Request::builder().method(method).uri(target).header(HOST, self.address.to_string());
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(Bytes::from(body))).expect("a request");
        let answer = tokio::time::timeout(ANSWER_WITHIN, self.exchange(request)).await;
        let (head, body) = answer.unwrap_or_else(|_| panic!("no answer to {target}")).into_parts();
        Stream { status: head.status.as_u16(), headers: head.headers, body, rest: Vec::new() }
    }

    /// Sends the head of a request, and nothing more, on a connection of its own.
    pub(crate) async fn raw(&self, line: &str, headers: &[(&str, &str)]) -> Raw {
        let socket = TcpStream::connect(self.address).await.expect("a connection");
        let name = ServerName::from(self.address.ip());
        let mut socket = self.tls.connect(name, socket).await.expect("a server that is who it says");
        let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let head = format!("{line}\r\nHost: {}\r\n{headers}\r\n", self.address);
        socket.write_all(head.as_bytes()).await.expect("written");
        Raw { socket }
    }

    async fn exchange(&self, request: Request<Full<Bytes>>) -> Response<Incoming> {
        self.connect().await.send_request(request).await.expect("an answer")
    }

    async fn connect(&self) -> SendRequest<Full<Bytes>> {
        let socket = TcpStream::connect(self.address).await.expect("a connection");
        let name = ServerName::from(self.address.ip());
        let socket = self.tls.connect(name, socket).await.expect("a server that is who it says");
        let (sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(socket)).await.expect("a connection");
        // It ends with the answer, or when the answer or the session is dropped.
        tokio::spawn(connection);
        sender
    }
}

impl Session {
    /// Sends a request without a body and reads the whole answer, on the same connection where it is still there.
    pub(crate) async fn ask(
        &mut self,
        method: &Method,
        target: &str,
        headers: &[(&str, &str)],
    ) -> (u16, Bytes) {
        let request =
            Request::builder().method(method).uri(target).header(HOST, self.client.address.to_string());
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        let request = request.body(Full::default()).expect("a request");
        let mut kept = self.sender.take();
        let is_open = match &mut kept {
            Some(sender) => sender.ready().await.is_ok(),
            None => false,
        };
        let mut sender = match kept {
            Some(sender) if is_open => sender,
            _ => self.client.connect().await,
        };
        let answered = async {
            let answer = sender.send_request(request).await.expect("an answer");
            let status = answer.status().as_u16();
            (status, answer.into_body().collect().await.expect("a whole answer").to_bytes())
        };
        let answered = tokio::time::timeout(ANSWER_WITHIN, answered).await;
        self.sender = Some(sender);
        answered.unwrap_or_else(|_| panic!("{method} {target} was not answered"))
    }
}

/// A connection, as its bytes come.
pub(crate) struct Raw {
    /// The connection.
    pub(crate) socket: TlsStream<TcpStream>,
}

impl Raw {
    /// The head of an answer.
    pub(crate) async fn head(&mut self) -> String {
        self.until("\r\n\r\n").await
    }

    /// What comes until the connection ends, cleanly or not.
    pub(crate) async fn rest(&mut self) -> String {
        let mut text = Vec::new();
        let read = tokio::time::timeout(ANSWER_WITHIN, self.socket.read_to_end(&mut text)).await;
        assert!(read.is_ok(), "the connection did not end");
        String::from_utf8_lossy(&text).into_owned()
    }

    /// What comes up to the end of a text. Letters that are none are left out.
    pub(crate) async fn until(&mut self, end: &str) -> String {
        let mut text = Vec::new();
        let read = async {
            while !text.ends_with(end.as_bytes()) {
                text.push(self.socket.read_u8().await.expect("the stream goes on"));
            }
        };
        assert!(tokio::time::timeout(ANSWER_WITHIN, read).await.is_ok(), "{end:?} did not come");
        String::from_utf8_lossy(&text).into_owned()
    }
}

impl Answer {
    /// Its body as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Its body as JSON; null when it is none.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// Its media type.
    pub(crate) fn content_type(&self) -> String {
        header(&self.headers, CONTENT_TYPE.as_str())
    }
}

impl Stream {
    /// The next line, as JSON; none when the stream has ended or nothing came in time.
    pub(crate) async fn next(&mut self, within: Duration) -> Option<Value> {
        loop {
            if let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.rest.drain(..=end).collect();
                return Some(serde_json::from_slice(&line).expect("a line of JSON"));
            }
            let frame = tokio::time::timeout(within, self.body.frame()).await.ok()??;
            if let Ok(data) = frame.expect("the stream goes on").into_data() {
                self.rest.extend_from_slice(&data);
            }
        }
    }
}

/// A header as text; empty when it is not there.
pub(crate) fn header(headers: &HeaderMap, name: &str) -> String {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
}

/// A file that a kubeconfig has in it.
fn field(kubeconfig: &str, name: &str) -> Vec<u8> {
    let found = kubeconfig.lines().find_map(|line| line.trim().strip_prefix(name));
    BASE64_STANDARD.decode(found.expect("the kubeconfig has it").trim()).expect("base64")
}

/// TLS that believes the authority of a kubeconfig.
fn trusting(kubeconfig: &str) -> ConfigBuilder<ClientConfig, WantsClientCert> {
    let authority = CertificateDer::from_pem_slice(&field(kubeconfig, "certificate-authority-data:"));
    let mut roots = RootCertStore::empty();
    roots.add(authority.expect("a certificate")).expect("an authority");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("TLS")
        .with_root_certificates(roots)
}

fn inflated(bytes: &[u8]) -> Bytes {
    let mut text = Vec::new();
    GzDecoder::new(bytes).read_to_end(&mut text).expect("gzip");
    text.into()
}
