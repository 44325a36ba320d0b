//! Secrets that hold tokens: those of service accounts are filled and go with their account, those that let
//! machines join go when their time is over.

use serde_json::Value;
use shoal_api::time::Moment;
use shoal_api::{GroupVersionKind, object};

use crate::known::{SECRET, SERVICE_ACCOUNT};
use crate::plan::{Controller, Interest, Key, Plan, Write};
use crate::snapshot::Snapshot;

/// Type of a Secret that holds a service account's token.
pub const ACCOUNT_TOKEN: &str = "kubernetes.io/service-account-token";

/// Type of a Secret that lets a machine join.
pub const BOOTSTRAP_TOKEN: &str = "bootstrap.kubernetes.io/token";

/// Annotation of a Secret: the name of its service account.
pub const ACCOUNT_NAME: &str = "kubernetes.io/service-account.name";

/// Annotation of a Secret: the identity of its service account.
pub const ACCOUNT_UID: &str = "kubernetes.io/service-account.uid";

/// Fills Secrets of type `kubernetes.io/service-account-token`, and deletes those whose account is gone.
pub struct AccountTokens;

/// Deletes bootstrap tokens that have expired.
pub struct BootstrapTokens;

impl Controller for AccountTokens {
    fn name(&self) -> &'static str {
        "tokens-controller"
    }

    fn interests(&self) -> Vec<Interest> {
        vec![Interest::own(&SECRET), Interest::of(&SERVICE_ACCOUNT, secrets_of)]
    }

    fn plan(&self, world: &dyn Snapshot, key: &Key, _: Moment) -> Plan {
        let Some(secret) = world.get(&SECRET, &key.namespace, &key.name) else { return Plan::default() };
        let Some(name) =
            object::annotation(&secret, ACCOUNT_NAME).filter(|_| secret["type"] == ACCOUNT_TOKEN)
        else {
            return Plan::default();
        };
        let known = object::annotation(&secret, ACCOUNT_UID).unwrap_or_default();
        let account = world.get(&SERVICE_ACCOUNT, &key.namespace, name);
        let is_it = |account: &Value| known.is_empty() || known == object::uid(account);
        let Some(account) = account.filter(|account| is_it(account)) else {
            return Plan::write(Write::delete_unchanged(&SECRET, &secret, None));
        };
        let whole = ["token", "ca.crt", "namespace"]
            .iter()
            .all(|field| secret["data"][field].as_str().is_some_and(|text| !text.is_empty()));
        if whole && !known.is_empty() {
            return Plan::default();
        }
        Plan::write(Write::MintToken {
            key: key.clone(),
            resource_version: object::resource_version(&secret).into(),
            account_uid: object::uid(&account).into(),
        })
    }
}

impl Controller for BootstrapTokens {
    fn name(&self) -> &'static str {
        "token-cleaner-controller"
    }

    fn interests(&self) -> Vec<Interest> {
        vec![Interest::own(&SECRET)]
    }

    fn plan(&self, world: &dyn Snapshot, key: &Key, now: Moment) -> Plan {
        let secret = world.get(&SECRET, &key.namespace, &key.name);
        let is_token = |secret: &Value| secret["type"] == BOOTSTRAP_TOKEN;
        let Some(secret) = secret.filter(|secret| key.namespace == "kube-system" && is_token(secret)) else {
            return Plan::default();
        };
        let Some(expiration) = expiration(&secret) else { return Plan::default() };
        if expiration <= now {
            return Plan::write(Write::delete_unchanged(&SECRET, &secret, None));
        }
        Plan { requeue_at: Some(expiration), ..Plan::default() }
    }
}

/// When a token ends. One whose time cannot be read has ended.
fn expiration(secret: &Value) -> Option<Moment> {
    use base64::Engine as _;
    let encoded = secret["data"]["expiration"].as_str().filter(|text| !text.is_empty())?;
    let bytes = base64::engine::general_purpose::STANDARD.decode(encoded).unwrap_or_default();
    Some(String::from_utf8_lossy(&bytes).trim().parse().unwrap_or(Moment::from_seconds(i64::MIN)))
}

/// The Secrets that name a service account.
fn secrets_of(world: &dyn Snapshot, _: &GroupVersionKind, account: &Value) -> Vec<Key> {
    let secrets = world.list(&SECRET, Some(object::namespace(account)));
    let named = |secret: &Value| object::annotation(secret, ACCOUNT_NAME) == Some(object::name(account));
    secrets.iter().filter(|secret| named(secret)).map(|secret| Key::of(&SECRET, secret)).collect()
}
