//! Following what changes.

use futures_util::future::BoxFuture;

use crate::{Event, Result, Revision};

/// What of the changes is wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WatchOptions {
    /// The first revision whose changes are given. None: what changes after the call. A revision in the future
    /// gives nothing before it.
    pub from: Option<Revision>,
    /// Whether events carry what was there before.
    pub previous: bool,
}

/// Changes that have happened, all of one revision together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// In the order of their revisions, and in one revision as its transaction has them. Empty: the answer to
    /// [`Watch::request_progress`].
    pub events: Vec<Event>,
    /// Every change up to this revision has been given by now.
    pub revision: Revision,
}

/// A watch. Dropping it ends it.
pub struct Watch {
    source: Box<dyn Source>,
}

/// Where a watch has its changes from; one for each engine.
pub trait Source: Send {
    /// See [`Watch::next`].
    fn next(&mut self) -> BoxFuture<'_, Result<Batch>>;

    /// See [`Watch::request_progress`].
    ///
    /// # Errors
    /// It cannot be relied on.
    fn request_progress(&mut self) -> Result<()>;
}

impl Watch {
    /// A watch on changes from `source`.
    pub fn new(source: Box<dyn Source>) -> Self {
        Self { source }
    }

    /// The next changes; waits until there are any. Nothing is lost when the future is dropped.
    ///
    /// # Errors
    /// [`Error::Compacted`](crate::Error::Compacted): the watch is too far behind and has ended; list anew.
    /// Others: it has broken off; watch again from the revision after that of the last batch.
    pub async fn next(&mut self) -> Result<Batch> {
        self.source.next().await
    }

    /// Asks for a batch without events whose revision is that of the store at this moment or later. It comes in
    /// its place among the others: everything up to that revision has been given before.
    ///
    /// # Errors
    /// [`Error::Invalid`](crate::Error::Invalid): the engine behind cannot be relied on for this; ask
    /// [`Store::progress`](crate::Store::progress) and read instead.
    pub fn request_progress(&mut self) -> Result<()> {
        self.source.request_progress()
    }
}
