//! Functions fit a screen. The few that do not are listed, and may only shrink.

use std::collections::BTreeMap;

use proc_macro2::Span;
use syn::spanned::Spanned as _;
use syn::visit::{self, Visit};

use crate::house::{self, Finding, is_test_file, root, rust_files};

/// Longest function, from its signature to its closing brace.
const FUNCTION_LINES_MAX: usize = 70;

/// The list of longer ones: `path::name LINES reason`, one a line.
const RATCHET: &str = "xtask/ratchet/long-functions.txt";

/// A function that is longer than it may be.
struct Long {
    line: usize,
    lines: usize,
}

/// The long functions of a file that are no tests, by name; of two with the same name the longer one.
fn long_functions(file: &syn::File) -> BTreeMap<String, Long> {
    let mut finder = Finder::default();
    finder.visit_file(file);
    finder.found
}

#[derive(Default)]
struct Finder {
    found: BTreeMap<String, Long>,
}

impl Finder {
    fn measure(&mut self, signature: &syn::Signature, whole: Span) {
        let lines = whole.end().line - signature.span().start().line + 1;
        let line = signature.span().start().line;
        let name = signature.ident.to_string();
        let known = self.found.get(&name).map_or(0, |known| known.lines);
        if lines > FUNCTION_LINES_MAX && lines > known {
            self.found.insert(name, Long { line, lines });
        }
    }
}

impl<'ast> Visit<'ast> for Finder {
    fn visit_item_mod(&mut self, module: &'ast syn::ItemMod) {
        if !is_test(&module.attrs) {
            visit::visit_item_mod(self, module);
        }
    }

    fn visit_item_fn(&mut self, function: &'ast syn::ItemFn) {
        if !is_test(&function.attrs) {
            self.measure(&function.sig, function.span());
            visit::visit_item_fn(self, function);
        }
    }

    fn visit_impl_item_fn(&mut self, function: &'ast syn::ImplItemFn) {
        self.measure(&function.sig, function.span());
        visit::visit_impl_item_fn(self, function);
    }

    fn visit_trait_item_fn(&mut self, function: &'ast syn::TraitItemFn) {
        self.measure(&function.sig, function.span());
        visit::visit_trait_item_fn(self, function);
    }
}

/// Whether an item is compiled for tests only.
pub(crate) fn is_test(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let is_cfg_test = || attribute.parse_args::<syn::Ident>().is_ok_and(|word| word == "test");
        let last = attribute.path().segments.last().map(|segment| segment.ident.to_string());
        match last.as_deref() {
            Some("test") => true,
            Some("cfg") => is_cfg_test(),
            _ => false,
        }
    })
}

/// An entry of the ratchet: `path::name LINES reason`.
fn parse_entry(line: &str) -> Option<(&str, usize)> {
    let (name, rest) = line.split_once(' ')?;
    let (lines, reason) = rest.split_once(' ')?;
    let known = (name, lines.parse().ok()?);
    (!reason.trim().is_empty()).then_some(known)
}

/// Compares the long functions of the tree, by `path::name`, with the list.
fn check(found: &BTreeMap<String, Long>, ratchet: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut listed = BTreeMap::new();
    for (line, number) in
        ratchet.lines().zip(1..).filter(|(line, _)| !line.is_empty() && !line.starts_with('#'))
    {
        match parse_entry(line) {
            Some((name, lines)) => {
                listed.insert(name, (lines, number));
            }
            None => {
                findings.push(Finding::new(RATCHET, number, "no entry", "write `path::name LINES reason`"));
            }
        }
    }
    for (name, long) in found {
        let (file, function) = name.rsplit_once("::").unwrap_or(("", name));
        let allowed = listed.get(name.as_str()).map_or(FUNCTION_LINES_MAX, |(lines, _)| *lines);
        if long.lines > allowed {
            let what = format!("`{function}` has {} lines, more than {allowed}", long.lines);
            let way_out =
                format!("split it; as a last resort list `{name} {} reason` in {RATCHET}", long.lines);
            findings.push(Finding::new(file, long.line, what, way_out));
        }
    }
    for (name, (lines, number)) in listed {
        let now = found.get(name).map(|long| long.lines);
        let (what, way_out) = match now {
            None => (format!("`{name}` is not too long any more"), "remove the line".to_string()),
            Some(now) if now < lines => {
                (format!("`{name}` has shrunk to {now} lines"), format!("write {now} for {lines}"))
            }
            Some(_) => continue,
        };
        findings.push(Finding::new(RATCHET, number, what, way_out));
    }
    findings
}

#[test]
fn functions_fit_a_screen() {
    let mut found = BTreeMap::new();
    for (path, text) in rust_files().into_iter().filter(|(path, _)| !is_test_file(path)) {
        let file = syn::parse_file(&text).unwrap_or_else(|error| panic!("{path}: {error}"));
        found.extend(long_functions(&file).into_iter().map(|(name, long)| (format!("{path}::{name}"), long)));
    }
    let ratchet =
        std::fs::read_to_string(root().join(RATCHET)).expect("the list of long functions is committed");
    house::hold("functions have at most 70 lines", check(&found, &ratchet));
}

/// A function of this many lines.
fn function(name: &str, lines: usize) -> String {
    format!("/// Doc.\n#[inline]\nfn {name}() {{\n{}}}\n", "    work();\n".repeat(lines - 2))
}

fn long_in(text: &str) -> Vec<(String, usize, usize)> {
    let file = syn::parse_file(text).expect("Rust");
    long_functions(&file).into_iter().map(|(name, long)| (name, long.line, long.lines)).collect()
}

#[test]
fn a_function_is_measured_without_its_attributes_and_tests_are_not() {
    assert_eq!(long_in(&function("short", FUNCTION_LINES_MAX)), []);
    assert_eq!(long_in(&function("long", FUNCTION_LINES_MAX + 1)), [("long".into(), 3, 71)]);
    let method = format!("struct A;\nimpl A {{\n{}}}\n", function("method", 80));
    assert_eq!(long_in(&method), [("method".into(), 5, 80)]);
    for test in [
        "#[cfg(test)]\nmod tests {\n",
        "mod m {\n#[test]\n",
        "mod m {\n#[tokio::test(start_paused = true)]\n",
    ] {
        assert_eq!(long_in(&format!("{test}{}}}\n", function("a", 90))), [], "{test}");
    }
}

#[test]
fn the_list_may_only_shrink() {
    let found = |lines: usize| BTreeMap::from([("a.rs::f".to_string(), Long { line: 3, lines })]);
    let whats = |found: &BTreeMap<String, Long>, ratchet: &str| -> Vec<String> {
        check(found, ratchet)
            .into_iter()
            .map(|finding| format!("{} -> {}", finding.what, finding.way_out))
            .collect()
    };
    assert_eq!(
        whats(&found(80), "# comment\n"),
        ["`f` has 80 lines, more than 70 -> split it; as a last resort list `a.rs::f 80 reason` in \
          xtask/ratchet/long-functions.txt"]
    );
    assert!(whats(&found(80), "a.rs::f 80 one match over every error\n").is_empty());
    assert_eq!(whats(&found(81), "a.rs::f 80 reason\n").len(), 1);
    assert_eq!(
        whats(&found(79), "a.rs::f 80 reason\n"),
        ["`a.rs::f` has shrunk to 79 lines -> write 79 for 80"]
    );
    assert_eq!(
        whats(&BTreeMap::new(), "a.rs::f 80 reason\n"),
        ["`a.rs::f` is not too long any more -> remove the line"]
    );
    assert_eq!(whats(&BTreeMap::new(), "a.rs::f 80\n"), ["no entry -> write `path::name LINES reason`"]);
}
