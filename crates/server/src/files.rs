//! Files that hold secrets: readable by this user alone, and never half written.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use crate::random;

/// Longest file of keys or certificates that is read: many times what belongs into one.
pub(crate) const FILE_BYTES_MAX: u64 = 1 << 20;

/// A file that cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[error("cannot {what} {path}")]
pub struct FileError {
    what: &'static str,
    path: PathBuf,
    #[source]
    source: io::Error,
}

impl FileError {
    pub(crate) fn new(what: &'static str, path: &Path, source: io::Error) -> Self {
        Self { what, path: path.to_owned(), source }
    }
}

/// Makes a directory, and those above it, that only this user may enter.
pub(crate) fn make_dir(path: &Path) -> Result<(), FileError> {
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|source| FileError::new("make the directory", path, source))
}

/// The text of a file; none when there is no such file.
pub(crate) fn read(path: &Path) -> Result<Option<String>, FileError> {
    let unreadable = |source| FileError::new("read", path, source);
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unreadable(error)),
    };
    let mut text = String::new();
    file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text).map_err(unreadable)?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(unreadable(io::Error::other(format!("it has more than {FILE_BYTES_MAX} bytes"))));
    }
    Ok(Some(text))
}

/// Writes a file with mode 0600: under another name first, synced, then renamed.
pub(crate) fn write(path: &Path, text: &str) -> Result<(), FileError> {
    let unwritable = |source| FileError::new("write", path, source);
    let dir = path.parent().unwrap_or(Path::new("."));
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}", random::uuid()));
    let temporary = dir.join(name);
    let written = write_new(&temporary, text).and_then(|()| fs::rename(&temporary, path));
    if let Err(error) = written {
        // What is left of it is no use to anybody; that it cannot be removed says nothing new.
        let _ = fs::remove_file(&temporary);
        return Err(unwritable(error));
    }
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(unwritable)
}

fn write_new(path: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_file_is_this_users_alone_and_leaves_nothing_behind() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("a/key");
        make_dir(path.parent().expect("it has one")).expect("made");
        assert_eq!(read(&path).expect("no error"), None);
        write(&path, "one").expect("written");
        write(&path, "two").expect("written again");
        assert_eq!(read(&path).expect("read").as_deref(), Some("two"));
        assert_eq!(fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
        let dir = path.parent().expect("it has one");
        assert_eq!(fs::metadata(dir).expect("there").permissions().mode() & 0o777, 0o700);
        assert_eq!(fs::read_dir(dir).expect("there").count(), 1);
    }

    #[test]
    fn a_file_too_long_is_refused() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("key");
        let most = usize::try_from(FILE_BYTES_MAX).expect("it fits");
        write(&path, &"a".repeat(most)).expect("written");
        assert!(read(&path).is_ok());
        write(&path, &"a".repeat(most + 1)).expect("written");
        assert!(read(&path).is_err());
    }
}
