//! Opening: the file is read once, from the newest change to the oldest, and its logic checked on the way.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rusqlite::Connection;

use super::journal::{Meta, meta, revision};
use super::schema::{COLUMNS, Change, disk};
use crate::memory::{Body, State};
use crate::{Error, LeaseId, Result, Revision};

/// Files up to this size have all their pages checked when they are opened, which takes some 100 ms. Of larger
/// ones the pages that hold changes are read anyway; [`check`](crate::backup::check) looks at all.
const CHECKED_FILE_BYTES_MAX: u64 = 64 << 20;

/// Column of the value behind [`COLUMNS`].
const VALUE: usize = 7;

/// Reads everything that lives.
///
/// # Errors
/// [`Error::Corrupt`] says which change contradicts which.
pub(super) fn load(connection: &Connection, ring_bytes_max: usize) -> Result<(State, Meta)> {
    let meta = meta(connection)?;
    let mut state = State::new(ring_bytes_max);
    state.revision = revision(connection)?;
    state.compacted = meta.compacted;
    if meta.compacted > state.revision || meta.cleaned > meta.compacted {
        return Err(Error::Corrupt(format!(
            "it is at revision {}, compacted at {} and cleaned up to {}",
            state.revision, meta.compacted, meta.cleaned
        )));
    }
    load_changes(connection, &mut state)?;
    load_leases(connection, &mut state, Instant::now())?;
    let compacted = state.compacted;
    let mut next = Some(Bytes::new());
    while let Some(from) = next {
        next = state.index.compact(&from, usize::MAX, compacted);
    }
    Ok((state, meta))
}

/// Checks the pages of a file that is not too large for it.
pub(super) fn check_pages(connection: &Connection, file_bytes: u64) -> Result<()> {
    if file_bytes > CHECKED_FILE_BYTES_MAX {
        return Ok(());
    }
    check_all_pages(connection)
}

/// Checks the pages of a file.
pub(super) fn check_all_pages(connection: &Connection) -> Result<()> {
    let verdict: String =
        connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0)).map_err(disk)?;
    if verdict == "ok" { Ok(()) } else { Err(Error::Corrupt(verdict)) }
}

fn load_changes(connection: &Connection, state: &mut State) -> Result<()> {
    let mut chains = Chains { compacted: state.compacted, open: HashMap::new() };
    let read = format!("SELECT {COLUMNS}, value FROM event ORDER BY id DESC");
    let mut read = connection.prepare(&read).map_err(disk)?;
    let mut rows = read.query([]).map_err(disk)?;
    while let Some(row) = rows.next().map_err(disk)? {
        let change = Change::read(row)?;
        let is_newest = !state.index.knows(&change.key);
        let body = if change.is_deleted {
            Body::Deleted
        } else if is_newest {
            let value = row.get_ref(VALUE).map_err(disk)?.as_blob();
            let value = value.map_err(|error| Error::Corrupt(error.to_string()))?;
            match change.object(Bytes::copy_from_slice(value)) {
                Some(object) => Body::Here(object),
                None => Body::Deleted,
            }
        } else {
            Body::OnDisk
        };
        chains.follow(&change)?;
        state.index.load(change.key, change.revision, body);
    }
    state.index.loaded();
    chains.end()
}

/// Follows each key from version to version.
struct Chains {
    compacted: Revision,
    /// The oldest version of each key so far.
    open: HashMap<Bytes, Link>,
}

struct Link {
    revision: Revision,
    replaces: Option<Revision>,
    version: u64,
}

impl Chains {
    fn follow(&mut self, older: &Change) -> Result<()> {
        let link = Link { revision: older.revision, replaces: older.replaces, version: older.version };
        let Some(newer) = self.open.insert(older.key.clone(), link) else { return Ok(()) };
        let is_sound = match newer.replaces {
            None => older.is_deleted,
            // A deletion has no version of its own.
            Some(replaces) => {
                let follows = newer.version == 0 || newer.version == older.version + 1;
                replaces == older.revision && !older.is_deleted && follows
            }
        };
        if is_sound {
            return Ok(());
        }
        let key = older.key.escape_ascii();
        let (before, after) = (older.revision, newer.revision);
        Err(Error::Corrupt(format!(
            "the changes of `{key}` at {before} and {after} do not follow each other"
        )))
    }

    /// What was replaced after the compaction is there.
    fn end(&self) -> Result<()> {
        let is_torn = |link: &Link| link.replaces.is_some_and(|replaces| replaces > self.compacted);
        match self.open.iter().find(|(_, link)| is_torn(link)) {
            None => Ok(()),
            Some((key, link)) => Err(Error::Corrupt(format!(
                "the change of `{}` before {} is missing",
                key.escape_ascii(),
                link.revision
            ))),
        }
    }
}

/// Brings the leases in memory to what the file has. Their lives begin now: nobody can say how long the process was
/// away, and ending one too late is the lesser harm.
pub(super) fn load_leases(connection: &Connection, state: &mut State, now: Instant) -> Result<()> {
    let mut read = connection.prepare("SELECT id, ttl_s FROM lease").map_err(disk)?;
    let rows = read.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).map_err(disk)?;
    state.leases = crate::memory::Leases::default();
    for row in rows {
        let (id, ttl): (i64, i64) = row.map_err(disk)?;
        let ttl = u64::try_from(ttl)
            .ok()
            .map(Duration::from_secs)
            .filter(|ttl| *ttl <= crate::limits::LEASE_TTL_MAX);
        let ttl = ttl.ok_or_else(|| Error::Corrupt(format!("the lease {id:x} lives too long")))?;
        state.leases.add(LeaseId(id), ttl, now);
    }
    for object in state.index.live() {
        if let Some(lease) = object.lease {
            state.leases.attach(lease, &object.key);
        }
    }
    Ok(())
}
