//! The way to registries: trust, limits of time, and what was learned from one request for the next.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use parking_lot::Mutex;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use tokio::time::{Instant, timeout};

use super::connection::{Connection, DialError, Endpoint};
use super::retry::{Retry, Trouble};
use super::{Credential, FetchError, Image, Problem};

/// How registries are reached.
#[derive(Clone, Debug)]
pub struct ClientOptions {
    /// Registries (`host` or `host:port`) that may be spoken to without TLS when they do not know it. Those of this
    /// machine's loopback may in any case.
    pub plain_http: Vec<String>,
    /// Certificates of more authorities to trust, as PEM.
    pub authorities: Option<Vec<u8>>,
    /// For name, connection and TLS together.
    pub connect: Duration,
    /// For the head of an answer, and for each piece of its body.
    pub stall: Duration,
    /// For one blob, however many tries it takes.
    pub blob: Duration,
    /// How often and how long something is tried again.
    pub retry: Retry,
}

impl Default for ClientOptions {
    /// Five seconds to connect: further away is nobody. Thirty for a stalled answer: registries look for blobs in slow
    /// stores. Half an hour for a blob: 500 MiB over 2 Mbit/s.
    fn default() -> Self {
        Self {
            plain_http: Vec::new(),
            authorities: None,
            connect: Duration::from_secs(5),
            stall: Duration::from_secs(30),
            blob: Duration::from_secs(1800),
            retry: Retry::default(),
        }
    }
}

/// A client of OCI registries. Its clones share what was learned.
#[derive(Clone)]
pub struct Client(Arc<Inner>);

struct Inner {
    options: ClientOptions,
    tls: Arc<ClientConfig>,
    /// Registries that do not speak TLS, and may do so.
    plain: Mutex<HashSet<Endpoint>>,
    tokens: Mutex<HashMap<TokenKey, Token>>,
}

/// What a token is for.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct TokenKey {
    pub(super) registry: String,
    pub(super) repository: String,
    pub(super) actions: &'static str,
    pub(super) credential: Option<Credential>,
}

struct Token {
    header: HeaderValue,
    until: Instant,
}

/// Most tokens that are kept: one for each repository that a busy node fetches from within minutes.
const TOKENS_MAX: usize = 1024;

/// Where Docker's own registry really is.
const DOCKER_HUB: &str = "registry-1.docker.io";

impl Client {
    /// A client.
    ///
    /// # Errors
    /// The certificates are none.
    pub fn new(options: ClientOptions) -> Result<Self, FetchError> {
        let mut roots: RootCertStore = webpki_roots::TLS_SERVER_ROOTS.iter().cloned().collect();
        if let Some(pem) = &options.authorities {
            let certificates: Vec<CertificateDer<'_>> =
                CertificateDer::pem_slice_iter(pem).flatten().collect();
            if roots.add_parsable_certificates(certificates).0 == 0 {
                return Err(FetchError::new(Problem::Request, "the certificates to trust hold none")
                    .hint("give PEM certificates of authorities"));
            }
        }
        let tls =
            ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
                .with_safe_default_protocol_versions()
                .expect("the provider has cipher suites for TLS 1.2 and 1.3")
                .with_root_certificates(roots)
                .with_no_client_auth();
        let inner = Inner { options, tls: Arc::new(tls), plain: Mutex::default(), tokens: Mutex::default() };
        Ok(Self(Arc::new(inner)))
    }

    pub(super) fn options(&self) -> &ClientOptions {
        &self.0.options
    }

    /// Connects to the registry of an image, without TLS where that may be and must.
    pub(super) async fn reach(&self, image: &Image) -> Result<(Endpoint, Connection), Trouble> {
        let registry = if image.registry == "docker.io" { DOCKER_HUB } else { &image.registry };
        let endpoint = Endpoint::new(true, registry);
        let plain = Endpoint::new(false, registry);
        if self.0.plain.lock().contains(&endpoint) {
            return Ok((plain.clone(), self.open(&plain).await.map_err(dial_trouble)?));
        }
        match self.open(&endpoint).await {
            Ok(connection) => Ok((endpoint, connection)),
            Err(DialError::NotTls(what)) if self.may_be_plain(&endpoint) => {
                tracing::debug!("{what}; speaking plain HTTP");
                let connection = self.open(&plain).await.map_err(dial_trouble)?;
                self.0.plain.lock().insert(endpoint);
                Ok((plain, connection))
            }
            // Nobody at the port of TLS, and the reference names none.
            Err(DialError::Unreachable(_)) if plain.port != endpoint.port && self.may_be_plain(&endpoint) => {
                let connection = self.open(&plain).await.map_err(dial_trouble)?;
                Ok((plain, connection))
            }
            Err(error) => Err(dial_trouble(error)),
        }
    }

    /// Connects to whom a URL names.
    pub(super) async fn dial(&self, endpoint: &Endpoint) -> Result<Connection, Trouble> {
        self.open(endpoint).await.map_err(dial_trouble)
    }

    async fn open(&self, endpoint: &Endpoint) -> Result<Connection, DialError> {
        let wait = self.0.options.connect;
        timeout(wait, Connection::open(endpoint, &self.0.tls)).await.unwrap_or_else(|_| {
            let what =
                format!("cannot connect to {}: no answer in {} ms", endpoint.authority(), wait.as_millis());
            Err(DialError::Unreachable(what))
        })
    }

    /// Whether this one may be spoken to without TLS.
    pub(super) fn may_be_plain(&self, endpoint: &Endpoint) -> bool {
        let is_named =
            |name: &String| *name == endpoint.host || *name == format!("{}:{}", endpoint.host, endpoint.port);
        endpoint.is_loopback() || self.0.options.plain_http.iter().any(is_named)
    }

    pub(super) fn token(&self, key: &TokenKey) -> Option<HeaderValue> {
        let tokens = self.0.tokens.lock();
        tokens.get(key).filter(|token| token.until > Instant::now()).map(|token| token.header.clone())
    }

    pub(super) fn keep_token(&self, key: TokenKey, header: HeaderValue, life: Duration) {
        let now = Instant::now();
        let mut tokens = self.0.tokens.lock();
        if tokens.len() >= TOKENS_MAX {
            tokens.retain(|_, token| token.until > now);
        }
        if tokens.len() < TOKENS_MAX {
            tokens.insert(key, Token { header, until: now + life });
        }
    }
}

/// Nobody there is nothing that passes in a second: whoever wants the artifact has its own waits.
fn dial_trouble(error: DialError) -> Trouble {
    match error {
        DialError::Unreachable(what) => Trouble::last(Problem::Unreachable, what),
        DialError::NotTls(what) => FetchError::new(Problem::Registry, what)
            .hint("plain HTTP is spoken only with loopback and with registries that are named for it (--plain-http)")
            .into(),
        DialError::Untrusted(what) => FetchError::new(Problem::Registry, what)
            .hint("give the certificate of its authority (--registry-ca FILE)")
            .into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(plain_http: &[&str]) -> Client {
        let plain_http = plain_http.iter().map(ToString::to_string).collect();
        Client::new(ClientOptions { plain_http, ..ClientOptions::default() }).expect("a client")
    }

    #[test]
    fn plain_http_is_for_loopback_and_named_hosts() {
        let client = client(&["registry.lan:5000", "other.lan"]);
        for (registry, may) in [
            ("127.0.0.1:5000", true),
            ("localhost", true),
            ("registry.lan:5000", true),
            ("registry.lan", false),
            ("registry.lan:5001", false),
            ("other.lan:80", true),
            ("ghcr.io", false),
        ] {
            assert_eq!(client.may_be_plain(&Endpoint::new(true, registry)), may, "{registry}");
        }
    }

    #[test]
    fn authorities_must_be_certificates() {
        let options = ClientOptions { authorities: Some(b"none".to_vec()), ..ClientOptions::default() };
        assert!(Client::new(options).is_err());
    }

    #[tokio::test]
    async fn tokens_are_kept_for_their_life_and_not_without_end() {
        let client = client(&[]);
        let key = |repository: usize| TokenKey {
            registry: "a".into(),
            repository: repository.to_string(),
            actions: "pull",
            credential: None,
        };
        let header = HeaderValue::from_static("Bearer x");
        client.keep_token(key(0), header.clone(), Duration::ZERO);
        assert_eq!(client.token(&key(0)), None);
        for number in 1..=TOKENS_MAX + 1 {
            client.keep_token(key(number), header.clone(), Duration::from_secs(60));
        }
        assert_eq!(client.token(&key(TOKENS_MAX)), Some(header));
        assert_eq!(client.token(&key(TOKENS_MAX + 1)), None);
    }
}
