//! The names that certificates carry.

use std::net::IpAddr;

use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::{FromDer as _, X509Certificate};
use x509_parser::x509::X509Name;

/// Whom a certificate, or a request for one, names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// The last common name of the subject: the user.
    pub common_name: String,
    /// All organisations of the subject: the groups.
    pub organizations: Vec<String>,
    /// Host names.
    pub dns: Vec<String>,
    /// Addresses.
    pub ips: Vec<IpAddr>,
    /// E-mail addresses.
    pub emails: Vec<String>,
    /// URIs.
    pub uris: Vec<String>,
}

/// The names in a certificate; none when it cannot be read.
pub fn names_of(certificate: &[u8]) -> Option<Names> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    let extensions = certificate.extensions().iter().map(|extension| extension.parsed_extension());
    Names::new(certificate.subject(), extensions)
}

/// From when until when a certificate is valid, in seconds since 1970; none when it cannot be read.
pub(crate) fn validity_of(certificate: &[u8]) -> Option<(i64, i64)> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    let validity = certificate.validity();
    Some((validity.not_before.timestamp(), validity.not_after.timestamp()))
}

impl Names {
    /// From a subject and extensions; none when a name is no text, so that nobody is taken for somebody else.
    pub(super) fn new<'a>(
        subject: &X509Name<'_>,
        extensions: impl Iterator<Item = &'a ParsedExtension<'a>>,
    ) -> Option<Self> {
        let mut names = Self::default();
        for name in subject.iter_common_name() {
            names.common_name = name.as_str().ok()?.to_string();
        }
        for name in subject.iter_organization() {
            names.organizations.push(name.as_str().ok()?.to_string());
        }
        for extension in extensions {
            let ParsedExtension::SubjectAlternativeName(alternatives) = extension else { continue };
            for name in &alternatives.general_names {
                match name {
                    GeneralName::DNSName(name) => names.dns.push((*name).into()),
                    GeneralName::RFC822Name(name) => names.emails.push((*name).into()),
                    GeneralName::URI(name) => names.uris.push((*name).into()),
                    GeneralName::IPAddress(bytes) => names.ips.push(address(bytes)?),
                    GeneralName::Invalid(..) => return None,
                    _ => {}
                }
            }
        }
        Some(names)
    }
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok()
}
