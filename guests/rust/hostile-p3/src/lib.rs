//! What a bad guest does over WASI 0.3, one way per path. Each must harm only its own request.
//!
//! Before an answer: `/loop` never ends, `/trap`, `/never` waits an hour, `/error` answers with an error code.
//! While answering: `/flood` sends for ever, `/trickle` sends one byte each 100 ms for ever, `/trap-mid-body` traps and
//! `/loop-mid-body` loops after 5 bytes, `/drop-body` sends 500 of 1000 announced bytes, `/bad-trailers` ends in an error.
//! `/linger` answers, and then stays for an hour. `/hello` behaves.

use wasip3::clocks::monotonic_clock::wait_for;
use wasip3::exports::http::handler::Guest;
use wasip3::http::types::{ErrorCode, Fields, Request, Response};
use wasip3::{wit_future, wit_stream};
use wit_bindgen::StreamWriter;

const MILLISECOND: u64 = 1_000_000;
const HOUR: u64 = 3_600_000 * MILLISECOND;

struct Hostile;

impl Guest for Hostile {
    async fn handle(request: Request) -> Result<Response, ErrorCode> {
        let path = request.get_path_with_query().unwrap_or_default();
        match path.as_str() {
            "/loop" => spin_for_ever(),
            "/trap" => core::arch::wasm32::unreachable(),
            "/never" => wait_for(HOUR).await,
            "/error" => return Err(ErrorCode::InternalError(Some("as it was asked to".into()))),
            _ => {}
        }
        let headers = Fields::new();
        if path == "/drop-body" {
            headers.set("content-length", &[b"1000".to_vec()]).expect("a valid header");
        }
        let (writer, body) = wit_stream::new();
        // What the trailers become when their writer is dropped.
        let outcome =
            if path == "/bad-trailers" { || Err(ErrorCode::HttpProtocolError) } else { || Ok(None) };
        let (trailers_writer, trailers) = wit_future::new(outcome);
        let (response, _sent) = Response::new(headers, Some(body), trailers);
        wit_bindgen::spawn_local(async move {
            write_body(&path, writer).await;
            drop(trailers_writer);
        });
        Ok(response)
    }
}

async fn write_body(path: &str, mut writer: StreamWriter<u8>) {
    match path {
        "/flood" => while writer.write_all(vec![b'x'; 4096]).await.is_empty() {},
        "/trickle" => {
            while writer.write_one(b'.').await.is_none() {
                wait_for(100 * MILLISECOND).await;
            }
        }
        "/trap-mid-body" => {
            writer.write_all(b"half\n".to_vec()).await;
            core::arch::wasm32::unreachable()
        }
        "/loop-mid-body" => {
            writer.write_all(b"half\n".to_vec()).await;
            spin_for_ever()
        }
        "/drop-body" => drop(writer.write_all(vec![b'x'; 500]).await),
        "/linger" => {
            writer.write_all(b"Hello from Shoal\n".to_vec()).await;
            drop(writer);
            wait_for(HOUR).await;
        }
        _ => drop(writer.write_all(b"Hello from Shoal\n".to_vec()).await),
    }
}

fn spin_for_ever() -> ! {
    loop {
        core::hint::black_box(());
    }
}

wasip3::http::service::export!(Hostile);
