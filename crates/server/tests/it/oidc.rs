//! Tokens of an issuer on this machine.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};
use shoal_server::auth::{Oidc, OidcConfig};
use shoal_server::pki::Pki;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use crate::world::{NOW, World, shows, wrong_with};

/// A key by which an issuer signs.
struct Key {
    id: &'static str,
    private: Vec<u8>,
    jwk: Value,
}

impl Key {
    fn new(id: &'static str) -> Self {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("a key");
        let (x, y) = pair.public_key().as_ref()[1..].split_at(32);
        let [x, y] = [x, y].map(|part| BASE64_URL_SAFE_NO_PAD.encode(part));
        let private = pair.to_pkcs8v1().expect("a key").as_ref().to_vec();
        Self {
            id,
            private,
            jwk: json!({"kty": "EC", "crv": "P-256", "alg": "ES256", "kid": id, "x": x, "y": y}),
        }
    }

    fn sign(&self, claims: &Value) -> String {
        let mut header = Header::new(Algorithm::ES256);
        header.kid = Some(self.id.into());
        jsonwebtoken::encode(&header, claims, &EncodingKey::from_ec_der(&self.private)).expect("signed")
    }
}

/// An issuer that serves what it is given, until it is dropped.
struct Issuer {
    url: String,
    authority: PathBuf,
    documents: Arc<Mutex<BTreeMap<String, Value>>>,
    asked: Arc<AtomicUsize>,
    _server: JoinSet<()>,
    _dir: tempfile::TempDir,
}

impl Issuer {
    async fn start(keys: &[&Key]) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let pki = Pki::open(dir.path(), &[], jiff::Timestamp::now()).expect("made");
        let authority = dir.path().join("issuer.crt");
        std::fs::write(&authority, pki.authority().pem()).expect("written");
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let url = format!("https://localhost:{}", listener.local_addr().expect("an address").port());
        let documents: Arc<Mutex<BTreeMap<String, Value>>> = Arc::default();
        let asked = Arc::new(AtomicUsize::new(0));
        let mut server = JoinSet::new();
        server.spawn(serve(
            listener,
            TlsAcceptor::from(pki.server_config()),
            documents.clone(),
            asked.clone(),
        ));
        let issuer = Self { url, authority, documents, asked, _server: server, _dir: dir };
        issuer.put(
            "/.well-known/openid-configuration",
            json!({"issuer": issuer.url, "jwks_uri": format!("{}/keys", issuer.url)}),
        );
        issuer.show(keys);
        issuer
    }

    fn put(&self, path: &str, document: Value) {
        self.documents.lock().expect("no test panics with it").insert(path.into(), document);
    }

    fn show(&self, keys: &[&Key]) {
        self.put("/keys", json!({"keys": keys.iter().map(|key| key.jwk.clone()).collect::<Vec<_>>()}));
    }

    fn config(&self) -> OidcConfig {
        OidcConfig {
            issuer: self.url.clone(),
            audiences: vec!["shoal".into()],
            groups_claim: "groups".into(),
            groups_prefix: "corp:".into(),
            certificate_authority: Some(self.authority.clone()),
            ..OidcConfig::default()
        }
    }

    fn claims(&self) -> Value {
        json!({"iss": self.url, "aud": "shoal", "sub": "jane", "exp": NOW + 600, "groups": ["dev", "system:masters"]})
    }
}

async fn serve(
    listener: TcpListener,
    acceptor: TlsAcceptor,
    documents: Arc<Mutex<BTreeMap<String, Value>>>,
    asked: Arc<AtomicUsize>,
) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let (acceptor, documents, asked) = (acceptor.clone(), documents.clone(), asked.clone());
        connections.spawn(async move {
            let Ok(stream) = acceptor.accept(stream).await else { return };
            let answer = service_fn(move |request: Request<Incoming>| {
                asked.fetch_add(1, Ordering::SeqCst);
                let document =
                    documents.lock().expect("no test panics with it").get(request.uri().path()).cloned();
                async move {
                    let code = if document.is_some() { 200 } else { 404 };
                    let body = Full::new(Bytes::from(document.unwrap_or_default().to_string()));
                    Ok::<_, Infallible>(Response::builder().status(code).body(body).expect("an answer"))
                }
            });
            // A client that goes away is none of the issuer's business.
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), answer)
                .await;
        });
    }
}

#[tokio::test]
async fn a_token_of_an_issuer_stands_for_its_user() {
    let key = Key::new("k1");
    let issuer = Issuer::start(&[&key]).await;
    let oidc = Oidc::new(issuer.config()).expect("it makes sense");
    let authenticator = World::new().authenticator().with_issuer(oidc);
    let user = shows(&authenticator, &key.sign(&issuer.claims()), NOW).await.expect("it is valid");
    assert_eq!(user.name, format!("{}#jane", issuer.url));
    assert_eq!(user.groups, ["corp:dev", "corp:system:masters", "system:authenticated"]);
    let asked = issuer.asked.load(Ordering::SeqCst);
    assert_eq!(asked, 2, "the configuration and the keys");
    assert!(shows(&authenticator, &key.sign(&issuer.claims()), NOW).await.is_ok());
    assert_eq!(issuer.asked.load(Ordering::SeqCst), asked, "the keys are known");
}

#[tokio::test]
async fn names_come_from_the_claims_that_are_configured() {
    let key = Key::new("k1");
    let issuer = Issuer::start(&[&key]).await;
    let config = OidcConfig { username_claim: "email".into(), ..issuer.config() };
    let authenticator = World::new().authenticator().with_issuer(Oidc::new(config).expect("it makes sense"));
    let mut claims = issuer.claims();
    let missing = wrong_with(&authenticator, &key.sign(&claims), NOW).await;
    assert_eq!(missing, "[invalid bearer token, oidc: parse username claims \"email\": claim not present]");
    claims["email"] = json!("jane@example.com");
    assert_eq!(
        shows(&authenticator, &key.sign(&claims), NOW).await.map(|user| user.name),
        Ok("jane@example.com".into())
    );
    claims["email_verified"] = json!(false);
    assert_eq!(shows(&authenticator, &key.sign(&claims), NOW).await, Err(401));
}

#[tokio::test]
async fn what_the_issuer_has_not_said_for_us_is_refused() {
    let (key, stranger) = (Key::new("k1"), Key::new("k1"));
    let issuer = Issuer::start(&[&key]).await;
    let config = OidcConfig { required_claims: [("hd".into(), "corp".into())].into(), ..issuer.config() };
    let authenticator = World::new().authenticator().with_issuer(Oidc::new(config).expect("it makes sense"));
    let with = |claim: &str, value: Value| {
        let mut claims = issuer.claims();
        claims["hd"] = json!("corp");
        claims[claim] = value;
        claims
    };
    assert!(shows(&authenticator, &key.sign(&with("x", json!(1))), NOW).await.is_ok());
    for (claims, says) in [
        (with("aud", json!("other")), "expected audience"),
        (with("aud", Value::Null), "expected audience"),
        (with("exp", json!(NOW - 61)), "expired"),
        (with("exp", Value::Null), "no expiry"),
        (with("nbf", json!(NOW + 61)), "not valid yet"),
        (with("hd", json!("elsewhere")), "required claim hd"),
        (with("sub", json!("")), "claim not present"),
        (with("groups", json!([1])), "no list of texts"),
        (with("iss", json!("https://other.example.com")), "its issuer is not known"),
    ] {
        let error = wrong_with(&authenticator, &key.sign(&claims), NOW).await;
        assert!(error.contains(says), "{says}: {error}");
    }
    let error = wrong_with(&authenticator, &stranger.sign(&with("x", json!(1))), NOW).await;
    assert!(error.contains("failed to verify signature"), "{error}");
    // A review that names audiences of its own must not pass a token that was made for somebody else.
    let review = json!({"spec": {"token": key.sign(&with("x", json!(1))), "audiences": ["vault"]}});
    let answer = authenticator.review(&review, crate::world::at(NOW)).await.expect("answered");
    assert_ne!(answer["status"]["authenticated"], true);
}

#[tokio::test]
async fn new_keys_are_asked_for_but_not_for_every_stranger() {
    let (old, new) = (Key::new("k1"), Key::new("k2"));
    let issuer = Issuer::start(&[&old]).await;
    let authenticator =
        World::new().authenticator().with_issuer(Oidc::new(issuer.config()).expect("it makes sense"));
    assert!(shows(&authenticator, &old.sign(&issuer.claims()), NOW).await.is_ok());
    issuer.show(&[&new]);
    assert_eq!(
        shows(&authenticator, &new.sign(&issuer.claims()), NOW + 9).await,
        Err(401),
        "keys were asked for just now"
    );
    assert_eq!(issuer.asked.load(Ordering::SeqCst), 2);
    assert!(shows(&authenticator, &new.sign(&issuer.claims()), NOW + 10).await.is_ok());
    assert_eq!(issuer.asked.load(Ordering::SeqCst), 4);
    assert_eq!(
        shows(&authenticator, &old.sign(&issuer.claims()), NOW + 11).await,
        Err(401),
        "its key was taken away"
    );
}

#[tokio::test]
async fn a_key_that_was_taken_away_is_not_believed_for_ever() {
    let key = Key::new("k1");
    let issuer = Issuer::start(&[&key]).await;
    let authenticator =
        World::new().authenticator().with_issuer(Oidc::new(issuer.config()).expect("it makes sense"));
    let mut claims = issuer.claims();
    claims["exp"] = json!(NOW + 100_000);
    let token = key.sign(&claims);
    assert!(shows(&authenticator, &token, NOW).await.is_ok());
    issuer.show(&[]);
    assert!(shows(&authenticator, &token, NOW + 3599).await.is_ok());
    assert_eq!(shows(&authenticator, &token, NOW + 3600).await, Err(401));
}

#[tokio::test]
async fn users_go_on_for_a_day_while_the_issuer_cannot_be_reached() {
    let (key, other) = (Key::new("k1"), Key::new("k2"));
    let issuer = Issuer::start(&[&key]).await;
    let authenticator =
        World::new().authenticator().with_issuer(Oidc::new(issuer.config()).expect("it makes sense"));
    let mut claims = issuer.claims();
    claims["exp"] = json!(NOW + 200_000);
    assert!(shows(&authenticator, &key.sign(&claims), NOW).await.is_ok());
    issuer.put("/.well-known/openid-configuration", Value::Null);
    let day = 24 * 3600;
    assert!(shows(&authenticator, &key.sign(&claims), NOW + day - 1).await.is_ok());
    assert_eq!(
        shows(&authenticator, &other.sign(&claims), NOW + day - 1).await,
        Err(401),
        "a key that is not known"
    );
    assert_eq!(shows(&authenticator, &key.sign(&claims), NOW + day).await, Err(401));
}

#[tokio::test]
async fn an_issuer_that_is_not_who_it_says_is_not_believed() {
    let key = Key::new("k1");
    let issuer = Issuer::start(&[&key]).await;
    issuer.put(
        "/.well-known/openid-configuration",
        json!({"issuer": "https://other", "jwks_uri": format!("{}/keys", issuer.url)}),
    );
    let authenticator =
        World::new().authenticator().with_issuer(Oidc::new(issuer.config()).expect("it makes sense"));
    let error = wrong_with(&authenticator, &key.sign(&issuer.claims()), NOW).await;
    assert!(error.ends_with("is of another issuer]"), "{error}");
    let elsewhere = Issuer::start(&[&key]).await;
    let config = OidcConfig { certificate_authority: Some(elsewhere.authority.clone()), ..issuer.config() };
    let authenticator = World::new().authenticator().with_issuer(Oidc::new(config).expect("it makes sense"));
    let error = wrong_with(&authenticator, &key.sign(&issuer.claims()), NOW).await;
    assert!(error.contains("cannot fetch") && error.contains("certificate"), "{error}");
}

#[test]
fn a_configuration_that_makes_no_sense_is_refused() {
    let good =
        OidcConfig { issuer: "https://x".into(), audiences: vec!["a".into()], ..OidcConfig::default() };
    assert!(Oidc::new(good.clone()).is_ok());
    for (config, says) in [
        (OidcConfig { issuer: "http://x".into(), ..good.clone() }, "must be an https URL"),
        (OidcConfig { issuer: "https://x?y".into(), ..good.clone() }, "must be an https URL"),
        (OidcConfig { audiences: Vec::new(), ..good.clone() }, "needs an audience"),
        (OidcConfig { algorithms: vec!["HS256".into()], ..good.clone() }, "no algorithm of asymmetric keys"),
        (OidcConfig { algorithms: vec!["none".into()], ..good.clone() }, "no algorithm of asymmetric keys"),
        (
            OidcConfig { certificate_authority: Some("/nowhere".into()), ..good.clone() },
            "cannot read certificates",
        ),
    ] {
        let error = Oidc::new(config).expect_err(says).to_string();
        assert!(error.contains(says), "{error}");
    }
}
