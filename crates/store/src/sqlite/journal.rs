//! The file of the embedded engine, as the one writer uses it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, params};

use super::schema::{
    APPLICATION_ID, PAGE_BYTES, SCHEMA, SCHEMA_VERSION, bound, disk, number, row_id, signed,
};
use crate::memory::Commit;
use crate::{Error, LeaseId, Result, Revision};

/// How long a statement waits for another process that looks at the file, such as `sqlite3`.
pub(super) const BUSY_WAIT: Duration = Duration::from_secs(5);

/// Pages in the write-ahead log at which they are moved into the file: 16 MiB.
const CHECKPOINT_PAGES: u32 = 2048;

/// The log is cut back to this after it was moved into the file, in bytes.
const LOG_BYTES_MAX: u32 = 64 << 20;

/// Memory for pages, in KiB: objects are read from our own memory, so this serves writing only.
const PAGE_CACHE_KIB: u32 = 8 << 10;

/// The file, open for writing.
pub(super) struct Journal {
    connection: Connection,
    path: PathBuf,
    vfs: Option<String>,
}

/// What the file says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Meta {
    /// The revision is not before this, even without any change.
    pub(super) base: Revision,
    pub(super) compacted: Revision,
    /// What is compacted up to here has been removed from the file.
    pub(super) cleaned: Revision,
}

impl Journal {
    /// Opens the file, making it when it does not exist.
    ///
    /// # Errors
    /// It is no store, of a newer Shoal, read-only, or cannot be used.
    pub(super) fn open(path: &Path, vfs: Option<&str>) -> Result<Self> {
        let connection = connect(path, vfs, false).map_err(|error| at(path, error))?;
        prepare(&connection).map_err(|error| at(path, error))?;
        Ok(Self { connection, path: path.to_owned(), vfs: vfs.map(String::from) })
    }

    /// The connection, for reading while the store is being opened.
    pub(super) fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Begins a transaction.
    pub(super) fn begin(&mut self) -> Result<()> {
        self.run("BEGIN IMMEDIATE")
    }

    /// Appends the changes of one revision.
    pub(super) fn append(&mut self, commit: &Commit) -> Result<()> {
        let mut statement = self
            .connection
            .prepare_cached("INSERT INTO event VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)")
            .map_err(disk)?;
        for (ordinal, event) in commit.events.iter().enumerate() {
            statement.execute(bound(event, ordinal)).map_err(disk)?;
        }
        Ok(())
    }

    /// Makes the transaction durable. After an error it may be in the file or not.
    pub(super) fn commit(&mut self) -> Result<()> {
        self.run("COMMIT")
    }

    /// Undoes what is not committed. Some errors have done so already.
    pub(super) fn roll_back(&mut self) {
        if !self.connection.is_autocommit() {
            let _ = self.connection.execute_batch("ROLLBACK");
        }
    }

    /// Closes the file and opens it again: after an error, what it holds then is the truth. The log is moved into
    /// the file and synced, so that the truth also outlives the machine.
    pub(super) fn reopen(&mut self) -> Result<Revision> {
        let fresh = connect(&self.path, self.vfs.as_deref(), false).and_then(|connection| {
            prepare(&connection)?;
            Ok(connection)
        })?;
        self.connection = fresh;
        let busy: i64 = self
            .connection
            .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))
            .map_err(disk)?;
        if busy != 0 {
            return Err(Error::Unavailable("another process holds on to the write-ahead log".into()));
        }
        self.revision()
    }

    /// Where the file is.
    pub(super) fn revision(&self) -> Result<Revision> {
        revision(&self.connection)
    }

    /// Declares what is before `revision` gone. Inside a transaction.
    pub(super) fn set_compacted(&mut self, revision: Revision) -> Result<()> {
        self.execute("UPDATE meta SET compacted_revision = ?1", signed(revision.0))
    }

    /// Inside a transaction: removes from the file what the changes of revisions after `from` up to `to` have
    /// replaced, about `rows` of them. Returns how far it came.
    pub(super) fn clean(&mut self, from: Revision, to: Revision, rows: usize) -> Result<Revision> {
        let (done, replaced, deleted) = self.find_replaced(from, to, rows)?;
        let remove = "DELETE FROM event WHERE id >= ?1 AND id < ?2 AND key = ?3";
        let mut remove = self.connection.prepare_cached(remove).map_err(disk)?;
        for (revision, key) in replaced {
            let (begin, end) = (row_id(revision, 0), row_id(revision.next(), 0));
            remove.execute(params![begin, end, key]).map_err(disk)?;
        }
        drop(remove);
        for id in deleted {
            self.execute("DELETE FROM event WHERE id = ?1", id)?;
        }
        self.execute("UPDATE meta SET cleaned_revision = ?1", signed(done.0))?;
        Ok(done)
    }

    /// What [`Journal::clean`] removes: versions by revision and key, and deletions by row. A deletion at `to`
    /// itself stays: a watch may begin there.
    #[expect(clippy::type_complexity, reason = "two lists for the one caller")]
    fn find_replaced(
        &self,
        from: Revision,
        to: Revision,
        rows: usize,
    ) -> Result<(Revision, Vec<(Revision, Vec<u8>)>, Vec<i64>)> {
        let find =
            "SELECT id, key, replaces, value IS NULL FROM event WHERE id >= ?1 AND id < ?2 ORDER BY id";
        let mut find = self.connection.prepare_cached(find).map_err(disk)?;
        // A deletion at `from` was kept by the compaction to `from`.
        let mut found = find.query([row_id(from, 0), row_id(to.next(), 0)]).map_err(disk)?;
        let (mut replaced, mut deleted, mut done) = (Vec::new(), Vec::new(), from);
        while let Some(row) = found.next().map_err(disk)? {
            let id: i64 = row.get(0).map_err(disk)?;
            let revision = Revision(number(row, 0)? >> 20);
            if revision > done && replaced.len() + deleted.len() >= rows {
                return Ok((done, replaced, deleted));
            }
            done = revision;
            let replaces = Revision(number(row, 2)?);
            // What the changes at `from` itself replaced went with the compaction to there.
            if replaces.0 > 0 && revision > from {
                replaced.push((replaces, row.get(1).map_err(disk)?));
            }
            if revision < to && row.get::<_, bool>(3).map_err(disk)? {
                deleted.push(id);
            }
        }
        Ok((to, replaced, deleted))
    }

    /// Keeps a lease. Inside a transaction; returns its name.
    pub(super) fn add_lease(&mut self, ttl: Duration) -> Result<LeaseId> {
        let add = "UPDATE meta SET last_lease = last_lease + 1 RETURNING last_lease";
        let id: i64 = self.connection.query_row(add, [], |row| row.get(0)).map_err(disk)?;
        let add = "INSERT INTO lease VALUES (?1, ?2)";
        self.connection.execute(add, params![id, signed(ttl.as_secs())]).map_err(disk)?;
        Ok(LeaseId(id))
    }

    /// Forgets a lease. Inside a transaction.
    pub(super) fn remove_lease(&mut self, id: LeaseId) -> Result<()> {
        self.execute("DELETE FROM lease WHERE id = ?1", id.0)
    }

    /// Changes something that nobody sees, durably, and reads it back.
    pub(super) fn beat(&mut self) -> Result<()> {
        let beat = "UPDATE meta SET health = (health + 1) % 1000000 RETURNING health";
        let written: i64 = self.connection.query_row(beat, [], |row| row.get(0)).map_err(disk)?;
        let read: i64 =
            self.connection.query_row("SELECT health FROM meta", [], |row| row.get(0)).map_err(disk)?;
        if written == read {
            Ok(())
        } else {
            Err(Error::Corrupt("what was written is not what is read".into()))
        }
    }

    /// Size of the file and of what is free in it, in bytes. The log is not counted.
    pub(super) fn size(&self) -> Result<(u64, u64)> {
        let pragma = |statement: &str| -> Result<u64> {
            let get = |row: &rusqlite::Row<'_>| row.get::<_, i64>(0);
            let mut read = self.connection.prepare_cached(statement).map_err(disk)?;
            let number = read.query_row([], get).map_err(disk)?;
            Ok(u64::try_from(number).unwrap_or_default() * u64::from(PAGE_BYTES))
        };
        Ok((pragma("PRAGMA page_count")?, pragma("PRAGMA freelist_count")?))
    }

    /// A statement without numbers; it is prepared once, since each commit has it.
    fn run(&self, statement: &str) -> Result<()> {
        self.connection.prepare_cached(statement).and_then(|mut run| run.execute([])).map_err(disk)?;
        Ok(())
    }

    fn execute(&self, statement: &str, number: i64) -> Result<()> {
        let mut statement = self.connection.prepare_cached(statement).map_err(disk)?;
        statement.execute([number]).map_err(disk)?;
        Ok(())
    }
}

/// Where a file is.
pub(super) fn revision(connection: &Connection) -> Result<Revision> {
    let newest =
        "SELECT max((SELECT coalesce(max(id), 0) >> 20 FROM event), (SELECT base_revision FROM meta))";
    let newest: i64 = connection.query_row(newest, [], |row| row.get(0)).map_err(disk)?;
    u64::try_from(newest).map(Revision).map_err(|_| Error::Corrupt("the revision is negative".into()))
}

/// What a file says of itself.
pub(super) fn meta(connection: &Connection) -> Result<Meta> {
    let mut read = connection
        .prepare("SELECT base_revision, compacted_revision, cleaned_revision FROM meta")
        .map_err(disk)?;
    let mut rows = read.query([]).map_err(disk)?;
    let Some(row) = rows.next().map_err(disk)? else {
        return Err(Error::Corrupt("it does not say where it begins".into()));
    };
    let [base, compacted, cleaned] = [number(row, 0)?, number(row, 1)?, number(row, 2)?].map(Revision);
    Ok(Meta { base, compacted, cleaned })
}

/// Opens a file.
pub(super) fn connect(path: &Path, vfs: Option<&str>, is_reader: bool) -> Result<Connection> {
    // No mutex: each connection is used by one thread at a time. No URI: a path is a path.
    let access = if is_reader {
        OpenFlags::SQLITE_OPEN_READ_ONLY
    } else {
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE
    };
    let flags = access | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = match vfs {
        None => Connection::open_with_flags(path, flags),
        Some(vfs) => Connection::open_with_flags_and_vfs(path, flags, vfs),
    };
    let connection = connection.map_err(disk)?;
    connection.busy_timeout(BUSY_WAIT).map_err(disk)?;
    Ok(connection)
}

/// Makes the schema, or checks that it is ours; settles how the file is written.
fn prepare(connection: &Connection) -> Result<()> {
    let pragma = |text: String| connection.execute_batch(&text).map_err(disk);
    // Has an effect on a new file only, and not once the log is on.
    pragma(format!("PRAGMA page_size = {PAGE_BYTES}"))?;
    let mode: String =
        connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0)).map_err(disk)?;
    if mode != "wal" {
        return Err(Error::Unavailable(format!(
            "its file system cannot hold a write-ahead log (mode {mode})"
        )));
    }
    // FULL syncs the log at each commit: what was acknowledged outlives the machine.
    pragma("PRAGMA synchronous = FULL".into())?;
    pragma(format!("PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}"))?;
    pragma(format!("PRAGMA journal_size_limit = {LOG_BYTES_MAX}"))?;
    pragma(format!("PRAGMA cache_size = -{PAGE_CACHE_KIB}"))?;
    if connection.is_readonly(rusqlite::MAIN_DB).map_err(disk)? {
        return Err(Error::Unavailable("it can only be read; give this user the right to write it".into()));
    }
    let (application, version, objects) = identity(connection)?;
    if application == APPLICATION_ID && version == SCHEMA_VERSION {
        return Ok(());
    }
    if application == 0 && version == 0 && objects == 0 {
        return connection
            .execute_batch(&format!(
                "BEGIN IMMEDIATE; {SCHEMA}
                 PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {SCHEMA_VERSION}; COMMIT"
            ))
            .map_err(disk);
    }
    Err(foreign(application, version))
}

/// Whether a file is a store that this version can read.
///
/// # Errors
/// It is not, and why.
pub(super) fn check_identity(connection: &Connection) -> Result<()> {
    let (application, version, _) = identity(connection)?;
    if application == APPLICATION_ID && version == SCHEMA_VERSION {
        Ok(())
    } else {
        Err(foreign(application, version))
    }
}

fn identity(connection: &Connection) -> Result<(i32, i32, i64)> {
    let number = |text: &str| connection.query_row(text, [], |row| row.get::<_, i64>(0)).map_err(disk);
    let small = |number: i64| i32::try_from(number).unwrap_or(i32::MAX);
    let application = small(number("PRAGMA application_id")?);
    let version = small(number("PRAGMA user_version")?);
    Ok((application, version, number("SELECT count(*) FROM sqlite_schema")?))
}

fn foreign(application: i32, version: i32) -> Error {
    if application == APPLICATION_ID {
        let what = format!(
            "it has format {version}, this Shoal reads {SCHEMA_VERSION}; use the Shoal that wrote it"
        );
        return Error::Invalid(what);
    }
    Error::Invalid("it is a SQLite database, but not a store of Shoal; name another file".into())
}

/// Says which file it was.
pub(super) fn at(path: &Path, error: Error) -> Error {
    let named = |text: String| format!("{}: {text}", path.display());
    match error {
        Error::Unavailable(text) => Error::Unavailable(named(text)),
        Error::Corrupt(text) => Error::Corrupt(named(text)),
        Error::Invalid(text) => Error::Invalid(named(text)),
        Error::NoSpace(text) => Error::NoSpace(named(text)),
        other => other,
    }
}
