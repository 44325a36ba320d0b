//! CertificateSigningRequests: what they ask for, and what has become of them.

use base64::Engine as _;
use serde_json::Value;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::FromDer as _;
use x509_parser::x509::AttributeTypeAndValue;

use crate::access::{Authorize, User};
use crate::rbac::Attributes;
use crate::snapshot::{items, text};

/// Signer of certificates with which clients authenticate.
pub const CLIENT: &str = "kubernetes.io/kube-apiserver-client";

/// Signer of certificates with which nodes authenticate.
pub const NODE_CLIENT: &str = "kubernetes.io/kube-apiserver-client-kubelet";

/// Signer of certificates with which nodes serve.
pub const NODE_SERVING: &str = "kubernetes.io/kubelet-serving";

/// Signer of certificates that nobody promises anything about.
pub const LEGACY: &str = "kubernetes.io/legacy-unknown";

/// Largest request that is read, in bytes. One with a key of 8192 bits and a hundred names has 10 KiB.
pub const REQUEST_BYTES_MAX: usize = 64 * 1024;

/// What a request asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// `CN`.
    pub common_name: String,
    /// Each `O`.
    pub organizations: Vec<String>,
    /// How many other names it asks for: of hosts, addresses, mailboxes, resources.
    pub alternative_names: usize,
}

impl Asked {
    /// Reads `spec.request`; none when it is no request that can be understood.
    pub fn of(request: &Value) -> Option<Self> {
        let encoded =
            request["spec"]["request"].as_str().filter(|text| text.len() <= 2 * REQUEST_BYTES_MAX)?;
        let pem = base64::engine::general_purpose::STANDARD.decode(encoded).ok()?;
        let (_, pem) = x509_parser::pem::parse_x509_pem(&pem).ok()?;
        if pem.label != "CERTIFICATE REQUEST" {
            return None;
        }
        let (_, parsed) = X509CertificationRequest::from_der(&pem.contents).ok()?;
        let subject = &parsed.certification_request_info.subject;
        let texts = |attribute: &AttributeTypeAndValue<'_>| attribute.as_str().ok().map(String::from);
        let names: usize = parsed
            .requested_extensions()
            .into_iter()
            .flatten()
            .map(|extension| match extension {
                ParsedExtension::SubjectAlternativeName(names) => counted(&names.general_names),
                _ => 0,
            })
            .sum();
        Some(Self {
            common_name: subject.iter_common_name().filter_map(texts).last().unwrap_or_default(),
            organizations: subject.iter_organization().filter_map(texts).collect(),
            alternative_names: names,
        })
    }

    /// Whether this is the certificate with which a node authenticates.
    pub fn is_node_client(&self, usages: &Value) -> bool {
        let mut usages: Vec<&str> = items(usages).map(text).collect();
        usages.sort_unstable();
        usages.dedup();
        self.organizations == ["system:nodes"]
            && self.common_name.starts_with("system:node:")
            && self.alternative_names == 0
            && matches!(
                usages.as_slice(),
                ["client auth", "digital signature"]
                    | ["client auth", "digital signature", "key encipherment"]
            )
    }
}

fn counted(names: &[GeneralName<'_>]) -> usize {
    let kinds = |name: &&GeneralName<'_>| {
        matches!(
            name,
            GeneralName::DNSName(_)
                | GeneralName::IPAddress(_)
                | GeneralName::RFC822Name(_)
                | GeneralName::URI(_)
        )
    };
    names.iter().filter(kinds).count()
}

/// A condition of a request that holds: `Approved`, `Denied`, `Failed`.
pub fn condition<'a>(request: &'a Value, name: &str) -> Option<&'a Value> {
    items(&request["status"]["conditions"]).find(|condition| condition["type"] == name)
}

/// Whether the certificate has been made.
pub fn is_issued(request: &Value) -> bool {
    !text(&request["status"]["certificate"]).is_empty()
}

/// Whether a user may `approve` or `sign` for a signer: for it by name, or for all of its domain.
pub fn may(authorizer: &dyn Authorize, user: &User, verb: &str, signer: &str) -> bool {
    let allows = |name: &str| {
        let access = Attributes {
            verb,
            group: "certificates.k8s.io",
            version: "*",
            resource: "signers",
            name,
            ..Attributes::default()
        };
        authorizer.allows(user, &access)
    };
    let domain = signer.split_once('/').map_or(signer, |(domain, _)| domain);
    allows(signer) || allows(&format!("{domain}/*"))
}
