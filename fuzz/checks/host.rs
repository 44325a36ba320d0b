//! What is loaded: artifacts, seals of the cache, trailers of `.cwasm` files.
#![allow(unreachable_pub, reason = "a module of the fuzz targets and of the tests of shoal-host")]

use std::sync::OnceLock;

use shoal_host::cache::{
    About, ArtifactDigest, Cache, EngineDigest, Form, InstallationKey, Key, Seal, Trailer,
};
use shoal_runtime::Refusal;

/// An artifact is inspected or refused; what was inspected can be shown as text or refused.
pub fn inspect(bytes: &[u8]) {
    let binary = match shoal_host::to_binary(bytes) {
        Ok(binary) => binary,
        Err(refusal) => {
            assert!(shoal_host::inspect(bytes).is_err(), "inspected, but no binary");
            return show(&refusal);
        }
    };
    match shoal_host::inspect(bytes) {
        Ok(inspection) => {
            assert_eq!(inspection.size_bytes, binary.len() as u64);
            if inspection.kind.is_none() {
                show(&shoal_host::refuse_unknown(&inspection));
            }
        }
        Err(refusal) => show(&refusal),
    }
    for text in [shoal_host::wit(bytes), shoal_host::wat(bytes)] {
        match text {
            Ok(text) => assert!(!text.is_empty()),
            Err(refusal) => show(&refusal),
        }
    }
}

/// A component is rewritten so that its instances can be rewound, or that is refused with words; one that was valid
/// is valid still.
pub fn rewindable(bytes: &[u8]) {
    match shoal_host::rewindable(bytes) {
        Ok(rewritten) => {
            let binary = shoal_host::to_binary(bytes).expect("it was rewritten");
            if wasmparser::validate(&binary).is_ok() {
                let validated = wasmparser::validate(&rewritten).map(drop);
                assert!(validated.is_ok(), "no longer valid: {validated:?}");
            }
        }
        Err(why) => assert!(!why.is_empty()),
    }
}

fn show(refusal: &Refusal) {
    assert!(!refusal.what.is_empty());
}

const SECRET: InstallationKey = InstallationKey::from_bytes([7; 32]);

/// The bytes as they are, and as changes of a true seal: only the true one is read.
pub fn seal(bytes: &[u8]) {
    let seal = Seal {
        key: Key::new(&artifact(), &engine(), Form::Plain),
        content: blake3::hash(b"code"),
        size: 4,
        identity: None,
    };
    let whole = seal.to_bytes(&SECRET);
    assert!(bytes == whole || Seal::parse(bytes, &SECRET).is_err(), "any bytes pass for a seal");
    let changed = change(&whole, bytes);
    let read = Seal::parse(&changed, &SECRET);
    if changed == whole {
        assert_eq!(read, Ok(seal));
    } else {
        assert!(read.is_err(), "a changed seal passes");
    }
}

/// The bytes as they are, and as changes of a true file: what passes as sealed is the true trailer.
pub fn trailer(bytes: &[u8]) {
    static TRUE: OnceLock<(Vec<u8>, Trailer)> = OnceLock::new();
    let (whole, trailer) = TRUE.get_or_init(true_file);
    for candidate in [bytes, &change(whole, bytes)] {
        // A file may be longer than the end that is read of it.
        for missing in [0, 1, u64::MAX / 2, u64::MAX - candidate.len() as u64] {
            match Trailer::parse(candidate, candidate.len() as u64 + missing) {
                Ok(found) if found.is_sealed_by(&SECRET) => {
                    assert_eq!(found, *trailer, "a forged trailer passes");
                }
                Ok(_) => {}
                Err(error) => assert!(!error.to_string().is_empty()),
            }
        }
    }
}

fn true_file() -> (Vec<u8>, Trailer) {
    let dir = tempfile::tempdir().expect("a directory");
    let cache = Cache::open_with(&dir.path().join("data"), SECRET).expect("a cache");
    let whole = cache.export(b"code", &About::here(artifact(), engine(), None)).expect("a file");
    let trailer = Trailer::parse(&whole, whole.len() as u64).expect("a trailer");
    assert!(trailer.is_sealed_by(&SECRET));
    (whole, trailer)
}

/// Pairs of bytes: where, counted from the end, and what to add there. An odd last byte cuts that many off the start.
fn change(whole: &[u8], changes: &[u8]) -> Vec<u8> {
    let mut changed = whole.to_vec();
    let (pairs, rest) = changes.as_chunks::<2>();
    for [place, by] in pairs {
        let at = changed.len() - 1 - usize::from(*place) % changed.len();
        changed[at] = changed[at].wrapping_add(*by);
    }
    let cut = rest.first().map_or(0, |byte| usize::from(*byte)).min(changed.len());
    changed.split_off(cut)
}

fn artifact() -> ArtifactDigest {
    ArtifactDigest::of(b"artifact")
}

fn engine() -> EngineDigest {
    "5a".repeat(32).parse().expect("64 hex digits")
}
