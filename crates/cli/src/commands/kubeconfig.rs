//! `shoal kubeconfig`: what kubectl needs to reach the server of this machine.

use std::path::PathBuf;

use super::server::LISTEN_DEFAULT;

/// Write a kubeconfig for the administrator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KubeconfigRequest {
    /// `https://HOST:PORT`.
    pub server: String,
    /// The file; none: standard output.
    pub output: Option<PathBuf>,
}

/// Print a kubeconfig for the administrator of the server on this machine
#[derive(Debug, clap::Args)]
pub(crate) struct TypedKubeconfig {
    /// HOST:PORT under which the server is reached
    #[arg(long, value_name = "ADDRESS", default_value = LISTEN_DEFAULT)]
    server: String,
    /// Write it into this file, readable by its owner only
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

impl TypedKubeconfig {
    pub(crate) fn meaning(self) -> KubeconfigRequest {
        let server =
            if self.server.contains("://") { self.server } else { format!("https://{}", self.server) };
        KubeconfigRequest { server, output: self.output }
    }
}
