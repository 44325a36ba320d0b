//! A small client of HTTPS, for those whom the server itself asks: the keys of OIDC issuers, webhooks.

use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CONNECTION, CONTENT_TYPE, HOST};
use http::{Method, Request, Uri};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::crypto::aws_lc_rs;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

/// For all of one `GET`: whoever waits for it is a request of a client.
const GET_TIME: Duration = Duration::from_secs(10);
/// Longest answer: key sets have some kilobytes, reviews as much as an object.
const BODY_BYTES_MAX: usize = 4 << 20;

/// A document that could not be fetched.
#[derive(Debug, thiserror::Error)]
#[error("cannot fetch {url}: {why}")]
pub(crate) struct FetchError {
    url: String,
    why: String,
}

/// What a client believes: the certificates of a PEM file, or the public authorities.
///
/// # Errors
/// A sentence: the file cannot be read or holds none.
pub(crate) fn client(authorities: Option<&Path>) -> Result<Arc<ClientConfig>, String> {
    let Some(path) = authorities else { return trusting(None) };
    let pem = std::fs::read(path)
        .map_err(|error| format!("cannot read certificates from {}: {error}", path.display()))?;
    trusting(Some(&pem)).map_err(|_| format!("{} holds no certificate", path.display()))
}

/// What a client believes: the certificates of a PEM text, or the public authorities.
///
/// # Errors
/// A sentence: there is no certificate in it.
pub(crate) fn trusting(pem: Option<&[u8]>) -> Result<Arc<ClientConfig>, String> {
    let mut roots = RootCertStore::empty();
    match pem {
        None => roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
        Some(pem) => {
            let certificates: Vec<CertificateDer<'_>> =
                CertificateDer::pem_slice_iter(pem).flatten().collect();
            if roots.add_parsable_certificates(certificates).0 == 0 {
                return Err("its certificate authority holds no certificate".into());
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
///
/// # Errors
/// It cannot be had, or not in time.
pub(crate) async fn get(client: &Arc<ClientConfig>, url: &Uri) -> Result<Bytes, FetchError> {
    let failed = |why: String| FetchError { url: url.to_string(), why };
    if url.scheme_str() != Some("https") {
        return Err(failed("it is not https".into()));
    }
    let authority = url.authority().ok_or_else(|| failed("it has no host".into()))?;
    let host = authority.host();
    let connect = [format!("{host}:{}", authority.port_u16().unwrap_or(443))];
    let path = url.path_and_query().map_or("/", |path| path.as_str());
    let request = Request::builder().method(Method::GET).uri(path).header(HOST, authority.as_str());
    let request = request.body(Full::new(Bytes::new())).map_err(|error| failed(error.to_string()))?;
    in_time(GET_TIME, exchange(client, &connect, host, request)).await.map_err(failed)
}

/// Posts JSON to the first of some addresses that can be reached, under the name that its certificate must have.
///
/// # Errors
/// A sentence: there is no answer, or not in time, or it is no success.
pub(crate) async fn post(
    client: &Arc<ClientConfig>,
    connect: &[String],
    host: &str,
    path: &str,
    body: Vec<u8>,
    time: Duration,
) -> Result<Bytes, String> {
    let request = Request::builder().method(Method::POST).uri(path).header(HOST, host);
    let request = request.header(CONTENT_TYPE, crate::media::JSON).body(Full::new(Bytes::from(body)));
    let request = request.map_err(|error| error.to_string())?;
    in_time(time, exchange(client, connect, host, request)).await
}

async fn in_time(
    time: Duration,
    exchange: impl Future<Output = Result<Bytes, String>>,
) -> Result<Bytes, String> {
    match timeout(time, exchange).await {
        Ok(result) => result,
        Err(_) => Err(format!("no answer in {} seconds", time.as_secs())),
    }
}

async fn exchange(
    client: &Arc<ClientConfig>,
    connect: &[String],
    host: &str,
    mut request: Request<Full<Bytes>>,
) -> Result<Bytes, String> {
    let text = |error: &dyn std::error::Error| error.to_string();
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let name = ServerName::try_from(host.to_string()).map_err(|error| text(&error))?;
    let stream = reach(connect).await?;
    let stream =
        TlsConnector::from(client.clone()).connect(name, stream).await.map_err(|error| text(&error))?;
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|error| text(&error))?;
    request.headers_mut().insert(ACCEPT, http::HeaderValue::from_static(crate::media::JSON));
    request.headers_mut().insert(CONNECTION, http::HeaderValue::from_static("close"));
    let answer = async move {
        let answer = sender.send_request(request).await.map_err(|error| error.to_string())?;
        if !answer.status().is_success() {
            return Err(format!("it answers {}", answer.status()));
        }
        let body = Limited::new(answer.into_body(), BODY_BYTES_MAX).collect().await;
        body.map(http_body_util::Collected::to_bytes).map_err(|error| error.to_string())
    };
    // The connection ends with the sender; what it says then is not news.
    let (answer, _) = tokio::join!(answer, connection);
    answer
}

/// A connection to the first address that takes one.
async fn reach(connect: &[String]) -> Result<TcpStream, String> {
    let mut why = String::from("there is no address to connect to");
    for address in connect {
        match TcpStream::connect(address).await {
            Ok(stream) => return Ok(stream),
            Err(error) => why = format!("cannot connect to {address}: {error}"),
        }
    }
    Err(why)
}
