//! Names of fields that are no identifiers: `foo-bar` is `foo__dash__bar`, `namespace` is `__namespace__`.

use std::borrow::Cow;

/// Words that no field may be called by in an expression.
const RESERVED: [&str; 21] = [
    "true",
    "false",
    "null",
    "in",
    "as",
    "break",
    "const",
    "continue",
    "else",
    "for",
    "function",
    "if",
    "import",
    "let",
    "loop",
    "package",
    "namespace",
    "return",
    "var",
    "void",
    "while",
];

/// What stands for a character that an identifier cannot have.
const SIGNS: [(&str, &str); 3] = [("__dot__", "."), ("__dash__", "-"), ("__slash__", "/")];

/// The name of a field as an expression writes it; none when it cannot be written.
pub fn escape(name: &str) -> Option<Cow<'_, str>> {
    if RESERVED.contains(&name) {
        return Some(format!("__{name}__").into());
    }
    let first = name.chars().next()?;
    let writable = |c: char| c.is_ascii_alphanumeric() || "_.-/".contains(c);
    if first.is_ascii_digit() || !name.chars().all(writable) {
        return None;
    }
    if !name.contains(['.', '-', '/']) && !name.contains("__") {
        return Some(name.into());
    }
    let mut escaped = String::with_capacity(name.len() + 8);
    let mut rest = name;
    while let Some(c) = rest.chars().next() {
        let (written, taken) = match c {
            '_' if rest.starts_with("__") => ("__underscores__", 2),
            '.' => ("__dot__", 1),
            '-' => ("__dash__", 1),
            '/' => ("__slash__", 1),
            _ => (&rest[..1], 1),
        };
        escaped.push_str(written);
        rest = &rest[taken..];
    }
    Some(escaped.into())
}

/// The name of a field from how an expression writes it.
pub fn unescape(written: &str) -> Cow<'_, str> {
    if !written.contains("__") {
        return written.into();
    }
    let within = written.strip_prefix("__").and_then(|rest| rest.strip_suffix("__"));
    if let Some(word) = within.filter(|word| RESERVED.contains(word)) {
        return word.to_string().into();
    }
    let mut name = String::with_capacity(written.len());
    let mut rest = written;
    'next: while let Some(c) = rest.chars().next() {
        if let Some(after) = rest.strip_prefix("__underscores__") {
            name.push_str("__");
            rest = after;
            continue;
        }
        for (sign, meaning) in SIGNS {
            if let Some(after) = rest.strip_prefix(sign) {
                name.push_str(meaning);
                rest = after;
                continue 'next;
            }
        }
        name.push(c);
        rest = &rest[c.len_utf8()..];
    }
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_survive_being_escaped() {
        for (name, escaped) in [
            ("replicas", "replicas"),
            ("namespace", "__namespace__"),
            ("foo-bar", "foo__dash__bar"),
            ("a.b/c", "a__dot__b__slash__c"),
            ("a__b", "a__underscores__b"),
            ("a_b", "a_b"),
        ] {
            assert_eq!(escape(name).expect("writable"), escaped);
            assert_eq!(unescape(escaped), name);
        }
        assert_eq!(escape("1a"), None);
        assert_eq!(escape("a b"), None);
    }
}
