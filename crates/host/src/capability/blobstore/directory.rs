//! Containers in a directory: one directory per container, one file per object, named by [`name::encode`].
//!
//! An object is written to a temporary file in `.tmp`, synced, and renamed to its place: it is there whole or
//! not at all, also after a crash. Files that are not ours (links, directories, names that no object has) are
//! neither listed nor touched, except that a container that is deleted goes with all it holds.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use shoal_base::units;
use shoal_runtime::Refusal;

use super::value::{Source, Spool};
use super::{Backend, Names, ObjectHead, Outcome, disk_failed, name, no_container, no_object};
use crate::capability::text::shown;

/// Largest store in a directory: one guest must not fill the node's disk.
pub(super) const DIRECTORY_BYTES_MAX: u64 = 16 << 30;
/// What an object costs beyond its bytes: a block and an inode. It bounds the number of empty objects.
pub(super) const OBJECT_BYTES: u64 = 4 << 10;
/// Temporary files older than this belong to nobody: a crash left them.
const LEFTOVER_AGE: Duration = Duration::from_secs(24 * 60 * 60);
/// Holds what is not yet, or no longer, an object. No container's file name begins with a dot.
const TEMPORARY: &str = ".tmp";

/// Containers in a directory.
pub(super) struct DirectoryStore {
    root: PathBuf,
    temporary: PathBuf,
    /// Size of all objects, with [`OBJECT_BYTES`] each. Held while files come and go, so that it stays right.
    used: Mutex<u64>,
}

impl DirectoryStore {
    /// Opens the directory of the store `name`, making it when it does not exist.
    ///
    /// # Errors
    /// A [`Refusal`] naming the store, the directory, the reason and the way out.
    pub(super) fn open(name: &str, root: &Path) -> Result<Self, Refusal> {
        Self::try_open(root).map_err(|error| {
            let what = format!("the blob store `{}` cannot use {}: {error}", shown(name), root.display());
            Refusal::new(what)
                .unavailable()
                .hint("name a directory that this user can read and write; it is made if its parent exists")
        })
    }

    fn try_open(root: &Path) -> io::Result<Self> {
        match fs::create_dir(root) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        let root = root.canonicalize()?;
        let temporary = root.join(TEMPORARY);
        match fs::create_dir(&temporary) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        // Shows now whether objects can be written.
        tempfile::tempfile_in(&temporary)?;
        remove_leftovers(&temporary, SystemTime::now())?;
        let mut used = 0;
        for container in fs::read_dir(&root)? {
            let container = container?;
            if container.file_name() != TEMPORARY && container.file_type()?.is_dir() {
                used += size_of(&container.path())?;
            }
        }
        Ok(Self { root, temporary, used: Mutex::new(used) })
    }

    /// Where values for this store are gathered.
    pub(super) fn spill(&self) -> &Path {
        &self.temporary
    }

    fn container(&self, name: &str) -> PathBuf {
        self.root.join(name::encode(name))
    }

    fn object(&self, container: &str, object: &str) -> PathBuf {
        self.container(container).join(name::encode(object))
    }

    fn used(&self) -> MutexGuard<'_, u64> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is counted, in bytes.
    #[cfg(test)]
    pub(super) fn counted_bytes(&self) -> u64 {
        *self.used()
    }

    /// Counts as if this were there.
    #[cfg(test)]
    pub(super) fn pretend_used(&self, bytes: u64) {
        *self.used() = bytes;
    }

    /// Fails unless the container is there.
    fn require(&self, container: &str) -> Outcome<()> {
        match self.created(container)? {
            Some(_) => Ok(()),
            None => Err(no_container(container)),
        }
    }

    fn head_at(&self, path: &Path) -> Outcome<Option<ObjectHead>> {
        match fs::symlink_metadata(path) {
            Ok(metadata) if metadata.is_file() => {
                let created = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
                Ok(Some(ObjectHead { bytes: metadata.len(), created }))
            }
            Ok(_) => Ok(None),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(disk_failed("looking for an object", &error)),
        }
    }
}

impl Backend for DirectoryStore {
    fn create(&self, container: &str) -> Outcome<()> {
        let mut used = self.used();
        grow(*used, 0, OBJECT_BYTES)?;
        match fs::create_dir(self.container(container)) {
            Ok(()) => {
                *used += OBJECT_BYTES;
                sync(&self.root)
            }
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                Err(format!("the container `{}` exists already", shown(container)))
            }
            Err(error) => Err(disk_failed("making a container", &error)),
        }
    }

    fn created(&self, container: &str) -> Outcome<Option<SystemTime>> {
        match fs::symlink_metadata(self.container(container)) {
            // Not every file system knows when a directory was made; then the last change must do.
            Ok(metadata) if metadata.is_dir() => {
                let created = metadata.created().or_else(|_| metadata.modified());
                Ok(Some(created.unwrap_or(SystemTime::UNIX_EPOCH)))
            }
            Ok(_) => Ok(None),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(disk_failed("looking for a container", &error)),
        }
    }

    fn remove(&self, container: &str) -> Outcome<()> {
        self.require(container)?;
        let failed = |error: &io::Error| disk_failed("deleting a container", error);
        let grave = tempfile::tempdir_in(&self.temporary).map_err(|error| failed(&error))?;
        let removed = grave.path().join("container");
        {
            let mut used = self.used();
            match fs::rename(self.container(container), &removed) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::NotFound => return Err(no_container(container)),
                Err(error) => return Err(failed(&error)),
            }
            let freed = size_of(&removed).map_err(|error| failed(&error))?;
            *used = used.saturating_sub(freed);
        }
        grave.close().map_err(|error| failed(&error))?;
        sync(&self.root)
    }

    fn put(&self, container: &str, object: &str, value: &mut Spool) -> Outcome<()> {
        self.require(container)?;
        let bytes = value.len();
        let file = value.take_file(&self.temporary)?;
        let path = self.object(container, object);
        {
            let mut used = self.used();
            let freed = self.head_at(&path)?.map_or(0, |old| old.bytes + OBJECT_BYTES);
            let after = grow(*used, freed, bytes + OBJECT_BYTES)?;
            match file.persist(&path) {
                Ok(_) => *used = after,
                Err(lost) if lost.error.kind() == ErrorKind::NotFound => return Err(no_container(container)),
                Err(lost) => return Err(disk_failed("placing an object", &lost.error)),
            }
        }
        sync(&self.container(container))
    }

    fn get(&self, container: &str, object: &str) -> Outcome<Source> {
        self.require(container)?;
        // A link is not ours: it could lead anywhere. Nonblocking: nor is a pipe, which would wait for ever.
        let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
        let opened = OpenOptions::new().read(true).custom_flags(flags).open(self.object(container, object));
        let file = match opened {
            Ok(file) => file,
            Err(error)
                if error.kind() == ErrorKind::NotFound || error.raw_os_error() == Some(libc::ELOOP) =>
            {
                return Err(no_object(object));
            }
            Err(error) => return Err(disk_failed("opening an object", &error)),
        };
        let metadata = file.metadata().map_err(|error| disk_failed("opening an object", &error))?;
        if !metadata.is_file() {
            return Err(no_object(object));
        }
        Ok(Source::File { file: Arc::new(file), bytes: metadata.len() })
    }

    fn head(&self, container: &str, object: &str) -> Outcome<Option<ObjectHead>> {
        self.require(container)?;
        self.head_at(&self.object(container, object))
    }

    fn delete(&self, container: &str, object: &str) -> Outcome<()> {
        self.require(container)?;
        let path = self.object(container, object);
        {
            let mut used = self.used();
            let Some(head) = self.head_at(&path)? else { return Ok(()) };
            match fs::remove_file(&path) {
                Ok(()) => *used = used.saturating_sub(head.bytes + OBJECT_BYTES),
                Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
                Err(error) => return Err(disk_failed("deleting an object", &error)),
            }
        }
        sync(&self.container(container))
    }

    fn clear(&self, container: &str) -> Outcome<()> {
        self.require(container)?;
        let failed = |error: &io::Error| disk_failed("clearing a container", error);
        let path = self.container(container);
        for entry in fs::read_dir(&path).map_err(|error| failed(&error))? {
            let entry = entry.map_err(|error| failed(&error))?;
            if entry.file_name().to_str().and_then(name::decode).is_none() {
                continue;
            }
            let mut used = self.used();
            if let Some(head) = self.head_at(&entry.path())? {
                fs::remove_file(entry.path()).map_err(|error| failed(&error))?;
                *used = used.saturating_sub(head.bytes + OBJECT_BYTES);
            }
        }
        sync(&path)
    }

    fn list(self: Arc<Self>, container: &str) -> Outcome<Names> {
        self.require(container)?;
        let failed = |error: &io::Error| disk_failed("listing a container", error);
        let entries = fs::read_dir(self.container(container)).map_err(|error| failed(&error))?;
        Ok(Box::new(entries.filter_map(move |entry| {
            let entry = match entry {
                Ok(entry) => entry,
                Err(error) => return Some(Err(failed(&error))),
            };
            let is_file = entry.file_type().is_ok_and(|kind| kind.is_file());
            let object = entry.file_name().to_str().and_then(name::decode).filter(|_| is_file)?;
            Some(Ok(object))
        })))
    }

    fn rename(&self, from: (&str, &str), to: (&str, &str)) -> Outcome<()> {
        self.require(from.0)?;
        self.require(to.0)?;
        let (source, target) = (self.object(from.0, from.1), self.object(to.0, to.1));
        {
            let mut used = self.used();
            if self.head_at(&source)?.is_none() {
                return Err(no_object(from.1));
            }
            if source == target {
                return Ok(());
            }
            let freed = self.head_at(&target)?.map_or(0, |old| old.bytes + OBJECT_BYTES);
            fs::rename(&source, &target).map_err(|error| disk_failed("moving an object", &error))?;
            *used = used.saturating_sub(freed);
        }
        sync(&self.container(to.0))?;
        sync(&self.container(from.0))
    }

    fn spill_directory(&self) -> Option<&Path> {
        Some(&self.temporary)
    }
}

/// The size of the store after something goes and something comes.
fn grow(used: u64, freed: u64, added: u64) -> Outcome<u64> {
    let after = used.saturating_sub(freed) + added;
    if after > DIRECTORY_BYTES_MAX && added > freed {
        let max = units::Bytes(DIRECTORY_BYTES_MAX);
        return Err(format!("the store is full: at most {max}; delete something first"));
    }
    Ok(after)
}

/// Makes what came and went in the directory safe on the disk.
fn sync(directory: &Path) -> Outcome<()> {
    match File::open(directory).and_then(|directory| directory.sync_all()) {
        // Somebody deleted the container meanwhile, and has synced that.
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        result => result.map_err(|error| disk_failed("syncing a directory", &error)),
    }
}

/// What a container counts for: itself and its objects.
fn size_of(container: &Path) -> io::Result<u64> {
    let mut bytes = OBJECT_BYTES;
    for entry in fs::read_dir(container)? {
        let metadata = match entry?.metadata() {
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            metadata => metadata?,
        };
        if metadata.is_file() {
            bytes += metadata.len() + OBJECT_BYTES;
        }
    }
    Ok(bytes)
}

/// Removes what a crash left behind. Younger files may belong to a process that is at work.
fn remove_leftovers(temporary: &Path, now: SystemTime) -> io::Result<()> {
    for entry in fs::read_dir(temporary)? {
        let entry = entry?;
        let metadata = match entry.metadata() {
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            metadata => metadata?,
        };
        let age = metadata.modified().ok().and_then(|modified| now.duration_since(modified).ok());
        if age.is_some_and(|age| age > LEFTOVER_AGE) {
            // Another process may be removing it too.
            let _ = if metadata.is_dir() {
                fs::remove_dir_all(entry.path())
            } else {
                fs::remove_file(entry.path())
            };
        }
    }
    Ok(())
}
