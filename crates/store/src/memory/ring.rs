//! The latest history, so that a watch need not read the disk.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::{Event, Revision};

/// Commits held at most: a watch that is further behind reads from disk.
const COMMITS_MAX: usize = 65_536;

/// What an event costs beside its key and values, in bytes.
const EVENT_BYTES: usize = 256;

/// All changes of one revision.
#[derive(Debug)]
pub(crate) struct Commit {
    pub(crate) revision: Revision,
    pub(crate) events: Vec<Event>,
}

/// The commits up to the current revision without a gap, oldest first, within a bound.
pub(crate) struct Ring {
    commits: VecDeque<Arc<Commit>>,
    bytes: usize,
    bytes_max: usize,
}

impl Ring {
    /// An empty ring for this many bytes.
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self { commits: VecDeque::new(), bytes: 0, bytes_max }
    }

    /// Adds the commit of the next revision.
    pub(crate) fn push(&mut self, commit: Arc<Commit>) {
        if let Some(last) = self.commits.back() {
            assert_eq!(commit.revision, last.revision.next(), "commits follow each other without a gap");
        }
        self.bytes += bytes(&commit);
        self.commits.push_back(commit);
    }

    /// The oldest commit, if there are more than fit. The newest stays whatever its size.
    pub(crate) fn pop_excess(&mut self) -> Option<Arc<Commit>> {
        let is_full = self.bytes > self.bytes_max || self.commits.len() > COMMITS_MAX;
        if !is_full || self.commits.len() <= 1 {
            return None;
        }
        let commit = self.commits.pop_front()?;
        self.bytes -= bytes(&commit);
        Some(commit)
    }

    /// The oldest revision that is here; none when nothing is.
    pub(crate) fn first(&self) -> Option<Revision> {
        self.commits.front().map(|commit| commit.revision)
    }

    /// The commit of a revision.
    pub(crate) fn get(&self, revision: Revision) -> Option<&Arc<Commit>> {
        let offset = revision.0.checked_sub(self.first()?.0)?;
        self.commits.get(usize::try_from(offset).ok()?)
    }
}

/// What a commit holds in memory. What was there before counts as well: it is held for this.
fn bytes(commit: &Commit) -> usize {
    let event = |event: &Event| {
        let value =
            |object: &Option<_>| object.as_ref().map_or(0, |object: &Arc<crate::Object>| object.value.len());
        EVENT_BYTES + event.key.len() + value(&event.object) + value(&event.previous)
    };
    commit.events.iter().map(event).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_go_when_the_bound_is_passed_and_not_before() {
        let mut ring = Ring::new(3 * (EVENT_BYTES + 1));
        let mut gone = Vec::new();
        for revision in (5..10).map(Revision) {
            let event = Event { key: "k".into(), revision, object: None, previous: None };
            ring.push(Arc::new(Commit { revision, events: vec![event] }));
            gone.extend(std::iter::from_fn(|| ring.pop_excess()).map(|commit| commit.revision.0));
        }
        assert_eq!(gone, [5, 6]);
        assert_eq!(ring.first(), Some(Revision(7)));
        assert!(ring.get(Revision(6)).is_none() && ring.get(Revision(10)).is_none());
        assert_eq!(ring.get(Revision(9)).map(|commit| commit.revision), Some(Revision(9)));
    }
}
