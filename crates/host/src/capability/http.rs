//! `wasi:http` 0.2: typed, streaming, with no task or channel of its own on the path of a request.
//!
//! The interface is bound by hand rather than taken from `wasmtime-wasi-http`: a request costs half of what
//! it does there, because an answer that is finished when the guest returns never becomes a stream.

#![allow(unreachable_pub, reason = "the generated bindings re-export the resource types")]

mod client;
mod error;
mod fields;
mod incoming;
mod outgoing;
mod pipe;
mod types_host;

use std::sync::Arc;

use shoal_runtime::{Body, TraceContext};
use tokio::sync::Semaphore;
use wasmtime::component::{HasData, Linker, ResourceTable};

pub(crate) use self::bindings::{Proxy, ProxyIndices, types};
pub use self::client::FutureIncomingResponse;
pub(crate) use self::error::p3_error;
pub use self::fields::Fields;
pub(crate) use self::fields::remove_connection_fields;
pub use self::incoming::FutureTrailers;
use self::incoming::Incoming;
pub(crate) use self::outgoing::{AnswerSlot, fail_bodies};
pub use self::outgoing::{OutgoingBody, OutgoingRequest, OutgoingResponse, RequestOptions};
pub(crate) use self::pipe::Pipe;
use crate::outbound::Outbound;

mod bindings {
    #![allow(missing_docs, clippy::all, clippy::pedantic, reason = "generated")]
    mod generated {
        wasmtime::component::bindgen!({
            path: "wit",
            world: "shoal:host/http",
            imports: { default: trappable },
            exports: { default: async },
            require_store_data_send: true,
            with: {
                "wasi:io": wasmtime_wasi::p2::bindings::io,
                "wasi:clocks": wasmtime_wasi::p2::bindings::clocks,
                "wasi:random": wasmtime_wasi::p2::bindings::random,
                "wasi:cli": wasmtime_wasi::p2::bindings::cli,
                "wasi:http/types.fields": crate::capability::http::Fields,
                "wasi:http/types.incoming-request": crate::capability::http::IncomingRequest,
                "wasi:http/types.incoming-response": crate::capability::http::IncomingResponse,
                "wasi:http/types.incoming-body": crate::capability::http::IncomingBody,
                "wasi:http/types.future-trailers": crate::capability::http::FutureTrailers,
                "wasi:http/types.future-incoming-response": crate::capability::http::FutureIncomingResponse,
                "wasi:http/types.outgoing-request": crate::capability::http::OutgoingRequest,
                "wasi:http/types.outgoing-response": crate::capability::http::OutgoingResponse,
                "wasi:http/types.outgoing-body": crate::capability::http::OutgoingBody,
                "wasi:http/types.request-options": crate::capability::http::RequestOptions,
                "wasi:http/types.response-outparam": crate::capability::http::ResponseOutparam,
            },
            trappable_error_type: {
                "wasi:http/types.error-code" => crate::capability::http::TrappableCode,
                "wasi:http/types.header-error" => crate::capability::http::TrappableHeaderError,
            },
        });
    }
    pub(crate) use generated::wasi::http::{outgoing_handler, types};
    pub(crate) use generated::{Http as Proxy, HttpIndices as ProxyIndices};
}

/// An `error-code`, or a trap.
pub type TrappableCode = wasmtime_wasi::TrappableError<types::ErrorCode>;
/// A `header-error`, or a trap.
pub type TrappableHeaderError = wasmtime_wasi::TrappableError<types::HeaderError>;

/// A request that came in.
#[derive(Debug)]
pub struct IncomingRequest {
    pub(crate) method: http::Method,
    pub(crate) scheme: http::uri::Scheme,
    pub(crate) uri: http::Uri,
    /// Its `host` field, which names the authority where the URI does not.
    pub(crate) host: Option<http::HeaderValue>,
    pub(crate) headers: Fields,
    pub(crate) body: Option<Body>,
}

/// A response to a request that the guest made.
#[derive(Debug)]
pub struct IncomingResponse {
    pub(crate) status: u16,
    pub(crate) headers: Fields,
    pub(crate) body: Option<Body>,
}

/// A body being read.
pub struct IncomingBody {
    incoming: Incoming,
    stream_taken: bool,
}

/// Where the guest puts its answer.
#[derive(Debug)]
pub struct ResponseOutparam(pub(crate) AnswerSlot<OutgoingResponse>);

/// The host's side of `wasi:http` in one store.
pub(crate) struct HttpView<'a> {
    pub(crate) table: &'a mut ResourceTable,
    pub(crate) context: &'a HttpContext,
    /// Room for requests in flight, made with the first one.
    pub(crate) in_flight: &'a mut Option<Arc<Semaphore>>,
    /// The trace that the request is part of.
    pub(crate) trace: Option<TraceContext>,
    /// How many workloads the request came through.
    pub(crate) hops: u8,
}

/// What `wasi:http` needs to know of the workload. One for all its stores.
pub(crate) struct HttpContext {
    /// Largest header list, in bytes.
    pub(crate) header_list_bytes: usize,
    /// Largest body that the guest may write, in bytes.
    pub(crate) body_bytes: u64,
    /// Where the guest's own requests go out.
    pub(crate) outbound: Arc<Outbound>,
    /// Requests that one instance may have in flight.
    pub(crate) outbound_in_flight: u32,
}

/// How the linker finds [`HttpView`] in a store.
pub(crate) trait HasHttp: Send {
    /// The view.
    fn http_p2(&mut self) -> HttpView<'_>;
}

struct Http;

impl HasData for Http {
    type Data<'a> = HttpView<'a>;
}

/// Links `wasi:http/types` 0.2: what answering requests takes.
pub(crate) fn add_to_linker<T: HasHttp + 'static>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
    let options = types::LinkOptions::default();
    types::add_to_linker::<T, Http>(linker, &options, T::http_p2)
}

/// Links `wasi:http/outgoing-handler` 0.2: requests of the guest's own.
pub(crate) fn add_outgoing_to_linker<T: HasHttp + 'static>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
    bindings::outgoing_handler::add_to_linker::<T, Http>(linker, T::http_p2)
}
