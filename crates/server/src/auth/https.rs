//! A small client of HTTPS, for the keys of OIDC issuers.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CONNECTION, HOST};
use http::{Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::crypto::aws_lc_rs;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

/// For all of one request: whoever waits for it is a request of a client.
const SECONDS_MAX: Duration = Duration::from_secs(10);
/// Longest document: key sets have some kilobytes.
const BODY_BYTES_MAX: usize = 1 << 20;

/// A document that could not be fetched.
#[derive(Debug, thiserror::Error)]
#[error("cannot fetch {url}: {why}")]
pub(super) struct FetchError {
    url: String,
    why: String,
}

/// What a client believes: the certificates of a PEM file, or the public authorities.
pub(super) fn client(authorities: Option<&Path>) -> Result<Arc<ClientConfig>, String> {
    let mut roots = RootCertStore::empty();
    match authorities {
        None => roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
        Some(path) => {
            let certificates = CertificateDer::pem_file_iter(path)
                .and_then(Iterator::collect::<Result<Vec<_>, _>>)
                .map_err(|error| format!("cannot read certificates from {}: {error}", path.display()))?;
            let (count, _) = roots.add_parsable_certificates(certificates);
            if count == 0 {
                return Err(format!("{} holds no certificate", path.display()));
            }
        }
    }
    let client = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("the provider has the default versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(client))
}

/// Fetches a document. Redirections are not followed: an issuer says where its keys are.
pub(super) async fn get(client: &Arc<ClientConfig>, url: &Uri) -> Result<Bytes, FetchError> {
    let failed = |why: String| FetchError { url: url.to_string(), why };
    match timeout(SECONDS_MAX, exchange(client, url)).await {
        Ok(result) => result.map_err(failed),
        Err(_) => Err(failed(format!("no answer in {} seconds", SECONDS_MAX.as_secs()))),
    }
}

async fn exchange(client: &Arc<ClientConfig>, url: &Uri) -> Result<Bytes, String> {
    let text = |error: &dyn std::error::Error| error.to_string();
    if url.scheme_str() != Some("https") {
        return Err("it is not https".into());
    }
    let authority = url.authority().ok_or("it has no host")?;
    let host = authority.host().trim_start_matches('[').trim_end_matches(']');
    let name = ServerName::try_from(host.to_string()).map_err(|error| text(&error))?;
    let stream = TcpStream::connect((host, authority.port_u16().unwrap_or(443)))
        .await
        .map_err(|error| text(&error))?;
    let stream =
        TlsConnector::from(client.clone()).connect(name, stream).await.map_err(|error| text(&error))?;
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|error| text(&error))?;
    let request = Request::builder()
        .method(Method::GET)
        .uri(url.path_and_query().map_or("/", |path| path.as_str()))
        .header(HOST, authority.as_str())
        .header(ACCEPT, "application/json")
        .header(CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .map_err(|error| text(&error))?;
    let answer = async move {
        let answer = sender.send_request(request).await.map_err(|error| error.to_string())?;
        if answer.status() != StatusCode::OK {
            return Err(format!("it answers {}", answer.status()));
        }
        let body = Limited::new(answer.into_body(), BODY_BYTES_MAX).collect().await;
        body.map(http_body_util::Collected::to_bytes).map_err(|error| error.to_string())
    };
    // The connection ends with the sender; what it says then is not news.
    let (answer, _) = tokio::join!(answer, connection);
    answer
}
