//! The compile cache: machine code by content, trusted only when this installation made it.
//!
//! Compiled code is mapped and run without a check of what is in it, so whoever can put a file into the cache
//! can run anything as this user. Each entry `KEY.cwasm` therefore has a seal `KEY.seal`: a MAC, under a secret
//! of this installation, over the key, the BLAKE3 digest of the content and the identity of the file (device,
//! inode, size, change and modification time). An entry whose identity is as sealed is trusted without being
//! read: a change of the content changes the change time. An entry with another identity (restored from a
//! backup, say) is read once and sealed anew. Everything else is removed and is a miss.
//!
//! What this does not see: bits that rot on the disk without a write, and an attacker who already is this user or root.
//!
//! Entries appear under their name only when they are whole and on disk. Several processes may share a cache:
//! changes are made under a lock file, reads take no lock. All calls block; none takes long but
//! [`Cache::put`] and a first [`Cache::import`], which write and hash the whole code.

mod evict;
mod export;
mod files;
mod identity;
mod installation;
mod seal;

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use shoal_base::units::Bytes;
use shoal_runtime::Refusal;
use shoal_runtime::report::{Row, Section};

pub(crate) use export::WASMTIME;
pub use export::{About, Imported, Trailer, TrailerError};
pub use identity::{ArtifactDigest, EngineDigest, Form, Key, host_target};
pub use installation::InstallationKey;
pub use seal::{Seal, SealError};

use files::Identity;

/// A thousand components of Rust take 200 MiB, a hundred of JavaScript 3.6 GiB.
const CACHE_BYTES_MAX: Bytes = Bytes::gib(4);

/// A compile cache in a directory. Cheap to use from many threads and processes at once.
#[derive(Debug)]
pub struct Cache {
    dir: PathBuf,
    key: InstallationKey,
    bytes_max: Bytes,
}

/// Why compiled code could not be kept. It can still be used from memory.
#[derive(Debug, thiserror::Error)]
#[error("cannot keep compiled code in {}", dir.display())]
pub struct PutError {
    dir: PathBuf,
    source: io::Error,
}

/// What is known of an entry without reading all of it.
enum Look {
    /// No such entry.
    Absent,
    /// As sealed.
    Trusted,
    /// Sealed by this installation, but the file is another one: its content decides.
    Moved(Seal),
    /// Not to be trusted, and why.
    Broken(String),
}

impl Cache {
    /// Opens the cache `cache/` of a data directory, and makes what is missing: the directories (mode 0700) and
    /// the installation's secret `installation.key` (32 random bytes, mode 0600).
    ///
    /// # Errors
    /// When a directory or the secret belongs to another user, can be written by others, or cannot be made.
    pub fn open(data_dir: &Path) -> Result<Self, Refusal> {
        files::private_dir(data_dir)?;
        let key = InstallationKey::open_or_make(&data_dir.join("installation.key"))?;
        Self::open_with(data_dir, key)
    }

    /// Opens the cache with a secret that other machines have too (`--key FILE`), so that they load each
    /// other's `.cwasm` files.
    ///
    /// # Errors
    /// As [`Cache::open`].
    pub fn open_with(data_dir: &Path, key: InstallationKey) -> Result<Self, Refusal> {
        files::private_dir(data_dir)?;
        let dir = data_dir.join("cache");
        files::private_dir(&dir)?;
        Ok(Self { dir, key, bytes_max: CACHE_BYTES_MAX })
    }

    /// Changes how large all entries together may become; the default is 4 GiB.
    #[must_use]
    pub fn with_bytes_max(self, bytes_max: Bytes) -> Self {
        Self { bytes_max, ..self }
    }

    /// The path of an entry that this installation made, ready for `deserialize_file`. Between this call and
    /// its use another process may evict the entry: a file that is not found is a miss.
    pub fn get(&self, key: &Key) -> Option<PathBuf> {
        let entry = self.entry(key);
        match self.look(key) {
            Look::Absent => return None,
            Look::Trusted => {}
            Look::Moved(_) | Look::Broken(_) => self.settle(key)?,
        }
        evict::touch(&self.seal(key));
        Some(entry)
    }

    /// Keeps compiled code. An entry that is there already and trusted stays as it is.
    ///
    /// # Errors
    /// When the code cannot be written. The cache is then as it was.
    pub fn put(&self, key: &Key, compiled: &[u8]) -> Result<PathBuf, PutError> {
        let failed = |source| PutError { dir: self.dir.clone(), source };
        let whole = files::whole(&self.dir, compiled).map_err(failed)?;
        let _lock = files::lock(&self.dir).map_err(failed)?;
        let entry = self.entry(key);
        if !matches!(self.look(key), Look::Trusted) {
            files::publish(whole, &self.dir, &entry).map_err(failed)?;
            self.make_seal(key, &entry, blake3::hash(compiled)).map_err(failed)?;
        }
        evict::evict(&self.dir, self.bytes_max, &entry);
        Ok(entry)
    }

    /// What the cache holds, for `shoal doctor`.
    pub fn section(&self) -> Section {
        let (entries, bytes) = evict::usage(&self.dir);
        let size = format!("{entries} entries, {}MiB of {}", bytes >> 20, self.bytes_max);
        Section::new("Compile cache", vec![Row::ok("entries", size, self.dir.display().to_string())])
    }

    fn entry(&self, key: &Key) -> PathBuf {
        self.dir.join(format!("{key}.cwasm"))
    }

    fn seal(&self, key: &Key) -> PathBuf {
        self.dir.join(format!("{key}.seal"))
    }

    /// Looks at an entry without reading it.
    fn look(&self, key: &Key) -> Look {
        let file = match files::open(&self.entry(key)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Look::Absent,
            Err(error) => return Look::Broken(format!("it cannot be opened: {error}")),
        };
        let seal = match files::open(&self.seal(key)).and_then(read_seal) {
            Ok(bytes) => bytes,
            Err(error) => return Look::Broken(format!("its seal cannot be read: {error}")),
        };
        let seal = match Seal::parse(&seal, &self.key) {
            Ok(seal) if seal.key == *key => seal,
            Ok(_) => return Look::Broken("its seal is that of another entry".to_string()),
            Err(error) => return Look::Broken(error.to_string()),
        };
        match Identity::of(&file) {
            Ok(identity) if seal.identity == Some(identity) => Look::Trusted,
            Ok(identity) if identity.size == seal.size => Look::Moved(seal),
            Ok(identity) => {
                Look::Broken(format!("it has {} bytes, sealed were {}", identity.size, seal.size))
            }
            Err(error) => Look::Broken(format!("it cannot be examined: {error}")),
        }
    }

    /// Decides about a doubtful entry, alone: seals it anew when its content is as sealed, else removes it.
    fn settle(&self, key: &Key) -> Option<()> {
        let entry = self.entry(key);
        let settled = files::lock(&self.dir).map_err(|error| error.to_string()).and_then(|_lock| {
            let broken = match self.look(key) {
                Look::Trusted => return Ok(()),
                Look::Absent => return Err("it is gone".to_string()),
                Look::Broken(why) => why,
                Look::Moved(seal) => match self.seal_anew(key, &entry, &seal) {
                    Ok(()) => return Ok(()),
                    Err(why) => why,
                },
            };
            self.remove(key);
            Err(broken)
        });
        if let Err(reason) = &settled {
            tracing::warn!(entry = %entry.display(), reason, "compiled code is not trusted; compiling again");
        }
        settled.ok()
    }

    /// Seals an entry again whose content is as it was sealed; else says why not.
    fn seal_anew(&self, key: &Key, entry: &Path, seal: &Seal) -> Result<(), String> {
        let content =
            files::open(entry).and_then(digest).map_err(|error| format!("it cannot be read: {error}"))?;
        if content != seal.content {
            return Err("its content was changed".to_string());
        }
        self.make_seal(key, entry, content).map_err(|error| format!("it cannot be sealed anew: {error}"))
    }

    fn make_seal(&self, key: &Key, entry: &Path, content: blake3::Hash) -> io::Result<()> {
        let (size, identity) = files::settled_identity(&files::open(entry)?)?;
        let seal = Seal { key: *key, content, size, identity };
        let whole = files::whole(&self.dir, &seal.to_bytes(&self.key))?;
        files::publish(whole, &self.dir, &self.seal(key))
    }

    fn remove(&self, key: &Key) {
        for path in [self.seal(key), self.entry(key)] {
            if let Err(error) = fs::remove_file(&path)
                && error.kind() != io::ErrorKind::NotFound
            {
                tracing::warn!(file = %path.display(), %error, "cannot remove what is not trusted");
            }
        }
    }
}

/// Reads no more than shows that a file is not a seal.
fn read_seal(file: File) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(seal::SEAL_BYTES + 1);
    file.take(seal::SEAL_BYTES as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn digest(mut file: File) -> io::Result<blake3::Hash> {
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(&mut file)?;
    Ok(hasher.finalize())
}
