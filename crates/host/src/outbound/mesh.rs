//! A request to a Service of the cluster: answered in this process, by whoever answers there.
//!
//! What holds for other requests holds for these: the grant is checked before, fields between neighbours are taken
//! off both ways, times and the size of the response's head are limited. What the Service cannot answer comes
//! back as the edge would answer a client: 503, 504 and so on.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, Request, Response, StatusCode};
use shoal_base::units::Bytes;
use shoal_runtime::{Account, Body, Call, Failure, HOPS_MAX, Invoke, TRACEPARENT, TraceContext};
use tokio::time::{Instant, timeout_at};
use tokio_util::task::AbortOnDropHandle;

use super::connection::for_one;
use super::destination::Destination;
use super::{BYTES_TIMEOUT, OutboundError, SendOptions, body, headers};

/// Ids of these requests begin here: above those of every serving thread.
const FIRST_ID: u64 = 0xffff << 48;

/// Sends a request, fit to be sent, to what answers at its destination.
pub(super) async fn send(
    invoke: Arc<dyn Invoke>,
    request: Request<Body>,
    destination: &Destination,
    options: SendOptions,
    header_list: Bytes,
) -> Result<Response<Body>, OutboundError> {
    if options.hops.saturating_add(1) >= HOPS_MAX {
        return Err(OutboundError::LoopDetected);
    }
    let deadline = Instant::now() + options.first_byte_timeout.unwrap_or(BYTES_TIMEOUT);
    let request = for_one(request, destination);
    let call = call(&request, options.hops);
    // A task of its own: a guest must not run inside of another's turn, on its time.
    let answer = AbortOnDropHandle::new(tokio::spawn(invoke.invoke(request, call)));
    let answer = timeout_at(deadline, answer).await.map_err(|_| OutboundError::ConnectionReadTimeout)?;
    let response = match answer {
        Ok(Ok(response)) => response,
        Ok(Err(failure)) => return Ok(refusal(&failure)),
        Err(_panic) => return Err(OutboundError::ConnectionTerminated),
    };
    if headers::section_bytes(response.headers()) > header_list.0 {
        let limit = u32::try_from(header_list.0).ok();
        return Err(OutboundError::HttpResponseHeaderSectionSize(limit));
    }
    if response.status().is_informational() {
        return Err(OutboundError::HttpUpgradeFailed);
    }
    let between = options.between_bytes_timeout.unwrap_or(BYTES_TIMEOUT);
    Ok(headers::incoming(response).map(|inner| body::paced(inner, between)))
}

/// The context of a request that a guest makes while it answers one with `hops` before it.
fn call(request: &Request<Body>, hops: u8) -> Call {
    static NEXT: AtomicU64 = AtomicU64::new(FIRST_ID);
    let trace = request.headers().get(TRACEPARENT).and_then(|value| TraceContext::parse(value.as_bytes()));
    Call::local(NEXT.fetch_add(1, Relaxed), std::time::Instant::now(), Account::of_hop(trace, hops))
}

/// What a client of the edge would be answered.
fn refusal(failure: &Failure) -> Response<Body> {
    let status = failure.kind.status();
    // What happened inside of another workload is for its own log.
    let why = if failure.kind.is_told() { failure.reason.as_str() } else { failure.kind.name() };
    let mut response = Response::new(Body::whole(format!("{} {why}\n", status.as_u16())));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    if status == StatusCode::SERVICE_UNAVAILABLE {
        headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response
}
