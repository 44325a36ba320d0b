//! Certificates for those who ask for one by a CertificateSigningRequest that was approved.

use std::net::IpAddr;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use rcgen::SigningKey as _;
use rustls_pki_types::CertificateSigningRequestDer;
use rustls_pki_types::pem::PemObject as _;
use serde_json::Value;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::prelude::FromDer as _;
use yasna::models::ObjectIdentifier;
use yasna::{DERWriter, Tag, TagClass};

use super::authority::{BACKDATE_SECONDS, serial_number};
use super::{Authority, Names, to_pem};

/// The signers that the server has.
pub const SIGNERS: [&str; 3] = [
    "kubernetes.io/kube-apiserver-client",
    "kubernetes.io/kube-apiserver-client-kubelet",
    "kubernetes.io/kubelet-serving",
];

/// Longest certificate, and the default, as kube-controller-manager has it: a year.
const SECONDS_MAX: i64 = 365 * 24 * 3600;
/// Shortest certificate: what is shorter is hardly valid on a machine whose clock is late.
const SECONDS_MIN: i64 = 10 * 60;
/// Largest request: a key of RSA 16384 with many names is smaller.
const REQUEST_BYTES_MAX: usize = 64 << 10;

/// Why a request is not signed: a condition `Failed` of the CertificateSigningRequest.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// `SignerValidationFailure`.
    pub reason: &'static str,
    /// A sentence.
    pub message: String,
}

impl Refusal {
    fn new(message: impl Into<String>) -> Self {
        Self { reason: "SignerValidationFailure", message: message.into() }
    }
}

impl Authority {
    /// Signs what a CertificateSigningRequest asks for: the certificate as PEM, which `status.certificate` holds in
    /// base64.
    ///
    /// Whether it was approved is for the caller to see.
    ///
    /// # Errors
    /// When the request cannot be read, is not signed with its own key, or asks for what its signer does not give.
    pub fn sign(&self, request: &Value, now: Timestamp) -> Result<String, Refusal> {
        let spec = &request["spec"];
        let text = spec["request"].as_str().unwrap_or_default();
        if text.len() > REQUEST_BYTES_MAX {
            return Err(Refusal::new(format!("the request has more than {REQUEST_BYTES_MAX} bytes")));
        }
        let pem = BASE64_STANDARD.decode(text).map_err(|_| Refusal::new("the request is not base64"))?;
        let der = CertificateSigningRequestDer::from_pem_slice(&pem)
            .map_err(|_| Refusal::new("PEM block type must be CERTIFICATE REQUEST"))?;
        let unreadable = || Refusal::new("unable to parse the certificate request");
        let (rest, parsed) = X509CertificationRequest::from_der(&der).map_err(|_| unreadable())?;
        if !rest.is_empty() {
            return Err(unreadable());
        }
        parsed.verify_signature().map_err(|_| Refusal::new("the request is not signed with its own key"))?;
        let extensions = parsed.requested_extensions().into_iter().flatten();
        let info = &parsed.certification_request_info;
        let names = Names::new(&info.subject, extensions).ok_or_else(unreadable)?;
        let usages: Vec<&str> =
            spec["usages"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        check(spec["signerName"].as_str().unwrap_or_default(), &names, &usages).map_err(Refusal::new)?;
        let until = now.as_second() + duration(&spec["expirationSeconds"]);
        let body = Body {
            subject: info.subject.as_raw(),
            key: info.subject_pki.raw,
            names: &names,
            usages: &usages,
            from: now.as_second() - BACKDATE_SECONDS,
            until: until.min(self.not_after),
        };
        self.certificate_of(&body)
    }

    fn certificate_of(&self, body: &Body<'_>) -> Result<String, Refusal> {
        let signed = yasna::construct_der(|writer| body.write(writer, self));
        let signature = self.issuer.key().sign(&signed).map_err(|error| Refusal::new(error.to_string()))?;
        let der = yasna::construct_der(|writer| {
            writer.write_sequence(|writer| {
                writer.next().write_der(&signed);
                algorithm(writer.next());
                writer.next().write_bitvec_bytes(&signature, signature.len() * 8);
            });
        });
        Ok(to_pem("CERTIFICATE", &der))
    }
}

/// How long the certificate is valid, in seconds.
fn duration(asked: &Value) -> i64 {
    asked.as_i64().map_or(SECONDS_MAX, |seconds| seconds.clamp(SECONDS_MIN, SECONDS_MAX))
}

/// Whether the signer gives what is asked for.
fn check(signer: &str, names: &Names, usages: &[&str]) -> Result<(), String> {
    match signer {
        "kubernetes.io/kube-apiserver-client" => check_client(names, usages),
        "kubernetes.io/kube-apiserver-client-kubelet" => {
            check_node(names)?;
            let alternatives = [
                (names.dns.is_empty(), "DNS"),
                (names.emails.is_empty(), "Email"),
                (names.ips.is_empty(), "IP"),
                (names.uris.is_empty(), "URI"),
            ];
            if let Some((_, kind)) = alternatives.iter().find(|(is_empty, _)| !is_empty) {
                return Err(format!("{kind} subjectAltNames are not allowed"));
            }
            check_node_usages(usages, "client auth")
        }
        "kubernetes.io/kubelet-serving" => {
            check_node(names)?;
            if names.dns.is_empty() && names.ips.is_empty() {
                return Err("DNS or IP subjectAltName is required".into());
            }
            if !names.emails.is_empty() {
                return Err("Email subjectAltNames are not allowed".into());
            }
            if !names.uris.is_empty() {
                return Err("URI subjectAltNames are not allowed".into());
            }
            check_node_usages(usages, "server auth")
        }
        _ => Err(format!("there is no signer {signer:?} here")),
    }
}

fn check_client(names: &Names, usages: &[&str]) -> Result<(), String> {
    // Admission refuses it already; a signer that would sign it makes whoever can write approvals a master.
    if names.organizations.iter().any(|group| group == "system:masters") {
        return Err(
            "use of kubernetes.io/kube-apiserver-client signer with system:masters group is not allowed"
                .into(),
        );
    }
    let allowed = ["digital signature", "key encipherment", "client auth"];
    if let Some(usage) = usages.iter().find(|usage| !allowed.contains(usage)) {
        return Err(format!("invalid usage for client certificate: {usage}"));
    }
    if !usages.contains(&"client auth") {
        return Err("missing required usage for client certificate: client auth".into());
    }
    Ok(())
}

fn check_node(names: &Names) -> Result<(), String> {
    if names.organizations != ["system:nodes"] {
        return Err("subject organization is not system:nodes".into());
    }
    if names.common_name.strip_prefix("system:node:").is_none_or(str::is_empty) {
        return Err("subject common name does not begin with system:node:".into());
    }
    Ok(())
}

/// A node's usages are just these; `key encipherment` may be left out.
fn check_node_usages(usages: &[&str], purpose: &str) -> Result<(), String> {
    let mut without: Vec<&str> =
        usages.iter().copied().filter(|usage| *usage != "key encipherment").collect();
    without.sort_unstable();
    without.dedup();
    let mut wanted = [purpose, "digital signature"];
    wanted.sort_unstable();
    if without == wanted {
        return Ok(());
    }
    let mut all = [purpose, "digital signature", "key encipherment"];
    all.sort_unstable();
    Err(format!("usages did not match [{}]", all.join(" ")))
}

/// What is signed. Subject and key are those of the request, byte by byte: rcgen could not hold two groups.
struct Body<'a> {
    subject: &'a [u8],
    key: &'a [u8],
    names: &'a Names,
    usages: &'a [&'a str],
    from: i64,
    until: i64,
}

impl Body<'_> {
    /// `TBSCertificate` of RFC 5280, 4.1.
    fn write(&self, writer: DERWriter<'_>, authority: &Authority) {
        writer.write_sequence(|writer| {
            writer.next().write_tagged(Tag::context(0), |writer| writer.write_u8(2));
            writer.next().write_bigint_bytes(&serial_number().to_bytes(), true);
            algorithm(writer.next());
            writer.next().write_der(&authority.subject);
            writer.next().write_sequence(|writer| {
                time(writer.next(), self.from);
                time(writer.next(), self.until);
            });
            writer.next().write_der(self.subject);
            writer.next().write_der(self.key);
            writer.next().write_tagged(Tag::context(3), |writer| {
                writer.write_sequence(|writer| {
                    for (oid, is_critical, value) in self.extensions(authority) {
                        writer.next().write_sequence(|writer| {
                            writer.next().write_oid(&ObjectIdentifier::from_slice(oid));
                            if is_critical {
                                writer.next().write_bool(true);
                            }
                            writer.next().write_bytes(&value);
                        });
                    }
                });
            });
        });
    }

    fn extensions(&self, authority: &Authority) -> Vec<(&'static [u64], bool, Vec<u8>)> {
        const KEY_USAGE: &[u64] = &[2, 5, 29, 15];
        const EXTENDED_KEY_USAGE: &[u64] = &[2, 5, 29, 37];
        const BASIC_CONSTRAINTS: &[u64] = &[2, 5, 29, 19];
        const AUTHORITY_KEY_ID: &[u64] = &[2, 5, 29, 35];
        const ALTERNATIVE_NAMES: &[u64] = &[2, 5, 29, 17];
        let mut extensions = Vec::new();
        let has = |usage: &str| self.usages.contains(&usage);
        // Bit 0 is digitalSignature, bit 2 keyEncipherment; DER has no zero bits at the end.
        let bits = match (has("digital signature"), has("key encipherment")) {
            (true, true) => Some((0xA0, 3)),
            (true, false) => Some((0x80, 1)),
            (false, true) => Some((0x20, 3)),
            (false, false) => None,
        };
        if let Some((byte, length)) = bits {
            let value = yasna::construct_der(|writer| writer.write_bitvec_bytes(&[byte], length));
            extensions.push((KEY_USAGE, true, value));
        }
        let purposes = [("server auth", 1), ("client auth", 2)].into_iter().filter(|(usage, _)| has(usage));
        let value = yasna::construct_der(|writer| {
            writer.write_sequence(|writer| {
                for (_, last) in purposes {
                    writer.next().write_oid(&ObjectIdentifier::from_slice(&[1, 3, 6, 1, 5, 5, 7, 3, last]));
                }
            });
        });
        extensions.push((EXTENDED_KEY_USAGE, false, value));
        let nothing = yasna::construct_der(|writer| writer.write_sequence(|_| {}));
        extensions.push((BASIC_CONSTRAINTS, true, nothing));
        if let Some(id) = &authority.key_id {
            let value = yasna::construct_der(|writer| {
                writer.write_sequence(|writer| {
                    writer.next().write_tagged_implicit(Tag::context(0), |writer| writer.write_bytes(id));
                });
            });
            extensions.push((AUTHORITY_KEY_ID, false, value));
        }
        if let Some(names) = alternative_names(self.names) {
            extensions.push((ALTERNATIVE_NAMES, false, names));
        }
        extensions
    }
}

fn alternative_names(names: &Names) -> Option<Vec<u8>> {
    let texts = |list: &[String], tag: u64| {
        list.iter().map(|text| (tag, text.as_bytes().to_vec())).collect::<Vec<_>>()
    };
    let octets = |address: &IpAddr| match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    };
    let mut all = texts(&names.dns, 2);
    all.extend(texts(&names.emails, 1));
    all.extend(names.ips.iter().map(|address| (7, octets(address))));
    all.extend(texts(&names.uris, 6));
    (!all.is_empty()).then(|| {
        yasna::construct_der(|writer| {
            writer.write_sequence(|writer| {
                for (tag, bytes) in &all {
                    writer
                        .next()
                        .write_tagged_implicit(Tag::context(*tag), |writer| writer.write_bytes(bytes));
                }
            });
        })
    })
}

/// `ecdsa-with-SHA256`.
fn algorithm(writer: DERWriter<'_>) {
    writer.write_sequence(|writer| {
        writer.next().write_oid(&ObjectIdentifier::from_slice(&[1, 2, 840, 10045, 4, 3, 2]));
    });
}

/// A time: UTCTime until 2049, GeneralizedTime from then on (RFC 5280, 4.1.2.5).
fn time(writer: DERWriter<'_>, seconds: i64) {
    let time = Timestamp::from_second(seconds).unwrap_or(Timestamp::UNIX_EPOCH).to_zoned(TimeZone::UTC);
    let is_short = time.year() < 2050;
    let text = time.strftime(if is_short { "%y%m%d%H%M%SZ" } else { "%Y%m%d%H%M%SZ" }).to_string();
    let tag = Tag { tag_class: TagClass::Universal, tag_number: if is_short { 23 } else { 24 } };
    writer.write_tagged_implicit(tag, |writer| writer.write_bytes(text.as_bytes()));
}
