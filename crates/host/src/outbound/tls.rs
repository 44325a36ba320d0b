//! TLS of outbound connections: public roots, and those of the node.

use std::sync::{Arc, LazyLock};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use shoal_runtime::Refusal;
use tokio_rustls::TlsConnector;

use super::OutboundError;
use super::destination::Destination;

/// The roots that browsers trust, shared by all workloads without roots of their own.
static PUBLIC_ROOTS: LazyLock<Arc<RootCertStore>> =
    LazyLock::new(|| Arc::new(webpki_roots::TLS_SERVER_ROOTS.iter().cloned().collect()));

/// The name by which HTTP/2 is chosen (RFC 7301).
pub(super) const ALPN_HTTP2: &[u8] = b"h2";

/// The public roots, and these.
pub(super) fn roots(extra: Option<&[u8]>) -> Result<Arc<RootCertStore>, Refusal> {
    let Some(pem) = extra else { return Ok(PUBLIC_ROOTS.clone()) };
    let refusal = |what: String| Refusal::new(what).hint("give PEM certificates of the authorities to trust");
    let mut roots = RootCertStore::clone(&PUBLIC_ROOTS);
    let before = roots.len();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate =
            certificate.map_err(|error| refusal(format!("the extra roots are not PEM: {error}")))?;
        roots.add(certificate).map_err(|error| refusal(format!("an extra root is not usable: {error}")))?;
    }
    if roots.len() == before {
        return Err(refusal("the extra roots hold no certificate".to_string()));
    }
    Ok(Arc::new(roots))
}

/// A connector with sessions of its own: a resumed session would tell a server that two workloads share a node.
pub(super) fn connector(roots: &Arc<RootCertStore>) -> TlsConnector {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider has cipher suites for TLS 1.2 and 1.3")
        .with_root_certificates(roots.clone())
        .with_no_client_auth();
    config.alpn_protocols = vec![ALPN_HTTP2.to_vec(), b"http/1.1".to_vec()];
    TlsConnector::from(Arc::new(config))
}

/// The name that the certificate must be for.
pub(super) fn server_name(destination: &Destination) -> Result<ServerName<'static>, OutboundError> {
    ServerName::try_from(destination.host.clone()).map_err(|_| OutboundError::HttpRequestUriInvalid)
}
