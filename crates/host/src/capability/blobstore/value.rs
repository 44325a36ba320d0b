//! Values on their way in and out.
//!
//! A value that a guest writes is gathered in a spool: the first bytes in memory, the rest in a temporary
//! file beside the store. It becomes an object when the guest finishes it. A value that a guest reads is an
//! open file or bytes in memory, so that it stays as it was whatever happens to the object.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use shoal_base::units;
use tempfile::NamedTempFile;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{Backend, Outcome, disk_failed};

/// Values, in and out, and lists that the instances of one workload may hold at once: each may be an open file.
pub(super) const OPEN_VALUES_MAX: usize = 256;
/// Largest object. Larger data wants an object store that uploads in parts.
pub(super) const OBJECT_BYTES_MAX: u64 = 1 << 30;
/// Bytes that unfinished values of one workload may hold on the disk together.
pub(super) const SPOOLED_BYTES_MAX: u64 = 4 << 30;
/// Bytes of an unfinished value that stay in memory: most objects are small and need no temporary file.
pub(super) const SPOOL_MEMORY_BYTES: usize = 64 << 10;
/// Bytes read or written at once.
pub(super) const CHUNK_BYTES: usize = 64 << 10;
/// Largest value that is given to a guest as one list; a larger one is read as a stream.
pub(super) const WHOLE_VALUE_BYTES_MAX: u64 = 16 << 20;

/// What the values of one workload may use together.
pub(super) struct Budget {
    values: Arc<Semaphore>,
    spooled: AtomicU64,
}

impl Default for Budget {
    fn default() -> Self {
        Self { values: Arc::new(Semaphore::new(OPEN_VALUES_MAX)), spooled: AtomicU64::new(0) }
    }
}

impl Budget {
    /// Room for one more open value or list, given back when the permit is dropped.
    pub(super) fn open_value(&self) -> Outcome<OwnedSemaphorePermit> {
        Arc::clone(&self.values)
            .try_acquire_owned()
            .map_err(|_| format!("{OPEN_VALUES_MAX} values and lists are open; drop some first"))
    }

    fn spool(&self, bytes: u64) -> Outcome<()> {
        let before = self.spooled.fetch_add(bytes, Ordering::Relaxed);
        if before.saturating_add(bytes) > SPOOLED_BYTES_MAX {
            self.spooled.fetch_sub(bytes, Ordering::Relaxed);
            let max = units::Bytes(SPOOLED_BYTES_MAX);
            return Err(format!("unfinished values hold {max}; finish or drop some first"));
        }
        Ok(())
    }
}

/// The resource `outgoing-value`.
#[allow(unreachable_pub, reason = "the bindings re-export it")]
pub struct OutgoingValue {
    pub(super) spool: Arc<Mutex<Spool>>,
    /// Where the value goes when it is finished.
    pub(super) destination: Option<Destination>,
    /// Whether the guest took the stream.
    pub(super) streamed: bool,
    /// Held while the value is open.
    pub(super) _open: OwnedSemaphorePermit,
}

/// Where a value goes when it is finished.
#[derive(Clone)]
pub(super) struct Destination {
    pub(super) store: Arc<dyn Backend>,
    pub(super) container: String,
    pub(super) object: String,
}

/// The resource `incoming-value`: the part of an object that was asked for.
#[allow(unreachable_pub, reason = "the bindings re-export it")]
pub struct IncomingValue {
    pub(super) source: Source,
    /// Offset of the first byte.
    pub(super) start: u64,
    /// Offset after the last byte.
    pub(super) end: u64,
    /// Held while the value is open.
    pub(super) open: OwnedSemaphorePermit,
}

/// Bytes that no longer change.
#[derive(Clone)]
pub(super) enum Source {
    /// In memory.
    Memory(Bytes),
    /// In an open file, whose name may be gone.
    File {
        /// The file.
        file: Arc<File>,
        /// Its size when it was opened.
        bytes: u64,
    },
}

impl Source {
    /// Size in bytes.
    pub(super) fn len(&self) -> u64 {
        match self {
            Self::Memory(bytes) => bytes.len() as u64,
            Self::File { bytes, .. } => *bytes,
        }
    }

    /// Up to `bytes_max` bytes from `offset`; empty only past the end. Blocks when it is a file.
    pub(super) fn read(&self, offset: u64, bytes_max: usize) -> io::Result<Bytes> {
        let left = self.len().saturating_sub(offset);
        let count = usize::try_from(left).unwrap_or(usize::MAX).min(bytes_max);
        match self {
            Self::Memory(bytes) => {
                let start = bytes.len() - usize::try_from(left).unwrap_or(0);
                Ok(bytes.slice(start..start + count))
            }
            Self::File { file, .. } => {
                let mut buffer = vec![0; count];
                file.read_exact_at(&mut buffer, offset)?;
                Ok(buffer.into())
            }
        }
    }
}

/// A value that is being written.
pub(super) struct Spool {
    /// Where the temporary file goes.
    directory: PathBuf,
    /// The beginning of the value, while there is no file.
    memory: Vec<u8>,
    /// All of the value, once it has outgrown memory.
    file: Option<NamedTempFile>,
    /// Bytes accepted and not yet written to the file.
    queue: Vec<Bytes>,
    bytes: u64,
    /// The first failure; the value is corrupt from then on.
    failed: Option<String>,
    budget: Arc<Budget>,
}

impl Spool {
    /// An empty value whose temporary file, if it needs one, goes to `directory`.
    pub(super) fn new(directory: PathBuf, budget: Arc<Budget>) -> Self {
        Self { directory, memory: Vec::new(), file: None, queue: Vec::new(), bytes: 0, failed: None, budget }
    }

    /// Size in bytes.
    pub(super) fn len(&self) -> u64 {
        self.bytes
    }

    /// Prefers this directory for the temporary file, if there is none yet.
    pub(super) fn prefer(&mut self, directory: PathBuf) {
        self.directory = directory;
    }

    /// Accepts bytes without blocking. True: [`drain`](Self::drain) must follow.
    pub(super) fn accept(&mut self, bytes: Bytes) -> Outcome<bool> {
        self.check()?;
        let after = self.bytes + bytes.len() as u64;
        if after > OBJECT_BYTES_MAX {
            let max = units::Bytes(OBJECT_BYTES_MAX);
            return Err(self.fail(format!("the value is larger than {max}, the most an object may have")));
        }
        if let Err(full) = self.budget.spool(bytes.len() as u64) {
            return Err(self.fail(full));
        }
        self.bytes = after;
        if self.file.is_none()
            && self.queue.is_empty()
            && self.memory.len() + bytes.len() <= SPOOL_MEMORY_BYTES
        {
            self.memory.extend_from_slice(&bytes);
            return Ok(false);
        }
        self.queue.push(bytes);
        Ok(true)
    }

    /// Writes what was accepted to the file. Blocks.
    pub(super) fn drain(&mut self) -> Outcome<()> {
        self.check()?;
        if self.queue.is_empty() {
            return Ok(());
        }
        self.try_drain().map_err(|error| self.fail(disk_failed("writing a value", &error)))
    }

    /// The failure that made the value corrupt, if any.
    pub(super) fn check(&self) -> Outcome<()> {
        self.failed.clone().map_or(Ok(()), Err)
    }

    /// All of the value in memory. Blocks.
    pub(super) fn take_bytes(&mut self) -> Outcome<Bytes> {
        self.drain()?;
        let Some(file) = &self.file else { return Ok(Bytes::from(std::mem::take(&mut self.memory))) };
        let mut buffer = vec![0; usize::try_from(self.bytes).map_err(|error| error.to_string())?];
        let read = file.as_file().read_exact_at(&mut buffer, 0);
        read.map_err(|error| disk_failed("reading a value back", &error))?;
        Ok(buffer.into())
    }

    /// All of the value in a temporary file of `directory`, safe on the disk. Blocks.
    pub(super) fn take_file(&mut self, directory: &Path) -> Outcome<NamedTempFile> {
        self.drain()?;
        self.try_take_file(directory).map_err(|error| disk_failed("writing an object", &error))
    }

    /// Appends all of a source. Blocks.
    pub(super) fn append(&mut self, source: &Source) -> Outcome<()> {
        let mut offset = 0;
        while offset < source.len() {
            let chunk =
                source.read(offset, CHUNK_BYTES).map_err(|error| disk_failed("copying an object", &error))?;
            offset += chunk.len() as u64;
            if self.accept(chunk)? {
                self.drain()?;
            }
        }
        Ok(())
    }

    fn try_drain(&mut self) -> io::Result<()> {
        let file = match &mut self.file {
            Some(file) => file,
            None => {
                let file = self.file.insert(NamedTempFile::new_in(&self.directory)?);
                file.write_all(&self.memory)?;
                self.memory = Vec::new();
                file
            }
        };
        for bytes in self.queue.drain(..) {
            file.write_all(&bytes)?;
        }
        Ok(())
    }

    fn try_take_file(&mut self, directory: &Path) -> io::Result<NamedTempFile> {
        let file = match self.file.take() {
            Some(file) if file.path().parent() == Some(directory) => file,
            // Gathered elsewhere, perhaps on another file system, where a rename does not reach.
            Some(elsewhere) => {
                let mut file = NamedTempFile::new_in(directory)?;
                io::copy(&mut elsewhere.reopen()?, file.as_file_mut())?;
                file
            }
            None => {
                let mut file = NamedTempFile::new_in(directory)?;
                file.write_all(&self.memory)?;
                file
            }
        };
        file.as_file().sync_all()?;
        Ok(file)
    }

    /// Marks the value as corrupt, and gives the first reason for it.
    pub(super) fn fail(&mut self, why: String) -> String {
        self.failed.get_or_insert(why).clone()
    }
}

impl Drop for Spool {
    fn drop(&mut self) {
        self.budget.spooled.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}
