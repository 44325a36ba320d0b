//! Taking a store elsewhere: backup, restore, check, move. Of any engine, to any engine.
//!
//! A backup is a store of the embedded engine in one file: the objects of one revision, without their history. It can be
//! read with `sqlite3`, and restored to either engine.

use std::path::Path;
use std::sync::Arc;

use crate::limits::{OPERATIONS_MAX, PAGE_OBJECTS, REQUEST_BYTES_MAX};
use crate::sqlite::file;
use crate::{Error, Expect, ListOptions, Object, Outcome, Result, Revision, Store, Transaction, Write};

/// How far the revisions of a restored store are ahead of those in its backup. Whatever was written after the backup
/// and is lost had revisions in between; all of them are answered as compacted. etcd's tools use the same.
pub const RESTORE_GAP: u64 = 1_000_000_000;

/// What was written or found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report {
    /// Objects.
    pub objects: u64,
    /// The revision that they are of.
    pub revision: Revision,
}

/// Writes the objects of one revision into a new file, while the store goes on. The file appears under its name when
/// it is whole and on the disk.
///
/// Leases are not kept: what hung on one stays, as an object without.
///
/// # Errors
/// The file exists, or cannot be written; those of the store. Nothing is left behind then.
pub async fn backup(store: &dyn Store, to: &Path) -> Result<Report> {
    let mut target = file::NewFile::create(to)?;
    let mut pages = Pages::new(store);
    while let Some(objects) = pages.next().await? {
        target.add(&objects)?;
    }
    let report = pages.report();
    target.finish(report.revision)?;
    Ok(report)
}

/// Makes a new store of the embedded engine from a backup, in a directory that has none. Revisions go on
/// [`RESTORE_GAP`] after those of the backup, and older ones are answered as compacted.
///
/// # Errors
/// [`Error::Invalid`] when there is a store already; [`Error::Corrupt`] when the backup is damaged.
pub fn restore(from: &Path, dir: &Path) -> Result<Report> {
    let report = check(from)?;
    file::restore(from, dir, Revision(report.revision.0.saturating_add(RESTORE_GAP)))?;
    Ok(report)
}

/// Reads a backup, or the file of a store that nobody has open, and checks all of it.
///
/// # Errors
/// [`Error::Corrupt`] with what is wrong.
pub fn check(path: &Path) -> Result<Report> {
    let (objects, revision) = file::check(path)?;
    Ok(Report { objects, revision })
}

/// Reads the objects of a backup, a page at a time.
///
/// # Errors
/// [`Error::Corrupt`] with what is wrong.
pub fn objects(path: &Path) -> Result<(Vec<Arc<Object>>, Revision)> {
    file::objects(path)
}

/// Copies every object of one store into another that is empty. Nobody may write to the first one meanwhile: what is
/// written after the beginning is not copied.
///
/// The revisions of the copies are those of the second store. Before, make it go on after those of the first
/// ([`EtcdStore::continue_after`](crate::etcd::EtcdStore::continue_after)), so that every revision that somebody
/// remembers is answered as compacted. Leases are not kept.
///
/// # Errors
/// [`Error::Invalid`] when the second store is not empty, or the first was written meanwhile; those of both.
pub async fn copy(from: &dyn Store, to: &dyn Store) -> Result<Report> {
    if to.count(b"").await?.count > 0 {
        return Err(Error::Invalid("the store to move to is not empty; name another".into()));
    }
    let mut pages = Pages::new(from);
    while let Some(objects) = pages.next().await? {
        write(to, &objects).await?;
    }
    let report = pages.report();
    let (copied, now) = (to.count(b"").await?, from.progress().await?);
    if copied.count != report.objects {
        let what = format!(
            "{} objects were copied and {} are there: somebody else writes",
            report.objects, copied.count
        );
        return Err(Error::Invalid(what));
    }
    if now != report.revision {
        return Err(Error::Invalid(format!(
            "the store was written while it was copied (revision {} to {now}); stop what writes, and copy again into \
             an empty store",
            report.revision
        )));
    }
    Ok(report)
}

/// Writes objects that do not exist, in as few transactions as the limits allow.
///
/// # Errors
/// [`Error::Invalid`] when one exists; those of the store.
pub async fn write(to: &dyn Store, objects: &[Arc<Object>]) -> Result<()> {
    let mut next = Transaction::default();
    let mut bytes = 0;
    for object in objects {
        let write = Write::put(object.key.clone(), object.value.clone(), Expect::Absent);
        let is_full = next.writes.len() == OPERATIONS_MAX || bytes + write.bytes() > REQUEST_BYTES_MAX;
        if is_full && !next.writes.is_empty() {
            commit(to, std::mem::take(&mut next)).await?;
            bytes = 0;
        }
        bytes += write.bytes();
        next.writes.push(write);
    }
    if next.writes.is_empty() { Ok(()) } else { commit(to, next).await }
}

async fn commit(to: &dyn Store, transaction: Transaction) -> Result<()> {
    match to.transact(transaction).await? {
        Outcome::Committed(_) => Ok(()),
        Outcome::Conflict(conflict) => {
            let object = conflict.current.iter().flatten().next();
            let key = object.map_or(String::new(), |object| object.key.escape_ascii().to_string());
            Err(Error::Invalid(format!("`{key}` is in the store to move to already; it must be empty")))
        }
    }
}

/// All objects of one revision, a page at a time.
struct Pages<'a> {
    store: &'a dyn Store,
    next: Option<ListOptions>,
    objects: u64,
    revision: Revision,
}

impl<'a> Pages<'a> {
    fn new(store: &'a dyn Store) -> Self {
        let next = ListOptions { limit: PAGE_OBJECTS, uncounted: true, ..ListOptions::default() };
        Self { store, next: Some(next), objects: 0, revision: Revision(0) }
    }

    async fn next(&mut self) -> Result<Option<Vec<Arc<Object>>>> {
        let Some(options) = self.next.take() else { return Ok(None) };
        let page = self.store.list(b"", options.clone()).await?;
        self.revision = page.revision;
        self.objects += page.objects.len() as u64;
        if let Some(last) = page.objects.last().filter(|_| page.more) {
            self.next =
                Some(ListOptions { at: Some(page.revision), after: Some(last.key.clone()), ..options });
        }
        Ok(Some(page.objects))
    }

    fn report(&self) -> Report {
        Report { objects: self.objects, revision: self.revision }
    }
}
