//! Who asks: from a client certificate or a token to a [`User`].
//!
//! An [`Authenticator`] looks at the certificate first, then at the token of the `Authorization` header: the static
//! token of the administrator, ServiceAccount tokens, bootstrap tokens, tokens of OIDC issuers. Whoever shows nothing
//! is anonymous, and gets no further than the health and version paths. Whoever shows something that is wrong is
//! refused, and neither the answer nor the log says more than why.

mod bearer;
mod bootstrap;
mod cache;
mod certificate;
mod impersonate;
mod jwt;
mod keys;
mod lookup;
mod oidc;
mod service_account;
mod token_request;

pub use bearer::bearer_token;
pub use certificate::Peer;
pub use impersonate::impersonated;
pub use keys::{KeyError, Keys};
pub use lookup::{BoxFuture, Lookup};
pub use oidc::{Oidc, OidcConfig, OidcError};
pub use service_account::{Bound, ServiceAccounts};
pub use token_request::{Issued, SECONDS_DEFAULT, SECONDS_MIN};

use std::sync::Arc;

use http::HeaderMap;
use jiff::Timestamp;
use serde_json::{Value, json};
use shoal_api::{Status, object};
use shoal_control::rbac::{ANONYMOUS, AUTHENTICATED, MASTERS, UNAUTHENTICATED, User};

/// Longest token that is looked at: ours are shorter than 2 KiB, those of issuers with many groups than this.
pub const TOKEN_BYTES_MAX: usize = 16 << 10;

/// Paths that an anonymous user may ask for, each with all below it.
const ANONYMOUS_PATHS: &[&str] = &["/livez", "/readyz", "/healthz", "/version"];

/// What a token stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Who shows it.
    pub user: User,
    /// For which of the audiences that were asked for; empty for tokens that know none.
    pub audiences: Vec<String>,
}

/// Finds out who asks.
pub struct Authenticator {
    service_accounts: Arc<ServiceAccounts>,
    issuers: Vec<Oidc>,
    admin_token: Option<Digest>,
    lookup: Arc<dyn Lookup>,
}

/// A secret as its SHA-256, so that comparing takes the same time whatever it is compared with.
struct Digest([u8; 32]);

impl Authenticator {
    /// Knows ServiceAccount and bootstrap tokens; `lookup` finds the objects that they name.
    pub fn new(service_accounts: Arc<ServiceAccounts>, lookup: Arc<dyn Lookup>) -> Self {
        Self { service_accounts, issuers: Vec::new(), admin_token: None, lookup }
    }

    /// Believes another issuer of tokens too.
    #[must_use]
    pub fn with_issuer(mut self, issuer: Oidc) -> Self {
        self.issuers.push(issuer);
        self
    }

    /// Believes a static token too: whoever shows it is a master. An empty one is none.
    #[must_use]
    pub fn with_admin_token(mut self, token: &str) -> Self {
        self.admin_token = (!token.is_empty()).then(|| Digest::of(token));
        self
    }

    /// The tokens of ServiceAccounts.
    pub fn service_accounts(&self) -> &Arc<ServiceAccounts> {
        &self.service_accounts
    }

    /// Who makes this request. `peer` is the client's certificate as TLS has verified it, read once per connection.
    ///
    /// # Errors
    /// 401 when what is shown is wrong, or when nothing is shown for a path that is not for everyone.
    pub async fn authenticate(
        &self,
        peer: Option<&Peer>,
        headers: &HeaderMap,
        path: &str,
        now: Timestamp,
    ) -> Result<User, Status> {
        if let Some(peer) = peer
            && !peer.user.name.is_empty()
        {
            if !peer.is_valid_at(now) {
                tracing::warn!(user = peer.user.name, "client certificate is not valid any more");
                return Err(Status::unauthorized());
            }
            return Ok(authenticated(peer.user.clone()));
        }
        let Some(token) = bearer_token(headers) else { return anonymous(path) };
        match self.identify(token, self.service_accounts.audiences(), now).await {
            Ok(identity) => Ok(authenticated(identity.user)),
            Err(why) => {
                tracing::warn!(error = why, "unable to authenticate the request");
                Err(Status::unauthorized())
            }
        }
    }

    /// Answers a TokenReview: whose token is it?
    ///
    /// # Errors
    /// 400 when the review holds no token.
    pub async fn review(&self, review: &Value, now: Timestamp) -> Result<Value, Status> {
        let spec = &review["spec"];
        let token = spec["token"].as_str().unwrap_or_default();
        if token.is_empty() {
            return Err(Status::bad_request("token is required for TokenReview in authentication"));
        }
        let asked: Vec<String> = spec["audiences"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .map(String::from)
            .collect();
        let audiences = if asked.is_empty() { self.service_accounts.audiences() } else { &asked };
        let status = match self.identify(token, audiences, now).await {
            Ok(mut identity) => {
                // A token that knows no audiences is meant for this server.
                if identity.audiences.is_empty() {
                    let own = self.service_accounts.audiences();
                    identity.audiences = audiences.iter().filter(|one| own.contains(one)).cloned().collect();
                }
                if identity.audiences.is_empty() {
                    json!({"user": {}, "error": "[invalid bearer token, it is for this server alone]"})
                } else {
                    let user = authenticated(identity.user).to_value();
                    json!({"authenticated": true, "user": user, "audiences": identity.audiences})
                }
            }
            Err(why) => json!({"user": {}, "error": format!("[invalid bearer token, {why}]")}),
        };
        let mut answer = review.clone();
        object::metadata_mut(&mut answer).entry("creationTimestamp").or_insert(Value::Null);
        answer["status"] = status;
        Ok(answer)
    }

    /// Whose token it is; each kind of token is known by its form or its issuer, so no other is tried.
    async fn identify(&self, token: &str, audiences: &[String], now: Timestamp) -> Result<Identity, String> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(format!("the token has more than {TOKEN_BYTES_MAX} bytes"));
        }
        if self.admin_token.as_ref().is_some_and(|admin| admin.is(token)) {
            let user = User::new("shoal-admin", &[MASTERS]);
            return Ok(Identity { user, audiences: Vec::new() });
        }
        if let Some((id, secret)) = bootstrap::split(token) {
            let user = bootstrap::authenticate(id, secret, self.lookup.as_ref(), now).await?;
            return Ok(Identity { user, audiences: Vec::new() });
        }
        let Some(unverified) = jwt::Unverified::read(token) else {
            return Err("it is no token of a known form".into());
        };
        if self.service_accounts.knows(&unverified.issuer) {
            return self
                .service_accounts
                .authenticate(token, &unverified, audiences, self.lookup.as_ref(), now)
                .await;
        }
        match self.issuers.iter().find(|issuer| issuer.is(&unverified.issuer)) {
            Some(issuer) => issuer.authenticate(token, &unverified, now).await,
            None => Err("its issuer is not known".into()),
        }
    }
}

impl Digest {
    fn of(secret: &str) -> Self {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, secret.as_bytes());
        Self(digest.as_ref().try_into().expect("SHA-256 has 32 bytes"))
    }

    fn is(&self, secret: &str) -> bool {
        aws_lc_rs::constant_time::verify_slices_are_equal(&self.0, &Self::of(secret).0).is_ok()
    }
}

fn authenticated(mut user: User) -> User {
    if !user.is_in(AUTHENTICATED) && !user.is_in(UNAUTHENTICATED) {
        user.groups.push(AUTHENTICATED.into());
    }
    user
}

fn anonymous(path: &str) -> Result<User, Status> {
    let is_below =
        |of: &str| path.strip_prefix(of).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    if ANONYMOUS_PATHS.iter().any(|of| is_below(of)) {
        return Ok(User::new(ANONYMOUS, &[UNAUTHENTICATED]));
    }
    Err(Status::unauthorized())
}
