//! The body of a request on its way to a guest: counted, limited, watched for stalls.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::task::AtomicWaker;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use shoal_runtime::BodyError;
use tokio::time::{Instant, Sleep, sleep_until, timeout};

use crate::admit::Refusal;
use crate::connection::{Connection, Ending, Protocol};
use crate::limits::Limit;

/// Streams what the client sends. When it goes wrong the guest gets an error, and the request is refused
/// over its head if the response has not begun.
pub(crate) struct RequestBody {
    /// None: given away, or ended by an error.
    incoming: Option<Incoming>,
    watch: Arc<BodyWatch>,
    connection: Arc<Connection>,
    limit_bytes: u64,
    stall: Option<Pin<Box<Sleep>>>,
    is_waiting: bool,
    is_broken: bool,
    /// The client waits for `100 Continue` before it sends anything.
    awaits_continue: bool,
}

/// What a request learns of its body while the guest holds it.
#[derive(Default)]
pub(crate) struct BodyWatch {
    bytes: AtomicU64,
    trouble: AtomicU8,
    waker: AtomicWaker,
}

/// What can be wrong with a request body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Trouble {
    TooLarge = 1,
    Stalled,
    Malformed,
    Disconnected,
}

impl Trouble {
    /// A body that cannot be read to its end spoils the request, whatever the guest would make of it.
    pub(crate) fn refusal(self) -> Refusal {
        match self {
            Self::TooLarge => Refusal::Limit(Limit::RequestBody),
            Self::Stalled => Refusal::Limit(Limit::BodyStall),
            Self::Malformed => Refusal::Malformed("its body is not framed as it should be"),
            Self::Disconnected => Refusal::Malformed("its body broke off"),
        }
    }
}

impl RequestBody {
    pub(crate) fn new(
        incoming: Incoming,
        connection: Arc<Connection>,
        watch: Arc<BodyWatch>,
        limit_bytes: u64,
        awaits_continue: bool,
    ) -> Self {
        Self {
            incoming: Some(incoming),
            watch,
            connection,
            limit_bytes,
            stall: None,
            is_waiting: false,
            is_broken: false,
            awaits_continue,
        }
    }

    fn fails(&mut self, trouble: Trouble, error: BodyError) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.incoming = None;
        self.is_broken = true;
        self.connection.end_with(Ending::Linger);
        self.watch.set_trouble(trouble);
        Poll::Ready(Some(Err(error)))
    }

    /// Nothing is here; whether that has lasted too long.
    fn poll_stall(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let wait = self.connection.worker.limits.body_stall;
        if !self.is_waiting {
            self.is_waiting = true;
            let deadline = Instant::now() + wait;
            match &mut self.stall {
                Some(sleep) => sleep.as_mut().reset(deadline),
                None => self.stall = Some(Box::pin(sleep_until(deadline))),
            }
        }
        self.stall.as_mut().map_or(Poll::Pending, |sleep| sleep.as_mut().poll(cx))
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let me = &mut *self;
        let Some(incoming) = &mut me.incoming else { return Poll::Ready(None) };
        me.awaits_continue = false;
        let Poll::Ready(frame) = Pin::new(incoming).poll_frame(cx) else {
            ready!(me.poll_stall(cx));
            return me.fails(Trouble::Stalled, BodyError::Stalled);
        };
        me.is_waiting = false;
        match frame {
            Some(Ok(frame)) => {
                let size = frame.data_ref().map_or(0, Bytes::len) as u64;
                if me.watch.add(size) > me.limit_bytes {
                    let limit_bytes = me.limit_bytes;
                    return me.fails(Trouble::TooLarge, BodyError::TooLarge { limit_bytes });
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Some(Err(error)) => {
                let trouble = trouble_of(&error);
                me.fails(trouble, BodyError::Disconnected(error.to_string()))
            }
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        !self.is_broken && self.incoming.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

impl Drop for RequestBody {
    /// The guest wants no more. A small rest is read, so that the connection can be kept.
    fn drop(&mut self) {
        let Some(incoming) = self.incoming.take() else { return };
        if self.connection.protocol == Protocol::Http2 || incoming.is_end_stream() {
            return;
        }
        let most = self.connection.worker.limits.early_response_drain.0;
        let rest_is_small = incoming.size_hint().lower() <= most;
        let runtime = tokio::runtime::Handle::try_current();
        match runtime {
            Ok(runtime) if rest_is_small && !self.awaits_continue => {
                runtime.spawn(drain(incoming, most, self.connection.clone()));
            }
            Ok(_) | Err(_) => self.connection.end_with(Ending::Linger),
        }
    }
}

/// Reads the rest of a body that nobody wants. Ends with the connection at the latest, and within the time
/// that a connection lingers.
async fn drain(mut incoming: Incoming, most: u64, connection: Arc<Connection>) {
    let mut read = 0;
    let rest = async {
        while let Some(Ok(frame)) = std::future::poll_fn(|cx| Pin::new(&mut incoming).poll_frame(cx)).await {
            read += frame.data_ref().map_or(0, Bytes::len) as u64;
            if read > most {
                return false;
            }
        }
        true
    };
    if !timeout(connection.worker.limits.linger, rest).await.unwrap_or(false) {
        connection.end_with(Ending::Linger);
    }
}

impl BodyWatch {
    /// Bytes that the guest has taken.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Relaxed)
    }

    /// Wakes this task when something goes wrong.
    pub(crate) fn wake(&self, cx: &Context<'_>) {
        self.waker.register(cx.waker());
    }

    /// What went wrong, if anything.
    pub(crate) fn trouble(&self) -> Option<Trouble> {
        match self.trouble.load(Relaxed) {
            0 => None,
            1 => Some(Trouble::TooLarge),
            2 => Some(Trouble::Stalled),
            3 => Some(Trouble::Malformed),
            _ => Some(Trouble::Disconnected),
        }
    }

    fn add(&self, size: u64) -> u64 {
        let bytes = self.bytes().saturating_add(size);
        self.bytes.store(bytes, Relaxed);
        bytes
    }

    fn set_trouble(&self, trouble: Trouble) {
        self.trouble.store(trouble as u8, Relaxed);
        self.waker.wake();
    }
}

/// The parser's error: bytes that are no HTTP, or the end of the connection.
fn trouble_of(error: &hyper::Error) -> Trouble {
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        if let Some(io) = cause.downcast_ref::<io::Error>() {
            return match io.kind() {
                io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData => Trouble::Malformed,
                _ => Trouble::Disconnected,
            };
        }
        source = cause.source();
    }
    Trouble::Disconnected
}
