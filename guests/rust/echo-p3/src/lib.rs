//! Sends the request back over WASI 0.3, with its content type and its trailers.
//!
//! - any path: the guest copies the body, 64 KiB at a time
//! - `/hand-on`: the guest gives the request's stream to the response, and never sees a byte

use wasip3::exports::http::handler::Guest;
use wasip3::http::types::{ErrorCode, Fields, Request, Response, Trailers};
use wasip3::{wit_future, wit_stream};
use wit_bindgen::{FutureReader, StreamReader, StreamResult};

/// Bytes copied at a time: small, so that a body of any length passes through in constant memory.
const CHUNK_SIZE: usize = 64 * 1024;

type TrailersFuture = FutureReader<Result<Option<Trailers>, ErrorCode>>;

struct Echo;

impl Guest for Echo {
    async fn handle(request: Request) -> Result<Response, ErrorCode> {
        let headers = Fields::new();
        // A server sends over HTTP/1.1 only those trailers that the `trailer` header announces.
        for name in ["content-type", "trailer"] {
            headers.set(name, &request.get_headers().get(name)).expect("what was received may be sent");
        }
        let hand_on = request.get_path_with_query().as_deref() == Some("/hand-on");

        // The guest has no complaint about the request's body.
        let (complaint, outcome) = wit_future::new(|| Ok(()));
        drop(complaint);
        let (body, trailers) = Request::consume_body(request, outcome);
        let (body, trailers) = if hand_on { (body, trailers) } else { copied(body, trailers) };
        let (response, _sent) = Response::new(headers, Some(body), trailers);
        Ok(response)
    }
}

/// A stream and trailers that become what these are, copied while the response is sent.
fn copied(mut body: StreamReader<u8>, trailers: TrailersFuture) -> (StreamReader<u8>, TrailersFuture) {
    let (mut writer, copy) = wit_stream::new();
    let (trailers_writer, trailers_copy) = wit_future::new(|| Ok(None));
    wit_bindgen::spawn_local(async move {
        let mut buffer = Vec::with_capacity(CHUNK_SIZE);
        loop {
            let (result, chunk) = body.read(buffer).await;
            let rest = writer.write_all(chunk).await;
            if !rest.is_empty() || result == StreamResult::Dropped {
                break;
            }
            buffer = rest;
            buffer.reserve(CHUNK_SIZE);
        }
        drop(writer);
        // The client may have left before the trailers.
        let _client_left = trailers_writer.write(trailers.await).await;
    });
    (copy, trailers_copy)
}

wasip3::http::service::export!(Echo);
