//! Inspection end to end, over small artifacts written as text.

use expect_test::{Expect, expect};
use proptest::prelude::*;

use super::scan::{COMPONENT_DEPTH_MAX, TYPE_DEPTH_MAX};
use super::*;

const COMMAND: &str = r#"(module
    (import "wasi_snapshot_preview1" "fd_write" (func (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "path_open" (func (param i32) (result i32)))
    (memory (export "memory") 1)
    (func (export "_start"))
    (@producers (language "Rust" "1.95.0") (processed-by "rustc" "1.95.0")))"#;

const HTTP: &str = r#"(component
    (import "wasi:io/streams@0.2.9" (instance))
    (import "wasi:http/types@0.2.10" (instance))
    (import "wasi:http/outgoing-handler@0.2.10" (instance $out))
    (core module (memory (export "memory") 1) (@producers (language "C11" "") (processed-by "clang" "19")))
    (core module (func (export "f")))
    (export "wasi:http/incoming-handler@0.2.10" (instance $out)))"#;

/// A component that exports an instance under each of the names.
fn exporting(names: &[&str]) -> String {
    let exports: String = names.iter().map(|name| format!("(export \"{name}\" (instance $i))")).collect();
    format!("(component (instance $i) {exports})")
}

fn of(text: &str) -> Inspection {
    inspect(text.as_bytes()).expect("an artifact")
}

fn check_refusal(refusal: &Refusal, expected: &Expect) {
    expected.assert_eq(&format!("{refusal}\nhint: {}\n", refusal.hint.as_deref().unwrap_or("-")));
}

fn check_malformed(bytes: &[u8], expected: &Expect) {
    check_refusal(&inspect(bytes).expect_err("malformed"), expected);
}

#[test]
fn the_kind_follows_from_the_exports() {
    for (names, kind) in [
        (&["wasi:http/incoming-handler@0.2.0"][..], Some(Kind::Http(Wasi::P2))),
        (&["wasi:http/handler@0.3.0"], Some(Kind::Http(Wasi::P3))),
        (&["wasi:cli/run@0.2.12"], Some(Kind::Command(Wasi::P2))),
        (&["wasi:cli/run@0.3.1"], Some(Kind::Command(Wasi::P3))),
        (&["wasi:cli/run@0.2.0", "wasi:http/incoming-handler@0.2.0"], Some(Kind::Http(Wasi::P2))),
        (&["wasi:cli/run@0.2.0", "wasi:cli/run@0.3.0"], Some(Kind::Command(Wasi::P3))),
        (&["wasi:http/incoming-handler@0.2.0-rc-2023-11-10"], None),
        (&["wasi:http/incoming-handler@0.3.0"], None),
        (&["acme:shop/cart@1.0.0"], None),
        (&[], None),
    ] {
        assert_eq!(of(&exporting(names)).kind, kind, "{names:?}");
    }
}

#[test]
fn a_core_module_runs_when_it_exports_its_start() {
    let kind = |text: &str| of(text).kind;
    assert_eq!(kind(COMMAND), Some(Kind::CommandModule));
    assert_eq!(kind(r#"(module (func (export "_start")))"#), Some(Kind::CommandModule), "it needs no memory");
    assert_eq!(
        kind(r#"(module (import "a" "b" (func)) (func (export "_start")))"#),
        None,
        "no memory to share"
    );
    assert_eq!(kind(r#"(module (memory (export "memory") 1))"#), None);
    assert_eq!(kind(r#"(module (global (export "_start") i32 (i32.const 1)))"#), None, "not a function");
}

#[test]
fn only_what_is_asynchronous_needs_the_engine_for_it() {
    assert!(!of(HTTP).needs_async);
    assert!(!of(COMMAND).needs_async);
    for text in [
        exporting(&["wasi:http/handler@0.3.0"]),
        r#"(component (import "wasi:clocks/types@0.3.0" (instance)))"#.into(),
        r#"(component (type (func async)))"#.into(),
        r#"(component (type (stream u8)))"#.into(),
        r#"(component (import "a:b/c" (instance (type (future)) (export "f" (type (eq 0))))))"#.into(),
        r#"(component (core func (canon waitable-set.new)))"#.into(),
        r#"(component (import "f" (func $f)) (core func (canon lower (func $f) async)))"#.into(),
        r#"(component (component (core func (canon task.cancel))))"#.into(),
    ] {
        assert!(of(&text).needs_async, "{text}");
    }
}

#[test]
fn everything_about_a_component_is_found() {
    let found = of(HTTP);
    let digest = format!("blake3:{}", blake3::hash(&to_binary(HTTP.as_bytes()).expect("a binary")));
    assert_eq!(found.digest, digest);
    expect![[r#"
        Some(Http(P2))
        imports: wasi:io/streams@0.2.9 [io], wasi:http/types@0.2.10 [HTTP], wasi:http/outgoing-handler@0.2.10 [outbound HTTP: --allow-outbound PATTERN]
        exports: wasi:http/incoming-handler@0.2.10
        versions: 0.2.9, 0.2.10
        language: Some("C"), producers: [("language", "C11", ""), ("processed-by", "clang", "19")]
        custom: [("producers", 39), ("component-name", 9)]
        modules: [76, 31] of 298 bytes
    "#]]
    .assert_eq(&show(&found));
}

#[test]
fn everything_about_a_module_is_found() {
    expect![[r#"
        Some(CommandModule)
        imports: wasi_snapshot_preview1::fd_write [command line], wasi_snapshot_preview1::path_open [filesystem: --dir HOST:GUEST[:ro]]
        exports: memory, _start
        versions: preview1
        language: Some("Rust"), producers: [("language", "Rust", "1.95.0"), ("processed-by", "rustc", "1.95.0")]
        custom: [("producers", 50)]
        modules: [] of 197 bytes
    "#]]
    .assert_eq(&show(&of(COMMAND)));
}

fn show(found: &Inspection) -> String {
    let grant = |import: &shoal_runtime::Import| {
        let flag = import.flag.map(|flag| format!(": {flag}")).unwrap_or_default();
        format!("{} [{}{flag}]", import.name, import.capability.unwrap_or("?"))
    };
    let imports: Vec<_> = found.imports.iter().map(grant).collect();
    format!(
        "{:?}\nimports: {}\nexports: {}\nversions: {}\nlanguage: {:?}, producers: {:?}\ncustom: {:?}\nmodules: {:?} of {} bytes\n",
        found.kind,
        imports.join(", "),
        found.exports.join(", "),
        found.wasi_versions.join(", "),
        found.language,
        found.producers,
        found.custom_sections,
        found.modules,
        found.size_bytes,
    )
}

#[test]
fn a_refusal_says_what_is_there_and_what_is_missing() {
    let refusal = |text: &str| refuse_unknown(&of(text));
    check_refusal(
        &refusal(&exporting(&["acme:shop/cart@1.0.0"])),
        &expect![[r#"
            the component has no entry point that Shoal runs
              exports:
                acme:shop/cart@1.0.0
              imports: nothing
            hint: export wasi:http/incoming-handler@0.2.x or wasi:http/handler@0.3.x to answer requests, or wasi:cli/run@0.2.x or 0.3.x to run as a command
        "#]],
    );
    check_refusal(
        &refusal(&exporting(&["wasi:cli/run@0.2.0-rc-2023-11-10"])),
        &expect![[r#"
            the component has no entry point that Shoal runs
              exports:
                wasi:cli/run@0.2.0-rc-2023-11-10
              imports: nothing
            hint: `wasi:cli/run@0.2.0-rc-2023-11-10` is not a released version; build against WASI 0.2.x or 0.3.x
        "#]],
    );
    check_refusal(
        &refusal(r#"(module (import "env" "log" (func)) (func (export "_initialize")))"#),
        &expect![[r#"
            the core module has no entry point that Shoal runs
              exports:
                _initialize
              imports:
                env::log
            hint: this is a library (a reactor); build a command that has `main`, or make it a component
        "#]],
    );
    for (text, hint) in [
        (r#"(module (import "a" "b" (func)) (func (export "_start")))"#, "keep the linker from hiding it"),
        (r#"(module (@custom "component-type:http" "x"))"#, "`wasm-tools component new`"),
        ("(module)", "export the function `_start`"),
    ] {
        let refusal = refusal(text);
        assert!(refusal.hint.as_ref().is_some_and(|h| h.contains(hint)), "{text}: {refusal:?}");
    }
}

#[test]
fn a_refusal_lists_no_more_than_a_screen() {
    let exports: String = (0..25).map(|n| format!("(func (export \"f{n}\"))")).collect();
    let refusal = refuse_unknown(&of(&format!("(module {exports})"))).to_string();
    assert!(refusal.contains("f19\n    and 5 more"), "{refusal}");
}

#[test]
fn what_is_no_artifact_is_refused_with_its_reason() {
    check_malformed(
        b"(module\n  (func (export \"f\") oops))",
        &expect![[r#"
            not valid WebAssembly text: line 2, column 22: unknown operator or unexpected token
            hint: an artifact is a WebAssembly binary (.wasm) or its text (.wat)
        "#]],
    );
    check_malformed(
        b" \n",
        &expect![[r#"
            the file is empty
            hint: build or fetch it again
        "#]],
    );
    check_malformed(
        b"\x7fELF\xff",
        &expect![[r#"
            not WebAssembly: it is a native program or a compiled artifact (ELF)
            hint: name the .wasm file that it was made from; `shoal run` takes what `shoal compile` made, as .cwasm
        "#]],
    );
    check_malformed(
        b"\xff\xfe\xfd",
        &expect![[r#"
            not WebAssembly: it starts with ff fe fd
            hint: an artifact is a WebAssembly binary (.wasm) or its text (.wat)
        "#]],
    );
    check_malformed(
        b"\0asm\x01\0\0",
        &expect![[r#"
            not a valid WebAssembly binary: unexpected end-of-file (at offset 0x4)
            hint: the file is damaged or was cut off; build or fetch it again
        "#]],
    );
    check_malformed(
        b"\0asm\x0d\0\x01\0\x01\x40\0asm\x01\0\0\0",
        &expect![[r#"
            not a valid WebAssembly binary: the section at offset 0xa goes past the end of the file
            hint: the file was cut off; build or fetch it again
        "#]],
    );
}

/// A component with instance types nested this deep.
fn nested_types(depth: usize) -> Vec<u8> {
    let mut section = vec![1];
    for _ in 1..depth {
        section.extend([0x42, 1, 1]);
    }
    section.extend([0x42, 0]);
    let mut binary = b"\0asm\x0d\0\x01\0\x07".to_vec();
    binary.extend(leb128(section.len()));
    binary.extend(section);
    binary
}

/// Components nested this deep in the outermost one.
fn nested_components(depth: usize) -> Vec<u8> {
    let mut binary = b"\0asm\x0d\0\x01\0".to_vec();
    for _ in 0..depth {
        let inner = std::mem::replace(&mut binary, b"\0asm\x0d\0\x01\0\x04".to_vec());
        binary.extend(leb128(inner.len()));
        binary.extend(inner);
    }
    binary
}

fn leb128(mut value: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(0x80 | (value & 0x7f) as u8);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

#[test]
fn nesting_ends_at_its_limit() {
    inspect(&nested_types(TYPE_DEPTH_MAX)).expect("as deep as allowed");
    inspect(&nested_components(COMPONENT_DEPTH_MAX)).expect("as deep as allowed");
    check_malformed(
        &nested_types(TYPE_DEPTH_MAX + 1),
        &expect![[r#"
            the artifact has more than 100 levels of nested types
            hint: no toolchain makes such a file; Shoal does not run it
        "#]],
    );
    check_malformed(
        &nested_components(COMPONENT_DEPTH_MAX + 1),
        &expect![[r#"
            the artifact has more than 100 levels of nested components
            hint: no toolchain makes such a file; Shoal does not run it
        "#]],
    );
    let bomb = nested_types(1_000_000);
    for refused in [inspect(&bomb).map(drop), wit(&bomb).map(drop), wat(&bomb).map(drop)] {
        refused.expect_err("far too deep");
    }
}

#[test]
fn a_list_ends_at_its_limit() {
    let exporting = |count: usize| {
        let mut section = leb128(count);
        for _ in 0..count {
            section.extend([1, b'f', 0, 0]);
        }
        let mut binary = b"\0asm\x01\0\0\0\x07".to_vec();
        binary.extend(leb128(section.len()));
        binary.extend(section);
        binary
    };
    assert_eq!(inspect(&exporting(scan::NAMES_MAX)).map(|found| found.exports.len()), Ok(scan::NAMES_MAX));
    check_malformed(
        &exporting(scan::NAMES_MAX + 1),
        &expect![[r#"
            the artifact has more than 100000 exports
            hint: no toolchain makes such a file; Shoal does not run it
        "#]],
    );
}

#[test]
fn a_component_is_shown_as_wit_and_as_text() {
    let wit_text = wit(HTTP.as_bytes()).expect("WIT");
    expect![[r#"
        package root:component;

        world root {
          import wasi:io/streams@0.2.9;
          import wasi:http/types@0.2.10;
          import wasi:http/outgoing-handler@0.2.10;

          export wasi:http/incoming-handler@0.2.10;
        }
        package wasi:io@0.2.9 {
          interface streams {
          }
        }


        package wasi:http@0.2.10 {
          interface types {
          }
          interface outgoing-handler {
          }
          interface incoming-handler {
          }
        }
    "#]]
    .assert_eq(&wit_text);
    let text = wat(HTTP.as_bytes()).expect("text");
    assert!(text.contains(r#"(import "wasi:http/types@0.2.10""#), "{text}");
    assert_eq!(of(&text).imports, of(HTTP).imports, "the text is the same artifact");
}

#[test]
fn a_module_has_no_wit() {
    check_refusal(
        &wit(COMMAND.as_bytes()).expect_err("no WIT"),
        &expect![[r#"
            a core module has no WIT
            hint: `--wat` shows its imports and exports
        "#]],
    );
}

proptest! {
    /// Damage anywhere ends in an answer or in a refusal.
    #[test]
    fn damage_is_refused_not_fatal(
        module in any::<bool>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let source = if module { COMMAND } else { HTTP };
        let mut bytes = to_binary(source.as_bytes()).expect("a binary").into_owned();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        if let Ok(found) = inspect(&bytes) {
            prop_assert!(!refuse_unknown(&found).what.is_empty());
        }
        let _ = (wit(&bytes), wat(&bytes));
    }

    /// So does anything at all behind the header of a component.
    #[test]
    fn noise_is_refused_not_fatal(noise in prop::collection::vec(any::<u8>(), 0..64)) {
        let bytes = [b"\0asm\x0d\0\x01\0".as_slice(), &noise].concat();
        let _ = (inspect(&bytes), wit(&bytes), wat(&bytes));
    }
}

/// The committed guests, made by real toolchains, are of the kinds they were made to be.
#[test]
fn the_guests_are_of_their_kinds() {
    let built = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../guests/built");
    let guest = |name: &str| {
        let bytes = std::fs::read(built.join(name)).expect("a committed guest");
        inspect(&bytes).expect("an artifact")
    };
    for (name, kind, needs_async) in [
        ("hello.wasm", Kind::Http(Wasi::P2), false),
        ("hello-p3.wasm", Kind::Http(Wasi::P3), true),
        ("cli.wasm", Kind::CommandModule, false),
        ("cli-p2.wasm", Kind::Command(Wasi::P2), false),
        ("cli-p3.wasm", Kind::Command(Wasi::P3), true),
    ] {
        let found = guest(name);
        assert_eq!((found.kind, found.needs_async), (Some(kind), needs_async), "{name}");
        assert!(
            found.imports.iter().all(|import| import.capability.is_some()),
            "{name}: {:?}",
            found.imports
        );
    }
    assert_eq!(guest("hello.wasm").language.as_deref(), Some("Rust"));
    let flags: Vec<_> = guest("fetch.wasm").imports.iter().filter_map(|import| import.flag).collect();
    assert_eq!(flags, ["--allow-outbound PATTERN"]);
}
