//! The shape of the file, and how a row is read. Made to be read with `sqlite3` as well.

use std::sync::Arc;

use bytes::Bytes;
use rusqlite::Row;

use crate::limits::{KEY_BYTES_MAX, LEASE_KEYS_MAX, OPERATIONS_MAX};
use crate::{Error, Event, LeaseId, Object, Result, Revision};

/// Marks our files (`SHST`), as SQLite's documentation of `application_id` recommends.
pub(super) const APPLICATION_ID: i32 = 0x5348_5354;

/// Version of [`SCHEMA`].
pub(super) const SCHEMA_VERSION: i32 = 1;

/// Three objects of the usual 2 KB fit into a page; in pages of 4 KiB it would be one, and half of it empty.
pub(super) const PAGE_BYTES: u32 = 8192;

/// The bits of a row's number that count the changes of one revision.
const ORDINAL_BITS: u32 = 20;

const _: () = assert!(LEASE_KEYS_MAX < 1 << ORDINAL_BITS && OPERATIONS_MAX < 1 << ORDINAL_BITS);

/// One row for each change, numbered `revision << 20 | ordinal`, so that a commit only ever appends. `replaces` is
/// the revision of the version before, which compaction follows; no other index is needed. A deletion has no value
/// and version 0. The views are for people.
pub(super) const SCHEMA: &str = "
    CREATE TABLE event (
        id INTEGER PRIMARY KEY,
        key BLOB NOT NULL,
        replaces INTEGER NOT NULL,
        create_revision INTEGER NOT NULL,
        version INTEGER NOT NULL,
        lease INTEGER NOT NULL,
        value BLOB
    ) STRICT;
    CREATE TABLE lease (id INTEGER PRIMARY KEY, ttl_s INTEGER NOT NULL) STRICT;
    CREATE TABLE meta (
        base_revision INTEGER NOT NULL,
        compacted_revision INTEGER NOT NULL,
        cleaned_revision INTEGER NOT NULL,
        last_lease INTEGER NOT NULL,
        health INTEGER NOT NULL
    ) STRICT;
    INSERT INTO meta VALUES (1, 0, 0, 0, 0);
    CREATE VIEW history AS
        SELECT id >> 20 AS revision, CAST(key AS TEXT) AS key, version, create_revision, lease,
               value IS NULL AS deleted, CAST(value AS TEXT) AS value
        FROM event ORDER BY id;
    CREATE VIEW object AS
        SELECT CAST(key AS TEXT) AS key, id >> 20 AS mod_revision, version, create_revision, lease,
               CAST(value AS TEXT) AS value
        FROM event JOIN (SELECT max(id) AS newest FROM event GROUP BY key) ON id = newest
        WHERE value IS NOT NULL ORDER BY key;
";

/// The columns of a row, for [`Change::read`]. The value is last: it is read only where it is wanted.
pub(super) const COLUMNS: &str = "id, key, replaces, create_revision, version, lease, value IS NULL";

/// A row without its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) revision: Revision,
    pub(super) ordinal: u64,
    pub(super) key: Bytes,
    /// The version before; none when the key did not exist.
    pub(super) replaces: Option<Revision>,
    pub(super) create_revision: Revision,
    pub(super) version: u64,
    pub(super) lease: Option<LeaseId>,
    pub(super) is_deleted: bool,
}

impl Change {
    /// Reads and checks the first columns of a row.
    ///
    /// # Errors
    /// [`Error::Corrupt`], and what [`disk`] makes of an error of SQLite.
    pub(super) fn read(row: &Row<'_>) -> Result<Self> {
        let key =
            row.get_ref(1).map_err(disk)?.as_blob().map_err(|error| Error::Corrupt(error.to_string()))?;
        let id = number(row, 0)?;
        let change = Self {
            revision: Revision(id >> ORDINAL_BITS),
            ordinal: id & ((1 << ORDINAL_BITS) - 1),
            key: Bytes::copy_from_slice(key),
            replaces: Some(Revision(number(row, 2)?)).filter(|revision| revision.0 > 0),
            create_revision: Revision(number(row, 3)?),
            version: number(row, 4)?,
            lease: Some(LeaseId(row.get(5).map_err(disk)?)).filter(|lease| lease.0 != 0),
            is_deleted: row.get(6).map_err(disk)?,
        };
        change.check()?;
        Ok(change)
    }

    /// Whether the row makes sense by itself.
    fn check(&self) -> Result<()> {
        let wrong = |what: &str| {
            let key = self.key.escape_ascii();
            Err(Error::Corrupt(format!("the change of `{key}` at revision {} {what}", self.revision)))
        };
        if self.revision <= Revision::FIRST {
            return wrong("is of a revision that no change can have");
        }
        if self.key.is_empty() || self.key.len() > KEY_BYTES_MAX + crate::limits::ROOT_BYTES_MAX {
            return wrong("has a key that cannot be");
        }
        if self.replaces.is_some_and(|before| before >= self.revision) {
            return wrong("replaces a later one");
        }
        let is_sound = if self.is_deleted {
            self.version == 0 && self.replaces.is_some() && self.lease.is_none()
        } else if self.version == 1 {
            self.create_revision == self.revision && self.replaces.is_none()
        } else {
            let before = self.replaces.unwrap_or_default();
            self.version > 1 && self.create_revision > Revision(0) && self.create_revision <= before
        };
        if is_sound { Ok(()) } else { wrong("contradicts itself") }
    }

    /// The object that the change made; none when it deleted.
    pub(super) fn object(&self, value: Bytes) -> Option<Arc<Object>> {
        (!self.is_deleted).then(|| {
            Arc::new(Object {
                key: self.key.clone(),
                value,
                create_revision: self.create_revision,
                mod_revision: self.revision,
                version: self.version,
                lease: self.lease,
            })
        })
    }
}

/// The number of the row of a change.
pub(super) fn row_id(revision: Revision, ordinal: usize) -> i64 {
    signed(revision.0 << ORDINAL_BITS | ordinal as u64)
}

/// A row to be written: number, key, what it replaces, creation, version, lease, value.
type Bound<'a> = (i64, &'a [u8], i64, i64, i64, i64, Option<&'a [u8]>);

/// The columns of a change as they are bound to `INSERT INTO event VALUES (?1, … ?7)`.
pub(super) fn bound(event: &Event, ordinal: usize) -> Bound<'_> {
    let id = row_id(event.revision, ordinal);
    let replaces = event.previous.as_ref().map_or(0, |previous| signed(previous.mod_revision.0));
    let key = event.key.as_ref();
    match &event.object {
        None => (id, key, replaces, 0, 0, 0, None),
        Some(object) => {
            // A key that was deleted in between begins anew: there is nothing that it replaces.
            let lease = object.lease.map_or(0, |lease| lease.0);
            let (created, version) = (signed(object.create_revision.0), signed(object.version));
            (id, key, replaces, created, version, lease, Some(&object.value))
        }
    }
}

/// SQLite has no unsigned numbers.
pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A column that holds no negative number.
pub(super) fn number(row: &Row<'_>, column: usize) -> Result<u64> {
    let number: i64 = row.get(column).map_err(disk)?;
    u64::try_from(number).map_err(|_| Error::Corrupt(format!("a number of the store is {number}")))
}

/// What an error of SQLite means for whoever asked.
#[expect(clippy::needless_pass_by_value, reason = "it stands in map_err")]
pub(super) fn disk(error: rusqlite::Error) -> Error {
    use rusqlite::ErrorCode as Code;
    match error.sqlite_error_code() {
        Some(Code::DiskFull) => Error::NoSpace("the disk is full; free some space on it".into()),
        Some(Code::DatabaseCorrupt | Code::NotADatabase) => Error::Corrupt(error.to_string()),
        Some(_) => Error::Unavailable(error.to_string()),
        // Not of the engine: a column of another type than the schema says.
        None => Error::Corrupt(error.to_string()),
    }
}
