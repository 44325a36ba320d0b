//! A seal: what an installation says of an entry, and the MAC that shows that it said so. Pure.

use super::files::Identity;
use super::identity::Key;
use super::installation::InstallationKey;

/// Names the layout; another layout has another name.
const MAGIC: [u8; 8] = *b"shoalSL1";

/// The purpose of the MAC.
const PURPOSE: &str = "shoal compile cache seal 1";

/// Magic, key, content digest, size, identity (device, inode, two times of 16 bytes), whether there is one.
const BODY_BYTES: usize = 8 + 32 + 32 + 8 + Identity::BYTES + 1;

/// All of it with the MAC.
pub(super) const SEAL_BYTES: usize = BODY_BYTES + 32;

/// What was sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seal {
    /// The entry.
    pub key: Key,
    /// BLAKE3 of its content.
    pub content: blake3::Hash,
    /// Its bytes.
    pub size: u64,
    /// The file; none when its times could not tell a later change, then the content decides each time.
    pub identity: Option<Identity>,
}

/// Why bytes are no seal of this installation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// Another length than a seal has.
    #[error("its seal has {0} bytes, not {SEAL_BYTES}")]
    Length(usize),
    /// Not the layout of this version.
    #[error("its seal is of another version")]
    Version,
    /// Made with another secret, or changed since.
    #[error("its seal was made by another installation, or changed")]
    Mac,
}

impl Seal {
    /// The bytes of the seal under this secret.
    pub fn to_bytes(&self, key: &InstallationKey) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(SEAL_BYTES);
        bytes.extend(MAGIC);
        bytes.extend(self.key.as_bytes());
        bytes.extend(self.content.as_bytes());
        bytes.extend(self.size.to_le_bytes());
        bytes.extend(self.identity.map_or([0; Identity::BYTES], |identity| identity.to_bytes()));
        bytes.push(u8::from(self.identity.is_some()));
        let mac = key.mac(PURPOSE, &bytes);
        bytes.extend(mac.as_bytes());
        bytes
    }

    /// Reads a seal that was made under this secret.
    ///
    /// # Errors
    /// For all other bytes.
    pub fn parse(bytes: &[u8], key: &InstallationKey) -> Result<Self, SealError> {
        let bytes: &[u8; SEAL_BYTES] = bytes.try_into().map_err(|_| SealError::Length(bytes.len()))?;
        let (body, mac) = bytes.split_at(BODY_BYTES);
        let (magic, rest) = take::<8>(body);
        if magic != MAGIC {
            return Err(SealError::Version);
        }
        // Compared in constant time.
        if key.mac(PURPOSE, body) != blake3::Hash::from(take::<32>(mac).0) {
            return Err(SealError::Mac);
        }
        let (entry, rest) = take::<32>(rest);
        let (content, rest) = take::<32>(rest);
        let (size, rest) = take::<8>(rest);
        let size = u64::from_le_bytes(size);
        let (identity, rest) = take::<{ Identity::BYTES }>(rest);
        let identity = (rest == [1]).then(|| Identity::from_bytes(&identity, size));
        Ok(Self { key: Key::from_bytes(entry), content: content.into(), size, identity })
    }
}

/// Splits off the first bytes of a body that is as long as it must be.
fn take<const N: usize>(bytes: &[u8]) -> ([u8; N], &[u8]) {
    let (first, rest) = bytes.split_first_chunk::<N>().expect("the length of a seal was checked");
    (*first, rest)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::cache::{ArtifactDigest, EngineDigest, Form};

    fn a_seal(identity: Option<Identity>) -> Seal {
        let engine: EngineDigest = "00".repeat(32).parse().expect("hex");
        let key = Key::new(&ArtifactDigest::of(b"a"), &engine, Form::Plain);
        Seal { key, content: blake3::hash(b"b"), size: 7, identity }
    }

    const SECRET: InstallationKey = InstallationKey::from_bytes([7; 32]);

    proptest! {
        #[test]
        fn a_seal_reads_back(dev: u64, ino: u64, changed: i128, modified: i128, known: bool) {
            let seal = a_seal(known.then_some(Identity { dev, ino, size: 7, changed, modified }));
            prop_assert_eq!(Seal::parse(&seal.to_bytes(&SECRET), &SECRET), Ok(seal));
        }

        #[test]
        fn any_bytes_are_refused(bytes in proptest::collection::vec(any::<u8>(), 0..2 * SEAL_BYTES)) {
            prop_assert!(Seal::parse(&bytes, &SECRET).is_err());
        }
    }

    #[test]
    fn every_flipped_bit_is_seen_and_so_is_another_secret() {
        let bytes = a_seal(None).to_bytes(&SECRET);
        for bit in 0..bytes.len() * 8 {
            let mut changed = bytes.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(Seal::parse(&changed, &SECRET).is_err(), "bit {bit}");
        }
        assert_eq!(Seal::parse(&bytes, &InstallationKey::from_bytes([8; 32])), Err(SealError::Mac));
        assert_eq!(Seal::parse(&bytes[1..], &SECRET), Err(SealError::Length(SEAL_BYTES - 1)));
    }
}
