//! Connections to the server: TLS with a client certificate, HTTP/1.1, one request after the other.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, HOST};
use http::{HeaderName, Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::process::Process;
use crate::{NAMESPACE, Result};

/// The server that is measured.
pub(crate) struct Server {
    /// Its process.
    pub(crate) process: Process,
    tls: TlsConnector,
    name: ServerName<'static>,
    authority: String,
}

/// A connection.
pub(crate) struct Connection {
    sender: http1::SendRequest<Full<Bytes>>,
    authority: String,
}

/// A request.
pub(crate) struct Call {
    pub(crate) method: Method,
    pub(crate) path: String,
    /// Its body and the media type of it.
    pub(crate) body: Option<(Vec<u8>, &'static str)>,
    pub(crate) headers: Vec<(HeaderName, &'static str)>,
}

impl Server {
    pub(crate) fn new(url: &str, certificates: &Path, pid: u32) -> Result<Self> {
        let uri: Uri = url.parse().map_err(|error| format!("{url}: {error}"))?;
        let host = uri.host().ok_or_else(|| format!("{url} has no host"))?;
        let name = ServerName::try_from(host.to_owned()).map_err(|error| error.to_string())?;
        Ok(Self {
            process: Process(pid),
            tls: TlsConnector::from(Arc::new(believing(certificates).map_err(|error| error.to_string())?)),
            name,
            authority: format!("{host}:{}", uri.port_u16().unwrap_or(443)),
        })
    }

    pub(crate) async fn connect(&self) -> Result<Connection> {
        let text = |error: &dyn std::error::Error| format!("cannot connect to {}: {error}", self.authority);
        let stream = TcpStream::connect(&self.authority).await.map_err(|error| text(&error))?;
        stream.set_nodelay(true).map_err(|error| text(&error))?;
        let stream = self.tls.connect(self.name.clone(), stream).await.map_err(|error| text(&error))?;
        let (sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|error| text(&error))?;
        // It ends with the sender; what goes wrong is told to whoever waits for an answer.
        tokio::spawn(connection);
        Ok(Connection { sender, authority: self.authority.clone() })
    }

    /// So many connections.
    pub(crate) async fn connections(&self, count: usize) -> Result<Vec<Connection>> {
        let mut all = Vec::with_capacity(count);
        for _ in 0..count {
            all.push(self.connect().await?);
        }
        Ok(all)
    }
}

fn believing(certificates: &Path) -> Result<ClientConfig, Box<dyn std::error::Error>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(certificates.join("certificate-authority"))?)?;
    let chain = CertificateDer::pem_file_iter(certificates.join("client-certificate"))?;
    let chain = chain.collect::<std::result::Result<Vec<_>, _>>()?;
    let key = PrivateKeyDer::from_pem_file(certificates.join("client-key"))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let client = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(client.with_root_certificates(roots).with_client_auth_cert(chain, key)?)
}

impl Connection {
    /// Sends a request; the body of the answer comes with the answer.
    pub(crate) async fn send(&mut self, call: Call) -> Result<http::Response<Incoming>> {
        let mut request =
            Request::builder().method(call.method).uri(&call.path).header(HOST, &self.authority);
        for (name, value) in call.headers {
            request = request.header(name, value);
        }
        let mut bytes = Bytes::new();
        if let Some((body, media_type)) = call.body {
            request = request.header(CONTENT_TYPE, media_type);
            bytes = body.into();
        }
        let request = request.body(Full::new(bytes)).map_err(|error| format!("{}: {error}", call.path))?;
        self.sender.ready().await.map_err(|error| error.to_string())?;
        self.sender.send_request(request).await.map_err(|error| format!("{}: {error}", call.path))
    }

    /// The status and the whole body of an answer.
    pub(crate) async fn ask(&mut self, call: Call) -> Result<(StatusCode, Bytes)> {
        let answer = self.send(call).await?;
        let status = answer.status();
        let body = answer.into_body().collect().await.map_err(|error| error.to_string())?;
        Ok((status, body.to_bytes()))
    }

    /// The body of an answer that must be a success.
    pub(crate) async fn want(&mut self, call: Call) -> Result<Bytes> {
        let shown = format!("{} {}", call.method, call.path);
        let (status, body) = self.ask(call).await?;
        if status.is_success() {
            return Ok(body);
        }
        Err(format!("{shown}: {status} {}", String::from_utf8_lossy(&body[..body.len().min(300)])))
    }

    /// As [`Connection::want`], as JSON.
    pub(crate) async fn json(&mut self, call: Call) -> Result<Value> {
        serde_json::from_slice(&self.want(call).await?).map_err(|error| error.to_string())
    }

    /// Makes the namespace of all that is made here, if it is not there.
    pub(crate) async fn make_namespace(&mut self) -> Result<()> {
        let body = json!({"metadata": {"name": NAMESPACE}});
        let (status, _) = self.ask(Call::post("/api/v1/namespaces", &body)).await?;
        if status.is_success() || status == StatusCode::CONFLICT { Ok(()) } else { Err(status.to_string()) }
    }
}

impl Call {
    pub(crate) fn get(path: impl Into<String>) -> Self {
        Self { method: Method::GET, path: path.into(), body: None, headers: Vec::new() }
    }

    pub(crate) fn delete(path: impl Into<String>) -> Self {
        Self { method: Method::DELETE, ..Self::get(path) }
    }

    pub(crate) fn post(path: impl Into<String>, body: &Value) -> Self {
        Self::get(path).with(Method::POST, body, "application/json")
    }

    pub(crate) fn put(path: impl Into<String>, body: &Value) -> Self {
        Self::get(path).with(Method::PUT, body, "application/json")
    }

    pub(crate) fn merge(path: impl Into<String>, body: &Value) -> Self {
        Self::get(path).with(Method::PATCH, body, "application/merge-patch+json")
    }

    pub(crate) fn accepting(self, media_type: &'static str) -> Self {
        self.header(ACCEPT, media_type)
    }

    pub(crate) fn header(mut self, name: HeaderName, value: &'static str) -> Self {
        self.headers.push((name, value));
        self
    }

    fn with(self, method: Method, body: &Value, media_type: &'static str) -> Self {
        Self { method, body: Some((body.to_string().into_bytes(), media_type)), ..self }
    }
}

/// The path of all ConfigMaps, or of one.
pub(crate) fn config_maps(name: &str) -> String {
    let all = format!("/api/v1/namespaces/{NAMESPACE}/configmaps");
    if name.is_empty() { all } else { format!("{all}/{name}") }
}

/// A ConfigMap as large as the objects of the figures that these are compared with: 640 bytes.
pub(crate) fn config_map(name: &str, letter: &str) -> Value {
    let value = format!("{letter}{}", "x".repeat(330));
    json!({"metadata": {"name": name, "labels": {"app": "bench"}}, "data": {"value": value}})
}
