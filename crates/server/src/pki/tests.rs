//! Certificates: what is made, believed, signed and refused.

use std::sync::Arc;

use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, SanType};
use rustls::RootCertStore;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;
use serde_json::{Value, json};

use super::*;
use crate::auth::Peer;

const NOW: i64 = 1_800_000_000;
const DAY: i64 = 24 * 3600;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).expect("a time")
}

fn pki() -> (tempfile::TempDir, Pki) {
    let dir = tempfile::tempdir().expect("a directory");
    let pki = Pki::open(dir.path(), &[], at(NOW)).expect("made");
    (dir, pki)
}

/// Whether TLS would take it from a client.
fn is_believed(pki: &Pki, certificate: &CertificateDer<'_>, now: i64) -> bool {
    let mut roots = RootCertStore::empty();
    roots.add(pki.authority().certificate().clone()).expect("it is one");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier =
        WebPkiClientVerifier::builder_with_provider(roots.into(), provider).build().expect("it has roots");
    let now =
        UnixTime::since_unix_epoch(std::time::Duration::from_secs(u64::try_from(now).expect("after 1970")));
    verifier.verify_client_cert(certificate, &[], now).is_ok()
}

fn request(subject: &[(DnType, &str)], names: &[SanType], signer: &str, usages: &[&str]) -> Value {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    subject.iter().for_each(|(kind, name)| params.distinguished_name.push(kind.clone(), *name));
    params.subject_alt_names = names.to_vec();
    let key = KeyPair::generate().expect("a key");
    let pem = params.serialize_request(&key).expect("a request").pem().expect("PEM");
    json!({"spec": {"request": BASE64_STANDARD.encode(pem), "signerName": signer, "usages": usages}})
}

#[test]
fn what_was_made_is_found_again() {
    let (dir, first) = pki();
    let kubeconfig = first.admin_kubeconfig("https://127.0.0.1:6443", at(NOW)).expect("made");
    let keys = first.service_account_keys().expect("made").to_pem();
    let second = Pki::open(dir.path(), &[], at(NOW + DAY)).expect("read");
    assert_eq!(first.authority().pem(), second.authority().pem());
    assert_eq!(first.serving().due_at(), second.serving().due_at());
    assert_eq!(second.admin_kubeconfig("https://127.0.0.1:6443", at(NOW + DAY)).expect("read"), kubeconfig);
    assert_eq!(second.service_account_keys().expect("read").to_pem(), keys);
    let rotated = second.rotate_service_account_keys().expect("rotated").to_pem();
    assert!(rotated.ends_with(&keys) && rotated.len() > keys.len());
}

#[test]
fn the_first_client_is_a_master_for_a_year() {
    let (dir, pki) = pki();
    let kubeconfig = pki.admin_kubeconfig("https://[::1]:6443", at(NOW)).expect("made");
    let field = |name: &str| {
        let line = kubeconfig.lines().find_map(|line| line.trim().strip_prefix(name)).expect("it is there");
        BASE64_STANDARD.decode(line).expect("base64")
    };
    let certificate =
        CertificateDer::from_pem_slice(&field("client-certificate-data: ")).expect("a certificate");
    assert!(PrivateKeyDer::from_pem_slice(&field("client-key-data: ")).is_ok());
    assert_eq!(field("certificate-authority-data: "), pki.authority().pem().as_bytes());
    let peer = Peer::from_chain(std::slice::from_ref(&certificate)).expect("it names somebody");
    assert_eq!(
        (peer.user.name.as_str(), peer.user.groups.as_slice()),
        ("shoal-admin", &["system:masters".to_string()][..])
    );
    assert!(is_believed(&pki, &certificate, NOW));
    assert!(peer.is_valid_at(at(NOW + 364 * DAY)) && !peer.is_valid_at(at(NOW + 366 * DAY)));
    assert!(!is_believed(&pki, &certificate, NOW + 366 * DAY));
    let (_other_dir, other) = self::pki();
    assert!(!is_believed(&other, &certificate, NOW), "the authority of another cluster");
    let later = pki.admin_kubeconfig("https://[::1]:6443", at(NOW + 250 * DAY)).expect("made anew");
    assert_ne!(later, kubeconfig);
    drop(dir);
}

#[test]
fn the_certificate_of_the_server_has_its_names_and_is_made_anew_in_time() {
    let (dir, pki) = pki();
    let shown = |pki: &Pki| pki.serving().shown();
    let first = shown(&pki);
    let names = names_of(&first).expect("names");
    let has = |name: &str| {
        ServerName::try_from(name.to_string()).is_ok_and(|name| webpki_verifies(&pki, &first, &name))
    };
    for name in
        ["localhost", "127.0.0.1", "::1", "kubernetes", "kubernetes.default.svc.cluster.local", "10.96.0.1"]
    {
        assert!(has(name), "{name}: {names:?}");
    }
    assert!(!has("example.com"));
    assert!(!pki.serving().renew(at(NOW + 240 * DAY)).expect("nothing to do"));
    assert!(pki.serving().renew(at(NOW + 244 * DAY)).expect("made anew"));
    assert_ne!(shown(&pki), first);
    let again = Pki::open(dir.path(), &[], at(NOW + 245 * DAY)).expect("read");
    assert_eq!(shown(&again), shown(&pki));
    let more = ["shoal.example.com".to_string(), "192.0.2.1".to_string()];
    let renamed = Pki::open(dir.path(), &more, at(NOW + 245 * DAY)).expect("made anew");
    let names = names_of(&shown(&renamed)).expect("names");
    assert!(names.dns.contains(&more[0]) && names.ips.contains(&more[1].parse().expect("an address")));
    assert!(Pki::open(dir.path(), &["no name".to_string()], at(NOW)).is_err());
}

fn webpki_verifies(pki: &Pki, certificate: &CertificateDer<'_>, name: &ServerName<'_>) -> bool {
    let mut roots = RootCertStore::empty();
    roots.add(pki.authority().certificate().clone()).expect("it is one");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = rustls::client::WebPkiServerVerifier::builder_with_provider(roots.into(), provider)
        .build()
        .expect("roots");
    let now = UnixTime::since_unix_epoch(std::time::Duration::from_secs(NOW.unsigned_abs()));
    rustls::client::danger::ServerCertVerifier::verify_server_cert(
        &*verifier,
        certificate,
        &[],
        name,
        &[],
        now,
    )
    .is_ok()
}

#[test]
fn what_cannot_be_used_is_refused_with_words() {
    let (dir, pki) = pki();
    assert!(
        Pki::open(dir.path(), &[], at(NOW + 3651 * DAY))
            .is_err_and(|error| error.to_string().contains("has expired"))
    );
    let server = std::fs::read_to_string(dir.path().join("server.pem")).expect("there");
    std::fs::write(dir.path().join("ca.pem"), server).expect("written");
    let error = Pki::open(dir.path(), &[], at(NOW)).map(drop).expect_err("no authority").to_string();
    assert!(error.ends_with("it is not the certificate of an authority"), "{error}");
    let (_other_dir, other) = self::pki();
    let mixed = format!("{}{}", pki.authority().pem(), other.authority().issuer.key().serialize_pem());
    std::fs::write(dir.path().join("ca.pem"), mixed).expect("written");
    let error = Pki::open(dir.path(), &[], at(NOW)).map(drop).expect_err("another key").to_string();
    assert!(error.ends_with("its key is not that of the certificate"), "{error}");
    for text in ["", "hello", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
        std::fs::write(dir.path().join("ca.pem"), text).expect("written");
        assert!(Pki::open(dir.path(), &[], at(NOW)).is_err(), "{text:?}");
    }
}

#[test]
fn a_request_is_signed_with_its_own_names() {
    let (_dir, pki) = pki();
    let subject = [
        (DnType::CommonName, "jane"),
        (DnType::OrganizationName, "dev"),
        (DnType::CustomDnType(vec![2, 5, 4, 10]), "ops"),
    ];
    let mut request = request(&subject, &[], SIGNERS[0], &["client auth", "digital signature"]);
    request["spec"]["expirationSeconds"] = json!(3600);
    let pem = pki.authority().sign(&request, at(NOW)).expect("signed");
    let certificate = CertificateDer::from_pem_slice(pem.as_bytes()).expect("a certificate");
    let peer = Peer::from_chain(std::slice::from_ref(&certificate)).expect("it names somebody");
    assert_eq!(peer.user.name, "jane");
    let mut groups = peer.user.groups.clone();
    groups.sort();
    assert_eq!(groups, ["dev", "ops"], "both groups");
    assert!(is_believed(&pki, &certificate, NOW) && is_believed(&pki, &certificate, NOW + 3599));
    assert!(!is_believed(&pki, &certificate, NOW + 3601));
    for (asked, given) in [(json!(1), 600), (json!(null), 365 * DAY), (json!(i64::MAX), 365 * DAY)] {
        request["spec"]["expirationSeconds"] = asked;
        let pem = pki.authority().sign(&request, at(NOW)).expect("signed");
        let certificate = CertificateDer::from_pem_slice(pem.as_bytes()).expect("a certificate");
        assert_eq!(validity_of(&certificate), Some((NOW - 300, NOW + given)));
    }
}

#[test]
fn nodes_get_certificates_of_their_own() {
    let (_dir, pki) = pki();
    let node = [(DnType::CommonName, "system:node:n1"), (DnType::OrganizationName, "system:nodes")];
    let ip = SanType::IpAddress("192.0.2.7".parse().expect("an address"));
    let dns = SanType::DnsName("n1".try_into().expect("a name"));
    let uri = SanType::URI("spiffe://x".try_into().expect("a URI"));
    let client = ["digital signature", "client auth"];
    let server = ["server auth", "digital signature", "key encipherment"];
    let serving = request(&node, &[ip.clone(), dns.clone()], SIGNERS[2], &server);
    let pem = pki.authority().sign(&serving, at(NOW)).expect("signed");
    let names =
        names_of(&CertificateDer::from_pem_slice(pem.as_bytes()).expect("a certificate")).expect("names");
    assert_eq!(
        (names.dns, names.ips),
        (vec!["n1".to_string()], vec!["192.0.2.7".parse().expect("an address")])
    );
    let certificate = CertificateDer::from_pem_slice(pem.as_bytes()).expect("a certificate");
    assert!(!is_believed(&pki, &certificate, NOW), "a server is no client");
    let jane = [(DnType::CommonName, "jane"), (DnType::OrganizationName, "system:nodes")];
    let other = [(DnType::CommonName, "system:node:n1"), (DnType::OrganizationName, "dev")];
    let master = [(DnType::CommonName, "x"), (DnType::OrganizationName, "system:masters")];
    let said =
        |request: &Value| pki.authority().sign(request, at(NOW)).map(drop).map_err(|refusal| refusal.message);
    for (request, answer) in [
        (request(&node, &[], SIGNERS[1], &client), ""),
        (
            request(&node, std::slice::from_ref(&dns), SIGNERS[1], &client),
            "DNS subjectAltNames are not allowed",
        ),
        (
            request(&node, std::slice::from_ref(&ip), SIGNERS[1], &client),
            "IP subjectAltNames are not allowed",
        ),
        (request(&jane, &[], SIGNERS[1], &client), "subject common name does not begin with system:node:"),
        (request(&other, &[], SIGNERS[1], &client), "subject organization is not system:nodes"),
        (
            request(&node, &[], SIGNERS[1], &server),
            "usages did not match [client auth digital signature key encipherment]",
        ),
        (request(&node, &[], SIGNERS[2], &server), "DNS or IP subjectAltName is required"),
        (request(&node, &[dns.clone(), uri], SIGNERS[2], &server), "URI subjectAltNames are not allowed"),
        (
            request(&node, &[dns], SIGNERS[2], &client),
            "usages did not match [digital signature key encipherment server auth]",
        ),
        (request(&jane, &[], SIGNERS[0], &server), "invalid usage for client certificate: server auth"),
        (
            request(&jane, &[], SIGNERS[0], &["digital signature"]),
            "missing required usage for client certificate: client auth",
        ),
        (
            request(&master, &[], SIGNERS[0], &client),
            "use of kubernetes.io/kube-apiserver-client signer with system:masters group is not allowed",
        ),
        (request(&jane, &[], "example.com/x", &client), "there is no signer \"example.com/x\" here"),
        (json!({"spec": {"request": "!"}}), "the request is not base64"),
        (json!({"spec": {"request": "AAAA"}}), "PEM block type must be CERTIFICATE REQUEST"),
        (json!({}), "PEM block type must be CERTIFICATE REQUEST"),
    ] {
        assert_eq!(said(&request).err().unwrap_or_default(), answer);
    }
}

#[test]
fn a_request_that_was_changed_is_not_signed() {
    let (_dir, pki) = pki();
    let request = request(&[(DnType::CommonName, "jane")], &[], SIGNERS[0], &["client auth"]);
    let pem = BASE64_STANDARD.decode(request["spec"]["request"].as_str().expect("text")).expect("base64");
    let der = rustls_pki_types::CertificateSigningRequestDer::from_pem_slice(&pem).expect("PEM");
    let changed: Vec<u8> = der.to_vec();
    let at_name = changed.windows(4).position(|window| window == b"jane").expect("its name");
    let mut changed = changed;
    changed[at_name..at_name + 4].copy_from_slice(b"root");
    let mut forged = request.clone();
    forged["spec"]["request"] = json!(BASE64_STANDARD.encode(to_pem("CERTIFICATE REQUEST", &changed)));
    assert!(pki.authority().sign(&request, at(NOW)).is_ok());
    let refusal = pki.authority().sign(&forged, at(NOW)).expect_err("it was changed");
    assert_eq!(refusal.message, "the request is not signed with its own key");
}
