//! Who the server is to the nodes whose endpoints it calls.

use std::path::PathBuf;
use std::sync::Arc;

use jiff::Timestamp;
use parking_lot::Mutex;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::{ClientConfig, DigitallySignedStruct, ServerConfig, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use shoal_control::rbac::node_user_name;

use super::serving::alternatives;
use super::{Authority, PkiError, names_of, provider, unbuilt};

/// The name that the server has for nodes, as kubeadm gives it. It is in no group: what it may do is what the role
/// `system:kubelet-api-admin` says, for nodes that ask.
pub const KUBELET_CLIENT: &str = "kube-apiserver-kubelet-client";
/// A certificate is looked at again after so long, to be made anew when it is due.
const FRESH_SECONDS: i64 = 24 * 3600;

/// Makes the TLS clients for the endpoints of nodes: they show a certificate of the authority, and believe only
/// the certificate that the authority gave to the very node that is meant. Where a node is reached is said by whoever may
/// write its status; without this they could lead the server, and its certificate, to any other server of the cluster.
pub struct Kubelets {
    dir: PathBuf,
    authority: Arc<Authority>,
    known: Mutex<Option<Known>>,
}

/// What all the TLS clients have in common, as it was made before.
struct Known {
    made: Timestamp,
    /// It believes any server of the authority; for a node it gets the verifier of that node instead.
    client: ClientConfig,
    verifier: Arc<WebPkiServerVerifier>,
}

impl Kubelets {
    pub(super) fn new(dir: PathBuf, authority: Arc<Authority>) -> Self {
        Self { dir, authority, known: Mutex::default() }
    }

    /// The TLS client for the node of this name.
    ///
    /// # Errors
    /// Its certificate cannot be made, read or used.
    pub fn client(&self, node: &str, now: Timestamp) -> Result<Arc<ClientConfig>, PkiError> {
        let mut known = self.known.lock();
        let is_old = |known: &Known| now.as_second() - known.made.as_second() >= FRESH_SECONDS;
        if known.as_ref().is_none_or(is_old) {
            *known = None;
        }
        let known = match &mut *known {
            Some(known) => known,
            none => none.insert(self.make(now)?),
        };
        let mut client = known.client.clone();
        let verifier = OfNode { known: known.verifier.clone(), name: node_user_name(node) };
        client.dangerous().set_certificate_verifier(Arc::new(verifier));
        Ok(Arc::new(client))
    }

    fn make(&self, now: Timestamp) -> Result<Known, PkiError> {
        let pair = self.authority.client(&self.dir, "kubelet-client", KUBELET_CLIENT, &[], now)?;
        let verifier = WebPkiServerVerifier::builder_with_provider(self.authority.roots()?, provider())
            .build()
            .map_err(|error| unbuilt(&error))?;
        let mut client = self.authority.client_config(&pair)?;
        // Who goes on with a session of before is not asked for its certificate again, and two nodes may have one address.
        client.resumption = Resumption::disabled();
        Ok(Known { made: now, client, verifier })
    }
}

/// Believes the certificate of one node only.
#[derive(Debug)]
struct OfNode {
    known: Arc<WebPkiServerVerifier>,
    /// The user that the node is: `system:node:NAME`.
    name: String,
}

impl ServerCertVerifier for OfNode {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        host: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let verified = self.known.verify_server_cert(certificate, intermediates, host, ocsp, now)?;
        let shown = names_of(certificate).map(|names| names.common_name).unwrap_or_default();
        if shown == self.name {
            return Ok(verified);
        }
        Err(rustls::Error::General(format!(
            "its certificate is that of {shown:?}, not of {:?}; give the node one of the signer kubernetes.io/kubelet-serving",
            self.name
        )))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.known.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.known.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.known.supported_verify_schemes()
    }
}

/// The TLS server of a node's endpoints.
pub(super) fn node_config(
    authority: &Authority,
    node: &str,
    names: &[String],
    now: Timestamp,
) -> Result<Arc<ServerConfig>, PkiError> {
    let pair = authority.server(&node_user_name(node), &alternatives(names)?, now)?;
    let clients = authority.clients()?.build().map_err(|error| unbuilt(&error))?;
    let config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .and_then(|builder| {
            builder
                .with_client_cert_verifier(clients)
                .with_single_cert(vec![pair.certificate_der()], pair.key_der().into())
        })
        .map_err(PkiError::Tls)?;
    Ok(Arc::new(config))
}
