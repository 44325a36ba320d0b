//! Tokens of ServiceAccounts: bound to an account, to audiences, to a time, and mostly to a pod.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use jiff::Timestamp;
use jsonwebtoken::Algorithm;
use serde_json::{Value, json};
use shoal_api::object;
use shoal_control::rbac::{User, service_account_groups, service_account_name};

use super::cache::Cache;
use super::jwt::{self, Unverified};
use super::{Identity, Keys, Lookup};
use crate::random;

/// Clocks of managers may differ by so much, as kube-apiserver has it.
const LEEWAY_SECONDS: i64 = 60;
/// The claims that Kubernetes adds.
const PRIVATE: &str = "kubernetes.io";
const EXTRA: &str = "authentication.kubernetes.io/";

/// Issues and verifies tokens of ServiceAccounts.
pub struct ServiceAccounts {
    issuer: String,
    audiences: Vec<String>,
    keys: ArcSwap<Keys>,
    verified: Cache,
}

/// What a token is bound to: it ends with that object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bound {
    /// Name and uid of a Pod.
    pub pod: Option<(String, String)>,
    /// Name and uid of a Secret.
    pub secret: Option<(String, String)>,
    /// Name and uid of a Node; the uid may be empty beside a pod whose node is not known.
    pub node: Option<(String, String)>,
}

impl ServiceAccounts {
    /// Issues as `issuer`, such as `https://kubernetes.default.svc`, which is also the audience of the API server.
    pub fn new(issuer: &str, keys: Keys) -> Self {
        Self {
            issuer: issuer.into(),
            audiences: vec![issuer.into()],
            keys: ArcSwap::from_pointee(keys),
            verified: Cache::default(),
        }
    }

    /// The audiences of the API server: those of tokens that ask for none.
    pub fn audiences(&self) -> &[String] {
        &self.audiences
    }

    /// Signs and verifies with other keys from now on.
    pub fn replace_keys(&self, keys: Keys) {
        self.keys.store(Arc::new(keys));
        self.verified.clear();
    }

    /// Issues a token for an account, given as the object is. `seconds` is how long it is valid.
    pub fn issue(
        &self,
        account: &Value,
        audiences: &[String],
        bound: &Bound,
        now: Timestamp,
        seconds: i64,
    ) -> String {
        let (namespace, name) = (object::namespace(account), object::name(account));
        let named = |name: &str, uid: &str| json!({"name": name, "uid": uid});
        let mut private =
            json!({"namespace": namespace, "serviceaccount": named(name, object::uid(account))});
        for (kind, object) in [("pod", &bound.pod), ("secret", &bound.secret), ("node", &bound.node)] {
            match object {
                Some((name, uid)) if uid.is_empty() => private[kind] = json!({"name": name}),
                Some((name, uid)) => private[kind] = named(name, uid),
                None => {}
            }
        }
        let now = now.as_second();
        self.keys.load().sign(&json!({
            "iss": self.issuer, "aud": audiences, "sub": service_account_name(namespace, name),
            "iat": now, "nbf": now, "exp": now + seconds, "jti": random::uuid(), PRIVATE: private,
        }))
    }

    /// The public keys: `/openid/v1/jwks`, as `application/jwk-set+json`.
    pub fn jwks(&self) -> Value {
        self.keys.load().to_jwks()
    }

    /// What issuers say of themselves: `/.well-known/openid-configuration`. `url` is where clients reach the server.
    pub fn configuration(&self, url: &str) -> Value {
        json!({
            "issuer": self.issuer, "jwks_uri": format!("{}/openid/v1/jwks", url.trim_end_matches('/')),
            "response_types_supported": ["id_token"], "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["ES256"],
        })
    }

    pub(super) fn knows(&self, issuer: &str) -> bool {
        self.issuer == issuer
    }

    /// Whose token it is, and for which of the audiences.
    ///
    /// # Errors
    /// With what is wrong, in the words of kube-apiserver.
    pub(super) async fn authenticate(
        &self,
        token: &str,
        unverified: &Unverified,
        audiences: &[String],
        lookup: &dyn Lookup,
        now: Timestamp,
    ) -> Result<Identity, String> {
        let claims = self.verified_claims(token, unverified)?;
        let meant: Vec<String> = {
            let own = jwt::audiences(&claims);
            let shared: Vec<String> =
                audiences.iter().filter(|one| own.contains(&one.as_str())).cloned().collect();
            if shared.is_empty() {
                return Err(format!(
                    "token audiences {own:?} is invalid for the target audiences {audiences:?}"
                ));
            }
            shared
        };
        jwt::check_times(&claims, now.as_second(), LEEWAY_SECONDS)
            .map_err(|what| format!("service account token {}", sentence(what)))?;
        let claimed = Claimed::new(&claims)?;
        claimed.check(lookup, now).await?;
        Ok(Identity { user: claimed.user(&claims), audiences: meant })
    }

    /// The claims, when one of the keys has signed them.
    fn verified_claims(&self, token: &str, unverified: &Unverified) -> Result<Arc<Value>, String> {
        if let Some(claims) = self.verified.get(token) {
            return Ok(claims);
        }
        if unverified.algorithm != Algorithm::ES256 {
            return Err("it is not signed by an algorithm of this server".into());
        }
        let keys = self.keys.load_full();
        let mut verifying = keys.verifying(&unverified.key_id);
        let claims = verifying.find_map(|key| jwt::verify(token, &key, unverified.algorithm));
        let claims = Arc::new(claims.ok_or("it is not signed by a key of this server")?);
        if claims["iss"] != self.issuer.as_str() {
            return Err("its issuer is not this server".into());
        }
        // Another thread may have replaced the keys meanwhile: what they had verified must not come back.
        if Arc::ptr_eq(&keys, &self.keys.load()) {
            self.verified.put(token, claims.clone());
        }
        Ok(claims)
    }
}

impl fmt::Debug for ServiceAccounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServiceAccounts").field("issuer", &self.issuer).finish_non_exhaustive()
    }
}

fn sentence(what: &str) -> String {
    match what {
        "expired" => "has expired".into(),
        "not valid yet" | "issued in the future" => format!("is {what}"),
        other => format!("has {other}"),
    }
}

/// What the claims of a token name.
struct Claimed<'a> {
    namespace: &'a str,
    account: (&'a str, &'a str),
    pod: Option<(&'a str, &'a str)>,
    secret: Option<(&'a str, &'a str)>,
    node: Option<(&'a str, &'a str)>,
}

impl<'a> Claimed<'a> {
    fn new(claims: &'a Value) -> Result<Self, String> {
        let private = &claims[PRIVATE];
        let text = |value: &'a Value| value.as_str().unwrap_or_default();
        let named = |kind: &str| {
            let object = &private[kind];
            object.is_object().then(|| (text(&object["name"]), text(&object["uid"])))
        };
        let namespace = text(&private["namespace"]);
        let account = named("serviceaccount").unwrap_or_default();
        if namespace.is_empty() || account.0.is_empty() || account.1.is_empty() {
            return Err("it names no service account".into());
        }
        if claims["sub"] != service_account_name(namespace, account.0) {
            return Err("its subject is not its service account".into());
        }
        Ok(Self { namespace, account, pod: named("pod"), secret: named("secret"), node: named("node") })
    }

    /// Whether the account, and what the token is bound to, still live.
    async fn check(&self, lookup: &dyn Lookup, now: Timestamp) -> Result<(), String> {
        let (namespace, (name, uid)) = (self.namespace, self.account);
        let account = find(lookup, "serviceaccounts", namespace, name).await?;
        let account = account.ok_or_else(|| format!("serviceaccounts {name:?} not found"))?;
        if object::uid(&account) != uid {
            return Err(format!(
                "service account UID ({}) does not match claim ({uid})",
                object::uid(&account)
            ));
        }
        if is_gone(&account, now) {
            return Err(format!("service account {namespace}/{name} has been deleted"));
        }
        // The node of a token for a pod is told, not bound: the pod ends with it.
        let node = self.node.filter(|_| self.pod.is_none());
        for (resource, kind, namespace, bound) in [
            ("secrets", "secret", namespace, self.secret),
            ("pods", "pod", namespace, self.pod),
            ("nodes", "node", "", node),
        ] {
            let Some((name, uid)) = bound else { continue };
            let found = find(lookup, resource, namespace, name).await?;
            let Some(found) = found.filter(|found| !is_gone(found, now)) else {
                return Err("service account token has been invalidated".into());
            };
            if object::uid(&found) != uid {
                let (kind, shown) = (if kind == "secret" { "secret" } else { kind }, object::uid(&found));
                return Err(format!(
                    "{kind} UID ({shown}) does not match service account {kind} ref claim ({uid})"
                ));
            }
        }
        Ok(())
    }

    fn user(&self, claims: &Value) -> User {
        let mut user = User {
            name: service_account_name(self.namespace, self.account.0),
            uid: self.account.1.into(),
            groups: service_account_groups(self.namespace),
            ..User::default()
        };
        let mut add = |key: &str, value: &str| {
            if !value.is_empty() {
                user.extra.insert(format!("{EXTRA}{key}"), vec![value.into()]);
            }
        };
        if let Some((name, uid)) = self.pod {
            add("pod-name", name);
            add("pod-uid", uid);
        }
        if let Some((name, uid)) = self.node {
            add("node-name", name);
            add("node-uid", uid);
        }
        if let Some(id) = claims["jti"].as_str() {
            add("credential-id", &format!("JTI={id}"));
        }
        user
    }
}

async fn find(
    lookup: &dyn Lookup,
    resource: &str,
    namespace: &str,
    name: &str,
) -> Result<Option<Arc<Value>>, String> {
    lookup.get(resource, namespace, name).await.map_err(|status| status.message)
}

/// Whether an object was deleted, but for so long as clocks may differ.
fn is_gone(object: &Value, now: Timestamp) -> bool {
    let Some(time) = object::deletion_timestamp(object) else { return false };
    let time = time.parse::<Timestamp>().map_or(i64::MIN, Timestamp::as_second);
    time < now.as_second() - LEEWAY_SECONDS
}
