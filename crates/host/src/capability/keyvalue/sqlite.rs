//! Values in a SQLite file.
//!
//! One table of entries and one row of state (last version, size). The file is locked for this process while
//! it is open: nobody else can write behind the counters, and two processes cannot serve the same store.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension as _, params};
use shoal_runtime::Refusal;

use super::table::{Entry, Head, StoreError, Table};
use crate::capability::text::shown;

/// Largest store in a file. Guests cannot fill the disk; a store past this size wants a database server.
pub(super) const FILE_BYTES_MAX: u64 = 1 << 30;
/// How long opening waits for a process that is just closing the file.
const OPEN_WAIT: Duration = Duration::from_secs(2);
/// Files up to this size are read whole and checked when they are opened, which takes some 100 ms; damage in
/// larger ones is found when it is met.
const CHECKED_FILE_BYTES_MAX: u64 = 64 << 20;
/// Marks our files (`SHKV`), as SQLite's documentation of `application_id` recommends.
const APPLICATION_ID: i32 = 0x5348_4b56;
/// Version of [`SCHEMA`].
const SCHEMA_VERSION: i32 = 1;

/// Keys are blobs so that no collation or text conversion ever touches them. AUTOINCREMENT never gives an
/// identity twice, so a list's cursor stays right whatever is deleted.
const SCHEMA: &str = "
    CREATE TABLE entry (
        identity INTEGER PRIMARY KEY AUTOINCREMENT,
        key BLOB NOT NULL UNIQUE,
        version INTEGER NOT NULL,
        value BLOB NOT NULL
    ) STRICT;
    CREATE TABLE state (version INTEGER NOT NULL, bytes INTEGER NOT NULL) STRICT;
    INSERT INTO state VALUES (0, 0);
";

/// A table in a SQLite file.
///
/// Writes go between [`begin`](Self::begin) and [`commit`](Self::commit).
pub(super) struct SqliteTable {
    connection: Connection,
    state: State,
    /// The state that is on disk.
    committed: State,
    /// The first error of the engine since `begin`: the transaction must not be committed.
    broken: Option<StoreError>,
    /// The error that was logged last: a disk that stays full is one line, not one for each request.
    logged: Option<ErrorCode>,
    /// Names the store in the log.
    path: PathBuf,
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct State {
    version: u64,
    bytes: u64,
}

impl SqliteTable {
    /// Opens the file of the store `name`, making it when it does not exist.
    ///
    /// # Errors
    /// A [`Refusal`] naming the store, the file, the reason and the way out.
    pub(super) fn open(name: &str, path: &Path) -> Result<Self, Refusal> {
        Self::try_open(path).map_err(|problem| {
            let what =
                format!("the key-value store `{}` cannot use {}: {problem}", shown(name), path.display());
            let refusal = Refusal::new(what).unavailable();
            match problem.hint() {
                Some(hint) => refusal.hint(hint),
                None => refusal,
            }
        })
    }

    fn try_open(path: &Path) -> Result<Self, Problem> {
        // No mutex: one thread owns the connection. No URI: a path is a path.
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
            | OpenFlags::SQLITE_OPEN_CREATE
            | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags)?;
        connection.busy_timeout(OPEN_WAIT)?;
        prepare(&connection)?;
        if connection.is_readonly(rusqlite::MAIN_DB)? {
            return Err(Problem::ReadOnly);
        }
        check_format(&connection)?;
        let size = std::fs::metadata(path).map_or(0, |metadata| metadata.len());
        if size <= CHECKED_FILE_BYTES_MAX {
            check_pages(&connection)?;
        }
        let state = connection.query_row("SELECT version, bytes FROM state", [], |row| {
            Ok(State { version: unsigned(row.get(0)?), bytes: unsigned(row.get(1)?) })
        })?;
        Ok(Self { connection, state, committed: state, broken: None, logged: None, path: path.to_owned() })
    }

    /// Starts a group of writes.
    pub(super) fn begin(&mut self) -> Result<(), StoreError> {
        self.broken = None;
        self.run(|connection| connection.execute_batch("BEGIN IMMEDIATE"))
    }

    /// Makes the group durable, or undoes all of it.
    ///
    /// # Errors
    /// The first error of the engine in the group, or that of the commit. Nothing of the group is written.
    pub(super) fn commit(&mut self) -> Result<(), StoreError> {
        let outcome = match self.broken.take() {
            Some(error) => Err(error),
            None => {
                self.write_state().and_then(|()| self.run(|connection| connection.execute_batch("COMMIT")))
            }
        };
        match outcome {
            Ok(()) => {
                self.committed = self.state;
                self.logged = None;
            }
            Err(_) => {
                self.state = self.committed;
                // Some errors have rolled back already; then there is nothing left to undo.
                if !self.connection.is_autocommit() {
                    let _ = self.connection.execute_batch("ROLLBACK");
                }
            }
        }
        outcome
    }

    /// Writes the log back into the file and lets go of it.
    pub(super) fn close(self) {
        if let Err((_, error)) = self.connection.close() {
            tracing::warn!(
                "the key-value store {} was not closed cleanly: {error}; it will recover when it is opened",
                self.path.display()
            );
        }
    }

    /// Makes the engine fail, as a broken disk does.
    #[cfg(test)]
    pub(super) fn sabotage(&mut self) -> Result<(), StoreError> {
        self.run(|connection| {
            connection.execute_batch("INSERT INTO entry (key, version, value) VALUES (NULL, 0, 0)")
        })
    }

    fn write_state(&mut self) -> Result<(), StoreError> {
        if self.state == self.committed {
            return Ok(());
        }
        let State { version, bytes } = self.state;
        self.run(|connection| {
            let mut statement = connection.prepare_cached("UPDATE state SET version = ?1, bytes = ?2")?;
            statement.execute(params![signed(version), signed(bytes)])
        })?;
        Ok(())
    }

    /// Runs a statement, and remembers an error of the engine.
    fn run<R>(
        &mut self,
        statement: impl FnOnce(&Connection) -> rusqlite::Result<R>,
    ) -> Result<R, StoreError> {
        statement(&self.connection).map_err(|error| {
            let code = error.sqlite_error_code();
            if self.logged.is_none() || self.logged != code {
                tracing::error!("the key-value store {} failed: {error}", self.path.display());
                self.logged = code;
            }
            let error = told(&error);
            self.broken.get_or_insert_with(|| error.clone());
            error
        })
    }
}

impl Table for SqliteTable {
    fn get(&mut self, key: &str) -> Result<Option<Entry>, StoreError> {
        self.run(|connection| {
            let mut statement =
                connection.prepare_cached("SELECT value, version FROM entry WHERE key = ?1")?;
            let entry =
                |row: &rusqlite::Row<'_>| Ok(Entry { value: row.get(0)?, version: unsigned(row.get(1)?) });
            statement.query_row([key.as_bytes()], entry).optional()
        })
    }

    fn head(&mut self, key: &str) -> Result<Option<Head>, StoreError> {
        self.run(|connection| {
            let mut statement =
                connection.prepare_cached("SELECT version, length(value) FROM entry WHERE key = ?1")?;
            let head = |row: &rusqlite::Row<'_>| {
                Ok(Head { version: unsigned(row.get(0)?), value_bytes: unsigned(row.get(1)?) })
            };
            statement.query_row([key.as_bytes()], head).optional()
        })
    }

    fn put(&mut self, key: &str, value: &[u8], bytes_after: u64) -> Result<(), StoreError> {
        let version = self.state.version + 1;
        self.run(|connection| {
            let values = params![key.as_bytes(), signed(version), value];
            let mut update =
                connection.prepare_cached("UPDATE entry SET version = ?2, value = ?3 WHERE key = ?1")?;
            if update.execute(values)? > 0 {
                return Ok(());
            }
            // Only for a new key: an insert takes a new identity, and so a page more, even where it ends as an update.
            let mut insert =
                connection.prepare_cached("INSERT INTO entry (key, version, value) VALUES (?1, ?2, ?3)")?;
            insert.execute(values).map(drop)
        })?;
        self.state = State { version, bytes: bytes_after };
        Ok(())
    }

    fn remove(&mut self, key: &str, bytes_after: u64) -> Result<(), StoreError> {
        self.run(|connection| {
            connection.prepare_cached("DELETE FROM entry WHERE key = ?1")?.execute([key.as_bytes()])
        })?;
        self.state.bytes = bytes_after;
        Ok(())
    }

    fn page(&mut self, after: u64, limit: usize) -> Result<Vec<(u64, String)>, StoreError> {
        self.run(|connection| {
            let mut statement = connection.prepare_cached(
                "SELECT identity, key FROM entry WHERE identity > ?1 ORDER BY identity LIMIT ?2",
            )?;
            let rows = statement.query_map(params![signed(after), signed(limit as u64)], |row| {
                let key = String::from_utf8_lossy(row.get_ref(1)?.as_blob()?).into_owned();
                Ok((unsigned(row.get(0)?), key))
            })?;
            rows.collect()
        })
    }

    fn bytes(&self) -> u64 {
        self.state.bytes
    }

    fn bytes_max(&self) -> u64 {
        FILE_BYTES_MAX
    }
}

/// Why a file cannot be a store.
#[derive(Debug, thiserror::Error)]
enum Problem {
    #[error("it may be read but not written")]
    ReadOnly,
    #[error("it is a SQLite file, but not a store of Shoal")]
    Foreign,
    #[error("it was written by a newer Shoal (format {0}, this one knows {SCHEMA_VERSION})")]
    Newer(i32),
    #[error("it is damaged: {0}")]
    Damaged(String),
    #[error("{0}")]
    Sqlite(#[from] rusqlite::Error),
}

impl Problem {
    fn hint(&self) -> Option<&'static str> {
        let code = match self {
            Self::ReadOnly => return Some("let this user write the file and its directory"),
            Self::Foreign => return Some("name another path; a file that does not exist is made"),
            Self::Newer(_) => return Some("use the newer Shoal"),
            Self::Damaged(_) => return Some("restore a backup, or move the file away to start empty"),
            Self::Sqlite(error) => error.sqlite_error_code()?,
        };
        match code {
            ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => {
                Some("another process has it open; stop that one, or give each its own file")
            }
            ErrorCode::DatabaseCorrupt => Some("restore a backup, or move the file away to start empty"),
            ErrorCode::NotADatabase => Some("name another path; a file that does not exist is made"),
            ErrorCode::CannotOpen => Some("the directory must exist and be writable for this user"),
            ErrorCode::PermissionDenied | ErrorCode::ReadOnly => {
                Some("let this user write the file and its directory")
            }
            _ => None,
        }
    }
}

/// Sets how this connection works.
fn prepare(connection: &Connection) -> rusqlite::Result<()> {
    // Exclusive before WAL: then no shared-memory file is made and the lock is held until the file is closed.
    connection.pragma_update(None, "locking_mode", "exclusive")?;
    connection.pragma_update(None, "journal_mode", "wal")?;
    // FULL: a commit returns when the log is on the disk. One fsync per group of writes is the price of an
    // acknowledged write that survives power loss.
    connection.pragma_update(None, "synchronous", "full")?;
    // The file may come from anywhere: no code in its schema is run, and its cells are checked when read.
    connection.pragma_update(None, "trusted_schema", "off")?;
    connection.pragma_update(None, "cell_size_check", "on")?;
    // KiB (negative: not pages); a node has thousands of stores.
    connection.pragma_update(None, "cache_size", -1024)?;
    // A burst of writes does not leave a large log behind.
    connection.pragma_update(None, "journal_size_limit", 16 << 20)
}

/// Makes the schema in an empty file; refuses what is not ours.
fn check_format(connection: &Connection) -> Result<(), Problem> {
    let number = |pragma: &str| connection.pragma_query_value(None, pragma, |row| row.get::<_, i32>(0));
    let (application, version) = (number("application_id")?, number("user_version")?);
    let tables: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    match (application, version, tables) {
        (0, 0, 0) => {
            let marks =
                format!("PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {SCHEMA_VERSION};");
            // Takes the write lock here: two processes that make the same file do not both make the schema.
            connection.execute_batch(&format!("BEGIN IMMEDIATE; {SCHEMA} {marks} COMMIT;"))?;
            Ok(())
        }
        (APPLICATION_ID, SCHEMA_VERSION, _) => Ok(()),
        (APPLICATION_ID, newer, _) => Err(Problem::Newer(newer)),
        _ => Err(Problem::Foreign),
    }
}

/// Reads every page and index.
fn check_pages(connection: &Connection) -> Result<(), Problem> {
    let verdict: String = connection.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))?;
    if verdict == "ok" { Ok(()) } else { Err(Problem::Damaged(verdict)) }
}

/// What the guest is told of an error of the engine; the operator reads it in the log.
fn told(error: &rusqlite::Error) -> StoreError {
    match error.sqlite_error_code() {
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => StoreError::AccessDenied,
        Some(ErrorCode::DiskFull) => StoreError::Other("the disk is full".into()),
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
            StoreError::Other("the file of the store is damaged".into())
        }
        _ => StoreError::Other("the store failed; the host's log says why".into()),
    }
}

/// SQLite's integers are signed; versions and sizes stay far below the sign.
fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}
