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
    /// What a thread needs beside its sockets could not be had.
    #[error("cannot prepare the serving threads")]
    Runtime {
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
            Self::Listen { source, .. } | Self::Runtime { source } if no_descriptors(source) => Some(
                "too many files are open: raise the limit (`ulimit -n 65536`), or serve with fewer --threads"
                    .into(),
            ),
            Self::Config(_) | Self::Listen { .. } | Self::Thread { .. } | Self::Runtime { .. } => None,
        }
    }
}

/// Whether the process or the machine has no descriptor left.
fn no_descriptors(error: &io::Error) -> bool {
    const ENFILE: i32 = 23;
    const EMFILE: i32 = 24;
    matches!(error.raw_os_error(), Some(ENFILE | EMFILE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_has_no_descriptors_left_is_told_how_to_get_more() {
        for code in [23, 24] {
            let source = || io::Error::from_raw_os_error(code);
            let address = SocketAddr::from(([127, 0, 0, 1], 80));
            for error in [Error::Runtime { source: source() }, Error::Listen { address, source: source() }] {
                assert!(error.hint().is_some_and(|hint| hint.contains("ulimit -n")), "{error:?}");
            }
        }
        assert_eq!(Error::Runtime { source: io::Error::from_raw_os_error(12) }.hint(), None);
    }
}
