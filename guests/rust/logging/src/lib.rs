//! Writes one line to the log (`wasi:logging`): `POST /LEVEL?context=TEXT` with the message as the body, where LEVEL is
//! trace, debug, info, warn, error or critical. `GET /` writes one line at every level.

use guest_support::{answer, parameter, path_and_query, read_body};
use wasip2::exports::http::incoming_handler::Guest;
use wasip2::http::types::{IncomingRequest, ResponseOutparam};

use self::wasi::logging::logging::{Level, log};

wit_bindgen::generate!({
    path: "../../../wit/deps/logging-0.1.0-draft",
    inline: "package shoal:logging; world logging { import wasi:logging/logging@0.1.0-draft; }",
    generate_all,
});

const LEVELS: [(&str, Level); 6] = [
    ("trace", Level::Trace),
    ("debug", Level::Debug),
    ("info", Level::Info),
    ("warn", Level::Warn),
    ("error", Level::Error),
    ("critical", Level::Critical),
];

/// Bytes of a message.
const MESSAGE_MAX: usize = 1024 * 1024;

struct Logging;

impl Guest for Logging {
    fn handle(request: IncomingRequest, response_out: ResponseOutparam) {
        let (path, query) = path_and_query(&request);
        let context = parameter(&query, "context").unwrap_or_else(|| "guest".into());
        let Some(message) = read_body(&request, MESSAGE_MAX) else {
            return answer(response_out, 413, "the message is too long\n");
        };
        let message = String::from_utf8_lossy(&message);
        let name = path.trim_start_matches('/');
        if name.is_empty() {
            LEVELS.iter().for_each(|(name, level)| log(*level, &context, &format!("a line at {name}")));
            return answer(response_out, 200, "wrote 6 lines\n");
        }
        match LEVELS.iter().find(|(known, _)| *known == name) {
            Some((_, level)) => {
                log(*level, &context, &message);
                answer(response_out, 200, "wrote 1 line\n");
            }
            None => answer(response_out, 404, &format!("`{name}` is not a level\n")),
        }
    }
}

wasip2::http::proxy::export!(Logging);
