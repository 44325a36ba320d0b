//! Keeps the cache within its bound: what was not used for the longest time goes first.
//!
//! The last use of an entry is the modification time of its seal. A crash at any point leaves an entry without
//! a seal, a seal without an entry or an unfinished file; the next eviction removes them.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT, utimensat};
use shoal_base::units::Bytes;

use super::files::UNFINISHED;

/// Uses within this time count as one, so that most reads write nothing.
const USE_GRAIN: Duration = Duration::from_secs(60);

/// No writer takes this long; an unfinished file of this age was left by a crash.
const UNFINISHED_AGE_MAX: Duration = Duration::from_secs(60 * 60);

/// One entry: its code, its seal, or both.
#[derive(Default)]
struct Entry {
    code: Option<(PathBuf, u64)>,
    seal: Option<(PathBuf, SystemTime)>,
}

/// Records a use. Failing to do so costs a recompilation at most.
pub(super) fn touch(seal: &Path) {
    let recent = fs::metadata(seal).and_then(|seal| seal.modified()).is_ok_and(|last| age(last) < USE_GRAIN);
    if recent {
        return;
    }
    let now = Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        last_modification: Timespec { tv_sec: 0, tv_nsec: UTIME_NOW },
    };
    if let Err(error) = utimensat(CWD, seal, &now, AtFlags::SYMLINK_NOFOLLOW) {
        tracing::debug!(seal = %seal.display(), %error, "cannot record a use");
    }
}

/// A time in the future counts as now.
fn age(time: SystemTime) -> Duration {
    SystemTime::now().duration_since(time).unwrap_or_default()
}

/// Number of entries and bytes of code.
pub(super) fn usage(dir: &Path) -> (usize, u64) {
    let entries = entries(dir);
    let code = entries.values().filter_map(|entry| entry.code.as_ref());
    let sizes: Vec<u64> = code.map(|(_, bytes)| *bytes).collect();
    (sizes.len(), sizes.iter().sum())
}

/// Removes entries until all together have at most `bytes_max`, and what crashes left. Never removes `keep`,
/// however large. The caller holds the lock.
pub(super) fn evict(dir: &Path, bytes_max: Bytes, keep: &Path) {
    let mut whole = Vec::new();
    for entry in entries(dir).into_values() {
        match entry {
            Entry { code: Some((code, bytes)), seal: Some((seal, used)) } => {
                whole.push((used, code, seal, bytes));
            }
            Entry { code, seal } => {
                code.iter().for_each(|(path, _)| remove(path));
                seal.iter().for_each(|(path, _)| remove(path));
            }
        }
    }
    let mut bytes: u64 = whole.iter().map(|(.., bytes)| bytes).sum();
    whole.sort();
    for (_, code, seal, size) in whole.iter().filter(|(_, code, ..)| code != keep) {
        if bytes <= bytes_max.0 {
            break;
        }
        tracing::debug!(entry = %code.display(), size, "evicted from the compile cache");
        remove(code);
        remove(seal);
        bytes -= size;
    }
}

/// The entries of the directory by name, after old unfinished files are removed.
fn entries(dir: &Path) -> HashMap<String, Entry> {
    let mut entries: HashMap<String, Entry> = HashMap::new();
    let Ok(files) = fs::read_dir(dir) else { return entries };
    for file in files.flatten() {
        let (path, Ok(metadata)) = (file.path(), file.metadata()) else { continue };
        let Ok(name) = file.file_name().into_string() else { continue };
        let modified = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
        if let Some(key) = name.strip_suffix(".cwasm") {
            entries.entry(key.into()).or_default().code = Some((path, metadata.len()));
        } else if let Some(key) = name.strip_suffix(".seal") {
            entries.entry(key.into()).or_default().seal = Some((path, modified));
        } else if name.starts_with(UNFINISHED) && age(modified) > UNFINISHED_AGE_MAX {
            remove(&path);
        }
    }
    entries
}

fn remove(path: &Path) {
    if let Err(error) = fs::remove_file(path) {
        tracing::debug!(file = %path.display(), %error, "cannot remove from the compile cache");
    }
}
