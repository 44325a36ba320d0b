//! Messages that a guest makes: its response, and requests of its own.

use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use http::{Method, Response, StatusCode};
use shoal_runtime::{Body, Failure};
use wasmtime::component::ResourceTable;

use super::fields::{Fields, content_length};
use super::pipe::Pipe;

/// A body that has not been taken by the guest yet, or has.
#[derive(Clone, Debug)]
pub(crate) struct BodySlot {
    /// The pipe, made when the guest asks for the body.
    pub(crate) pipe: Option<Pipe>,
}

/// A response under construction.
#[derive(Clone, Debug)]
pub struct OutgoingResponse {
    pub(crate) status: StatusCode,
    pub(crate) headers: Fields,
    pub(crate) body: BodySlot,
}

/// A request under construction.
#[derive(Clone, Debug)]
pub struct OutgoingRequest {
    pub(crate) method: Method,
    pub(crate) scheme: Option<http::uri::Scheme>,
    pub(crate) authority: Option<http::uri::Authority>,
    pub(crate) path_with_query: Option<http::uri::PathAndQuery>,
    pub(crate) headers: Fields,
    pub(crate) body: BodySlot,
}

/// Times a guest asked for; none: the host's own.
#[derive(Clone, Copy, Debug, Default)]
pub struct RequestOptions {
    pub(crate) connect_timeout: Option<Duration>,
    pub(crate) first_byte_timeout: Option<Duration>,
    pub(crate) between_bytes_timeout: Option<Duration>,
}

/// The body of an outgoing message as the guest holds it.
#[derive(Debug)]
pub struct OutgoingBody {
    pub(crate) pipe: Pipe,
    pub(crate) stream_taken: bool,
    pub(crate) finished: bool,
}

impl Drop for OutgoingBody {
    /// A body that is dropped unfinished did not end: its reader must not believe that it did.
    fn drop(&mut self) {
        if !self.finished {
            let reason = "the guest dropped its body before it was finished";
            self.pipe.fail(Failure::new(shoal_runtime::FailureKind::NoAnswer, reason));
        }
    }
}

impl OutgoingBody {
    pub(crate) fn new(pipe: Pipe) -> Self {
        Self { pipe, stream_taken: false, finished: false }
    }
}

/// Fails every body that the guest has not finished: it ended, and this is why.
pub(crate) fn fail_bodies(table: &mut ResourceTable, failure: &Failure) {
    for body in table.iter_mut().filter_map(|entry| entry.downcast_mut::<OutgoingBody>()) {
        body.pipe.fail(failure.clone());
    }
}

impl BodySlot {
    pub(crate) const EMPTY: Self = Self { pipe: None };

    /// Makes the pipe, once.
    pub(crate) fn take(&mut self, headers: &Fields, limit_bytes: u64) -> Option<Pipe> {
        if self.pipe.is_some() {
            return None;
        }
        let pipe = Pipe::new(content_length(headers.map()), limit_bytes);
        self.pipe = Some(pipe.clone());
        Some(pipe)
    }

    /// Why the body, ended already, did not reach its end.
    pub(crate) fn failure(&self) -> Option<Failure> {
        self.pipe.as_ref().and_then(Pipe::failure)
    }

    /// The body for whoever reads it: without a pipe there are no bytes.
    pub(crate) fn into_body(self) -> Body {
        self.pipe.map_or_else(Body::empty, Pipe::into_body)
    }
}

/// Where a guest's answer appears, for the task that drives the guest.
#[derive(Debug)]
pub(crate) struct AnswerSlot<R>(Arc<Mutex<Answer<R>>>);

#[derive(Debug)]
struct Answer<R> {
    value: Option<Result<R, Failure>>,
    waker: Option<Waker>,
}

impl<R> Default for AnswerSlot<R> {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Answer { value: None, waker: None })))
    }
}

impl<R> Clone for AnswerSlot<R> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<R> AnswerSlot<R> {
    /// The guest has decided its answer.
    pub(crate) fn set(&self, answer: Result<R, Failure>) {
        let mut slot = self.lock();
        slot.value = Some(answer);
        if let Some(waker) = slot.waker.take() {
            waker.wake();
        }
    }

    /// Takes the answer, if there is one.
    pub(crate) fn take(&self) -> Option<Result<R, Failure>> {
        self.lock().value.take()
    }

    /// Ready when there is an answer to take.
    pub(crate) fn poll_set(&self, cx: &Context<'_>) -> Poll<()> {
        let mut slot = self.lock();
        if slot.value.is_some() {
            return Poll::Ready(());
        }
        slot.waker = Some(cx.waker().clone());
        Poll::Pending
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Answer<R>> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl OutgoingResponse {
    /// The response for the client, with its body as far as it is written.
    pub(crate) fn into_response(self) -> Response<Body> {
        let mut response = Response::new(self.body.into_body());
        *response.status_mut() = self.status;
        *response.headers_mut() = self.headers.into_map();
        response
    }
}
