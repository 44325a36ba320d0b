//! The largest request body of a Service, where a guest calls it. Clients of the edge are held to it where their bodies
//! are read, in `request_body`.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::future::{BoxFuture, ready};
use http::Request;
use http_body::{Body as _, Frame, SizeHint};
use shoal_runtime::{Answer, Body, BodyError, Call, Failure, FailureKind, Invoke};
use tokio::sync::oneshot;

use super::send::{Target, is_at_hand};
use crate::admit::Refusal;
use crate::limits::Limit;

/// A Service as guests call it.
#[derive(Clone, Debug)]
pub(crate) struct Bounded(pub(crate) Target);

/// A body that ends with an error where it is too large.
struct Counted {
    body: Body,
    limit_bytes: u64,
    left_bytes: u64,
    /// Told once that it is too large.
    is_over: Option<oneshot::Sender<()>>,
}

impl Invoke for Bounded {
    fn invoke(&self, request: Request<Body>, call: Call) -> BoxFuture<'static, Answer> {
        let Some(limit_bytes) = self.0.request_body_bytes() else { return self.0.invoke(request, call) };
        if request.body().size_hint().lower() > limit_bytes {
            return Box::pin(ready(self.0.refuse(call.received, too_large())));
        }
        // What is at hand has been measured, and can be sent again as it is.
        if is_at_hand(request.body()) {
            return self.0.invoke(request, call);
        }
        let (sender, mut over) = oneshot::channel();
        let request = request.map(|body| {
            Body::stream(Counted { body, limit_bytes, left_bytes: limit_bytes, is_over: Some(sender) })
        });
        let mut sending = self.0.send(request, call);
        Box::pin(async move {
            // Whatever the workload makes of a body that went wrong, the request is refused.
            let answer = tokio::select! {
                biased;
                Ok(()) = &mut over => None,
                answer = sending.answer() => Some(answer),
            };
            match answer {
                Some(answer) if over.try_recv().is_err() => sending.end(answer),
                Some(_) | None => sending.end(Err(too_large())),
            }
        })
    }
}

impl http_body::Body for Counted {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let frame = std::task::ready!(Pin::new(&mut self.body).poll_frame(cx));
        let size = match &frame {
            Some(Ok(frame)) => frame.data_ref().map_or(0, Bytes::len) as u64,
            Some(Err(_)) | None => 0,
        };
        let Some(left_bytes) = self.left_bytes.checked_sub(size) else {
            if let Some(over) = self.is_over.take() {
                // Nobody waits any more where the answer has begun.
                let _ = over.send(());
            }
            self.body = Body::empty();
            let limit_bytes = self.limit_bytes;
            return Poll::Ready(Some(Err(BodyError::TooLarge { limit_bytes })));
        };
        self.left_bytes = left_bytes;
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.is_over.is_some() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// In the words that a client of the edge would read.
fn too_large() -> Failure {
    Failure::new(FailureKind::RequestTooLarge, Refusal::Limit(Limit::RequestBody).to_string())
}
