//! Bodies that a guest reads: of the request it answers, and of responses to requests it made.

use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::HeaderMap;
use http_body::Body as _;
use shoal_runtime::{Body, BodyError};
use wasmtime_wasi_io::poll::Pollable;
use wasmtime_wasi_io::streams::{InputStream, StreamError, StreamResult};

use super::error::CodedError;

/// A body being read, shared by the stream and by whoever waits for its trailers.
#[derive(Clone)]
pub(crate) struct Incoming(Arc<Mutex<State>>);

struct State {
    body: Body,
    buffered: Bytes,
    end: Option<Result<Option<HeaderMap>, ReadError>>,
}

/// Why a body could not be read to its end; kept, since the guest may ask twice.
#[derive(Clone, Debug)]
pub(crate) enum ReadError {
    TooLarge { limit_bytes: u64 },
    Disconnected,
    Stalled,
    Failed(String),
}

impl From<BodyError> for ReadError {
    fn from(error: BodyError) -> Self {
        match error {
            BodyError::TooLarge { limit_bytes } => Self::TooLarge { limit_bytes },
            BodyError::Disconnected(_) => Self::Disconnected,
            BodyError::Stalled => Self::Stalled,
            BodyError::Failed(failure) => Self::Failed(failure.reason),
        }
    }
}

impl Incoming {
    /// A body nobody has read from yet.
    pub(crate) fn new(body: Body) -> Self {
        Self(Arc::new(Mutex::new(State { body, buffered: Bytes::new(), end: None })))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// The trailers, once the body has ended. What was not read is thrown away.
    pub(crate) fn trailers(&self) -> Option<Result<Option<HeaderMap>, ReadError>> {
        self.lock().end.clone()
    }

    fn poll_end(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.lock();
        loop {
            state.buffered = Bytes::new();
            if state.end.is_some() {
                return Poll::Ready(());
            }
            std::task::ready!(state.poll_data(cx));
        }
    }
}

impl State {
    /// Ready when there is data or the body has ended.
    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while self.buffered.is_empty() && self.end.is_none() {
            match std::task::ready!(std::pin::Pin::new(&mut self.body).poll_frame(cx)) {
                None => self.end = Some(Ok(None)),
                Some(Err(error)) => self.end = Some(Err(error.into())),
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.buffered = data,
                    Err(frame) => self.end = frame.into_trailers().ok().map(|trailers| Ok(Some(trailers))),
                },
            }
        }
        Poll::Ready(())
    }
}

/// The stream over an [`Incoming`] body.
pub(crate) struct Reader(pub(crate) Incoming);

#[wasmtime_wasi::async_trait]
impl Pollable for Reader {
    async fn ready(&mut self) {
        std::future::poll_fn(|cx| self.0.lock().poll_data(cx)).await;
    }
}

#[wasmtime_wasi::async_trait]
impl InputStream for Reader {
    fn read(&mut self, size: usize) -> StreamResult<Bytes> {
        let mut state = self.0.lock();
        if state.buffered.is_empty() && state.end.is_none() {
            // Takes what is there already; whoever waits registers anew in `ready`.
            let _ = state.poll_data(&mut Context::from_waker(std::task::Waker::noop()));
        }
        if !state.buffered.is_empty() {
            let take = size.min(state.buffered.len());
            return Ok(state.buffered.split_to(take));
        }
        match &state.end {
            None => Ok(Bytes::new()),
            Some(Ok(_)) => Err(StreamError::Closed),
            Some(Err(error)) => Err(StreamError::LastOperationFailed(CodedError::from(error).into())),
        }
    }
}

/// Waits for the end of an [`Incoming`] body.
pub struct FutureTrailers {
    pub(crate) incoming: Incoming,
    pub(crate) taken: bool,
}

#[wasmtime_wasi::async_trait]
impl Pollable for FutureTrailers {
    async fn ready(&mut self) {
        std::future::poll_fn(|cx| self.incoming.poll_end(cx)).await;
    }
}

#[cfg(test)]
mod tests {
    use http_body::Frame;
    use http_body_util::StreamBody;

    use super::*;

    fn frames(frames: Vec<Result<Frame<Bytes>, BodyError>>) -> Incoming {
        Incoming::new(Body::stream(StreamBody::new(futures_util::stream::iter(frames))))
    }

    #[tokio::test]
    async fn data_comes_in_the_sizes_asked_for_and_trailers_after_it() {
        let trailers: HeaderMap =
            [(http::header::ETAG, http::HeaderValue::from_static("x"))].into_iter().collect();
        let incoming = frames(vec![
            Ok(Frame::data(Bytes::from_static(b"abcdef"))),
            Ok(Frame::trailers(trailers.clone())),
        ]);
        let mut reader = Reader(incoming.clone());
        assert_eq!(reader.read(4).expect("data"), "abcd");
        assert!(incoming.trailers().is_none(), "the body has not ended");
        assert_eq!(reader.read(4).expect("data"), "ef");
        reader.ready().await;
        assert!(matches!(reader.read(4), Err(StreamError::Closed)));
        assert_eq!(incoming.trailers().expect("ended").expect("well"), Some(trailers));
    }

    #[tokio::test]
    async fn trailers_can_be_waited_for_without_reading() {
        let incoming = frames(vec![Ok(Frame::data(Bytes::from_static(b"abcdef")))]);
        let mut future = FutureTrailers { incoming: incoming.clone(), taken: false };
        future.ready().await;
        assert!(matches!(incoming.trailers(), Some(Ok(None))));
    }

    #[tokio::test]
    async fn an_error_in_the_body_is_not_its_end() {
        let incoming = frames(vec![Err(BodyError::Disconnected("reset".into()))]);
        let mut reader = Reader(incoming.clone());
        reader.ready().await;
        assert!(matches!(reader.read(4), Err(StreamError::LastOperationFailed(_))));
        assert!(matches!(incoming.trailers(), Some(Err(ReadError::Disconnected))));
    }
}
