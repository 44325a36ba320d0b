//! Floods the log (`wasi:logging`): `GET /?lines=N&bytes=M` writes N lines (10,000 when absent) of M bytes (100 when
//! absent) and answers with how many were written. `GET /forever` never stops.

use guest_support::{answer, parameter, path_and_query};
use wasip2::exports::http::incoming_handler::Guest;
use wasip2::http::types::{IncomingRequest, ResponseOutparam};

use self::wasi::logging::logging::{Level, log};

wit_bindgen::generate!({
    path: "../../../wit/deps/logging-0.1.0-draft",
    inline: "package shoal:logging; world logging { import wasi:logging/logging@0.1.0-draft; }",
    generate_all,
});

struct LogFlood;

impl Guest for LogFlood {
    fn handle(request: IncomingRequest, response_out: ResponseOutparam) {
        let (path, query) = path_and_query(&request);
        let number =
            |name, default| parameter(&query, name).and_then(|text| text.parse().ok()).unwrap_or(default);
        let lines = if path == "/forever" { usize::MAX } else { number("lines", 10_000) };
        let message = "x".repeat(number("bytes", 100));
        for _ in 0..lines {
            log(Level::Info, "flood", &message);
        }
        answer(response_out, 200, &format!("wrote {lines} lines\n"));
    }
}

wasip2::http::proxy::export!(LogFlood);
