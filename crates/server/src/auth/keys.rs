//! The keys that sign tokens of ServiceAccounts.

use std::fmt;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header};
use rustls_pki_types::PrivatePkcs8KeyDer;
use rustls_pki_types::pem::PemObject as _;
use serde_json::{Value, json};

use crate::pki::to_pem;

/// Keys that are kept. A key may be forgotten when its last token has expired, at most a year after it was rotated.
const KEYS_MAX: usize = 8;

/// Some keys: the first signs (ES256), all of them verify.
#[derive(Clone)]
pub struct Keys(Vec<Key>);

#[derive(Clone)]
struct Key {
    /// PKCS #8.
    private: Vec<u8>,
    /// The public point, uncompressed: 4, x, y.
    point: Vec<u8>,
    /// The SHA-256 of the public key.
    id: String,
}

/// Why keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The text is not PEM.
    #[error("it is not PEM")]
    Pem,
    /// A key of another kind.
    #[error("its key {0} is not an ECDSA key on P-256")]
    Kind(usize),
    /// None, or too many.
    #[error("it holds {0} keys; it must hold one to {KEYS_MAX}")]
    Count(usize),
}

impl Keys {
    /// One new key.
    pub fn generate() -> Self {
        Self(vec![Key::generate()])
    }

    /// From PEM blocks `PRIVATE KEY`, the one that signs first.
    ///
    /// # Errors
    /// When the text holds something else, or too many keys.
    pub fn from_pem(text: &str) -> Result<Self, KeyError> {
        let ders: Vec<_> = PrivatePkcs8KeyDer::pem_slice_iter(text.as_bytes())
            .collect::<Result<_, _>>()
            .map_err(|_| KeyError::Pem)?;
        if ders.is_empty() || ders.len() > KEYS_MAX {
            return Err(KeyError::Count(ders.len()));
        }
        let key = |(number, der): (usize, &PrivatePkcs8KeyDer<'_>)| {
            Key::new(der.secret_pkcs8_der()).ok_or(KeyError::Kind(number + 1))
        };
        Ok(Self(ders.iter().enumerate().map(key).collect::<Result<_, _>>()?))
    }

    /// As PEM. Secret.
    pub fn to_pem(&self) -> String {
        self.0.iter().map(|key| to_pem("PRIVATE KEY", &key.private)).collect()
    }

    /// With a new key in front; of more than [`KEYS_MAX`] the oldest is forgotten.
    #[must_use]
    pub fn rotated(&self) -> Self {
        let keys = std::iter::once(Key::generate()).chain(self.0.iter().cloned());
        Self(keys.take(KEYS_MAX).collect())
    }

    /// The public keys, as clients read them (RFC 7517): `/openid/v1/jwks`.
    pub fn to_jwks(&self) -> Value {
        json!({"keys": self.0.iter().map(Key::to_jwk).collect::<Vec<_>>()})
    }

    /// Signs claims with the first key.
    pub(super) fn sign(&self, claims: &Value) -> String {
        let key = &self.0[0];
        let mut header = Header::new(Algorithm::ES256);
        header.typ = None;
        header.kid = Some(key.id.clone());
        jsonwebtoken::encode(&header, claims, &EncodingKey::from_ec_der(&key.private))
            .expect("the key was read before, and claims are JSON")
    }

    /// The key of this name; by an empty name all.
    pub(super) fn verifying(&self, id: &str) -> impl Iterator<Item = DecodingKey> {
        let named = self.0.iter().filter(move |key| id.is_empty() || key.id == id);
        named.map(|key| DecodingKey::from_ec_der(&key.point))
    }
}

impl Key {
    fn generate() -> Self {
        let document = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING)
            .and_then(|pair| pair.to_pkcs8v1())
            .expect("the system's random source does not fail once it has begun");
        Self::new(document.as_ref()).expect("it was made for this")
    }

    fn new(private: &[u8]) -> Option<Self> {
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, private).ok()?;
        let public = pair.public_key().as_der().ok()?;
        let id = BASE64_URL_SAFE_NO_PAD.encode(digest(&SHA256, public.as_ref()));
        Some(Self { private: private.to_vec(), point: pair.public_key().as_ref().to_vec(), id })
    }

    fn to_jwk(&self) -> Value {
        let (x, y) = self.point[1..].split_at(32);
        let [x, y] = [x, y].map(|part| BASE64_URL_SAFE_NO_PAD.encode(part));
        json!({"use": "sig", "kty": "EC", "kid": self.id, "crv": "P-256", "alg": "ES256", "x": x, "y": y})
    }
}

/// Says nothing but names.
impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|key| &key.id)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_kept_as_pem_and_rotated_up_to_a_limit() {
        let mut keys = Keys::generate();
        let first = keys.0[0].id.clone();
        for count in 2..=KEYS_MAX {
            keys = Keys::from_pem(&keys.rotated().to_pem()).expect("it was written here");
            assert_eq!(keys.0.len(), count);
        }
        assert!(keys.verifying(&first).next().is_some());
        assert!(keys.rotated().verifying(&first).next().is_none());
        assert_eq!(keys.to_jwks()["keys"].as_array().map(Vec::len), Some(KEYS_MAX));
        let too_many = format!("{}{}", keys.to_pem(), Keys::generate().to_pem());
        assert!(matches!(Keys::from_pem(&too_many), Err(KeyError::Count(count)) if count == KEYS_MAX + 1));
        assert!(matches!(Keys::from_pem(""), Err(KeyError::Count(0))));
        let other = to_pem("PRIVATE KEY", b"no key");
        assert!(matches!(Keys::from_pem(&other), Err(KeyError::Kind(1))));
    }

    #[test]
    fn debug_says_no_secret() {
        let keys = Keys::generate();
        let shown = format!("{keys:?}");
        assert!(shown.contains(&keys.0[0].id) && shown.len() < 60, "{shown}");
    }
}
