//! Who asks, what they may do, and what is signed for them.

use std::sync::{Arc, LazyLock};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use jiff::Timestamp;
use parking_lot::RwLock;
use serde_json::{Value, json};
use shoal_api::time::Moment;
use shoal_api::{GroupVersionKind, Status, object};
use shoal_base::drain::Drain;
use shoal_control::access::Authorize;
use shoal_control::rbac::{Attributes, Authorizer, User};
use shoal_control::snapshot::Snapshot;
use tokio::sync::watch;

use crate::auth::{Authenticator, Bound, BoxFuture, Lookup};
use crate::changes::{Change, Kinds, News};
use crate::objects::Objects;
use crate::pki::Authority;
use crate::world::{View, World};

/// How long a token lives that was written into a Secret: these have no end in Kubernetes, and a very late one here.
const SECRET_TOKEN_SECONDS: i64 = 10 * 365 * 24 * 3600;

/// Who asks, what they may do, and what is signed for them.
pub struct Access {
    /// Finds out who asks.
    pub authenticator: Authenticator,
    /// Decides what they may do.
    pub authorizer: Arc<RwLock<Authorizer>>,
    authority: Arc<Authority>,
    url: String,
    /// How often somebody wanted the authorizer to know all that the world knows, and of these how many it has heard.
    asked: watch::Sender<u64>,
    heard: watch::Sender<u64>,
}

/// The objects that tokens name, read from the store itself: no token outlives its account.
pub struct Accounts(pub Objects);

/// The authorizer, for those who know only that there is one.
pub struct Gate(pub Arc<RwLock<Authorizer>>);

impl Access {
    /// `url` is where clients reach the server.
    pub fn new(authenticator: Authenticator, authority: Arc<Authority>, url: &str) -> Self {
        let (asked, heard) = (watch::Sender::new(0), watch::Sender::new(0));
        Self { authenticator, authorizer: Arc::default(), authority, url: url.into(), asked, heard }
    }

    /// The public keys of tokens.
    pub fn keys(&self) -> Value {
        self.authenticator.service_accounts().jwks()
    }

    /// What the issuer of tokens says of itself.
    pub fn configuration(&self) -> Value {
        self.authenticator.service_accounts().configuration(&self.url)
    }

    /// A CertificateSigningRequest with its certificate, or with the reason why it gets none.
    pub fn signed(&self, request: &Value, now: Timestamp) -> Value {
        let mut signed = request.clone();
        match self.authority.sign(request, now) {
            Ok(certificate) => signed["status"]["certificate"] = BASE64_STANDARD.encode(certificate).into(),
            Err(refusal) => {
                let time = Moment::from_seconds(now.as_second()).to_time();
                let mut conditions = request["status"]["conditions"].as_array().cloned().unwrap_or_default();
                conditions.push(json!({
                    "type": "Failed", "status": "True", "reason": refusal.reason, "message": refusal.message,
                    "lastUpdateTime": time, "lastTransitionTime": time,
                }));
                signed["status"]["conditions"] = conditions.into();
            }
        }
        signed
    }

    /// A Secret of type `kubernetes.io/service-account-token` with the token of its account.
    pub fn minted(&self, secret: &Value, account_uid: &str, now: Timestamp) -> Value {
        let name = object::annotation(secret, "kubernetes.io/service-account.name").unwrap_or_default();
        let account = json!({
            "metadata": {"name": name, "namespace": object::namespace(secret), "uid": account_uid},
        });
        let bound = Bound {
            secret: Some((object::name(secret).into(), object::uid(secret).into())),
            ..Bound::default()
        };
        let accounts = self.authenticator.service_accounts();
        let token = accounts.issue(&account, accounts.audiences(), &bound, now, SECRET_TOKEN_SECONDS);
        let mut minted = secret.clone();
        for (field, text) in [
            ("token", token.as_str()),
            ("ca.crt", self.authority.pem()),
            ("namespace", object::namespace(secret)),
        ] {
            minted["data"][field] = BASE64_STANDARD.encode(text).into();
        }
        minted["metadata"]["annotations"]["kubernetes.io/service-account.uid"] = account_uid.into();
        minted
    }

    /// Keeps the authorizer up to date until the drain begins.
    pub async fn follow(&self, world: &World, drain: &Drain) {
        let mut changes = world.changes(Kinds::Some(KINDS.to_vec()));
        let mut asked = self.asked.subscribe();
        self.read(&world.view());
        while !drain.has_begun() {
            tokio::select! {
                // Whoever asks does so when the world has told of what they ask for.
                biased;
                news = changes.next() => match news {
                    Some(News::Changed(batch)) => self.apply(&world.view(), &batch),
                    Some(News::Missed) => self.read(&world.view()),
                    None => return,
                },
                Ok(()) = asked.changed() => {
                    self.heard.send_replace(*asked.borrow_and_update());
                }
                () = drain.begun() => return,
            }
        }
    }

    /// Waits until the authorizer knows all that the world knows now; for ever once [`Self::follow`] has ended.
    pub(crate) async fn caught_up(&self) {
        let mut heard = self.heard.subscribe();
        let mut mine = 0;
        self.asked.send_modify(|asked| {
            *asked += 1;
            mine = *asked;
        });
        // The sender lives as long as `self`.
        let _ = heard.wait_for(|heard| *heard >= mine).await;
    }

    /// Reads everything that rights depend on.
    fn read(&self, view: &View<'_>) {
        let mut authorizer = Authorizer::default();
        for kind in KINDS.iter() {
            for object in view.list(kind, None) {
                authorizer.apply(&object);
            }
        }
        *self.authorizer.write() = authorizer;
    }

    fn apply(&self, view: &View<'_>, changes: &[Change]) {
        for change in changes {
            let Some(served) = view.served(&change.table) else { continue };
            if !KINDS.contains(&served.resource.storage) {
                continue;
            }
            match (&change.is, &change.was) {
                (Some(entry), _) => {
                    if let Some(object) = view.value(entry) {
                        self.authorizer.write().apply(&object);
                    }
                }
                (None, Some(entry)) => {
                    if let Some(object) = view.value(entry) {
                        self.authorizer.write().remove(&object);
                    }
                }
                (None, None) => {}
            }
        }
    }
}

/// The kinds that rights depend on.
static KINDS: LazyLock<[GroupVersionKind; 7]> = LazyLock::new(|| {
    let rbac = |kind| GroupVersionKind::new("rbac.authorization.k8s.io", "v1", kind);
    [
        rbac("Role"),
        rbac("ClusterRole"),
        rbac("RoleBinding"),
        rbac("ClusterRoleBinding"),
        GroupVersionKind::new("", "v1", "Pod"),
        GroupVersionKind::new("", "v1", "PersistentVolume"),
        GroupVersionKind::new("storage.k8s.io", "v1", "VolumeAttachment"),
    ]
});

impl Lookup for Accounts {
    fn get<'a>(
        &'a self,
        resource: &'a str,
        namespace: &'a str,
        name: &'a str,
    ) -> BoxFuture<'a, Result<Option<Arc<Value>>, Status>> {
        Box::pin(async move {
            let place = if namespace.is_empty() { name.to_owned() } else { format!("{namespace}/{name}") };
            let found = self.0.get(format!("/registry/core/{resource}/{place}").as_bytes()).await?;
            found.map(|stored| stored.value().map(Arc::new)).transpose()
        })
    }
}

impl Authorize for Gate {
    fn allows(&self, user: &User, asked: &Attributes<'_>) -> bool {
        self.0.read().authorize(user, asked).allowed
    }
}
