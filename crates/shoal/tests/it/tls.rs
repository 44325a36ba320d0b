//! HTTPS: what is negotiated, and certificates that change under way.

use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;

use rustix::process::Signal;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme, StreamOwned};

use crate::client::Client;
use crate::process::{DEADLINE, Place};

/// Takes any certificate: the test looks at it afterwards.
#[derive(Debug)]
struct Any(Arc<CryptoProvider>);

impl ServerCertVerifier for Any {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

type TlsStream = StreamOwned<ClientConnection, TcpStream>;

/// Shakes hands, offering these protocols.
fn connect(address: SocketAddr, protocols: &[&str]) -> Client<TlsStream> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .expect("the provider has the default versions")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Any(provider)))
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    let name = ServerName::try_from("localhost").expect("a name");
    let mut connection = ClientConnection::new(Arc::new(config), name).expect("a client");
    let mut socket = TcpStream::connect(address).expect("a connection");
    socket.set_read_timeout(Some(DEADLINE)).expect("a deadline");
    while connection.is_handshaking() {
        connection.complete_io(&mut socket).expect("a handshake");
    }
    Client::over(StreamOwned::new(connection, socket))
}

/// The server's own certificate.
fn leaf(address: SocketAddr) -> Vec<u8> {
    let client = connect(address, &[]);
    client.stream().conn.peer_certificates().expect("certificates")[0].to_vec()
}

#[test]
fn a_certificate_made_at_start_serves_https() {
    let place = Place::new();
    let server = place.serve("echo", &["--tls-self-signed"]);
    assert_eq!(server.scheme, "https");
    let mut client = connect(server.address, &["http/1.1"]);
    let response = client.send("GET", "/request", &[], b"").expect("an answer");
    assert_eq!(response.status, 200);
    assert!(response.text().contains("scheme: https\n"), "{}", response.text());
    for (offered, chosen) in [(&["h2", "http/1.1"][..], Some(&b"h2"[..])), (&["http/1.1"], Some(b"http/1.1"))]
    {
        let client = connect(server.address, offered);
        assert_eq!(client.stream().conn.alpn_protocol(), chosen);
    }
}

#[test]
fn http_2_is_spoken_where_it_was_negotiated() {
    use std::io::{Read as _, Write as _};
    let place = Place::new();
    let server = place.serve("hello", &["--tls-self-signed"]);
    let client = connect(server.address, &["h2"]);
    let mut stream = client.into_stream();
    // Preface and empty SETTINGS; then HEADERS of stream 1 with END_STREAM and END_HEADERS (RFC 9113 §3.4, §6.2):
    // the static table's `:method GET`, `:scheme https`, `:path /`, and `:authority localhost` as text (RFC 7541).
    let head = [&[0x82, 0x87, 0x84, 0x41, 9][..], b"localhost"].concat();
    let length = u8::try_from(head.len()).expect("a short head");
    let frame = [&[0, 0, length, 1, 5, 0, 0, 0, 1][..], &head].concat();
    let hello = [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &[0, 0, 0, 4, 0, 0, 0, 0, 0], &frame].concat();
    stream.write_all(&hello).expect("a request");
    stream.flush().expect("a request");
    let mut body = Vec::new();
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).expect("a frame");
        let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
        stream.read_exact(&mut payload).expect("a frame");
        let (kind, flags, id) = (head[3], head[4], head[8]);
        if id == 1 && kind == 1 {
            assert_eq!(payload.first(), Some(&0x88), "`:status 200` of the static table");
        }
        if id == 1 && kind == 0 {
            body.extend_from_slice(&payload);
        }
        if id == 1 && flags & 1 == 1 {
            break;
        }
    }
    assert_eq!(String::from_utf8_lossy(&body), "Hello from Shoal\n");
}

fn write_pair(certificate: &Path, key: &Path) -> Vec<u8> {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    std::fs::write(certificate, made.cert.pem()).expect("a file");
    std::fs::write(key, made.signing_key.serialize_pem()).expect("a file");
    made.cert.der().to_vec()
}

#[test]
fn files_are_read_again_when_it_is_told_to() {
    let place = Place::new();
    let (certificate, key) = (place.path("cert.pem"), place.path("key.pem"));
    let first = write_pair(&certificate, &key);
    let flags = ["--tls-cert", &place.arg("cert.pem"), "--tls-key", &place.arg("key.pem")];
    let server = place.serve("hello", &flags);
    assert_eq!(leaf(server.address), first);
    let second = write_pair(&certificate, &key);
    assert_eq!(leaf(server.address), first, "not before it is told to");
    server.signal(Signal::HUP);
    server.wait_line("the reload", |line| line.contains("certificates read again"));
    assert_eq!(leaf(server.address), second);
    std::fs::write(&key, "no key").expect("a file");
    server.signal(Signal::HUP);
    server.wait_line("the refusal", |line| line.contains("certificates stay as they were"));
    assert_eq!(leaf(server.address), second);
    let mut client = connect(server.address, &["http/1.1"]);
    assert_eq!(client.send("GET", "/", &[], b"").expect("an answer").text(), "Hello from Shoal\n");
    assert_eq!(server.stop().0.code(), Some(0));
}

#[test]
fn files_that_are_no_certificates_are_refused() {
    let place = Place::new();
    let artifact = crate::process::built("hello").display().to_string();
    let absent = place.arg("absent.pem");
    let ended = place.output(&["run", &artifact, "--tls-cert", &absent, "--tls-key", &absent]);
    assert_eq!(ended.code, Some(66));
    assert!(ended.stderr.contains(&format!("cannot read certificates from {absent}")), "{}", ended.stderr);
    assert!(ended.stderr.contains("\nhint: give PEM files: "), "{}", ended.stderr);
}
