//! Untrusted text, made fit for a log line.

use std::borrow::Cow;
use std::fmt::Write as _;

/// Longest name shown in a log line or a message, in characters: enough to recognise it.
const SHOWN_CHARS_MAX: usize = 80;

/// A name that a guest chose, shortened, with everything escaped that could forge or distort a line.
pub(crate) fn shown(name: &str) -> String {
    shown_to(name, SHOWN_CHARS_MAX)
}

/// The same, with this many characters of it.
pub(crate) fn shown_to(name: &str, chars_max: usize) -> String {
    let mut text: String = name.chars().take(chars_max).collect();
    if text.len() < name.len() {
        text.push('…');
    }
    escape(&text).into_owned()
}

/// The text with every character escaped that could forge or distort a log line: control characters (line
/// ends among them), Unicode line separators, and the marks that reorder what is displayed.
pub(crate) fn escape(text: &str) -> Cow<'_, str> {
    if !text.contains(is_unsafe) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match c {
            '\n' => safe.push_str("\\n"),
            '\r' => safe.push_str("\\r"),
            '\t' => safe.push_str("\\t"),
            c if is_unsafe(c) => {
                let _ = write!(safe, "\\u{{{:x}}}", u32::from(c));
            }
            c => safe.push(c),
        }
    }
    Cow::Owned(safe)
}

/// The beginning of the text, at most `bytes_max` bytes, cut between characters.
pub(crate) fn cut(text: &str, bytes_max: usize) -> &str {
    &text[..text.floor_char_boundary(bytes_max)]
}

/// Whether the character changes more than the place where it stands.
fn is_unsafe(c: char) -> bool {
    // Line and paragraph separators; the bidirectional embeddings, overrides, isolates and marks.
    c.is_control()
        || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
        || matches!(c, '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_forge_a_line_is_escaped_and_the_rest_is_kept() {
        assert_eq!(escape("häuser & 魚 \\ \"quoted\""), "häuser & 魚 \\ \"quoted\"");
        assert_eq!(escape("a\nERROR b\r\t\0\x1b[31m"), "a\\nERROR b\\r\\t\\u{0}\\u{1b}[31m");
        assert_eq!(escape("\u{85}\u{2028}\u{202e}txt\u{2069}"), "\\u{85}\\u{2028}\\u{202e}txt\\u{2069}");
    }

    #[test]
    fn a_text_is_cut_between_characters() {
        assert_eq!(cut("abc", 3), "abc");
        assert_eq!(cut("abcd", 3), "abc");
        assert_eq!(cut("aéé", 4), "aé", "not within a character");
    }

    #[test]
    fn a_long_name_is_shortened() {
        assert_eq!(shown(&"é".repeat(SHOWN_CHARS_MAX)), "é".repeat(SHOWN_CHARS_MAX));
        assert_eq!(shown(&"é".repeat(SHOWN_CHARS_MAX + 1)), "é".repeat(SHOWN_CHARS_MAX) + "…");
    }
}
