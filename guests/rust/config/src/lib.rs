//! Shows the workload's configuration (`wasi:config`): `GET /KEY` answers with one value, 404 when it is not set;
//! `GET /` lists all of them as `key=value` lines, sorted.

use guest_support::{answer, path_and_query, percent_decode};
use wasip2::exports::http::incoming_handler::Guest;
use wasip2::http::types::{IncomingRequest, ResponseOutparam};

use self::wasi::config::store::{self, Error};

wit_bindgen::generate!({
    path: "../../../wit/deps/config-0.2.0-rc.1",
    inline: "package shoal:config; world config { import wasi:config/store@0.2.0-rc.1; }",
    generate_all,
});

struct Config;

impl Guest for Config {
    fn handle(request: IncomingRequest, response_out: ResponseOutparam) {
        let (path, _) = path_and_query(&request);
        match percent_decode(path.trim_start_matches('/')) {
            key if key.is_empty() => list(response_out),
            key => match store::get(&key) {
                Ok(Some(value)) => answer(response_out, 200, &format!("{value}\n")),
                Ok(None) => answer(response_out, 404, &format!("`{key}` is not set\n")),
                Err(error) => answer(response_out, 500, &text_of(&error)),
            },
        }
    }
}

fn list(response_out: ResponseOutparam) {
    match store::get_all() {
        Ok(mut pairs) => {
            pairs.sort();
            let lines: String = pairs.iter().map(|(key, value)| format!("{key}={value}\n")).collect();
            answer(response_out, 200, &lines);
        }
        Err(error) => answer(response_out, 500, &text_of(&error)),
    }
}

fn text_of(error: &Error) -> String {
    match error {
        Error::Upstream(text) => format!("upstream: {text}\n"),
        Error::Io(text) => format!("io: {text}\n"),
    }
}

wasip2::http::proxy::export!(Config);
