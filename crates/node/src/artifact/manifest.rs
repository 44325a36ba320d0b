//! Manifests and indexes (OCI image specification; Docker image manifest, version 2 schema 2).

use std::collections::BTreeMap;

use serde::Deserialize;

use super::Digest;

/// Largest manifest: what registries must take (OCI distribution specification, "Pushing manifests").
pub(super) const MANIFEST_BYTES_MAX: usize = 4 << 20;
/// Most layers of an image: what file systems of containers can stack (overlayfs: 128 in containerd).
pub(super) const LAYERS_MAX: usize = 128;
/// Most images of an index: every platform there is, several times over.
pub(super) const INDEX_MAX: usize = 512;

/// Media types that are asked for.
pub(super) const ACCEPT: &str = "application/vnd.oci.image.manifest.v1+json, \
    application/vnd.oci.image.index.v1+json, application/vnd.docker.distribution.manifest.v2+json, \
    application/vnd.docker.distribution.manifest.list.v2+json";
/// The media type of a manifest.
pub(super) const MANIFEST_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";
/// The media type of the configuration of a Wasm artifact (CNCF, Wasm OCI artifact layout).
pub(super) const WASM_CONFIG_TYPE: &str = "application/vnd.wasm.config.v0+json";
/// The media type of its one layer.
pub(super) const WASM_LAYER_TYPE: &str = "application/wasm";

/// A manifest that holds no artifact.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// It is no JSON, or not of this form.
    #[error("its manifest is not of the form of OCI or Docker: {0}")]
    Form(String),
    /// It is of a form from before 2017.
    #[error("its manifest is of Docker's version 1, which nothing makes any more; push it anew")]
    Old,
    /// There is too much of something.
    #[error("its manifest has {count} {what}, more than {max}")]
    TooMany {
        /// What.
        what: &'static str,
        /// How many.
        count: usize,
        /// The limit.
        max: usize,
    },
    /// No image of the index is for WebAssembly.
    #[error("it is for {0} only, and for none of wasip2, wasip1, wasi or this machine's Linux")]
    Platform(String),
    /// There are layers of WebAssembly, and not one.
    #[error("it has {0} layers of WebAssembly; compose the components into one and push that")]
    Several(usize),
    /// A layer is of a type that Shoal does not know.
    #[error(
        "it has a layer of the type `{0}`, which is neither WebAssembly nor a layer of a container image"
    )]
    Layer(String),
    /// A layer is compressed with zstd.
    #[error("it has a layer compressed with zstd, which Shoal does not read; push it with gzip")]
    Zstd,
    /// There is nothing in it.
    #[error("it has no layers")]
    Empty,
}

/// What a manifest or an index points to.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// What it is.
    #[serde(default)]
    pub media_type: String,
    /// Its digest.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// The platform that it is for.
    pub platform: Option<Platform>,
    /// Words about it.
    #[serde(default, deserialize_with = "or_default")]
    pub annotations: BTreeMap<String, String>,
}

/// What an image runs on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Platform {
    /// `wasip2`, `linux` and so on.
    pub os: String,
    /// `wasm`, `amd64` and so on.
    pub architecture: String,
}

/// An image or an artifact.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Manifest {
    /// Its configuration.
    pub config: Descriptor,
    /// Its layers, the lowest first.
    #[serde(default, deserialize_with = "or_default")]
    pub layers: Vec<Descriptor>,
}

/// Several images under one name.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Index {
    /// The images.
    #[serde(default, deserialize_with = "or_default")]
    pub manifests: Vec<Descriptor>,
}

/// What stands under a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Document {
    Manifest(Manifest),
    Index(Index),
}

/// How the WebAssembly is had from what a manifest names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Plan {
    /// The blob is it.
    Blob(Descriptor),
    /// It is a file in one of these layers, each with whether it is compressed with gzip.
    Layers(Vec<(Descriptor, bool)>),
}

/// Go writes `null` for what is empty.
fn or_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

fn read<'de, T: Deserialize<'de>>(bytes: &'de [u8]) -> Result<T, ManifestError> {
    serde_json::from_slice(bytes).map_err(|error| ManifestError::Form(error.to_string()))
}

impl Document {
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, ManifestError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Shape {
            schema_version: Option<u32>,
            manifests: Option<serde::de::IgnoredAny>,
        }
        let shape: Shape = read(bytes)?;
        match shape {
            Shape { schema_version: Some(1), .. } => Err(ManifestError::Old),
            Shape { manifests: Some(_), .. } => Index::parse(bytes).map(Self::Index),
            Shape { manifests: None, .. } => Manifest::parse(bytes).map(Self::Manifest),
        }
    }
}

fn check_count(what: &'static str, count: usize, max: usize) -> Result<(), ManifestError> {
    if count > max { Err(ManifestError::TooMany { what, count, max }) } else { Ok(()) }
}

impl Index {
    /// Reads an index.
    ///
    /// # Errors
    /// It is of another form, or too large.
    pub fn parse(bytes: &[u8]) -> Result<Self, ManifestError> {
        check_count("bytes", bytes.len(), MANIFEST_BYTES_MAX)?;
        let index: Self = read(bytes)?;
        check_count("images", index.manifests.len(), INDEX_MAX)?;
        Ok(index)
    }

    /// The image for WebAssembly: the newest WASI first, then one that says no platform, then one for this machine's
    /// Linux, whose files may be WebAssembly none the less.
    ///
    /// # Errors
    /// There is none.
    pub fn choose(&self) -> Result<&Descriptor, ManifestError> {
        let ranked = self.manifests.iter().filter_map(|image| Some((rank(image)?, image)));
        // The first of those that are equally good.
        let best = ranked.reduce(|best, next| if next.0 < best.0 { next } else { best });
        best.map(|(_, image)| image).ok_or_else(|| {
            let name = |image: &Descriptor| {
                let platform = image.platform.clone().unwrap_or_default();
                format!("{}/{}", platform.os, platform.architecture)
            };
            let mut names: Vec<String> = self.manifests.iter().map(name).collect();
            names.dedup();
            names.truncate(NAMES_MAX);
            ManifestError::Platform(if names.is_empty() { "nothing".into() } else { names.join(", ") })
        })
    }
}

/// Platforms named in an error.
const NAMES_MAX: usize = 10;

/// How well an image fits; less is better, none not at all.
fn rank(image: &Descriptor) -> Option<u8> {
    // Docker puts statements about images beside them.
    if image.annotations.contains_key("vnd.docker.reference.type") {
        return None;
    }
    let Some(Platform { os, architecture }) = &image.platform else { return Some(3) };
    let machine = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    match (os.as_str(), architecture.as_str()) {
        ("wasip2", _) => Some(0),
        ("wasip1", _) => Some(1),
        ("wasi", _) | (_, "wasm" | "wasm32") => Some(2),
        ("", "") => Some(3),
        ("linux", architecture) if architecture == machine => Some(4),
        _ => None,
    }
}

impl Manifest {
    /// Reads a manifest.
    ///
    /// # Errors
    /// It is of another form, or too large.
    pub fn parse(bytes: &[u8]) -> Result<Self, ManifestError> {
        check_count("bytes", bytes.len(), MANIFEST_BYTES_MAX)?;
        let manifest: Self = read(bytes)?;
        check_count("layers", manifest.layers.len(), LAYERS_MAX)?;
        Ok(manifest)
    }

    /// How its WebAssembly is had.
    ///
    /// # Errors
    /// There is none, or it cannot be told which.
    pub fn plan(&self) -> Result<Plan, ManifestError> {
        let is_wasm =
            |layer: &&Descriptor| layer.media_type == WASM_LAYER_TYPE || layer.media_type.ends_with("+wasm");
        let mut wasm = self.layers.iter().filter(is_wasm);
        if let Some(first) = wasm.next() {
            let more = wasm.count();
            if more > 0 {
                return Err(ManifestError::Several(more + 1));
            }
            return match self.layers.iter().find(|layer| !is_wasm(layer)) {
                Some(other) => Err(ManifestError::Layer(other.media_type.clone())),
                None => Ok(Plan::Blob(first.clone())),
            };
        }
        if self.layers.is_empty() {
            return Err(ManifestError::Empty);
        }
        let layer = |layer: &Descriptor| Ok((layer.clone(), is_gzip(&layer.media_type)?));
        self.layers.iter().map(layer).collect::<Result<_, _>>().map(Plan::Layers)
    }
}

/// Whether a layer of a container image is compressed.
fn is_gzip(media_type: &str) -> Result<bool, ManifestError> {
    match media_type {
        "application/vnd.oci.image.layer.v1.tar" | "application/vnd.docker.image.rootfs.diff.tar" => {
            Ok(false)
        }
        "application/vnd.oci.image.layer.v1.tar+gzip"
        | "application/vnd.docker.image.rootfs.diff.tar.gzip" => Ok(true),
        "application/vnd.oci.image.layer.v1.tar+zstd"
        | "application/vnd.docker.image.rootfs.diff.tar.zstd" => Err(ManifestError::Zstd),
        other => Err(ManifestError::Layer(other.into())),
    }
}

/// What the configuration of an image starts: the first words of its command line.
pub(super) fn entry_points(config: &[u8]) -> Vec<String> {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Config {
        config: Option<Start>,
    }
    #[derive(Default, Deserialize)]
    #[serde(rename_all = "PascalCase", default)]
    struct Start {
        entrypoint: Option<Vec<String>>,
        cmd: Option<Vec<String>>,
    }
    // A configuration that cannot be read names nothing.
    let config: Config = serde_json::from_slice(config).unwrap_or_default();
    let start = config.config.unwrap_or_default();
    [start.entrypoint, start.cmd].into_iter().flatten().filter_map(|words| words.into_iter().next()).collect()
}

#[cfg(test)]
mod tests;
