//! Stores with one flaw each, for the checks to find.

use std::time::Duration;

use futures_util::future::BoxFuture;
use shoal_store::model::Model;
use shoal_store::{
    Batch, Count, Error, Expect, Got, Lease, LeaseId, ListOptions, Outcome, Page, Result, Revision, Source,
    Status, Store, Transaction, Watch, WatchOptions, Write,
};

use super::Subject;

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Flaw {
    /// A read sees the world as it was before the last write.
    StaleRead,
    /// A watch gives its first batch twice.
    RepeatedBatch,
    /// A watch does not say what was before.
    NoPrevious,
    /// A conflict writes nevertheless.
    BlindWrite,
    /// A check raises the revision.
    RevisionSkipped,
    /// A list breaks off after its first page.
    BrokenPages,
}

/// The model with a flaw.
pub(crate) struct Flawed {
    model: Model,
    flaw: Flaw,
}

impl Flawed {
    pub(crate) fn new(flaw: Flaw) -> Self {
        Self { model: Model::default(), flaw }
    }
}

impl Subject for Flawed {
    fn store(&self) -> &dyn Store {
        self
    }

    fn reopen(&mut self) {}
}

impl Store for Flawed {
    fn get<'a>(&'a self, key: &'a [u8], at: Option<Revision>) -> BoxFuture<'a, Result<Got>> {
        Box::pin(async move {
            let now = self.model.progress().await?;
            let is_stale = self.flaw == Flaw::StaleRead && now > Revision::FIRST;
            let got = self.model.get(key, at.or(is_stale.then(|| now.before()))).await;
            // What is compacted is no flaw to look for.
            if got.is_err() && at.is_none() { self.model.get(key, None).await } else { got }
        })
    }

    fn list<'a>(&'a self, prefix: &'a [u8], options: ListOptions) -> BoxFuture<'a, Result<Page>> {
        if self.flaw == Flaw::BrokenPages && options.after.is_some() {
            return Box::pin(async { Err(Error::Unavailable("it broke off".into())) });
        }
        self.model.list(prefix, options)
    }

    fn count<'a>(&'a self, prefix: &'a [u8]) -> BoxFuture<'a, Result<Count>> {
        self.model.count(prefix)
    }

    fn transact(&self, transaction: Transaction) -> BoxFuture<'_, Result<Outcome>> {
        Box::pin(async move {
            let outcome = self.model.transact(transaction.clone()).await?;
            if let (Flaw::BlindWrite, Outcome::Conflict(conflict)) = (self.flaw, &outcome) {
                let expected = conflict.current.iter().map(|current| {
                    current.as_ref().map_or(Expect::Absent, |object| Expect::At(object.mod_revision))
                });
                let writes = transaction.writes.into_iter().zip(expected);
                let writes = writes.map(|(write, expect)| Write { expect, ..write }).collect();
                return self.model.transact(Transaction { writes }).await;
            }
            if self.flaw == Flaw::RevisionSkipped
                && matches!(outcome, Outcome::Committed(_))
                && !transaction.is_change()
            {
                self.model.transact(Write::put("\0", "", Expect::Absent).into()).await?;
            }
            Ok(outcome)
        })
    }

    fn watch<'a>(&'a self, prefix: &'a [u8], options: WatchOptions) -> BoxFuture<'a, Result<Watch>> {
        Box::pin(async move {
            let previous = options.previous && self.flaw != Flaw::NoPrevious;
            let watch = self.model.watch(prefix, WatchOptions { previous, ..options }).await?;
            if self.flaw != Flaw::RepeatedBatch {
                return Ok(watch);
            }
            Ok(Watch::new(Box::new(Repeating { watch, again: None, is_done: false })))
        })
    }

    fn progress(&self) -> BoxFuture<'_, Result<Revision>> {
        self.model.progress()
    }

    fn compact(&self, revision: Revision) -> BoxFuture<'_, Result<()>> {
        self.model.compact(revision)
    }

    fn lease_grant(&self, ttl: Duration) -> BoxFuture<'_, Result<Lease>> {
        self.model.lease_grant(ttl)
    }

    fn lease_keep_alive(&self, id: LeaseId) -> BoxFuture<'_, Result<Lease>> {
        self.model.lease_keep_alive(id)
    }

    fn lease_revoke(&self, id: LeaseId) -> BoxFuture<'_, Result<Revision>> {
        self.model.lease_revoke(id)
    }

    fn status(&self) -> BoxFuture<'_, Result<Status>> {
        self.model.status()
    }

    fn health(&self) -> BoxFuture<'_, Result<Duration>> {
        self.model.health()
    }

    fn metrics(&self) -> String {
        self.model.metrics()
    }
}

struct Repeating {
    watch: Watch,
    again: Option<Batch>,
    is_done: bool,
}

impl Source for Repeating {
    fn next(&mut self) -> BoxFuture<'_, Result<Batch>> {
        Box::pin(async {
            if let Some(batch) = self.again.take() {
                return Ok(batch);
            }
            let batch = self.watch.next().await?;
            if !self.is_done && !batch.events.is_empty() {
                self.is_done = true;
                self.again = Some(batch.clone());
            }
            Ok(batch)
        })
    }

    fn request_progress(&mut self) -> Result<()> {
        self.watch.request_progress()
    }
}
