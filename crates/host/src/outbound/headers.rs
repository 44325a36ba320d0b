//! What is taken off and put on a message on its way.

use http::header::{
    CONNECTION, CONTENT_LENGTH, HOST, HeaderName, HeaderValue, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderMap, Method, Request, Response};
use http_body::Body as _;
use shoal_runtime::{Body, TRACEPARENT, TraceContext};

use super::OutboundError;

/// Fields between two neighbours (RFC 9110, 7.6.1), besides those that `Connection` names.
const HOP_BY_HOP: [HeaderName; 8] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    HeaderName::from_static("proxy-authenticate"),
    HeaderName::from_static("proxy-authorization"),
    TE,
    TRANSFER_ENCODING,
    UPGRADE,
];

/// What each field counts beside its name and value (RFC 9113, 6.5.2).
const FIELD_BYTES: u64 = 32;

/// Makes a guest's request fit to be sent, as part of this trace.
pub(super) fn outgoing(
    mut request: Request<Body>,
    trace: Option<TraceContext>,
) -> Result<Request<Body>, OutboundError> {
    if request.method() == Method::CONNECT {
        return Err(OutboundError::HttpRequestMethodInvalid);
    }
    strip(request.headers_mut());
    // The authority says it; a `Host` that differs would reach another virtual host than the one checked.
    request.headers_mut().remove(HOST);
    if let (Some(trace), false) = (trace, request.headers().contains_key(TRACEPARENT)) {
        request.headers_mut().insert(TRACEPARENT, trace.header());
    }
    // A length that does not fit a body at hand would let one request end in another.
    if let Some(exact) = request.body().size_hint().exact()
        && request.headers().contains_key(CONTENT_LENGTH)
    {
        request.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(exact));
    }
    Ok(request)
}

/// Makes a response fit for the guest.
pub(super) fn incoming<B>(mut response: Response<B>) -> Response<B> {
    strip(response.headers_mut());
    response
}

fn strip(headers: &mut HeaderMap) {
    let listed: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        // Naming these in `Connection` would change what the message means.
        .filter(|name| ![CONTENT_LENGTH, HOST, TRAILER].contains(name))
        .collect();
    for name in listed.iter().chain(&HOP_BY_HOP) {
        headers.remove(name);
    }
}

/// Bytes of a header section as limits count them.
pub(super) fn section_bytes(headers: &HeaderMap) -> u64 {
    let field = |(name, value): (&HeaderName, &HeaderValue)| {
        name.as_str().len() as u64 + value.len() as u64 + FIELD_BYTES
    };
    headers.iter().map(field).sum()
}

/// A copy to send again should a kept connection turn out to be closed: only of a request that may be made
/// twice and whose body is at hand.
pub(super) fn replay(request: &Request<Body>) -> Option<Request<Body>> {
    let body = match (request.body().as_whole(), request.body().is_end_stream()) {
        (Some(whole), _) => Body::whole(whole.clone()),
        (None, true) => Body::empty(),
        (None, false) => return None,
    };
    if !request.method().is_idempotent() {
        return None;
    }
    let mut copy = Request::new(body);
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.headers_mut() = request.headers().clone();
    Some(copy)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hop_by_hop_fields_are_taken_off_and_others_stay() {
        let mut request = Request::new(Body::whole("four"));
        for (name, value) in [
            ("connection", "close, X-Mine, content-length"),
            ("x-mine", "1"),
            ("keep-alive", "timeout=5"),
            ("transfer-encoding", "chunked"),
            ("te", "trailers"),
            ("upgrade", "websocket"),
            ("proxy-authorization", "secret"),
            ("host", "another.test"),
            ("content-length", "9"),
            ("traceparent", "00-1-2-01"),
            ("accept", "*/*"),
        ] {
            request.headers_mut().append(name, HeaderValue::from_static(value));
        }
        let trace = TraceContext { trace_id: 7, span_id: 9, sampled: true };
        let sent = outgoing(request, Some(trace)).expect("fit");
        let mut names: Vec<_> =
            sent.headers().iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
        names.sort();
        assert_eq!(
            names,
            [("accept", &b"*/*"[..]), ("content-length", &b"4"[..]), ("traceparent", &b"00-1-2-01"[..])]
        );
    }

    #[test]
    fn a_request_continues_the_trace_that_it_is_part_of() {
        let trace = TraceContext { trace_id: 7, span_id: 9, sampled: false };
        let sent = outgoing(Request::new(Body::empty()), Some(trace)).expect("fit");
        assert_eq!(sent.headers().get(TRACEPARENT), Some(&trace.header()));
        let sent = outgoing(Request::new(Body::empty()), None).expect("fit");
        assert_eq!(sent.headers().get(TRACEPARENT), None);
    }

    #[test]
    fn only_what_may_be_made_twice_is_kept_for_a_second_try() {
        let request = |method: Method, body: Body| {
            let mut request = Request::new(body);
            *request.method_mut() = method;
            replay(&request).is_some()
        };
        assert!(request(Method::GET, Body::empty()));
        assert!(request(Method::PUT, Body::whole("x")));
        assert!(!request(Method::POST, Body::whole("x")), "not idempotent");
        let stream = http_body_util::StreamBody::new(futures_util::stream::pending());
        assert!(!request(Method::PUT, Body::stream(stream)), "the body is not at hand");
    }

    #[test]
    fn tunnels_are_refused() {
        let mut request = Request::new(Body::empty());
        *request.method_mut() = Method::CONNECT;
        assert_eq!(outgoing(request, None).err(), Some(OutboundError::HttpRequestMethodInvalid));
    }
}
