//! Errors of `wasi:http` between the host's types and the guest's `error-code`.

use std::fmt;

use shoal_runtime::{Failure, FailureKind};

use super::fields::FieldError;
use super::incoming::ReadError;
use super::types::{ErrorCode, HeaderError};
use crate::outbound::OutboundError;

/// An `error-code` that travels inside a stream error, so that `http-error-code` can find it again.
#[derive(Debug)]
pub(crate) struct CodedError(pub(crate) ErrorCode);

impl fmt::Display for CodedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

impl std::error::Error for CodedError {}

impl From<&ReadError> for CodedError {
    fn from(error: &ReadError) -> Self {
        Self(error.into())
    }
}

impl From<&ReadError> for ErrorCode {
    fn from(error: &ReadError) -> Self {
        match error {
            ReadError::TooLarge { limit_bytes } => Self::HttpRequestBodySize(Some(*limit_bytes)),
            ReadError::Disconnected => Self::ConnectionTerminated,
            ReadError::Stalled => Self::ConnectionReadTimeout,
            ReadError::Failed(reason) => Self::InternalError(Some(reason.clone())),
        }
    }
}

/// The guest answered with an error instead of a response.
pub(crate) fn guest_answered(code: &ErrorCode) -> Failure {
    Failure::new(FailureKind::GuestError, format!("the guest answered with the error {code:?}"))
}

/// What a refused change of fields is for the guest: an error where WASI has one, else a trap.
pub(crate) fn header_error(error: FieldError) -> wasmtime::Result<HeaderError> {
    match error {
        FieldError::Immutable => Ok(HeaderError::Immutable),
        FieldError::Syntax => Ok(HeaderError::InvalidSyntax),
        FieldError::Forbidden => Ok(HeaderError::Forbidden),
        FieldError::TooLarge(limit) => Err(wasmtime::Error::msg(format!(
            "the guest's header list is larger than {limit} bytes (--header-list)"
        ))),
    }
}

/// What an outbound request's failure is for the guest.
pub(crate) fn error_code(error: OutboundError) -> ErrorCode {
    use super::types::{DnsErrorPayload, TlsAlertReceivedPayload};
    match error {
        OutboundError::DnsTimeout => ErrorCode::DnsTimeout,
        OutboundError::DnsError(why) => {
            ErrorCode::DnsError(DnsErrorPayload { rcode: Some(why), info_code: None })
        }
        OutboundError::DestinationNotFound => ErrorCode::DestinationNotFound,
        OutboundError::DestinationUnavailable(_) => ErrorCode::DestinationUnavailable,
        OutboundError::LoopDetected => ErrorCode::LoopDetected,
        OutboundError::DestinationIpProhibited { .. } => ErrorCode::DestinationIpProhibited,
        OutboundError::DestinationIpUnroutable => ErrorCode::DestinationIpUnroutable,
        OutboundError::ConnectionRefused => ErrorCode::ConnectionRefused,
        OutboundError::ConnectionTerminated => ErrorCode::ConnectionTerminated,
        OutboundError::ConnectionTimeout => ErrorCode::ConnectionTimeout,
        OutboundError::ConnectionReadTimeout => ErrorCode::ConnectionReadTimeout,
        OutboundError::ConnectionLimitReached => ErrorCode::ConnectionLimitReached,
        OutboundError::TlsProtocolError(_) => ErrorCode::TlsProtocolError,
        OutboundError::TlsCertificateError(_) => ErrorCode::TlsCertificateError,
        OutboundError::TlsAlertReceived { id, message } => {
            ErrorCode::TlsAlertReceived(TlsAlertReceivedPayload {
                alert_id: Some(id),
                alert_message: Some(message),
            })
        }
        OutboundError::HttpRequestDenied { .. } => ErrorCode::HttpRequestDenied,
        OutboundError::HttpRequestMethodInvalid => ErrorCode::HttpRequestMethodInvalid,
        OutboundError::HttpRequestUriInvalid => ErrorCode::HttpRequestUriInvalid,
        OutboundError::HttpRequestBodySize(limit) => ErrorCode::HttpRequestBodySize(Some(limit)),
        OutboundError::HttpResponseIncomplete => ErrorCode::HttpResponseIncomplete,
        OutboundError::HttpResponseHeaderSectionSize(limit) => {
            ErrorCode::HttpResponseHeaderSectionSize(limit)
        }
        OutboundError::HttpResponseBodySize(limit) => ErrorCode::HttpResponseBodySize(Some(limit)),
        OutboundError::HttpUpgradeFailed => ErrorCode::HttpUpgradeFailed,
        OutboundError::HttpProtocolError(_) => ErrorCode::HttpProtocolError,
        OutboundError::InternalError(why) => ErrorCode::InternalError(Some(why)),
    }
}

/// What an outbound request's failure is for a 0.3 guest.
pub(crate) fn p3_error(error: OutboundError) -> wasmtime_wasi_http::Error {
    error.into()
}
