//! The certificate authority.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, SanType, SerialNumber, date_time_ymd,
};
use rustls::server::{ClientCertVerifierBuilder, WebPkiClientVerifier};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::names::validity_of;
use super::{Pair, PkiError, names_of, provider, unusable};
use crate::random;

/// Ten years: as long as a cluster lives. Everything below is made anew long before.
const AUTHORITY_SECONDS: i64 = 10 * 365 * 24 * 3600;
/// A year, as kubeadm gives.
const LEAF_SECONDS: i64 = 365 * 24 * 3600;
/// Certificates are valid from a little earlier, for clocks that are late.
pub(super) const BACKDATE_SECONDS: i64 = 5 * 60;

/// Signs certificates.
pub struct Authority {
    certificate: CertificateDer<'static>,
    pem: String,
    pub(super) issuer: Issuer<'static, KeyPair>,
    /// The subject, as its DER is.
    pub(super) subject: Vec<u8>,
    pub(super) key_id: Option<Vec<u8>>,
    pub(super) not_after: i64,
}

impl Authority {
    /// Reads `ca.pem`, or makes it.
    pub(super) fn open(dir: &Path, now: Timestamp) -> Result<Self, PkiError> {
        let path = dir.join("ca.pem");
        let pair = match Pair::read(dir, "ca")? {
            Some((pair, _)) => pair,
            None => {
                let pair = make(now)
                    .map_err(|source| PkiError::Make { what: "the certificate authority", source })?;
                pair.write(dir, "ca")?;
                pair
            }
        };
        let unusable = |why: &str| unusable(&path, why);
        let certificate = pair.certificate_der();
        let key = KeyPair::from_pkcs8_der_and_sign_algo(&pair.key_der(), &rcgen::PKCS_ECDSA_P256_SHA256)
            .map_err(|_| unusable("its key is not an ECDSA key on P-256"))?;
        let (_, parsed) =
            X509Certificate::from_der(&certificate).map_err(|_| unusable("it is no certificate"))?;
        if !parsed.is_ca() {
            return Err(unusable("it is not the certificate of an authority"));
        }
        if parsed.public_key().subject_public_key.data != key.public_key_raw() {
            return Err(unusable("its key is not that of the certificate"));
        }
        let not_after = parsed.validity().not_after.timestamp();
        if not_after <= now.as_second() {
            return Err(unusable("it has expired; put another one there, and give clients new certificates"));
        }
        let key_id = parsed.iter_extensions().find_map(|extension| match extension.parsed_extension() {
            x509_parser::extensions::ParsedExtension::SubjectKeyIdentifier(id) => Some(id.0.to_vec()),
            _ => None,
        });
        let subject = parsed.subject().as_raw().to_vec();
        let issuer =
            Issuer::from_ca_cert_der(&certificate, key).map_err(|error| unusable(&error.to_string()))?;
        Ok(Self { pem: pair.certificate, issuer, subject, key_id, not_after, certificate })
    }

    /// The certificate, which clients must trust.
    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// The certificate as PEM: `kube-root-ca.crt`.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// Believes what the authority signed, and nothing else.
    pub(super) fn roots(&self) -> Result<Arc<RootCertStore>, PkiError> {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).map_err(PkiError::Tls)?;
        Ok(Arc::new(roots))
    }

    /// For a server that asks for the certificates of the authority's clients.
    pub(super) fn clients(&self) -> Result<ClientCertVerifierBuilder, PkiError> {
        Ok(WebPkiClientVerifier::builder_with_provider(self.roots()?, provider()))
    }

    /// For a client that shows this certificate, and believes the authority's servers.
    pub(super) fn client_config(&self, pair: &Pair) -> Result<ClientConfig, PkiError> {
        let roots = self.roots()?;
        ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .and_then(|builder| {
                let builder = builder.with_root_certificates(roots);
                builder.with_client_auth_cert(vec![pair.certificate_der()], pair.key_der().into())
            })
            .map_err(PkiError::Tls)
    }

    /// Reads the certificate of a client, or makes it when it is not there, due, or of another authority.
    pub(super) fn client(
        &self,
        dir: &Path,
        file: &str,
        name: &str,
        groups: &[&str],
        now: Timestamp,
    ) -> Result<Pair, PkiError> {
        if let Some((pair, _)) = Pair::read(dir, file)?
            && self.is_fresh(&pair.certificate_der(), now)
            && names_of(&pair.certificate_der())
                .is_some_and(|names| names.common_name == name && names.organizations == groups)
        {
            return Ok(pair);
        }
        let mut params = CertificateParams::default();
        params.distinguished_name = distinguished_name(name, groups);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let pair = self.leaf(params, "the certificate of a client", now)?;
        pair.write(dir, file)?;
        Ok(pair)
    }

    /// Makes a certificate of a server.
    pub(super) fn server(&self, name: &str, names: &[SanType], now: Timestamp) -> Result<Pair, PkiError> {
        let mut params = CertificateParams::default();
        params.distinguished_name = distinguished_name(name, &[]);
        params.subject_alt_names = names.to_vec();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        self.leaf(params, "the certificate of the server", now)
    }

    /// Whether this authority signed the certificate, and it is not due to be made anew.
    pub(super) fn is_fresh(&self, certificate: &[u8], now: Timestamp) -> bool {
        let Ok((_, parsed)) = X509Certificate::from_der(certificate) else { return false };
        let Ok((_, own)) = X509Certificate::from_der(&self.certificate) else { return false };
        let is_signed = parsed.verify_signature(Some(own.public_key())).is_ok();
        is_signed && due_at(certificate).is_some_and(|due| now < due)
    }

    fn leaf(
        &self,
        mut params: CertificateParams,
        what: &'static str,
        now: Timestamp,
    ) -> Result<Pair, PkiError> {
        let until = (now.as_second() + LEAF_SECONDS).min(self.not_after);
        set_validity(&mut params, now.as_second() - BACKDATE_SECONDS, until);
        params.serial_number = Some(serial_number());
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
        params.use_authority_key_identifier_extension = true;
        let failed = |source| PkiError::Make { what, source };
        let key = KeyPair::generate().map_err(failed)?;
        let certificate = params.signed_by(&key, &self.issuer).map_err(failed)?;
        Ok(Pair { certificate: certificate.pem(), key: key.serialize_pem() })
    }
}

/// Says nothing of its key.
impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority").field("not_after", &self.not_after).finish_non_exhaustive()
    }
}

/// When a certificate should be made anew: after two thirds of its life. None when it cannot be read.
pub(super) fn due_at(certificate: &[u8]) -> Option<Timestamp> {
    let (from, until) = validity_of(certificate)?;
    Timestamp::from_second(from + (until - from) / 3 * 2).ok()
}

/// Sixteen random bytes, positive: nobody can say what the next one is.
pub(super) fn serial_number() -> SerialNumber {
    let mut bytes = random::bytes::<16>();
    bytes[0] = bytes[0] & 0x7F | 0x40;
    SerialNumber::from_slice(&bytes)
}

fn make(now: Timestamp) -> Result<Pair, rcgen::Error> {
    let mut params = CertificateParams::default();
    set_validity(&mut params, now.as_second() - BACKDATE_SECONDS, now.as_second() + AUTHORITY_SECONDS);
    // A name of its own, so that the authorities of two clusters are not taken for each other.
    params.distinguished_name = distinguished_name(&format!("shoal-ca-{}", &random::uuid()[..8]), &[]);
    params.serial_number = Some(serial_number());
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages =
        vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let key = KeyPair::generate()?;
    let certificate = params.self_signed(&key)?;
    Ok(Pair { certificate: certificate.pem(), key: key.serialize_pem() })
}

fn distinguished_name(name: &str, groups: &[&str]) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    groups.iter().for_each(|group| distinguished.push(DnType::OrganizationName, *group));
    distinguished.push(DnType::CommonName, name);
    distinguished
}

fn set_validity(params: &mut CertificateParams, from: i64, until: i64) {
    let after = |seconds: i64| Duration::from_secs(u64::try_from(seconds).unwrap_or_default());
    params.not_before = date_time_ymd(1970, 1, 1) + after(from);
    params.not_after = date_time_ymd(1970, 1, 1) + after(until);
}
