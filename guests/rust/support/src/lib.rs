//! What the HTTP guests share: answering, copying streams, reading bodies and paths.
//!
//! Everything here panics when the host refuses; a panic is a trap, and the host answers 500 for it.

use wasip2::http::types::{
    Fields, IncomingBody, IncomingRequest, Method, OutgoingBody, OutgoingResponse, ResponseOutparam,
};
use wasip2::io::streams::{InputStream, OutputStream, StreamError};

/// Bytes copied at a time: small, so that a body of any length passes through in constant memory.
const CHUNK_SIZE: u64 = 64 * 1024;

/// Answers with a whole text body and the status.
pub fn answer(response_out: ResponseOutparam, status: u16, text: &str) {
    answer_bytes(response_out, status, "text/plain; charset=utf-8", text.as_bytes());
}

/// Answers with a whole body of the content type.
pub fn answer_bytes(response_out: ResponseOutparam, status: u16, content_type: &str, bytes: &[u8]) {
    let headers = [("content-type", content_type.as_bytes())];
    let (body, stream) = start(response_out, status, &headers);
    let _client_left = write_all(&stream, bytes);
    drop(stream);
    let _client_left = OutgoingBody::finish(body, None);
}

/// Starts an answer whose body follows: drop the stream, then call [`OutgoingBody::finish`].
pub fn start(
    response_out: ResponseOutparam,
    status: u16,
    headers: &[(&str, &[u8])],
) -> (OutgoingBody, OutputStream) {
    let fields = Fields::new();
    for (name, value) in headers {
        fields.append(name, value).expect("a valid header");
    }
    start_with(response_out, status, fields)
}

/// Like [`start`], with headers already made.
pub fn start_with(
    response_out: ResponseOutparam,
    status: u16,
    headers: Fields,
) -> (OutgoingBody, OutputStream) {
    let response = OutgoingResponse::new(headers);
    response.set_status_code(status).expect("a valid status");
    let body = response.body().expect("the body is taken once");
    ResponseOutparam::set(response_out, Ok(response));
    let stream = body.write().expect("the stream is taken once");
    (body, stream)
}

/// Writes everything and flushes it, waiting whenever the reader is slower.
///
/// # Errors
/// The reader went away.
pub fn write_all(stream: &OutputStream, mut bytes: &[u8]) -> Result<(), StreamError> {
    while !bytes.is_empty() {
        let room = wait_for_room(stream)?;
        let (chunk, rest) = bytes.split_at(bytes.len().min(room as usize));
        stream.write(chunk)?;
        bytes = rest;
    }
    stream.blocking_flush()
}

/// Copies until the end of the input; the output is flushed. At most 64 KiB are held at any moment.
///
/// # Errors
/// Either side failed; the end of the input is not an error.
pub fn copy(from: &InputStream, to: &OutputStream) -> Result<(), StreamError> {
    loop {
        let room = wait_for_room(to)?;
        match from.blocking_read(room.min(CHUNK_SIZE)) {
            Ok(chunk) => to.write(&chunk)?,
            Err(StreamError::Closed) => return to.blocking_flush(),
            Err(error) => return Err(error),
        }
    }
}

fn wait_for_room(stream: &OutputStream) -> Result<u64, StreamError> {
    loop {
        match stream.check_write()? {
            0 => stream.subscribe().block(),
            room => return Ok(room),
        }
    }
}

/// Reads a whole stream, `None` when it is longer than the limit in bytes.
///
/// # Errors
/// The stream failed.
pub fn read_to_end(stream: &InputStream, limit: usize) -> Result<Option<Vec<u8>>, StreamError> {
    let mut bytes = Vec::new();
    loop {
        match stream.blocking_read(CHUNK_SIZE) {
            Ok(chunk) => bytes.extend_from_slice(&chunk),
            Err(StreamError::Closed) => return Ok(Some(bytes)),
            Err(error) => return Err(error),
        }
        if bytes.len() > limit {
            return Ok(None);
        }
    }
}

/// The request's body with its stream. Drop the stream before the body.
pub fn body_of(request: &IncomingRequest) -> (IncomingBody, InputStream) {
    let body = request.consume().expect("the body is taken once");
    let stream = body.stream().expect("the stream is taken once");
    (body, stream)
}

/// The whole body of a request, `None` when it is longer than the limit in bytes.
pub fn read_body(request: &IncomingRequest, limit: usize) -> Option<Vec<u8>> {
    let (_body, stream) = body_of(request);
    read_to_end(&stream, limit).expect("the client sends its body")
}

/// The path and the query of a request; the query without its `?`, empty when absent.
pub fn path_and_query(request: &IncomingRequest) -> (String, String) {
    let target = request.path_with_query().unwrap_or_else(|| "/".into());
    match target.split_once('?') {
        Some((path, query)) => (path.into(), query.into()),
        None => (target, String::new()),
    }
}

/// A parameter of a query, percent-decoded.
pub fn parameter(query: &str, name: &str) -> Option<String> {
    let pairs = query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    pairs.into_iter().find(|(key, _)| *key == name).map(|(_, value)| percent_decode(value))
}

/// Undoes percent encoding; what is no valid escape stays as it is.
pub fn percent_decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let escape = (bytes[at] == b'%').then(|| bytes.get(at + 1..at + 3)).flatten();
        match escape.and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok()) {
            Some(byte) => {
                decoded.push(byte);
                at += 3;
            }
            None => {
                decoded.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

/// The method as it is written in a request.
pub fn method_name(method: &Method) -> String {
    match method {
        Method::Get => "GET".into(),
        Method::Head => "HEAD".into(),
        Method::Post => "POST".into(),
        Method::Put => "PUT".into(),
        Method::Delete => "DELETE".into(),
        Method::Connect => "CONNECT".into(),
        Method::Options => "OPTIONS".into(),
        Method::Trace => "TRACE".into(),
        Method::Patch => "PATCH".into(),
        Method::Other(name) => name.clone(),
    }
}
