//! `shoal version`: which Shoal this is, and what it is made of.

/// Name the versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VersionRequest {
    /// Whether they go to a program.
    pub json: bool,
}

/// Print the version of Shoal and of its engine
#[derive(Debug, clap::Args)]
pub(crate) struct TypedVersion {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl TypedVersion {
    pub(crate) fn meaning(self) -> VersionRequest {
        VersionRequest { json: self.json }
    }
}
