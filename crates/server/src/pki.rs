//! Who the server is and whom it believes: its certificate authority, its own certificate, the keys that sign
//! ServiceAccount tokens, and the certificates it gives to others.
//!
//! Everything is made at the first start, under one directory, each file readable by this user alone:
//!
//! | file | what |
//! |---|---|
//! | `ca.pem` | the authority; valid ten years |
//! | `server.pem` | what the server shows; a year, made anew after two thirds of it |
//! | `admin.pem` | the first client, in the group `system:masters`; the same |
//! | `kubelet-client.pem` | what the server shows to nodes, in no group; the same |
//! | `service-account.keys` | ServiceAccount tokens: the first key signs, all of them verify |
//!
//! Each `.pem` has a certificate and its key, in one file so that they always belong together. Another authority may
//! be put there before the first start; its key must be ECDSA P-256, in PKCS #8.

mod authority;
mod kubelets;
mod names;
mod request;
mod serving;
#[cfg(test)]
mod tests;

pub use authority::Authority;
pub use kubelets::{KUBELET_CLIENT, Kubelets};
pub(crate) use names::validity_of;
pub use names::{Names, names_of};
pub use request::{Refusal, SIGNERS};
pub use serving::{Serving, certificate_names};

use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use jiff::Timestamp;
use rustls::crypto::CryptoProvider;
use rustls::server::VerifierBuilderError;
use rustls::{ClientConfig, ServerConfig};
use rustls_pki_types::pem::{self, PemObject as _};
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer};

use crate::auth::Keys;
use crate::files::{self, FileError};

/// What is offered by ALPN, best first.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];
/// The name of the first client.
const ADMIN: &str = "shoal-admin";

/// Why certificates or keys cannot be made or used.
#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    /// A file cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// A file is not PEM, or holds something else.
    #[error("{path} does not hold {what}")]
    Pem {
        /// The file.
        path: PathBuf,
        /// `a certificate`, `a private key`.
        what: &'static str,
        /// What went wrong.
        #[source]
        source: pem::Error,
    },
    /// A certificate cannot be made.
    #[error("cannot make {what}")]
    Make {
        /// The certificate.
        what: &'static str,
        /// What went wrong.
        #[source]
        source: rcgen::Error,
    },
    /// A certificate or key cannot be used.
    #[error("cannot use {what}: {why}")]
    Unusable {
        /// The file or certificate.
        what: String,
        /// Why.
        why: String,
    },
    /// TLS cannot be set up with what there is.
    #[error("cannot set up TLS")]
    Tls(#[source] rustls::Error),
}

/// All of it, read from its directory.
pub struct Pki {
    dir: PathBuf,
    authority: Arc<Authority>,
    serving: Arc<Serving>,
    server: Arc<ServerConfig>,
}

impl Pki {
    /// Reads the directory, and makes what is missing or due. `extra_names` are host names and addresses under which
    /// clients reach the server, besides those that it always has.
    ///
    /// # Errors
    /// When a file cannot be read or written, or holds something that cannot be used.
    pub fn open(dir: &Path, extra_names: &[String], now: Timestamp) -> Result<Self, PkiError> {
        files::make_dir(dir)?;
        let authority = Arc::new(Authority::open(dir, now)?);
        let serving = Arc::new(Serving::open(dir, authority.clone(), certificate_names(extra_names), now)?);
        let clients =
            authority.clients()?.allow_unauthenticated().build().map_err(|error| unbuilt(&error))?;
        let mut server = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(PkiError::Tls)?
            .with_client_cert_verifier(clients)
            .with_cert_resolver(serving.clone());
        server.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).into();
        Ok(Self { dir: dir.to_owned(), authority, serving, server: Arc::new(server) })
    }

    /// For the listener: asks clients for a certificate of the authority, and goes on without.
    pub fn server_config(&self) -> Arc<ServerConfig> {
        self.server.clone()
    }

    /// The authority, which signs the certificates of clients.
    pub fn authority(&self) -> &Arc<Authority> {
        &self.authority
    }

    /// The certificate of the server.
    pub fn serving(&self) -> &Arc<Serving> {
        &self.serving
    }

    /// The TLS clients for the endpoints of nodes.
    pub fn kubelets(&self) -> Kubelets {
        Kubelets::new(self.dir.clone(), self.authority.clone())
    }

    /// For the endpoints of a node of this machine: a certificate for its names and addresses, made anew each time, and only
    /// clients of the authority. Of these the node must let in [`KUBELET_CLIENT`] alone, or ask what others may do.
    ///
    /// # Errors
    /// When the certificate cannot be made or used.
    pub fn node_config(
        &self,
        node: &str,
        names: &[String],
        now: Timestamp,
    ) -> Result<Arc<ServerConfig>, PkiError> {
        kubelets::node_config(&self.authority, node, names, now)
    }

    /// The keys of ServiceAccount tokens, made where there are none.
    ///
    /// # Errors
    /// When the file cannot be read or written, or holds something else.
    pub fn service_account_keys(&self) -> Result<Keys, PkiError> {
        let path = self.service_account_path();
        if let Some(text) = files::read(&path)? {
            return Keys::from_pem(&text).map_err(|why| unusable(&path, &why.to_string()));
        }
        self.save(&Keys::generate())
    }

    /// Puts a new key in front of the keys of ServiceAccount tokens, and returns them all. Tokens of older keys stay
    /// valid as long as their key is among them.
    ///
    /// # Errors
    /// As [`Self::service_account_keys`].
    pub fn rotate_service_account_keys(&self) -> Result<Keys, PkiError> {
        self.save(&self.service_account_keys()?.rotated())
    }

    /// A kubeconfig of the first client, with everything in it, for the server at `url`.
    ///
    /// # Errors
    /// When its certificate cannot be made or read.
    pub fn admin_kubeconfig(&self, url: &str, now: Timestamp) -> Result<String, PkiError> {
        let groups = ["system:masters"];
        let admin = self.authority.client(&self.dir, "admin", ADMIN, &groups, now)?;
        let [authority, certificate, key] =
            [self.authority.pem(), &admin.certificate, &admin.key].map(|pem| BASE64_STANDARD.encode(pem));
        Ok(format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: shoal\n\
             clusters:\n- name: shoal\n  cluster:\n    server: {url}\n    certificate-authority-data: {authority}\n\
             contexts:\n- name: shoal\n  context:\n    cluster: shoal\n    user: {ADMIN}\n\
             users:\n- name: {ADMIN}\n  user:\n    client-certificate-data: {certificate}\n    client-key-data: {key}\n"
        ))
    }

    /// For connections of the first client to the server of this directory.
    ///
    /// # Errors
    /// When its certificate cannot be made, read or used.
    pub fn admin_client_config(&self, now: Timestamp) -> Result<ClientConfig, PkiError> {
        let admin = self.authority.client(&self.dir, "admin", ADMIN, &["system:masters"], now)?;
        self.authority.client_config(&admin)
    }

    fn save(&self, keys: &Keys) -> Result<Keys, PkiError> {
        let path = self.service_account_path();
        files::write(&path, &keys.to_pem())?;
        Keys::from_pem(&keys.to_pem()).map_err(|why| unusable(&path, &why.to_string()))
    }

    fn service_account_path(&self) -> PathBuf {
        self.dir.join("service-account.keys")
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

fn unbuilt(error: &VerifierBuilderError) -> PkiError {
    PkiError::Tls(rustls::Error::General(error.to_string()))
}

fn unusable(path: &Path, why: &str) -> PkiError {
    PkiError::Unusable { what: path.display().to_string(), why: why.into() }
}

/// A certificate and its key, as PEM each.
struct Pair {
    certificate: String,
    key: String,
}

impl Pair {
    /// Reads `NAME.pem`; none where it is not there.
    fn read(dir: &Path, name: &str) -> Result<Option<(Self, PathBuf)>, PkiError> {
        let path = dir.join(format!("{name}.pem"));
        let Some(text) = files::read(&path)? else { return Ok(None) };
        let missing = |what| {
            let path = path.clone();
            move |source| PkiError::Pem { path, what, source }
        };
        let certificate =
            CertificateDer::from_pem_slice(text.as_bytes()).map_err(missing("a certificate"))?;
        let key = PrivatePkcs8KeyDer::from_pem_slice(text.as_bytes()).map_err(missing("a private key"))?;
        let certificate = to_pem("CERTIFICATE", &certificate);
        Ok(Some((Self { certificate, key: to_pem("PRIVATE KEY", key.secret_pkcs8_der()) }, path)))
    }

    fn write(&self, dir: &Path, name: &str) -> Result<(), PkiError> {
        Ok(files::write(&dir.join(format!("{name}.pem")), &format!("{}{}", self.certificate, self.key))?)
    }

    fn certificate_der(&self) -> CertificateDer<'static> {
        CertificateDer::from_pem_slice(self.certificate.as_bytes()).expect("it is PEM that was written here")
    }

    fn key_der(&self) -> PrivatePkcs8KeyDer<'static> {
        PrivatePkcs8KeyDer::from_pem_slice(self.key.as_bytes()).expect("it is PEM that was written here")
    }
}

/// Bytes as a PEM block.
pub(crate) fn to_pem(label: &str, der: &[u8]) -> String {
    let encoded = BASE64_STANDARD.encode(der);
    let mut text = format!("-----BEGIN {label}-----\n");
    for line in encoded.as_bytes().chunks(64) {
        text.push_str(std::str::from_utf8(line).expect("base64 is ASCII"));
        text.push('\n');
    }
    text.push_str(&format!("-----END {label}-----\n"));
    text
}
