//! Keeps the history bounded: what is older than some periods is forgotten, a period at a time.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use shoal_base::drain::Drain;

use crate::{Error, Result, Revision, Store};

/// Compacts a store to where it was some periods ago.
///
/// Several managers may each run one against the same etcd: what another has compacted already is no error.
pub struct Compactor {
    store: Arc<dyn Store>,
    /// Periods whose history is kept.
    kept: usize,
    /// Where the store was at the end of each of them, the oldest first.
    marks: VecDeque<Revision>,
}

impl Compactor {
    /// A compactor that has seen nothing yet and keeps the history of so many periods.
    pub fn new(store: Arc<dyn Store>, kept: usize) -> Self {
        Self { store, kept, marks: VecDeque::new() }
    }

    /// One period has passed: marks where the store is, and compacts to the mark of as many periods ago as are kept. Returns
    /// the revision that was compacted, if any.
    ///
    /// # Errors
    /// Those of the store. The next call tries again.
    pub async fn step(&mut self) -> Result<Option<Revision>> {
        self.marks.push_back(self.store.progress().await?);
        let Some(past) = self.marks.len().checked_sub(self.kept + 1) else { return Ok(None) };
        self.marks.drain(..past);
        let Some(mark) = self.marks.front().copied().filter(|mark| *mark > Revision::FIRST) else {
            return Ok(None);
        };
        match self.store.compact(mark).await {
            Ok(()) | Err(Error::Compacted { .. }) => Ok(Some(mark)),
            Err(error) => Err(error),
        }
    }

    /// Steps every `every` until the drain begins. The caller awaits it.
    pub async fn run(mut self, every: Duration, drain: Drain) {
        let mut ticks = tokio::time::interval(every);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = drain.begun() => return,
                _ = ticks.tick() => {}
            }
            match self.step().await {
                Ok(Some(revision)) => tracing::debug!(%revision, "compacted the store"),
                Ok(None) => {}
                Err(error) => {
                    tracing::warn!("the store was not compacted: {error}; the next try is in {every:?}");
                }
            }
        }
    }
}
