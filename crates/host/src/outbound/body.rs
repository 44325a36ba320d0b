//! The body of a response on its way to the guest.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;
use shoal_runtime::{Body, BodyError};
use tokio::time::{Sleep, sleep};

use super::idle::Lease;

/// The body of a response; nothing but its pace is changed.
pub(super) fn response(incoming: Incoming, between: Duration, lease: Lease) -> Body {
    if incoming.is_end_stream() {
        lease.give_back();
        return Body::empty();
    }
    Body::stream(Response { incoming, between, waiting: None, lease: Some(lease) })
}

/// A body that comes from this process, with the same patience.
pub(super) fn paced(body: Body, between: Duration) -> Body {
    if body.is_end_stream() || body.as_whole().is_some() {
        return body;
    }
    Body::stream(Response { incoming: body, between, waiting: None, lease: None })
}

/// Why a body ended before its end, wherever it comes from.
struct Broken(BodyError);

impl From<hyper::Error> for Broken {
    fn from(error: hyper::Error) -> Self {
        Self(BodyError::Disconnected(error.to_string()))
    }
}

impl From<BodyError> for Broken {
    fn from(error: BodyError) -> Self {
        Self(error)
    }
}

struct Response<B> {
    incoming: B,
    /// How long the next piece may take.
    between: Duration,
    /// Made when a piece is not there at once.
    waiting: Option<Pin<Box<Sleep>>>,
    /// Given up at the end.
    lease: Option<Lease>,
}

impl<B> HttpBody for Response<B>
where
    B: HttpBody<Data = Bytes> + Unpin,
    B::Error: Into<Broken>,
{
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        match Pin::new(&mut this.incoming).poll_frame(cx) {
            Poll::Ready(frame) => {
                this.waiting = None;
                if (frame.is_none() || this.incoming.is_end_stream())
                    && !matches!(frame, Some(Err(_)))
                    && let Some(lease) = this.lease.take()
                {
                    lease.give_back();
                }
                Poll::Ready(frame.map(|frame| frame.map_err(|error| error.into().0)))
            }
            Poll::Pending => {
                let between = this.between;
                let waiting = this.waiting.get_or_insert_with(|| Box::pin(sleep(between)));
                match waiting.as_mut().poll(cx) {
                    Poll::Ready(()) => {
                        this.lease = None;
                        Poll::Ready(Some(Err(BodyError::Stalled)))
                    }
                    Poll::Pending => Poll::Pending,
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}
