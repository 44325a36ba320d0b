//! Which Shoal this is.

use serde::Serialize;

/// What a build of Shoal is made of. The binary fills it in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Versions {
    /// The version of Shoal, as in `0.1.0`.
    pub shoal: &'static str,
    /// The version of the engine, as in `48.0.8`.
    pub wasmtime: &'static str,
    /// The target it was built for, as in `x86_64-linux`.
    pub target: String,
}

/// For people: `shoal 0.1.0 (wasmtime 48.0.8, x86_64-linux)`.
pub fn version(versions: &Versions) -> String {
    format!("shoal {} (wasmtime {}, {})\n", versions.shoal, versions.wasmtime, versions.target)
}

/// For programs; see docs/cli-json.md.
pub fn version_json(versions: &Versions) -> String {
    super::json(versions)
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    #[test]
    fn versions_are_on_one_line_or_in_one_object() {
        let versions = Versions { shoal: "0.1.0", wasmtime: "48.0.8", target: "x86_64-linux".into() };
        assert_eq!(version(&versions), "shoal 0.1.0 (wasmtime 48.0.8, x86_64-linux)\n");
        expect![[r#"
            {
              "shoal": "0.1.0",
              "wasmtime": "48.0.8",
              "target": "x86_64-linux"
            }
        "#]]
        .assert_eq(&version_json(&versions));
    }
}
