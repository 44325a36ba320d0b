//! Why an outbound request failed, in the words of `wasi:http`.

use std::error::Error as _;
use std::io;

use shoal_runtime::{BodyError, HOPS_MAX};

/// The cases of `wasi:http/types.error-code` that this host comes back with, by the same names.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OutboundError {
    /// The resolver did not answer in time.
    #[error("the name was not resolved in time")]
    DnsTimeout,
    /// The resolver failed, or knows no such name.
    #[error("the name cannot be resolved: {0}")]
    DnsError(String),
    /// The name has no address.
    #[error("the name has no address")]
    DestinationNotFound,
    /// No address could be connected to, for a reason that is none of the others.
    #[error("the destination cannot be reached: {0}")]
    DestinationUnavailable(String),
    /// The name resolves to addresses that are not public, and that no pattern names.
    #[error("the name resolves to an address that is not public; --allow-outbound {grant} would grant it")]
    DestinationIpProhibited {
        /// The pattern that would grant the first of them.
        grant: String,
    },
    /// There is no route to the address.
    #[error("there is no route to the destination")]
    DestinationIpUnroutable,
    /// Nobody listens there.
    #[error("the connection was refused")]
    ConnectionRefused,
    /// The other side ended the connection before it answered.
    #[error("the connection was closed before a response came")]
    ConnectionTerminated,
    /// No connection in time.
    #[error("no connection was made in time")]
    ConnectionTimeout,
    /// No response in time, or none of its body.
    #[error("no response came in time")]
    ConnectionReadTimeout,
    /// This process has as many connections as it may.
    #[error("no more connections can be opened")]
    ConnectionLimitReached,
    /// The other side does not speak TLS as it should.
    #[error("TLS failed: {0}")]
    TlsProtocolError(String),
    /// The other side's certificate is not one for this name from someone who is trusted.
    #[error("the certificate is not trusted: {0}")]
    TlsCertificateError(String),
    /// The other side refused TLS.
    #[error("the other side refused TLS: {message}")]
    TlsAlertReceived {
        /// The number of the alert.
        id: u8,
        /// Its name.
        message: String,
    },
    /// No pattern grants the destination.
    #[error("not granted; --allow-outbound {grant} would grant it")]
    HttpRequestDenied {
        /// The pattern that would grant it.
        grant: String,
    },
    /// It came through as many workloads as it may, one calling the next.
    #[error("the request came through {HOPS_MAX} workloads: they call each other in a circle")]
    LoopDetected,
    /// `CONNECT` makes tunnels, which nobody could check.
    #[error("the method is not allowed")]
    HttpRequestMethodInvalid,
    /// The URI has no scheme that is http or https, no host, or names a user.
    #[error("the URI is not one of http or https with a host")]
    HttpRequestUriInvalid,
    /// The request's body grew past its limit, in bytes.
    #[error("the request body is larger than {0} bytes")]
    HttpRequestBodySize(u64),
    /// The response broke off.
    #[error("the response broke off")]
    HttpResponseIncomplete,
    /// The head of the response is larger than this many bytes.
    #[error("the head of the response is too large")]
    HttpResponseHeaderSectionSize(Option<u32>),
    /// The response's body grew past its limit, in bytes.
    #[error("the response body is larger than {0} bytes")]
    HttpResponseBodySize(u64),
    /// The other side changed to another protocol, unasked.
    #[error("the other side changed to another protocol")]
    HttpUpgradeFailed,
    /// What came is not HTTP.
    #[error("the response is not HTTP: {0}")]
    HttpProtocolError(String),
    /// The guest that made the request's body failed.
    #[error("the request body failed: {0}")]
    InternalError(String),
}

impl OutboundError {
    /// Why no TCP connection was made.
    pub(super) fn of_connect(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::ConnectionRefused => Self::ConnectionRefused,
            io::ErrorKind::TimedOut => Self::ConnectionTimeout,
            io::ErrorKind::NetworkUnreachable | io::ErrorKind::HostUnreachable => {
                Self::DestinationIpUnroutable
            }
            _ if matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE)) => {
                Self::ConnectionLimitReached
            }
            _ => Self::DestinationUnavailable(error.to_string()),
        }
    }

    /// Why TLS did not come about.
    pub(super) fn of_tls(error: &io::Error) -> Self {
        match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            Some(rustls::Error::InvalidCertificate(why)) => Self::TlsCertificateError(format!("{why:?}")),
            Some(rustls::Error::NoCertificatesPresented) => Self::TlsCertificateError("there is none".into()),
            Some(rustls::Error::AlertReceived(alert)) => {
                Self::TlsAlertReceived { id: u8::from(*alert), message: format!("{alert:?}") }
            }
            Some(other) => Self::TlsProtocolError(other.to_string()),
            None => Self::ConnectionTerminated,
        }
    }

    /// Why no response came.
    pub(super) fn of_exchange(error: &hyper::Error) -> Self {
        if let Some(body) = source::<BodyError>(error) {
            return match body {
                BodyError::TooLarge { limit_bytes } => Self::HttpRequestBodySize(*limit_bytes),
                other => Self::InternalError(other.to_string()),
            };
        }
        if error.is_parse_too_large() {
            return Self::HttpResponseHeaderSectionSize(None);
        }
        if is_broken_off(error) {
            return Self::ConnectionTerminated;
        }
        Self::HttpProtocolError(error.to_string())
    }
}

/// Whether the connection ended, as opposed to something wrong being said on it.
pub(super) fn is_broken_off(error: &hyper::Error) -> bool {
    error.is_canceled()
        || error.is_closed()
        || error.is_incomplete_message()
        || source::<io::Error>(error).is_some()
}

/// The first source of this type.
fn source<E: std::error::Error + 'static>(error: &hyper::Error) -> Option<&E> {
    let mut next = error.source();
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        next = error.source();
    }
    None
}

/// What becomes of the rest of a response when its body ends early.
impl From<&BodyError> for OutboundError {
    fn from(error: &BodyError) -> Self {
        match error {
            BodyError::TooLarge { limit_bytes } => Self::HttpResponseBodySize(*limit_bytes),
            BodyError::Disconnected(_) => Self::HttpResponseIncomplete,
            BodyError::Stalled => Self::ConnectionReadTimeout,
            BodyError::Failed(failure) => Self::InternalError(failure.to_string()),
        }
    }
}

/// For hosts that speak through `wasmtime-wasi-http`.
impl From<OutboundError> for wasmtime_wasi_http::Error {
    fn from(error: OutboundError) -> Self {
        match error {
            OutboundError::DnsTimeout => Self::DnsTimeout,
            OutboundError::DnsError(why) => Self::DnsError { rcode: Some(why), info_code: None },
            OutboundError::DestinationNotFound => Self::DestinationNotFound,
            OutboundError::DestinationUnavailable(_) => Self::DestinationUnavailable,
            OutboundError::DestinationIpProhibited { .. } => Self::DestinationIpProhibited,
            OutboundError::DestinationIpUnroutable => Self::DestinationIpUnroutable,
            OutboundError::ConnectionRefused => Self::ConnectionRefused,
            OutboundError::ConnectionTerminated => Self::ConnectionTerminated,
            OutboundError::ConnectionTimeout => Self::ConnectionTimeout,
            OutboundError::ConnectionReadTimeout => Self::ConnectionReadTimeout,
            OutboundError::ConnectionLimitReached => Self::ConnectionLimitReached,
            OutboundError::TlsProtocolError(_) => Self::TlsProtocolError,
            OutboundError::TlsCertificateError(_) => Self::TlsCertificateError,
            OutboundError::TlsAlertReceived { id, message } => {
                Self::TlsAlertReceived { alert_id: Some(id), alert_message: Some(message) }
            }
            OutboundError::HttpRequestDenied { .. } => Self::HttpRequestDenied,
            OutboundError::LoopDetected => Self::LoopDetected,
            OutboundError::HttpRequestMethodInvalid => Self::HttpRequestMethodInvalid,
            OutboundError::HttpRequestUriInvalid => Self::HttpRequestUriInvalid,
            OutboundError::HttpRequestBodySize(limit) => Self::HttpRequestBodySize(Some(limit)),
            OutboundError::HttpResponseIncomplete => Self::HttpResponseIncomplete,
            OutboundError::HttpResponseHeaderSectionSize(limit) => Self::HttpResponseHeaderSectionSize(limit),
            OutboundError::HttpResponseBodySize(limit) => Self::HttpResponseBodySize(Some(limit)),
            OutboundError::HttpUpgradeFailed => Self::HttpUpgradeFailed,
            OutboundError::HttpProtocolError(_) => Self::HttpProtocolError,
            OutboundError::InternalError(why) => Self::InternalError(Some(why)),
        }
    }
}
