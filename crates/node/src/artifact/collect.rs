//! Throwing away what nobody has used for the longest time.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::files::read_record;
use super::{Digest, Reference, Store};

/// What was thrown away and what is left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Collected {
    /// Artifacts that were removed.
    pub removed: usize,
    /// Bytes that they had.
    pub removed_bytes: u64,
    /// Bytes of the artifacts that are left.
    pub kept_bytes: u64,
}

/// What was used later than this ago stays: whoever has just been given its path may not have opened it yet.
const GRACE: Duration = Duration::from_secs(120);
/// What came of a blob, and was not gone on with for so long, is thrown away.
const PARTIAL_LIFE: Duration = Duration::from_secs(24 * 3600);

impl Store {
    /// Removes artifacts, those that were used longest ago first, until at most `keep_bytes` of the options are left.
    /// What is `in_use`, or was used in the last two minutes, stays in any case. Blocks while it reads the directory.
    pub fn collect(&self, in_use: &HashSet<Digest>, now: SystemTime) -> Collected {
        let files = &self.0.files;
        self.remove_parts(now);
        let mut references = references(&files.references);
        let mut blobs: Vec<Blob> =
            entries(&files.blobs).filter_map(|path| Blob::new(path, &mut references)).collect();
        blobs.sort_by_key(|blob| blob.used);
        let mut collected =
            Collected { kept_bytes: blobs.iter().map(|blob| blob.size_bytes).sum(), ..Default::default() };
        for blob in blobs {
            if collected.kept_bytes <= self.0.options.keep_bytes {
                break;
            }
            if !in_use.contains(&blob.digest) && self.remove(&blob, now) {
                collected.removed += 1;
                collected.removed_bytes += blob.size_bytes;
                collected.kept_bytes -= blob.size_bytes;
            }
        }
        // References whose content is gone mean nothing any more.
        let gone = references.into_iter().filter(|(digest, _)| !files.blob(*digest).exists());
        gone.flat_map(|(_, records)| records).for_each(|(path, _)| remove_file(&path));
        collected
    }

    /// The artifacts that some references mean here, as pods have them. One that is not known here means none.
    pub fn meant_by<'a>(&self, references: impl IntoIterator<Item = &'a str>) -> HashSet<Digest> {
        let records = references.into_iter().filter_map(|reference| match reference.parse() {
            Ok(Reference::Image(image)) => self.0.files.record(&image),
            _ => None,
        });
        records.map(|record| record.artifact).collect()
    }

    /// Whether it could be removed: nobody has used it in the last moments.
    fn remove(&self, blob: &Blob, now: SystemTime) -> bool {
        let _gate = self.0.gate.lock();
        let used = blob.records.iter().filter_map(|path| modified(path)).fold(blob.used, SystemTime::max);
        if now.duration_since(used).is_ok_and(|age| age < GRACE) || used > now {
            return false;
        }
        blob.records.iter().for_each(|path| remove_file(path));
        fs::remove_file(&blob.path).is_ok()
    }

    fn remove_parts(&self, now: SystemTime) {
        let is_old = |path: &PathBuf| {
            let age = modified(path).and_then(|modified| now.duration_since(modified).ok());
            age.is_some_and(|age| age > PARTIAL_LIFE)
        };
        entries(&self.0.files.partial).filter(is_old).for_each(|path| remove_file(&path));
    }
}

struct Blob {
    digest: Digest,
    path: PathBuf,
    size_bytes: u64,
    used: SystemTime,
    records: Vec<PathBuf>,
}

/// The files of references with the times of their last use, by the artifact.
type References = HashMap<Digest, Vec<(PathBuf, SystemTime)>>;

impl Blob {
    fn new(path: PathBuf, references: &mut References) -> Option<Self> {
        let digest: Digest = format!("sha256:{}", path.file_name()?.to_str()?).parse().ok()?;
        let metadata = fs::metadata(&path).ok()?;
        let records = references.remove(&digest).unwrap_or_default();
        let used = records.iter().map(|(_, used)| *used).fold(metadata.modified().ok()?, SystemTime::max);
        let records = records.into_iter().map(|(path, _)| path).collect();
        Some(Self { digest, path, size_bytes: metadata.len(), used, records })
    }
}

fn references(dir: &Path) -> References {
    let mut references = References::new();
    for path in entries(dir) {
        match (read_record(&path), modified(&path)) {
            (Some(record), Some(used)) => references.entry(record.artifact).or_default().push((path, used)),
            // It says nothing, and is written anew when it is needed.
            _ => remove_file(&path),
        }
    }
    references
}

fn entries(dir: &Path) -> impl Iterator<Item = PathBuf> {
    // A directory that cannot be read has nothing that could be thrown away.
    fs::read_dir(dir).into_iter().flatten().filter_map(Result::ok).map(|entry| entry.path())
}

fn modified(path: &Path) -> Option<SystemTime> {
    fs::metadata(path).ok()?.modified().ok()
}

fn remove_file(path: &Path) {
    if let Err(error) = fs::remove_file(path) {
        tracing::debug!("cannot remove {}: {error}", path.display());
    }
}
