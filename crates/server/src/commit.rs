//! What admission let through, in the store: one transaction, with all that must hold at the same moment.

use bytes::Bytes;
use serde_json::Value;
use shoal_api::{Status, object};
use shoal_control::known::EVENT;
use shoal_store::{Change, Expect, LeaseId, Transaction, Write};

use crate::admit::Admission;
use crate::allocate;
use crate::convert;
use crate::delete::is_done;
use crate::objects::Stored;
use crate::registry::Served;
use crate::stored;

/// What was written.
pub(crate) struct Written {
    /// The object, as it is now.
    pub stored: Stored,
    /// What the client should be told.
    pub warnings: Vec<String>,
    /// Whether it did not exist before.
    pub created: bool,
}

/// Makes an object; none: something that it rests on changed meanwhile.
///
/// # Errors
/// 409: there is one of this name; and those of the store.
pub(crate) async fn create(
    admission: &Admission<'_>,
    served: &Served,
    object: &Value,
    dry_run: bool,
) -> Result<Option<Stored>, Status> {
    let objects = &admission.api.objects;
    let (namespace, name) = (object::namespace(object), object::name(object));
    let key = served.key(namespace, name);
    let mut object = std::borrow::Cow::Borrowed(object);
    let mut extra = allocate::create(admission, served, &mut object).await?;
    extra.extend(admission.charges(&object, None).await?);
    let bytes = encode(admission, served, &object).await?;
    let taken = || Err(Status::already_exists(served.named(), name));
    if dry_run {
        let exists = objects.get(&key).await?.is_some();
        return if exists {
            taken()
        } else {
            Ok(Some(Stored { key, bytes, revision: shoal_store::Revision(0) }))
        };
    }
    if served.resource.namespaced {
        extra.extend(namespace_stays(admission, namespace).await?);
    }
    let lease = lease(admission, served).await?;
    let value = objects.close(&key, &bytes);
    let mut writes =
        vec![Write { key: key.clone(), expect: Expect::Absent, change: Change::Put { value, lease } }];
    writes.extend(extra);
    match objects.transact(Transaction { writes }).await? {
        Some(revision) => Ok(Some(Stored { key, bytes, revision })),
        None if objects.get(&key).await?.is_some() => taken(),
        None => Ok(None),
    }
}

/// Puts an object in place of what was read, or deletes it when that was all it waited for; none: it changed meanwhile.
///
/// # Errors
/// Those of the store.
pub(crate) async fn update(
    admission: &Admission<'_>,
    served: &Served,
    current: &Stored,
    old: &Value,
    mut new: Value,
    dry_run: bool,
) -> Result<Option<Stored>, Status> {
    let api = admission.api;
    let mut extra = allocate::update(admission, served, old, &mut new).await?;
    let bytes = encode(admission, served, &new).await?;
    if *bytes == *current.bytes {
        return Ok(Some(current.clone()));
    }
    let written = |revision| Some(Stored { key: current.key.clone(), bytes: bytes.clone(), revision });
    if is_done(served, &new) {
        let gone = delete(admission, served, current, old, dry_run).await?;
        return Ok(gone.and_then(|_| written(current.revision)));
    }
    if dry_run {
        return Ok(written(current.revision));
    }
    extra.extend(admission.charges(&new, Some(old)).await?);
    let value = api.objects.close(&current.key, &bytes);
    let lease = lease(admission, served).await?;
    let mut writes = vec![Write {
        key: current.key.clone(),
        expect: Expect::At(current.revision),
        change: Change::Put { value, lease },
    }];
    writes.extend(extra);
    // What somebody looks at will be looked at again.
    let is_read = !served.is_converted() && api.world.view().read_before(current).is_some();
    let revision = api.objects.transact(Transaction { writes }).await?;
    let stored = revision.and_then(written);
    if let Some(stored) = stored.as_ref().filter(|_| is_read) {
        api.world.hand_over(stored, new);
    }
    Ok(stored)
}

/// Deletes an object; none: it changed meanwhile. Returns what it was.
///
/// # Errors
/// Those of the store.
pub(crate) async fn delete(
    admission: &Admission<'_>,
    served: &Served,
    current: &Stored,
    old: &Value,
    dry_run: bool,
) -> Result<Option<Value>, Status> {
    if dry_run {
        return Ok(Some(old.clone()));
    }
    let mut writes = vec![Write::delete(current.key.clone(), current.revision)];
    writes.extend(allocate::release(admission, served, old).await?);
    let revision = admission.api.objects.transact(Transaction { writes }).await?;
    Ok(revision.map(|revision| {
        let mut gone = old.clone();
        gone["metadata"]["resourceVersion"] = revision.to_string().into();
        gone
    }))
}

/// An object as it is stored, in the version that its resource is stored in.
async fn encode(admission: &Admission<'_>, served: &Served, object: &Value) -> Result<Bytes, Status> {
    if served.is_converted() {
        let object = convert::to_storage(admission.api, served, object).await?;
        return Ok(stored::encode(&object).into());
    }
    Ok(stored::encode(object).into())
}

/// A look at the namespace that holds only while the namespace is what it is, so that nothing is made in one that is
/// being deleted. None: the object's kind is allowed to be there before its namespace.
async fn namespace_stays(admission: &Admission<'_>, namespace: &str) -> Result<Option<Write>, Status> {
    let key = admission.api.namespace_key(namespace);
    let found = admission.api.objects.get(&key).await?;
    Ok(found.map(|namespace| Write::check(key, Expect::At(namespace.revision))))
}

/// Events end by themselves.
async fn lease(admission: &Admission<'_>, served: &Served) -> Result<Option<LeaseId>, Status> {
    if served.resource.storage != *EVENT {
        return Ok(None);
    }
    admission.api.event_leases.current(admission.api.objects.store()).await.map(Some)
}
