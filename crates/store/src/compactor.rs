//! Keeps the history bounded: every few minutes what is older than one period is forgotten.

use std::sync::Arc;
use std::time::Duration;

use shoal_base::drain::Drain;

use crate::{Error, Result, Revision, Store};

/// Compacts a store to where it was one period ago.
///
/// Several managers may each run one against the same etcd: what another has compacted already is no error.
pub struct Compactor {
    store: Arc<dyn Store>,
    /// Where the store was one period ago.
    mark: Option<Revision>,
}

impl Compactor {
    /// A compactor that has seen nothing yet.
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self { store, mark: None }
    }

    /// One period has passed: compacts to the mark of the last call and sets a new one. Returns the revision
    /// that was compacted, if any.
    ///
    /// # Errors
    /// Those of the store. The mark stays, so that the next call tries again.
    pub async fn step(&mut self) -> Result<Option<Revision>> {
        let now = self.store.progress().await?;
        let mark = self.mark.filter(|mark| *mark > Revision::FIRST);
        if let Some(mark) = mark {
            match self.store.compact(mark).await {
                Ok(()) | Err(Error::Compacted { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        self.mark = Some(now);
        Ok(mark)
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
