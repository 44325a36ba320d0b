//! Why an edge could not be bound.

use std::io;
use std::net::SocketAddr;

use crate::config::ConfigError;

/// Why [`crate::Edge::bind`] refused.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configuration makes no sense; no socket was opened.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Another process listens there.
    #[error("cannot listen on {address}: another process does")]
    InUse {
        /// The address that is taken.
        address: SocketAddr,
    },
    /// A socket could not be opened.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address that was asked for.
        address: SocketAddr,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// A serving thread could not be started.
    #[error("cannot start the thread {name}")]
    Thread {
        /// The name of the thread.
        name: String,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
}

impl Error {
    /// The way out, where there is an ordinary one.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::InUse { address } => Some(format!(
                "stop the process that listens on port {}, or choose another port",
                address.port()
            )),
            Self::Listen { address, source } if source.kind() == io::ErrorKind::PermissionDenied => {
                Some(format!(
                    "port {} needs root or CAP_NET_BIND_SERVICE; ports from 1024 on do not",
                    address.port()
                ))
            }
            Self::Config(_) | Self::Listen { .. } | Self::Thread { .. } => None,
        }
    }
}
