//! What a container uses, measured where its requests pass.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use http::Request;
use http_body::{Body as HttpBody, Frame, SizeHint};
use shoal_runtime::{Account, Answer, Body, BodyError, Call, Failure, FailureKind, Invoke};
use tokio::sync::Notify;

/// What a container has used since it was started.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    cpu_ns: AtomicU64,
    memory_bytes: AtomicU64,
    /// Of a command, which has one account for its whole run.
    command: Arc<Account>,
}

impl Meter {
    /// The account of a command.
    pub(crate) fn command(&self) -> Arc<Account> {
        Arc::clone(&self.command)
    }

    /// Time on the core so far, in nanoseconds, and the largest memory of an instance, in bytes.
    pub(crate) fn usage(&self) -> (u64, u64) {
        let command = self.command.usage();
        let cpu_ns = u64::try_from(command.on_core.as_nanos()).unwrap_or(u64::MAX);
        let memory_bytes = self.memory_bytes.load(Ordering::Relaxed).max(command.memory_bytes_peak);
        (self.cpu_ns.load(Ordering::Relaxed).saturating_add(cpu_ns), memory_bytes)
    }

    fn add(&self, account: &Account) {
        let usage = account.usage();
        self.cpu_ns.fetch_add(u64::try_from(usage.on_core.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
        self.memory_bytes.fetch_max(usage.memory_bytes_peak, Ordering::Relaxed);
    }
}

/// A replica whose requests are measured, and end with it.
pub(crate) struct Metered {
    inner: Arc<dyn Invoke>,
    meter: Arc<Meter>,
    end: Arc<End>,
}

impl Metered {
    pub(crate) fn new(inner: Arc<dyn Invoke>, meter: Arc<Meter>) -> Self {
        Self { inner, meter, end: Arc::default() }
    }

    /// Ends the requests that it still has. Those that come later end at once.
    pub(crate) fn end(&self) {
        self.end.has_come.store(true, Ordering::SeqCst);
        self.end.tell.notify_waiters();
    }
}

impl Invoke for Metered {
    fn invoke(&self, request: Request<Body>, call: Call) -> BoxFuture<'static, Answer> {
        let counted = Counted { account: Arc::clone(&call.account), meter: Arc::clone(&self.meter) };
        let answer = self.inner.invoke(request, call);
        let mut until = Until { end: Arc::clone(&self.end), told: None };
        async move {
            // Dropped after the answer: what that still uses is counted, too.
            let counted = counted;
            let mut answer = answer;
            let done = poll_fn(|cx| until.poll(cx, |cx| answer.poll_unpin(cx))).await;
            // What ends early stops its guest now, not when the last of it is dropped.
            drop(answer);
            // A body that streams goes on using the core.
            Ok(done??.map(|body| streamed(body, until).holding(counted)))
        }
        .boxed()
    }
}

/// Counts a request when it is dropped.
struct Counted {
    account: Arc<Account>,
    meter: Arc<Meter>,
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.meter.add(&self.account);
    }
}

/// Whether a replica has come to its end.
#[derive(Default)]
struct End {
    has_come: AtomicBool,
    tell: Notify,
}

/// Lets what is polled go on until the end of its replica. Whoever never waits pays for one look.
struct Until {
    end: Arc<End>,
    /// Made when somebody waits for the first time.
    told: Option<BoxFuture<'static, ()>>,
}

impl Until {
    fn poll<R>(
        &mut self,
        cx: &mut Context<'_>,
        work: impl FnOnce(&mut Context<'_>) -> Poll<R>,
    ) -> Poll<Result<R, Failure>> {
        if self.end.has_come.load(Ordering::Relaxed) {
            return Poll::Ready(Err(failure()));
        }
        if let Poll::Ready(done) = work(cx) {
            return Poll::Ready(Ok(done));
        }
        let end = &self.end;
        let told = self.told.get_or_insert_with(|| told(Arc::clone(end)).boxed());
        told.poll_unpin(cx).map(|()| Err(failure()))
    }
}

async fn told(end: Arc<End>) {
    let mut told = std::pin::pin!(end.tell.notified());
    // From here on nothing is missed; what came before is looked for.
    told.as_mut().enable();
    if !end.has_come.load(Ordering::SeqCst) {
        told.await;
    }
}

fn failure() -> Failure {
    Failure::new(FailureKind::Deadline, "the time that its pod had to end is over")
}

fn streamed(body: Body, until: Until) -> Body {
    let is_all_here = body.is_end_stream() || body.as_whole().is_some();
    if is_all_here { body } else { Body::stream(Streamed { body: Some(body), until }) }
}

/// The body of an answer that is still being made.
struct Streamed {
    /// None: it was ended.
    body: Option<Body>,
    until: Until,
}

impl HttpBody for Streamed {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        let Some(body) = &mut this.body else { return Poll::Ready(None) };
        match std::task::ready!(this.until.poll(cx, |cx| Pin::new(body).poll_frame(cx))) {
            Ok(frame) => Poll::Ready(frame),
            Err(failure) => {
                this.body = None;
                Poll::Ready(Some(Err(failure.into())))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), HttpBody::size_hint)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use futures_util::stream;
    use http::Response;
    use http_body_util::{BodyExt as _, StreamBody};
    use shoal_runtime::fake::{FakeInvoke, always};

    use super::*;

    fn ask(metered: &Metered) -> BoxFuture<'static, Answer> {
        metered.invoke(Request::new(Body::empty()), Call::local(0, Instant::now(), Account::default()))
    }

    fn metered(inner: impl Invoke) -> Metered {
        Metered::new(Arc::new(inner), Arc::default())
    }

    #[tokio::test]
    async fn requests_end_with_their_replica() {
        let guest = Arc::new(());
        let held = guest.clone();
        // One that never answers, and one whose answer never ends.
        let silent = metered(FakeInvoke::new(move |_, _| {
            let held = held.clone();
            async move {
                std::future::pending::<()>().await;
                drop(held);
                Ok(Response::new(Body::empty()))
            }
        }));
        let endless = metered(FakeInvoke::new(|_, _| async {
            let first = stream::iter([Ok::<_, BodyError>(Frame::data(Bytes::from_static(b"first")))]);
            let frames = futures_util::StreamExt::chain(first, stream::pending());
            Ok(Response::new(Body::stream(StreamBody::new(frames))))
        }));
        let mut unanswered = tokio::spawn(ask(&silent));
        let mut body = ask(&endless).await.expect("an answer").into_body();
        let first = body.frame().await.expect("a frame").expect("it is well");
        assert_eq!(first.into_data().ok().as_deref(), Some(&b"first"[..]));
        let mut rest = tokio::spawn(async move { body.frame().await.map(|frame| frame.is_err()) });
        // Both have been asked, and wait.
        tokio::task::yield_now().await;
        assert!((&mut unanswered).now_or_never().is_none() && (&mut rest).now_or_never().is_none());
        silent.end();
        endless.end();
        let failure = unanswered.await.expect("it ends").expect_err("it has no answer");
        assert_eq!(failure.kind, FailureKind::Deadline);
        assert_eq!(rest.await.expect("it ends"), Some(true), "it ends visibly broken");
        assert_eq!(Arc::strong_count(&guest), 2, "the guest is stopped: the replica alone holds it");
        assert!(ask(&silent).await.is_err(), "nothing begins any more");
    }

    #[tokio::test]
    async fn what_has_ended_stays_as_it_was() {
        let metered = metered(always("hello"));
        let answer = ask(&metered).await.expect("an answer");
        metered.end();
        assert_eq!(answer.body().as_whole().map(|bytes| &bytes[..]), Some(&b"hello"[..]), "it stays whole");
    }
}
