//! `wasi:http` 0.3: wasmtime's own host, with its requests sent through the rules of the workload.

use std::sync::Arc;

use http_body_util::BodyExt;
use shoal_runtime::{Body, BodyError, TraceContext};
use tokio::sync::Semaphore;
use wasmtime::component::{Linker, ResourceTable};
use wasmtime_wasi_http::p3::bindings::http::{client, types};
use wasmtime_wasi_http::{
    Error, RequestOptions, Result, WasiBody, WasiHttp, WasiHttpCtx, WasiHttpCtxView, WasiHttpHooks,
    WasiHttpView,
};

use super::http::HttpContext;
use crate::outbound::{Outbound, SendOptions};

/// The 0.3 side of `wasi:http` in one store.
pub(crate) struct HttpP3 {
    ctx: WasiHttpCtx,
    hooks: Hooks,
}

struct Hooks {
    outbound: Arc<Outbound>,
    in_flight_max: usize,
    in_flight: Option<Arc<Semaphore>>,
    trace: Option<TraceContext>,
    hops: u8,
}

/// Links `wasi:http/types` 0.3: what answering requests takes.
pub(crate) fn add_to_linker<T: WasiHttpView + 'static>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
    types::add_to_linker::<_, WasiHttp>(linker, T::http)
}

/// Links `wasi:http/client` 0.3: requests of the guest's own.
pub(crate) fn add_client_to_linker<T: WasiHttpView + 'static>(
    linker: &mut Linker<T>,
) -> wasmtime::Result<()> {
    client::add_to_linker::<_, WasiHttp>(linker, T::http)
}

type SendResult = Result<(http::Response<WasiBody>, Box<dyn Future<Output = Result<()>> + Send>)>;

impl HttpP3 {
    /// The side of a fresh store.
    pub(crate) fn new(context: &HttpContext) -> Self {
        let mut ctx = WasiHttpCtx::new();
        ctx.set_field_size_limit(context.header_list_bytes);
        let hooks = Hooks {
            outbound: Arc::clone(&context.outbound),
            in_flight_max: context.outbound_in_flight as usize,
            in_flight: None,
            trace: None,
            hops: 0,
        };
        Self { ctx, hooks }
    }

    /// What wasmtime's host works on, for a request that is part of this trace and came through so many workloads.
    pub(crate) fn view<'a>(
        &'a mut self,
        table: &'a mut ResourceTable,
        trace: Option<TraceContext>,
        hops: u8,
    ) -> WasiHttpCtxView<'a> {
        self.hooks.trace = trace;
        self.hooks.hops = hops;
        WasiHttpCtxView { hooks: &mut self.hooks, table, ctx: &mut self.ctx }
    }
}

impl WasiHttpHooks for Hooks {
    fn send_request(
        &mut self,
        request: http::Request<WasiBody>,
        options: Option<RequestOptions>,
        sent: Box<dyn Future<Output = Result<()>> + Send>,
    ) -> Box<dyn Future<Output = SendResult> + Send> {
        // Tells the guest how its request body fared; nobody here needs to wait for that.
        drop(sent);
        let room = self.in_flight.get_or_insert_with(|| Arc::new(Semaphore::new(self.in_flight_max)));
        let permit = Arc::clone(room).try_acquire_owned();
        let outbound = Arc::clone(&self.outbound);
        let (trace, hops) = (self.trace, self.hops);
        Box::new(async move {
            let permit = permit.map_err(|_| Error::ConnectionLimitReached)?;
            let options = options.unwrap_or_default();
            let options = SendOptions {
                connect_timeout: options.connect_timeout,
                first_byte_timeout: options.first_byte_timeout,
                between_bytes_timeout: options.between_bytes_timeout,
                trace,
                hops,
            };
            let request = request.map(|body| Body::stream(body.map_err(|error| to_body_error(&error))));
            let response = outbound.send(request, options).await.map_err(super::http::p3_error)?;
            let response = response.map(|body| body.holding(permit).map_err(from_body_error).boxed_unsync());
            let done: Box<dyn Future<Output = Result<()>> + Send> = Box::new(std::future::ready(Ok(())));
            Ok((response, done))
        })
    }
}

fn to_body_error(error: &Error) -> BodyError {
    BodyError::Disconnected(format!("{error:?}"))
}

/// What a body that broke off is for a 0.3 guest.
pub(crate) fn from_body_error(error: BodyError) -> Error {
    match error {
        BodyError::TooLarge { limit_bytes } => Error::HttpRequestBodySize(Some(limit_bytes)),
        BodyError::Disconnected(_) => Error::ConnectionTerminated,
        BodyError::Stalled => Error::ConnectionReadTimeout,
        BodyError::Failed(failure) => Error::InternalError(Some(failure.reason)),
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::Empty;

    use super::*;
    use crate::outbound;

    #[tokio::test]
    async fn as_many_requests_are_in_flight_as_the_limit() {
        let (silent, outbound) = outbound::to_silence();
        let address = silent.local_addr().expect("an address");
        let mut hooks =
            Hooks { outbound: Arc::new(outbound), in_flight_max: 2, in_flight: None, trace: None, hops: 0 };
        let mut send = || {
            let body = Empty::new().map_err(|never| match never {}).boxed_unsync();
            let request = http::Request::get(format!("http://{address}/")).body(body).expect("a request");
            Box::into_pin(hooks.send_request(request, None, Box::new(std::future::ready(Ok(())))))
        };
        let (mut first, mut second) = (send(), send());
        assert!(futures_util::poll!(first.as_mut()).is_pending());
        assert!(futures_util::poll!(second.as_mut()).is_pending());
        assert!(matches!(send().await, Err(Error::ConnectionLimitReached)), "the third is one too many");
        drop(first);
        assert!(futures_util::poll!(send()).is_pending(), "there is room again");
    }
}
