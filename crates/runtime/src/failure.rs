//! How a request that reached a guest can go wrong, and what the client is told.

use http::StatusCode;

/// A request that the runtime could not answer. The runtime that made it has logged it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{kind}: {reason}")]
pub struct Failure {
    /// What went wrong, as metrics count it.
    pub kind: FailureKind,
    /// One sentence for the log; sent to the client only where [`FailureKind::is_told`] says so.
    pub reason: String,
}

/// The ways in which a request ends without a proper answer of a guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FailureKind {
    /// The guest trapped (unreachable, out of bounds, stack overflow …).
    Trap,
    /// The guest asked for more memory, table elements or instances than its limit, and gave up.
    Memory,
    /// The guest used up its CPU time.
    CpuTime,
    /// The guest did not answer before the deadline.
    Deadline,
    /// The guest ended without an answer, or with one that is not HTTP.
    NoAnswer,
    /// The guest itself answered with an error code instead of a response.
    GuestError,
    /// The response grew past its limit.
    ResponseTooLarge,
    /// The client went away; nobody is left to tell.
    Cancelled,
    /// No instance could be made: the node is full. Nothing has run, and the request was given back
    /// ([`crate::Call::give_back`]).
    Overloaded,
    /// No guest was asked: no route leads anywhere from this host and path.
    NoRoute,
    /// No guest was asked: the service has nothing that could answer now.
    NoEndpoint,
    /// No guest was asked: the service has as many requests as it may have at once.
    Busy,
    /// The body of the request is larger than the service takes.
    RequestTooLarge,
}

impl FailureKind {
    /// Every kind, in the order metrics list them.
    pub const ALL: [Self; 13] = [
        Self::Trap,
        Self::Memory,
        Self::CpuTime,
        Self::Deadline,
        Self::NoAnswer,
        Self::GuestError,
        Self::ResponseTooLarge,
        Self::Cancelled,
        Self::Overloaded,
        Self::NoRoute,
        Self::NoEndpoint,
        Self::Busy,
        Self::RequestTooLarge,
    ];

    /// The name in metrics and logs, in snake case.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Trap => "trap",
            Self::Memory => "memory",
            Self::CpuTime => "cpu_time",
            Self::Deadline => "deadline",
            Self::NoAnswer => "no_answer",
            Self::GuestError => "guest_error",
            Self::ResponseTooLarge => "response_too_large",
            Self::Cancelled => "cancelled",
            Self::Overloaded => "overloaded",
            Self::NoRoute => "no_route",
            Self::NoEndpoint => "no_endpoint",
            Self::Busy => "busy",
            Self::RequestTooLarge => "request_too_large",
        }
    }

    /// The status that the client gets when the response head has not been sent yet.
    pub const fn status(self) -> StatusCode {
        match self {
            Self::Trap => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Memory => StatusCode::INSUFFICIENT_STORAGE,
            Self::CpuTime | Self::Deadline => StatusCode::GATEWAY_TIMEOUT,
            Self::NoAnswer | Self::GuestError | Self::ResponseTooLarge | Self::Cancelled => {
                StatusCode::BAD_GATEWAY
            }
            Self::NoRoute => StatusCode::NOT_FOUND,
            Self::RequestTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Overloaded | Self::NoEndpoint | Self::Busy => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// Whether the reason is the edge's own, about names that the client may know, and so is told to the client.
    pub const fn is_told(self) -> bool {
        matches!(self, Self::NoRoute | Self::NoEndpoint | Self::Busy | Self::RequestTooLarge)
    }
}

impl std::fmt::Display for FailureKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl Failure {
    /// A failure of this kind, with one sentence for the log.
    pub fn new(kind: FailureKind, reason: impl Into<String>) -> Self {
        Self { kind, reason: reason.into() }
    }
}
