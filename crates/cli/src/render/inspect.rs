//! What `shoal inspect` shows.

use std::fmt::Write as _;
use std::path::Path;

use anstyle::Style;
use serde::Serialize;
use shoal_runtime::{Import, Inspection, Kind, Wasi};

use super::{BAD, Cell, NAME, QUIET, TITLE, columns, json, plain, size, styled};

/// For people: what it is; its imports grouped by the flag that grants them; its exports; what is inside.
pub fn inspection(artifact: &Path, found: &Inspection) -> String {
    let mut text = heading(artifact, found);
    for group in groups(&found.imports) {
        text.push_str(&group.show());
    }
    if found.imports.is_empty() {
        let _ = write!(text, "\n{}\n  nothing\n", styled(TITLE, "Imports"));
    }
    let _ = writeln!(text, "\n{}", styled(TITLE, "Exports"));
    for export in &found.exports {
        let _ = writeln!(text, "  {}", plain(export));
    }
    if found.exports.is_empty() {
        text.push_str("  nothing\n");
    }
    text.push_str(&inside(found));
    text
}

/// For programs; see docs/cli-json.md.
pub fn inspection_json(artifact: &Path, found: &Inspection) -> String {
    #[derive(Serialize)]
    struct Named<'a> {
        artifact: String,
        #[serde(flatten)]
        found: &'a Inspection,
    }
    json(&Named { artifact: artifact.display().to_string(), found })
}

fn heading(artifact: &Path, found: &Inspection) -> String {
    let kind = match found.kind {
        Some(Kind::Http(wasi)) => format!("a component that answers HTTP (WASI {})", version(wasi)),
        Some(Kind::Command(wasi)) => format!("a component that runs as a command (WASI {})", version(wasi)),
        Some(Kind::CommandModule) => "a core module that runs as a command (WASI preview 1)".into(),
        None if found.component => "a component without an entry point that Shoal runs".into(),
        None => "a core module without an entry point that Shoal runs".into(),
    };
    let mut rows = vec![
        ("size", format!("{} ({} bytes)", size(found.size_bytes), found.size_bytes)),
        ("digest", found.digest.clone()),
    ];
    if let Some(language) = &found.language {
        rows.push(("language", language.clone()));
    }
    if !found.wasi_versions.is_empty() {
        rows.push(("WASI", found.wasi_versions.join(", ")));
    }
    if found.needs_async {
        rows.push(("engine", "with concurrency (async functions, streams or interfaces of 0.3)".into()));
    }
    let rows: Vec<Vec<Cell>> = rows
        .into_iter()
        .map(|(key, value)| vec![Cell::new(QUIET, key), Cell::plain(plain(&value))])
        .collect();
    let style = if found.kind.is_some() { Style::new() } else { BAD };
    let name = plain(&artifact.display().to_string());
    format!("{}: {}\n{}", styled(NAME, &name), styled(style, &kind), columns("  ", &rows))
}

fn version(wasi: Wasi) -> &'static str {
    match wasi {
        Wasi::P2 => "0.2",
        Wasi::P3 => "0.3",
    }
}

/// Imports that the same flag grants. Ordered as shown: those that need nothing, those that need a flag,
/// those that cannot be had.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Group<'a> {
    Always,
    Flag(&'a str),
    Unknown,
}

struct Imports<'a> {
    group: Group<'a>,
    imports: Vec<&'a Import>,
}

fn groups(imports: &[Import]) -> Vec<Imports<'_>> {
    let mut sorted = std::collections::BTreeMap::<Group<'_>, Vec<&Import>>::new();
    for import in imports {
        let group = match (import.capability, import.flag) {
            (None, _) => Group::Unknown,
            (Some(_), None) => Group::Always,
            (Some(_), Some(flag)) => Group::Flag(flag),
        };
        sorted.entry(group).or_default().push(import);
    }
    sorted.into_iter().map(|(group, imports)| Imports { group, imports }).collect()
}

impl Imports<'_> {
    fn show(&self) -> String {
        let title = match self.group {
            Group::Always => styled(TITLE, "Imports that every workload has"),
            Group::Flag(flag) => format!("{} {}", styled(TITLE, "Imports granted by"), styled(NAME, flag)),
            Group::Unknown => styled(BAD, "Imports that Shoal does not have"),
        };
        let row = |import: &&Import| {
            vec![Cell::plain(plain(&import.name)), Cell::new(QUIET, import.capability.unwrap_or_default())]
        };
        let rows: Vec<Vec<Cell>> = self.imports.iter().map(row).collect();
        format!("\n{title}\n{}", columns("  ", &rows))
    }
}

fn inside(found: &Inspection) -> String {
    let mut rows: Vec<Vec<Cell>> = Vec::new();
    let mut row = |key: &str, name: String, value: String| {
        rows.push(vec![Cell::new(QUIET, key), Cell::plain(plain(&name)), Cell::plain(plain(&value))]);
    };
    for (number, module) in found.modules.iter().enumerate() {
        row("module", format!("{number}"), size(*module));
    }
    for (name, bytes) in &found.custom_sections {
        row("section", name.clone(), size(*bytes));
    }
    for (field, name, version) in &found.producers {
        row(field, name.clone(), version.clone());
    }
    if rows.is_empty() {
        String::new()
    } else {
        format!("\n{}\n{}", styled(TITLE, "Inside"), columns("  ", &rows))
    }
}

#[cfg(test)]
pub(crate) mod testing {
    use shoal_runtime::Inspection;

    /// An artifact of which there is nothing to say.
    pub(crate) fn nothing() -> Inspection {
        Inspection {
            kind: None,
            component: false,
            needs_async: true,
            size_bytes: 8,
            digest: "blake3:00".into(),
            imports: Vec::new(),
            exports: Vec::new(),
            wasi_versions: Vec::new(),
            language: None,
            producers: Vec::new(),
            custom_sections: Vec::new(),
            modules: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::testing::nothing;
    use super::*;
    use crate::render::stripped;
    use expect_test::expect;

    fn import(name: &str, capability: Option<&'static str>, flag: Option<&'static str>) -> Import {
        Import { name: name.into(), capability, flag }
    }

    fn http() -> Inspection {
        Inspection {
            kind: Some(Kind::Http(Wasi::P2)),
            component: true,
            needs_async: false,
            size_bytes: 75_532,
            digest: "blake3:00ff".into(),
            imports: vec![
                import(
                    "wasi:http/outgoing-handler@0.2.6",
                    Some("outbound HTTP"),
                    Some("--allow-outbound PATTERN"),
                ),
                import("wasi:io/streams@0.2.6", Some("io"), None),
                import("wasi:filesystem/preopens@0.2.6", Some("filesystem"), Some("--dir HOST:GUEST[:ro]")),
                import("wasi:http/types@0.2.6", Some("HTTP"), None),
                import("acme:shop/\u{1b}[2Jcart@1.0.0", None, None),
            ],
            exports: vec!["wasi:http/incoming-handler@0.2.6".into()],
            wasi_versions: vec!["0.2.6".into()],
            language: Some("Rust".into()),
            producers: vec![("processed-by".into(), "rustc".into(), "1.95.0".into())],
            custom_sections: vec![("producers".into(), 50), (".debug_info".into(), 1_048_576)],
            modules: vec![70_000, 512],
        }
    }

    #[test]
    fn people_see_the_flag_that_grants_each_import() {
        expect![[r#"
            shop.wasm: a component that answers HTTP (WASI 0.2)
              size      73.8KiB (75532 bytes)
              digest    blake3:00ff
              language  Rust
              WASI      0.2.6

            Imports that every workload has
              wasi:io/streams@0.2.6  io
              wasi:http/types@0.2.6  HTTP

            Imports granted by --allow-outbound PATTERN
              wasi:http/outgoing-handler@0.2.6  outbound HTTP

            Imports granted by --dir HOST:GUEST[:ro]
              wasi:filesystem/preopens@0.2.6  filesystem

            Imports that Shoal does not have
              acme:shop/\u{1b}[2Jcart@1.0.0

            Exports
              wasi:http/incoming-handler@0.2.6

            Inside
              module        0            68.4KiB
              module        1            512B
              section       producers    50B
              section       .debug_info  1.0MiB
              processed-by  rustc        1.95.0
        "#]]
        .assert_eq(&stripped(&inspection(Path::new("shop.wasm"), &http())));
    }

    #[test]
    fn an_empty_artifact_is_shown_as_empty() {
        expect![[r#"
            x.wasm: a core module without an entry point that Shoal runs
              size    8B (8 bytes)
              digest  blake3:00
              engine  with concurrency (async functions, streams or interfaces of 0.3)

            Imports
              nothing

            Exports
              nothing
        "#]]
        .assert_eq(&stripped(&inspection(Path::new("x.wasm"), &nothing())));
    }

    #[test]
    fn programs_get_every_field() {
        expect![[r#"
            {
              "artifact": "shop.wasm",
              "kind": {
                "http": "0.2"
              },
              "component": true,
              "needs_async": false,
              "size_bytes": 75532,
              "digest": "blake3:00ff",
              "imports": [
                {
                  "name": "wasi:http/outgoing-handler@0.2.6",
                  "capability": "outbound HTTP",
                  "flag": "--allow-outbound PATTERN"
                },
                {
                  "name": "wasi:io/streams@0.2.6",
                  "capability": "io",
                  "flag": null
                },
                {
                  "name": "wasi:filesystem/preopens@0.2.6",
                  "capability": "filesystem",
                  "flag": "--dir HOST:GUEST[:ro]"
                },
                {
                  "name": "wasi:http/types@0.2.6",
                  "capability": "HTTP",
                  "flag": null
                },
                {
                  "name": "acme:shop/\u001b[2Jcart@1.0.0",
                  "capability": null,
                  "flag": null
                }
              ],
              "exports": [
                "wasi:http/incoming-handler@0.2.6"
              ],
              "wasi_versions": [
                "0.2.6"
              ],
              "language": "Rust",
              "producers": [
                [
                  "processed-by",
                  "rustc",
                  "1.95.0"
                ]
              ],
              "custom_sections": [
                [
                  "producers",
                  50
                ],
                [
                  ".debug_info",
                  1048576
                ]
              ],
              "modules": [
                70000,
                512
              ]
            }
        "#]]
        .assert_eq(&inspection_json(Path::new("shop.wasm"), &http()));
    }

    #[test]
    fn every_kind_has_its_own_json() {
        let kind = |kind: Option<Kind>| {
            let text = inspection_json(Path::new("x"), &Inspection { kind, ..nothing() });
            let value: serde_json::Value = serde_json::from_str(&text).expect("JSON");
            value["kind"].to_string()
        };
        assert_eq!(kind(Some(Kind::Http(Wasi::P3))), r#"{"http":"0.3"}"#);
        assert_eq!(kind(Some(Kind::Command(Wasi::P2))), r#"{"command":"0.2"}"#);
        assert_eq!(kind(Some(Kind::CommandModule)), r#""command-module""#);
        assert_eq!(kind(None), "null");
    }
}
