//! The one door: what every engine can do.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;

use crate::{
    Change, Committed, Conflict, Error, Expect, Lease, LeaseId, Object, Outcome, Result, Revision,
    Transaction, Watch, WatchOptions, Write,
};

/// Versioned objects by key.
///
/// Reads without a revision are linearizable: they see every write that was acknowledged before they began.
/// Dropping the future of a write does not undo it.
pub trait Store: Send + Sync + 'static {
    /// One object, now or at an earlier revision.
    ///
    /// # Errors
    /// [`Error::Compacted`], [`Error::Future`], and those of the engine.
    fn get<'a>(&'a self, key: &'a [u8], at: Option<Revision>) -> BoxFuture<'a, Result<Got>>;

    /// The objects whose keys begin with `prefix`, in the order of their keys; all of one revision.
    ///
    /// # Errors
    /// [`Error::Compacted`], [`Error::Future`], and those of the engine.
    fn list<'a>(&'a self, prefix: &'a [u8], options: ListOptions) -> BoxFuture<'a, Result<Page>>;

    /// How many objects there are whose keys begin with `prefix`.
    ///
    /// # Errors
    /// Those of the engine.
    fn count<'a>(&'a self, prefix: &'a [u8]) -> BoxFuture<'a, Result<Count>>;

    /// Writes, if each key holds what is expected. When this returns, it is on the disk.
    ///
    /// # Errors
    /// What [`Transaction::validate`] refuses, [`Error::LeaseNotFound`], [`Error::NoSpace`],
    /// [`Error::Unavailable`]; after [`Error::OutcomeUnknown`] it may have happened.
    fn transact(&self, transaction: Transaction) -> BoxFuture<'_, Result<Outcome>>;

    /// Every change of keys that begin with `prefix`, from a revision on or from now on.
    ///
    /// # Errors
    /// [`Error::Compacted`] when that revision is gone, here or from the first [`Watch::next`].
    fn watch<'a>(&'a self, prefix: &'a [u8], options: WatchOptions) -> BoxFuture<'a, Result<Watch>>;

    /// The revision that the store is at; no write that was acknowledged before is later.
    ///
    /// # Errors
    /// Those of the engine.
    fn progress(&self) -> BoxFuture<'_, Result<Revision>>;

    /// Forgets what no read at `revision` or later can see.
    ///
    /// # Errors
    /// [`Error::Compacted`] when that has been done for this revision or a later one, [`Error::Future`].
    fn compact(&self, revision: Revision) -> BoxFuture<'_, Result<()>>;

    /// A new lease, lengthened to the shortest life that the engine can keep.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a life past [`LEASE_TTL_MAX`](crate::limits::LEASE_TTL_MAX).
    fn lease_grant(&self, ttl: Duration) -> BoxFuture<'_, Result<Lease>>;

    /// Begins the life of a lease anew.
    ///
    /// # Errors
    /// [`Error::LeaseNotFound`].
    fn lease_keep_alive(&self, id: LeaseId) -> BoxFuture<'_, Result<Lease>>;

    /// Ends a lease and deletes its keys, all in one revision. Returns the revision that the store is at then.
    ///
    /// # Errors
    /// [`Error::LeaseNotFound`].
    fn lease_revoke(&self, id: LeaseId) -> BoxFuture<'_, Result<Revision>>;

    /// How the store is.
    ///
    /// # Errors
    /// Those of the engine.
    fn status(&self) -> BoxFuture<'_, Result<Status>>;

    /// Writes something durably and reads it back; no object, revision or watch takes notice. Returns how long
    /// it took.
    ///
    /// # Errors
    /// Why the store cannot serve.
    fn health(&self) -> BoxFuture<'_, Result<Duration>>;

    /// Whether other processes may have the same store open.
    fn is_shared(&self) -> bool {
        false
    }

    /// What was counted, as Prometheus text.
    fn metrics(&self) -> String;

    /// Creates or changes one object.
    ///
    /// # Errors
    /// Those of [`Store::transact`].
    fn put_if(
        &self,
        key: Bytes,
        value: Bytes,
        expect: Expect,
        lease: Option<LeaseId>,
    ) -> BoxFuture<'_, Result<Put>> {
        let write = Write { key, expect, change: Change::Put { value, lease } };
        Box::pin(async move {
            Ok(match self.transact(write.into()).await? {
                Outcome::Committed(Committed { revision, .. }) => Ok(revision),
                Outcome::Conflict(conflict) => Err(one(conflict)?),
            })
        })
    }

    /// Deletes one object.
    ///
    /// # Errors
    /// Those of [`Store::transact`].
    fn delete_if(&self, key: Bytes, expect: Revision) -> BoxFuture<'_, Result<Deleted>> {
        Box::pin(async move {
            Ok(match self.transact(Write::delete(key, expect).into()).await? {
                Outcome::Committed(Committed { revision, mut deleted }) => {
                    let object = deleted.pop();
                    Ok((
                        revision,
                        object.ok_or_else(|| Error::Corrupt("a delete without its object".into()))?,
                    ))
                }
                Outcome::Conflict(conflict) => Err(one(conflict)?),
            })
        })
    }
}

/// How [`Store::put_if`] ended: the revision of the write, or what is there instead and the revision of the store.
pub type Put = Result<Revision, (Option<Arc<Object>>, Revision)>;

/// How [`Store::delete_if`] ended: the revision of the deletion and what was deleted, or as in [`Put`].
pub type Deleted = Result<(Revision, Arc<Object>), (Option<Arc<Object>>, Revision)>;

/// An object, or its absence, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Got {
    /// None: the key did not exist.
    pub object: Option<Arc<Object>>,
    /// The revision that the store is at, also when an earlier one was asked for.
    pub revision: Revision,
}

/// What of a list is wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListOptions {
    /// None: now. The second page of a list asks for the revision of the first.
    pub at: Option<Revision>,
    /// Most objects in the page; 0: all of them.
    pub limit: usize,
    /// Only keys after this one: the last of the page before.
    pub after: Option<Bytes>,
    /// Leaves the values out.
    pub keys_only: bool,
    /// Does not ask for [`Page::count`]: an engine may have to look at every object for it.
    pub uncounted: bool,
}

/// One page of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// In the order of their keys.
    pub objects: Vec<Arc<Object>>,
    /// How many objects this page and those after it hold; at least those of this page when it was not asked for.
    pub count: u64,
    /// Whether there are objects after the last of this page.
    pub more: bool,
    /// The revision of the list: the one asked for, or the one that the store is at.
    pub revision: Revision,
}

/// A number of objects, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Count {
    /// How many.
    pub count: u64,
    /// The revision that the store is at.
    pub revision: Revision,
}

/// How a store is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// `sqlite`, `etcd 3.5.26` or `model`.
    pub engine: String,
    /// Where it is.
    pub revision: Revision,
    /// The oldest revision that can be read, where the engine tells.
    pub compacted: Option<Revision>,
    /// Size of the database on the disk, free space in it included, in bytes.
    pub db_bytes: u64,
    /// Watches that are open in this process.
    pub watchers: usize,
    /// Whether [`Watch::request_progress`] can be relied on.
    pub progress_trusted: bool,
    /// Whether a watch can start at the very revision of a compaction, and not only after it.
    pub watch_at_compaction: bool,
    /// What the operator should know, one sentence each.
    pub warnings: Vec<String>,
}

fn one(mut conflict: Conflict) -> Result<(Option<Arc<Object>>, Revision)> {
    let current = conflict.current.pop();
    Ok((current.ok_or_else(|| Error::Corrupt("a conflict without its key".into()))?, conflict.revision))
}
