//! An HTTP body on its way between a socket and a guest.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::BodyExt;
use http_body_util::combinators::UnsyncBoxBody;

use crate::Failure;

/// A request or response body: nothing, bytes already whole, or a stream with back-pressure and trailers.
///
/// Whole bodies cost no allocation and let HTTP/1 send `content-length` instead of chunks.
#[derive(Debug, Default)]
pub struct Body(Kind);

#[derive(Debug, Default)]
enum Kind {
    #[default]
    Empty,
    Whole(Bytes),
    Stream(UnsyncBoxBody<Bytes, BodyError>),
}

/// Why a body ended before its end.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// More bytes than the limit allows.
    #[error("the body is larger than {limit_bytes} bytes")]
    TooLarge {
        /// The limit that was exceeded, in bytes.
        limit_bytes: u64,
    },
    /// The other side went away, or sent what is not HTTP.
    #[error("the connection broke off in the body: {0}")]
    Disconnected(String),
    /// Nothing arrived for too long.
    #[error("the body made no progress in time")]
    Stalled,
    /// The guest that produced the body failed; already logged.
    #[error(transparent)]
    Failed(#[from] Failure),
}

impl Body {
    /// A body without bytes.
    pub const fn empty() -> Self {
        Self(Kind::Empty)
    }

    /// A body whose bytes are all here.
    pub fn whole(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        if bytes.is_empty() { Self::empty() } else { Self(Kind::Whole(bytes)) }
    }

    /// A body that is still being produced.
    pub fn stream<B>(body: B) -> Self
    where
        B: HttpBody<Data = Bytes, Error = BodyError> + Send + 'static,
    {
        if body.is_end_stream() { Self::empty() } else { Self(Kind::Stream(body.boxed_unsync())) }
    }

    /// The same body, keeping `guard` until it has been read or dropped.
    #[must_use]
    pub fn holding(self, guard: impl Send + Unpin + 'static) -> Self {
        match self.0 {
            Kind::Stream(_) => Self::stream(Holding { body: self, _guard: guard }),
            Kind::Empty | Kind::Whole(_) => self,
        }
    }

    /// The bytes, when all of them are here already (an empty body has none).
    pub fn as_whole(&self) -> Option<&Bytes> {
        match &self.0 {
            Kind::Whole(bytes) => Some(bytes),
            Kind::Empty | Kind::Stream(_) => None,
        }
    }
}

/// A body that keeps something alive.
struct Holding<G> {
    body: Body,
    _guard: G,
}

impl<G: Unpin> HttpBody for Holding<G> {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match &mut self.0 {
            Kind::Empty => Poll::Ready(None),
            Kind::Whole(bytes) => {
                let bytes = std::mem::take(bytes);
                self.0 = Kind::Empty;
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            Kind::Stream(stream) => Pin::new(stream).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Empty => true,
            Kind::Whole(_) => false,
            Kind::Stream(stream) => stream.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Empty => SizeHint::with_exact(0),
            Kind::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Kind::Stream(stream) => stream.size_hint(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_body_knows_its_size_and_an_empty_one_has_ended() {
        assert_eq!(Body::whole("hello").size_hint().exact(), Some(5));
        assert!(!Body::whole("hello").is_end_stream());
        assert!(Body::whole("").is_end_stream());
        assert!(Body::stream(http_body_util::Empty::new().map_err(|never| match never {})).is_end_stream());
    }
}
