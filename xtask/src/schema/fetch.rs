//! Where the sources come from: a wheel of PyPI and a crate, by their ordinary clients.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

/// OpenAPI definitions of many versions of Kubernetes (Apache-2.0). 22 MB, so it is fetched once.
const WHEEL: (&str, &str) = ("kubernetes-validate", "1.37.0");
const WHEEL_FILE: &str = "kubernetes_validate-1.37.0-py3-none-any.whl";
/// The version of Kubernetes that Shoal's API is.
const DEFINITIONS: &str = "kubernetes_validate/kubernetes-json-schema/v1.32.0-local/_definitions.json";
/// Messages of Kubernetes as prost has them (Apache-2.0). Field numbers never change, so a newer version will do.
const CRATE: (&str, &str) = ("k8s-pb", "0.9.0");

/// What the table is made of.
pub(crate) struct Sources {
    /// OpenAPI name to definition.
    pub(crate) definitions: serde_json::Map<String, Value>,
    /// Directory of Rust sources with prost's attributes.
    pub(crate) protobuf: PathBuf,
}

/// Whether nothing must be downloaded.
pub(crate) fn are_here(root: &Path) -> bool {
    store(root).join(WHEEL_FILE).exists() && crate_sources().is_some()
}

/// The sources; what is missing is downloaded.
pub(crate) fn sources(root: &Path) -> Result<Sources> {
    let wheel = store(root).join(WHEEL_FILE);
    if !wheel.exists() {
        let (name, version) = WHEEL;
        let mut pip = Command::new("python3");
        pip.args(["-m", "pip", "download", "--quiet", "--no-deps", "--dest"]).arg(store(root));
        run(pip.arg(format!("{name}=={version}")))?;
    }
    let read = "import sys, zipfile; sys.stdout.buffer.write(zipfile.ZipFile(sys.argv[1]).read(sys.argv[2]))";
    let output = run(Command::new("python3").args(["-c", read]).arg(&wheel).arg(DEFINITIONS))?;
    let mut document: Value = serde_json::from_slice(&output).context("the definitions are no JSON")?;
    let Value::Object(definitions) = document["$defs"].take() else {
        bail!("the definitions have no `$defs`")
    };
    if crate_sources().is_none() {
        fetch_crate()?;
    }
    let protobuf = crate_sources().context("cargo has fetched k8s-pb, but its sources are not there")?;
    Ok(Sources { definitions, protobuf })
}

fn store(root: &Path) -> PathBuf {
    root.join("target/schema-sources")
}

/// Cargo keeps the sources of every crate that it has fetched.
fn crate_sources() -> Option<PathBuf> {
    let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
    let cargo = std::env::var_os("CARGO_HOME").map_or_else(|| home.join(".cargo"), PathBuf::from);
    let (name, version) = CRATE;
    let registries = std::fs::read_dir(cargo.join("registry/src")).ok()?;
    let paths = registries.filter_map(|entry| Some(entry.ok()?.path().join(format!("{name}-{version}/src"))));
    paths.into_iter().find(|path| path.is_dir())
}

/// Lets cargo fetch the crate, as the dependency of a package that is thrown away.
fn fetch_crate() -> Result<()> {
    let (name, version) = CRATE;
    let dir = std::env::temp_dir().join(format!("shoal-schema-{}", std::process::id()));
    std::fs::create_dir_all(dir.join("src"))?;
    let manifest = format!(
        "[package]\nname = \"fetch\"\nedition = \"2024\"\n[dependencies]\n{name} = \"={version}\"\n[workspace]\n"
    );
    std::fs::write(dir.join("Cargo.toml"), manifest)?;
    std::fs::write(dir.join("src/lib.rs"), "")?;
    let fetched = run(Command::new("cargo").arg("fetch").current_dir(&dir));
    std::fs::remove_dir_all(&dir)?;
    fetched.map(drop)
}

fn run(command: &mut Command) -> Result<Vec<u8>> {
    let program = command.get_program().display().to_string();
    let output = command.output().with_context(|| format!("cannot start {program}"))?;
    let talk = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.success(), "{program} failed: {talk}");
    Ok(output.stdout)
}
