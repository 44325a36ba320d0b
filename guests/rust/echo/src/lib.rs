//! Sends the request back. The body streams through: a body of any length takes 64 KiB.
//!
//! - any path: the body, with its content type, and its length where it was announced
//! - `/headers`: one `name: value` line per request header; every `x-*` header also comes back as a header
//! - `/trailers`: the body, then the request's trailers as trailers
//! - `/request`: method, scheme, authority and target, one per line

use guest_support::{answer, body_of, copy, method_name, path_and_query, start_with};
use wasip2::exports::http::incoming_handler::Guest;
use wasip2::http::types::{
    Fields, FutureTrailers, IncomingBody, IncomingRequest, OutgoingBody, ResponseOutparam, Scheme,
};

struct Echo;

impl Guest for Echo {
    fn handle(request: IncomingRequest, response_out: ResponseOutparam) {
        match path_and_query(&request).0.as_str() {
            "/headers" => echo_headers(&request, response_out),
            "/trailers" => echo_body(&request, response_out, true),
            "/request" => echo_request(&request, response_out),
            _ => echo_body(&request, response_out, false),
        }
    }
}

fn echo_body(request: &IncomingRequest, response_out: ResponseOutparam, with_trailers: bool) {
    // A server sends over HTTP/1.1 only those trailers that the `trailer` header announces.
    let copied = ["content-type", if with_trailers { "trailer" } else { "content-length" }];
    let headers = Fields::new();
    for name in copied {
        headers.set(name, &request.headers().get(name)).expect("a valid header");
    }
    let (source, input) = body_of(request);
    let (body, output) = start_with(response_out, 200, headers);
    // Where either side fails the answer is left unfinished, and the client sees a broken body.
    if copy(&input, &output).is_err() {
        return;
    }
    drop((input, output));
    let trailers = if with_trailers { trailers_of(source) } else { None };
    let _client_left = OutgoingBody::finish(body, trailers);
}

fn trailers_of(source: IncomingBody) -> Option<Fields> {
    let trailers: FutureTrailers = IncomingBody::finish(source);
    trailers.subscribe().block();
    let received = trailers.get()?.ok()?.ok()??;
    Some(Fields::from_list(&received.entries()).expect("what was received may be sent"))
}

fn echo_headers(request: &IncomingRequest, response_out: ResponseOutparam) {
    let headers = Fields::new();
    let mut lines = String::new();
    for (name, value) in request.headers().entries() {
        lines.push_str(&format!("{name}: {}\n", String::from_utf8_lossy(&value)));
        if name.starts_with("x-") {
            headers.append(&name, &value).expect("what was received may be sent");
        }
    }
    let (body, output) = start_with(response_out, 200, headers);
    let _client_left = guest_support::write_all(&output, lines.as_bytes());
    drop(output);
    let _client_left = OutgoingBody::finish(body, None);
}

fn echo_request(request: &IncomingRequest, response_out: ResponseOutparam) {
    let scheme = match request.scheme() {
        Some(Scheme::Http) => "http".into(),
        Some(Scheme::Https) => "https".into(),
        Some(Scheme::Other(name)) => name,
        None => "none".to_owned(),
    };
    let text = format!(
        "method: {}\nscheme: {scheme}\nauthority: {}\ntarget: {}\n",
        method_name(&request.method()),
        request.authority().unwrap_or_else(|| "none".into()),
        request.path_with_query().unwrap_or_else(|| "none".into()),
    );
    answer(response_out, 200, &text);
}

wasip2::http::proxy::export!(Echo);
