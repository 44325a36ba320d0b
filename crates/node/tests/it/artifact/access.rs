//! Who asks: tokens, passwords, redirections, TLS.

use std::sync::Arc;

use rustls::ServerConfig;
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use shoal_node::artifact::{ClientOptions, Credential, FetchError, Keyring, Policy, Problem, StoreOptions};
use tokio_rustls::TlsAcceptor;

use super::registry::{Fault, Registry, Seen};
use super::support::{Place, module, quick, reference};

fn basic(username: &str, password: &str) -> Credential {
    Credential::Basic { username: username.into(), password: password.into() }
}

fn refuse(challenge: &str) -> Fault {
    Fault::Status(401, vec![("www-authenticate", challenge.into())])
}

/// A registry that wants tokens, and gives them to Ada with her password (`YWRhOng=`) and for the refresh token `id`.
fn wants_tokens(registry: &Registry) {
    let realm = format!("Bearer realm=\"http://{}/token?a=b\",service=\"reg\"", registry.address);
    registry.fail(move |seen| {
        if seen.path.starts_with("/token") {
            let may = seen.authorization.as_deref() == Some("Basic YWRhOng=")
                || seen.body.ends_with(b"refresh_token=id") && seen.method == "POST";
            let token = format!(r#"{{"token": "t{}", "expires_in": 3600}}"#, seen.before);
            return Some(if may { Fault::Body(token.into()) } else { Fault::Status(401, vec![]) });
        }
        let token = seen.authorization.as_deref();
        let is_known = token.is_some_and(|token| token.starts_with("Bearer t"));
        (!is_known).then(|| refuse(&realm))
    });
}

async fn pull(place: &Place, name: &str, keyring: &Keyring) -> Result<(), FetchError> {
    place.store.fetch(&reference(name), Policy::Always, keyring).await.map(drop)
}

fn tokens_asked(registry: &Registry) -> Vec<Seen> {
    registry.seen().into_iter().filter(|seen| seen.path.starts_with("/token")).collect()
}

#[tokio::test]
async fn a_token_is_asked_for_once() {
    let (registry, place) = (Registry::start().await, Place::new());
    registry.wasm("ada/app:1", &module(1, 100));
    registry.wasm("ada/app:2", &module(2, 100));
    wants_tokens(&registry);
    let keyring = Keyring::with(&registry.address.to_string(), basic("ada", "x"));
    pull(&place, &registry.name("ada/app:1"), &keyring).await.unwrap();
    pull(&place, &registry.name("ada/app:2"), &keyring).await.unwrap();
    let paths: Vec<String> = tokens_asked(&registry).into_iter().map(|seen| seen.path).collect();
    assert_eq!(paths, ["/token?a=b&service=reg&scope=repository%3Aada%2Fapp%3Apull"]);
    let with_password = registry.seen().into_iter().filter(|seen| {
        seen.authorization.as_deref().is_some_and(|value| value.starts_with("Basic"))
            && !seen.path.starts_with("/token")
    });
    assert_eq!(with_password.count(), 0, "the password goes to the realm only");
}

#[tokio::test]
async fn a_refresh_token_is_exchanged() {
    let (registry, place) = (Registry::start().await, Place::new());
    registry.wasm("app:1", &module(1, 100));
    wants_tokens(&registry);
    let keyring = Keyring::with(&registry.address.to_string(), Credential::Identity("id".into()));
    pull(&place, &registry.name("app:1"), &keyring).await.unwrap();
    assert_eq!(tokens_asked(&registry)[0].method, "POST");
}

#[tokio::test]
async fn every_credential_is_tried_and_none_is_shown() {
    let (registry, place) = (Registry::start().await, Place::new());
    registry.wasm("team/app:1", &module(1, 100));
    wants_tokens(&registry);
    let (host, name) = (registry.address.to_string(), registry.name("team/app:1"));
    let mut keyring = Keyring::with(&format!("{host}/team"), basic("eve", "wrong-secret"));
    let error = pull(&place, &name, &keyring).await.unwrap_err();
    assert_eq!(error.problem, Problem::Denied);
    let said = error.to_string();
    assert!(said.contains("the credentials that were shown may not do this, or are wrong"), "{said}");
    assert!(said.contains("imagePullSecrets") && !said.contains("secret\""), "{said}");
    assert!(!format!("{error:?}").contains("wrong-secret"));
    let error = pull(&place, &name, &Keyring::default()).await.unwrap_err();
    assert_eq!(error.problem, Problem::Denied);
    assert!(error.to_string().contains("give credentials (docker login, or an imagePullSecret"), "{error}");
    keyring.extend(Keyring::with(&host, basic("ada", "x")));
    pull(&place, &name, &keyring).await.unwrap();
}

#[tokio::test]
async fn a_token_that_has_run_out_is_renewed() {
    let (registry, place) = (Registry::start().await, Place::new());
    registry.wasm("app:1", &module(1, 100));
    let realm = format!("Bearer realm=\"http://{}/token\"", registry.address);
    registry.fail(move |seen| {
        if seen.path.starts_with("/token") {
            return Some(Fault::Body(
                format!(r#"{{"token": "t{}", "expires_in": 3600}}"#, seen.before).into(),
            ));
        }
        // The first token is good for the manifest only.
        let is_good = match seen.authorization.as_deref() {
            Some("Bearer t0") => seen.path.contains("/manifests/"),
            other => other == Some("Bearer t1"),
        };
        (!is_good).then(|| refuse(&realm))
    });
    pull(&place, &registry.name("app:1"), &Keyring::default()).await.unwrap();
    assert_eq!(tokens_asked(&registry).len(), 2);
}

#[tokio::test]
async fn a_password_is_enough_where_it_is_asked_for() {
    let (registry, place) = (Registry::start().await, Place::new());
    registry.wasm("app:1", &module(1, 100));
    registry.fail(|seen| {
        (seen.authorization.as_deref() != Some("Basic YWRhOng=")).then(|| refuse("Basic realm=\"x\""))
    });
    let name = registry.name("app:1");
    let error = pull(&place, &name, &Keyring::default()).await.unwrap_err();
    assert_eq!(error.problem, Problem::Denied, "{error}");
    let keyring = Keyring::with(&registry.address.to_string(), basic("ada", "x"));
    pull(&place, &name, &keyring).await.unwrap();
}

#[tokio::test]
async fn a_redirection_is_followed_without_the_token() {
    let (registry, place, elsewhere) = (Registry::start().await, Place::new(), Registry::start().await);
    let content = module(1, 1000);
    registry.wasm("app:1", &content);
    elsewhere.blob(content.clone());
    let to = format!("http://{}/v2/store/blobs", elsewhere.address);
    registry.fail(move |seen| {
        if seen.authorization.as_deref() != Some("Basic YWRhOng=") {
            return Some(refuse("Basic realm=\"x\""));
        }
        let digest = seen.path.rsplit('/').next().unwrap();
        let location = format!("{to}/{digest}?signature=s");
        seen.is("GET", "/blobs/").then(|| Fault::Status(307, vec![("location", location)]))
    });
    let keyring = Keyring::with(&registry.address.to_string(), basic("ada", "x"));
    pull(&place, &registry.name("app:1"), &keyring).await.unwrap();
    let seen = elsewhere.seen();
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0].authorization, None, "the token stays with the registry");
}

#[tokio::test]
async fn redirections_end_and_never_leave_tls() {
    let (registry, place) = (Registry::start().await, Place::new());
    registry.wasm("app:1", &module(1, 100));
    registry.fail(|seen| {
        seen.is("GET", "/blobs/").then(|| Fault::Status(302, vec![("location", seen.path.clone())]))
    });
    let error = pull(&place, &registry.name("app:1"), &Keyring::default()).await.unwrap_err();
    assert!(error.what.ends_with("redirects more than 5 times"), "{error}");
    registry.fail(|seen| {
        let location = || vec![("location", "http://cdn.example.com/x".to_string())];
        seen.is("GET", "/blobs/").then(|| Fault::Status(302, location()))
    });
    let error = pull(&place, &registry.name("app:1"), &Keyring::default()).await.unwrap_err();
    assert!(error.what.ends_with("sends to `http://cdn.example.com/x`, which is without TLS"), "{error}");
    registry.fail(|_| Some(refuse("Bearer realm=\"http://auth.example.com/token\"")));
    let error = pull(&place, &registry.name("app:2"), &Keyring::default()).await.unwrap_err();
    assert!(error.what.ends_with("which is without TLS"), "{error}");
}

#[tokio::test]
async fn a_certificate_is_checked() {
    let own = rcgen::generate_simple_self_signed(["127.0.0.1".to_string(), "localhost".into()]).unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(own.signing_key.serialize_der()));
    let server = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![own.cert.der().clone()], key)
        .unwrap();
    let registry = Registry::serve(Some(TlsAcceptor::from(Arc::new(server)))).await;
    registry.wasm("app:1", &module(1, 100));
    let name = registry.name("app:1");
    let error = Place::new().pull(&name).await.unwrap_err();
    assert_eq!(error.problem, Problem::Registry, "{error}");
    assert!(error.to_string().contains("--registry-ca"), "{error}");
    assert_eq!(registry.asked(), Vec::<String>::new(), "it is not asked without TLS instead");
    let options = ClientOptions { authorities: Some(own.cert.pem().into_bytes()), ..quick() };
    let place = Place::with(options, StoreOptions::default());
    place.pull(&name).await.unwrap();
    place.pull(&format!("localhost:{}/app:1", registry.address.port())).await.unwrap();
}
