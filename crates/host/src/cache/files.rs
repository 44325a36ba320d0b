//! Files that are whole, private, and known again.

use std::fs::{self, DirBuilder, File, Metadata, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use rustix::time::{ClockId, clock_gettime};
use shoal_runtime::Refusal;
use tempfile::NamedTempFile;

/// The names of files that are not whole yet start with this.
pub(super) const UNFINISHED: &str = ".unfinished-";

/// The kernel's coarse clock ticks at least a hundred times a second; a file system that runs so far ahead of
/// it has a clock of its own.
const TICK_TRIES_MAX: u32 = 50;

/// One try.
const TICK_TRY: Duration = Duration::from_millis(1);

/// What tells one file from another, and a file from itself before a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Device number.
    pub dev: u64,
    /// Inode number.
    pub ino: u64,
    /// Bytes.
    pub size: u64,
    /// Change time in nanoseconds since the epoch. Nobody but the file system sets it.
    pub changed: i128,
    /// Modification time in nanoseconds since the epoch.
    pub modified: i128,
}

impl Identity {
    /// Device, inode and the two times; the size stands elsewhere.
    pub(super) const BYTES: usize = 8 + 8 + 16 + 16;

    /// The identity of an open file.
    pub(super) fn of(file: &File) -> io::Result<Self> {
        Ok(Self::from(&file.metadata()?))
    }

    pub(super) fn to_bytes(self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[..8].copy_from_slice(&self.dev.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.ino.to_le_bytes());
        bytes[16..32].copy_from_slice(&self.changed.to_le_bytes());
        bytes[32..].copy_from_slice(&self.modified.to_le_bytes());
        bytes
    }

    pub(super) fn from_bytes(bytes: &[u8; Self::BYTES], size: u64) -> Self {
        let (dev, rest) = bytes.split_first_chunk().expect("the array is this long");
        let (ino, rest) = rest.split_first_chunk().expect("the array is this long");
        let (changed, rest) = rest.split_first_chunk().expect("the array is this long");
        let (modified, _) = rest.split_first_chunk().expect("the array is this long");
        Self {
            dev: u64::from_le_bytes(*dev),
            ino: u64::from_le_bytes(*ino),
            size,
            changed: i128::from_le_bytes(*changed),
            modified: i128::from_le_bytes(*modified),
        }
    }
}

impl From<&Metadata> for Identity {
    fn from(metadata: &Metadata) -> Self {
        Self {
            dev: metadata.dev(),
            ino: metadata.ino(),
            size: metadata.len(),
            changed: nanos(metadata.ctime(), metadata.ctime_nsec()),
            modified: nanos(metadata.mtime(), metadata.mtime_nsec()),
        }
    }
}

fn nanos(seconds: i64, nanos: i64) -> i128 {
    i128::from(seconds) * 1_000_000_000 + i128::from(nanos)
}

/// Size and identity of a file, once a later change would show in its change time. File times move in ticks:
/// a change within the tick of the last one would not show. None when that moment does not come.
pub(super) fn settled_identity(file: &File) -> io::Result<(u64, Option<Identity>)> {
    let identity = Identity::of(file)?;
    for _ in 0..TICK_TRIES_MAX {
        let now = clock_gettime(ClockId::RealtimeCoarse);
        if nanos(now.tv_sec, now.tv_nsec) > identity.changed.max(identity.modified) {
            return Ok((identity.size, Some(identity)));
        }
        std::thread::park_timeout(TICK_TRY);
    }
    Ok((identity.size, None))
}

/// Opens a plain file for reading; a symbolic link at its name is an error.
pub(super) fn open(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path)?;
    if file.metadata()?.is_file() {
        Ok(file)
    } else {
        Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a plain file"))
    }
}

/// An unfinished file of mode 0600, removed when dropped.
pub(super) fn new_file(dir: &Path) -> io::Result<NamedTempFile> {
    tempfile::Builder::new().prefix(UNFINISHED).permissions(Permissions::from_mode(0o600)).tempfile_in(dir)
}

/// An unfinished file with this content, on disk.
pub(super) fn whole(dir: &Path, content: &[u8]) -> io::Result<NamedTempFile> {
    let mut file = new_file(dir)?;
    file.write_all(content)?;
    file.as_file().sync_all()?;
    Ok(file)
}

/// Gives a whole file its name, on disk too.
pub(super) fn publish(whole: NamedTempFile, dir: &Path, path: &Path) -> io::Result<()> {
    whole.persist(path)?;
    sync_dir(dir)
}

pub(super) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Waits until nobody else changes the directory; dropping the file lets the next one.
pub(super) fn lock(dir: &Path) -> io::Result<File> {
    let file =
        OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(dir.join("lock"))?;
    flock(&file, FlockOperation::LockExclusive)?;
    Ok(file)
}

/// Makes a directory with mode 0700 unless it is there, and refuses one that others could write.
pub(super) fn private_dir(dir: &Path) -> Result<(), Refusal> {
    let shown = dir.display();
    let unusable = |error: io::Error| {
        Refusal::new(format!("cannot use the directory {shown}: {error}"))
            .hint("choose one that this user can write with --data-dir")
    };
    DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(unusable)?;
    let metadata = fs::metadata(dir).map_err(unusable)?;
    check_owner(dir, &metadata)?;
    if metadata.mode() & 0o022 != 0 {
        return Err(Refusal::new(format!(
            "others can write the directory {shown} (mode {:o}), and could put code there that runs as this user",
            metadata.mode() & 0o7777
        ))
        .hint(format!("chmod 700 {shown}, or choose another with --data-dir")));
    }
    Ok(())
}

/// Refuses what belongs to another user; root's is fine, as root can do everything anyway.
pub(super) fn check_owner(path: &Path, metadata: &Metadata) -> Result<(), Refusal> {
    check_owner_is(path, metadata, rustix::process::geteuid().as_raw())
}

fn check_owner_is(path: &Path, metadata: &Metadata, user: u32) -> Result<(), Refusal> {
    if metadata.uid() == user || metadata.uid() == 0 {
        return Ok(());
    }
    let shown = path.display();
    Err(Refusal::new(format!(
        "{shown} belongs to user {}, not to user {user} who runs shoal",
        metadata.uid()
    ))
    .hint(format!("chown {user} {shown}, or choose another data directory with --data-dir")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_another_user_owns_is_refused() {
        let file = NamedTempFile::new().expect("a file");
        let metadata = file.as_file().metadata().expect("its metadata");
        assert_eq!(check_owner_is(file.path(), &metadata, metadata.uid()), Ok(()));
        if metadata.uid() != 0 {
            let refusal = check_owner_is(file.path(), &metadata, metadata.uid() + 1).expect_err("refused");
            assert!(refusal.what.contains("belongs to user"), "{refusal}");
        }
    }

    #[test]
    fn an_identity_settles_and_shows_every_later_change() {
        let mut file = NamedTempFile::new().expect("a file");
        for round in 0..3 {
            let (_, settled) = settled_identity(file.as_file()).expect("its identity");
            assert_eq!(settled, Identity::of(file.as_file()).ok());
            assert!(settled.is_some());
            file.write_all(&[round]).expect("written");
            let size = settled.expect("settled").size;
            file.as_file().set_len(size).expect("same size");
            assert_ne!(settled, Identity::of(file.as_file()).ok(), "round {round}");
        }
    }
}
