//! How a request can fail.

use serde_json::Value;

/// A request that did not succeed.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Error {
    /// The API has answered that it will not do it.
    #[error(transparent)]
    Refused(#[from] Box<Refused>),
    /// There is no way to the API, or no answer in time.
    #[error("cannot reach the API at {server}: {why}")]
    Unreachable {
        /// Where it was looked for.
        server: String,
        /// Why, with causes.
        why: String,
    },
    /// There is an answer that no API server gives.
    #[error("the API's answer to {request} cannot be understood: {why}")]
    Answer {
        /// `GET /api/v1/pods`.
        request: String,
        /// What is wrong with it.
        why: String,
    },
}

/// What the API says when it will not do something: the fields of a `Status` that callers branch on.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{message}")]
pub struct Refused {
    /// The HTTP status.
    pub code: u16,
    /// `NotFound`, `Conflict`; empty when the answer is no `Status`.
    pub reason: String,
    /// A sentence for people.
    pub message: String,
    /// When to try again, in seconds; 0 says nothing.
    pub retry_after_seconds: u64,
}

/// What an API says of a revision that it has not reached. Servers before Kubernetes 1.20 have only these words for it.
const AHEAD: &str = "Too large resource version";

impl Refused {
    /// What a `Status` says; `code` counts where it has none.
    pub fn of(status: &Value, code: u16) -> Self {
        let text = |field: &str| status[field].as_str().unwrap_or_default().to_owned();
        let named = status["code"].as_u64().and_then(|code| u16::try_from(code).ok());
        let message = text("message");
        Self {
            code: named.filter(|code| *code >= 400).unwrap_or(code),
            reason: text("reason"),
            message: if message.is_empty() { format!("the API answers with status {code}") } else { message },
            retry_after_seconds: status["details"]["retryAfterSeconds"].as_u64().unwrap_or_default(),
        }
    }
}

impl Error {
    /// There is no such object.
    pub fn is_not_found(&self) -> bool {
        self.code() == 404
    }

    /// The object has changed since it was read.
    pub fn is_conflict(&self) -> bool {
        matches!(self, Self::Refused(refused) if refused.code == 409 && refused.reason != "AlreadyExists")
    }

    /// There is one of this name.
    pub fn is_already_there(&self) -> bool {
        matches!(self, Self::Refused(refused) if refused.code == 409 && refused.reason == "AlreadyExists")
    }

    /// The revision that was asked for is gone: list anew.
    pub fn is_expired(&self) -> bool {
        self.code() == 410
    }

    /// The revision that was asked for is one that the API has not reached, and may never: it was set back, to a
    /// backup or to another store. List anew.
    pub fn is_ahead(&self) -> bool {
        matches!(self, Self::Refused(refused) if refused.code == 504 && refused.message.contains(AHEAD))
    }

    /// Whether the same request may succeed later without anything else being done.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Refused(refused) => matches!(refused.code, 429 | 500..),
            Self::Unreachable { .. } | Self::Answer { .. } => true,
        }
    }

    /// The HTTP status; 0 when there was no answer.
    pub fn code(&self) -> u16 {
        match self {
            Self::Refused(refused) => refused.code,
            Self::Unreachable { .. } | Self::Answer { .. } => 0,
        }
    }
}
