//! `shoal pull`: WebAssembly out of a registry.

use std::path::PathBuf;

use super::registry::{RegistryOptions, TypedRegistry};
use crate::data_dir::Surroundings;
use crate::exit::Exit;

/// Pull an artifact from a registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PullRequest {
    /// What is pulled, as it was typed.
    pub reference: String,
    /// The file that it is written to; none: it is only kept in the data directory.
    pub output: Option<PathBuf>,
    /// How the registry is reached.
    pub registry: RegistryOptions,
}

/// Pull a component or module from an OCI registry, so that it is here before it is needed
#[derive(Debug, clap::Args)]
#[command(after_help = "Prints the reference by digest, which means exactly this for ever.")]
pub(crate) struct TypedPull {
    /// What is pulled: [HOST[:PORT]/]REPOSITORY[:TAG][@DIGEST]
    #[arg(value_name = "REFERENCE")]
    reference: String,
    /// Write the WebAssembly into this file, too
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    registry: TypedRegistry,
}

impl TypedPull {
    pub(crate) fn meaning(self, around: &Surroundings) -> Result<PullRequest, Exit> {
        let registry = self.registry.meaning(around)?;
        Ok(PullRequest { reference: self.reference, output: self.output, registry })
    }
}
