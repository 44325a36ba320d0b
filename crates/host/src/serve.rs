//! Answering HTTP requests with WASI 0.2 components.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::task::Poll;
use std::time::Instant;

use futures_util::future::BoxFuture;
use http::Request;
use http::uri::Scheme;
use shoal_base::drain::Drain;
use shoal_runtime::{Account, Answer, Body, Call, Failure, FailureKind, Instances, Invoke};
use tokio::task::AbortHandle;
use wasmtime::component::InstancePre;
use wasmtime::{Engine, PoolConcurrencyLimitError, Store};

use crate::capability::http::{
    AnswerSlot, Fields, IncomingRequest, OutgoingResponse, Pipe, Proxy, ProxyIndices, ResponseOutparam,
    fail_bodies,
};
use crate::failure::{classify, classify_not_made, log};
use crate::guest::{self, Guest, Outcome};
use crate::rewind::{Mark, Rewinder};
use crate::shelf::Shelf;
use crate::state::{Context, State};
use crate::ticker::Ticker;
use crate::turn::Turn;

/// Requests that one instance answers before a new one takes its place, however well it was rewound: what
/// the engine itself might gather in a store is bounded.
const REWINDS_MAX: u32 = 10_000;

/// Instances that could not be rewound, one after another, until it is only tried now and then.
const MISSES_MAX: u32 = 8;

/// How often it is tried then: for one in this many.
const MISSES_BETWEEN_TRIES: u32 = 64;

/// A loaded 0.2 component that answers requests.
pub(crate) struct Service(Arc<Shared>);

/// What a service is made of.
pub(crate) struct Shared {
    pub(crate) engine: Engine,
    pub(crate) component: InstancePre<State>,
    pub(crate) proxy: ProxyIndices,
    pub(crate) context: Arc<Context>,
    pub(crate) ticker: Arc<Ticker>,
    pub(crate) drain: Drain,
    pub(crate) shelf: Arc<Shelf<Instance>>,
    pub(crate) source: Source,
}

/// Where the instance of a request comes from.
pub(crate) enum Source {
    /// It is new.
    New,
    /// It answered others and keeps what they left behind, up to so many requests.
    Reused(u32),
    /// It answered others and was brought back to its first state.
    Rewound { rewinder: Box<Rewinder>, misses: AtomicU32 },
}

/// An instance that may answer another request.
pub(crate) struct Instance {
    store: Store<State>,
    proxy: Proxy,
    answered: u32,
    mark: Option<Mark>,
}

impl Source {
    /// As asked for, with `rewinder` where the component has one.
    pub(crate) fn new(instances: Instances, rewinder: Option<Rewinder>) -> Self {
        match (instances, rewinder) {
            (Instances::Reused(requests), _) => Self::Reused(requests.get()),
            (Instances::Rewound, Some(rewinder)) => {
                Self::Rewound { rewinder: Box::new(rewinder), misses: AtomicU32::new(0) }
            }
            (Instances::New, _) | (Instances::Rewound, None) => Self::New,
        }
    }
}

impl Service {
    /// A service of these parts.
    pub(crate) fn new(shared: Shared) -> Self {
        Self(Arc::new(shared))
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
    if let Some(failure) = not_admitted(&shared.context, began, call.id) {
        return Err(given_back(failure, request, call));
    }
    let deadline = shared.context.limits.timeout.map(|timeout| began + timeout);
    let slot = AnswerSlot::default();
    let id = call.id;
    let mut guest = start(&shared, request, call, &slot, deadline);
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
        log(&shared.context, id, failure);
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
fn under_way(shared: &Arc<Shared>, id: u64, mut guest: Guest, slot: &AnswerSlot<OutgoingResponse>) -> Answer {
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
                log(&workload.context, id, &failure);
                if let Some(pipe) = failing {
                    pipe.fail(failure);
                }
            }
            // The guest ended well, and its body did not.
            (Ok(()), Some(pipe)) => {
                pipe.failure().into_iter().for_each(|failure| log(&workload.context, id, &failure));
            }
            (Ok(()), None) => {}
        }
        // Only now: an unfinished body fails for want of its guest, unless it has failed for a better reason.
        drop(guest);
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
            log(&self.workload.context, self.id, &failure);
        }
    }
}

/// Makes the guest of one request; nothing has run yet.
fn start(
    shared: &Arc<Shared>,
    request: Request<Body>,
    call: Call,
    slot: &AnswerSlot<OutgoingResponse>,
    deadline: Option<Instant>,
) -> Guest {
    let (turn, account) = (Turn::default(), Arc::clone(&call.account));
    let job =
        Job { shared: Arc::clone(shared), request, call, slot: slot.clone(), turn: turn.clone(), deadline };
    let context = Arc::clone(&shared.context);
    Guest::new(Box::pin(job.run()), context, account, Arc::clone(&shared.ticker), turn, deadline)
}

/// Everything that one request's guest needs.
struct Job {
    shared: Arc<Shared>,
    request: Request<Body>,
    call: Call,
    slot: AnswerSlot<OutgoingResponse>,
    turn: Turn,
    deadline: Option<Instant>,
}

impl Job {
    async fn run(self) -> Outcome {
        let shared = self.shared;
        let mut instance = match shared.shelf.take() {
            Some(mut instance) => {
                instance.store.data_mut().begin(self.call.account, self.turn);
                guest::limit(&mut instance.store, self.deadline);
                if let (Source::Rewound { rewinder, .. }, Some(mark)) = (&shared.source, &mut instance.mark) {
                    rewinder.begin(mark);
                }
                instance
            }
            None => match shared.make(Arc::clone(&self.call.account), self.turn, self.deadline).await {
                Ok(instance) => instance,
                Err(failure) => return Err(given_back(failure, self.request, self.call)),
            },
        };
        let Instance { store, proxy, .. } = &mut instance;
        if let Err(error) = call(store, proxy, incoming(self.request, self.call.scheme), self.slot).await {
            let failure = shared.failure(&error, store);
            // Before the store drops them, which would be all that their readers learn.
            fail_bodies(&mut store.data_mut().table, &failure);
            return Err(failure);
        }
        shared.keep(instance).await;
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

    /// A new instance.
    async fn make(
        &self,
        account: Arc<Account>,
        turn: Turn,
        deadline: Option<Instant>,
    ) -> Result<Instance, Failure> {
        let began = Instant::now();
        let new_store = || {
            let state = State::new(Arc::clone(&self.context), Arc::clone(&account), turn.clone())?;
            Ok::<_, Failure>(guest::store(&self.engine, state, deadline))
        };
        let mut store = new_store()?;
        let mut made = self.component.instantiate_async(&mut store).await;
        if made.as_ref().is_err_and(|error| error.is::<PoolConcurrencyLimitError>()) {
            // Those at rest hold slots that are needed now.
            self.shelf.shelves().clear();
            drop(store);
            store = new_store()?;
            made = self.component.instantiate_async(&mut store).await;
        }
        let (proxy, mark) = match made {
            Ok(instance) => match self.proxy.load(&mut store, &instance) {
                Ok(proxy) => (proxy, self.mark(&mut store, &instance).await),
                Err(error) => return Err(self.failure(&error, &store)),
            },
            Err(error) => {
                let refusal = store.data().limiter.refusal();
                return Err(classify_not_made(&error, refusal, &self.context.limits));
            }
        };
        self.shelf.shelves().count_made();
        account.add_instantiate(began.elapsed());
        Ok(Instance { store, proxy, answered: 0, mark })
    }

    /// Notes the first state of an instance, where that is likely to be of use.
    async fn mark(&self, store: &mut Store<State>, instance: &wasmtime::component::Instance) -> Option<Mark> {
        let Source::Rewound { rewinder, misses } = &self.source else { return None };
        if misses.load(Relaxed) >= MISSES_MAX
            && !misses.fetch_add(1, Relaxed).is_multiple_of(MISSES_BETWEEN_TRIES)
        {
            return None;
        }
        rewinder.mark(store, instance).await.unwrap_or_else(|error| {
            tracing::debug!(workload = self.context.name, "an instance cannot be marked: {error:#}");
            None
        })
    }

    /// Keeps an instance that ended well for another request, if it may answer one.
    async fn keep(&self, mut instance: Instance) {
        instance.answered += 1;
        match &self.source {
            Source::New => {}
            Source::Reused(requests) => {
                if instance.answered < *requests {
                    self.shelf.put(instance);
                }
            }
            Source::Rewound { rewinder, misses } => {
                let Some(mark) = &mut instance.mark else { return };
                let began = Instant::now();
                let rewound = rewinder.rewind(&mut instance.store, mark).await.unwrap_or_else(|error| {
                    tracing::debug!(workload = self.context.name, "an instance cannot be rewound: {error:#}");
                    false
                });
                if !rewound {
                    misses.fetch_add(1, Relaxed);
                    return;
                }
                misses.store(0, Relaxed);
                instance.store.data().account.add_instantiate(began.elapsed());
                if instance.answered < REWINDS_MAX {
                    self.shelf.put(instance);
                }
            }
        }
    }
}

/// Why the process takes no request now, if it does not; that is logged.
pub(crate) fn not_admitted(context: &Context, now: Instant, request: u64) -> Option<Failure> {
    let failure = Failure::from(context.share.budget().admit(now).err()?);
    log(context, request, &failure);
    Some(failure)
}

/// Gives back a request for which there was no room.
pub(crate) fn given_back(failure: Failure, request: Request<Body>, call: Call) -> Failure {
    if failure.kind == FailureKind::Overloaded {
        call.give_back(request);
    }
    failure
}

fn incoming(request: Request<Body>, scheme: Scheme) -> IncomingRequest {
    let (mut parts, body) = request.into_parts();
    IncomingRequest {
        method: parts.method,
        scheme,
        host: parts.headers.remove(http::header::HOST),
        uri: parts.uri,
        headers: Fields::received(parts.headers),
        body: Some(body),
    }
}
