//! `shoal status`: a cluster on one screen.

use super::{ClusterOptions, TypedCluster};
use crate::exit::Exit;

/// Show a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatusRequest {
    /// Which cluster; without a namespace, all of them.
    pub cluster: ClusterOptions,
    /// Whether to show it again whenever it changes.
    pub watch: bool,
}

/// Show nodes, what runs on them and what is wrong, on one screen
#[derive(Debug, clap::Args)]
pub struct TypedStatus {
    #[command(flatten)]
    cluster: TypedCluster,
    /// Show it again whenever it changes, until interrupted
    #[arg(short, long)]
    watch: bool,
}

impl TypedStatus {
    /// What was typed means.
    ///
    /// # Errors
    /// With code 64 when it means nothing.
    pub fn meaning(self) -> Result<StatusRequest, Exit> {
        Ok(StatusRequest { cluster: self.cluster.meaning()?, watch: self.watch })
    }
}
