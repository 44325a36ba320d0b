//! `GET /?url=URL` sends a request to the URL over WASI 0.3 and streams the answer back: status, content type and body.
//! When there is no answer: status 502 and the error code of wasi:http as text.

use wasip3::exports::http::handler::Guest;
use wasip3::http::client;
use wasip3::http::types::{ErrorCode, Fields, Request, Response, Scheme};
use wasip3::{wit_future, wit_stream};

struct Fetch;

impl Guest for Fetch {
    async fn handle(request: Request) -> Result<Response, ErrorCode> {
        let target = request.get_path_with_query().unwrap_or_default();
        let Some((_, url)) = target.split_once("?url=") else {
            return Ok(text(400, "give the address as ?url=http://host/path\n".into()));
        };
        let Some(outgoing) = request_to(url) else {
            return Ok(text(400, format!("`{url}` is no address\n")));
        };
        match client::send(outgoing).await {
            Ok(response) => Ok(pass_on(response)),
            Err(code) => Ok(text(502, format!("{code:?}\n"))),
        }
    }
}

/// A GET request to the URL.
fn request_to(url: &str) -> Option<Request> {
    let (scheme, rest) = url.split_once("://")?;
    let scheme = match scheme {
        "http" => Scheme::Http,
        "https" => Scheme::Https,
        other => Scheme::Other(other.into()),
    };
    let split = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(split);
    let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
    let (no_trailers, trailers) = wit_future::new(|| Ok(None));
    drop(no_trailers);
    let (request, _sent) = Request::new(Fields::new(), None, trailers, None);
    request.set_scheme(Some(&scheme)).ok()?;
    request.set_authority(Some(authority)).ok()?;
    request.set_path_with_query(Some(&path)).ok()?;
    Some(request)
}

/// The answer as it comes: its stream is given on, not copied.
fn pass_on(received: Response) -> Response {
    let headers = Fields::new();
    for name in ["content-type", "location"] {
        headers.set(name, &received.get_headers().get(name)).expect("what was received may be sent");
    }
    let status = received.get_status_code();
    let (complaint, outcome) = wit_future::new(|| Ok(()));
    drop(complaint);
    let (body, trailers) = Response::consume_body(received, outcome);
    let (response, _sent) = Response::new(headers, Some(body), trailers);
    response.set_status_code(status).expect("a valid status");
    response
}

fn text(status: u16, text: String) -> Response {
    let headers = Fields::new();
    headers.set("content-type", &[b"text/plain; charset=utf-8".to_vec()]).expect("a valid header");
    let (mut writer, body) = wit_stream::new();
    let (no_trailers, trailers) = wit_future::new(|| Ok(None));
    drop(no_trailers);
    let (response, _sent) = Response::new(headers, Some(body), trailers);
    response.set_status_code(status).expect("a valid status");
    wit_bindgen::spawn_local(async move {
        // What the client no longer takes is of no use to anyone.
        let _rest = writer.write_all(text.into_bytes()).await;
    });
    response
}

wasip3::http::service::export!(Fetch);
