//! What the server shows: its certificate, made anew in time and swapped between two handshakes.

use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use jiff::Timestamp;
use rcgen::SanType;
use rustls::crypto::aws_lc_rs;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls_pki_types::{CertificateDer, DnsName};

use super::authority::due_at;
use super::{Authority, Pair, PkiError, names_of};

/// The names that every API server has: those by which pods know it among them.
const NAMES: &[&str] = &[
    "localhost",
    "127.0.0.1",
    "::1",
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
    "kubernetes.default.svc.cluster.local",
    "10.96.0.1",
];

/// The certificate of the server, for TLS.
pub struct Serving {
    dir: PathBuf,
    authority: Arc<Authority>,
    names: Vec<String>,
    current: ArcSwap<CertifiedKey>,
}

/// The names for a certificate of the server: those that it always has, this machine's own, and more. Each once.
pub fn certificate_names(extra: &[String]) -> Vec<String> {
    let mut names: Vec<String> = NAMES.iter().map(ToString::to_string).collect();
    let host = rustix::system::uname().nodename().to_string_lossy().to_lowercase();
    // A machine may have a name that no certificate can hold; a name that was asked for must be one.
    let host = (host_name(&host).is_some() || host.parse::<IpAddr>().is_ok()).then_some(host);
    for name in host.into_iter().chain(extra.iter().cloned()) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

impl Serving {
    pub(super) fn open(
        dir: &Path,
        authority: Arc<Authority>,
        names: Vec<String>,
        now: Timestamp,
    ) -> Result<Self, PkiError> {
        let current = match Pair::read(dir, "server")? {
            Some((pair, _)) if fits(&authority, &pair, &names, now) => pair,
            _ => make(dir, &authority, &names, now)?,
        };
        let current = ArcSwap::from_pointee(certified(&current)?);
        Ok(Self { dir: dir.to_owned(), authority, names, current })
    }

    /// Makes the certificate anew when two thirds of its life have passed, and tells whether it did. Handshakes from
    /// now on show the new one; open connections stay.
    ///
    /// # Errors
    /// When it cannot be made or written: the old one stays.
    pub fn renew(&self, now: Timestamp) -> Result<bool, PkiError> {
        if now < self.due_at() {
            return Ok(false);
        }
        let pair = make(&self.dir, &self.authority, &self.names, now)?;
        self.current.store(Arc::new(certified(&pair)?));
        Ok(true)
    }

    /// What is shown now, for those who are told to trust it alone.
    pub fn shown(&self) -> CertificateDer<'static> {
        self.current.load().cert[0].clone()
    }

    /// When [`Self::renew`] will have something to do.
    pub fn due_at(&self) -> Timestamp {
        due_at(&self.current.load().cert[0]).unwrap_or(Timestamp::UNIX_EPOCH)
    }
}

impl ResolvesServerCert for Serving {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current.load_full())
    }
}

impl fmt::Debug for Serving {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Serving").field("names", &self.names).finish_non_exhaustive()
    }
}

/// Whether a certificate that was found can go on: ours, not due, and with all names.
fn fits(authority: &Authority, pair: &Pair, names: &[String], now: Timestamp) -> bool {
    let certificate = pair.certificate_der();
    let Some(found) = names_of(&certificate) else { return false };
    let has = |name: &String| match name.parse::<IpAddr>() {
        Ok(address) => found.ips.contains(&address),
        Err(_) => found.dns.contains(name),
    };
    authority.is_fresh(&certificate, now) && names.iter().all(has) && certified(pair).is_ok()
}

fn make(dir: &Path, authority: &Authority, names: &[String], now: Timestamp) -> Result<Pair, PkiError> {
    let pair = authority.server("kube-apiserver", &alternatives(names)?, now)?;
    pair.write(dir, "server")?;
    Ok(pair)
}

/// Names and addresses, as a certificate has them.
pub(super) fn alternatives(names: &[String]) -> Result<Vec<SanType>, PkiError> {
    let alternative = |name: &String| match name.parse::<IpAddr>() {
        Ok(address) => Ok(SanType::IpAddress(address)),
        Err(_) => host_name(name).ok_or_else(|| PkiError::Unusable {
            what: format!("the name {name:?}"),
            why: "it is neither a host name nor an address".into(),
        }),
    };
    names.iter().map(alternative).collect()
}

fn host_name(name: &str) -> Option<SanType> {
    let is_name = DnsName::try_from(name.strip_prefix("*.").unwrap_or(name)).is_ok();
    is_name.then(|| name.try_into().ok().map(SanType::DnsName)).flatten()
}

fn certified(pair: &Pair) -> Result<CertifiedKey, PkiError> {
    let chain = vec![pair.certificate_der()];
    CertifiedKey::from_der(chain, pair.key_der().into(), &aws_lc_rs::default_provider())
        .map_err(PkiError::Tls)
}
