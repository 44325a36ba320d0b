//! `shoal push`: WebAssembly into a registry.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::registry::{RegistryOptions, TypedRegistry};
use crate::artifact;
use crate::data_dir::Surroundings;
use crate::exit::{self, Exit};

/// Push an artifact to a registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PushRequest {
    /// The artifact; it exists and is not compiled.
    pub artifact: PathBuf,
    /// Where it goes, as it was typed.
    pub reference: String,
    /// More tags for it.
    pub tags: Vec<String>,
    /// Words about it.
    pub annotations: BTreeMap<String, String>,
    /// How the registry is reached.
    pub registry: RegistryOptions,
}

/// Push a component or module to an OCI registry
#[derive(Debug, clap::Args)]
#[command(after_help = "Prints the reference by digest, which means exactly this for ever.")]
pub(crate) struct TypedPush {
    /// A .wasm or .wat file, or a directory that holds one
    #[arg(value_name = "FILE")]
    artifact: PathBuf,
    /// Where it goes: [HOST[:PORT]/]REPOSITORY[:TAG]
    #[arg(value_name = "REFERENCE")]
    reference: String,
    /// Another tag for the same; may be repeated
    #[arg(long = "tag", value_name = "TAG")]
    tags: Vec<String>,
    /// A word about it, such as org.opencontainers.image.source=https://example.com; may be repeated
    #[arg(long = "annotation", value_name = "NAME=VALUE")]
    annotations: Vec<String>,
    #[command(flatten)]
    registry: TypedRegistry,
}

impl TypedPush {
    pub(crate) fn meaning(self, around: &Surroundings) -> Result<PushRequest, Exit> {
        let artifact = artifact::find(&self.artifact)?;
        if artifact.extension().is_some_and(|extension| extension == "cwasm") {
            let what = format!("{} is compiled, for one kind of machine", artifact.display());
            return Err(Exit::error(exit::USAGE, what)
                .hint("push the .wasm file that it was made from; each node compiles it for itself"));
        }
        let mut annotations = BTreeMap::new();
        for text in &self.annotations {
            let Some((name, value)) = text.split_once('=').filter(|(name, _)| !name.is_empty()) else {
                return Err(Exit::error(exit::USAGE, format!("`{text}` is not of the form NAME=VALUE"))
                    .hint("give --annotation NAME=VALUE"));
            };
            if annotations.insert(name.to_string(), value.to_string()).is_some() {
                return Err(Exit::error(exit::USAGE, format!("the annotation `{name}` is given twice"))
                    .hint("give each once"));
            }
        }
        let registry = self.registry.meaning(around)?;
        Ok(PushRequest { artifact, reference: self.reference, tags: self.tags, annotations, registry })
    }
}
