//! `.cwasm` files for people: compiled code with a trailer that says what it is, sealed by the installation
//! that made it.
//!
//! ```text
//! code | about (JSON, at most 64 KiB) | length of code: 8 bytes | length of about: 4 bytes | BLAKE3 of code: 32
//!      | MAC over about, both lengths and the digest: 32 bytes | "shoalCW1"
//! ```
//!
//! Numbers are little-endian. The trailer is at the end so that wasmtime's own tools read the file too. Only a
//! file sealed with this installation's secret is loaded: machine code is not checked when it runs, so whoever
//! made it could do anything here. A fleet shares artifacts by sharing the secret (`--key FILE`). What is
//! loaded is not the file but a copy in the cache: nobody can change that one later.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use shoal_base::error_chain::chain;
use shoal_runtime::Refusal;

use super::Cache;
use super::identity::{ArtifactDigest, EngineDigest, Key, host_target};
use super::installation::InstallationKey;

/// Names the layout; another layout has another name.
const MAGIC: [u8; 8] = *b"shoalCW1";

/// The purpose of the MAC.
const PURPOSE: &str = "shoal exported code 1";

/// What is said about code is a few hundred bytes; a component with many exports says more.
const ABOUT_BYTES_MAX: usize = 64 << 10;

/// No component compiles to more; a length beyond this is not one.
const CODE_BYTES_MAX: u64 = 4 << 30;

/// Lengths, digest, MAC, magic.
const TAIL_BYTES: usize = 8 + 4 + 32 + 32 + 8;

/// The engine whose code this version of Shoal runs.
pub(crate) const WASMTIME: &str = "48.0.8";

/// What compiled code is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    /// Version of Shoal that compiled it.
    pub shoal: String,
    /// Version of wasmtime that compiled it.
    pub wasmtime: String,
    /// The target it runs on, as in `aarch64-unknown-linux-gnu`.
    pub target: String,
    /// The engine that compiled it.
    pub engine: EngineDigest,
    /// The artifact it was compiled from.
    pub artifact: ArtifactDigest,
    /// What the compiler knows of the artifact and the loader must know: its kind, say.
    pub facts: BTreeMap<String, String>,
}

impl About {
    /// Describes what this version compiles: for `target`, or for this machine.
    pub fn here(artifact: ArtifactDigest, engine: EngineDigest, target: Option<&str>) -> Self {
        Self {
            shoal: env!("CARGO_PKG_VERSION").to_string(),
            wasmtime: WASMTIME.to_string(),
            target: target.map_or_else(host_target, str::to_string),
            engine,
            artifact,
            facts: BTreeMap::new(),
        }
    }
}

/// Code that may be loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Imported {
    /// The copy in the cache, ready for `deserialize_file`.
    pub path: PathBuf,
    /// What it is.
    pub about: About,
}

/// The trailer of an exported file, not yet trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trailer {
    /// What the file claims to be.
    pub about: About,
    /// Bytes of code at the start of the file.
    pub code_bytes: u64,
    /// BLAKE3 of the code.
    pub content: blake3::Hash,
    mac: blake3::Hash,
    sealed: Vec<u8>,
}

/// Why the end of a file is no trailer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TrailerError {
    /// The file does not end as exported files do.
    #[error("it has no seal of `shoal compile`")]
    Absent,
    /// The lengths in it do not add up to the file's.
    #[error("it was cut off or added to")]
    Length,
    /// What it says about itself is not understood.
    #[error("what it says about itself is not understood")]
    About,
}

impl Trailer {
    /// Reads the trailer from the last bytes of a file of `file_bytes`; `end` holds at least the trailer, and
    /// may hold more before it. Pure.
    ///
    /// # Errors
    /// When there is none, or it does not fit the file.
    pub fn parse(end: &[u8], file_bytes: u64) -> Result<Self, TrailerError> {
        let (before, tail) = end.split_last_chunk::<TAIL_BYTES>().ok_or(TrailerError::Absent)?;
        let (lengths, rest) = tail.split_at(12);
        let (digests, magic) = rest.split_at(64);
        if magic != MAGIC {
            return Err(TrailerError::Absent);
        }
        let (code_bytes, about_bytes) = lengths.split_at(8);
        let code_bytes = u64::from_le_bytes(code_bytes.try_into().map_err(|_| TrailerError::Length)?);
        let about_bytes =
            u32::from_le_bytes(about_bytes.try_into().map_err(|_| TrailerError::Length)?) as usize;
        let whole = code_bytes.checked_add((about_bytes + TAIL_BYTES) as u64);
        if about_bytes > ABOUT_BYTES_MAX || code_bytes > CODE_BYTES_MAX || whole != Some(file_bytes) {
            return Err(TrailerError::Length);
        }
        let start = before.len().checked_sub(about_bytes).ok_or(TrailerError::Length)?;
        let about = serde_json::from_slice(&before[start..]).map_err(|_| TrailerError::About)?;
        let (content, mac) = digests.split_at(32);
        let hash = |bytes: &[u8]| blake3::Hash::from_slice(bytes).map_err(|_| TrailerError::Length);
        let sealed = [&before[start..], lengths, content].concat();
        Ok(Self { about, code_bytes, content: hash(content)?, mac: hash(mac)?, sealed })
    }

    /// Whether it was sealed with this secret.
    pub fn is_sealed_by(&self, key: &InstallationKey) -> bool {
        key.mac(PURPOSE, &self.sealed) == self.mac
    }
}

impl Cache {
    /// The bytes of a `.cwasm` file for this code, sealed by this installation.
    ///
    /// # Errors
    /// When the facts are larger than a trailer may be.
    pub fn export(&self, compiled: &[u8], about: &About) -> Result<Vec<u8>, Refusal> {
        let json = serde_json::to_vec(about).expect("strings and digests become JSON");
        let about_bytes = u32::try_from(json.len()).unwrap_or(u32::MAX);
        if json.len() > ABOUT_BYTES_MAX || compiled.len() as u64 > CODE_BYTES_MAX {
            return Err(Refusal::new(format!(
                "{} bytes of code with {} bytes about them do not fit a .cwasm file",
                compiled.len(),
                json.len()
            )));
        }
        let content = blake3::hash(compiled);
        let lengths = [&(compiled.len() as u64).to_le_bytes()[..], &about_bytes.to_le_bytes()].concat();
        let sealed = [&json, &lengths[..], content.as_bytes()].concat();
        let mac = self.key.mac(PURPOSE, &sealed);
        Ok([compiled, &sealed, mac.as_bytes(), &MAGIC].concat())
    }

    /// Takes a `.cwasm` file into the cache, when this version and machine can run it and this installation
    /// sealed it. The code is read the first time only.
    ///
    /// # Errors
    /// When the file cannot be read, is no exported file, is for another machine or version, or was not
    /// sealed with this installation's secret.
    pub fn import(&self, path: &Path) -> Result<Imported, Refusal> {
        let shown = path.display();
        let unreadable = |error: io::Error| Refusal::new(format!("cannot read {shown}: {error}"));
        let mut file = File::open(path).map_err(unreadable)?;
        let trailer = read_trailer(&mut file).map_err(unreadable)?.map_err(|error| {
            Refusal::new(format!("{shown} is not loaded: {error}")).hint(
                "machine code is not checked when it runs, so only what this installation sealed is loaded; \
                 run the .wasm itself, or compile it with `shoal compile`",
            )
        })?;
        fits(&trailer.about).map_err(|why| {
            Refusal::new(format!("{shown} is not loaded: {why}"))
                .hint("compile it again with `shoal compile`, or run the .wasm itself")
        })?;
        if !trailer.is_sealed_by(&self.key) {
            return Err(Refusal::new(format!(
                "{shown} is not loaded: it was sealed by another installation, or changed"
            ))
            .hint(
                "compile it here, or share one key among the machines: `shoal compile --key FILE` there and \
                     `--key FILE` here",
            ));
        }
        let about = trailer.about;
        let key = Key::imported(&about.artifact, &about.engine, &trailer.content);
        if let Some(path) = self.get(&key) {
            return Ok(Imported { path, about });
        }
        let code = read_code(&mut file, trailer.code_bytes).map_err(unreadable)?;
        if blake3::hash(&code) != trailer.content {
            return Err(Refusal::new(format!(
                "{shown} is not loaded: its code was changed after it was sealed"
            ))
            .hint("compile it again with `shoal compile`, or run the .wasm itself"));
        }
        let path = self
            .put(&key, &code)
            .map_err(|error| Refusal::new(format!("cannot load {shown}: {}", chain(&error))))?;
        Ok(Imported { path, about })
    }
}

/// Whether this version on this machine runs such code; else the reason.
fn fits(about: &About) -> Result<(), String> {
    let here = env!("CARGO_PKG_VERSION");
    if about.shoal != here {
        return Err(format!("it was compiled by shoal {}, and this is {here}", about.shoal));
    }
    if about.wasmtime != WASMTIME {
        return Err(format!("it was compiled by wasmtime {}, and this has {WASMTIME}", about.wasmtime));
    }
    let (arch, os) = (std::env::consts::ARCH, std::env::consts::OS);
    let mut parts = about.target.split('-');
    if parts.next() != Some(arch) || !parts.any(|part| part == os) {
        return Err(format!("it was compiled for {}, and this machine is {}", about.target, host_target()));
    }
    Ok(())
}

fn read_trailer(file: &mut File) -> io::Result<Result<Trailer, TrailerError>> {
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a plain file"));
    }
    let most = (ABOUT_BYTES_MAX + TAIL_BYTES) as u64;
    file.seek(SeekFrom::Start(metadata.len().saturating_sub(most)))?;
    let mut end = Vec::new();
    file.take(most).read_to_end(&mut end)?;
    Ok(Trailer::parse(&end, metadata.len()))
}

fn read_code(file: &mut File, bytes: u64) -> io::Result<Vec<u8>> {
    file.seek(SeekFrom::Start(0))?;
    let mut code = Vec::with_capacity(usize::try_from(bytes).unwrap_or(0));
    file.take(bytes).read_to_end(&mut code)?;
    Ok(code)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_bytes_are_parsed_without_harm(bytes in proptest::collection::vec(any::<u8>(), 0..400), size: u64) {
            prop_assert!(Trailer::parse(&bytes, size).is_err());
            let named = [&bytes[..], &MAGIC].concat();
            prop_assert!(Trailer::parse(&named, size).is_err());
        }
    }

    #[test]
    fn the_version_of_wasmtime_is_the_one_that_is_built_in() {
        let lock = include_str!("../../../../Cargo.lock");
        assert!(
            lock.contains(&format!("name = \"wasmtime\"\nversion = \"{WASMTIME}\"\n")),
            "change WASMTIME"
        );
    }

    #[test]
    fn code_for_another_machine_or_version_does_not_fit() {
        let digest = |text: &str| text.repeat(32).parse().expect("hex");
        let engine: EngineDigest = "00".repeat(32).parse().expect("hex");
        let here = About::here(digest("11"), engine, None);
        assert_eq!(fits(&here), Ok(()));
        let other = |change: fn(&mut About)| {
            let mut about = here.clone();
            change(&mut about);
            fits(&about).expect_err("does not fit")
        };
        assert!(other(|about| about.shoal = "0.0.1".into()).contains("shoal 0.0.1"));
        assert!(other(|about| about.wasmtime = "47.0.0".into()).contains("wasmtime 47.0.0"));
        assert!(other(|about| about.target = "riscv64gc-unknown-linux-gnu".into()).contains("riscv64gc"));
        assert!(
            other(|about| about.target = format!("{}-apple-darwin", std::env::consts::ARCH))
                .contains("darwin")
        );
    }
}
