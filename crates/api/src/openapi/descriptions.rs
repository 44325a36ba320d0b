//! What the fields of built-in kinds are for: packed, and unpacked when the first document is asked for.

use std::collections::HashMap;
use std::sync::LazyLock;

/// The description of a type; empty where it has none.
pub(super) fn of_type(short: &str) -> &'static str {
    ALL.get(short).map_or("", |described| described.text)
}

/// The description of a field; empty where it has none.
pub(super) fn of_field(short: &str, field: &str) -> &'static str {
    ALL.get(short).and_then(|described| described.fields.get(field).copied()).unwrap_or_default()
}

#[derive(Default)]
struct Described {
    text: &'static str,
    fields: HashMap<&'static str, &'static str>,
}

static TEXT: LazyLock<String> = LazyLock::new(|| {
    let packed = include_bytes!("../schema/descriptions.deflate");
    let unpacked = miniz_oxide::inflate::decompress_to_vec(packed).expect("a test unpacks the same bytes");
    String::from_utf8(unpacked).expect("a test reads the same bytes")
});

static ALL: LazyLock<HashMap<&'static str, Described>> = LazyLock::new(|| {
    let mut all = HashMap::new();
    for record in TEXT.split('\u{1e}').skip(1) {
        let mut parts = record.split('\u{1f}');
        let (name, text) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        let mut described = Described { text, fields: HashMap::new() };
        while let (Some(field), Some(text)) = (parts.next(), parts.next()) {
            described.fields.insert(field, text);
        }
        all.insert(name, described);
    }
    all
});

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_and_fields_are_described() {
        assert!(of_type("core/v1.Pod").starts_with("Pod is a collection of containers"));
        assert!(
            of_field("core/v1.Pod", "spec").starts_with("Specification of the desired behavior of the pod.")
        );
        assert_eq!(of_field("core/v1.Pod", "nope"), "");
        assert!(of_type("shoal/v1.App").contains("WebAssembly"));
    }
}
