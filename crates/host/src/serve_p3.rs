//! Answering HTTP requests with WASI 0.3 components: asynchronous functions, streams, futures.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context as TaskContext, Poll};
use std::time::Instant;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::uri::Scheme;
use http::{Request, Response};
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::BodyExt;
use shoal_base::drain::Drain;
use shoal_runtime::{Account, Answer, Body, BodyError, Call, Failure, FailureKind, Invoke};
use tokio::sync::oneshot;
use tokio::task::AbortHandle;
use wasmtime::{Engine, Store};
use wasmtime_wasi_http::p3::bindings::ServicePre;
use wasmtime_wasi_http::{WasiBody, WasiHttpView, p3};

use crate::capability::http::{AnswerSlot, remove_connection_fields};
use crate::capability::http_p3::from_body_error;
use crate::failure::{classify, classify_not_made, log};
use crate::guest::{self, Guest, Outcome};
use crate::serve::{given_back, not_admitted};
use crate::state::{Context, State};
use crate::ticker::Ticker;
use crate::turn::Turn;

/// A loaded 0.3 component that answers requests, each in an instance of its own.
pub(crate) struct ServiceP3(Arc<Shared>);

struct Shared {
    engine: Engine,
    service: ServicePre<State>,
    context: Arc<Context>,
    ticker: Arc<Ticker>,
    drain: Drain,
}

impl ServiceP3 {
    /// A service of instances of `service`.
    pub(crate) fn new(
        engine: Engine,
        service: ServicePre<State>,
        context: Arc<Context>,
        ticker: Arc<Ticker>,
        drain: Drain,
    ) -> Self {
        Self(Arc::new(Shared { engine, service, context, ticker, drain }))
    }
}

impl Invoke for ServiceP3 {
    fn invoke(&self, request: Request<Body>, call: Call) -> BoxFuture<'static, Answer> {
        Box::pin(answer(Arc::clone(&self.0), request, call))
    }
}

impl Shared {
    /// A new instance.
    async fn make(
        &self,
        account: Arc<Account>,
        turn: Turn,
        deadline: Option<Instant>,
    ) -> Result<(Store<State>, p3::bindings::Service), Failure> {
        let state = State::new(Arc::clone(&self.context), account, turn)?;
        let mut store = guest::store(&self.engine, state, deadline);
        match self.service.instantiate_async(&mut store).await {
            Ok(service) => Ok((store, service)),
            Err(error) => {
                Err(classify_not_made(&error, store.data().limiter.refusal(), &self.context.limits))
            }
        }
    }

    fn failure(&self, error: &wasmtime::Error, store: &Store<State>) -> Failure {
        classify(error, store.data().limiter.refusal(), &self.context.limits)
    }
}

/// What the guest task hands over: the response, and the end of its body to be told about.
struct Head {
    response: Response<WasiBody>,
    read: oneshot::Sender<()>,
}

async fn answer(shared: Arc<Shared>, request: Request<Body>, call: Call) -> Answer {
    let began = Instant::now();
    call.account.set_queue(began - call.received);
    if let Some(failure) = not_admitted(&shared.context, began, call.id) {
        return Err(given_back(failure, request, call));
    }
    let deadline = shared.context.limits.timeout.map(|timeout| began + timeout);
    let slot = AnswerSlot::default();
    let (turn, id, account) = (Turn::default(), call.id, Arc::clone(&call.account));
    let job =
        Job { shared: Arc::clone(&shared), request, call, slot: slot.clone(), turn: turn.clone(), deadline };
    let context = Arc::clone(&shared.context);
    let ticker = Arc::clone(&shared.ticker);
    let mut guest = Guest::new(Box::pin(job.run()), context, account, ticker, turn, deadline);
    let outcome = poll_fn(|cx| match guest.poll(cx) {
        Poll::Ready(outcome) => Poll::Ready(Some(outcome)),
        Poll::Pending => slot.poll_set(cx).map(|()| None),
    });
    let answer = match outcome.await {
        // The body of an answer needs its guest: one that has ended leaves no answer to read.
        Some(outcome) => Err(ended(outcome, &slot)),
        None => under_way(&shared, id, guest, &slot),
    };
    if let Err(failure) = &answer {
        log(&shared.context, id, failure);
    }
    answer
}

fn ended(outcome: Outcome, slot: &AnswerSlot<Head>) -> Failure {
    match (outcome, slot.take()) {
        (Err(failure), _) | (Ok(()), Some(Err(failure))) => failure,
        (Ok(()), Some(Ok(_)) | None) => {
            Failure::new(FailureKind::NoAnswer, "the guest ended without an answer")
        }
    }
}

/// The guest has answered: the head goes out, and the guest goes on writing the body.
fn under_way(shared: &Arc<Shared>, id: u64, mut guest: Guest, slot: &AnswerSlot<Head>) -> Answer {
    let no_answer = || Failure::new(FailureKind::NoAnswer, "the guest took its answer back");
    let head = slot.take().ok_or_else(no_answer)??;
    let failed: Arc<Mutex<Option<Failure>>> = Arc::default();
    let guard = shared.drain.guard();
    let (workload, tell) = (Arc::clone(shared), Arc::clone(&failed));
    let rest = tokio::spawn(async move {
        if let Err(failure) = guest.finish().await {
            log(&workload.context, id, &failure);
            *tell.lock().unwrap_or_else(PoisonError::into_inner) = Some(failure);
        }
        drop(guest);
        drop(guard);
    });
    let limit_bytes = shared.context.limits.response_body.0;
    Ok(head.response.map(|body| {
        Body::stream(GuestBody {
            body,
            failed,
            limit_bytes,
            read_bytes: 0,
            read: Some(head.read),
            rest: rest.abort_handle(),
            workload: Arc::clone(shared),
            id,
        })
    }))
}

/// The body of a response, fed by a guest that still runs.
struct GuestBody {
    body: WasiBody,
    failed: Arc<Mutex<Option<Failure>>>,
    limit_bytes: u64,
    read_bytes: u64,
    /// Told when the body has been read to its end, so that the guest may go on without it.
    read: Option<oneshot::Sender<()>>,
    rest: AbortHandle,
    workload: Arc<Shared>,
    id: u64,
}

impl GuestBody {
    /// Why the body ends here: as the guest failed, which is logged already, or else for this reason.
    fn break_off(&self, kind: FailureKind, reason: String) -> BodyError {
        if let Some(failure) = self.failed.lock().unwrap_or_else(PoisonError::into_inner).take() {
            return failure.into();
        }
        let failure = Failure::new(kind, reason);
        log(&self.workload.context, self.id, &failure);
        failure.into()
    }

    fn check(&mut self, frame: Option<&Frame<Bytes>>) -> Result<(), BodyError> {
        if let Some(failure) = self.failed.lock().unwrap_or_else(PoisonError::into_inner).take() {
            return Err(failure.into());
        }
        match frame {
            None => {
                self.read.take().map(|read| read.send(()));
            }
            Some(frame) => {
                self.read_bytes += frame.data_ref().map_or(0, |data| data.len() as u64);
                if self.read_bytes > self.limit_bytes {
                    let reason =
                        format!("the body is larger than {} bytes (--response-body)", self.limit_bytes);
                    return Err(self.break_off(FailureKind::ResponseTooLarge, reason));
                }
            }
        }
        Ok(())
    }
}

impl HttpBody for GuestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut TaskContext<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let frame = match std::task::ready!(Pin::new(&mut self.body).poll_frame(cx)) {
            Some(Err(error)) => {
                let reason = format!("the guest's body broke off: {error:?}");
                return Poll::Ready(Some(Err(self.break_off(FailureKind::NoAnswer, reason))));
            }
            Some(Ok(frame)) => Some(frame),
            None => None,
        };
        match self.check(frame.as_ref()) {
            Ok(()) => Poll::Ready(frame.map(Ok)),
            Err(error) => Poll::Ready(Some(Err(error))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for GuestBody {
    /// A client that goes away before the end of the body stops the guest.
    fn drop(&mut self) {
        if self.read.is_some() && !self.body.is_end_stream() {
            self.rest.abort();
        }
    }
}

/// Everything that one request's guest needs.
struct Job {
    shared: Arc<Shared>,
    request: Request<Body>,
    call: Call,
    slot: AnswerSlot<Head>,
    turn: Turn,
    deadline: Option<Instant>,
}

impl Job {
    async fn run(self) -> Outcome {
        let Self { shared, request, call, slot, turn, deadline } = self;
        let began = Instant::now();
        let (mut store, service) = match shared.make(Arc::clone(&call.account), turn, deadline).await {
            Ok(made) => made,
            Err(failure) => return Err(given_back(failure, request, call)),
        };
        call.account.add_instantiate(began.elapsed());
        let ran = async {
            let request = incoming(request, call.scheme);
            let (request, sent) = p3::Request::from_http(store.data_mut().http().hooks, request);
            // Tells how the request body fared; the guest learns that from the body itself.
            drop(sent);
            let served = async |accessor: &wasmtime::component::Accessor<State>| {
                let response = match service.handle(accessor, request).await? {
                    Ok(response) => response,
                    Err(code) => {
                        let reason = format!("the guest answered with the error {code:?}");
                        slot.set(Err(Failure::new(FailureKind::GuestError, reason)));
                        return wasmtime::error::Ok(());
                    }
                };
                let response = accessor.with(|store| response.into_http(store, async { Ok(()) }))?;
                let (read, done) = oneshot::channel();
                slot.set(Ok(Head { response, read }));
                // The guest writes its body for as long as somebody reads it.
                let _ = done.await;
                Ok(())
            };
            store.run_concurrent(served).await?
        };
        let ran: wasmtime::Result<()> = ran.await;
        ran.map_err(|error| shared.failure(&error, &store))
    }
}

fn incoming(request: Request<Body>, scheme: Scheme) -> Request<WasiBody> {
    let (mut parts, body) = request.into_parts();
    let host = parts.headers.get(http::header::HOST).and_then(|host| host.to_str().ok());
    if let (None, Some(authority)) = (parts.uri.authority(), host.and_then(|host| host.parse().ok())) {
        let mut uri = std::mem::take(&mut parts.uri).into_parts();
        uri.authority = Some(authority);
        uri.scheme = Some(scheme);
        uri.path_and_query.get_or_insert_with(|| http::uri::PathAndQuery::from_static("/"));
        parts.uri = http::Uri::from_parts(uri).unwrap_or_default();
    }
    remove_connection_fields(&mut parts.headers);
    Request::from_parts(parts, body.map_err(from_body_error).boxed_unsync())
}
