//! Everything in memory of one store, behind one lock.

use std::sync::Arc;

use crate::model::check_revision;
use crate::{Result, Revision};

use super::index::Index;
use super::leases::Leases;
use super::ring::{Commit, Ring};

/// What reads see. Only what is on the disk comes in here.
pub(crate) struct State {
    pub(crate) index: Index,
    pub(crate) ring: Ring,
    pub(crate) leases: Leases,
    pub(crate) revision: Revision,
    /// The oldest revision that can be read.
    pub(crate) compacted: Revision,
}

impl State {
    /// An empty store at its beginning.
    pub(crate) fn new(ring_bytes_max: usize) -> Self {
        Self {
            index: Index::default(),
            ring: Ring::new(ring_bytes_max),
            leases: Leases::default(),
            revision: Revision::FIRST,
            compacted: Revision(0),
        }
    }

    /// The revision to read at.
    pub(crate) fn at(&self, asked: Option<Revision>) -> Result<Revision> {
        let Some(asked) = asked else { return Ok(self.revision) };
        check_revision(asked, self.revision, self.compacted)?;
        Ok(asked)
    }

    /// Takes in the commit of the next revision.
    pub(crate) fn apply(&mut self, commit: Arc<Commit>) {
        assert_eq!(commit.revision, self.revision.next(), "no revision is left out");
        self.revision = commit.revision;
        for event in &commit.events {
            self.index.apply(event);
            self.leases.apply(event);
        }
        self.ring.push(commit);
        while let Some(old) = self.ring.pop_excess() {
            // What a change of that time replaced is read from disk from now on.
            for event in &old.events {
                if let Some(previous) = &event.previous {
                    self.index.evict(&event.key, previous.mod_revision);
                }
            }
        }
    }
}
