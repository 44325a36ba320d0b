//! Phase *TLS*: certificates, and what a handshake offers.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::{self, PemObject};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

/// What is offered by ALPN, best first.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// A certificate chain with its key, shared by all threads and replaced while they serve.
pub struct Certificates {
    current: Arc<Current>,
    server: Arc<ServerConfig>,
    files: Option<(PathBuf, PathBuf)>,
}

/// Why certificates cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// A PEM file cannot be read or holds something else.
    #[error("cannot read {what} from {path}")]
    Read {
        /// `certificates` or `a private key`.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What went wrong.
        #[source]
        source: pem::Error,
    },
    /// The file holds no certificate.
    #[error("{path} holds no certificate")]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// The key is of no known kind, or is not the key of the certificate.
    #[error("the certificate in {certificate} cannot be used with the key in {key}")]
    Mismatch {
        /// The certificate file.
        certificate: PathBuf,
        /// The key file.
        key: PathBuf,
        /// What the TLS library says.
        #[source]
        source: rustls::Error,
    },
    /// A self-signed certificate could not be made.
    #[error("cannot make a self-signed certificate")]
    SelfSign(#[source] io::Error),
}

/// The keys that new handshakes use.
struct Current {
    /// For names that have no other.
    fallback: ArcSwap<CertifiedKey>,
    named: ArcSwap<Names>,
}

/// Keys by the names that they are for, in lower case; `*.` stands for one label.
pub(crate) type Names = HashMap<String, Arc<CertifiedKey>>;

impl Certificates {
    /// Reads a certificate chain (leaf first) and its private key (PKCS #8, PKCS #1 or SEC 1) from PEM files.
    ///
    /// # Errors
    /// When a file cannot be read, holds something else, or the two do not belong together.
    pub fn from_files(certificate: &Path, key: &Path) -> Result<Self, CertificateError> {
        let certified = read(certificate, key)?;
        Ok(Self::new(certified, Some((certificate.to_owned(), key.to_owned()))))
    }

    /// Makes a certificate for `localhost`, the loopback addresses and the given addresses, signed by itself:
    /// for development.
    ///
    /// # Errors
    /// When the machine cannot make a key.
    pub fn self_signed(addresses: &[SocketAddr]) -> Result<Self, CertificateError> {
        let mut names = vec!["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
        for address in addresses.iter().map(SocketAddr::ip).filter(|ip| !IpAddr::is_unspecified(ip)) {
            let name = address.to_string();
            if !names.contains(&name) {
                names.push(name);
            }
        }
        let failed = |error| CertificateError::SelfSign(io::Error::other(error));
        let mut parameters = rcgen::CertificateParams::new(names).map_err(failed)?;
        // What a browser shows of it when it asks whether to go on.
        parameters.distinguished_name.push(rcgen::DnType::CommonName, "Shoal, self-signed");
        let key = rcgen::KeyPair::generate().map_err(failed)?;
        let certificate = parameters.self_signed(&key).map_err(failed)?;
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let certified =
            CertifiedKey::from_der(vec![certificate.der().clone()], key, &aws_lc_rs::default_provider())
                .map_err(|error| CertificateError::SelfSign(io::Error::other(error)))?;
        Ok(Self::new(certified, None))
    }

    /// Reads the files again. New handshakes use what was read; open connections stay as they are. When the
    /// files cannot be used the old certificate stays. Does nothing for a self-signed certificate.
    ///
    /// # Errors
    /// As [`Certificates::from_files`].
    pub fn reload(&self) -> Result<(), CertificateError> {
        if let Some((certificate, key)) = &self.files {
            self.current.fallback.store(Arc::new(read(certificate, key)?));
        }
        Ok(())
    }

    /// The certificate that new handshakes present (DER), so that a client can be told to trust it.
    pub fn leaf(&self) -> CertificateDer<'static> {
        self.current.fallback.load().cert[0].clone()
    }

    /// Presents these to clients that ask for their names from now on; open connections stay as they are.
    pub(crate) fn set_names(&self, names: Names) {
        self.current.named.store(Arc::new(names));
    }

    pub(crate) fn server(&self) -> Arc<ServerConfig> {
        self.server.clone()
    }

    fn new(certified: CertifiedKey, files: Option<(PathBuf, PathBuf)>) -> Self {
        let current =
            Arc::new(Current { fallback: ArcSwap::from_pointee(certified), named: ArcSwap::default() });
        let mut server = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("the provider has the default versions")
            .with_no_client_auth()
            .with_cert_resolver(current.clone());
        server.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).into();
        Self { current, server: Arc::new(server), files }
    }
}

fn read(certificate: &Path, key: &Path) -> Result<CertifiedKey, CertificateError> {
    let unreadable = |what, path: &Path| {
        let path = path.to_owned();
        move |source| CertificateError::Read { what, path, source }
    };
    let chain = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(unreadable("certificates", certificate))?;
    if chain.is_empty() {
        return Err(CertificateError::Empty { path: certificate.to_owned() });
    }
    let private = PrivateKeyDer::from_pem_file(key).map_err(unreadable("a private key", key))?;
    CertifiedKey::from_der(chain, private, &aws_lc_rs::default_provider()).map_err(|source| {
        CertificateError::Mismatch { certificate: certificate.to_owned(), key: key.to_owned(), source }
    })
}

/// The key in a Secret of type `kubernetes.io/tls`: both texts are base64 of PEM.
///
/// # Errors
/// A sentence without a subject that says what is wrong with it.
pub(crate) fn from_secret(certificate: &str, key: &str) -> Result<Arc<CertifiedKey>, String> {
    let decoded = |name: &str, text: &str| STANDARD.decode(text).map_err(|_| format!("{name} is no base64"));
    let chain = CertificateDer::pem_slice_iter(&decoded("tls.crt", certificate)?)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| format!("tls.crt is no PEM: {error}"))?;
    if chain.is_empty() {
        return Err("tls.crt holds no certificate".to_owned());
    }
    let private = PrivateKeyDer::from_pem_slice(&decoded("tls.key", key)?)
        .map_err(|error| format!("tls.key holds no private key: {error}"))?;
    CertifiedKey::from_der(chain, private, &aws_lc_rs::default_provider())
        .map(Arc::new)
        .map_err(|error| format!("tls.crt cannot be used with tls.key: {error}"))
}

impl ResolvesServerCert for Current {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let named = self.named.load();
        let of_name = |name: &str| {
            let wild = || named.get(&format!("*.{}", name.split_once('.')?.1));
            named.get(name).or_else(wild).cloned()
        };
        let asked = hello.server_name().filter(|_| !named.is_empty());
        asked.and_then(|name| of_name(&name.to_ascii_lowercase())).or_else(|| Some(self.fallback.load_full()))
    }
}

impl fmt::Debug for Current {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Current")
    }
}

impl fmt::Debug for Certificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificates").field("files", &self.files).finish_non_exhaustive()
    }
}
