//! Answers: what has become of a request, as HTTP.

use std::io;

use bytes::Bytes;
use futures_util::StreamExt;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER, WARNING};
use http::{Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use serde_json::Value;
use shoal_api::Status;

use crate::media::JSON;

/// The body of an answer: whole, or as it comes.
pub type Body = UnsyncBoxBody<Bytes, io::Error>;

/// An answer.
pub type Answer = Response<Body>;

/// Warnings in one answer; more are of no use to anyone.
const WARNINGS_MAX: usize = 32;
/// Bytes of one warning, as Kubernetes cuts them.
const WARNING_BYTES_MAX: usize = 4096;

/// A whole body.
pub fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

/// A body that comes piece by piece.
pub fn streamed(pieces: impl futures_util::Stream<Item = Bytes> + Send + 'static) -> Body {
    StreamBody::new(pieces.map(|piece| Ok(hyper::body::Frame::data(piece)))).boxed_unsync()
}

/// An answer of one media type.
pub fn bytes(code: StatusCode, media_type: &str, bytes: impl Into<Bytes>) -> Answer {
    with_body(code, media_type, full(bytes))
}

/// An answer with any body.
pub fn with_body(code: StatusCode, media_type: &str, body: Body) -> Answer {
    let mut answer = Response::new(body);
    *answer.status_mut() = code;
    let headers = answer.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
    if let Ok(value) = HeaderValue::from_str(media_type) {
        headers.insert(CONTENT_TYPE, value);
    }
    answer
}

/// An answer that has nothing to give.
pub fn without_body(code: StatusCode) -> Answer {
    let mut answer = bytes(code, "", Bytes::new());
    answer.headers_mut().remove(CONTENT_TYPE);
    answer
}

/// An answer in JSON.
pub fn json(code: StatusCode, value: &Value) -> Answer {
    bytes(code, JSON, serde_json::to_vec(value).expect("a value can be written"))
}

/// An answer in words.
pub fn text(code: StatusCode, text: impl Into<String>) -> Answer {
    bytes(code, "text/plain; charset=utf-8", text.into())
}

/// A failure. The answer carries its [`Status`] too, for the audit log.
pub fn failure(status: &Status) -> Answer {
    let code = StatusCode::from_u16(status.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut answer = json(code, &status.to_value());
    let seconds = status.details.as_ref().map_or(0, |details| details.retry_after_seconds);
    if seconds > 0 {
        answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    answer.extensions_mut().insert(status.clone());
    answer
}

/// With what the client should be told beside the answer.
#[must_use]
pub fn warned(mut answer: Answer, warnings: &[String]) -> Answer {
    for warning in warnings.iter().take(WARNINGS_MAX) {
        let mut end = warning.len().min(WARNING_BYTES_MAX);
        while !warning.is_char_boundary(end) {
            end -= 1;
        }
        let quoted = warning[..end].replace('\\', "\\\\").replace('"', "\\\"");
        let line: String = quoted.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        if let Ok(value) = HeaderValue::from_bytes(format!("299 - \"{line}\"").as_bytes()) {
            answer.headers_mut().append(WARNING, value);
        }
    }
    answer
}

/// With one more header.
#[must_use]
pub fn with_header(mut answer: Answer, name: HeaderName, value: &str) -> Answer {
    if let Ok(value) = HeaderValue::from_str(value) {
        answer.headers_mut().insert(name, value);
    }
    answer
}
