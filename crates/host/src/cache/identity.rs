//! What names an entry: the artifact, the engine that compiles it, and the processor it is compiled for.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Separates these digests from all others; the number changes when the meaning of an entry does.
const KEY_CONTEXT: &str = "shoal compile cache entry 3";
const ENGINE_CONTEXT: &str = "shoal compile cache engine 1";

macro_rules! digest {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name([u8; 32]);

        impl $name {
            /// The bytes of the digest.
            pub const fn as_bytes(&self) -> &[u8; 32] {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&blake3::Hash::from(self.0).to_hex())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }

        impl FromStr for $name {
            type Err = blake3::HexError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Ok(Self(*blake3::Hash::from_hex(text)?.as_bytes()))
            }
        }

        impl TryFrom<String> for $name {
            type Error = blake3::HexError;

            fn try_from(text: String) -> Result<Self, Self::Error> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(digest: $name) -> Self {
                digest.to_string()
            }
        }
    };
}

digest! {
    /// BLAKE3 of an artifact as it came: the bytes of a component or module. Shown as 64 hex digits.
    ArtifactDigest
}

digest! {
    /// Digest of everything about an engine that its code depends on: settings, target, processor features,
    /// versions of wasmtime and Shoal.
    EngineDigest
}

digest! {
    /// Names an entry of the cache.
    Key
}

/// What is compiled of an artifact.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Form {
    /// The artifact as it is.
    Plain,
    /// With what it takes to rewind its instances, where that can be.
    Rewindable,
}

impl ArtifactDigest {
    /// The digest of these bytes.
    pub fn of(artifact: &[u8]) -> Self {
        Self(*blake3::hash(artifact).as_bytes())
    }
}

impl EngineDigest {
    /// The digest of this engine.
    pub fn of(engine: &wasmtime::Engine) -> Self {
        let mut hasher = IntoBlake3(blake3::Hasher::new_derive_key(ENGINE_CONTEXT));
        engine.precompile_compatibility_hash().hash(&mut hasher);
        env!("CARGO_PKG_VERSION").hash(&mut hasher);
        host_target().hash(&mut hasher);
        processor_features().hash(&mut hasher);
        Self(*hasher.0.finalize().as_bytes())
    }
}

impl Key {
    /// The name of this artifact compiled by this engine, as it is or so that its instances can be rewound.
    pub fn new(artifact: &ArtifactDigest, engine: &EngineDigest, form: Form) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key(KEY_CONTEXT);
        hasher.update(&artifact.0).update(&engine.0).update(&[form as u8]);
        Self(*hasher.finalize().as_bytes())
    }

    /// The name of code that was compiled elsewhere and imported.
    pub(super) fn imported(artifact: &ArtifactDigest, engine: &EngineDigest, content: &blake3::Hash) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key(KEY_CONTEXT);
        hasher.update(&artifact.0).update(&engine.0).update(content.as_bytes());
        Self(*hasher.finalize().as_bytes())
    }

    pub(super) const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

/// The target that this program was built for, as compilers name it: `x86_64-unknown-linux-gnu`.
pub fn host_target() -> String {
    let libc = if cfg!(target_env = "musl") { "musl" } else { "gnu" };
    format!("{}-unknown-{}-{libc}", std::env::consts::ARCH, std::env::consts::OS)
}

/// Feeds what is hashed into BLAKE3, whole: 64 bits would not name code that is trusted.
struct IntoBlake3(blake3::Hasher);

impl Hasher for IntoBlake3 {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// Nobody asks: the digest is taken from the inner hasher.
    fn finish(&self) -> u64 {
        let bytes = *self.0.finalize().as_bytes();
        u64::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3], bytes[4], bytes[5], bytes[6], bytes[7]])
    }
}

/// The features of this processor that compiled code may use. The engine's own hash covers those that it asks
/// for; a disk that moves to another machine is told apart by these as well.
#[cfg(target_arch = "x86_64")]
fn processor_features() -> Vec<&'static str> {
    macro_rules! present {
        ($($feature:tt)*) => {
            [$(($feature, std::arch::is_x86_feature_detected!($feature))),*]
        };
    }
    let all = present!(
        "sse3" "ssse3" "sse4.1" "sse4.2" "avx" "avx2" "fma" "bmi1" "bmi2" "lzcnt" "popcnt" "avx512f" "avx512dq"
        "avx512vl" "avx512bitalg" "avx512vbmi"
    );
    all.into_iter().filter_map(|(name, present)| present.then_some(name)).collect()
}

/// The features of this processor that compiled code may use.
#[cfg(target_arch = "aarch64")]
fn processor_features() -> Vec<&'static str> {
    macro_rules! present {
        ($($feature:tt)*) => {
            [$(($feature, std::arch::is_aarch64_feature_detected!($feature))),*]
        };
    }
    let all = present!("lse" "paca" "pacg" "fp16" "bti" "dotprod");
    all.into_iter().filter_map(|(name, present)| present.then_some(name)).collect()
}

/// The engine's own hash has them where it has a compiler for this processor.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn processor_features() -> Vec<&'static str> {
    Vec::new()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_depends_on_all_its_parts() {
        let engine = |optimize| {
            let mut config = wasmtime::Config::new();
            config.cranelift_opt_level(optimize);
            EngineDigest::of(&wasmtime::Engine::new(&config).expect("an engine"))
        };
        let (speed, none) = (engine(wasmtime::OptLevel::Speed), engine(wasmtime::OptLevel::None));
        assert_eq!(speed, engine(wasmtime::OptLevel::Speed));
        assert_ne!(speed, none);
        let (one, two) = (ArtifactDigest::of(b"one"), ArtifactDigest::of(b"two"));
        let keys = [
            Key::new(&one, &speed, Form::Plain),
            Key::new(&two, &speed, Form::Plain),
            Key::new(&one, &none, Form::Plain),
            Key::new(&one, &speed, Form::Rewindable),
        ];
        assert_eq!(keys.iter().collect::<std::collections::HashSet<_>>().len(), keys.len());
        assert_eq!(keys[0].to_string().parse::<Key>().ok(), Some(keys[0]));
    }
}
