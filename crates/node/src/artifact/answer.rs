//! What a registry answers.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, StatusCode, header};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use serde::Deserialize;
use shoal_base::error_chain::chain;
use tokio::time::timeout;

use super::Problem;
use super::error::harmless;
use super::retry::Trouble;

/// Read of an answer that says what is wrong.
const ERROR_BYTES_MAX: usize = 16 << 10;
/// Shown of what it says.
const ERROR_SHOWN_MAX: usize = 300;

/// An answer whose body has not been read.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Incoming,
    pub(super) stall: Duration,
    /// Who gave it, for words.
    pub(super) from: String,
}

impl Answer {
    /// The next piece of the body; none at its end.
    pub(super) async fn chunk(&mut self) -> Result<Option<Bytes>, Trouble> {
        loop {
            let frame = timeout(self.stall, self.body.frame()).await.map_err(|_| {
                let (from, wait) = (&self.from, self.stall.as_millis());
                Trouble::passing(format!("{from} sends nothing for {wait} ms"))
            })?;
            match frame {
                None => return Ok(None),
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        return Ok(Some(data));
                    }
                }
                Some(Err(error)) => {
                    return Err(Trouble::passing(format!("{} breaks off: {}", self.from, chain(&error))));
                }
            }
        }
    }

    /// The whole body.
    pub(super) async fn bytes(mut self, max: usize) -> Result<Bytes, Trouble> {
        let mut whole = BytesMut::new();
        while let Some(chunk) = self.chunk().await? {
            if whole.len() + chunk.len() > max {
                let what = format!("{} answers with more than {max} bytes", self.from);
                return Err(Trouble::last(Problem::TooLarge, what));
            }
            whole.extend_from_slice(&chunk);
        }
        Ok(whole.freeze())
    }

    /// The trouble that this answer is. Asks nothing of the body where its head says enough.
    pub(super) async fn trouble(self) -> Trouble {
        let (status, from) = (self.status, self.from.clone());
        let wait = seconds(&self.headers);
        let words = match self.bytes(ERROR_BYTES_MAX).await {
            Ok(body) => words(&body),
            Err(_) => String::new(),
        };
        let what = format!("{from} answers {status}{words}");
        match status {
            StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT => {
                Trouble::Passing { why: what, wait }
            }
            status if status.is_server_error() => Trouble::Passing { why: what, wait },
            StatusCode::NOT_FOUND => Trouble::last(Problem::Missing, what),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Trouble::last(Problem::Denied, what),
            _ => Trouble::last(Problem::Registry, what),
        }
    }
}

/// `Retry-After` in seconds; its other form, a date, says nothing here.
fn seconds(headers: &HeaderMap) -> Option<Duration> {
    headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim().parse().ok().map(Duration::from_secs)
}

/// What the registry says is wrong (OCI distribution specification, "Error codes"), made harmless and short.
fn words(body: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Errors {
        errors: Vec<Error>,
    }
    #[derive(Deserialize)]
    struct Error {
        #[serde(default)]
        code: String,
        #[serde(default)]
        message: String,
    }
    let Ok(Errors { errors }) = serde_json::from_slice(body) else { return String::new() };
    let said: Vec<String> = errors
        .into_iter()
        .map(|Error { code, message }| if message.is_empty() { code } else { message })
        .filter(|text| !text.is_empty())
        .collect();
    if said.is_empty() {
        return String::new();
    }
    format!(": {}", harmless(&said.join("; "), ERROR_SHOWN_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_registry_says_is_shown_short() {
        let body = br#"{"errors": [{"code": "MANIFEST_UNKNOWN", "message": "manifest\u001b unknown"}, {"code": "X"}]}"#;
        assert_eq!(words(body), ": manifest unknown; X");
        for nothing in ["", "<html>", "{}", r#"{"errors": []}"#, r#"{"errors": [{}]}"#] {
            assert_eq!(words(nothing.as_bytes()), "", "{nothing}");
        }
        let long = format!(r#"{{"errors": [{{"message": "{}"}}]}}"#, "x".repeat(ERROR_SHOWN_MAX + 1));
        assert_eq!(words(long.as_bytes()).len(), ERROR_SHOWN_MAX + 2);
    }

    #[test]
    fn a_wait_is_read_in_seconds() {
        let mut headers = HeaderMap::new();
        assert_eq!(seconds(&headers), None);
        headers.insert(header::RETRY_AFTER, "7".parse().expect("a value"));
        assert_eq!(seconds(&headers), Some(Duration::from_secs(7)));
        headers.insert(header::RETRY_AFTER, "Fri, 31 Dec 1999 23:59:59 GMT".parse().expect("a value"));
        assert_eq!(seconds(&headers), None);
    }
}
