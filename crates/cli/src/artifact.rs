//! From the path that was typed to the artifact it means.

use std::io;
use std::path::{Path, PathBuf};

use crate::exit::{self, Exit};

/// Extensions of artifacts.
const EXTENSIONS: [&str; 3] = ["wasm", "wat", "cwasm"];

/// Candidates named in an error; the rest is counted.
const CANDIDATES_MAX: usize = 10;

/// The artifact that `path` means: the file itself, or the only artifact in the directory, or else the only
/// one that cargo built there in release mode.
///
/// # Errors
/// With code 66 when there is no such path or no artifact in it, with 64 when there are several.
pub(crate) fn find(path: &Path) -> Result<PathBuf, Exit> {
    let metadata = std::fs::metadata(path).map_err(|error| unreadable(path, &error))?;
    if !metadata.is_dir() {
        return Ok(path.to_owned());
    }
    let mut found = artifacts_in(path)?;
    if found.is_empty() {
        found = built_by_cargo(path);
    }
    match found.as_slice() {
        [only] => Ok(only.clone()),
        [] => Err(Exit::error(exit::NO_INPUT, format!("no artifact in {}", path.display()))
            .hint("build it first, or name a .wasm, .wat or .cwasm file")),
        several => Err(Exit::error(
            exit::USAGE,
            format!("{} artifacts in {}, and one is to run", several.len(), path.display()),
        )
        .hint(format!("name one of {}", list(several)))),
    }
}

fn unreadable(path: &Path, error: &io::Error) -> Exit {
    let path = path.display();
    if error.kind() == io::ErrorKind::NotFound {
        return Exit::error(exit::NO_INPUT, format!("no such file or directory: {path}"))
            .hint("name a .wasm, .wat or .cwasm file, or a directory that holds one");
    }
    Exit::error(exit::NO_INPUT, format!("cannot read {path}: {error}"))
}

/// The artifacts in a directory, sorted.
fn artifacts_in(dir: &Path) -> Result<Vec<PathBuf>, Exit> {
    let entries = std::fs::read_dir(dir).map_err(|error| unreadable(dir, &error))?;
    let is_artifact = |path: &PathBuf| {
        path.extension().is_some_and(|found| EXTENSIONS.iter().any(|extension| found == *extension))
            && path.is_file()
    };
    let mut found: Vec<PathBuf> =
        entries.filter_map(Result::ok).map(|entry| entry.path()).filter(is_artifact).collect();
    found.sort();
    Ok(found)
}

/// What cargo built for any WebAssembly target: `target/wasm32-*/release`.
fn built_by_cargo(dir: &Path) -> Vec<PathBuf> {
    let Ok(targets) = std::fs::read_dir(dir.join("target")) else {
        return Vec::new();
    };
    let is_wasm =
        |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("wasm32-"));
    let mut found: Vec<PathBuf> = targets
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .filter(is_wasm)
        .filter_map(|target| artifacts_in(&target.join("release")).ok())
        .flatten()
        .collect();
    found.sort();
    found
}

fn list(paths: &[PathBuf]) -> String {
    let shown: Vec<String> =
        paths.iter().take(CANDIDATES_MAX).map(|path| path.display().to_string()).collect();
    match paths.len().checked_sub(CANDIDATES_MAX) {
        None | Some(0) => shown.join(", "),
        Some(more) => format!("{} and {more} more", shown.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::Complaint;

    struct Place(tempfile::TempDir);

    impl Place {
        fn with(files: &[&str]) -> Self {
            let dir = tempfile::tempdir().expect("a directory");
            for file in files {
                let path = dir.path().join(file);
                std::fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
                std::fs::write(path, "").expect("a file");
            }
            Self(dir)
        }

        /// What `find` gives for a path in here, with this directory shown as `DIR`.
        fn find(&self, path: &str) -> Result<String, Complaint> {
            let here = self.0.path().display().to_string();
            let plain = |text: String| text.replace(&here, "DIR");
            match find(&self.0.path().join(path)) {
                Ok(found) => Ok(plain(found.display().to_string())),
                Err(Exit::Answer(text)) => panic!("an answer: {text}"),
                Err(Exit::Error(Complaint { code, what, hints })) => {
                    let hints = hints.into_iter().map(plain).collect();
                    Err(Complaint { code, what: plain(what), hints })
                }
            }
        }
    }

    fn complaint(code: u8, what: &str, hint: &str) -> Result<String, Complaint> {
        Err(Complaint { code, what: what.into(), hints: vec![hint.into()] })
    }

    #[test]
    fn a_file_is_itself_whatever_its_name() {
        assert_eq!(Place::with(&["a.bin"]).find("a.bin"), Ok("DIR/a.bin".into()));
    }

    #[test]
    fn a_directory_is_the_only_artifact_in_it() {
        assert_eq!(Place::with(&["a.wat", "readme.md", "b.wasm/x"]).find(""), Ok("DIR/a.wat".into()));
        let built = Place::with(&["Cargo.toml", "target/wasm32-wasip2/release/app.wasm", "target/debug/app"]);
        assert_eq!(built.find("."), Ok("DIR/./target/wasm32-wasip2/release/app.wasm".into()));
    }

    #[test]
    fn several_or_none_are_refused_by_name() {
        assert_eq!(
            Place::with(&["b.wasm", "a.cwasm"]).find(""),
            complaint(64, "2 artifacts in DIR/, and one is to run", "name one of DIR/a.cwasm, DIR/b.wasm")
        );
        let hint = "build it first, or name a .wasm, .wat or .cwasm file";
        assert_eq!(Place::with(&["a.txt"]).find(""), complaint(66, "no artifact in DIR/", hint));
        assert_eq!(
            Place::with(&[]).find("gone.wasm"),
            complaint(
                66,
                "no such file or directory: DIR/gone.wasm",
                "name a .wasm, .wat or .cwasm file, or a directory that holds one"
            )
        );
    }

    #[test]
    fn a_long_list_of_candidates_is_cut() {
        let paths =
            |count: usize| -> Vec<PathBuf> { (0..count).map(|n| format!("{n}.wasm").into()).collect() };
        assert!(list(&paths(CANDIDATES_MAX)).ends_with("9.wasm"));
        assert!(list(&paths(CANDIDATES_MAX + 1)).ends_with("9.wasm and 1 more"));
    }
}
