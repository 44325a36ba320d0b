//! Deciding what a group of transactions does, before anything is written.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;

use crate::memory::{Commit, State};
use crate::{
    Change, Committed, Conflict, Error, Event, LeaseId, Object, Outcome, Result, Revision, Transaction, Write,
};

/// Transactions that go to the disk together. Each sees what those before it did.
pub(super) struct Group<'a> {
    state: &'a State,
    revision: Revision,
    /// What the group has changed so far.
    changed: HashMap<Bytes, Option<Arc<Object>>>,
    pub(super) commits: Vec<Arc<Commit>>,
}

impl<'a> Group<'a> {
    pub(super) fn new(state: &'a State) -> Self {
        Self { state, revision: state.revision, changed: HashMap::new(), commits: Vec::new() }
    }

    /// What a transaction does, as if all before it were done. `has_space` is false when nothing may be added.
    ///
    /// # Errors
    /// The lease does not exist or is full; there is no space.
    pub(super) fn decide(&mut self, transaction: &Transaction, has_space: bool) -> Result<Outcome> {
        let current: Vec<_> = transaction.writes.iter().map(|write| self.current(&write.key)).collect();
        let is_met =
            |(write, current): (&Write, &Option<Arc<Object>>)| write.expect.is_met(current.as_deref());
        if !transaction.writes.iter().zip(&current).all(is_met) {
            return Ok(Outcome::Conflict(Conflict { revision: self.revision, current }));
        }
        self.check(transaction, has_space)?;
        if !transaction.is_change() {
            return Ok(Outcome::Committed(Committed { revision: self.revision, deleted: Vec::new() }));
        }
        let revision = self.revision.next();
        let changes = transaction.writes.iter().zip(current).filter(|(write, _)| write.is_change());
        let events: Vec<Event> = changes.map(|(write, previous)| event(write, previous, revision)).collect();
        let deleted = events.iter().filter(|event| event.is_delete());
        let deleted = deleted.filter_map(|event| event.previous.clone()).collect();
        self.push(events);
        Ok(Outcome::Committed(Committed { revision, deleted }))
    }

    /// Deletes what hangs on a lease. Returns the revision after that.
    ///
    /// # Errors
    /// The lease does not exist.
    pub(super) fn revoke(&mut self, id: LeaseId) -> Result<Revision> {
        let revision = self.revision.next();
        let keys = self.state.leases.keys(id)?.into_iter();
        let events: Vec<Event> = keys
            .filter_map(|key| {
                Some(Event { previous: Some(self.current(&key)?), key, revision, object: None })
            })
            .collect();
        if !events.is_empty() {
            self.push(events);
        }
        Ok(self.revision)
    }

    fn check(&self, transaction: &Transaction, has_space: bool) -> Result<()> {
        for write in &transaction.writes {
            let Change::Put { lease, .. } = &write.change else { continue };
            if !has_space {
                return Err(Error::NoSpace(
                    "the database is at its quota; delete objects, compact, or raise the quota".into(),
                ));
            }
            if let Some(lease) = lease {
                self.state.leases.check(*lease)?;
            }
        }
        Ok(())
    }

    fn current(&self, key: &Bytes) -> Option<Arc<Object>> {
        match self.changed.get(key) {
            Some(changed) => changed.clone(),
            None => self.state.index.current(key).cloned(),
        }
    }

    fn push(&mut self, events: Vec<Event>) {
        self.revision = self.revision.next();
        for event in &events {
            self.changed.insert(event.key.clone(), event.object.clone());
        }
        self.commits.push(Arc::new(Commit { revision: self.revision, events }));
    }
}

fn event(write: &Write, previous: Option<Arc<Object>>, revision: Revision) -> Event {
    let object = match &write.change {
        Change::Put { value, lease } => Some(Arc::new(Object {
            key: write.key.clone(),
            value: value.clone(),
            create_revision: previous.as_ref().map_or(revision, |previous| previous.create_revision),
            mod_revision: revision,
            version: previous.as_ref().map_or(1, |previous| previous.version + 1),
            lease: *lease,
        })),
        Change::Delete | Change::Check => None,
    };
    Event { key: write.key.clone(), revision, object, previous }
}
