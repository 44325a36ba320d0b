//! Ends its process instead of answering (`wasi:cli/exit`): `/ok` with success, any other path with failure.

use wasip2::cli::exit::exit;
use wasip2::exports::http::incoming_handler::Guest;
use wasip2::http::types::{IncomingRequest, ResponseOutparam};

struct HostileExit;

impl Guest for HostileExit {
    fn handle(request: IncomingRequest, _response_out: ResponseOutparam) {
        let ok = request.path_with_query().as_deref() == Some("/ok");
        exit(if ok { Ok(()) } else { Err(()) });
    }
}

wasip2::http::proxy::export!(HostileExit);
