//! The directory of the store: contents by their digest, what references mean, and what is not whole yet.
//!
//! ```text
//! blobs/sha256/HEX      a whole artifact, read only, checked before it got this name
//! references/HEX.json   what one reference means; HEX is the digest of its text, and its time that of its last use
//! partial/HEX           what has come so far of a blob; locked by who fetches it
//! ```

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use tempfile::NamedTempFile;

use super::digest::Hasher;
use super::{Digest, FetchError, Image};

/// The directory of a store.
#[derive(Clone, Debug)]
pub(super) struct Files {
    pub(super) blobs: PathBuf,
    pub(super) references: PathBuf,
    pub(super) partial: PathBuf,
}

/// What a reference means.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    /// The reference in full.
    pub(super) image: String,
    /// What the registry answered for it: a manifest or an index.
    pub(super) manifest: Digest,
    /// The WebAssembly.
    pub(super) artifact: Digest,
    /// The file of the WebAssembly when its content was last read and found right.
    pub(super) file: Identity,
}

/// Largest record: a reference and some numbers.
const RECORD_BYTES_MAX: u64 = 16 << 10;

/// What tells a file from another, and from itself before a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Identity {
    device: u64,
    inode: u64,
    pub(super) size_bytes: u64,
    /// Seconds and nanoseconds.
    changed: (i64, i64),
    modified: (i64, i64),
}

impl From<&fs::Metadata> for Identity {
    fn from(metadata: &fs::Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size_bytes: metadata.len(),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
        }
    }
}

impl Files {
    pub(super) fn open(root: &Path) -> Result<Self, FetchError> {
        let files = Self {
            blobs: root.join("blobs/sha256"),
            references: root.join("references"),
            partial: root.join("partial"),
        };
        for dir in [&files.blobs, &files.references, &files.partial] {
            let made = DirBuilder::new().recursive(true).mode(0o700).create(dir);
            made.map_err(|error| {
                FetchError::disk("make the directory", dir, &error).hint("choose another with --data-dir")
            })?;
        }
        Ok(files)
    }

    pub(super) fn blob(&self, digest: Digest) -> PathBuf {
        self.blobs.join(digest.hex())
    }

    pub(super) fn reference(&self, image: &Image) -> PathBuf {
        self.references.join(format!("{}.json", Digest::of(image.to_string().as_bytes()).hex()))
    }

    /// What a reference means; none when it is not known, or what is known cannot be read.
    pub(super) fn record(&self, image: &Image) -> Option<Record> {
        read_record(&self.reference(image)).filter(|record| record.image == image.to_string())
    }

    pub(super) fn write_record(&self, image: &Image, record: &Record) -> Result<(), FetchError> {
        let path = self.reference(image);
        let text = serde_json::to_vec(record).expect("plain data is JSON");
        let written = self.temporary().and_then(|mut file| {
            file.write_all(&text)?;
            publish(file, &path)
        });
        written.map_err(|error| FetchError::disk("write", &path, &error))
    }

    /// A file without a name that lasts.
    pub(super) fn temporary(&self) -> io::Result<NamedTempFile> {
        tempfile::Builder::new().prefix(UNFINISHED).tempfile_in(&self.partial)
    }

    /// Gives whole content its name. Comes back with what the file is then.
    pub(super) fn keep(&self, file: NamedTempFile, digest: Digest) -> Result<Identity, FetchError> {
        let path = self.blob(digest);
        let kept = file.as_file().set_permissions(Permissions::from_mode(0o400));
        let kept = kept.and_then(|()| publish(file, &path)).and_then(|()| fs::metadata(&path));
        kept.map(|metadata| Identity::from(&metadata))
            .map_err(|error| FetchError::disk("write", &path, &error))
    }
}

/// Names of temporary files begin so.
pub(super) const UNFINISHED: &str = ".unfinished-";

/// Gives a file its name, on the disk too.
fn publish(file: NamedTempFile, path: &Path) -> io::Result<()> {
    file.as_file().sync_all()?;
    file.persist(path)?;
    path.parent().map_or(Ok(()), |dir| File::open(dir)?.sync_all())
}

pub(super) fn read_record(path: &Path) -> Option<Record> {
    let mut text = Vec::new();
    File::open(path).ok()?.take(RECORD_BYTES_MAX + 1).read_to_end(&mut text).ok()?;
    serde_json::from_slice(&text).ok()
}

/// Says that a file was used now.
pub(super) fn touch(path: &Path, now: SystemTime) {
    // That this fails costs a fetch later, when the file is thrown away too early.
    let touched = OpenOptions::new().write(true).open(path).and_then(|file| file.set_modified(now));
    if let Err(error) = touched {
        tracing::debug!("cannot touch {}: {error}", path.display());
    }
}

/// Whether a path names this open file.
fn is_at(open: &File, path: &Path) -> io::Result<bool> {
    let inode = |metadata: fs::Metadata| (metadata.dev(), metadata.ino());
    match fs::metadata(path) {
        Ok(named) => Ok(inode(named) == inode(open.metadata()?)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// A blob of which a part may be there.
pub(super) struct Partial {
    /// Taken when it is given its name.
    file: Option<NamedTempFile>,
    hasher: Hasher,
    path: PathBuf,
}

impl Partial {
    /// What an earlier try has left, or nothing yet. Where another process is at it, a file of one's own.
    pub(super) fn open(files: &Files, digest: Digest) -> Result<Self, FetchError> {
        let path = files.partial.join(digest.hex());
        Self::open_at(files, &path).map_err(|error| FetchError::disk("write", &path, &error))
    }

    fn open_at(files: &Files, path: &Path) -> io::Result<Self> {
        let open = loop {
            let open = OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(path)?;
            match open.try_lock() {
                // Whoever had it may have renamed or removed it between the two: then the name is another file's.
                Ok(()) if is_at(&open, path)? => break open,
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    let file = files.temporary()?;
                    let path = file.path().to_owned();
                    return Ok(Self { file: Some(file), hasher: Hasher::default(), path });
                }
                Err(TryLockError::Error(error)) => return Err(error),
            }
        };
        let mut hasher = Hasher::default();
        let mut buffer = vec![0; 64 << 10];
        let mut reader = &open;
        loop {
            match reader.read(&mut buffer)? {
                0 => break,
                read => hasher.update(&buffer[..read]),
            }
        }
        let mut file = NamedTempFile::from_parts(open, tempfile::TempPath::try_from_path(path)?);
        // It outlives a fetch that fails: the next one goes on from it.
        file.disable_cleanup(true);
        Ok(Self { file: Some(file), hasher, path: path.to_owned() })
    }

    pub(super) fn size_bytes(&self) -> u64 {
        self.hasher.size_bytes
    }

    /// The digest of what is there.
    pub(super) fn digest(&self) -> Digest {
        self.hasher.clone().finish()
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), FetchError> {
        let file = self.file.as_mut().expect("it is taken at the end only");
        file.write_all(bytes).map_err(|error| FetchError::disk("write", &self.path, &error))?;
        self.hasher.update(bytes);
        Ok(())
    }

    /// Throws away what is there.
    pub(super) fn restart(&mut self) -> Result<(), FetchError> {
        self.hasher = Hasher::default();
        let file = self.file.as_mut().expect("it is taken at the end only");
        let cut = file.as_file().set_len(0).and_then(|()| io::Seek::rewind(file));
        cut.map_err(|error| FetchError::disk("write", &self.path, &error))
    }

    /// The whole file, which is removed unless it is kept.
    pub(super) fn into_file(mut self) -> NamedTempFile {
        let mut file = self.file.take().expect("it is taken once");
        file.disable_cleanup(false);
        file
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open() -> (tempfile::TempDir, Files) {
        let dir = tempfile::tempdir().expect("a directory");
        let files = Files::open(&dir.path().join("store")).expect("a store");
        (dir, files)
    }

    #[test]
    fn a_part_is_gone_on_with() {
        let (_dir, files) = open();
        let digest = Digest::of(b"onetwo");
        let mut first = Partial::open(&files, digest).expect("a file");
        first.write(b"one").expect("written");
        drop(first);
        let mut next = Partial::open(&files, digest).expect("a file");
        assert_eq!(next.size_bytes(), 3);
        next.write(b"two").expect("written");
        assert_eq!(next.digest(), digest);
        let identity = files.keep(next.into_file(), digest).expect("kept");
        assert_eq!(fs::read(files.blob(digest)).expect("there"), b"onetwo");
        assert_eq!(identity.size_bytes, 6);
        assert_eq!(fs::read_dir(&files.partial).expect("a directory").count(), 0);
    }

    #[test]
    fn two_at_once_are_not_in_each_others_way() {
        let (_dir, files) = open();
        let digest = Digest::of(b"x");
        let mut one = Partial::open(&files, digest).expect("a file");
        one.write(b"wrong").expect("written");
        let mut other = Partial::open(&files, digest).expect("another file");
        assert_eq!(other.size_bytes(), 0);
        other.write(b"x").expect("written");
        one.restart().expect("empty");
        one.write(b"x").expect("written");
        for partial in [one, other] {
            assert_eq!(partial.digest(), digest);
            files.keep(partial.into_file(), digest).expect("kept");
        }
        assert_eq!(fs::read(files.blob(digest)).expect("there"), b"x");
    }

    #[test]
    fn a_record_is_of_its_reference() {
        let (_dir, files) = open();
        let image = |text: &str| match text.parse() {
            Ok(super::super::Reference::Image(image)) => image,
            other => panic!("no image: {other:?}"),
        };
        let (one, other) = (image("ghcr.io/a/b:1"), image("ghcr.io/a/b:2"));
        let metadata = fs::metadata(&files.blobs).expect("there");
        let record = Record {
            image: one.to_string(),
            manifest: Digest::of(b"m"),
            artifact: Digest::of(b"a"),
            file: Identity::from(&metadata),
        };
        files.write_record(&one, &record).expect("written");
        assert_eq!(files.record(&one), Some(record));
        assert_eq!(files.record(&other), None);
        fs::copy(files.reference(&one), files.reference(&other)).expect("copied");
        assert_eq!(files.record(&other), None, "a file under a wrong name means nothing");
        fs::write(files.reference(&one), "{").expect("written");
        assert_eq!(files.record(&one), None);
    }
}
