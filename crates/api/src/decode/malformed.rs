//! Why a text is no JSON, in Go's words.

use super::DEPTH_MAX;

/// What serde_json says, and what Go says after the character that it does not expect.
const WORDS: &[(&str, &str)] = &[
    ("expected value", "looking for beginning of value"),
    ("key must be a string", "looking for beginning of object key string"),
    ("trailing comma", "looking for beginning of value"),
    ("expected `:`", "after object key"),
    ("expected `,` or `}`", "after object key:value pair"),
    ("expected `,` or `]`", "after array element"),
    ("trailing characters", "after top-level value"),
    ("invalid escape", "in string escape code"),
    ("control character", "in string literal"),
    ("invalid number", "in numeric literal"),
];

/// `invalid character 'x' looking for beginning of value`.
pub(super) fn words(error: &serde_json::Error, bytes: &[u8]) -> String {
    if error.is_eof() {
        return "unexpected end of JSON input".into();
    }
    let text = error.to_string();
    if text.starts_with("recursion limit exceeded") {
        return format!("exceeded max depth of {DEPTH_MAX}");
    }
    let known = WORDS.iter().find(|(words, _)| text.starts_with(words));
    match (known, character(error, bytes)) {
        (Some((_, words)), Some(character)) => format!("invalid character {} {words}", quoted(character)),
        _ => text,
    }
}

/// The character that an error is about. Columns count bytes from 1; the error is after or at its character.
fn character(error: &serde_json::Error, bytes: &[u8]) -> Option<char> {
    let line = bytes.split(|byte| *byte == b'\n').nth(error.line().checked_sub(1)?)?;
    let from = line.get(error.column().saturating_sub(1)..)?;
    let end = from.len().min(4);
    String::from_utf8_lossy(&from[..end]).chars().next()
}

/// As Go quotes a character.
fn quoted(character: char) -> String {
    match character {
        '\'' => r"'\''".into(),
        '"' => "'\"'".into(),
        other => format!("{other:?}"),
    }
}
