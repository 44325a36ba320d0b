//! A watch of etcd. When its stream breaks, it goes on at another endpoint where it stopped.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use super::Shared;
use super::wire::{
    Event as WireEvent, WatchAsk, WatchCreateRequest, WatchProgressRequest, WatchRequest, WatchResponse,
};
use crate::{Batch, Error, Result, Revision, Source, WatchOptions};

/// How long a watch looks for an endpoint before it gives up.
const PATIENCE: Duration = Duration::from_secs(30);

/// Pause between two looks.
const PAUSE: Duration = Duration::from_millis(200);

/// How long etcd may take to confirm a watch.
const CONFIRM: Duration = Duration::from_secs(10);

/// A stream that broke before this gets a pause before the next.
const YOUNG: Duration = Duration::from_secs(1);

/// Requests on their way to etcd: one to create, a few for progress.
const REQUESTS_MAX: usize = 8;

/// Events of one revision that came in pieces, at most: the largest transaction has 128, a lease more.
const PIECES_MAX: usize = crate::limits::LEASE_KEYS_MAX * 2;

/// A watch's place in history, and the stream that it has for now.
pub(super) struct Follow {
    shared: Arc<Shared>,
    prefix: Vec<u8>,
    options: WatchOptions,
    /// The first revision that was not given yet.
    from: Revision,
    stream: Option<Open>,
    /// Whether progress was asked for and not told yet.
    progress: bool,
}

struct Open {
    since: Instant,
    answers: Streaming<WatchResponse>,
    requests: mpsc::Sender<WatchRequest>,
    /// What came of an answer that is not whole yet.
    pieces: Vec<WireEvent>,
}

impl Follow {
    /// Begins the watch; etcd has confirmed it when this returns.
    pub(super) async fn begin(
        shared: Arc<Shared>,
        prefix: Vec<u8>,
        options: WatchOptions,
        from: Revision,
    ) -> Result<Self> {
        shared.watchers.fetch_add(1, Ordering::Relaxed);
        let mut follow = Self { shared, prefix, options, from, stream: None, progress: false };
        let open = follow.open().await?;
        follow.stream = Some(open);
        follow.probe().await?;
        Ok(follow)
    }

    /// An etcd that may lose a deletion at the revision of a compaction is not asked for one.
    async fn probe(&self) -> Result<()> {
        if self.shared.version().is_some_and(super::version::Version::keeps_deletion_at_compaction) {
            return Ok(());
        }
        // There is nothing before the first revision.
        let before = self.from.before();
        if before.0 <= self.shared.mapping.offset {
            return Ok(());
        }
        match self.shared.read_at(before).await {
            Ok(()) | Err(Error::Future { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn open(&self) -> Result<Open> {
        let (key, range_end) = self.shared.mapping.range(&self.prefix);
        let create = WatchCreateRequest {
            key,
            range_end,
            start_revision: self.shared.mapping.inner(self.from)?,
            prev_kv: self.options.previous,
            fragment: true,
        };
        let requests = std::sync::Mutex::new(None);
        let open = || {
            let (sender, receiver) = mpsc::channel(REQUESTS_MAX);
            // It has just been made, with room for more than one.
            let _ = sender.try_send(WatchRequest { ask: Some(WatchAsk::Create(create.clone())) });
            *requests.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(sender);
            ReceiverStream::new(receiver)
        };
        let mut answers: Streaming<WatchResponse> =
            self.shared.client.stream("/etcdserverpb.Watch/Watch", open).await?;
        let silent = |_| Error::Unavailable("etcd does not confirm the watch".into());
        let first = tokio::time::timeout(CONFIRM, answers.message()).await.map_err(silent)?;
        let first = first.map_err(|status| broken(&status))?.ok_or_else(ended)?;
        if first.canceled || !first.created {
            return Err(self.cancelled(&first));
        }
        let requests = requests.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        Ok(Open { since: Instant::now(), answers, requests: requests.ok_or_else(ended)?, pieces: Vec::new() })
    }

    /// The stream, opened anew when it broke.
    async fn connected(&mut self) -> Result<&mut Open> {
        let ends = Instant::now() + PATIENCE;
        while self.stream.is_none() {
            match self.open().await {
                Ok(open) => self.stream = Some(open),
                Err(error @ Error::Unavailable(_)) if Instant::now() + PAUSE < ends => {
                    tracing::debug!("a watch looks for an endpoint: {error}");
                    tokio::time::sleep(PAUSE).await;
                }
                Err(error) => return Err(error),
            }
            if self.progress {
                self.send_progress();
            }
        }
        self.stream.as_mut().ok_or_else(ended)
    }

    /// One answer; none when there is nothing in it to give.
    async fn step(&mut self) -> Result<Option<Batch>> {
        let open = self.connected().await?;
        let answer = match open.answers.message().await {
            Ok(Some(answer)) => answer,
            broken => {
                if let Err(status) = broken {
                    tracing::debug!("a watch broke off: {status}");
                }
                // One that broke at once would break again at once.
                let is_young = open.since.elapsed() < YOUNG;
                self.stream = None;
                if is_young {
                    tokio::time::sleep(PAUSE).await;
                }
                return Ok(None);
            }
        };
        if answer.canceled {
            self.stream = None;
            return Err(self.cancelled(&answer));
        }
        open.pieces.extend(answer.events);
        if open.pieces.len() > PIECES_MAX {
            self.stream = None;
            return Err(Error::Unavailable("etcd sends an answer without an end".into()));
        }
        if answer.fragment {
            return Ok(None);
        }
        let pieces = std::mem::take(&mut open.pieces);
        if pieces.is_empty() {
            return self.told_progress(answer.header);
        }
        self.give(pieces)
    }

    fn told_progress(&mut self, header: Option<super::wire::Header>) -> Result<Option<Batch>> {
        let revision = self.shared.mapping.header(header)?;
        if !self.progress || !self.shared.progress_trusted() {
            return Ok(None);
        }
        self.progress = false;
        self.from = self.from.max(revision.next());
        Ok(Some(Batch { events: Vec::new(), revision }))
    }

    fn give(&mut self, pieces: Vec<WireEvent>) -> Result<Option<Batch>> {
        let mut events = Vec::with_capacity(pieces.len());
        for event in pieces {
            let event = self.shared.mapping.event(event)?;
            // Some versions repeat what was before when a watch begins in the future.
            if event.revision >= self.from {
                events.push(event);
            }
        }
        let Some(last) = events.last() else { return Ok(None) };
        let revision = last.revision;
        self.from = revision.next();
        self.shared.saw(revision);
        let behind = self.shared.seen.load(Ordering::Relaxed).saturating_sub(revision.0);
        self.shared.metrics.delivered(events.len(), behind);
        Ok(Some(Batch { events, revision }))
    }

    fn cancelled(&self, answer: &WatchResponse) -> Error {
        if answer.compact_revision > 0 {
            self.shared.metrics.watches_compacted.fetch_add(1, Ordering::Relaxed);
            let compacted = self.shared.mapping.outer(answer.compact_revision).ok();
            return Error::Compacted { asked: self.from, compacted };
        }
        Error::Unavailable(format!("etcd ended the watch: {}", answer.cancel_reason))
    }

    fn send_progress(&self) {
        let ask = WatchRequest { ask: Some(WatchAsk::Progress(WatchProgressRequest {})) };
        // Full: enough are under way.
        let _ = self.stream.as_ref().map(|open| open.requests.try_send(ask));
    }
}

impl Source for Follow {
    fn next(&mut self) -> BoxFuture<'_, Result<Batch>> {
        Box::pin(async {
            loop {
                if let Some(batch) = self.step().await? {
                    return Ok(batch);
                }
            }
        })
    }

    fn request_progress(&mut self) -> Result<()> {
        if !self.shared.progress_trusted() {
            return Err(Error::Invalid(
                "this etcd cannot be relied on for progress; read the revision of the store instead".into(),
            ));
        }
        self.progress = true;
        self.send_progress();
        Ok(())
    }
}

impl Drop for Follow {
    fn drop(&mut self) {
        self.shared.watchers.fetch_sub(1, Ordering::Relaxed);
    }
}

fn broken(status: &tonic::Status) -> Error {
    Error::Unavailable(format!("etcd: {}", status.message()))
}

fn ended() -> Error {
    Error::Unavailable("etcd ended the watch".into())
}
