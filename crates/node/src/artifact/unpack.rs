//! The WebAssembly in the layers of a container image.

use std::collections::BTreeMap;
use std::io::{self, BufReader, Read, Seek as _, Write as _};

use flate2::read::MultiGzDecoder;
use tempfile::NamedTempFile;

use super::digest::Hasher;
use super::files::Files;
use super::kind::HEAD_BYTES;
use super::{Digest, Entry, FetchError, Kind, LayerError, Problem, read_layer};

/// Most that the layers of an image unpack to: an image of one file of the largest size, and what a distribution has.
pub(super) const UNPACKED_BYTES_MAX: u64 = 2 << 30;

/// Most files of WebAssembly in an image: each is open until one is chosen.
const WASM_FILES_MAX: usize = 64;

/// A file of WebAssembly that was found.
pub(super) struct Found {
    pub(super) file: NamedTempFile,
    pub(super) digest: Digest,
}

/// Every file of WebAssembly that stands in the image at last, by its path.
pub(super) fn unpack(
    files: &Files,
    layers: &mut [(NamedTempFile, bool)],
    file_bytes_max: u64,
) -> Result<BTreeMap<String, Found>, FetchError> {
    let mut found = BTreeMap::new();
    let mut left = UNPACKED_BYTES_MAX;
    for (layer, is_gzip) in layers {
        // The very file whose digest was right, whatever has its name now.
        let rewound = layer.as_file_mut().rewind();
        rewound.map_err(|error| FetchError::disk("read", layer.path(), &error))?;
        let file = BufReader::new(layer.as_file_mut());
        let mut reader: Box<dyn Read> =
            if *is_gzip { Box::new(MultiGzDecoder::new(file)) } else { Box::new(file) };
        let mut counted = Counted { inner: &mut reader, bytes: 0 };
        read_layer(&mut counted, left, |entry, content| {
            visit(files, &mut found, entry, content, file_bytes_max)
        })
        .map_err(|error| refusal(&error))?;
        left = left.saturating_sub(counted.bytes);
    }
    Ok(found)
}

fn refusal(error: &LayerError) -> FetchError {
    let problem = match error {
        LayerError::TooLarge(_) => Problem::TooLarge,
        LayerError::Form(..) | LayerError::Read(_) => Problem::Unusable,
    };
    FetchError::new(problem, error.to_string())
}

fn visit(
    files: &Files,
    found: &mut BTreeMap<String, Found>,
    entry: Entry,
    content: &mut dyn Read,
    file_bytes_max: u64,
) -> io::Result<()> {
    match entry {
        Entry::Removed { path } => found.retain(|file, _| *file != path && !is_below(file, &path)),
        Entry::Emptied { path } => found.retain(|file, _| !path.is_empty() && !is_below(file, &path)),
        Entry::File { path, size_bytes } => {
            found.remove(&path);
            let mut head = Vec::new();
            content.take(HEAD_BYTES as u64).read_to_end(&mut head)?;
            if Kind::of(&head).is_none() {
                return Ok(());
            }
            if size_bytes > file_bytes_max {
                return Err(io::Error::other(format!("{path} has more than {file_bytes_max} bytes")));
            }
            if found.len() >= WASM_FILES_MAX {
                return Err(io::Error::other(format!(
                    "it has more than {WASM_FILES_MAX} files of WebAssembly"
                )));
            }
            found.insert(path, copy(files, &head, content)?);
        }
    }
    Ok(())
}

fn is_below(file: &str, dir: &str) -> bool {
    file.strip_prefix(dir).is_some_and(|rest| rest.starts_with('/'))
}

fn copy(files: &Files, head: &[u8], content: &mut dyn Read) -> io::Result<Found> {
    let mut file = files.temporary()?;
    let mut hasher = Hasher::default();
    let mut content = head.chain(content);
    let mut buffer = vec![0; 64 << 10];
    loop {
        match content.read(&mut buffer)? {
            0 => return Ok(Found { file, digest: hasher.finish() }),
            read => {
                file.write_all(&buffer[..read])?;
                hasher.update(&buffer[..read]);
            }
        }
    }
}

struct Counted<'a> {
    inner: &'a mut dyn Read,
    bytes: u64,
}

impl Read for Counted<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.bytes += read as u64;
        Ok(read)
    }
}

/// The one that is meant: the only one, or that which the image starts.
pub(super) fn choose(
    mut found: BTreeMap<String, Found>,
    entry_points: &[String],
) -> Result<Found, FetchError> {
    let plain = |path: &String| path.trim_start_matches("./").trim_start_matches('/').to_string();
    let named = entry_points.iter().map(plain).find_map(|path| found.remove(&path));
    if let Some(named) = named {
        return Ok(named);
    }
    let names: Vec<String> = found.keys().take(NAMES_MAX).cloned().collect();
    let count = found.len();
    match (found.pop_first(), count) {
        (Some((_, only)), 1) => Ok(only),
        (None, _) => {
            Err(FetchError::new(Problem::Unusable, "it is a container image without a file of WebAssembly")
                .hint("Shoal runs WebAssembly; push one with `shoal push FILE REFERENCE`"))
        }
        (Some(_), count) => {
            let what =
                format!("it has {count} files of WebAssembly and starts none of them: {}", names.join(", "));
            Err(FetchError::new(Problem::Unusable, what).hint("name one as ENTRYPOINT of the image"))
        }
    }
}

/// Files named in an error.
const NAMES_MAX: usize = 10;

#[cfg(test)]
mod tests {
    use super::*;

    const MODULE: &[u8] = b"\0asm\x01\0\0\0";

    fn place() -> (tempfile::TempDir, Files) {
        let dir = tempfile::tempdir().expect("a directory");
        let files = Files::open(dir.path()).expect("a store");
        (dir, files)
    }

    fn found(files: &Files, names: &[&str]) -> BTreeMap<String, Found> {
        let mut found = BTreeMap::new();
        for name in names {
            let entry = Entry::File { path: name.to_string(), size_bytes: 8 };
            visit(files, &mut found, entry, &mut &MODULE[..], 8).expect("a module");
        }
        found
    }

    #[test]
    fn the_last_layer_decides() {
        let (_dir, files) = place();
        let mut all = found(&files, &["a/one.wasm", "a/b/two", "three", "ab"]);
        let mut see =
            |entry, content: &mut dyn Read| visit(&files, &mut all, entry, content, 8).map(|()| all.len());
        let file = |path: &str, size_bytes| Entry::File { path: path.into(), size_bytes };
        assert_eq!(see(file("text", 4), &mut &b"text"[..]).ok(), Some(4), "no WebAssembly");
        assert!(see(file("large", 9), &mut &MODULE[..]).is_err());
        assert_eq!(see(file("three", 4), &mut &b"text"[..]).ok(), Some(3), "it is overwritten");
        assert_eq!(see(Entry::Emptied { path: "a/b".into() }, &mut &b""[..]).ok(), Some(2));
        assert_eq!(see(Entry::Removed { path: "a".into() }, &mut &b""[..]).ok(), Some(1), "ab stays");
        assert_eq!(see(Entry::Emptied { path: String::new() }, &mut &b""[..]).ok(), Some(0));
    }

    #[test]
    fn an_image_has_as_many_files_of_webassembly_as_its_limit() {
        let (_dir, files) = place();
        let mut all = BTreeMap::new();
        for number in 0..=WASM_FILES_MAX {
            let entry = Entry::File { path: number.to_string(), size_bytes: 8 };
            let seen = visit(&files, &mut all, entry, &mut &MODULE[..], 8);
            assert_eq!(seen.is_ok(), number < WASM_FILES_MAX, "{number}");
        }
    }

    #[test]
    fn the_only_one_is_meant_or_the_one_that_is_started() {
        let (_dir, files) = place();
        let choose = |names: &[&str], entry_points: &[&str]| {
            let entry_points: Vec<String> = entry_points.iter().map(ToString::to_string).collect();
            choose(found(&files, names), &entry_points).map(|found| found.digest).map_err(|error| error.what)
        };
        assert_eq!(choose(&["app"], &[]), Ok(Digest::of(MODULE)));
        assert_eq!(choose(&["app"], &["/bin/sh"]), Ok(Digest::of(MODULE)));
        assert_eq!(choose(&["a/app", "b"], &["/a/app"]), Ok(Digest::of(MODULE)));
        assert!(choose(&["a", "b"], &["c"]).expect_err("two").ends_with("starts none of them: a, b"));
        assert!(choose(&[], &["c"]).expect_err("none").contains("without a file of WebAssembly"));
    }
}
