//! The language an artifact was written in, as far as its tools left word of it.

use super::scan::Scan;

/// Tools and languages named in producers, in lower case, and what they tell; the first that is found
/// counts. Runtimes written in C++ or Rust carry guests of other languages inside, so interpreters come first.
const TELLTALES: &[(&str, &str)] = &[
    ("componentize-js", "JavaScript"),
    ("componentizejs", "JavaScript"),
    ("jco", "JavaScript"),
    ("javascript", "JavaScript"),
    ("componentize-py", "Python"),
    ("python", "Python"),
    ("tinygo", "Go (TinyGo)"),
    ("go", "Go"),
    ("moonbit", "MoonBit"),
    ("assemblyscript", "AssemblyScript"),
    ("swift", "Swift"),
    ("zig", "Zig"),
    ("rust", "Rust"),
    ("c_plus_plus", "C++"),
    ("c++", "C++"),
    ("c", "C"),
    ("rustc", "Rust"),
    ("wit-bindgen-rust", "Rust"),
    ("wit-bindgen-c", "C"),
];

/// Custom sections that one toolchain alone writes.
const SECTIONS: &[(&str, &str)] = &[("go.buildid", "Go"), ("go:buildid", "Go")];

/// Core modules that one toolchain alone puts in, by what their names begin with: an interpreter that was
/// built as a shared library.
const MODULES: &[(&str, &str)] = &[("libcomponentize_py", "Python"), ("libpython", "Python")];

/// The language; none when nothing tells.
pub(super) fn of(scan: &Scan) -> Option<String> {
    let by_producer = || TELLTALES.iter().find(|(word, _)| scan.producers.iter().any(|p| tells(p, word)));
    let by_section =
        || SECTIONS.iter().find(|(name, _)| scan.custom_sections.iter().any(|(found, _)| found == name));
    let named =
        || scan.producers.iter().find(|(field, ..)| field == "language").map(|(_, name, _)| name.clone());
    let by_module =
        || MODULES.iter().find(|(begin, _)| scan.module_names.iter().any(|name| name.starts_with(begin)));
    by_module()
        .or_else(by_producer)
        .or_else(by_section)
        .map(|(_, language)| (*language).to_string())
        .or_else(named)
}

/// Whether a producer names this tool or language: as a whole word, or, for languages, with its edition
/// (`C11`, `C_plus_plus_17`). A short name such as `c` is a language only, never a tool.
fn tells((field, name, _): &(String, String, String), word: &str) -> bool {
    let name = name.to_ascii_lowercase();
    if field == "language" {
        let edition = name.strip_prefix(word);
        return edition.is_some_and(|rest| rest.trim_start_matches('_').bytes().all(|b| b.is_ascii_digit()));
    }
    let is_tool = !matches!(word, "rust" | "c" | "c++" | "c_plus_plus");
    is_tool && name.split(|c: char| c.is_whitespace() || c == '(').next() == Some(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn language(producers: &[(&str, &str)]) -> Option<String> {
        let producers =
            producers.iter().map(|(field, name)| (field.to_string(), name.to_string(), "1".into())).collect();
        of(&Scan { producers, ..Scan::default() })
    }

    #[test]
    fn the_guest_counts_not_the_runtime_around_it() {
        for (producers, expected) in [
            (&[("language", "Rust"), ("processed-by", "rustc"), ("processed-by", "clang")][..], Some("Rust")),
            (&[("language", "C11"), ("processed-by", "clang")], Some("C")),
            (&[("language", "C_plus_plus_14"), ("language", "C11")], Some("C++")),
            (
                &[("language", "C11"), ("language", "Rust"), ("processed-by", "ComponentizeJS")],
                Some("JavaScript"),
            ),
            (&[("language", "C_plus_plus_17"), ("processed-by", "componentize-js")], Some("JavaScript")),
            (&[("language", "C11"), ("processed-by", "componentize-py")], Some("Python")),
            (&[("language", "Go"), ("processed-by", "Go cmd/compile")], Some("Go")),
            (&[("processed-by", "TinyGo")], Some("Go (TinyGo)")),
            (&[("processed-by", "wit-component")], None),
            (&[("processed-by", "wit-component"), ("processed-by", "wit-bindgen-rust")], Some("Rust")),
            (&[("processed-by", "wit-bindgen-rust"), ("processed-by", "componentize-py")], Some("Python")),
            (&[("language", "Grain")], Some("Grain")),
            (&[("language", "COBOL")], Some("COBOL")),
            (&[], None),
        ] {
            assert_eq!(language(producers).as_deref(), expected, "{producers:?}");
        }
    }

    #[test]
    fn a_section_can_tell() {
        let scan = Scan { custom_sections: vec![("go:buildid".into(), 80)], ..Scan::default() };
        assert_eq!(of(&scan).as_deref(), Some("Go"));
    }

    #[test]
    fn an_interpreter_inside_tells_more_than_the_tools_that_built_it() {
        let scan = Scan {
            producers: vec![("language".into(), "Rust".into(), String::new())],
            module_names: vec!["main".into(), "libpython3.14.so".into()],
            ..Scan::default()
        };
        assert_eq!(of(&scan).as_deref(), Some("Python"));
    }
}
