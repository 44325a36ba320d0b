//! YAML into a value. Small texts cannot become large values: events, aliases and depth are bounded.

use serde_json::Value;
use serde_saphyr::{DuplicateKeyPolicy, Options};

use super::{DEPTH_MAX, DecodeError, Strictness};

/// Whether a text is JSON rather than YAML: it begins with a brace.
pub(super) fn is_json(bytes: &[u8]) -> bool {
    bytes.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'{')
}

/// Reads YAML; of keys that stand twice the last one counts. They are told of in the words of Kubernetes' own reader.
pub(super) fn read(bytes: &[u8], strictness: Strictness) -> Result<(Value, Vec<String>), DecodeError> {
    let malformed = |message: &dyn std::fmt::Display| {
        DecodeError::Malformed(format!("error converting YAML to JSON: yaml: {message}"))
    };
    let text = std::str::from_utf8(bytes).map_err(|_| malformed(&"invalid leading UTF-8 octet"))?;
    let value: Value = serde_saphyr::from_str_with_options(text, options(text, DuplicateKeyPolicy::LastWins))
        .map_err(|error| malformed(&error))?;
    let mut findings = Vec::new();
    if strictness != Strictness::Ignore {
        let strict: Result<Value, _> =
            serde_saphyr::from_str_with_options(text, options(text, DuplicateKeyPolicy::Error));
        findings.extend(strict.err().and_then(|error| duplicate(&error)));
    }
    Ok((value, findings))
}

fn options(text: &str, duplicate_keys: DuplicateKeyPolicy) -> Options {
    serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_depth: DEPTH_MAX,
            max_documents: 1,
            // Each byte of the text can begin at most one scalar; aliases add what alias_limits let them.
            max_nodes: NODES_MIN + text.len(),
            max_events: 2 * (NODES_MIN + text.len()),
            max_total_scalar_bytes: NODES_MIN + 2 * text.len(),
        },
        duplicate_keys: duplicate_keys,
        with_snippet: false,
    }
}

/// So that a short text with an alias or two is not refused.
const NODES_MIN: usize = 10_000;

/// `yaml: unmarshal errors:\n  line 3: key "a" already set in map`; none for another error.
fn duplicate(error: &serde_saphyr::Error) -> Option<String> {
    let serde_saphyr::Error::DuplicateMappingKey { key, location, .. } = error else { return None };
    let key = key.as_deref().unwrap_or_default();
    Some(format!("yaml: unmarshal errors:\n  line {}: key {key:?} already set in map", location.line()))
}
