//! `GET /?url=URL` sends a request to the URL and streams the answer back: status, content type and body.
//!
//! More parameters: `method` (GET when absent; POST and PUT send the body of the incoming request on),
//! `connect_ms`, `first_byte_ms`, `between_bytes_ms` (time limits in milliseconds).
//! When there is no answer: status 502 and the error code of wasi:http as text.

use guest_support::{answer, body_of, copy, parameter, path_and_query, start_with};
use wasip2::exports::http::incoming_handler::Guest;
use wasip2::http::outgoing_handler;
use wasip2::http::types::{
    ErrorCode, Fields, IncomingRequest, IncomingResponse, Method, OutgoingBody, OutgoingRequest,
    RequestOptions, ResponseOutparam, Scheme,
};

struct Fetch;

impl Guest for Fetch {
    fn handle(request: IncomingRequest, response_out: ResponseOutparam) {
        let (_, query) = path_and_query(&request);
        let Some(url) = parameter(&query, "url") else {
            return answer(response_out, 400, "give the address as ?url=http://host/path\n");
        };
        let Some(outgoing) = request_to(&url) else {
            return answer(response_out, 400, &format!("`{url}` is not http://… or https://…\n"));
        };
        match send(&request, outgoing, &query) {
            Ok(response) => pass_on(&response, response_out),
            Err(code) => answer(response_out, 502, &format!("{code:?}\n")),
        }
    }
}

/// A GET request to the URL.
fn request_to(url: &str) -> Option<OutgoingRequest> {
    let (scheme, rest) = url.split_once("://")?;
    let scheme = match scheme {
        "http" => Scheme::Http,
        "https" => Scheme::Https,
        other => Scheme::Other(other.into()),
    };
    let split = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(split);
    let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
    let request = OutgoingRequest::new(Fields::new());
    request.set_scheme(Some(&scheme)).ok()?;
    request.set_authority(Some(authority)).ok()?;
    request.set_path_with_query(Some(&path)).ok()?;
    Some(request)
}

/// Sends the request, with the body of the incoming one where the method has a body, and waits for the answer.
fn send(
    incoming: &IncomingRequest,
    outgoing: OutgoingRequest,
    query: &str,
) -> Result<IncomingResponse, ErrorCode> {
    let method = parameter(query, "method").unwrap_or_else(|| "GET".into());
    outgoing.set_method(&method_of(&method)).map_err(|()| ErrorCode::HttpRequestMethodInvalid)?;
    let body = outgoing.body().expect("the body is taken once");
    let future = outgoing_handler::handle(outgoing, options(query))?;
    if matches!(method.as_str(), "POST" | "PUT") {
        let (_source, input) = body_of(incoming);
        let output = body.write().expect("the stream is taken once");
        // A server may answer without reading the body to its end: its answer counts.
        let _stopped_reading = copy(&input, &output);
    }
    let _sent = OutgoingBody::finish(body, None);
    future.subscribe().block();
    future.get().expect("the future is ready").expect("the answer is taken once")
}

fn method_of(name: &str) -> Method {
    match name {
        "GET" => Method::Get,
        "HEAD" => Method::Head,
        "POST" => Method::Post,
        "PUT" => Method::Put,
        "DELETE" => Method::Delete,
        other => Method::Other(other.into()),
    }
}

fn options(query: &str) -> Option<RequestOptions> {
    let nanoseconds = |name| Some(parameter(query, name)?.parse::<u64>().ok()? * 1_000_000);
    let options = RequestOptions::new();
    options.set_connect_timeout(nanoseconds("connect_ms")).ok()?;
    options.set_first_byte_timeout(nanoseconds("first_byte_ms")).ok()?;
    options.set_between_bytes_timeout(nanoseconds("between_bytes_ms")).ok()?;
    Some(options)
}

fn pass_on(response: &IncomingResponse, response_out: ResponseOutparam) {
    let headers = Fields::new();
    headers.set("content-type", &response.headers().get("content-type")).expect("a valid header");
    // Where to go next is the client's choice: a guest that follows would ask for a second permission.
    headers.set("location", &response.headers().get("location")).expect("a valid header");
    let source = response.consume().expect("the body is taken once");
    let input = source.stream().expect("the stream is taken once");
    let (body, output) = start_with(response_out, response.status(), headers);
    // A body that breaks off upstream is left unfinished, so that the client sees it break off too.
    if copy(&input, &output).is_ok() {
        drop(output);
        let _client_left = OutgoingBody::finish(body, None);
    }
}

wasip2::http::proxy::export!(Fetch);
