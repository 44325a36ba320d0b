//! `shoal inspect`: what an artifact is, what it imports and exports, and what would grant it.

use std::path::PathBuf;

use crate::artifact;
use crate::exit::Exit;

/// Say what an artifact is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InspectRequest {
    /// The artifact; it exists.
    pub artifact: PathBuf,
    /// What to show.
    pub output: InspectOutput,
}

/// What to show of an artifact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InspectOutput {
    /// Everything, for people.
    Table,
    /// Everything, for programs.
    Json,
    /// Its interface as WIT.
    Wit,
    /// Its text.
    Wat,
}

/// Show what an artifact is, what it imports with the flag that grants each, and what it exports
#[derive(Debug, clap::Args)]
pub(crate) struct TypedInspect {
    /// A .wasm or .wat file, or a directory that holds one
    #[arg(value_name = "FILE")]
    artifact: PathBuf,
    /// Print the interface of a component as WIT
    #[arg(long, group = "output")]
    wit: bool,
    /// Print the artifact as WebAssembly text
    #[arg(long, group = "output")]
    wat: bool,
    /// Print JSON
    #[arg(long, group = "output")]
    json: bool,
}

impl TypedInspect {
    pub(crate) fn meaning(self) -> Result<InspectRequest, Exit> {
        let output = match (self.wit, self.wat, self.json) {
            (true, _, _) => InspectOutput::Wit,
            (_, true, _) => InspectOutput::Wat,
            (_, _, true) => InspectOutput::Json,
            (false, false, false) => InspectOutput::Table,
        };
        Ok(InspectRequest { artifact: artifact::find(&self.artifact)?, output })
    }
}
