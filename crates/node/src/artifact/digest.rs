//! Digests: the names of contents (OCI image specification, "Digests").

use std::fmt;
use std::io::{self, Read};
use std::str::FromStr;

use aws_lc_rs::digest::{Context, SHA256};

/// The SHA-256 digest of some bytes, shown as `sha256:` and 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; 32]);

/// A text that is no digest.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DigestError {
    /// It has another form.
    #[error("`{0}` is no digest: sha256: and 64 hexadecimal digits in lower case")]
    Malformed(String),
    /// It is one, of an algorithm that Shoal does not have.
    #[error("the digest `{0}` is not of sha256, the only algorithm that Shoal has")]
    Algorithm(String),
}

impl Digest {
    /// The digest of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        let mut hasher = Hasher::default();
        hasher.update(bytes);
        hasher.finish()
    }

    /// The digest of what can be read, and its length in bytes.
    ///
    /// # Errors
    /// Reading fails.
    pub fn of_reader(mut reader: impl Read) -> io::Result<(Self, u64)> {
        let mut hasher = Hasher::default();
        let mut buffer = vec![0; READ_BYTES];
        loop {
            match reader.read(&mut buffer) {
                Ok(0) => {
                    let size_bytes = hasher.size_bytes;
                    return Ok((hasher.finish(), size_bytes));
                }
                Ok(read) => hasher.update(&buffer[..read]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// The 64 hexadecimal digits.
    pub fn hex(&self) -> String {
        let digits = self.0.iter().flat_map(|byte| [byte >> 4, byte & 0xF]);
        digits.map(|digit| char::from_digit(digit.into(), 16).expect("four bits are one digit")).collect()
    }
}

/// Read at once: large enough that the calls do not count, small enough for the stack of nobody.
const READ_BYTES: usize = 64 << 10;

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", self.hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({self})")
    }
}

impl FromStr for Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        let malformed = || DigestError::Malformed(text.into());
        let (algorithm, hex) = text.split_once(':').ok_or_else(malformed)?;
        if algorithm != "sha256" {
            let is_known = ["sha512", "sha384", "blake3"].contains(&algorithm);
            return Err(if is_known { DigestError::Algorithm(text.into()) } else { malformed() });
        }
        let digits: Vec<u8> = hex
            .bytes()
            .map(|c| match c {
                b'0'..=b'9' => Some(c - b'0'),
                b'a'..=b'f' => Some(c - b'a' + 10),
                _ => None,
            })
            .collect::<Option<_>>()
            .ok_or_else(malformed)?;
        let bytes: Vec<u8> =
            digits.chunks(2).map(|pair| pair.iter().fold(0, |byte, d| byte << 4 | d)).collect();
        let is_whole = digits.len() == 64;
        bytes.try_into().ok().filter(|_| is_whole).map(Self).ok_or_else(malformed)
    }
}

impl serde::Serialize for Digest {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Digest {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// A digest in the making.
#[derive(Clone)]
pub(crate) struct Hasher {
    context: Context,
    /// Bytes so far.
    pub(crate) size_bytes: u64,
}

impl Default for Hasher {
    fn default() -> Self {
        Self { context: Context::new(&SHA256), size_bytes: 0 }
    }
}

impl Hasher {
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.context.update(bytes);
        self.size_bytes += bytes.len() as u64;
    }

    pub(crate) fn finish(self) -> Digest {
        let digest = self.context.finish();
        Digest(digest.as_ref().try_into().expect("SHA-256 has 32 bytes"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn a_digest_is_shown_as_it_is_read() {
        assert_eq!(Digest::of(b"").to_string(), EMPTY);
        assert_eq!(EMPTY.parse(), Ok(Digest::of(b"")));
        let long = vec![7; READ_BYTES + 1];
        let read = Digest::of_reader(long.as_slice()).expect("memory can be read");
        assert_eq!(read, (Digest::of(&long), long.len() as u64));
    }

    #[test]
    fn what_is_no_digest_is_refused() {
        let short = &EMPTY[..EMPTY.len() - 1];
        let long = format!("{EMPTY}0");
        let loud = EMPTY.to_uppercase();
        for text in ["", "sha256", "sha256:", short, &long, &loud, "md5:00", "sha256:é"] {
            assert_eq!(text.parse::<Digest>(), Err(DigestError::Malformed(text.into())), "{text}");
        }
        assert_eq!("sha512:00".parse::<Digest>(), Err(DigestError::Algorithm("sha512:00".into())));
    }
}
