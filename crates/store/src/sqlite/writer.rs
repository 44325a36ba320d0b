//! The one thread that writes: it takes all that waits, decides it, and makes it durable with one sync.
//!
//! Memory changes after the disk, and callers are answered after memory: a read that follows an answer sees it. An
//! error of the disk is followed by opening the file anew, and what it holds then is the truth.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use shoal_base::soon::{self, Share};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::Shared;
use super::group::Group;
use super::journal::{Journal, meta};
use super::load::load_leases;
use super::schema::{COLUMNS, Change, disk, row_id};
use crate::limits::SLOW;
use crate::memory::{Commit, State};
use crate::model::check_revision;
use crate::{Error, Event, LeaseId, Outcome, Result, Revision, Transaction};

/// Transactions in one commit: the first must not wait long for the last.
pub(super) const GROUP_MAX: usize = 256;

/// Rows that are removed from the file between two commits, after a compaction.
const CLEAN_ROWS: usize = 500;

/// Keys whose history is compacted in memory before readers get their turn.
const COMPACT_KEYS: usize = 2048;

/// How long the thread sleeps when there is no lease to end.
const IDLE: Duration = Duration::from_secs(3600);

/// Something for the writer to do.
pub(super) struct Job {
    pub(super) work: Work,
    /// Held until it is done: bounds the queue.
    pub(super) room: OwnedSemaphorePermit,
}

/// What there is to do, and whom to tell. Whoever went away is not told.
pub(super) enum Work {
    Transact(Transaction, oneshot::Sender<Result<Outcome>>),
    Compact(Revision, oneshot::Sender<Result<()>>),
    Grant(Duration, oneshot::Sender<Result<LeaseId>>),
    Revoke(LeaseId, oneshot::Sender<Result<Revision>>),
    Beat(oneshot::Sender<Result<()>>),
}

type Waiting = (Transaction, oneshot::Sender<Result<Outcome>>, OwnedSemaphorePermit);

/// The state of the thread.
pub(super) struct Writer {
    journal: Journal,
    shared: Arc<Shared>,
    quota_bytes: u64,
    /// What the file holds, in bytes.
    used_bytes: u64,
    /// How far the file is cleaned after compactions.
    cleaned: Revision,
    /// Whether the file must be opened anew before anything else.
    is_suspect: bool,
}

impl Writer {
    pub(super) fn new(journal: Journal, shared: Arc<Shared>, quota_bytes: u64, cleaned: Revision) -> Self {
        let mut writer = Self { journal, shared, quota_bytes, used_bytes: 0, cleaned, is_suspect: false };
        writer.measure();
        writer
    }

    /// Works until nobody is left to ask.
    pub(super) fn run(mut self, jobs: &Receiver<Job>) {
        if !soon::run(Share::Larger) {
            tracing::debug!("the writer of the store stands in line for a core like everyone");
        }
        while let Some(first) = self.wait(jobs) {
            if let Some(job) = first {
                self.serve(job, jobs);
            }
            self.end_leases();
            self.clean();
        }
    }

    /// The next job; none inside when there is other work; none at all when everyone has gone.
    #[expect(clippy::option_option, reason = "gone, nothing yet, and a job")]
    fn wait(&self, jobs: &Receiver<Job>) -> Option<Option<Job>> {
        if !self.is_suspect && self.cleaned < self.shared.read().compacted {
            return match jobs.try_recv() {
                Ok(job) => Some(Some(job)),
                Err(TryRecvError::Empty) => Some(None),
                Err(TryRecvError::Disconnected) => None,
            };
        }
        let end = self.shared.read().leases.next_end();
        let wait = end.map_or(IDLE, |end| end.saturating_duration_since(Instant::now()));
        // A broken disk is not asked about ended leases in a tight loop.
        let wait = if self.is_suspect { wait.max(Duration::from_secs(1)) } else { wait };
        match jobs.recv_timeout(wait) {
            Ok(job) => Some(Some(job)),
            Err(RecvTimeoutError::Timeout) => Some(None),
            Err(RecvTimeoutError::Disconnected) => None,
        }
    }

    /// Does a job, and with a transaction all those that wait behind it.
    fn serve(&mut self, first: Job, jobs: &Receiver<Job>) {
        let mut waiting = Vec::<Waiting>::new();
        let mut next = Some(first);
        while let Some(Job { work, room }) = next.take() {
            let Work::Transact(transaction, tell) = work else {
                self.transact(std::mem::take(&mut waiting));
                self.serve_alone(work);
                return;
            };
            waiting.push((transaction, tell, room));
            if waiting.len() < GROUP_MAX {
                next = jobs.try_recv().ok();
            }
        }
        self.transact(waiting);
    }

    fn serve_alone(&mut self, work: Work) {
        match work {
            Work::Transact(..) => unreachable!("transactions are served in groups"),
            Work::Compact(revision, tell) => drop(tell.send(self.compact(revision))),
            Work::Grant(ttl, tell) => drop(tell.send(self.grant(ttl))),
            Work::Revoke(id, tell) => drop(tell.send(self.revoke(id))),
            Work::Beat(tell) => drop(tell.send(self.durably(&[], Journal::beat))),
        }
    }

    /// Decides the transactions, writes what they change, and answers.
    fn transact(&mut self, waiting: Vec<Waiting>) {
        if waiting.is_empty() {
            return;
        }
        let began = Instant::now();
        let has_space = self.used_bytes < self.quota_bytes;
        let (outcomes, commits) = {
            let state = self.shared.read();
            let mut group = Group::new(&state);
            let outcomes: Vec<_> =
                waiting.iter().map(|(transaction, ..)| group.decide(transaction, has_space)).collect();
            (outcomes, group.commits)
        };
        let written = if commits.is_empty() { Ok(()) } else { self.durably(&commits, |_| Ok(())) };
        if !commits.is_empty() {
            self.took("a commit", began, &format!("{} transactions", waiting.len()));
            self.shared.metrics.commit_took(waiting.len(), began.elapsed());
        }
        for ((_, tell, room), outcome) in waiting.into_iter().zip(outcomes) {
            drop(room);
            let result = written.clone().and(outcome);
            self.shared.metrics.count(&result);
            drop(tell.send(result));
        }
        // After the answers, so that no writer waits behind thousands of watches.
        if written.is_ok() {
            self.shared.wakes.tell(&commits);
        }
    }

    /// Writes commits and what else belongs to them as one transaction, then shows them to readers. The caller tells
    /// the watches.
    fn durably<R>(
        &mut self,
        commits: &[Arc<Commit>],
        also: impl FnOnce(&mut Journal) -> Result<R>,
    ) -> Result<R> {
        self.durably_then(commits, also, |_, _| {})
    }

    /// The same; `then` changes what is in memory in one step with the commits.
    fn durably_then<R>(
        &mut self,
        commits: &[Arc<Commit>],
        also: impl FnOnce(&mut Journal) -> Result<R>,
        then: impl FnOnce(&mut State, &R),
    ) -> Result<R> {
        if self.is_suspect {
            self.recover()?;
            if !commits.is_empty() && commits[0].revision != self.shared.read().revision.next() {
                return Err(Error::Unavailable(
                    "the store has just recovered from an error of its disk".into(),
                ));
            }
        }
        match self.write(commits, also) {
            Ok(result) => {
                self.show(commits, |state| then(state, &result));
                self.measure();
                Ok(result)
            }
            Err((error, was_committing)) => Err(self.failed(error, was_committing)),
        }
    }

    /// On error also whether it was the commit itself that failed.
    fn write<R>(
        &mut self,
        commits: &[Arc<Commit>],
        also: impl FnOnce(&mut Journal) -> Result<R>,
    ) -> Result<R, (Error, bool)> {
        let before = |error| (error, false);
        self.journal.begin().map_err(before)?;
        for commit in commits {
            self.journal.append(commit).map_err(before)?;
        }
        let result = also(&mut self.journal).map_err(before)?;
        self.journal.commit().map_err(|error| (error, true))?;
        Ok(result)
    }

    /// What a failed write means. After a full disk the file is as before; after anything else only the file
    /// itself can tell.
    fn failed(&mut self, error: Error, was_committing: bool) -> Error {
        self.journal.roll_back();
        if matches!(error, Error::NoSpace(_)) {
            self.shared.say_once(&error);
            return error;
        }
        self.is_suspect = true;
        self.shared.say_once(&error);
        let before = self.shared.read().revision;
        match self.recover() {
            Ok(()) if self.shared.read().revision == before => Error::Unavailable(error.to_string()),
            _ if was_committing => Error::OutcomeUnknown(error.to_string()),
            _ => Error::Unavailable(error.to_string()),
        }
    }

    /// Opens the file anew and takes over what it holds.
    fn recover(&mut self) -> Result<()> {
        let revision = self.journal.reopen()?;
        let known = self.shared.read().revision;
        if revision < known {
            let what = format!("the file is at revision {revision}, and {known} was acknowledged");
            return Err(Error::Corrupt(what));
        }
        let commits = self.read_commits(known)?;
        self.show(&commits, |_| {});
        self.shared.wakes.tell(&commits);
        let meta = meta(self.journal.connection())?;
        {
            let mut state = self.shared.write();
            load_leases(self.journal.connection(), &mut state, Instant::now())?;
        }
        if meta.compacted > self.shared.read().compacted {
            self.compact_memory(meta.compacted);
        }
        self.is_suspect = false;
        self.shared.metrics.recoveries.fetch_add(1, Ordering::Relaxed);
        tracing::warn!(%revision, "the store has recovered from an error of its disk");
        Ok(())
    }

    /// What the file holds after a revision.
    fn read_commits(&self, known: Revision) -> Result<Vec<Arc<Commit>>> {
        let read = format!("SELECT {COLUMNS}, value FROM event WHERE id >= ?1 ORDER BY id");
        let mut read = self.journal.connection().prepare(&read).map_err(disk)?;
        let mut rows = read.query([row_id(known.next(), 0)]).map_err(disk)?;
        let state = self.shared.read();
        let mut changed = std::collections::HashMap::new();
        let mut commits = Vec::<Commit>::new();
        while let Some(row) = rows.next().map_err(disk)? {
            let change = Change::read(row)?;
            let value: Option<Vec<u8>> = row.get(7).map_err(disk)?;
            let object = change.object(value.unwrap_or_default().into());
            let current = || state.index.current(&change.key).cloned();
            let previous = changed.insert(change.key.clone(), object.clone()).unwrap_or_else(current);
            let event = Event { key: change.key, revision: change.revision, object, previous };
            match commits.last_mut() {
                Some(commit) if commit.revision == event.revision => commit.events.push(event),
                _ => commits.push(Commit { revision: event.revision, events: vec![event] }),
            }
        }
        Ok(commits.into_iter().map(Arc::new).collect())
    }

    /// Shows readers what is on the disk.
    fn show(&self, commits: &[Arc<Commit>], then: impl FnOnce(&mut State)) {
        let mut state = self.shared.write();
        for commit in commits {
            state.apply(Arc::clone(commit));
        }
        then(&mut state);
    }

    fn compact(&mut self, revision: Revision) -> Result<()> {
        {
            let state = self.shared.read();
            check_revision(revision, state.revision, state.compacted.next())?;
        }
        let began = Instant::now();
        self.durably(&[], |journal| journal.set_compacted(revision))?;
        self.compact_memory(revision);
        self.shared.metrics.compactions.fetch_add(1, Ordering::Relaxed);
        self.shared.metrics.compacting(began.elapsed());
        Ok(())
    }

    /// From here on nobody can read before `revision`.
    fn compact_memory(&self, revision: Revision) {
        self.shared.write().compacted = revision;
        self.shared.wakes.tell_all();
        let mut next = Some(Bytes::new());
        while let Some(from) = next {
            next = self.shared.write().index.compact(&from, COMPACT_KEYS, revision);
        }
    }

    /// Removes some of what is compacted from the file.
    fn clean(&mut self) {
        let to = self.shared.read().compacted;
        if self.is_suspect || self.cleaned >= to {
            return;
        }
        let (began, from) = (Instant::now(), self.cleaned);
        match self.durably(&[], |journal| journal.clean(from, to, CLEAN_ROWS)) {
            Ok(done) => self.cleaned = done,
            // It is tried again after the next compaction; until then there is only less space.
            Err(error) => {
                tracing::warn!("the store was not cleaned after its compaction: {error}");
                self.cleaned = to;
            }
        }
        self.shared.metrics.compacting(began.elapsed());
    }

    fn grant(&mut self, ttl: Duration) -> Result<LeaseId> {
        self.shared.read().leases.check_room()?;
        let keep = |state: &mut State, id: &LeaseId| state.leases.add(*id, ttl, Instant::now());
        self.durably_then(&[], |journal| journal.add_lease(ttl), keep)
    }

    fn revoke(&mut self, id: LeaseId) -> Result<Revision> {
        let (revision, commits) = {
            let state = self.shared.read();
            let mut group = Group::new(&state);
            (group.revoke(id)?, group.commits)
        };
        self.durably_then(&commits, |journal| journal.remove_lease(id), |state, ()| state.leases.remove(id))?;
        self.shared.wakes.tell(&commits);
        Ok(revision)
    }

    fn end_leases(&mut self) {
        let ended = self.shared.read().leases.ended(Instant::now());
        for id in ended {
            match self.revoke(id) {
                Ok(_) => drop(self.shared.metrics.leases_ended.fetch_add(1, Ordering::Relaxed)),
                Err(error) => {
                    tracing::warn!(
                        "the lease {id} has ended, but its keys were not deleted: {error}; again in 5 s"
                    );
                    let again = Instant::now() + Duration::from_secs(5);
                    self.shared.write().leases.end_at(id, again);
                }
            }
        }
    }

    fn measure(&mut self) {
        if let Ok((total, free)) = self.journal.size() {
            self.used_bytes = total.saturating_sub(free);
            self.shared.db_bytes.store(total, Ordering::Relaxed);
            self.shared.db_free_bytes.store(free, Ordering::Relaxed);
        }
    }

    fn took(&self, what: &str, began: Instant, of: &str) {
        let took = began.elapsed();
        if took >= SLOW {
            self.shared.metrics.slow.fetch_add(1, Ordering::Relaxed);
            let revision = self.shared.read().revision;
            tracing::warn!(took_ms = took.as_millis(), %revision, "{what} of the store took long: {of}; look at the disk");
        }
    }
}
