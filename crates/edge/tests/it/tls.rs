//! TLS: who is trusted, what is negotiated, and certificates that change under way.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, Version};
use http_body::Frame;
use http_body_util::{BodyExt, Empty, StreamBody};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use shoal_edge::{CertificateError, Certificates, Config, Listener};
use shoal_runtime::fake::{FakeInvoke, always};
use shoal_runtime::{Body, BodyError, Call, Failure, FailureKind};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::support::{Running, block_on, config, connect, limited, read_to_close, serve};

fn with_tls(config: Config, certificates: &Arc<Certificates>) -> Config {
    let listeners = vec![Listener::tls(config.listeners[0].address, certificates.clone())];
    Config { listeners, ..config }
}

fn self_signed() -> Arc<Certificates> {
    Arc::new(Certificates::self_signed(&[]).unwrap())
}

/// Connects as a client that trusts this certificate alone.
pub(crate) async fn handshake(
    address: SocketAddr,
    trusted: CertificateDer<'static>,
    name: &'static str,
    protocols: &[&str],
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let mut client = builder.with_root_certificates(roots).with_no_client_auth();
    client.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    let socket = TcpStream::connect(address).await?;
    TlsConnector::from(Arc::new(client)).connect(ServerName::try_from(name).unwrap(), socket).await
}

fn names_scheme() -> impl shoal_runtime::Invoke {
    FakeInvoke::new(|request: Request<Body>, call: Call| async move {
        let text = format!("{} {:?}", call.scheme, request.version());
        Ok(Response::new(Body::whole(text)))
    })
}

#[test]
fn a_certificate_of_our_own_says_whose_it_is() {
    let leaf = self_signed().leaf();
    let name = b"Shoal, self-signed";
    assert!(leaf.windows(name.len()).any(|part| part == name), "what a browser shows of it");
}

#[test]
fn the_protocol_is_negotiated() {
    let certificates = self_signed();
    let edge = serve(with_tls(config(), &certificates), names_scheme());
    block_on(async {
        for (offered, expected) in [
            (&["h2", "http/1.1"][..], "https HTTP/2.0"),
            (&["http/1.1"], "https HTTP/1.1"),
            (&[], "https HTTP/1.1"),
        ] {
            let stream = handshake(edge.address(), certificates.leaf(), "localhost", offered).await.unwrap();
            let is_h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
            let io = TokioIo::new(stream);
            let request = Request::get("https://localhost/")
                .header("host", "localhost")
                .body(Empty::<Bytes>::new())
                .unwrap();
            let response = if is_h2 {
                let (mut sender, connection) =
                    hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
                tokio::spawn(connection);
                sender.send_request(request).await.unwrap()
            } else {
                let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
                tokio::spawn(connection);
                sender.send_request(request).await.unwrap()
            };
            assert_eq!(is_h2, response.version() == Version::HTTP_2);
            let body = response.into_body().collect().await.unwrap().to_bytes();
            assert_eq!(body, expected, "{offered:?}");
        }
    });
}

#[test]
fn a_client_without_a_common_protocol_is_turned_away() {
    let certificates = self_signed();
    let edge = serve(with_tls(config(), &certificates), always("hello"));
    let refused = block_on(handshake(edge.address(), certificates.leaf(), "localhost", &["spdy/3"]));
    assert!(refused.is_err());
    edge.await_metric("shoal_edge_tls_handshake_errors_total", 1.0);
    edge.await_metric("shoal_edge_connections_open", 0.0);
}

#[test]
fn a_self_signed_certificate_names_the_machine_and_the_listen_address() {
    let address = SocketAddr::from(([192, 0, 2, 7], 443));
    let certificates = Arc::new(Certificates::self_signed(&[address, address]).unwrap());
    let edge = serve(with_tls(config(), &certificates), always("hello"));
    block_on(async {
        for name in ["localhost", "127.0.0.1", "::1", "192.0.2.7"] {
            assert!(handshake(edge.address(), certificates.leaf(), name, &[]).await.is_ok(), "{name}");
        }
        assert!(handshake(edge.address(), certificates.leaf(), "elsewhere.test", &[]).await.is_err());
    });
}

#[test]
fn a_handshake_that_stalls_is_given_up() {
    let certificates = self_signed();
    let edge = serve(
        with_tls(limited(|l| l.tls_handshake = Duration::from_millis(150)), &certificates),
        always("hello"),
    );
    assert_eq!(read_to_close(&mut connect(edge.address())), "");
    edge.await_metric("shoal_edge_limits_total{limit=\"tls_handshake\"}", 1.0);
}

#[test]
fn plain_http_on_a_tls_port_is_turned_away() {
    let edge = serve(with_tls(config(), &self_signed()), always("hello"));
    let text = crate::support::ask(edge.address(), "GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    assert!(!text.contains("HTTP/1.1"), "{text}");
    edge.await_metric("shoal_edge_tls_handshake_errors_total", 1.0);
}

#[test]
fn certificates_are_read_again_while_serving() {
    let dir = tempfile::tempdir().unwrap();
    let (certificate, key) = (dir.path().join("cert.pem"), dir.path().join("key.pem"));
    let first = write_pair(&certificate, &key);
    let certificates = Arc::new(Certificates::from_files(&certificate, &key).unwrap());
    assert_eq!(certificates.leaf(), first);
    let edge = serve(with_tls(config(), &certificates), always("hello"));
    let trusts = |leaf: &CertificateDer<'static>| served(&edge, leaf);
    assert!(trusts(&first));
    let second = write_pair(&certificate, &key);
    assert!(trusts(&first), "not before it is told to");
    certificates.reload().unwrap();
    assert!(trusts(&second) && !trusts(&first));
    // A pair that does not fit leaves the old one in place.
    std::fs::write(&key, rcgen::KeyPair::generate().unwrap().serialize_pem()).unwrap();
    let error = certificates.reload().unwrap_err();
    assert!(matches!(error, CertificateError::Mismatch { .. }), "{error}");
    assert!(trusts(&second));
}

#[test]
fn files_that_are_no_certificates_are_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let (certificate, key) = (dir.path().join("cert.pem"), dir.path().join("key.pem"));
    write_pair(&certificate, &key);
    let refusal =
        |certificate: &Path, key: &Path| Certificates::from_files(certificate, key).unwrap_err().to_string();
    let missing = dir.path().join("missing.pem");
    assert_eq!(refusal(&missing, &key), format!("cannot read certificates from {}", missing.display()));
    assert_eq!(
        refusal(&certificate, &missing),
        format!("cannot read a private key from {}", missing.display())
    );
    assert_eq!(refusal(&key, &key), format!("{} holds no certificate", key.display()));
    assert_eq!(
        refusal(&certificate, &certificate),
        format!("cannot read a private key from {}", certificate.display())
    );
}

fn served(edge: &Running, trusted: &CertificateDer<'static>) -> bool {
    block_on(handshake(edge.address(), trusted.clone(), "localhost", &[])).is_ok()
}

fn write_pair(certificate: &Path, key: &Path) -> CertificateDer<'static> {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    std::fs::write(certificate, made.cert.pem()).unwrap();
    std::fs::write(key, made.signing_key.serialize_pem()).unwrap();
    made.cert.der().clone()
}

#[test]
fn a_connection_that_says_nothing_is_closed_without_a_word() {
    let certificates = self_signed();
    let config = with_tls(limited(|l| l.header_read = Duration::from_millis(150)), &certificates);
    let edge = serve(config, always("hello"));
    block_on(async {
        let mut stream =
            handshake(edge.address(), certificates.leaf(), "localhost", &["http/1.1"]).await.unwrap();
        let mut said = Vec::new();
        // A clean end: with the close_notify that tells it from a cut.
        stream.read_to_end(&mut said).await.unwrap();
        assert_eq!(said, b"");
    });
    assert_eq!(edge.metric("shoal_edge_limits_total{limit=\"header_read\"}"), Some(1.0));
}

#[test]
fn a_body_that_fails_is_never_a_clean_end() {
    let certificates = self_signed();
    let edge = serve(
        with_tls(config(), &certificates),
        FakeInvoke::new(|_, _| async {
            let failure = BodyError::Failed(Failure::new(FailureKind::Trap, "unreachable"));
            let frames = [Ok(Frame::data(Bytes::from("half"))), Err(failure)];
            Ok(Response::new(Body::stream(StreamBody::new(futures_util::stream::iter(frames)))))
        }),
    );
    block_on(async {
        let mut stream = handshake(edge.address(), certificates.leaf(), "localhost", &[]).await.unwrap();
        stream.write_all(b"GET / HTTP/1.0\r\n\r\n").await.unwrap();
        assert!(stream.read_to_end(&mut Vec::new()).await.is_err());
    });
}
