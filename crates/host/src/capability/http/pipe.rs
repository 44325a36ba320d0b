//! The body that a guest writes, on its way to whoever reads it: a bounded queue with two ends.
//!
//! The guest's end is an `output-stream`; the other end is an [`http_body::Body`]. When the reader goes
//! away the writer is told that the stream is closed; when the writer goes away without finishing, the
//! reader gets an error, never a clean end.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body::{Frame, SizeHint};
use shoal_runtime::{Body, BodyError, Failure, FailureKind};
use wasmtime_wasi_io::poll::Pollable;
use wasmtime_wasi_io::streams::{OutputStream, StreamError, StreamResult};

/// Bytes a guest may have written that nobody has read yet. Enough to keep a socket busy, little enough for
/// thousands of slow clients.
const BUFFER_BYTES: usize = 64 << 10;

/// Both ends hold one of these.
#[derive(Clone, Debug)]
pub(crate) struct Pipe(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    chunks: VecDeque<Bytes>,
    buffered_bytes: usize,
    written_bytes: u64,
    declared_bytes: Option<u64>,
    limit_bytes: u64,
    end: Option<End>,
    reader_gone: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

#[derive(Debug)]
enum End {
    Finished(Option<HeaderMap>),
    Failed(Failure),
}

/// How [`Pipe::finish`] was refused: the body is not as long as was declared.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct WrongLength {
    /// Bytes that were written.
    pub(crate) written_bytes: u64,
}

impl Pipe {
    /// An empty pipe for a body of `declared_bytes`, if its length was declared, and at most `limit_bytes`.
    pub(crate) fn new(declared_bytes: Option<u64>, limit_bytes: u64) -> Self {
        Self(Arc::new(Mutex::new(State {
            chunks: VecDeque::new(),
            buffered_bytes: 0,
            written_bytes: 0,
            declared_bytes,
            limit_bytes,
            end: None,
            reader_gone: false,
            reader: None,
            writer: None,
        })))
    }

    /// Ends the body, with trailers if there are any.
    pub(crate) fn finish(&self, trailers: Option<HeaderMap>) -> Result<(), WrongLength> {
        let mut state = self.lock();
        let written_bytes = state.written_bytes;
        let short = state.declared_bytes.is_some_and(|declared| declared != written_bytes);
        if short {
            let reason = format!("the body has {written_bytes} bytes, not the declared content-length");
            state.close(End::Failed(Failure::new(FailureKind::NoAnswer, reason)));
            return Err(WrongLength { written_bytes });
        }
        state.close(End::Finished(trailers));
        Ok(())
    }

    /// Ends the body with a failure, unless it has ended already.
    pub(crate) fn fail(&self, failure: Failure) {
        self.lock().close(End::Failed(failure));
    }

    /// Whether the whole body was written and finished.
    pub(crate) fn is_finished(&self) -> bool {
        matches!(self.lock().end, Some(End::Finished(_)))
    }

    /// Why the body did not reach its end, if it failed.
    pub(crate) fn failure(&self) -> Option<Failure> {
        match &self.lock().end {
            Some(End::Failed(failure)) => Some(failure.clone()),
            Some(End::Finished(_)) | None => None,
        }
    }

    /// The reading end. A body that is finished already, without trailers, comes out whole.
    pub(crate) fn into_body(self) -> Body {
        let mut state = self.lock();
        if let Some(End::Finished(None)) = state.end {
            let total_bytes = state.buffered_bytes;
            return Body::whole(join(&mut state.chunks, total_bytes));
        }
        drop(state);
        Body::stream(Reader(self))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl State {
    fn close(&mut self, end: End) {
        if self.end.is_none() {
            self.end = Some(end);
        }
        self.wake_both();
    }

    fn wake_both(&mut self) {
        for waker in [self.reader.take(), self.writer.take()].into_iter().flatten() {
            waker.wake();
        }
    }

    fn capacity(&self) -> usize {
        BUFFER_BYTES.saturating_sub(self.buffered_bytes)
    }

    fn push(&mut self, bytes: Bytes) -> StreamResult<()> {
        if bytes.len() > self.capacity() {
            return Err(StreamError::trap("the guest wrote more than check-write permitted"));
        }
        self.written_bytes += bytes.len() as u64;
        if self.declared_bytes.is_some_and(|declared| self.written_bytes > declared) {
            let reason = "the body is longer than the declared content-length";
            self.close(End::Failed(Failure::new(FailureKind::NoAnswer, reason)));
            return Err(StreamError::LastOperationFailed(wasmtime::Error::msg(reason)));
        }
        if self.written_bytes > self.limit_bytes {
            let reason = format!("the body is larger than {} bytes (--response-body)", self.limit_bytes);
            self.close(End::Failed(Failure::new(FailureKind::ResponseTooLarge, reason.clone())));
            return Err(StreamError::LastOperationFailed(wasmtime::Error::msg(reason)));
        }
        if !bytes.is_empty() {
            self.buffered_bytes += bytes.len();
            self.chunks.push_back(bytes);
            if let Some(reader) = self.reader.take() {
                reader.wake();
            }
        }
        Ok(())
    }
}

fn join(chunks: &mut VecDeque<Bytes>, total_bytes: usize) -> Bytes {
    match chunks.len() {
        0 => Bytes::new(),
        1 => chunks.pop_front().unwrap_or_default(),
        _ => {
            let mut whole = BytesMut::with_capacity(total_bytes);
            chunks.drain(..).for_each(|chunk| whole.extend_from_slice(&chunk));
            whole.freeze()
        }
    }
}

/// The end that reads.
struct Reader(Pipe);

impl http_body::Body for Reader {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let mut state = self.0.lock();
        if let Some(chunk) = state.chunks.pop_front() {
            state.buffered_bytes -= chunk.len();
            if let Some(writer) = state.writer.take() {
                writer.wake();
            }
            return Poll::Ready(Some(Ok(Frame::data(chunk))));
        }
        match &mut state.end {
            Some(End::Finished(trailers)) => {
                Poll::Ready(trailers.take().map(|trailers| Ok(Frame::trailers(trailers))))
            }
            Some(End::Failed(failure)) => Poll::Ready(Some(Err(failure.clone().into()))),
            None => {
                state.reader = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        let state = self.0.lock();
        state.chunks.is_empty() && matches!(state.end, Some(End::Finished(None)))
    }

    fn size_hint(&self) -> SizeHint {
        let state = self.0.lock();
        match (state.declared_bytes, &state.end) {
            (Some(declared), _) => {
                let read = state.written_bytes - state.buffered_bytes as u64;
                SizeHint::with_exact(declared.saturating_sub(read))
            }
            (None, Some(End::Finished(_))) => SizeHint::with_exact(state.buffered_bytes as u64),
            (None, _) => SizeHint::default(),
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.reader_gone = true;
        state.chunks.clear();
        state.buffered_bytes = 0;
        state.wake_both();
    }
}

/// The end that a guest writes to.
pub(crate) struct Writer(pub(crate) Pipe);

impl Writer {
    /// Waits until something can be written; how much.
    async fn permit(&mut self) -> StreamResult<usize> {
        std::future::poll_fn(|cx| self.poll_capacity(cx)).await;
        self.check_write()
    }

    fn poll_capacity(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.0.lock();
        if state.capacity() > 0 || state.end.is_some() || state.reader_gone {
            return Poll::Ready(());
        }
        state.writer = Some(cx.waker().clone());
        Poll::Pending
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for Writer {
    async fn ready(&mut self) {
        std::future::poll_fn(|cx| self.poll_capacity(cx)).await;
    }
}

#[wasmtime_wasi::async_trait]
impl OutputStream for Writer {
    fn check_write(&mut self) -> StreamResult<usize> {
        let state = self.0.lock();
        if state.end.is_some() || state.reader_gone { Err(StreamError::Closed) } else { Ok(state.capacity()) }
    }

    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        let mut state = self.0.lock();
        if state.end.is_some() || state.reader_gone {
            return Err(StreamError::Closed);
        }
        state.push(bytes)
    }

    fn flush(&mut self) -> StreamResult<()> {
        self.check_write().map(drop)
    }

    /// What the trait would do, without a future of its own for each step: most guests write their whole answer
    /// with this.
    async fn blocking_write_and_flush(&mut self, mut bytes: Bytes) -> StreamResult<()> {
        loop {
            let permit = self.permit().await?;
            let chunk = bytes.split_to(bytes.len().min(permit));
            self.write(chunk)?;
            if bytes.is_empty() {
                break;
            }
        }
        match self.permit().await {
            // The reader has gone away with what was written: that is no error of this write.
            Ok(_) | Err(StreamError::Closed) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    fn write(writer: &mut Writer, text: &'static str) -> StreamResult<()> {
        writer.write(Bytes::from_static(text.as_bytes()))
    }

    #[tokio::test]
    async fn a_finished_body_comes_out_whole() {
        let pipe = Pipe::new(None, 100);
        let mut writer = Writer(pipe.clone());
        write(&mut writer, "hello, ").expect("room");
        write(&mut writer, "world").expect("room");
        pipe.finish(None).expect("no length was declared");
        let body = pipe.into_body();
        assert_eq!(body.as_whole().map(|b| &b[..]), Some(&b"hello, world"[..]));
    }

    #[tokio::test]
    async fn a_writer_waits_for_its_reader_and_trailers_come_last() {
        let pipe = Pipe::new(None, 1 << 20);
        let mut writer = Writer(pipe.clone());
        let chunk = Bytes::from(vec![7; BUFFER_BYTES]);
        writer.write(chunk.clone()).expect("room");
        assert_eq!(writer.check_write().expect("open"), 0, "the buffer is full");
        let mut body = pipe.clone().into_body();
        let waiting = tokio::spawn(async move {
            writer.ready().await;
            writer.check_write()
        });
        let first = body.frame().await.expect("a frame").expect("no error");
        assert_eq!(first.into_data().ok(), Some(chunk));
        assert_eq!(waiting.await.expect("no panic").expect("open"), BUFFER_BYTES);
        let trailers: HeaderMap =
            [(http::header::ETAG, http::HeaderValue::from_static("x"))].into_iter().collect();
        pipe.finish(Some(trailers.clone())).expect("no length was declared");
        let last = body.frame().await.expect("a frame").expect("no error");
        assert_eq!(last.into_trailers().ok(), Some(trailers));
        assert!(body.frame().await.is_none());
    }

    #[tokio::test]
    async fn a_reader_that_goes_away_closes_the_stream() {
        let pipe = Pipe::new(None, 100);
        let mut writer = Writer(pipe.clone());
        drop(pipe.into_body());
        assert!(matches!(writer.check_write(), Err(StreamError::Closed)));
        writer.ready().await;
    }

    #[tokio::test]
    async fn a_body_that_lies_about_its_length_is_an_error() {
        let pipe = Pipe::new(Some(5), 100);
        let mut writer = Writer(pipe.clone());
        write(&mut writer, "abc").expect("room");
        let mut body = pipe.clone().into_body();
        assert_eq!(pipe.finish(None), Err(WrongLength { written_bytes: 3 }));
        assert!(body.frame().await.expect("a frame").is_ok());
        assert!(body.frame().await.expect("a frame").is_err(), "never a clean end");

        let mut writer = Writer(Pipe::new(Some(2), 100));
        assert!(matches!(write(&mut writer, "abc"), Err(StreamError::LastOperationFailed(_))));
    }

    #[test]
    fn a_body_has_a_limit() {
        let mut writer = Writer(Pipe::new(None, 3));
        assert!(write(&mut writer, "abc").is_ok());
        assert!(matches!(write(&mut writer, "d"), Err(StreamError::LastOperationFailed(_))));
    }
}
