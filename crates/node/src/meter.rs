//! What a container uses, measured where its requests pass.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use http::Request;
use shoal_runtime::{Account, Answer, Body, Call, Invoke};

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
        let memory_bytes = self.memory_bytes.load(Relaxed).max(command.memory_bytes_peak);
        (self.cpu_ns.load(Relaxed).saturating_add(cpu_ns), memory_bytes)
    }

    fn add(&self, account: &Account) {
        let usage = account.usage();
        self.cpu_ns.fetch_add(u64::try_from(usage.on_core.as_nanos()).unwrap_or(u64::MAX), Relaxed);
        self.memory_bytes.fetch_max(usage.memory_bytes_peak, Relaxed);
    }
}

/// A replica whose requests are measured.
pub(crate) struct Metered {
    inner: Arc<dyn Invoke>,
    meter: Arc<Meter>,
}

impl Metered {
    pub(crate) fn new(inner: Arc<dyn Invoke>, meter: Arc<Meter>) -> Self {
        Self { inner, meter }
    }
}

impl Invoke for Metered {
    fn invoke(&self, request: Request<Body>, call: Call) -> BoxFuture<'static, Answer> {
        let counted = Counted { account: Arc::clone(&call.account), meter: Arc::clone(&self.meter) };
        let answer = self.inner.invoke(request, call);
        Measured { answer, counted: Some(counted) }.boxed()
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

struct Measured {
    answer: BoxFuture<'static, Answer>,
    counted: Option<Counted>,
}

impl Future for Measured {
    type Output = Answer;

    fn poll(mut self: Pin<&mut Self>, cx: &mut std::task::Context<'_>) -> std::task::Poll<Answer> {
        let answer = std::task::ready!(self.answer.poll_unpin(cx));
        let counted = self.counted.take();
        // A body that streams goes on using the core.
        std::task::Poll::Ready(answer.map(|answer| match counted {
            Some(counted) => answer.map(|body| body.holding(counted)),
            None => answer,
        }))
    }
}
