//! Answering HTTP requests with WASI 0.2 components.

use std::future::poll_fn;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::Instant;

use futures_util::future::BoxFuture;
use http::Request;
use shoal_base::drain::Drain;
use shoal_runtime::{Account, Answer, Body, Call, Failure, FailureKind, Invoke, Reuse};
use tokio::task::AbortHandle;
use wasmtime::{Engine, Store};

use crate::capability::http::{
    AnswerSlot, Fields, IncomingRequest, OutgoingResponse, Pipe, Proxy, ProxyPre, ResponseOutparam,
};
use crate::failure::{classify, log};
use crate::guest::{self, Guest, Outcome};
use crate::state::{Context, State};
use crate::ticker::Ticker;
use crate::turn::Turn;

/// A loaded 0.2 component that answers requests, each in an instance of its own unless reuse is granted.
pub(crate) struct Service(Arc<Shared>);

struct Shared {
    engine: Engine,
    proxy: ProxyPre<State>,
    context: Arc<Context>,
    ticker: Arc<Ticker>,
    drain: Drain,
    reuse: Reuse,
    idle: Mutex<Vec<Instance>>,
}

/// An instance that may answer another request.
struct Instance {
    store: Store<State>,
    proxy: Proxy,
    answered: u32,
}

impl Service {
    /// A service of instances of `proxy`.
    pub(crate) fn new(
        engine: Engine,
        proxy: ProxyPre<State>,
        context: Arc<Context>,
        ticker: Arc<Ticker>,
        drain: Drain,
        reuse: Reuse,
    ) -> Self {
        Self(Arc::new(Shared { engine, proxy, context, ticker, drain, reuse, idle: Mutex::default() }))
    }
}

impl Invoke for Service {
    fn invoke(&self, request: Request<Body>, call: Call) -> BoxFuture<'static, Answer> {
        Box::pin(answer(Arc::clone(&self.0), request, call))
    }
}

async fn answer(shared: Arc<Shared>, request: Request<Body>, call: Call) -> Answer {
    let began = Instant::now();
    call.account.set_queue(began - call.received);
    let deadline = shared.context.limits.timeout.map(|timeout| began + timeout);
    let slot = AnswerSlot::default();
    let id = call.id;
    let mut guest = start(&shared, request, &call, &slot, deadline);
    let outcome = poll_fn(|cx| match guest.poll(cx) {
        Poll::Ready(outcome) => Poll::Ready(Some(outcome)),
        // A guest that has answered and still runs: its answer need not wait for its end.
        Poll::Pending => slot.poll_set(cx).map(|()| None),
    });
    let answer = match outcome.await {
        Some(outcome) => whole(outcome, &slot),
        None => under_way(&shared, id, guest, &slot),
    };
    if let Err(failure) = &answer {
        log(&shared.context.name, id, failure);
    }
    answer
}

/// The guest ended before its answer was sent: what it left is the whole answer.
fn whole(outcome: Outcome, slot: &AnswerSlot<OutgoingResponse>) -> Answer {
    outcome?;
    let no_answer = || Failure::new(FailureKind::NoAnswer, "the guest ended without an answer");
    let response = slot.take().ok_or_else(no_answer)??;
    match response.body.failure() {
        Some(failure) => Err(failure),
        None => Ok(response.into_response()),
    }
}

/// The guest has answered and still runs: the head goes out, the rest follows.
fn under_way(shared: &Arc<Shared>, id: u64, guest: Guest, slot: &AnswerSlot<OutgoingResponse>) -> Answer {
    let answer = slot.take();
    let pipe = match &answer {
        Some(Ok(response)) => response.body.pipe.clone(),
        Some(Err(_)) | None => None,
    };
    let failing = pipe.clone();
    let workload = Arc::clone(shared);
    let guard = shared.drain.guard();
    let rest = tokio::spawn(async move {
        match (guest.finish().await, failing) {
            (Err(failure), failing) => {
                log(&workload.context.name, id, &failure);
                if let Some(pipe) = failing {
                    pipe.fail(failure);
                }
            }
            // The guest ended well, and its body did not.
            (Ok(()), Some(pipe)) => {
                pipe.failure().into_iter().for_each(|failure| log(&workload.context.name, id, &failure));
            }
            (Ok(()), None) => {}
        }
        drop(guard);
    });
    let no_answer = || Failure::new(FailureKind::NoAnswer, "the guest took its answer back");
    let response = answer.ok_or_else(no_answer)??.into_response();
    // A client that goes away before the end of the body stops the guest; one that has it all does not.
    let stop = pipe.filter(|pipe| !pipe.is_finished()).map(|pipe| StopUnfinished {
        pipe,
        rest: rest.abort_handle(),
        workload: Arc::clone(shared),
        id,
    });
    Ok(match stop {
        Some(stop) => response.map(|body| body.holding(stop)),
        None => response,
    })
}

/// Held by the body of a response whose guest still runs.
struct StopUnfinished {
    pipe: Pipe,
    rest: AbortHandle,
    workload: Arc<Shared>,
    id: u64,
}

impl Drop for StopUnfinished {
    fn drop(&mut self) {
        if self.pipe.is_finished() || self.rest.is_finished() {
            return;
        }
        self.rest.abort();
        // Nobody else is left to say why the body broke off.
        if let Some(failure) = self.pipe.failure() {
            log(&self.workload.context.name, self.id, &failure);
        }
    }
}

/// Makes the guest of one request; nothing has run yet.
fn start(
    shared: &Arc<Shared>,
    request: Request<Body>,
    call: &Call,
    slot: &AnswerSlot<OutgoingResponse>,
    deadline: Option<Instant>,
) -> Guest {
    let turn = Turn::default();
    let job = Job {
        shared: Arc::clone(shared),
        request: incoming(request, call),
        slot: slot.clone(),
        account: Arc::clone(&call.account),
        turn: turn.clone(),
        deadline,
    };
    let context = Arc::clone(&shared.context);
    Guest::new(
        Box::pin(job.run()),
        context,
        Arc::clone(&call.account),
        Arc::clone(&shared.ticker),
        turn,
        deadline,
    )
}

/// Everything that one request's guest needs.
struct Job {
    shared: Arc<Shared>,
    request: IncomingRequest,
    slot: AnswerSlot<OutgoingResponse>,
    account: Arc<Account>,
    turn: Turn,
    deadline: Option<Instant>,
}

impl Job {
    async fn run(self) -> Outcome {
        let shared = self.shared;
        let mut store = match shared.idle() {
            Some(mut instance) => {
                instance.store.data_mut().begin(self.account, self.turn);
                guest::limit(&mut instance.store, self.deadline);
                instance
            }
            None => {
                let began = Instant::now();
                let state = State::new(Arc::clone(&shared.context), Arc::clone(&self.account), self.turn);
                let mut store = guest::store(&shared.engine, state, self.deadline);
                let proxy = match shared.proxy.instantiate_async(&mut store).await {
                    Ok(proxy) => proxy,
                    Err(error) => return Err(shared.failure(&error, &store)),
                };
                self.account.set_instantiate(began.elapsed());
                Instance { store, proxy, answered: 0 }
            }
        };
        let Instance { store: inner, proxy, .. } = &mut store;
        if let Err(error) = call(inner, proxy, self.request, self.slot).await {
            return Err(shared.failure(&error, inner));
        }
        shared.keep(store);
        Ok(())
    }
}

async fn call(
    store: &mut Store<State>,
    proxy: &Proxy,
    request: IncomingRequest,
    slot: AnswerSlot<OutgoingResponse>,
) -> wasmtime::Result<()> {
    let table = &mut store.data_mut().table;
    let request = table.push(request)?;
    let outparam = table.push(ResponseOutparam(slot))?;
    proxy.wasi_http_incoming_handler().call_handle(store, request, outparam).await
}

impl Shared {
    fn failure(&self, error: &wasmtime::Error, store: &Store<State>) -> Failure {
        classify(error, store.data().limiter.refusal(), &self.context.limits)
    }

    /// An instance that may answer another request; none where each request has its own.
    fn idle(&self) -> Option<Instance> {
        if self.reuse == Reuse::default() {
            return None;
        }
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }

    /// Keeps an instance that ended well, if reuse is granted and not used up.
    fn keep(&self, mut instance: Instance) {
        instance.answered += 1;
        if instance.answered < self.reuse.0.get() {
            self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(instance);
        }
    }
}

fn incoming(request: Request<Body>, call: &Call) -> IncomingRequest {
    let (parts, body) = request.into_parts();
    let authority = match parts.uri.authority() {
        Some(authority) => Some(authority.as_str().to_owned()),
        None => parts.headers.get(http::header::HOST).and_then(|host| host.to_str().ok()).map(str::to_owned),
    };
    IncomingRequest {
        method: parts.method,
        scheme: call.scheme.clone(),
        authority,
        path_with_query: parts.uri.path_and_query().map(|path| path.as_str().to_owned()),
        headers: Fields::received(parts.headers),
        body: Some(body),
    }
}
