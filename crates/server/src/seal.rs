//! Secrets encrypted at rest: AES-256-GCM, each value bound to the key under which it is stored.
//!
//! A sealed value is `shoal:enc:v1:KEY:` followed by a nonce of 12 bytes, the ciphertext and a tag of 16 bytes. `KEY`
//! names one of the keys of the key file. The name of the stored key is authenticated too, so that whoever can write
//! the store's file cannot put one Secret in the place of another.
//!
//! The key file has one key a line, `ID BASE64`: the first seals, all of them open. [`Sealer::rotate`] puts a new one
//! in front; after all values were written again ([`Sealer::is_current`] tells which), [`Sealer::forget_old`] removes
//! the others from the file. A rotation that broke off is seen by the old keys ([`Sealer::has_old_keys`]), and gone on with.
//! Until the process ends it opens what somebody still holds. Nonces are random: rotate before four billion values were sealed with one key (NIST SP 800-38D, 8.3).

use std::borrow::Cow;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use parking_lot::RwLock;

use crate::files::{self, FileError};
use crate::random;

/// What a sealed value begins with.
const PREFIX: &[u8] = b"shoal:enc:v1:";
/// Keys that a file may hold: more would mean that rotations are never finished.
pub const KEYS_MAX: usize = 16;
/// Longest name of a key.
const ID_BYTES_MAX: usize = 64;

/// The keys that seal and open values.
pub struct Sealer {
    path: PathBuf,
    keys: RwLock<Keys>,
}

#[derive(Default)]
struct Keys {
    /// Those of the file: the first seals.
    kept: Vec<Arc<Key>>,
    /// Those that were removed from it since the start.
    retired: Vec<Arc<Key>>,
}

struct Key {
    id: String,
    bytes: [u8; 32],
    key: LessSafeKey,
}

/// Why a value cannot be opened, or a key file not be used.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// The key file cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// The key file holds something else than keys.
    #[error("{path}, line {line}: not a key, which is a name and 32 bytes in base64")]
    NotAKey {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
    },
    /// Too many keys, or none.
    #[error("{path} holds {count} keys; it must hold one to {KEYS_MAX}")]
    Count {
        /// The file.
        path: PathBuf,
        /// How many there are.
        count: usize,
    },
    /// The key that sealed a value is not in the file.
    #[error("{at} was sealed with the key {id:?}, which {path} does not hold")]
    UnknownKey {
        /// The key of the store.
        at: String,
        /// The name of the key.
        id: String,
        /// The file.
        path: PathBuf,
    },
    /// The value was changed, cut short, or stood under another key of the store.
    #[error("{at} is not what was sealed: it was changed, or moved from elsewhere")]
    Broken {
        /// The key of the store.
        at: String,
    },
}

impl Sealer {
    /// Reads a key file, or makes one with a new key where there is none.
    ///
    /// # Errors
    /// When the file cannot be read or written, or holds something else.
    pub fn open(path: &Path) -> Result<Self, SealError> {
        let kept = match files::read(path)? {
            Some(text) => parse(path, &text)?.into_iter().map(Arc::new).collect(),
            None => {
                let new = vec![Arc::new(Key::generate())];
                save(path, &new)?;
                new
            }
        };
        Ok(Self { path: path.to_owned(), keys: RwLock::new(Keys { kept, retired: Vec::new() }) })
    }

    /// Seals the value that is stored under `at`.
    pub fn seal(&self, at: &str, value: &[u8]) -> Vec<u8> {
        let key = self.keys.read().kept[0].clone();
        let nonce = random::bytes::<NONCE_LEN>();
        let mut sealed = [PREFIX, key.id.as_bytes(), b":", &nonce].concat();
        let mut body = value.to_vec();
        key.key
            .seal_in_place_append_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(at.as_bytes()),
                &mut body,
            )
            .expect("a value is shorter than the 64 GiB that AES-GCM takes");
        sealed.extend_from_slice(&body);
        sealed
    }

    /// Opens the value that is stored under `at`. A value that was never sealed comes back as it is.
    ///
    /// # Errors
    /// When the key is missing, or the value is not what was sealed under `at`.
    pub fn unseal<'a>(&self, at: &str, value: &'a [u8]) -> Result<Cow<'a, [u8]>, SealError> {
        let Some(rest) = value.strip_prefix(PREFIX) else { return Ok(Cow::Borrowed(value)) };
        let broken = || SealError::Broken { at: at.to_string() };
        let colon = rest.iter().take(ID_BYTES_MAX + 1).position(|byte| *byte == b':').ok_or_else(broken)?;
        let id = std::str::from_utf8(&rest[..colon]).map_err(|_| broken())?;
        let Some(key) = self.keys.read().find(id) else {
            return Err(SealError::UnknownKey { at: at.to_string(), id: id.into(), path: self.path.clone() });
        };
        let (nonce, body) = rest[colon + 1..].split_at_checked(NONCE_LEN).ok_or_else(broken)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| broken())?;
        let mut body = body.to_vec();
        let length =
            key.key.open_in_place(nonce, Aad::from(at.as_bytes()), &mut body).map_err(|_| broken())?.len();
        body.truncate(length);
        Ok(Cow::Owned(body))
    }

    /// Whether a stored value is sealed with the key that seals now; one that is not should be written again.
    pub fn is_current(&self, value: &[u8]) -> bool {
        let keys = self.keys.read();
        let rest = value.strip_prefix(PREFIX).and_then(|rest| rest.strip_prefix(keys.kept[0].id.as_bytes()));
        rest.is_some_and(|rest| rest.first() == Some(&b':'))
    }

    /// Whether the file has keys that do not seal any more: a rotation was begun, and is not finished.
    pub fn has_old_keys(&self) -> bool {
        self.keys.read().kept.len() > 1
    }

    /// Puts a new key in front, which seals from now on.
    ///
    /// # Errors
    /// When there are [`KEYS_MAX`] keys already, or the file cannot be written: nothing has changed then.
    pub fn rotate(&self) -> Result<(), SealError> {
        let mut keys = self.keys.write();
        if keys.kept.len() >= KEYS_MAX {
            return Err(SealError::Count { path: self.path.clone(), count: keys.kept.len() + 1 });
        }
        let mut next = keys.kept.clone();
        next.insert(0, Arc::new(Key::generate()));
        save(&self.path, &next)?;
        keys.kept = next;
        Ok(())
    }

    /// Removes all keys but the first from the file. What they sealed cannot be opened any more once this process has ended.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn forget_old(&self) -> Result<(), SealError> {
        let mut keys = self.keys.write();
        save(&self.path, &keys.kept[..1])?;
        let old = keys.kept.split_off(1);
        keys.retired.extend(old);
        Ok(())
    }
}

impl Keys {
    fn find(&self, id: &str) -> Option<Arc<Key>> {
        self.kept.iter().chain(&self.retired).find(|key| key.id == id).cloned()
    }
}

fn save(path: &Path, keys: &[Arc<Key>]) -> Result<(), SealError> {
    let lines = keys.iter().map(|key| format!("{} {}\n", key.id, BASE64_STANDARD.encode(key.bytes)));
    Ok(files::write(path, &lines.collect::<String>())?)
}

impl Key {
    fn generate() -> Self {
        let id = random::uuid()[..8].to_string();
        Self::new(id, random::bytes())
    }

    fn new(id: String, bytes: [u8; 32]) -> Self {
        let key = UnboundKey::new(&AES_256_GCM, &bytes).expect("AES-256 takes 32 bytes");
        Self { id, bytes, key: LessSafeKey::new(key) }
    }
}

/// Says nothing of the keys but their names.
impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys = self.keys.read();
        let ids: Vec<&str> = keys.kept.iter().map(|key| key.id.as_str()).collect();
        f.debug_struct("Sealer").field("path", &self.path).field("keys", &ids).finish()
    }
}

fn parse(path: &Path, text: &str) -> Result<Vec<Key>, SealError> {
    let mut keys = Vec::new();
    for (line, number) in text.lines().zip(1..).filter(|(line, _)| !line.trim().is_empty()) {
        let key = line.split_once(' ').and_then(|(id, key)| {
            let is_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
            let is_id = !id.is_empty() && id.len() <= ID_BYTES_MAX && id.bytes().all(is_name);
            let bytes = BASE64_STANDARD.decode(key.trim()).ok()?;
            is_id.then_some(Key::new(id.into(), bytes.try_into().ok()?))
        });
        keys.push(key.ok_or_else(|| SealError::NotAKey { path: path.to_owned(), line: number })?);
    }
    if keys.is_empty() || keys.len() > KEYS_MAX {
        return Err(SealError::Count { path: path.to_owned(), count: keys.len() });
    }
    Ok(keys)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealer() -> (tempfile::TempDir, Sealer) {
        let dir = tempfile::tempdir().expect("a directory");
        let sealer = Sealer::open(&dir.path().join("seal.keys")).expect("made");
        (dir, sealer)
    }

    #[test]
    fn what_is_sealed_is_opened_where_it_was_sealed_and_nowhere_else() {
        let (_dir, sealer) = sealer();
        let sealed = sealer.seal("/registry/secrets/a/b", b"hunter2");
        assert!(sealed.starts_with(PREFIX));
        assert!(!sealed.windows(7).any(|window| window == b"hunter2"));
        assert_ne!(sealed, sealer.seal("/registry/secrets/a/b", b"hunter2"), "a nonce is used once");
        assert_eq!(*sealer.unseal("/registry/secrets/a/b", &sealed).expect("whole"), *b"hunter2");
        let moved = sealer.unseal("/registry/secrets/a/c", &sealed).expect_err("it was moved");
        assert!(matches!(moved, SealError::Broken { .. }), "{moved}");
        for at in PREFIX.len()..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert!(sealer.unseal("/registry/secrets/a/b", &changed).is_err(), "byte {at}");
            assert!(sealer.unseal("/registry/secrets/a/b", &sealed[..at]).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn a_value_that_was_never_sealed_is_read_as_it_is() {
        let (_dir, sealer) = sealer();
        assert_eq!(*sealer.unseal("/a", b"{}").expect("plain"), *b"{}");
        assert!(!sealer.is_current(b"{}"));
    }

    #[test]
    fn keys_are_rotated_and_forgotten() {
        let (dir, sealer) = sealer();
        let old = sealer.seal("/a", b"x");
        assert!(sealer.is_current(&old) && !sealer.has_old_keys());
        sealer.rotate().expect("rotated");
        assert!(sealer.has_old_keys());
        assert!(!sealer.is_current(&old));
        assert_eq!(*sealer.unseal("/a", &old).expect("the old key opens"), *b"x");
        let new = sealer.seal("/a", b"x");
        let read = Sealer::open(&dir.path().join("seal.keys")).expect("read");
        assert_eq!(*read.unseal("/a", &new).expect("the file has the new key"), *b"x");
        read.forget_old().expect("forgotten");
        assert!(!read.has_old_keys());
        assert_eq!(*read.unseal("/a", &new).expect("whole"), *b"x");
        assert!(read.unseal("/a", &old).is_ok(), "somebody may hold it still");
        let read = Sealer::open(&dir.path().join("seal.keys")).expect("read");
        let error = read.unseal("/a", &old).expect_err("its key is gone").to_string();
        assert!(error.starts_with("/a was sealed with the key"), "{error}");
    }

    #[test]
    fn a_file_holds_so_many_keys() {
        let (_dir, sealer) = sealer();
        (1..KEYS_MAX).for_each(|_| sealer.rotate().expect("there is room"));
        assert!(matches!(sealer.rotate(), Err(SealError::Count { count, .. }) if count == KEYS_MAX + 1));
    }

    #[test]
    fn a_file_of_something_else_is_refused_and_shown_by_line_only() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("keys");
        for text in ["", "a", "a AAAA", "a:b AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", "secretsecret"] {
            std::fs::write(&path, text).expect("written");
            let error = Sealer::open(&path).expect_err(text).to_string();
            assert!(!error.contains("secret"), "{error}");
        }
    }
}
