//! Files of a volume on the disk, changed all at once.
//!
//! As Kubernetes does it: the files are in a directory of their own; the link `..data` names it, and each file is seen
//! through a link by way of `..data`. A new version is written beside the old one, and then one rename shows all of it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, symlink};
use std::path::Path;

use super::content::File;

/// The link that names the version which is shown.
const DATA: &str = "..data";

/// Shows these files in a directory, and no others.
///
/// # Errors
/// The disk refuses. What was shown before is then still shown.
pub(crate) fn show(dir: &Path, files: &BTreeMap<String, File>) -> io::Result<()> {
    private(dir)?;
    let version = format!("..v{}", uuid::Uuid::new_v4().simple());
    let written = write(&dir.join(&version), files).and_then(|()| {
        let next = dir.join(format!("{version}.link"));
        symlink(&version, &next)?;
        fs::rename(&next, dir.join(DATA))
    });
    if let Err(error) = written {
        // What is left of it is in nobody's way, but takes room.
        let _ = fs::remove_dir_all(dir.join(&version));
        return Err(error);
    }
    link(dir, files)?;
    sweep(dir, &version)
}

/// A directory that only this user may enter.
///
/// # Errors
/// It cannot be made.
pub(crate) fn private(dir: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

/// Copies a directory of a volume as it is now.
///
/// # Errors
/// It is no directory, or the disk refuses.
pub(crate) fn copy(from: &Path, to: &Path) -> io::Result<()> {
    // All of it is of the version that is shown now, even when another comes meanwhile.
    let from = fs::canonicalize(from)?;
    private(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let to = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &to)?;
        } else {
            fs::copy(entry.path(), to)?;
        }
    }
    Ok(())
}

fn write(dir: &Path, files: &BTreeMap<String, File>) -> io::Result<()> {
    private(dir)?;
    for (path, file) in files {
        let path = dir.join(path);
        if let Some(parent) = path.parent() {
            private(parent)?;
        }
        let mut out = fs::OpenOptions::new().write(true).create_new(true).mode(file.mode).open(&path)?;
        out.write_all(&file.bytes)?;
    }
    Ok(())
}

/// Makes a link for each name at the top, and takes away those that name nothing any more.
fn link(dir: &Path, files: &BTreeMap<String, File>) -> io::Result<()> {
    let tops: BTreeSet<&str> = files.keys().map(|path| path.split('/').next().unwrap_or(path)).collect();
    for top in &tops {
        match symlink(Path::new(DATA).join(top), dir.join(top)) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            done => done?,
        }
    }
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        let is_ours = name.to_str().is_some_and(|name| name.starts_with("..") || tops.contains(name));
        if !is_ours {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// Takes away all versions but one.
fn sweep(dir: &Path, version: &str) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        let is_old = name.to_str().is_some_and(|name| name.starts_with("..v") && name != version);
        if is_old && entry.file_type()?.is_dir() {
            fs::remove_dir_all(entry.path())?;
        } else if is_old {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn files(all: &[(&str, &str)]) -> BTreeMap<String, File> {
        let file = |text: &str| File { bytes: text.as_bytes().to_vec(), mode: 0o600 };
        all.iter().map(|(path, text)| ((*path).to_owned(), file(text))).collect()
    }

    fn seen(dir: &Path) -> Vec<String> {
        let names = fs::read_dir(dir).expect("a directory").map(|entry| entry.expect("an entry").file_name());
        let mut names: Vec<String> = names.map(|name| name.to_string_lossy().into_owned()).collect();
        names.retain(|name| !name.starts_with(".."));
        names.sort();
        names
    }

    #[test]
    fn a_new_version_is_shown_all_at_once() {
        let dir = tempfile::tempdir().expect("a directory");
        let dir = dir.path().join("volume");
        show(&dir, &files(&[("a", "1"), ("x/y", "2")])).expect("shown");
        assert_eq!(seen(&dir), ["a", "x"]);
        assert_eq!(fs::read_to_string(dir.join("x/y")).expect("a file"), "2");
        assert_eq!(fs::metadata(dir.join("a")).expect("a file").permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(&dir).expect("a directory").permissions().mode() & 0o777, 0o700);
        let before = fs::canonicalize(dir.join(DATA)).expect("the link leads somewhere");
        show(&dir, &files(&[("a", "3"), ("b", "4")])).expect("shown");
        assert_eq!(seen(&dir), ["a", "b"]);
        assert_eq!(fs::read_to_string(dir.join("a")).expect("a file"), "3");
        assert!(!before.exists(), "the old version is gone");
        let dots = fs::read_dir(&dir).expect("a directory").count() - seen(&dir).len();
        assert_eq!(dots, 2, "the version and the link to it");
    }

    #[test]
    fn a_copy_stays_as_it_was() {
        let dir = tempfile::tempdir().expect("a directory");
        let (volume, part) = (dir.path().join("volume"), dir.path().join("parts/0"));
        show(&volume, &files(&[("x/y", "1"), ("x/z/w", "2"), ("a", "3")])).expect("shown");
        copy(&volume.join("x"), &part).expect("copied");
        show(&volume, &files(&[("x/y", "4")])).expect("shown");
        assert_eq!(seen(&part), ["y", "z"]);
        assert_eq!(fs::read_to_string(part.join("y")).expect("a file"), "1");
        assert_eq!(fs::read_to_string(part.join("z/w")).expect("a file"), "2");
        copy(&volume.join("x/y"), &dir.path().join("parts/1")).expect_err("it is no directory");
        copy(&volume.join("none"), &dir.path().join("parts/2")).expect_err("there is none");
    }

    #[test]
    fn what_cannot_be_written_leaves_what_was_shown() {
        let dir = tempfile::tempdir().expect("a directory");
        show(dir.path(), &files(&[("a", "1")])).expect("shown");
        // A file where a directory would have to be.
        show(dir.path(), &files(&[("a", "2"), ("a/b", "3")])).expect_err("it cannot be");
        assert_eq!(fs::read_to_string(dir.path().join("a")).expect("a file"), "1");
        assert_eq!(fs::read_dir(dir.path()).expect("a directory").count(), 3, "nothing is left over");
    }
}
