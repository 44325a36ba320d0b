//! The certificates in real handshakes.

use std::sync::Arc;

use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use serde_json::json;
use shoal_control::rbac::User;
use shoal_server::auth::Peer;
use shoal_server::pki::{Pki, SIGNERS};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// A certificate with its key.
type Identity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

fn pki() -> (tempfile::TempDir, Pki) {
    let dir = tempfile::tempdir().expect("a directory");
    let pki = Pki::open(dir.path(), &[], jiff::Timestamp::now()).expect("made");
    (dir, pki)
}

/// Has the authority sign a client's request.
fn client(pki: &Pki, name: &str) -> Identity {
    use base64::Engine as _;
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    let key = KeyPair::generate().expect("a key");
    let pem = params.serialize_request(&key).expect("a request").pem().expect("PEM");
    let request = base64::prelude::BASE64_STANDARD.encode(pem);
    let request = json!({"spec": {"request": request, "signerName": SIGNERS[0], "usages": ["client auth"]}});
    let pem = pki.authority().sign(&request, jiff::Timestamp::now()).expect("signed");
    let certificate = CertificateDer::from_pem_slice(pem.as_bytes()).expect("a certificate");
    (vec![certificate], PrivatePkcs8KeyDer::from(key.serialize_der()).into())
}

/// Whom the server sees after a handshake; none when it was refused.
async fn seen(server: &Pki, trusted: &Pki, identity: Option<Identity>) -> Option<Option<User>> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.authority().certificate().clone()).expect("it is one");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let client = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider has them")
        .with_root_certificates(roots);
    let client = match identity {
        Some((chain, key)) => client.with_client_auth_cert(chain, key).expect("they fit"),
        None => client.with_no_client_auth(),
    };
    let (near, far) = tokio::io::duplex(64 << 10);
    let name = ServerName::try_from("kubernetes.default.svc").expect("a name");
    let connector = TlsConnector::from(Arc::new(client));
    let acceptor = TlsAcceptor::from(server.server_config());
    let accept = async {
        let mut stream = acceptor.accept(far).await.ok()?;
        let user = stream.get_ref().1.peer_certificates().and_then(Peer::from_chain).map(|peer| peer.user);
        stream.write_all(b"hello").await.ok()?;
        Some(user)
    };
    let connect = async {
        let mut stream = connector.connect(name, near).await.ok()?;
        // With TLS 1.3 a client learns from the first answer whether it was believed.
        let mut answer = [0; 5];
        stream.read_exact(&mut answer).await.ok()
    };
    let (accepted, connected) = tokio::join!(accept, connect);
    connected.and(accepted)
}

#[tokio::test]
async fn a_client_is_known_by_its_certificate_or_not_at_all() {
    let (_dir, pki) = pki();
    let (_other_dir, other) = self::pki();
    let user = seen(&pki, &pki, Some(client(&pki, "jane"))).await.expect("a handshake").expect("a client");
    assert_eq!(user.name, "jane");
    assert!(user.extra["authentication.kubernetes.io/credential-id"][0].starts_with("X509SHA256="));
    assert_eq!(seen(&pki, &pki, None).await, Some(None), "without a certificate");
    assert_eq!(seen(&pki, &pki, Some(client(&other, "jane"))).await, None, "of another authority");
    assert_eq!(seen(&pki, &other, None).await, None, "the client does not believe the server");
}
