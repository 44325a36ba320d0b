//! Carries out what controllers planned: as requests of their own, through admission and all, without a socket.

use std::sync::Arc;

use serde_json::{Value, json};
use shoal_api::{GroupVersionKind, Status, object};
use shoal_control::plan::{Key, Propagation, Write};
use shoal_control::rbac::User;

use crate::api::{Api, Request};
use crate::delete;
use crate::options::{self, DeleteOptions, WriteOptions};
use crate::patch::Form;
use crate::registry::Served;
use crate::subresource::binding;
use crate::write::Writer;

/// Writes in the name of one controller.
pub(crate) struct Executor {
    api: Arc<Api>,
    user: Arc<User>,
    options: WriteOptions,
    component: &'static str,
}

impl Executor {
    /// For the controller of this name; `manager` owns the fields that it writes.
    pub(crate) fn new(api: Arc<Api>, name: &'static str, manager: &str) -> Self {
        let user = User {
            name: format!("system:serviceaccount:kube-system:{name}"),
            groups: [
                "system:serviceaccounts",
                "system:serviceaccounts:kube-system",
                "system:authenticated",
                "system:masters",
            ]
            .map(str::to_owned)
            .to_vec(),
            ..User::default()
        };
        let options = WriteOptions { field_manager: manager.into(), ..WriteOptions::default() };
        Self { api, user: Arc::new(user), options, component: name }
    }

    /// Tells what it tells in another name.
    #[must_use]
    pub(crate) fn telling_as(self, component: &'static str) -> Self {
        Self { component, ..self }
    }

    /// Carries out one change; gives the name of its object.
    ///
    /// # Errors
    /// Those of the request that it is.
    pub(crate) async fn write(&self, write: Write) -> Result<String, Status> {
        let named = match &write {
            Write::Create { .. } => String::new(),
            Write::Update { object, .. } => object::name(object).to_owned(),
            Write::Patch { key, .. }
            | Write::Delete { key, .. }
            | Write::Bind { pod: key, .. }
            | Write::Sign { key, .. }
            | Write::MintToken { key, .. } => key.name.clone(),
        };
        if let Write::Create { kind, object } = write {
            return self.create(&kind, object).await;
        }
        self.alter(write).await.map(|()| named)
    }

    async fn alter(&self, write: Write) -> Result<(), Status> {
        match write {
            Write::Create { kind, object } => self.create(&kind, object).await.map(|_| ()),
            Write::Bind { pod, uid, node } => {
                let served = self.served(&pod.kind)?;
                let request = Request::of(self.user.clone(), &served, &pod.namespace, &pod.name);
                let binding = json!({"metadata": {"uid": uid}});
                let now = self.api.now();
                let bound = |old: &Value| binding::bound(&served, old, &binding, &node, &now);
                self.writer(&served, &request, "binding").change(bound).await.map(|_| ())
            }
            Write::Update { kind, subresource, object } => {
                let key = Key::of(&kind, &object);
                self.change(&key, subresource, |_| Ok(object.clone())).await
            }
            Write::Patch { key, subresource, patch } => {
                self.change(&key, subresource, |old| Form::Merge.patched(None, old, &patch)).await
            }
            Write::Delete { key, uid, resource_version, propagation, grace_period_seconds } => {
                let options = DeleteOptions {
                    uid: Some(uid),
                    resource_version,
                    propagation: propagation.map(wish),
                    grace_period_seconds: grace_period_seconds.map(i64::from),
                    dry_run: false,
                };
                let served = self.served(&key.kind)?;
                let request = Request::of(self.user.clone(), &served, &key.namespace, &key.name);
                delete::remove(&self.api, &served, &request, &key.namespace, &key.name, &options)
                    .await
                    .map(|_| ())
            }
            Write::Sign { key, resource_version } => {
                self.change(&key, "status", |old| {
                    at(old, &resource_version)?;
                    Ok(self.api.access.signed(old, self.api.timestamp()))
                })
                .await
            }
            Write::MintToken { key, resource_version, account_uid } => {
                self.change(&key, "", |old| {
                    at(old, &resource_version)?;
                    Ok(self.api.access.minted(old, &account_uid, self.api.timestamp()))
                })
                .await
            }
        }
    }

    /// Who says events.
    pub(crate) fn component(&self) -> &'static str {
        self.component
    }

    /// Makes an object; gives its name.
    async fn create(&self, kind: &GroupVersionKind, object: Value) -> Result<String, Status> {
        let served = self.served(kind)?;
        let request =
            Request::of(self.user.clone(), &served, object::namespace(&object), object::name(&object));
        let write = self.writer(&served, &request, "");
        let written = write.create(object).await?;
        let key = written.stored.key;
        let name = key.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
        Ok(String::from_utf8_lossy(name).into_owned())
    }

    async fn change(
        &self,
        key: &Key,
        subresource: &str,
        change: impl Fn(&Value) -> Result<Value, Status>,
    ) -> Result<(), Status> {
        let served = self.served(&key.kind)?;
        let request = Request::of(self.user.clone(), &served, &key.namespace, &key.name);
        self.writer(&served, &request, subresource).change(change).await.map(|_| ())
    }

    fn writer<'a>(&'a self, served: &'a Served, request: &'a Request, subresource: &'a str) -> Writer<'a> {
        Writer { api: &self.api, served, request, options: &self.options, subresource, tracks: true }
    }

    fn served(&self, kind: &GroupVersionKind) -> Result<Arc<Served>, Status> {
        let registry = self.api.registry.load();
        registry.of_kind(kind).cloned().ok_or_else(Status::no_such_path)
    }
}

/// Refuses to change another version than was planned for.
fn at(object: &Value, resource_version: &str) -> Result<(), Status> {
    if object::resource_version(object) == resource_version {
        return Ok(());
    }
    Err(Status::new(409, "Conflict", "the object has changed since it was planned for"))
}

fn wish(propagation: Propagation) -> options::Propagation {
    match propagation {
        Propagation::Background => options::Propagation::Background,
        Propagation::Foreground => options::Propagation::Foreground,
        Propagation::Orphan => options::Propagation::Orphan,
    }
}
