//! The bytes of values as streams of `wasi:io`. Files are read and written on the blocking threads of the
//! runtime, never on an edge core.

use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use futures_util::FutureExt as _;
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::{JoinHandle, spawn_blocking};
use wasmtime_wasi_io::async_trait;
use wasmtime_wasi_io::poll::Pollable;
use wasmtime_wasi_io::streams::{InputStream, OutputStream, StreamError, StreamResult};

use super::disk_failed;
use super::value::{CHUNK_BYTES, IncomingValue, Source, Spool};

/// Reads a value.
pub(super) struct ValueInput {
    source: Source,
    /// Offset of what is read next.
    position: u64,
    end: u64,
    state: Reading,
    /// Held while the value is open.
    _open: OwnedSemaphorePermit,
}

enum Reading {
    Idle,
    Waiting(JoinHandle<std::io::Result<Bytes>>),
    Ready(Bytes),
    Failed(std::io::Error),
}

impl ValueInput {
    pub(super) fn new(value: IncomingValue) -> Self {
        let IncomingValue { source, start, end, open } = value;
        Self { source, position: start, end, state: Reading::Idle, _open: open }
    }

    /// Bytes of the next piece.
    fn next_len(&self) -> usize {
        usize::try_from(self.end - self.position).unwrap_or(usize::MAX).min(CHUNK_BYTES)
    }

    /// Starts to read the next piece, unless the end is reached or something is under way.
    fn advance(&mut self) {
        let (position, count) = (self.position, self.next_len());
        if count == 0 || !matches!(self.state, Reading::Idle) {
            return;
        }
        self.position += count as u64;
        self.state = match &self.source {
            Source::Memory(_) => Reading::done(self.source.read(position, count)),
            Source::File { .. } => {
                let source = self.source.clone();
                Reading::Waiting(spawn_blocking(move || source.read(position, count)))
            }
        };
    }
}

impl Reading {
    fn done(result: std::io::Result<Bytes>) -> Self {
        result.map_or_else(Self::Failed, Self::Ready)
    }

    /// What a finished task of the blocking threads gave.
    fn joined(result: Result<std::io::Result<Bytes>, tokio::task::JoinError>) -> Self {
        Self::done(result.unwrap_or_else(|error| Err(std::io::Error::other(error))))
    }
}

#[async_trait]
impl InputStream for ValueInput {
    fn read(&mut self, size: usize) -> StreamResult<Bytes> {
        self.advance();
        if let Reading::Waiting(task) = &mut self.state
            && let Some(result) = task.now_or_never()
        {
            self.state = Reading::joined(result);
        }
        match std::mem::replace(&mut self.state, Reading::Idle) {
            // Nothing was under way and nothing could be started: the end.
            Reading::Idle => Err(StreamError::Closed),
            Reading::Waiting(task) => {
                self.state = Reading::Waiting(task);
                Ok(Bytes::new())
            }
            Reading::Ready(mut bytes) => {
                let now = bytes.split_to(size.min(bytes.len()));
                if !bytes.is_empty() {
                    self.state = Reading::Ready(bytes);
                }
                Ok(now)
            }
            Reading::Failed(error) => {
                // After an error the stream is closed.
                self.position = self.end;
                let text = disk_failed("reading an object", &error);
                Err(StreamError::LastOperationFailed(wasmtime::Error::msg(text)))
            }
        }
    }
}

#[async_trait]
impl Pollable for ValueInput {
    async fn ready(&mut self) {
        self.advance();
        if let Reading::Waiting(task) = &mut self.state {
            self.state = Reading::joined(task.await);
        }
    }
}

/// Writes a value.
pub(super) struct ValueOutput {
    spool: Arc<Mutex<Spool>>,
    /// The write to the file that is under way. Its failure is kept by the spool.
    writing: Option<JoinHandle<()>>,
}

impl ValueOutput {
    pub(super) fn new(spool: Arc<Mutex<Spool>>) -> Self {
        Self { spool, writing: None }
    }

    /// Whether the last write to the file is done.
    fn is_idle(&mut self) -> bool {
        if self.writing.as_ref().is_some_and(JoinHandle::is_finished) {
            self.writing = None;
        }
        self.writing.is_none()
    }
}

#[async_trait]
impl OutputStream for ValueOutput {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        if !self.is_idle() || bytes.len() > CHUNK_BYTES {
            return Err(StreamError::trap("more was written than check-write permitted"));
        }
        // Nobody writes the file now, so the lock is free.
        let must_drain = lock(&self.spool).accept(bytes).map_err(failed)?;
        if must_drain {
            let spool = Arc::clone(&self.spool);
            self.writing = Some(spawn_blocking(move || {
                // A failure is kept, and told by the next `check-write` and by `finish`.
                let _ = lock(&spool).drain();
            }));
        }
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        // `check-write` gives nothing until the file has all that was written.
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        if !self.is_idle() {
            return Ok(0);
        }
        lock(&self.spool).check().map_err(failed)?;
        Ok(CHUNK_BYTES)
    }

    async fn cancel(&mut self) {
        self.ready().await;
    }
}

#[async_trait]
impl Pollable for ValueOutput {
    async fn ready(&mut self) {
        if let Some(writing) = &mut self.writing {
            // A failure is kept by the spool.
            let _ = writing.await;
            self.writing = None;
        }
    }
}

/// The spool. After a panic that held it the value may be short, and must never become an object.
pub(super) fn lock(spool: &Mutex<Spool>) -> MutexGuard<'_, Spool> {
    spool.lock().unwrap_or_else(|poisoned| {
        let mut spool = poisoned.into_inner();
        spool.fail("writing the value failed in the host".into());
        spool
    })
}

fn failed(why: String) -> StreamError {
    StreamError::LastOperationFailed(wasmtime::Error::msg(why))
}
