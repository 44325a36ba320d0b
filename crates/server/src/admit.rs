//! Admission: what other objects have to say about a write. The steps are pure functions of `control`; this brings
//! them the world, and asks the webhooks.

use serde_json::Value;
use shoal_api::{GroupVersionKind, Status, object};
use shoal_control::admission::{self, Attributes, quota};
use shoal_control::{known, rbac};
use shoal_store::{Expect, Revision, Write};

use crate::access::Gate;
use crate::api::{Api, Request};
use crate::registry::Served;
use crate::{hooks, stored};

pub use shoal_control::admission::Operation;

/// A write on its way through admission.
pub struct Admission<'a> {
    /// The server.
    pub api: &'a Api,
    /// The resource.
    pub served: &'a Served,
    /// The request.
    pub request: &'a Request,
    /// What is done.
    pub operation: Operation,
    /// `status`; empty: the object itself.
    pub subresource: &'a str,
    /// Whether nothing will be kept.
    pub dry_run: bool,
}

/// Lets others change an object. Returns what the client should be told.
///
/// # Errors
/// 403, or whatever a step or webhook answers.
pub async fn mutate(
    admission: &Admission<'_>,
    object: &mut Value,
    old: Option<&Value>,
) -> Result<Vec<String>, Status> {
    admission.api.settle().await?;
    let mut warnings = admission
        .with(|attributes| admission::mutate(attributes, object, old, &admission.api.world.view()))?;
    warnings.extend(hooks::mutate(admission, object, old).await?);
    Ok(warnings)
}

/// Lets others refuse an object. Returns what the client should be told.
///
/// # Errors
/// 403, or whatever a step, policy or webhook answers.
pub async fn validate(
    admission: &Admission<'_>,
    object: &Value,
    old: Option<&Value>,
) -> Result<Vec<String>, Status> {
    admission.escalates(object, old)?;
    let mut warnings = admission
        .with(|attributes| admission::validate(attributes, object, old, &admission.api.world.view()))?;
    warnings.extend(hooks::validate(admission, object, old).await?);
    Ok(warnings)
}

/// Lets others refuse a deletion. Returns what the client should be told.
///
/// # Errors
/// As [`validate`].
pub async fn delete(admission: &Admission<'_>, old: &Value) -> Result<Vec<String>, Status> {
    admission.api.settle().await?;
    let mut nothing = Value::Null;
    let mut warnings = admission.with(|attributes| {
        admission::mutate(attributes, &mut nothing, Some(old), &admission.api.world.view())
    })?;
    warnings.extend(hooks::mutate(admission, &mut nothing, Some(old)).await?);
    warnings.extend(admission.with(|attributes| {
        admission::validate(attributes, &nothing, Some(old), &admission.api.world.view())
    })?);
    warnings.extend(hooks::validate(admission, &nothing, Some(old)).await?);
    Ok(warnings)
}

impl Admission<'_> {
    /// The changes of quotas that must be written together with an object.
    ///
    /// # Errors
    /// 403: a quota does not have so much left.
    pub async fn charges(&self, object: &Value, old: Option<&Value>) -> Result<Vec<Write>, Status> {
        if !self.served.resource.namespaced {
            return Ok(Vec::new());
        }
        let charged =
            self.with(|attributes| quota::charge(attributes, object, old, &self.api.world.view()))?;
        let registry = self.api.registry.load();
        let Some(quotas) = registry.of_kind(&known::RESOURCE_QUOTA) else { return Ok(Vec::new()) };
        let write = |quota: &Value| {
            let revision = object::resource_version(quota).parse().unwrap_or(0);
            let key = quotas.key(object::namespace(quota), object::name(quota));
            Write::put(key, stored::encode(quota), Expect::At(Revision(revision)))
        };
        Ok(charged.iter().map(write).collect())
    }

    /// Refuses a role or binding that grants what the user does not hold.
    fn escalates(&self, new: &Value, old: Option<&Value>) -> Result<(), Status> {
        let authorizer = self.api.access.authorizer.read();
        rbac::escalation::check(&authorizer, &self.request.user, new, old)
    }

    /// The kind of the object that is written, or of the options of a connection.
    pub fn kind(&self) -> GroupVersionKind {
        let connects = self.operation == Operation::Connect;
        let part = if connects { self.served.resource.subresource(self.subresource) } else { None };
        part.map_or_else(|| self.served.kind(), |part| part.kind.clone())
    }

    fn with<T>(&self, run: impl FnOnce(&Attributes<'_>) -> T) -> T {
        let kind = self.kind();
        let gate = Gate(self.api.access.authorizer.clone());
        let target = &self.request.target;
        run(&Attributes {
            kind: &kind,
            group: &kind.group,
            resource: &self.served.resource.plural,
            subresource: self.subresource,
            namespace: &target.namespace,
            name: if self.operation == Operation::Create { "" } else { &target.name },
            operation: self.operation,
            user: &self.request.user,
            authorizer: &gate,
            dry_run: self.dry_run,
            seed: self.api.random(),
            now: self.api.moment(),
        })
    }
}
