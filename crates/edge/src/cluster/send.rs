//! One request on its way to a Service: within its limits to a replica, and to another where the first was full.
//!
//! This runs for every request, so it is one future that is moved about and nothing is kept twice: no task, no
//! allocation, no copy of the request.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use http::Request;
use http_body::Body as _;
use shoal_runtime::{Account, Answer, Body, Call, Failure, FailureKind, InFlight, Invoke, Replica};
use tokio::time::{Sleep, sleep_until};

use super::backend::Backend;
use super::budget::TRIES_MAX;
use super::plan::Aim;

/// A Service and the wishes of the route that leads there.
#[derive(Clone, Debug)]
pub(crate) struct Target(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    backend: Arc<Backend>,
    aim: Aim,
}

/// A request that was sent to a Service. Counts it however it ends; dropping it cancels the request.
pub(crate) struct Sending {
    state: State,
    target: Arc<Inner>,
    received: Instant,
    room: Option<Room>,
    deadline: Deadline,
    /// Replicas that were asked.
    tries: u32,
    is_counted: bool,
}

enum State {
    Asked(Asked),
    /// Nobody was asked.
    Refused(Failure),
    Ended,
}

/// A replica has the request. The work goes before the count: whoever waits for the count finds the work done.
struct Asked {
    work: BoxFuture<'static, Answer>,
    in_flight: InFlight,
    /// What it gives the request back by, if another could be asked.
    spare: Option<Arc<Account>>,
}

/// Until when the head of the response must be there.
enum Deadline {
    None,
    /// Nobody has waited for it so far.
    At(Instant),
    Timer(Pin<Box<Sleep>>),
}

/// A request that counts against a limit, until it is dropped.
struct Room(Arc<Backend>);

impl Target {
    pub(crate) fn new(backend: Arc<Backend>, aim: Aim) -> Self {
        Self(Arc::new(Inner { backend, aim }))
    }

    /// `namespace/name` of the Service.
    pub(crate) fn service(&self) -> &Arc<str> {
        &self.0.backend.name
    }

    /// Largest request body, in bytes, where the route has a wish.
    pub(crate) fn request_body_bytes(&self) -> Option<u64> {
        self.0.aim.options.request_body_bytes
    }

    /// Sends a request to a replica.
    pub(crate) fn send(&self, request: Request<Body>, call: Call) -> Sending {
        let target = Arc::clone(&self.0);
        target.backend.stats.begins();
        let received = call.received;
        let deadline = Deadline::after(target.aim.options.timeout);
        let (room, asked) = match target.enter() {
            Ok(room) => (room, target.ask(request, call, None)),
            Err(refused) => (None, Err(refused)),
        };
        let state = asked.map_or_else(State::Refused, State::Asked);
        Sending { state, target, received, room, deadline, tries: 1, is_counted: false }
    }

    /// The answer to a request that is sent to nobody, counted as others are.
    pub(crate) fn refuse(&self, received: Instant, failure: Failure) -> Answer {
        let stats = &self.0.backend.stats;
        stats.begins();
        stats.ends(Some(failure.kind.status().as_u16()), received.elapsed());
        Err(failure)
    }
}

impl Invoke for Target {
    fn invoke(&self, request: Request<Body>, call: Call) -> BoxFuture<'static, Answer> {
        Box::pin(self.send(request, call))
    }
}

impl Inner {
    /// What must be before a replica is asked.
    fn enter(&self) -> Result<Option<Room>, Failure> {
        match (&self.aim.broken, self.aim.options.in_flight) {
            (Some(why), _) => Err(Failure::new(FailureKind::NoEndpoint, why.clone())),
            (None, Some(most)) => Room::of(&self.backend, most).map(Some),
            (None, None) => Ok(None),
        }
    }

    /// Gives the request to a replica, and not to the one that has just failed.
    fn ask(&self, request: Request<Body>, call: Call, not: Option<&Arc<Replica>>) -> Result<Asked, Failure> {
        let chosen = self.backend.choose(&self.aim.port, call.peer.ip(), not)?;
        let spare = chosen.has_others.then(|| Arc::clone(&call.account));
        let work = chosen.serves.invoke(request, call);
        Ok(Asked { work, in_flight: chosen.in_flight, spare })
    }
}

impl Future for Sending {
    type Output = Answer;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Answer> {
        let answer = self.poll_answer(cx);
        if let Poll::Ready(answer) = &answer {
            self.count(Some(answer));
        }
        answer
    }
}

impl Sending {
    /// Resolves to the answer, which is not counted yet.
    pub(crate) async fn answer(&mut self) -> Answer {
        poll_fn(|cx| self.poll_answer(cx)).await
    }

    /// Takes this for the answer, whatever a replica may be about to say.
    pub(crate) fn end(mut self, answer: Answer) -> Answer {
        self.count(Some(&answer));
        answer
    }

    fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<Answer> {
        let mut answer = self.poll_state(cx);
        while let Poll::Ready(Err(failure)) = &answer {
            if !self.try_again(failure) {
                break;
            }
            answer = self.poll_state(cx);
        }
        match &mut answer {
            Poll::Pending => {
                if self.deadline.poll(cx).is_ready() {
                    answer = Poll::Ready(Err(self.give_up()));
                }
            }
            Poll::Ready(Ok(response)) => self.leave(response.body_mut()),
            Poll::Ready(Err(_)) => {}
        }
        answer
    }

    fn poll_state(&mut self, cx: &mut Context<'_>) -> Poll<Answer> {
        match &mut self.state {
            State::Asked(asked) => asked.work.as_mut().poll(cx),
            State::Refused(_) => match std::mem::replace(&mut self.state, State::Ended) {
                State::Refused(failure) => Poll::Ready(Err(failure)),
                State::Asked(_) | State::Ended => Poll::Pending,
            },
            State::Ended => Poll::Pending,
        }
    }

    /// Asks another replica where this one was full. Nothing has run there: it may be sent again whatever its method.
    fn try_again(&mut self, failure: &Failure) -> bool {
        if failure.kind != FailureKind::Overloaded || self.tries >= TRIES_MAX {
            return false;
        }
        let State::Asked(Asked { spare: Some(spare), in_flight, .. }) = &self.state else { return false };
        let Some((request, call)) = spare.take_back().filter(|(request, _)| is_at_hand(request.body()))
        else {
            return false;
        };
        let full = Arc::clone(in_flight.replica());
        if !self.may_retry() {
            return false;
        }
        self.state = State::Ended;
        let Ok(asked) = self.target.ask(request, call, Some(&full)) else { return false };
        self.state = State::Asked(asked);
        self.tries += 1;
        true
    }

    /// A replica has answered: it is not done before the body has ended.
    fn leave(&mut self, body: &mut Body) {
        let State::Asked(asked) = std::mem::replace(&mut self.state, State::Ended) else { return };
        if !is_at_hand(body) {
            *body = std::mem::take(body).holding((asked.in_flight, self.room.take()));
        }
    }

    /// The deadline has passed.
    fn give_up(&mut self) -> Failure {
        self.state = State::Ended;
        let Inner { backend, aim } = &*self.target;
        let limit = aim.options.timeout.unwrap_or_default();
        Failure::new(
            FailureKind::Deadline,
            format!("service {} did not answer within {limit:?}", backend.name),
        )
    }

    fn may_retry(&self) -> bool {
        let Backend { stats, budget, .. } = &*self.target.backend;
        let is_left = budget.take(Instant::now(), stats.read().requests);
        if is_left {
            stats.retries();
        }
        is_left
    }

    /// Counts the head of the answer, or that there was none.
    fn count(&mut self, answer: Option<&Answer>) {
        self.is_counted = true;
        let status = answer.map(|answer| match answer {
            Ok(response) => response.status().as_u16(),
            Err(failure) => failure.kind.status().as_u16(),
        });
        self.target.backend.stats.ends(status, self.received.elapsed());
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        if !self.is_counted {
            self.count(None);
        }
    }
}

impl Deadline {
    fn after(limit: Option<Duration>) -> Self {
        limit.and_then(|limit| Instant::now().checked_add(limit)).map_or(Self::None, Self::At)
    }

    /// Ready when it has passed. Whoever never waits pays for no timer.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Self::At(at) = self {
            *self = Self::Timer(Box::pin(sleep_until((*at).into())));
        }
        match self {
            Self::Timer(timer) => timer.as_mut().poll(cx),
            Self::None | Self::At(_) => Poll::Pending,
        }
    }
}

impl Room {
    /// Room for one request more, where `most` may be in flight.
    fn of(backend: &Arc<Backend>, most: usize) -> Result<Self, Failure> {
        let room = Self(Arc::clone(backend));
        if backend.counted.fetch_add(1, Relaxed) < most {
            return Ok(room);
        }
        let why = format!("service {} has the {most} requests in flight that it may have", backend.name);
        Err(Failure::new(FailureKind::Busy, why))
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.0.counted.fetch_sub(1, Relaxed);
    }
}

/// Whether a body can be sent once more: what came by the network may have been read in part.
pub(super) fn is_at_hand(body: &Body) -> bool {
    body.as_whole().is_some() || body.is_end_stream()
}
