//! x
use shoal_runtime::Body;
use std::time::Duration;
pub(crate) struct Outbound;
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct SendOptions {
    pub(crate) connect_timeout: Option<Duration>,
    pub(crate) first_byte_timeout: Option<Duration>,
    pub(crate) between_bytes_timeout: Option<Duration>,
}
#[derive(Debug)]
pub(crate) enum OutboundError {
    HttpRequestDenied,
}
impl Outbound {
    pub(crate) fn new(_r: shoal_runtime::OutboundRules) -> Self {
        Self
    }
    pub(crate) async fn send(
        &self,
        _r: http::Request<Body>,
        _o: SendOptions,
    ) -> Result<http::Response<Body>, OutboundError> {
        Err(OutboundError::HttpRequestDenied)
    }
}
