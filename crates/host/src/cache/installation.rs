//! The secret of an installation, and the refusal of one that others know or can change.

use std::fmt;
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use shoal_runtime::Refusal;

use super::files;

/// As many bytes as a BLAKE3 key has.
const KEY_BYTES: usize = 32;

/// The secret with which an installation seals what it compiled. Two machines with the same secret trust each
/// other's code.
#[derive(Clone)]
pub struct InstallationKey([u8; KEY_BYTES]);

impl fmt::Debug for InstallationKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("InstallationKey(secret)")
    }
}

impl InstallationKey {
    /// A key of these bytes.
    pub const fn from_bytes(bytes: [u8; KEY_BYTES]) -> Self {
        Self(bytes)
    }

    /// Reads the key, and makes it when there is none. Of several processes that start at once, one makes it.
    ///
    /// # Errors
    /// As [`InstallationKey::open`], and when it cannot be made.
    pub fn open_or_make(path: &Path) -> Result<Self, Refusal> {
        if !path.exists() {
            make(path).map_err(|error| {
                Refusal::new(format!("cannot make the installation key {}: {error}", path.display()))
                    .hint("choose a directory that this user can write with --data-dir")
            })?;
        }
        Self::open(path)
    }

    /// Reads a key file: 32 bytes that only this user may read.
    ///
    /// # Errors
    /// When it cannot be read, is not 32 bytes, belongs to another user, or others may read or write it.
    pub fn open(path: &Path) -> Result<Self, Refusal> {
        let shown = path.display();
        let unreadable = |error: io::Error| {
            Refusal::new(format!("cannot read the installation key {shown}: {error}"))
                .hint("a key file is a plain file of this user; shoal makes one in its data directory")
        };
        let file = files::open(path).map_err(unreadable)?;
        let metadata = file.metadata().map_err(unreadable)?;
        files::check_owner(path, &metadata)?;
        if metadata.mode() & 0o077 != 0 {
            return Err(Refusal::new(format!(
                "others can read or write the installation key {shown} (mode {:o}); whoever has it can run code here",
                metadata.permissions().mode() & 0o7777
            ))
            .hint(format!("if nobody had it: chmod 600 {shown}; else remove it, and all is compiled again")));
        }
        let mut bytes = Vec::with_capacity(KEY_BYTES + 1);
        file.take(KEY_BYTES as u64 + 1).read_to_end(&mut bytes).map_err(unreadable)?;
        let bytes = bytes.try_into().map_err(|_| {
            Refusal::new(format!("the installation key {shown} is not {KEY_BYTES} bytes long"))
                .hint("a key is 32 random bytes; one in a data directory may be removed: another is made, and all is compiled again")
        })?;
        Ok(Self(bytes))
    }

    /// The MAC of these bytes for one purpose. The purposes are apart: what is sealed for one is nothing for
    /// another.
    pub(super) fn mac(&self, purpose: &'static str, bytes: &[u8]) -> blake3::Hash {
        blake3::keyed_hash(&blake3::derive_key(purpose, &self.0), bytes)
    }
}

/// Writes 32 random bytes to a new file that appears whole, or finds that another process was first.
fn make(path: &Path) -> io::Result<()> {
    let dir = path.parent().unwrap_or(Path::new("."));
    let mut bytes = [0; KEY_BYTES];
    let filled = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())?;
    if filled != KEY_BYTES {
        return Err(io::Error::other("the kernel gave too few random bytes"));
    }
    let mut file = files::new_file(dir)?;
    file.write_all(&bytes)?;
    file.as_file().sync_all()?;
    match file.persist_noclobber(path) {
        Ok(_) => files::sync_dir(dir),
        Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error.error),
    }
}
