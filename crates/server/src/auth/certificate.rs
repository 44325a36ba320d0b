//! Client certificates.

use aws_lc_rs::digest::{SHA256, digest};
use jiff::Timestamp;
use rustls_pki_types::CertificateDer;
use shoal_control::rbac::User;

use crate::pki::{names_of, validity_of};

/// The certificate of a client, as TLS has verified it. Made once per connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Common name and organisations of the subject. Without a common name the certificate names nobody.
    pub user: User,
    valid: (i64, i64),
}

impl Peer {
    /// Reads the chain that a client has shown, leaf first; none when there is none, or its names are no text.
    ///
    /// It must come from rustls, which has verified it: nothing is verified here.
    pub fn from_chain(chain: &[CertificateDer<'_>]) -> Option<Self> {
        let leaf = chain.first()?;
        let names = names_of(leaf)?;
        let id = digest(&SHA256, leaf);
        let id: String = id.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        let key = "authentication.kubernetes.io/credential-id".to_string();
        let user = User {
            name: names.common_name,
            groups: names.organizations,
            extra: [(key, vec![format!("X509SHA256={id}")])].into(),
            ..User::default()
        };
        Some(Self { user, valid: validity_of(leaf)? })
    }

    /// Whether the certificate is valid at that time: TLS has looked at the start of the connection only.
    pub fn is_valid_at(&self, now: Timestamp) -> bool {
        (self.valid.0..=self.valid.1).contains(&now.as_second())
    }
}
