//! A runtime without guests, for testing whoever calls one.

use std::collections::HashMap;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use http::{Request, Response};
use http_body::Body as _;

use crate::{
    Account, Answer, Body, Call, Command, CommandExit, Failure, FailureKind, Invoke, Mesh, Progress, Refusal,
    Runtime, Step, Workload, WorkloadSpec,
};

/// Answers with a function. A request that it fails with [`FailureKind::Overloaded`] is given back, unless its body came
/// in a stream.
pub struct FakeInvoke<F>(F);

impl<F, R> FakeInvoke<F>
where
    F: Fn(Request<Body>, Call) -> R + Send + Sync + 'static,
    R: Future<Output = Answer> + Send + 'static,
{
    /// Answers every request with what `answer` makes of it.
    pub fn new(answer: F) -> Self {
        Self(answer)
    }
}

impl<F, R> Invoke for FakeInvoke<F>
where
    F: Fn(Request<Body>, Call) -> R + Send + Sync + 'static,
    R: Future<Output = Answer> + Send + 'static,
{
    fn invoke(&self, request: Request<Body>, call: Call) -> BoxFuture<'static, Answer> {
        let spare = copy(&request).map(|request| (request, call.clone()));
        let work = self.0(request, call);
        Box::pin(async move {
            let answer = work.await;
            if answer.as_ref().is_err_and(|failure| failure.kind == FailureKind::Overloaded) {
                spare.into_iter().for_each(|(request, call)| call.give_back(request));
            }
            answer
        })
    }
}

/// Answers every request with status 200 and this text.
pub fn always(text: &'static str) -> impl Invoke {
    Always(text)
}

/// No more than an answer: benches count what is around it.
struct Always(&'static str);

impl Invoke for Always {
    fn invoke(&self, _request: Request<Body>, _call: Call) -> BoxFuture<'static, Answer> {
        let text = self.0;
        Box::pin(async move { Ok(Response::new(Body::whole(text))) })
    }
}

/// Answers every request with its own body, streamed.
pub fn echo() -> impl Invoke {
    FakeInvoke::new(|request, _| async move { Ok(Response::new(request.into_body())) })
}

/// Fails every request in this way.
pub fn fails(kind: FailureKind) -> impl Invoke {
    FakeInvoke::new(move |_, _| async move { Err(Failure::new(kind, "it was told to")) })
}

/// The same request once more, if its body is at hand.
fn copy(request: &Request<Body>) -> Option<Request<Body>> {
    let body = match request.body().as_whole() {
        Some(whole) => Body::whole(whole.clone()),
        None if request.body().is_end_stream() => Body::empty(),
        None => return None,
    };
    let mut copy = Request::new(body);
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.version_mut() = request.version();
    *copy.headers_mut() = request.headers().clone();
    Some(copy)
}

/// Loads what a function makes of a specification.
pub struct FakeRuntime<F>(F);

impl<F> FakeRuntime<F>
where
    F: Fn(&WorkloadSpec) -> Result<Workload, Refusal> + Send + Sync,
{
    /// Loads what `load` makes.
    pub fn new(load: F) -> Self {
        Self(load)
    }
}

impl<F> Runtime for FakeRuntime<F>
where
    F: Fn(&WorkloadSpec) -> Result<Workload, Refusal> + Send + Sync,
{
    fn load(&self, spec: &WorkloadSpec, progress: &dyn Progress) -> Result<Workload, Refusal> {
        let loaded = (self.0)(spec);
        progress.step(Step::Ready);
        loaded
    }
}

/// A command that is this future.
pub fn command(run: impl Future<Output = CommandExit> + Send + 'static) -> Workload {
    Workload::Command(Box::new(FakeCommand(Box::pin(run))))
}

struct FakeCommand(BoxFuture<'static, CommandExit>);

impl Command for FakeCommand {
    fn run(self: Box<Self>, _account: Arc<Account>) -> BoxFuture<'static, CommandExit> {
        self.0
    }
}

/// Services by `namespace/host:port`, word for word as they are asked for.
#[derive(Default)]
pub struct FakeMesh(HashMap<String, Arc<dyn Invoke>>);

impl FakeMesh {
    /// Adds a service.
    #[must_use]
    pub fn with(mut self, asked: &str, invoke: Arc<dyn Invoke>) -> Self {
        self.0.insert(asked.into(), invoke);
        self
    }
}

impl Mesh for FakeMesh {
    fn service(&self, namespace: &str, host: &str, port: u16) -> Option<Arc<dyn Invoke>> {
        self.0.get(&format!("{namespace}/{host}:{port}")).cloned()
    }
}
