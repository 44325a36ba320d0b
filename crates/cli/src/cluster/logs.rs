//! `shoal logs`: what workloads say.

use std::time::Duration;

use super::{ClusterOptions, Named, TypedCluster};
use crate::commands::run::limits::duration;
use crate::data_dir::Surroundings;
use crate::exit::Exit;

/// Show what an App, a Deployment, a Job or a pod says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogsRequest {
    /// Which cluster.
    pub cluster: ClusterOptions,
    /// Whose words; without a kind, an App's, else a Deployment's, else a pod's of this name.
    pub of: Named,
    /// Whether to go on until it is interrupted.
    pub follow: bool,
    /// How many of the last lines of each pod; none: all.
    pub tail: Option<u64>,
    /// How far back; none: from the beginning.
    pub since: Option<Duration>,
    /// Of the run before this one, which has ended.
    pub previous: bool,
}

/// Show what an App, Deployment, Job or pod says
#[derive(Debug, clap::Args)]
pub struct TypedLogs {
    /// NAME, or KIND/NAME as in deployment/shop or pod/shop-7d9f-x2x4b
    #[arg(value_name = "NAME")]
    of: String,
    #[command(flatten)]
    cluster: TypedCluster,
    /// Go on until interrupted
    #[arg(short, long)]
    follow: bool,
    /// Only the last lines of each pod
    #[arg(long, value_name = "LINES")]
    tail: Option<u64>,
    /// Only what was said since so long ago, such as 5m
    #[arg(long, value_name = "TIME", value_parser = duration)]
    since: Option<Duration>,
    /// Of the run before this one
    #[arg(short, long, conflicts_with = "follow")]
    previous: bool,
}

impl TypedLogs {
    /// What was typed means.
    ///
    /// # Errors
    /// With code 64 when it means nothing.
    pub fn meaning(self, around: &Surroundings) -> Result<LogsRequest, Exit> {
        let Self { of, cluster, follow, tail, since, previous } = self;
        let (cluster, of) = (cluster.meaning(around)?, Named::parse(&of)?);
        Ok(LogsRequest { cluster, of, follow, tail, since, previous })
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        logs: TypedLogs,
    }

    fn read(line: &str) -> Result<LogsRequest, String> {
        let typed = Line::try_parse_from(std::iter::once("logs").chain(line.split_whitespace()));
        let typed = typed.map_err(|error| error.to_string())?;
        typed.logs.meaning(&Surroundings::default()).map_err(|exit| format!("{exit:?}"))
    }

    #[test]
    fn words_are_asked_for_as_with_kubectl() {
        let request = read("Pod/shop-1 -f --tail 5 --since 5m -n team").expect("well typed");
        assert_eq!((request.of.kind.as_deref(), request.of.name.as_str()), (Some("pod"), "shop-1"));
        assert!(request.follow && !request.previous);
        assert_eq!((request.tail, request.since), (Some(5), Some(Duration::from_secs(300))));
        let plain = read("shop -p").expect("well typed");
        assert_eq!((plain.of.kind, plain.previous, plain.tail), (None, true, None));
        for wrong in ["", "a/b/c", "shop -f -p", "shop --since 5", "shop --tail -1"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
