//! What strangers show to the API server: tokens, certificates, requests for them, and what stands in its store.
#![allow(unreachable_pub, reason = "a module of the fuzz targets and of the tests of shoal-server")]

use std::sync::{Arc, LazyLock};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use jiff::Timestamp;
use rustls_pki_types::CertificateDer;
use serde_json::{Value, json};
use shoal_api::Status;
use shoal_server::auth::{Authenticator, Bound, BoxFuture, Keys, Lookup, Peer, ServiceAccounts};
use shoal_server::pki::Pki;
use shoal_server::seal::Sealer;

/// Nothing that strangers show makes them somebody; the first byte says what it is.
///
/// 0: a token. 1: changes of a token that is valid, three bytes each (where, two; what, one), which must leave nothing
/// of its validity. 2: a certificate. 3: a request for one. 4: a value of the store.
pub fn token(bytes: &[u8]) {
    let Some((kind, bytes)) = bytes.split_first() else { return };
    let server = &*SERVER;
    match kind % 5 {
        0 => {
            if let Ok(token) = std::str::from_utf8(bytes) {
                server.refuses(token);
            }
        }
        1 => {
            let mut changed = server.token.clone().into_bytes();
            for change in bytes.chunks_exact(3) {
                let at = usize::from(u16::from_le_bytes([change[0], change[1]])) % changed.len();
                changed[at] = change[2];
            }
            match String::from_utf8(changed) {
                Ok(token) if token == server.token => assert!(server.knows(&token)),
                Ok(token) => server.refuses(&token),
                Err(_) => {}
            }
        }
        2 => {
            let _ = Peer::from_chain(&[CertificateDer::from(bytes)]);
        }
        3 => {
            let body = BASE64_STANDARD.encode(bytes);
            let pem =
                format!("-----BEGIN CERTIFICATE REQUEST-----\n{body}\n-----END CERTIFICATE REQUEST-----\n");
            let request = json!({"spec": {
                "request": BASE64_STANDARD.encode(pem), "usages": ["client auth"],
                "signerName": "kubernetes.io/kube-apiserver-client",
            }});
            if let Err(refusal) = server.pki.authority().sign(&request, now()) {
                assert!(!refusal.to_string().is_empty());
            }
        }
        _ => match server.sealer.unseal("/a", bytes) {
            Ok(value) => assert_eq!(*value, *bytes, "what was not sealed comes back as it is"),
            Err(error) => assert!(!error.to_string().is_empty()),
        },
    }
}

static SERVER: LazyLock<Server> = LazyLock::new(Server::new);

struct Server {
    runtime: tokio::runtime::Runtime,
    authenticator: Authenticator,
    token: String,
    pki: Pki,
    sealer: Sealer,
    _dir: tempfile::TempDir,
}

impl Server {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let accounts = Arc::new(ServiceAccounts::new("https://shoal", Keys::generate()));
        let token = accounts.issue(&ACCOUNT, &["https://shoal".to_string()], &Bound::default(), now(), 600);
        Self {
            runtime: tokio::runtime::Builder::new_current_thread().build().expect("a runtime"),
            authenticator: Authenticator::new(accounts, Arc::new(OneAccount)),
            token,
            pki: Pki::open(&dir.path().join("pki"), &[], now()).expect("made"),
            sealer: Sealer::open(&dir.path().join("keys")).expect("made"),
            _dir: dir,
        }
    }

    fn knows(&self, token: &str) -> bool {
        let review = json!({"spec": {"token": token}});
        let answer = self.runtime.block_on(self.authenticator.review(&review, now()));
        answer.is_ok_and(|answer| {
            let status = &answer["status"];
            let error = status["error"].as_str().unwrap_or_default();
            assert_eq!(status["authenticated"] == true, error.is_empty());
            assert!(token.len() < 20 || !error.contains(token), "the answer repeats the token");
            status["authenticated"] == true
        })
    }

    fn refuses(&self, token: &str) {
        assert!(!self.knows(token), "{token:?}");
    }
}

static ACCOUNT: LazyLock<Value> =
    LazyLock::new(|| json!({"metadata": {"namespace": "default", "name": "bot", "uid": "u"}}));

/// The only object of the world, and a Secret that is one of a bootstrap token in nothing but its name.
struct OneAccount;

impl Lookup for OneAccount {
    fn get<'a>(
        &'a self,
        resource: &'a str,
        _namespace: &'a str,
        name: &'a str,
    ) -> BoxFuture<'a, Result<Option<Arc<Value>>, Status>> {
        let found = match resource {
            "serviceaccounts" if name == "bot" => Some(Arc::new(ACCOUNT.clone())),
            "secrets" => Some(Arc::new(json!({"type": "Opaque", "data": {"token-secret": "YQ=="}}))),
            _ => None,
        };
        Box::pin(async { Ok(found) })
    }
}

fn now() -> Timestamp {
    Timestamp::from_second(1_800_000_000).expect("a time")
}
