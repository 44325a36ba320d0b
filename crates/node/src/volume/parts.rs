//! Parts of volumes (`subPath`) that change with their objects: a container finds copies of them.
//!
//! A new version of a volume takes the old one away, and the guest has the directory open. As in Kubernetes, parts stay as the
//! container found them. A guest is given directories only; a part that is one file is in a directory of its own, with the
//! other files that are mounted beside it.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use shoal_runtime::DirGrant;

use super::tree;

/// Puts copies below `own` in the place of those that are parts, which `is_part` says of each. What a run before has left there
/// goes.
///
/// # Errors
/// A sentence that names the mount.
pub(crate) fn copied(own: &Path, dirs: Vec<DirGrant>, is_part: &[bool]) -> Result<Vec<DirGrant>, String> {
    match fs::remove_dir_all(own) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error.to_string()),
        _ => {}
    }
    let whole: Vec<String> = dirs.iter().map(|dir| dir.guest.clone()).collect();
    let mut beside: BTreeMap<String, PathBuf> = BTreeMap::new();
    let mut all = Vec::new();
    for (at, (dir, is_part)) in dirs.into_iter().zip(is_part).enumerate() {
        if !is_part {
            all.push(dir);
            continue;
        }
        let guest = dir.guest.clone();
        let failed = |error: io::Error| format!("the subPath of the mount {guest} cannot be read: {error}");
        if !fs::metadata(&dir.host).map_err(failed)?.is_file() {
            let to = own.join(at.to_string());
            tree::copy(&dir.host, &to).map_err(failed)?;
            all.push(DirGrant { host: to, ..dir });
            continue;
        }
        let (parent, name) = split(&guest);
        if whole.iter().any(|other| other.trim_end_matches('/') == parent.trim_end_matches('/')) {
            return Err(format!(
                "the mount {guest} is one file, and {parent} is mounted, too: have both in one volume (projected)"
            ));
        }
        let to = match beside.get(parent) {
            Some(known) => known.clone(),
            None => {
                let to = own.join(at.to_string());
                tree::private(&to).map_err(failed)?;
                all.push(DirGrant { host: to.clone(), guest: parent.to_owned(), ..dir.clone() });
                beside.insert(parent.to_owned(), to.clone());
                to
            }
        };
        fs::copy(&dir.host, to.join(name)).map_err(failed)?;
    }
    Ok(all)
}

/// The directory of an absolute path, and the name in it.
fn split(path: &str) -> (&str, &str) {
    match path.trim_end_matches('/').rsplit_once('/') {
        Some(("", name)) => ("/", name),
        Some((parent, name)) => (parent, name),
        None => ("/", path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(host: &Path, guest: &str) -> DirGrant {
        DirGrant { host: host.to_owned(), guest: guest.to_owned(), writable: false }
    }

    #[test]
    fn files_that_are_mounted_beside_each_other_are_in_one_directory() {
        let dir = tempfile::tempdir().expect("a directory");
        let own = dir.path().join("parts");
        for name in ["a", "b"] {
            fs::write(dir.path().join(name), name).expect("written");
        }
        let of = |name: &str, guest: &str| part(&dir.path().join(name), guest);
        let dirs = vec![of("a", "/etc/a.conf"), of("b", "/etc/b.conf"), of("a", "/top"), of("", "/data")];
        for _ in 0..2 {
            let found = copied(&own, dirs.clone(), &[true, true, true, false]).expect("copied");
            let guests: Vec<&str> = found.iter().map(|dir| dir.guest.as_str()).collect();
            assert_eq!(guests, ["/etc", "/", "/data"]);
            let read = |at: usize, name: &str| fs::read_to_string(found[at].host.join(name)).expect("a file");
            assert_eq!(
                (read(0, "a.conf"), read(0, "b.conf"), read(1, "top")),
                ("a".into(), "b".into(), "a".into())
            );
            assert_eq!(fs::read_dir(&found[0].host).expect("a directory").count(), 2);
        }
        let both = vec![of("a", "/etc/a.conf"), of("", "/etc/")];
        let refused = copied(&own, both, &[true, false]).expect_err("it is in the way");
        assert_eq!(
            refused,
            "the mount /etc/a.conf is one file, and /etc is mounted, too: have both in one volume (projected)"
        );
        let gone = copied(&own, vec![of("none", "/x")], &[true]).expect_err("it is not there");
        assert!(gone.starts_with("the subPath of the mount /x cannot be read: No such file"), "{gone}");
    }
}
