//! Tokens of other issuers (OpenID Connect).

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use http::Uri;
use jiff::Timestamp;
use jsonwebtoken::jwk::{Jwk, JwkSet, KeyAlgorithm};
use jsonwebtoken::{Algorithm, DecodingKey};
use rustls::ClientConfig;
use serde_json::Value;
use shoal_control::rbac::User;
use tokio::sync::Mutex;

use super::Identity;
use super::cache::Cache;
use super::jwt::{self, Unverified};
use crate::https;

/// Clocks of an issuer and ours may differ by so much.
const LEEWAY_SECONDS: i64 = 60;
/// A token with an unknown key makes us ask for new keys at most so often: strangers can send such tokens.
const FETCH_EVERY_SECONDS: i64 = 10;
/// Keys are asked for anew after so long, so that one that was taken away is not believed for ever.
const KEYS_FRESH_SECONDS: i64 = 3600;
/// While the issuer cannot be reached its keys are believed for so long: its users go on through an outage.
const KEYS_STALE_SECONDS: i64 = 24 * 3600;
/// Keys of one issuer that are looked at.
const KEYS_MAX: usize = 64;
/// What is believed when nobody says: the algorithms of asymmetric keys that issuers use.
const ALGORITHMS: &[Algorithm] = &[Algorithm::RS256, Algorithm::ES256];

/// An issuer, and what its tokens mean here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OidcConfig {
    /// `https://accounts.example.com`, just as `iss` says it.
    pub issuer: String,
    /// A token must be meant for one of these.
    pub audiences: Vec<String>,
    /// The claim with the user's name; empty for `sub`.
    pub username_claim: String,
    /// What is put before the name. None for `ISSUER#`, or for nothing when the claim is `email`.
    pub username_prefix: Option<String>,
    /// The claim with the user's groups, a text or a list of texts; empty for none.
    pub groups_claim: String,
    /// What is put before each group.
    pub groups_prefix: String,
    /// Claims that must have these values.
    pub required_claims: BTreeMap<String, String>,
    /// PEM file of the authorities that the issuer's certificate must come from; none for the public ones.
    pub certificate_authority: Option<PathBuf>,
    /// `RS256`, `ES256`, …; empty for these two.
    pub algorithms: Vec<String>,
}

/// An issuer that cannot be used as it is configured.
#[derive(Debug, thiserror::Error)]
#[error("OIDC issuer {issuer:?}: {why}")]
pub struct OidcError {
    issuer: String,
    why: String,
}

/// Verifies the tokens of one issuer.
pub struct Oidc {
    config: OidcConfig,
    algorithms: Vec<Algorithm>,
    client: Arc<ClientConfig>,
    keys: ArcSwapOption<Fetched>,
    /// When the keys were asked for last, in seconds since 1970; locked while they are.
    asked: Mutex<Option<i64>>,
    verified: Cache,
}

/// Keys, and when they arrived, in seconds since 1970.
struct Fetched {
    keys: Vec<Jwk>,
    arrived: i64,
}

impl Oidc {
    /// Reads the configuration; asks the issuer for its keys when the first token comes.
    ///
    /// # Errors
    /// When the configuration makes no sense.
    pub fn new(config: OidcConfig) -> Result<Self, OidcError> {
        let wrong = |why: String| OidcError { issuer: config.issuer.clone(), why };
        let url: Uri = config.issuer.parse().map_err(|_| wrong("the issuer is no URL".into()))?;
        if url.scheme_str() != Some("https") || url.authority().is_none() || url.query().is_some() {
            return Err(wrong("the issuer must be an https URL without a query".into()));
        }
        if config.audiences.is_empty() || config.audiences.iter().any(String::is_empty) {
            return Err(wrong("it needs an audience: the client id that its tokens are for".into()));
        }
        if config.groups_prefix.is_empty() && !config.groups_claim.is_empty() {
            tracing::warn!(
                issuer = config.issuer,
                "groups have no prefix: the issuer can make anybody a master"
            );
        }
        let algorithm = |name: &String| {
            let known = name.parse::<Algorithm>().ok().filter(|algorithm| !is_symmetric(*algorithm));
            known.ok_or_else(|| wrong(format!("{name:?} is no algorithm of asymmetric keys")))
        };
        let algorithms = match config.algorithms.as_slice() {
            [] => ALGORITHMS.to_vec(),
            names => names.iter().map(algorithm).collect::<Result<_, _>>()?,
        };
        let client = https::client(config.certificate_authority.as_deref()).map_err(wrong)?;
        Ok(Self {
            config,
            algorithms,
            client,
            keys: ArcSwapOption::empty(),
            asked: Mutex::default(),
            verified: Cache::default(),
        })
    }

    pub(super) fn is(&self, issuer: &str) -> bool {
        self.config.issuer == issuer
    }

    /// Whose token it is.
    ///
    /// # Errors
    /// With what is wrong, after `oidc: `.
    pub(super) async fn authenticate(
        &self,
        token: &str,
        unverified: &Unverified,
        now: Timestamp,
    ) -> Result<Identity, String> {
        self.identify(token, unverified, now.as_second()).await.map_err(|why| format!("oidc: {why}"))
    }

    async fn identify(&self, token: &str, unverified: &Unverified, now: i64) -> Result<Identity, String> {
        let claims = self.verified_claims(token, unverified, now).await?;
        let own = jwt::audiences(&claims);
        let audiences: Vec<String> =
            self.config.audiences.iter().filter(|one| own.contains(&one.as_str())).cloned().collect();
        if audiences.is_empty() {
            return Err(format!(
                "verify token: expected audience in {:?} got {own:?}",
                self.config.audiences
            ));
        }
        jwt::check_times(&claims, now, LEEWAY_SECONDS)
            .map_err(|what| format!("verify token: it has {what}"))?;
        for (claim, value) in &self.config.required_claims {
            if claims[claim] != value.as_str() {
                return Err(format!("required claim {claim} is not {value}"));
            }
        }
        // The audiences are those of the issuer's clients, not of this server: a review must not pass them on.
        Ok(Identity { user: self.user(&claims)?, audiences: Vec::new() })
    }

    fn user(&self, claims: &Value) -> Result<User, String> {
        let claim = if self.config.username_claim.is_empty() { "sub" } else { &self.config.username_claim };
        let name = claims[claim].as_str().filter(|name| !name.is_empty());
        let name = name.ok_or_else(|| format!("parse username claims {claim:?}: claim not present"))?;
        if claim == "email" && claims.get("email_verified").is_some_and(|verified| verified != true) {
            return Err("email not verified".into());
        }
        let prefix = match &self.config.username_prefix {
            Some(prefix) => prefix.clone(),
            None if claim == "email" => String::new(),
            None => format!("{}#", self.config.issuer),
        };
        let mut user = User { name: format!("{prefix}{name}"), ..User::default() };
        if let Some(id) = claims["jti"].as_str().filter(|id| !id.is_empty()) {
            user.extra.insert("authentication.kubernetes.io/credential-id".into(), vec![format!("JTI={id}")]);
        }
        if self.config.groups_claim.is_empty() {
            return Ok(user);
        }
        let prefixed = |group: &str| format!("{}{group}", self.config.groups_prefix);
        match &claims[&self.config.groups_claim] {
            Value::Null => {}
            Value::String(group) => user.groups.push(prefixed(group)),
            Value::Array(groups) if groups.iter().all(Value::is_string) => {
                user.groups.extend(groups.iter().filter_map(Value::as_str).map(prefixed));
            }
            _ => {
                return Err(format!(
                    "parse groups claim {:?}: it is no list of texts",
                    self.config.groups_claim
                ));
            }
        }
        Ok(user)
    }

    /// The claims, when one of the issuer's keys has signed them.
    async fn verified_claims(
        &self,
        token: &str,
        unverified: &Unverified,
        now: i64,
    ) -> Result<Arc<Value>, String> {
        if !self.algorithms.contains(&unverified.algorithm) {
            return Err(format!(
                "verify token: it is signed by {:?}, which is not believed",
                unverified.algorithm
            ));
        }
        let is_younger = |keys: &Arc<Fetched>, seconds: i64| now < keys.arrived.saturating_add(seconds);
        if let Some(keys) = self.keys.load_full().filter(|keys| is_younger(keys, KEYS_FRESH_SECONDS)) {
            if let Some(claims) = self.verified.get(token) {
                return Ok(claims);
            }
            if let Some(claims) = verified_by(&keys.keys, token, unverified) {
                return self.remembered(token, claims, &keys);
            }
        }
        let fetched = self.fetch(now).await;
        let Some(keys) = self.keys.load_full().filter(|keys| is_younger(keys, KEYS_STALE_SECONDS)) else {
            fetched?;
            return Err("verify token: the keys of the issuer are not known yet".into());
        };
        match verified_by(&keys.keys, token, unverified) {
            Some(claims) => self.remembered(token, claims, &keys),
            None => Err("verify token: failed to verify signature".into()),
        }
    }

    fn remembered(&self, token: &str, claims: Value, by: &Arc<Fetched>) -> Result<Arc<Value>, String> {
        if claims["iss"] != self.config.issuer.as_str() {
            return Err("verify token: id token issued by a different provider".into());
        }
        let claims = Arc::new(claims);
        // Newer keys may have come meanwhile: what only the old ones verify must not be remembered.
        if self.keys.load().as_ref().is_some_and(|keys| Arc::ptr_eq(keys, by)) {
            self.verified.put(token, claims.clone());
        }
        Ok(claims)
    }

    /// Asks the issuer for its keys, unless somebody did just now. Those who know a key do not wait for it.
    async fn fetch(&self, now: i64) -> Result<(), String> {
        let mut asked = self.asked.lock().await;
        if asked.is_some_and(|asked| now < asked + FETCH_EVERY_SECONDS) {
            return Ok(());
        }
        *asked = Some(now);
        let keys = self.fetch_keys().await.inspect_err(|why| {
            tracing::warn!(
                issuer = self.config.issuer,
                error = why,
                "cannot fetch the keys of an OIDC issuer"
            );
        })?;
        self.keys.store(Some(Arc::new(Fetched { keys, arrived: now })));
        self.verified.clear();
        Ok(())
    }

    async fn fetch_keys(&self) -> Result<Vec<Jwk>, String> {
        let url = format!("{}/.well-known/openid-configuration", self.config.issuer.trim_end_matches('/'));
        let document: Value = parsed(&self.get(&url).await?, &url)?;
        if document["issuer"] != self.config.issuer.as_str() {
            return Err(format!("{url} is of another issuer"));
        }
        let url = document["jwks_uri"].as_str().ok_or_else(|| format!("{url} has no jwks_uri"))?;
        let mut set: JwkSet = serde_json::from_slice(&self.get(url).await?)
            .map_err(|error| format!("{url} is no set of keys: {error}"))?;
        set.keys.truncate(KEYS_MAX);
        Ok(set.keys)
    }

    async fn get(&self, url: &str) -> Result<Bytes, String> {
        let uri: Uri = url.parse().map_err(|_| format!("{url:?} is no URL"))?;
        https::get(&self.client, &uri).await.map_err(|error| error.to_string())
    }
}

impl fmt::Debug for Oidc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Oidc").field("config", &self.config).finish_non_exhaustive()
    }
}

fn is_symmetric(algorithm: Algorithm) -> bool {
    matches!(algorithm, Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512)
}

fn parsed(bytes: &[u8], url: &str) -> Result<Value, String> {
    serde_json::from_slice(bytes).map_err(|error| format!("{url} is no JSON: {error}"))
}

/// The claims, when one of the keys has signed them by the algorithm that the token says, which was believed before.
fn verified_by(keys: &[Jwk], token: &str, unverified: &Unverified) -> Option<Value> {
    let named = keys.iter().filter(|key| {
        let id = key.common.key_id.as_deref().unwrap_or_default();
        unverified.key_id.is_empty() || id.is_empty() || id == unverified.key_id
    });
    let fitting = named.filter(|key| match key.common.key_algorithm {
        None => true,
        Some(algorithm) => is_same(algorithm, unverified.algorithm),
    });
    let mut keys = fitting.filter_map(|key| DecodingKey::from_jwk(key).ok());
    keys.find_map(|key| jwt::verify(token, &key, unverified.algorithm))
}

fn is_same(named: KeyAlgorithm, algorithm: Algorithm) -> bool {
    named.to_string().parse::<Algorithm>().is_ok_and(|named| named == algorithm)
}
