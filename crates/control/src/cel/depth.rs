//! How deep an expression nests, counted before the parser recurses into it.

/// An upper bound of how deep the tree of an expression is: brackets, and the longest chain of operators and steps
/// within each. Text and comments do not count.
pub(super) fn of(source: &str) -> usize {
    let mut levels = vec![Level::default()];
    let mut below = 0_usize;
    let mut deepest = 0;
    let bytes = source.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        let rest = &bytes[at..];
        let is_inner = levels.len() > 1;
        let level = levels.last_mut().expect("the outermost level is never closed");
        match rest {
            [b'/', b'/', ..] => at += rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len()),
            [b'\'' | b'"', ..] => {
                at += text(rest, is_raw(&bytes[..at]));
                continue;
            }
            [b'&', b'&', ..] | [b'|', b'|', ..] => {
                level.chain = 0;
                at += 1;
            }
            [b',', ..] => *level = Level::default(),
            [b'?', ..] => {
                level.branches += 1;
                level.chain = 0;
            }
            [b'(' | b'[' | b'{', ..] => {
                below += level.depth() + 1;
                levels.push(Level::default());
            }
            [b')' | b']' | b'}', ..] if is_inner => {
                levels.pop();
                let level = levels.last_mut().expect("one was left");
                below = below.saturating_sub(level.depth() + 1);
                // What is in brackets may be stepped into: `f(x).g(y)`.
                level.chain += 1;
            }
            [b'+' | b'-' | b'*' | b'/' | b'%' | b'.' | b'<' | b'>' | b'=' | b'!' | b':', ..] => {
                level.chain += 1;
            }
            [b'i', b'n', ..] => level.chain += 1,
            _ => {}
        }
        at += 1;
        deepest = deepest.max(below + levels.last().map_or(0, Level::depth));
    }
    deepest
}

/// What stands within one pair of brackets.
#[derive(Default)]
struct Level {
    /// Operators and steps since the last comma or logical operator.
    chain: usize,
    /// Conditional operators: each holds the rest.
    branches: usize,
}

impl Level {
    fn depth(&self) -> usize {
        self.chain + self.branches
    }
}

/// Whether the letters before a quote say that backslashes in the text mean themselves.
fn is_raw(before: &[u8]) -> bool {
    let letters = before.iter().rev().take(2).take_while(|byte| byte.is_ascii_alphabetic());
    letters.into_iter().any(|byte| matches!(byte, b'r' | b'R'))
}

/// The length of a quoted text.
fn text(rest: &[u8], is_raw: bool) -> usize {
    let quote = rest[0];
    let width = if rest.starts_with(&[quote; 3]) { 3 } else { 1 };
    let mut at = width;
    while at < rest.len() {
        match rest[at] {
            b'\\' if !is_raw => at += 2,
            b'\n' if width == 1 => return at,
            byte if byte == quote && rest[at..].starts_with(&[quote; 3][..width]) => return at + width,
            _ => at += 1,
        }
    }
    rest.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chains_and_brackets_count_and_text_does_not() {
        for (source, depth) in [
            ("1", 0),
            ("a.b.c", 2),
            ("a.b && a.c && a.d", 1),
            ("f(a, b, c)", 1),
            ("((1))", 2),
            ("1 + 1 + 1", 2),
            ("'((((' + \"[[[\"", 1),
            ("r'\\' + ((1))", 3),
            ("'''it's ((( ''' + 1", 1),
            ("a ? b : c ? d : e", 3),
            ("// ((((\n1", 0),
        ] {
            assert_eq!(of(source), depth, "{source}");
        }
    }
}
