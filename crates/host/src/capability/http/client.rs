//! `wasi:http/outgoing-handler`: a guest's own requests, through the rules of its workload.

use std::sync::Arc;

use http::Request;
use shoal_runtime::Body;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use wasmtime::Result;
use wasmtime::component::Resource;
use wasmtime_wasi_io::poll::Pollable;

use super::bindings::outgoing_handler;
use super::error::error_code;
use super::fields::Fields;
use super::outgoing::{OutgoingRequest, RequestOptions};
use super::types::ErrorCode;
use super::{HttpView, IncomingResponse, TrappableCode};
use crate::outbound::SendOptions;

type Sent = Result<IncomingResponse, ErrorCode>;

/// A response that has not come yet. Dropping it gives the request up.
pub struct FutureIncomingResponse {
    state: State,
}

enum State {
    Pending(JoinHandle<Sent>),
    Ready(Sent),
    Taken,
}

/// What [`FutureIncomingResponse::take`] found.
pub(crate) enum FutureState {
    Pending,
    Ready(Sent),
    Taken,
}

impl FutureIncomingResponse {
    /// Takes the response, once.
    pub(crate) fn take(&mut self) -> FutureState {
        match std::mem::replace(&mut self.state, State::Taken) {
            State::Pending(task) => {
                self.state = State::Pending(task);
                FutureState::Pending
            }
            State::Ready(sent) => FutureState::Ready(sent),
            State::Taken => FutureState::Taken,
        }
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for FutureIncomingResponse {
    async fn ready(&mut self) {
        if let State::Pending(task) = &mut self.state {
            let sent = task.await.unwrap_or_else(|_| Err(ErrorCode::ConnectionTerminated));
            self.state = State::Ready(sent);
        }
    }
}

impl Drop for FutureIncomingResponse {
    fn drop(&mut self) {
        if let State::Pending(task) = &self.state {
            task.abort();
        }
    }
}

impl outgoing_handler::Host for HttpView<'_> {
    fn handle(
        &mut self,
        request: Resource<OutgoingRequest>,
        options: Option<Resource<RequestOptions>>,
    ) -> Result<Resource<FutureIncomingResponse>, TrappableCode> {
        let request = self.table.delete(request).map_err(TrappableCode::trap)?;
        let options = match options {
            Some(options) => self.table.delete(options).map_err(TrappableCode::trap)?,
            None => RequestOptions::default(),
        };
        let request = into_request(request)?;
        let room = self
            .in_flight
            .get_or_insert_with(|| Arc::new(Semaphore::new(self.context.outbound_in_flight as usize)));
        let permit = Arc::clone(room).try_acquire_owned().map_err(|_| ErrorCode::ConnectionLimitReached)?;
        let outbound = Arc::clone(&self.context.outbound);
        let options = SendOptions {
            connect_timeout: options.connect_timeout,
            first_byte_timeout: options.first_byte_timeout,
            between_bytes_timeout: options.between_bytes_timeout,
            trace: self.trace,
            hops: self.hops,
        };
        let task = tokio::spawn(async move {
            let response = outbound.send(request, options).await.map_err(error_code)?;
            let (parts, body) = response.into_parts();
            Ok(IncomingResponse {
                status: parts.status.as_u16(),
                headers: Fields::received(parts.headers),
                body: Some(body.holding(permit)),
            })
        });
        let future = FutureIncomingResponse { state: State::Pending(task) };
        self.table.push(future).map_err(TrappableCode::trap)
    }
}

fn into_request(request: OutgoingRequest) -> Result<Request<Body>, ErrorCode> {
    let uri = http::Uri::builder()
        .scheme(request.scheme.unwrap_or(http::uri::Scheme::HTTPS))
        .authority(request.authority.ok_or(ErrorCode::HttpRequestUriInvalid)?)
        .path_and_query(request.path_with_query.unwrap_or_else(|| http::uri::PathAndQuery::from_static("/")))
        .build()
        .map_err(|_| ErrorCode::HttpRequestUriInvalid)?;
    let mut message = Request::new(request.body.into_body());
    *message.method_mut() = request.method;
    *message.uri_mut() = uri;
    *message.headers_mut() = request.headers.into_map();
    Ok(message)
}

#[cfg(test)]
mod tests {
    use wasmtime::component::ResourceTable;

    use super::outgoing_handler::Host as _;
    use super::*;
    use crate::capability::http::HttpContext;
    use crate::capability::http::outgoing::BodySlot;
    use crate::outbound;

    #[tokio::test]
    async fn as_many_requests_are_in_flight_as_the_limit() {
        let (silent, outbound) = outbound::to_silence();
        let address = silent.local_addr().expect("an address");
        let context = HttpContext {
            header_list_bytes: 1 << 10,
            body_bytes: 0,
            outbound: Arc::new(outbound),
            outbound_in_flight: 2,
        };
        let mut table = ResourceTable::new();
        let mut in_flight = None;
        let mut send = |table: &mut ResourceTable| {
            let request = OutgoingRequest {
                method: http::Method::GET,
                scheme: Some(http::uri::Scheme::HTTP),
                authority: Some(address.to_string().parse().expect("an authority")),
                path_with_query: None,
                headers: Fields::received(http::HeaderMap::new()),
                body: BodySlot::EMPTY,
            };
            let request = table.push(request).expect("room");
            let mut view =
                HttpView { table, context: &context, in_flight: &mut in_flight, trace: None, hops: 0 };
            view.handle(request, None).map_err(|error| error.downcast().expect("no trap"))
        };
        let first = send(&mut table).expect("the first");
        let _second = send(&mut table).expect("the second");
        assert!(
            matches!(send(&mut table), Err(ErrorCode::ConnectionLimitReached)),
            "the third is one too many"
        );
        // A request that is given up makes room, as soon as its task has seen it.
        drop(table.delete(first).expect("it is there"));
        tokio::task::yield_now().await;
        send(&mut table).expect("there is room again");
    }
}
