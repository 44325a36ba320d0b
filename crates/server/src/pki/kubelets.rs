//! Who the server is to the nodes whose endpoints it calls.

use std::path::PathBuf;
use std::sync::Arc;

use jiff::Timestamp;
use parking_lot::Mutex;
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};

use super::serving::alternatives;
use super::{Authority, PkiError};

/// The name that the server has for nodes, as kubeadm gives it.
pub const KUBELET_CLIENT: &str = "kube-apiserver-kubelet-client";
/// Nodes that ask this server what the name may do are told: everything.
const GROUPS: [&str; 1] = ["system:masters"];
/// A certificate is looked at again after so long, to be made anew when it is due.
const FRESH_SECONDS: i64 = 24 * 3600;

/// Makes the TLS clients for the endpoints of nodes: they show a certificate of the authority, and believe only
/// certificates of the authority.
pub struct Kubelets {
    dir: PathBuf,
    authority: Arc<Authority>,
    known: Mutex<Option<(Timestamp, Arc<ClientConfig>)>>,
}

impl Kubelets {
    pub(super) fn new(dir: PathBuf, authority: Arc<Authority>) -> Self {
        Self { dir, authority, known: Mutex::default() }
    }

    /// The TLS client.
    ///
    /// # Errors
    /// Its certificate cannot be made, read or used.
    pub fn client(&self, now: Timestamp) -> Result<Arc<ClientConfig>, PkiError> {
        let mut known = self.known.lock();
        if let Some((at, client)) = known.as_ref()
            && now.as_second() - at.as_second() < FRESH_SECONDS
        {
            return Ok(client.clone());
        }
        let pair = self.authority.client(&self.dir, "kubelet-client", KUBELET_CLIENT, &GROUPS, now)?;
        let mut roots = RootCertStore::empty();
        roots.add(self.authority.certificate().clone()).map_err(PkiError::Tls)?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let client = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .and_then(|builder| {
                builder
                    .with_root_certificates(roots)
                    .with_client_auth_cert(vec![pair.certificate_der()], pair.key_der().into())
            })
            .map_err(PkiError::Tls)?;
        let client = Arc::new(client);
        *known = Some((now, client.clone()));
        Ok(client)
    }
}

/// The TLS server of a node's endpoints.
pub(super) fn node_config(
    authority: &Authority,
    node: &str,
    names: &[String],
    now: Timestamp,
) -> Result<Arc<ServerConfig>, PkiError> {
    let pair = authority.server(&format!("system:node:{node}"), &alternatives(names)?, now)?;
    let mut roots = RootCertStore::empty();
    roots.add(authority.certificate().clone()).map_err(PkiError::Tls)?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider.clone())
        .build()
        .map_err(|error| PkiError::Tls(rustls::Error::General(error.to_string())))?;
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|builder| {
            builder
                .with_client_cert_verifier(verifier)
                .with_single_cert(vec![pair.certificate_der()], pair.key_der().into())
        })
        .map_err(PkiError::Tls)?;
    Ok(Arc::new(config))
}
