//! Files of the embedded engine that no process serves: backups, and stores that are stopped.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rusqlite::{Connection, params};

use super::journal::{Journal, at, check_identity, connect};
use super::load::{check_all_pages, load};
use super::schema::{disk, row_id, signed};
use super::{FILE, own};
use crate::{Error, Object, Result, Revision};

/// What is appended to a name while the file is not whole.
const PARTIAL: &str = ".partial";

/// A file that is being written.
pub(crate) struct NewFile {
    journal: Journal,
    // After the journal: it goes when the file is closed.
    partial: Partial,
    path: PathBuf,
    /// Changes so far of each revision, for their numbers.
    ordinals: std::collections::HashMap<Revision, usize>,
}

impl NewFile {
    /// # Errors
    /// The file exists, or cannot be made.
    pub(crate) fn create(path: &Path) -> Result<Self> {
        let named = |what: &str| Error::Invalid(format!("{}: {what}", path.display()));
        if path.exists() {
            return Err(named("exists already; name another file"));
        }
        let partial = Partial::create(path)?;
        let journal = Journal::open(&partial.0, None)?;
        Ok(Self { journal, partial, path: path.to_owned(), ordinals: std::collections::HashMap::new() })
    }

    /// Adds objects as they are, without their leases and their history.
    pub(crate) fn add(&mut self, objects: &[Arc<Object>]) -> Result<()> {
        self.journal.begin()?;
        self.insert(objects).inspect_err(|_| self.journal.roll_back())?;
        self.journal.commit()
    }

    fn insert(&mut self, objects: &[Arc<Object>]) -> Result<()> {
        let insert = "INSERT INTO event VALUES (?1, ?2, ?3, ?4, ?5, 0, ?6)";
        let mut insert = self.journal.connection().prepare_cached(insert).map_err(disk)?;
        for object in objects {
            let ordinal = self.ordinals.entry(object.mod_revision).or_default();
            let id = row_id(object.mod_revision, *ordinal);
            *ordinal += 1;
            // What it replaced is not in the file; that it is compacted says so.
            let replaces = if object.version == 1 { 0 } else { signed(object.mod_revision.before().0) };
            let created = signed(object.create_revision.0);
            let (key, value) = (object.key.as_ref(), object.value.as_ref());
            insert
                .execute(params![id, key, replaces, created, signed(object.version), value])
                .map_err(disk)?;
        }
        Ok(())
    }

    /// All objects are there: the file is of this revision. It gets its name when it is on the disk.
    pub(crate) fn finish(self, revision: Revision) -> Result<()> {
        let Self { journal, partial, path, .. } = self;
        settle(journal.connection(), revision)?;
        drop(journal);
        publish(&partial.0, &path)
    }
}

/// A file that is not whole, under a name of its own; gone when this is, unless it got its real name.
struct Partial(PathBuf);

impl Partial {
    /// An empty one for the file that is to be at `path`, readable for nobody else: a store holds secrets.
    fn create(path: &Path) -> Result<Self> {
        use std::os::unix::fs::OpenOptionsExt as _;
        let mut partial = path.as_os_str().to_owned();
        partial.push(PARTIAL);
        let partial = Self(PathBuf::from(partial));
        // One that a crash has left.
        remove(&partial.0);
        let made = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&partial.0);
        made.map_err(|error| Error::Unavailable(format!("{}: {error}", partial.0.display())))?;
        Ok(partial)
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        remove(&self.0);
    }
}

/// Says where a file is, with no history before, and brings all of it into the one file.
fn settle(connection: &Connection, revision: Revision) -> Result<()> {
    let settle = "UPDATE meta SET base_revision = ?1, compacted_revision = ?1, cleaned_revision = ?1";
    connection.execute(settle, [signed(revision.0)]).map_err(disk)?;
    connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).map_err(disk)?;
    // A file that is carried around has no log beside it.
    connection.query_row("PRAGMA journal_mode = DELETE", [], |_| Ok(())).map_err(disk)
}

/// Gives a whole file its name: it is never seen half.
fn publish(partial: &Path, path: &Path) -> Result<()> {
    let failed = |error: std::io::Error| Error::Unavailable(format!("{}: {error}", path.display()));
    std::fs::File::open(partial).and_then(|file| file.sync_all()).map_err(failed)?;
    std::fs::rename(partial, path).map_err(failed)?;
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::File::open(dir).and_then(|dir| dir.sync_all()).map_err(failed)
}

fn remove(path: &Path) {
    for suffix in ["", "-wal", "-shm", "-journal"] {
        let mut path = path.as_os_str().to_owned();
        path.push(suffix);
        // It may not be there, and if it cannot be removed then making it anew says why.
        let _ = std::fs::remove_file(path);
    }
}

/// Makes the file of a new store from a backup that was checked.
pub(crate) fn restore(from: &Path, dir: &Path, revision: Revision) -> Result<()> {
    let _lock = own(dir)?;
    let path = dir.join(FILE);
    if path.exists() {
        return Err(Error::Invalid(format!(
            "{}: there is a store already; name another directory",
            dir.display()
        )));
    }
    let partial = Partial::create(&path)?;
    let partial = &partial.0;
    let failed = |error: std::io::Error| Error::Unavailable(format!("{}: {error}", partial.display()));
    let mut source = std::fs::File::open(from).map_err(failed)?;
    let mut target = std::fs::OpenOptions::new().write(true).open(partial).map_err(failed)?;
    std::io::copy(&mut source, &mut target).map_err(failed)?;
    drop(target);
    let connection = connect(partial, None, false)?;
    connection
        .execute_batch("DELETE FROM lease; UPDATE event SET lease = 0 WHERE lease <> 0")
        .map_err(disk)?;
    settle(&connection, revision)?;
    drop(connection);
    publish(partial, &path)
}

/// Checks a file, all pages and all changes. Returns how many objects live in it, and its revision.
pub(crate) fn check(path: &Path) -> Result<(u64, Revision)> {
    let (objects, revision) = objects(path)?;
    Ok((objects.len() as u64, revision))
}

/// Checks a file, and reads what lives in it.
pub(crate) fn objects(path: &Path) -> Result<(Vec<Arc<Object>>, Revision)> {
    let read = || {
        let connection = connect(path, None, true)?;
        check_identity(&connection)?;
        check_all_pages(&connection)?;
        let (state, _) = load(&connection, 0)?;
        let mut objects: Vec<_> = state.index.live().cloned().collect();
        objects.sort_unstable_by(|one, other| one.key.cmp(&other.key));
        Ok((objects, state.revision))
    };
    read().map_err(|error| at(path, error))
}
