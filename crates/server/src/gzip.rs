//! Large answers are compressed for clients that can read it.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;
use http::HeaderValue;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, VARY};
use http_body_util::BodyExt;
use hyper::body::Body as _;

use crate::answer::{self, Answer};

/// Smaller answers are sent as they are, as in Kubernetes: compressing them takes longer than sending them.
const BYTES_MIN: u64 = 128 << 10;

/// The same answer, compressed if it is whole and large.
pub(crate) async fn compressed(answer: Answer) -> Answer {
    let size = answer.body().size_hint().exact().unwrap_or(0);
    if size < BYTES_MIN || answer.headers().contains_key(CONTENT_ENCODING) {
        return answer;
    }
    let (mut parts, body) = answer.into_parts();
    let Ok(whole) = body.collect().await else { return Answer::from_parts(parts, answer::full("")) };
    let whole = whole.to_bytes();
    let mut encoder = GzEncoder::new(Vec::with_capacity(whole.len() / 4), Compression::fast());
    let packed = encoder.write_all(&whole).and_then(|()| encoder.finish());
    let body = match packed {
        Ok(packed) => {
            parts.headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            parts.headers.append(VARY, HeaderValue::from_static("Accept-Encoding"));
            parts.headers.remove(CONTENT_LENGTH);
            answer::full(packed)
        }
        Err(_) => answer::full(whole),
    };
    Answer::from_parts(parts, body)
}
