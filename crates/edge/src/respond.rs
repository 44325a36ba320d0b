//! Phase *respond*: from a guest's answer, or a refusal, to the response that is written.

use std::fmt::Display;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{
    CACHE_CONTROL, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HeaderName, RETRY_AFTER, TE, TRANSFER_ENCODING,
    UPGRADE,
};
use http::{HeaderValue, Response, StatusCode, Version};
use http_body::{Body as _, Frame, SizeHint};
use serde_json::json;
use shoal_runtime::{Answer, Body, BodyError, Failure, FailureKind};

use crate::account::{Outcome, Ticket};
use crate::admit::Refusal;
use crate::connection::{Ending, Protocol};
use crate::request_body::Trouble;

/// The body of a response; keeps the account of its request open until it ends.
pub(crate) struct ResponseBody {
    body: Body,
    ticket: Ticket,
    /// What is still to come, when that is known.
    left: Option<u64>,
    /// It ended in an error.
    is_broken: bool,
}

/// When a client that met an overload should try again, in seconds.
const RETRY_SECONDS: HeaderValue = HeaderValue::from_static("1");

/// Fields that speak of one connection; a guest has no say in those (RFC 9110 §7.6.1).
static HOP_BY_HOP: [HeaderName; 6] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    TE,
    TRANSFER_ENCODING,
    UPGRADE,
];

/// Turns what a guest answered into the response.
pub(crate) fn answer(answer: Answer, mut ticket: Ticket) -> Response<ResponseBody> {
    let mut response = match answer {
        Ok(response) => response,
        Err(failure) => return fail(&failure, ticket),
    };
    if response.status().is_informational() || !length_is_true(&response, ticket.is_head) {
        return fail(&Failure::new(FailureKind::NoAnswer, ""), ticket);
    }
    if response.headers().keys().any(|name| HOP_BY_HOP.contains(name)) {
        HOP_BY_HOP.iter().for_each(|name| drop(response.headers_mut().remove(name)));
    }
    let has_no_content = ticket.is_head || matches!(response.status().as_u16(), 204 | 304);
    if has_no_content {
        ticket.outcome = Outcome::Whole;
    }
    finish_head(response, ticket)
}

/// The response to a request that the edge refuses.
pub(crate) fn refuse(refusal: Refusal, mut ticket: Ticket) -> Response<ResponseBody> {
    ticket.outcome = Outcome::Refused(refusal);
    let mut response = explain(refusal.status(), refusal.name(), &refusal, &ticket);
    // What follows on this connection cannot be told from the rest of this request.
    let spoils_connection =
        !matches!(refusal, Refusal::Limit(limit) if limit.status() == StatusCode::SERVICE_UNAVAILABLE);
    if spoils_connection && ticket.connection.protocol == Protocol::Http1 {
        ticket.connection.end_with(Ending::Linger);
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    finish_head(response, ticket)
}

/// The response to a request whose guest failed, or that reached none.
fn fail(failure: &Failure, mut ticket: Ticket) -> Response<ResponseBody> {
    let kind = failure.kind;
    ticket.outcome = Outcome::Failed(kind);
    let sentence = if kind.is_told() { &failure.reason } else { failure_sentence(kind) };
    let response = explain(kind.status(), kind.name(), &sentence, &ticket);
    finish_head(response, ticket)
}

/// The response to a request on which the edge or the runtime panicked.
pub(crate) fn panicked(mut ticket: Ticket) -> Response<ResponseBody> {
    ticket.outcome = Outcome::Panicked;
    let status = StatusCode::INTERNAL_SERVER_ERROR;
    let response = explain(status, "internal", &"the server has a bug; its log says more", &ticket);
    finish_head(response, ticket)
}

fn finish_head(mut response: Response<Body>, mut ticket: Ticket) -> Response<ResponseBody> {
    ticket.status = Some(response.status());
    if ticket.version < Version::HTTP_2 && ticket.connection.worker.is_draining() {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response.map(|body| {
        let left = body.size_hint().exact();
        ResponseBody { body, ticket, left, is_broken: false }
    })
}

/// A small response that says what happened, and nothing of the guest's insides.
fn explain(status: StatusCode, name: &str, message: &dyn Display, ticket: &Ticket) -> Response<Body> {
    let id = format!("{:016x}", ticket.id);
    let (kind, text) = if ticket.wants_json {
        let body =
            json!({"status": status.as_u16(), "error": name, "message": message.to_string(), "request": id});
        ("application/json", format!("{body}\n"))
    } else {
        ("text/plain; charset=utf-8", format!("{} {message}\nrequest: {id}\n", status.as_u16()))
    };
    let mut response = Response::new(Body::whole(text));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers
        .insert("x-request-id", HeaderValue::from_str(&id).expect("hexadecimal digits are a header value"));
    if status == StatusCode::SERVICE_UNAVAILABLE {
        headers.insert(RETRY_AFTER, RETRY_SECONDS);
    }
    response
}

const fn failure_sentence(kind: FailureKind) -> &'static str {
    match kind {
        FailureKind::Trap => "the workload crashed on this request",
        FailureKind::Memory => "the workload needed more memory than it may use",
        FailureKind::CpuTime => "the workload used up its CPU time",
        FailureKind::Deadline => "the workload did not answer in time",
        FailureKind::NoAnswer => "the workload gave no proper answer",
        FailureKind::GuestError => "the workload answered with an error",
        FailureKind::ResponseTooLarge => "the response of the workload is too large",
        FailureKind::Cancelled => "the request was cancelled",
        FailureKind::Overloaded => "the node is full",
        FailureKind::NoRoute => "no route leads there",
        FailureKind::NoEndpoint => "the service has no ready endpoint",
        FailureKind::Busy => "the service has as many requests as it may have",
        FailureKind::RequestTooLarge => "the request body is too large",
    }
}

/// Whether `content-length`, if the guest set it, is one number and that of the body. The client would take
/// the rest for the next response, or wait for what never comes.
fn length_is_true(response: &Response<Body>, is_head: bool) -> bool {
    let mut lengths = response.headers().get_all(CONTENT_LENGTH).iter();
    let declared = match (lengths.next(), lengths.next()) {
        (None, _) => return true,
        (Some(_), Some(_)) => return false,
        (Some(length), None) => length.to_str().ok().and_then(|length| length.parse::<u64>().ok()),
    };
    let is_about_another_body = is_head || response.status() == StatusCode::NOT_MODIFIED;
    match (declared, response.body().size_hint().exact()) {
        (None, _) => false,
        (Some(declared), Some(exact)) => declared == exact || is_about_another_body,
        (Some(_), None) => true,
    }
}

impl http_body::Body for ResponseBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let me = &mut *self;
        let frame = std::task::ready!(Pin::new(&mut me.body).poll_frame(cx));
        match &frame {
            Some(Ok(frame)) => {
                let size = frame.data_ref().map_or(0, Bytes::len) as u64;
                me.ticket.bytes_out += size;
                me.left = me.left.map(|left| left.saturating_sub(size));
                if me.left == Some(0) || me.body.is_end_stream() {
                    me.end();
                }
            }
            Some(Err(error)) => {
                me.is_broken = true;
                me.ticket.outcome = match (me.ticket.trouble(), error) {
                    // A guest that was sending the body back cannot but break off as well.
                    (Some(Trouble::Disconnected), _) => Outcome::Cancelled,
                    (Some(trouble), _) => Outcome::Refused(trouble.refusal()),
                    (None, BodyError::Failed(failure)) => Outcome::Failed(failure.kind),
                    (None, BodyError::TooLarge { .. }) => Outcome::Failed(FailureKind::ResponseTooLarge),
                    (None, BodyError::Disconnected(_) | BodyError::Stalled) => Outcome::Cancelled,
                };
                me.ticket.connection.end_with(Ending::Reset);
            }
            None => me.end(),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl ResponseBody {
    /// All bytes have been handed over.
    fn end(&mut self) {
        if self.ticket.outcome == Outcome::Cancelled && !self.is_broken {
            self.ticket.outcome = Outcome::Whole;
        }
    }
}

impl Drop for ResponseBody {
    fn drop(&mut self) {
        if self.left == Some(0) || self.body.is_end_stream() {
            self.end();
        }
    }
}
