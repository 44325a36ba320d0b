//! Answers every request with one line: an ordinary Rust guest, with the memory layout that the linker gives.

use wasip2::exports::http::incoming_handler::Guest;
use wasip2::http::types::{Fields, IncomingRequest, OutgoingBody, OutgoingResponse, ResponseOutparam};

struct Hello;

impl Guest for Hello {
    fn handle(_request: IncomingRequest, response_out: ResponseOutparam) {
        let headers = Fields::new();
        headers.set("content-type", &[b"text/plain; charset=utf-8".to_vec()]).expect("a valid header");
        let response = OutgoingResponse::new(headers);
        let body = response.body().expect("the body is taken once");
        ResponseOutparam::set(response_out, Ok(response));

        let stream = body.write().expect("the stream is taken once");
        stream.blocking_write_and_flush(b"Hello from Shoal\n").expect("the client takes the body");
        drop(stream);
        OutgoingBody::finish(body, None).expect("no length was announced");
    }
}

wasip2::http::proxy::export!(Hello);
