//! A watch of the embedded engine: it pulls. A slow one costs nothing but its place; what it has not seen is in the
//! ring, then on the disk, and one day compacted.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use futures_util::future::BoxFuture;

use super::Shared;
use crate::memory::Registration;
use crate::{Batch, Error, Event, Result, Revision, Source, WatchOptions};

/// Events in one batch from memory; a revision with more comes whole.
const EVENTS_MAX: usize = 512;

/// Revisions that one read from disk looks through: it holds the write-ahead log back while it lasts.
const REVISIONS_MAX: u64 = 2_000;

/// A watch's place in history.
pub(super) struct Follow {
    shared: Arc<Shared>,
    registration: Registration,
    prefix: Bytes,
    /// The first revision that was not given yet.
    from: Revision,
    previous: bool,
    /// Whether progress was asked for.
    progress: bool,
}

/// What there is for a watch.
enum Look {
    Batch(Batch),
    /// Not in memory, before this revision.
    OnDisk(Revision),
    Nothing,
}

impl Follow {
    /// # Errors
    /// [`Error::Compacted`] when it would begin before the compaction.
    pub(super) fn new(shared: &Arc<Shared>, prefix: &[u8], options: WatchOptions) -> Result<Self> {
        let prefix = Bytes::copy_from_slice(prefix);
        let registration = shared.wakes.register(prefix.clone(), || shared.read().revision);
        let (from, compacted) = {
            let state = shared.read();
            (options.from.unwrap_or(state.revision.next()), state.compacted)
        };
        if from < compacted {
            return Err(Error::Compacted { asked: from, compacted: Some(compacted) });
        }
        let shared = Arc::clone(shared);
        Ok(Self { shared, registration, prefix, from, previous: options.previous, progress: false })
    }

    fn look(&mut self) -> Result<Look> {
        self.from = self.registration.skip(self.from);
        let shared = Arc::clone(&self.shared);
        let state = shared.read();
        if self.from < state.compacted {
            shared.metrics.watches_compacted.fetch_add(1, Ordering::Relaxed);
            return Err(Error::Compacted { asked: self.from, compacted: Some(state.compacted) });
        }
        if self.from > state.revision {
            let asked = std::mem::take(&mut self.progress);
            let batch = Batch { events: Vec::new(), revision: state.revision };
            return Ok(if asked { Look::Batch(batch) } else { Look::Nothing });
        }
        let in_memory_from = state.ring.first().unwrap_or(state.revision.next());
        if self.from < in_memory_from {
            return Ok(Look::OnDisk(in_memory_from));
        }
        let mut events = Vec::new();
        while events.len() < EVENTS_MAX
            && let Some(commit) = state.ring.get(self.from)
        {
            let has_previous = self.previous && commit.revision > state.compacted;
            let meant = commit.events.iter().filter(|event| event.key.starts_with(&self.prefix));
            events.extend(meant.map(|event| Event {
                previous: event.previous.clone().filter(|_| has_previous),
                ..event.clone()
            }));
            self.from = self.from.next();
        }
        Ok(self.batch(events, state.revision))
    }

    /// What was found up to `from`; nothing when that is nothing, and progress was not asked for.
    fn batch(&self, events: Vec<Event>, current: Revision) -> Look {
        if events.is_empty() {
            return Look::Nothing;
        }
        let revision = self.from.before();
        self.shared.metrics.delivered(events.len(), current.0.saturating_sub(revision.0));
        Look::Batch(Batch { events, revision })
    }

    async fn read_disk(&mut self, until: Revision) -> Result<Option<Batch>> {
        let (prefix, from, previous) = (self.prefix.clone(), self.from, self.previous);
        let until = until.min(Revision(from.0.saturating_add(REVISIONS_MAX)));
        let read =
            self.shared.from_disk(from, move |history| history.changes(&prefix, from, until, previous));
        let (events, next) = read.await?;
        self.from = next;
        let current = self.shared.read().revision;
        Ok(match self.batch(events, current) {
            Look::Batch(batch) => Some(batch),
            Look::OnDisk(_) | Look::Nothing => None,
        })
    }
}

impl Source for Follow {
    fn next(&mut self) -> BoxFuture<'_, Result<Batch>> {
        Box::pin(async {
            loop {
                self.registration.mark_unchanged();
                if self.shared.is_closed.load(Ordering::Acquire) {
                    return Err(Error::Unavailable("the store was closed".into()));
                }
                let before = self.from;
                match self.look()? {
                    Look::Batch(batch) => return Ok(batch),
                    Look::OnDisk(until) => {
                        if let Some(batch) = self.read_disk(until).await? {
                            return Ok(batch);
                        }
                    }
                    // It went on without finding anything: there may be more, or progress to tell.
                    Look::Nothing if self.from > before => {}
                    Look::Nothing => self.registration.moved().await,
                }
            }
        })
    }

    fn request_progress(&mut self) -> Result<()> {
        self.progress = true;
        Ok(())
    }
}
