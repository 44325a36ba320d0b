//! From data to what people and programs read.
//!
//! All functions are pure. Those for people return text with ANSI styles in it: write it through
//! [`anstream`], which takes them out where the output is no terminal. What comes from an artifact is
//! untrusted, and is shown with its control characters escaped.

pub mod deploy;
pub mod doctor;
pub mod error;
pub mod inspect;
pub mod status;
pub mod version;
mod world;

use std::fmt::Write as _;

use anstyle::{AnsiColor, Style};

pub(crate) const TITLE: Style = AnsiColor::Green.on_default().bold();
pub(crate) const NAME: Style = AnsiColor::Cyan.on_default();
pub(crate) const QUIET: Style = Style::new().dimmed();
pub(crate) const GOOD: Style = AnsiColor::Green.on_default();
pub(crate) const WARNING: Style = AnsiColor::Yellow.on_default().bold();
pub(crate) const BAD: Style = AnsiColor::Red.on_default().bold();

/// The text in a style.
pub(crate) fn styled(style: Style, text: &str) -> String {
    if text.is_empty() { String::new() } else { format!("{style}{text}{style:#}") }
}

/// The name of whoever says a line, before it.
pub fn speaker(name: &str) -> String {
    styled(NAME, &format!("[{}]", plain(name)))
}

/// Untrusted text with everything escaped that could move the cursor or change the terminal.
pub(crate) fn plain(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut plain, c| {
        // Bidirectional overrides are no control characters, but make a name read as another.
        let turns = matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}');
        if c.is_control() || turns {
            let _ = write!(plain, "{}", c.escape_unicode());
        } else {
            plain.push(c);
        }
        plain
    })
}

/// A size for people: exact below a KiB, else with one decimal: `512B`, `73.8KiB`, `12.4MiB`.
pub(crate) fn size(bytes: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "one decimal is shown")]
    let of = |shift: u32| bytes as f64 / f64::from(1_u32 << shift);
    match bytes {
        0..1024 => format!("{bytes}B"),
        1024..1_048_576 => format!("{:.1}KiB", of(10)),
        1_048_576..1_073_741_824 => format!("{:.1}MiB", of(20)),
        _ => format!("{:.1}GiB", of(30)),
    }
}

/// Rows of cells in aligned columns, each line behind `indent`. The last column is not padded.
pub(crate) fn columns(indent: &str, rows: &[Vec<Cell>]) -> String {
    let count = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width =
        |column: usize| rows.iter().filter_map(|row| row.get(column)).map(Cell::width).max().unwrap_or(0);
    let widths: Vec<usize> = (0..count).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let mut line = indent.to_string();
        for (column, cell) in row.iter().enumerate() {
            line.push_str(&styled(cell.style, &cell.text));
            if row[column + 1..].iter().any(|cell| !cell.text.is_empty()) {
                line.extend(std::iter::repeat_n(' ', widths[column] - cell.width() + 2));
            }
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// A text in one style.
#[derive(Clone, Debug)]
pub(crate) struct Cell {
    text: String,
    style: Style,
}

impl Cell {
    pub(crate) fn new(style: Style, text: impl Into<String>) -> Self {
        Self { text: text.into(), style }
    }

    pub(crate) fn plain(text: impl Into<String>) -> Self {
        Self::new(Style::new(), text)
    }

    /// Width in characters: names of interfaces and flags are ASCII, and nothing else is aligned.
    fn width(&self) -> usize {
        self.text.chars().count()
    }
}

/// JSON for programs: indented, with a line end.
pub(crate) fn json(value: &impl serde::Serialize) -> String {
    let mut text = serde_json::to_string_pretty(value).expect("plain data without maps serializes");
    text.push('\n');
    text
}

/// The text as it is read where there are no styles.
#[cfg(test)]
pub(crate) fn stripped(text: &str) -> String {
    anstream::adapter::strip_str(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_exact_when_small_and_short_when_large() {
        for (bytes, shown) in [
            (0, "0B"),
            (1023, "1023B"),
            (1024, "1.0KiB"),
            (75_532, "73.8KiB"),
            (18_425_097, "17.6MiB"),
            (u64::MAX, "17179869184.0GiB"),
        ] {
            assert_eq!(size(bytes), shown);
        }
    }

    #[test]
    fn untrusted_text_cannot_reach_the_terminal() {
        assert_eq!(plain("a\u{1b}[31mred\n\u{202e}"), "a\\u{1b}[31mred\\u{a}\\u{202e}");
        assert_eq!(plain("wasi:http/types@0.2.0 ✓"), "wasi:http/types@0.2.0 ✓");
    }

    #[test]
    fn columns_are_aligned_by_what_is_seen() {
        let row = |a: &str, b: &str| vec![Cell::new(TITLE, a), Cell::plain(b)];
        let text = columns("  ", &[row("a", "1"), row("long", ""), row("é", "3")]);
        assert_eq!(stripped(&text), "  a     1\n  long\n  é     3\n");
    }
}
