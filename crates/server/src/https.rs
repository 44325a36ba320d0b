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
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::pki::validity_of;

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
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .expect("the provider has the default versions");
    let client = match pem {
        None => {
            let mut roots = RootCertStore::empty();
            roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
            builder.with_root_certificates(roots)
        }
        Some(pem) => {
            builder.dangerous().with_custom_certificate_verifier(Arc::new(Trust::of(pem, provider)?))
        }
    };
    Ok(Arc::new(client.with_no_client_auth()))
}

/// Believes what some authorities have signed, and these certificates themselves: many a webhook shows one that is its own
/// authority, which is otherwise not taken for that of a server.
#[derive(Debug)]
struct Trust {
    authorities: Arc<WebPkiServerVerifier>,
    own: Vec<CertificateDer<'static>>,
}

impl Trust {
    fn of(pem: &[u8], provider: Arc<CryptoProvider>) -> Result<Self, String> {
        let own: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(pem).flatten().collect();
        let mut roots = RootCertStore::empty();
        if roots.add_parsable_certificates(own.iter().cloned()).0 == 0 {
            return Err("its certificate authority holds no certificate".into());
        }
        let authorities = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build();
        Ok(Self { authorities: authorities.map_err(|error| error.to_string())?, own })
    }
}

impl ServerCertVerifier for Trust {
    fn verify_server_cert(
        &self,
        shown: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let verified = self.authorities.verify_server_cert(shown, between, name, ocsp, now);
        if verified.is_ok() || !self.own.contains(shown) {
            return verified;
        }
        let (from, until) = validity_of(shown).ok_or(CertificateError::BadEncoding)?;
        let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        if now < from {
            return Err(CertificateError::NotValidYet.into());
        }
        if now > until {
            return Err(CertificateError::Expired.into());
        }
        if !is_for_servers(shown) {
            return Err(CertificateError::InvalidPurpose.into());
        }
        verify_server_name(&ParsedCertificate::try_from(shown)?, name)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.authorities.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.authorities.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.authorities.supported_verify_schemes()
    }
}

/// Whether a certificate may be that of a server: it says so, or nothing of what it is for.
fn is_for_servers(certificate: &[u8]) -> bool {
    let Ok((_, certificate)) = X509Certificate::from_der(certificate) else { return false };
    match certificate.extended_key_usage() {
        Ok(usage) => usage.is_none_or(|usage| usage.value.server_auth || usage.value.any),
        Err(_) => false,
    }
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

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, KeyPair, date_time_ymd};

    use super::*;

    /// A certificate that is its own authority, as `openssl req -x509` makes one.
    fn alone(change: impl FnOnce(&mut CertificateParams)) -> rcgen::Certificate {
        let mut params = CertificateParams::new(vec!["localhost".into()]).expect("a name");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        (params.not_before, params.not_after) = (date_time_ymd(2026, 1, 1), date_time_ymd(2027, 1, 1));
        change(&mut params);
        params.self_signed(&KeyPair::generate().expect("a key")).expect("signed")
    }

    /// What is said of a certificate that is shown by a host, in the middle of a year.
    fn said(believed: &rcgen::Certificate, shown: &rcgen::Certificate, host: &str, year: u64) -> String {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let trust = Trust::of(believed.pem().as_bytes(), provider).expect("a certificate");
        let name = ServerName::try_from(host).expect("a name");
        let now = UnixTime::since_unix_epoch(Duration::from_secs((year - 1970) * 31_557_600 + 15_000_000));
        match trust.verify_server_cert(shown.der(), &[], &name, &[], now) {
            Ok(_) => "believed".into(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn a_certificate_that_is_its_own_authority_is_believed_if_it_is_that_of_the_host() {
        let (own, other) = (alone(|_| {}), alone(|_| {}));
        let for_clients =
            alone(|params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth]);
        let for_servers =
            alone(|params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth]);
        let is_none = alone(|params| params.is_ca = IsCa::ExplicitNoCa);
        for (believed, shown, host, year, expected) in [
            (&own, &own, "localhost", 2026, "believed"),
            (&for_servers, &for_servers, "localhost", 2026, "believed"),
            (&is_none, &is_none, "localhost", 2026, "believed"),
            (&own, &own, "example.com", 2026, "not valid for name"),
            (&own, &own, "localhost", 2028, "Expired"),
            (&own, &own, "localhost", 2024, "NotValidYet"),
            (&for_clients, &for_clients, "localhost", 2026, "Purpose"),
            (&own, &other, "localhost", 2026, "invalid peer certificate"),
        ] {
            let said = said(believed, shown, host, year);
            let is_refused = expected == "believed" || said.starts_with("invalid peer certificate");
            assert!(said.contains(expected) && is_refused, "{host} {year}: {said}");
        }
    }
}
