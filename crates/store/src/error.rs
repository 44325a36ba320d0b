//! How an operation can fail, by what the caller does about it.

use crate::{LeaseId, Revision};

/// What the operations of a store return.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why an operation failed. Cheap to clone: the error of a commit goes to everyone in it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// History before the compaction is gone. List anew. (HTTP 410.)
    #[error("revision {asked} is compacted{}; list again", at(*.compacted))]
    Compacted {
        /// The revision that was asked for.
        asked: Revision,
        /// The oldest revision that can be read, where the engine tells.
        compacted: Option<Revision>,
    },
    /// The revision has not happened yet. (HTTP 504: another replica may be behind.)
    #[error("revision {asked} is in the future; this store is not there yet")]
    Future {
        /// The revision that was asked for.
        asked: Revision,
    },
    /// The request can never succeed as it is. (HTTP 400.)
    #[error("{0}")]
    Invalid(String),
    /// Something is larger than its limit. (HTTP 413.)
    #[error("{what} is {size}, more than the {limit} that a store takes; {hint}")]
    TooLarge {
        /// What is too large.
        what: &'static str,
        /// How large it is.
        size: usize,
        /// Its limit, from [`limits`](crate::limits).
        limit: usize,
        /// The way out.
        hint: &'static str,
    },
    /// The lease has ended or never was.
    #[error("there is no lease {0}: it has ended or was revoked; grant a new one")]
    LeaseNotFound(LeaseId),
    /// The database is at its quota, or the disk is full. Nothing was written; reads and watches go on, and
    /// writes do again as soon as there is space. (HTTP 507.)
    #[error("no space: {0}")]
    NoSpace(String),
    /// The store cannot be reached or used at the moment. Nothing was written: try again. (HTTP 503.)
    #[error("the store is not available: {0}; nothing was written, try again")]
    Unavailable(String),
    /// The store broke off while it wrote. The write may have happened: read before writing again. (HTTP 500.)
    #[error("it is not known whether this was written: {0}; read before writing again")]
    OutcomeUnknown(String),
    /// What is stored contradicts itself.
    #[error("the store is damaged: {0}; restore a backup (docs/store.md says how)")]
    Corrupt(String),
}

impl Error {
    /// One word for metrics and comparisons.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Compacted { .. } => "compacted",
            Self::Future { .. } => "future",
            Self::Invalid(_) => "invalid",
            Self::TooLarge { .. } => "too_large",
            Self::LeaseNotFound(_) => "lease_not_found",
            Self::NoSpace(_) => "no_space",
            Self::Unavailable(_) => "unavailable",
            Self::OutcomeUnknown(_) => "outcome_unknown",
            Self::Corrupt(_) => "corrupt",
        }
    }
}

fn at(compacted: Option<Revision>) -> String {
    compacted.map(|at| format!(" (history begins at {at})")).unwrap_or_default()
}
