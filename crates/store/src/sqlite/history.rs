//! Reading from the file what is not in memory any more.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension as _, params};

use super::journal::{connect, meta};
use super::schema::{COLUMNS, Change, disk, row_id};
use crate::{Error, Event, Object, Result, Revision, prefix_end};

/// Connections that are kept for the next read.
const IDLE_MAX: usize = 4;

/// Events in one batch from disk; a revision with more comes whole.
const EVENTS_MAX: usize = 512;

/// Bytes of values in one batch from disk; a revision with more comes whole.
const BATCH_BYTES_MAX: usize = 4 << 20;

/// Column of the value behind [`COLUMNS`].
const VALUE: usize = 7;

/// The file, for reading. Reads block.
pub(super) struct History {
    path: PathBuf,
    vfs: Option<String>,
    idle: Mutex<Vec<Connection>>,
}

impl History {
    pub(super) fn new(path: PathBuf, vfs: Option<String>) -> Self {
        Self { path, vfs, idle: Mutex::default() }
    }

    /// The versions of keys that were written at these revisions and live at `at`, in the same order.
    ///
    /// # Errors
    /// [`Error::Compacted`] when `at` has been compacted by now.
    pub(super) fn objects(&self, at: Revision, wanted: &[(Bytes, Revision)]) -> Result<Vec<Arc<Object>>> {
        self.read(at, |connection, _| {
            wanted
                .iter()
                .map(|(key, revision)| {
                    find(connection, key, *revision)?.ok_or_else(|| {
                        let key = key.escape_ascii();
                        Error::Corrupt(format!("the version of `{key}` at revision {revision} is missing"))
                    })
                })
                .collect()
        })
    }

    /// Changes below a prefix from a revision on and before another. Returns the first revision that was not
    /// looked at.
    ///
    /// # Errors
    /// [`Error::Compacted`] when `from` has been compacted by now.
    pub(super) fn changes(
        &self,
        prefix: &[u8],
        from: Revision,
        until: Revision,
        previous: bool,
    ) -> Result<(Vec<Event>, Revision)> {
        self.read(from, |connection, compacted| {
            let read = format!(
                "SELECT {COLUMNS}, value FROM event
                 WHERE id >= ?1 AND id < ?2 AND key >= ?3 AND (?4 IS NULL OR key < ?4) ORDER BY id"
            );
            let mut read = connection.prepare_cached(&read).map_err(disk)?;
            let (begin, end) = (row_id(from, 0), row_id(until, 0));
            let mut rows = read.query(params![begin, end, prefix, prefix_end(prefix)]).map_err(disk)?;
            let (mut events, mut bytes) = (Vec::<Event>::new(), 0);
            while let Some(row) = rows.next().map_err(disk)? {
                let change = Change::read(row)?;
                let is_next = events.last().is_some_and(|last| last.revision != change.revision);
                if is_next && (events.len() >= EVENTS_MAX || bytes >= BATCH_BYTES_MAX) {
                    return Ok((events, change.revision));
                }
                let value = row.get_ref(VALUE).map_err(disk)?.as_blob_or_null();
                let value = value.map_err(|error| Error::Corrupt(error.to_string()))?.unwrap_or_default();
                bytes += value.len();
                // What was there before is gone when this change is the oldest that is kept.
                let before = change.replaces.filter(|_| previous && change.revision > compacted);
                let before =
                    before.map(|before| find(connection, &change.key, before)).transpose()?.flatten();
                let object = change.object(Bytes::copy_from_slice(value));
                events.push(Event { key: change.key, revision: change.revision, object, previous: before });
            }
            Ok((events, until))
        })
    }

    /// Reads in one transaction, in which `oldest` is not compacted.
    fn read<R>(&self, oldest: Revision, read: impl FnOnce(&Connection, Revision) -> Result<R>) -> Result<R> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let connection = match idle {
            Some(connection) => connection,
            None => connect(&self.path, self.vfs.as_deref(), true)?,
        };
        connection.execute_batch("BEGIN").map_err(disk)?;
        let compacted = meta(&connection)?.compacted;
        let result = if oldest < compacted {
            Err(Error::Compacted { asked: oldest, compacted: Some(compacted) })
        } else {
            read(&connection, compacted)
        };
        // A connection that cannot end its transaction is dropped.
        if connection.execute_batch("COMMIT").is_ok() {
            let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
            if idle.len() < IDLE_MAX {
                idle.push(connection);
            }
        }
        result
    }
}

/// The version of a key that was written at a revision.
fn find(connection: &Connection, key: &[u8], revision: Revision) -> Result<Option<Arc<Object>>> {
    let read = format!("SELECT {COLUMNS}, value FROM event WHERE id >= ?1 AND id < ?2 AND key = ?3");
    let mut read = connection.prepare_cached(&read).map_err(disk)?;
    let (begin, end) = (row_id(revision, 0), row_id(revision.next(), 0));
    let found = read.query_row(params![begin, end, key], |row| {
        let value: Option<Vec<u8>> = row.get(VALUE)?;
        Ok(Change::read(row).map(|change| change.object(value.unwrap_or_default().into())))
    });
    Ok(found.optional().map_err(disk)?.transpose()?.flatten())
}
