//! Phase *account*: what one request is remembered by, from its head to the end of its response.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use http::header::{ACCEPT, HOST, HeaderValue, USER_AGENT};
use http::{Method, StatusCode, Uri, Version, request};
use shoal_runtime::{Account, FailureKind, TRACEPARENT, TraceContext};

use crate::access_log::Record;
use crate::admit::Refusal;
use crate::connection::Connection;
use crate::metrics::{CLIENT_CLOSED, Timing};
use crate::otlp::{self, Begun, Span};
use crate::request_body::{BodyWatch, Trouble};

/// The context of one request in the edge. Dropping it closes the account: so no request goes uncounted, in
/// whatever way it ends.
pub(crate) struct Ticket {
    pub(crate) connection: Arc<Connection>,
    pub(crate) account: Arc<Account>,
    pub(crate) body: Option<Arc<BodyWatch>>,
    pub(crate) received: Instant,
    pub(crate) id: u64,
    pub(crate) version: Version,
    pub(crate) is_head: bool,
    pub(crate) wants_json: bool,
    /// Whether the client named a trace that this request is part of.
    pub(crate) continues_trace: bool,
    /// None until the response head is decided.
    pub(crate) status: Option<StatusCode>,
    pub(crate) bytes_out: u64,
    pub(crate) outcome: Outcome,
    asked: Option<Box<Asked>>,
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The client went away before the end; true until something else is.
    Cancelled,
    /// The response was handed over whole.
    Whole,
    /// The edge refused the request.
    Refused(Refusal),
    /// The guest failed.
    Failed(FailureKind),
    /// The edge or the runtime has a bug.
    Panicked,
}

/// What the access log and a trace say of a request; kept only for one of them.
struct Asked {
    method: Method,
    uri: Uri,
    user_agent: Option<HeaderValue>,
    trace: Option<TraceContext>,
    /// The host and the Service, where a cluster's routes decide.
    host: Option<HeaderValue>,
    service: Option<Arc<str>>,
    /// The span of this request, if it is recorded.
    span: Option<Begun>,
}

impl Ticket {
    pub(crate) fn new(connection: Arc<Connection>, head: &request::Parts, received: Instant) -> Self {
        connection.request_begins();
        let named = head.headers.get(TRACEPARENT).and_then(|value| TraceContext::parse(value.as_bytes()));
        let begun = connection.worker.tracer.as_ref().map(|tracer| tracer.begin(named));
        let trace = begun.map_or(named, |begun| Some(begun.context));
        let recorded = begun.filter(|begun| begun.context.sampled);
        let is_told = connection.worker.log.is_some() || recorded.is_some();
        let asked = is_told.then(|| Box::new(Asked::new(head, trace, recorded)));
        Self {
            account: Arc::new(Account::traced(trace)),
            body: None,
            received,
            id: connection.worker.next_id(),
            version: head.version,
            is_head: head.method == Method::HEAD,
            wants_json: head.headers.get(ACCEPT).is_some_and(wants_json),
            continues_trace: named.is_some(),
            status: None,
            bytes_out: 0,
            outcome: Outcome::Cancelled,
            asked,
            connection,
        }
    }

    /// Notes which host was asked for and which Service answers, for log and trace.
    pub(crate) fn is_routed(&mut self, head: &request::Parts, service: Option<&Arc<str>>) {
        let Some(asked) = &mut self.asked else { return };
        asked.service = service.cloned();
        asked.host = match head.uri.authority() {
            Some(authority) => HeaderValue::from_str(authority.as_str()).ok(),
            None => head.headers.get(HOST).cloned(),
        };
    }

    /// What is wrong with the body of the request.
    pub(crate) fn trouble(&self) -> Option<Trouble> {
        self.body.as_ref().and_then(|body| body.trouble())
    }

    fn timing(&self, now: Instant) -> Timing {
        let usage = self.account.usage();
        Timing {
            total: now.saturating_duration_since(self.received),
            queue: usage.queue,
            instantiate: usage.instantiate,
            guest: usage.guest(),
        }
    }

    fn span(&self, asked: &Asked, begun: Begun, status: u16, timing: Timing) -> Span {
        Span {
            begun,
            ended: SystemTime::now(),
            request: self.id,
            method: asked.method.clone(),
            service: asked.service.clone(),
            path: otlp::shorten(asked.uri.path()),
            user_agent: asked.user_agent.as_ref().and_then(|agent| agent.to_str().ok()).map(otlp::shorten),
            scheme: self.connection.scheme.clone(),
            version: self.version,
            peer: self.connection.peer,
            status: self.status.map(|_| status),
            bytes_in: self.body.as_ref().map_or(0, |body| body.bytes()),
            bytes_out: self.bytes_out,
            timing,
            failure: self.outcome.name(),
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let now = Instant::now();
        let worker = &self.connection.worker;
        let metrics = &worker.metrics;
        let timing = self.timing(now);
        let status = self.status.map_or(CLIENT_CLOSED, |status| status.as_u16());
        metrics.status(status);
        metrics.timing(&timing, !matches!(self.outcome, Outcome::Refused(_)));
        match self.outcome {
            Outcome::Whole | Outcome::Refused(Refusal::Expectation) => {}
            Outcome::Cancelled => metrics.failure(FailureKind::Cancelled),
            Outcome::Failed(kind) => metrics.failure(kind),
            Outcome::Refused(Refusal::Limit(limit)) => metrics.limit(limit),
            Outcome::Refused(Refusal::Malformed(_)) => metrics.malformed.add(1),
            Outcome::Panicked => metrics.panics.add(1),
        }
        if let (Some(log), Some(asked)) = (&worker.log, &self.asked) {
            log.write(&Record {
                id: self.id,
                peer: self.connection.peer,
                version: self.version,
                method: asked.method.as_str(),
                path: asked.uri.path_and_query().map_or("", |path| path.as_str()),
                user_agent: asked.user_agent.as_ref().map(HeaderValue::as_bytes),
                host: asked.host.as_ref().map(HeaderValue::as_bytes),
                service: asked.service.as_deref(),
                trace: asked.trace,
                status,
                bytes_in: self.body.as_ref().map_or(0, |body| body.bytes()),
                bytes_out: self.bytes_out,
                timing,
                failure: self.outcome.name(),
            });
        }
        if let (Some(tracer), Some(asked)) = (&worker.tracer, &self.asked)
            && let Some(begun) = asked.span
        {
            tracer.end(self.span(asked, begun, status, timing));
        }
        self.connection.request_ends(worker.tick(now), self.outcome == Outcome::Cancelled);
    }
}

impl Outcome {
    /// The name of what went wrong, in logs.
    fn name(self) -> Option<&'static str> {
        match self {
            Self::Whole => None,
            Self::Cancelled => Some(FailureKind::Cancelled.name()),
            Self::Failed(kind) => Some(kind.name()),
            Self::Refused(refusal) => Some(refusal.name()),
            Self::Panicked => Some("panic"),
        }
    }
}

impl Asked {
    fn new(head: &request::Parts, trace: Option<TraceContext>, span: Option<Begun>) -> Self {
        Self {
            method: head.method.clone(),
            uri: head.uri.clone(),
            user_agent: head.headers.get(USER_AGENT).cloned(),
            host: None,
            service: None,
            trace,
            span,
        }
    }
}

/// Whether the client asks for JSON by name; `*/*` is what everyone sends.
fn wants_json(accept: &HeaderValue) -> bool {
    let accept = accept.as_bytes();
    accept.windows(b"application/json".len()).any(|part| part.eq_ignore_ascii_case(b"application/json"))
}
