//! Counts that may be shares: `3` or `25%`.

use serde_json::Value;
use shoal_api::field::Path;

use super::faults::Faults;
use super::words;

/// As Go prints it.
pub(crate) fn shown(value: &Value) -> String {
    let (kind, number, text) = match value.as_str() {
        Some(text) => (1, 0, text),
        None => (0, value.as_i64().unwrap_or_default(), ""),
    };
    format!("intstr.IntOrString{{Type:{kind}, IntVal:{number}, StrVal:{text:?}}}")
}

/// Neither below 0 nor a text that is no share.
pub(crate) fn not_negative(value: &Value, path: &Path, faults: &mut Faults) {
    match value.as_str() {
        Some(text) => {
            for message in words::percent(text) {
                faults.invalid_shown(path, &shown(value), &message);
            }
        }
        None => faults.not_negative(path, value.as_i64()),
    }
}

/// The number, of a share its percents; 0 for anything else.
pub(crate) fn number(value: &Value) -> i64 {
    let share = value.as_str().and_then(|text| text.strip_suffix('%')).and_then(|text| text.parse().ok());
    value.as_i64().or(share).unwrap_or_default()
}

/// Not more than everything.
pub(crate) fn not_above_all(value: &Value, path: &Path, faults: &mut Faults) {
    if value.is_string() && number(value) > 100 {
        faults.invalid_shown(path, &shown(value), "must not be greater than 100%");
    }
}
