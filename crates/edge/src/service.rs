//! The path of one request: head in, route, admit, invoke, response out.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use futures_util::future::BoxFuture;
use http::header::EXPECT;
use http::{Request, Response};
use http_body::Body as _;
use hyper::body::Incoming;
use hyper::service::Service;
use shoal_runtime::{Answer, Body, Call, TRACEPARENT, TRACESTATE};
use tokio::task::JoinError;
use tokio_util::task::AbortOnDropHandle;

use crate::account::Ticket;
use crate::admit::{self, Refusal};
use crate::connection::{Connection, Ending, Protocol};
use crate::limits::Limit;
use crate::request_body::{BodyWatch, RequestBody};
use crate::respond::{self, ResponseBody};
use crate::routes::{Found, Table};

/// Serves the requests of one connection.
pub(crate) struct Serve(Arc<Connection>);

/// A response under way. Dropping it stops the guest.
pub(crate) struct Respond {
    state: State,
    ticket: Option<Ticket>,
}

enum State {
    Refused(Refusal),
    Invoked(Work),
}

/// A guest at work.
///
/// Over HTTP/1 it is a task of its own, woken after all connections that were ready: so all of them parse,
/// then all guests run, then all responses are written, and code and data of each phase stay in the caches.
/// An HTTP/2 stream is such a task already.
enum Work {
    Task(AbortOnDropHandle<Answer>),
    Here(BoxFuture<'static, Answer>),
}

impl Serve {
    pub(crate) fn new(connection: Arc<Connection>) -> Self {
        Self(connection)
    }
}

impl Service<Request<Incoming>> for Serve {
    type Response = Response<ResponseBody>;
    type Error = Infallible;
    type Future = Respond;

    fn call(&self, request: Request<Incoming>) -> Respond {
        let received = Instant::now();
        let is_ambiguous = self.0.take_head();
        let (mut head, incoming) = request.into_parts();
        let mut ticket = Ticket::new(self.0.clone(), &head, received);
        let has_body = !incoming.is_end_stream();
        let state = match admit(&self.0, &head, has_body, is_ambiguous) {
            Err(refusal) => {
                if has_body {
                    self.0.end_with(Ending::Linger);
                }
                State::Refused(refusal)
            }
            Ok(()) => {
                let table = self.0.worker.routes.now();
                let found = find(&table, &mut ticket, &head);
                let body_max = body_limit(&found, &self.0);
                if incoming.size_hint().lower() > body_max {
                    self.0.end_with(Ending::Linger);
                    State::Refused(Refusal::Limit(Limit::RequestBody))
                } else {
                    pass_trace(&ticket, &mut head);
                    let body = take_body(&mut ticket, &head, incoming, has_body, body_max);
                    State::Invoked(invoke(&ticket, found, Request::from_parts(head, body)))
                }
            }
        };
        Respond { state, ticket: Some(ticket) }
    }
}

fn admit(
    connection: &Connection,
    head: &http::request::Parts,
    has_body: bool,
    is_ambiguous: bool,
) -> Result<(), Refusal> {
    if is_ambiguous {
        return Err(Refusal::Malformed("where it ends can be understood in more than one way"));
    }
    admit::check(head, &connection.worker.limits, has_body)?;
    if connection.worker.metrics.in_flight.get() > connection.worker.limits.requests_per_thread as u64 {
        return Err(Refusal::Limit(Limit::RequestsPerThread));
    }
    Ok(())
}

/// Where traces are recorded, the guest sees the span of this request in place of the one that the client named:
/// what it does on its own account becomes part of this request.
fn pass_trace(ticket: &Ticket, head: &mut http::request::Parts) {
    let recorded = ticket.connection.worker.tracer.as_ref().and_then(|_| ticket.account.trace());
    let Some(trace) = recorded else { return };
    if !ticket.continues_trace {
        // Notes of another trace, or of none.
        head.headers.remove(TRACESTATE);
    }
    head.headers.insert(TRACEPARENT, trace.header());
}

/// Phase *route*.
fn find<'a>(table: &'a Table, ticket: &mut Ticket, head: &http::request::Parts) -> Found<'a> {
    let connection = &ticket.connection;
    let host = admit::host_of(&head.uri, &head.headers);
    let found = table.find(connection.entry, &connection.scheme, host, head.uri.path());
    if let Table::Cluster(_) = table {
        ticket.is_routed(head, found.service());
    }
    found
}

/// Largest request body, in bytes: a route may want less than the edge lets in, and not more.
fn body_limit(found: &Found<'_>, connection: &Connection) -> u64 {
    let most = connection.worker.limits.request_body.0;
    found.request_body_bytes().map_or(most, |wish| wish.min(most))
}

fn take_body(
    ticket: &mut Ticket,
    head: &http::request::Parts,
    incoming: Incoming,
    has_body: bool,
    body_max: u64,
) -> Body {
    if !has_body {
        return Body::empty();
    }
    let watch = Arc::new(BodyWatch::default());
    ticket.body = Some(watch.clone());
    let awaits_continue = head.headers.contains_key(EXPECT);
    Body::stream(RequestBody::new(incoming, ticket.connection.clone(), watch, body_max, awaits_continue))
}

fn invoke(ticket: &Ticket, found: Found<'_>, request: Request<Body>) -> Work {
    let connection = &ticket.connection;
    let call = Call {
        id: ticket.id,
        scheme: connection.scheme.clone(),
        peer: connection.peer,
        received: ticket.received,
        account: ticket.account.clone(),
    };
    match connection.protocol {
        Protocol::Http1 => Work::Task(AbortOnDropHandle::new(found.spawn(request, call))),
        Protocol::Http2 => Work::Here(found.invoke(request, call)),
    }
}

impl State {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Result<Answer, JoinError>, Refusal>> {
        match self {
            Self::Refused(refusal) => Poll::Ready(Err(*refusal)),
            Self::Invoked(Work::Here(work)) => work.as_mut().poll(cx).map(|answer| Ok(Ok(answer))),
            Self::Invoked(Work::Task(task)) => Pin::new(task).poll(cx).map(Ok),
        }
    }
}

impl Future for Respond {
    type Output = Result<Response<ResponseBody>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let me = &mut *self;
        let body = me.ticket.as_ref().and_then(|ticket| ticket.body.clone());
        if let Some(body) = &body {
            body.wake(cx);
        }
        let mut answer = me.state.poll(cx);
        // Whatever the workload makes of a body that went wrong, the request is refused.
        if let Some(trouble) = body.and_then(|body| body.trouble()) {
            answer = Poll::Ready(Err(trouble.refusal()));
        }
        let answer = ready!(answer);
        let ticket = me.ticket.take().expect("a response is not polled after it is ready");
        Poll::Ready(Ok(match answer {
            Err(refusal) => respond::refuse(refusal, ticket),
            Ok(Ok(answer)) => respond::answer(answer, ticket),
            Ok(Err(_panic)) => respond::panicked(ticket),
        }))
    }
}
