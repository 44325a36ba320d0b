//! `shoal compile`: ahead of time, for this machine or another.

use std::path::{Path, PathBuf};

use crate::artifact;
use crate::exit::{self, Exit};

/// Compile an artifact ahead of time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompileRequest {
    /// The artifact; it exists and is not compiled yet.
    pub artifact: PathBuf,
    /// Where the compiled artifact goes.
    pub output: PathBuf,
    /// The target triple; none: this machine.
    pub target: Option<String>,
}

/// Compile an artifact ahead of time into a .cwasm file
#[derive(Debug, clap::Args)]
pub(crate) struct TypedCompile {
    /// A .wasm or .wat file, or a directory that holds one
    #[arg(value_name = "FILE")]
    artifact: PathBuf,
    /// Where the compiled artifact goes [default: beside FILE, with the extension .cwasm]
    #[arg(short, long, value_name = "OUT")]
    output: Option<PathBuf>,
    /// Compile for this target, such as aarch64-unknown-linux-gnu [default: this machine]
    #[arg(long, value_name = "TRIPLE")]
    target: Option<String>,
}

impl TypedCompile {
    pub(crate) fn meaning(self) -> Result<CompileRequest, Exit> {
        let artifact = artifact::find(&self.artifact)?;
        if artifact.extension().is_some_and(|extension| extension == "cwasm") {
            return Err(Exit::error(exit::USAGE, format!("{} is compiled already", artifact.display()))
                .hint("compile the .wasm or .wat file that it was made from"));
        }
        let output = self.output.unwrap_or_else(|| artifact.with_extension("cwasm"));
        if is_same_file(&artifact, &output) {
            let what = format!("{} would be written over by what is made from it", artifact.display());
            return Err(Exit::error(exit::USAGE, what).hint("name another file with --output"));
        }
        Ok(CompileRequest { artifact, output, target: self.target })
    }
}

/// Whether both paths lead to one file that exists.
fn is_same_file(one: &Path, other: &Path) -> bool {
    matches!((one.canonicalize(), other.canonicalize()), (Ok(one), Ok(other)) if one == other)
}
