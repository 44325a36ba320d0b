//! `shoal status`: a cluster on one screen.

use super::{ClusterOptions, TypedCluster};
use crate::data_dir::Surroundings;
use crate::exit::Exit;

/// Show a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatusRequest {
    /// Which cluster; without a namespace, all of them.
    pub cluster: ClusterOptions,
    /// Whether to show it again whenever it changes.
    pub watch: bool,
    /// Whether programs read it.
    pub json: bool,
}

/// Show nodes, what runs on them and what is wrong, on one screen
#[derive(Debug, clap::Args)]
pub struct TypedStatus {
    #[command(flatten)]
    cluster: TypedCluster,
    /// Show it again whenever it changes, until interrupted
    #[arg(short, long)]
    watch: bool,
    /// Show it for programs
    #[arg(long, conflicts_with = "watch")]
    json: bool,
}

impl TypedStatus {
    /// What was typed means.
    ///
    /// # Errors
    /// With code 64 when it means nothing.
    pub fn meaning(self, around: &Surroundings) -> Result<StatusRequest, Exit> {
        Ok(StatusRequest { cluster: self.cluster.meaning(around)?, watch: self.watch, json: self.json })
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        status: TypedStatus,
    }

    fn read(line: &str, around: &Surroundings) -> Result<StatusRequest, String> {
        let typed = Line::try_parse_from(std::iter::once("status").chain(line.split_whitespace()));
        let typed = typed.map_err(|error| error.to_string())?;
        typed.status.meaning(around).map_err(|exit| format!("{exit:?}"))
    }

    #[test]
    fn a_cluster_is_the_one_that_was_named_nearest() {
        let mut around = Surroundings::default();
        let kubeconfig =
            |line: &str, around: &Surroundings| read(line, around).expect("well typed").cluster.kubeconfig;
        assert_eq!(kubeconfig("", &around), None);
        around.kubeconfig = Some("/set".into());
        assert_eq!(kubeconfig("", &around), Some("/set".into()));
        assert_eq!(kubeconfig("--kubeconfig typed", &around), Some("typed".into()));
        let request = read("--json -n team", &around).expect("well typed");
        assert_eq!(
            (request.json, request.watch, request.cluster.namespace.as_deref()),
            (true, false, Some("team"))
        );
        for wrong in ["--json --watch", "shop", "-n A"] {
            assert!(read(wrong, &around).is_err(), "{wrong}");
        }
    }
}
