//! The reference: slow, in memory, and as plain as it can be. Tests compare every engine with it; simulations use
//! it where there must be no disk.
//!
//! It is a list of all changes, and each read plays it from the beginning.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{self, BoxFuture};
use tokio::sync::watch;

use crate::limits::{LEASE_TTL_MAX, LEASE_TTL_MIN};
use crate::{
    Batch, Change, Committed, Conflict, Count, Error, Event, Got, Lease, LeaseId, ListOptions, Object,
    Outcome, Page, Result, Revision, Source, Status, Store, Transaction, Watch, WatchOptions,
};

/// A store that forgets nothing and keeps nothing.
pub struct Model {
    log: Arc<Mutex<Log>>,
    /// The revision, for watches to wait on.
    moved: watch::Sender<Revision>,
}

/// What happened, oldest first.
struct Log {
    changes: Vec<Changed>,
    revision: Revision,
    compacted: Revision,
    leases: BTreeMap<LeaseId, Duration>,
    granted: i64,
}

/// One change of one key.
struct Changed {
    revision: Revision,
    key: Bytes,
    object: Option<Arc<Object>>,
}

type State = BTreeMap<Bytes, Arc<Object>>;

impl Default for Model {
    fn default() -> Self {
        Self::starting_at(Revision::FIRST)
    }
}

impl Model {
    /// An empty store that is already at this revision, with nothing before it: what an etcd is for a newcomer.
    pub fn starting_at(revision: Revision) -> Self {
        let log =
            Log { changes: Vec::new(), revision, compacted: revision, leases: BTreeMap::new(), granted: 0 };
        let compacted = if revision == Revision::FIRST { Revision(0) } else { revision };
        let log = Arc::new(Mutex::new(Log { compacted, ..log }));
        Self { log, moved: watch::Sender::new(revision) }
    }

    /// Grants a lease under a name that another store has given it, so that the two can be compared.
    pub fn grant_as(&self, id: LeaseId, ttl: Duration) {
        self.lock().leases.insert(id, ttl);
    }

    fn lock(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the log, and tells the watches.
    fn change<R>(&self, change: impl FnOnce(&mut Log) -> Result<R>) -> BoxFuture<'_, Result<R>>
    where
        R: Send + 'static,
    {
        let mut log = self.lock();
        let result = change(&mut log);
        self.moved.send_replace(log.revision);
        Box::pin(future::ready(result))
    }

    fn read<R: Send + 'static>(&self, read: impl FnOnce(&Log) -> Result<R>) -> BoxFuture<'_, Result<R>> {
        Box::pin(future::ready(read(&self.lock())))
    }
}

impl Log {
    /// What there was at a revision.
    fn state(&self, at: Revision) -> State {
        let mut state = State::new();
        for change in self.changes.iter().take_while(|change| change.revision <= at) {
            match &change.object {
                Some(object) => state.insert(change.key.clone(), Arc::clone(object)),
                None => state.remove(&change.key),
            };
        }
        state
    }

    /// The revision to read at.
    fn at(&self, at: Option<Revision>) -> Result<Revision> {
        let Some(asked) = at else { return Ok(self.revision) };
        check_revision(asked, self.revision, self.compacted)?;
        Ok(asked)
    }

    fn transact(&mut self, transaction: &Transaction) -> Result<Outcome> {
        transaction.validate()?;
        let state = self.state(self.revision);
        let current: Vec<_> = transaction.writes.iter().map(|write| state.get(&write.key).cloned()).collect();
        let is_met =
            |(write, current): (&crate::Write, &Option<Arc<Object>>)| write.expect.is_met(current.as_deref());
        if !transaction.writes.iter().zip(&current).all(is_met) {
            return Ok(Outcome::Conflict(Conflict { revision: self.revision, current }));
        }
        for write in &transaction.writes {
            if let Change::Put { lease: Some(lease), .. } = write.change
                && !self.leases.contains_key(&lease)
            {
                return Err(Error::LeaseNotFound(lease));
            }
        }
        let revision = if transaction.is_change() { self.revision.next() } else { self.revision };
        let mut deleted = Vec::new();
        for (write, current) in transaction.writes.iter().zip(current) {
            let key = write.key.clone();
            match &write.change {
                Change::Check => {}
                Change::Delete => {
                    deleted.extend(current);
                    self.changes.push(Changed { revision, key, object: None });
                }
                Change::Put { value, lease } => {
                    let object = Object {
                        key: key.clone(),
                        value: value.clone(),
                        create_revision: current.as_ref().map_or(revision, |current| current.create_revision),
                        mod_revision: revision,
                        version: current.map_or(1, |current| current.version + 1),
                        lease: *lease,
                    };
                    self.changes.push(Changed { revision, key, object: Some(Arc::new(object)) });
                }
            }
        }
        self.revision = revision;
        Ok(Outcome::Committed(Committed { revision, deleted }))
    }

    fn revoke(&mut self, id: LeaseId) -> Result<Revision> {
        self.leases.remove(&id).ok_or(Error::LeaseNotFound(id))?;
        let state = self.state(self.revision);
        let keys: BTreeSet<_> =
            state.values().filter(|object| object.lease == Some(id)).map(|o| o.key.clone()).collect();
        if !keys.is_empty() {
            self.revision = self.revision.next();
        }
        let revision = self.revision;
        self.changes.extend(keys.into_iter().map(|key| Changed { revision, key, object: None }));
        Ok(revision)
    }

    /// The changes of the first revision from `from` on that has any below the prefix.
    fn next_batch(&self, prefix: &[u8], from: Revision, previous: bool) -> Option<Batch> {
        let is_meant = |change: &&Changed| change.revision >= from && change.key.starts_with(prefix);
        let revision = self.changes.iter().find(is_meant)?.revision;
        // What is compacted has no value any more, not even as what was there before.
        let before = (previous && revision.before() >= self.compacted).then(|| self.state(revision.before()));
        let changes = self.changes.iter().filter(is_meant).filter(|change| change.revision == revision);
        let events = changes.map(|change| Event {
            key: change.key.clone(),
            revision,
            object: change.object.clone(),
            previous: before.as_ref().and_then(|before| before.get(&change.key)).cloned(),
        });
        Some(Batch { events: events.collect(), revision })
    }
}

/// Whether a store at `current`, compacted at `compacted`, can be read at `asked`.
pub(crate) fn check_revision(asked: Revision, current: Revision, compacted: Revision) -> Result<()> {
    if asked == Revision(0) {
        return Err(Error::Invalid("there is no revision 0: leave it out to read what is there now".into()));
    }
    if asked > current {
        return Err(Error::Future { asked });
    }
    if asked < compacted {
        return Err(Error::Compacted { asked, compacted: Some(compacted) });
    }
    Ok(())
}

/// Whether a lease may live so long; how long it will.
pub(crate) fn check_ttl(ttl: Duration) -> Result<Duration> {
    if ttl > LEASE_TTL_MAX {
        return Err(Error::Invalid(format!("a lease lives {} s at most", LEASE_TTL_MAX.as_secs())));
    }
    let whole = Duration::from_secs(ttl.as_secs() + u64::from(ttl.subsec_nanos() > 0));
    Ok(whole.max(LEASE_TTL_MIN))
}

impl Store for Model {
    fn get<'a>(&'a self, key: &'a [u8], at: Option<Revision>) -> BoxFuture<'a, Result<Got>> {
        self.read(|log| {
            let object = log.state(log.at(at)?).get(key).cloned();
            Ok(Got { object, revision: log.revision })
        })
    }

    fn list<'a>(&'a self, prefix: &'a [u8], options: ListOptions) -> BoxFuture<'a, Result<Page>> {
        self.read(|log| {
            let revision = log.at(options.at)?;
            let is_meant = |key: &Bytes| {
                key.starts_with(prefix) && options.after.as_ref().is_none_or(|after| key > after)
            };
            let mut objects: Vec<Arc<Object>> = log
                .state(revision)
                .into_iter()
                .filter(|(key, _)| is_meant(key))
                .map(|(_, object)| object)
                .collect();
            let count = objects.len();
            if options.limit > 0 {
                objects.truncate(options.limit);
            }
            if options.keys_only {
                objects = objects.iter().map(|object| Arc::new(object.without_value())).collect();
            }
            Ok(Page { more: count > objects.len(), count: count as u64, objects, revision })
        })
    }

    fn count<'a>(&'a self, prefix: &'a [u8]) -> BoxFuture<'a, Result<Count>> {
        self.read(|log| {
            let count = log.state(log.revision).keys().filter(|key| key.starts_with(prefix)).count();
            Ok(Count { count: count as u64, revision: log.revision })
        })
    }

    fn transact(&self, transaction: Transaction) -> BoxFuture<'_, Result<Outcome>> {
        self.change(move |log| log.transact(&transaction))
    }

    fn watch<'a>(&'a self, prefix: &'a [u8], options: WatchOptions) -> BoxFuture<'a, Result<Watch>> {
        self.read(|log| {
            Ok(Watch::new(Box::new(Follow {
                log: Arc::clone(&self.log),
                moved: self.moved.subscribe(),
                prefix: Bytes::copy_from_slice(prefix),
                from: options.from.unwrap_or(log.revision.next()),
                previous: options.previous,
                progress: false,
            })))
        })
    }

    fn progress(&self) -> BoxFuture<'_, Result<Revision>> {
        self.read(|log| Ok(log.revision))
    }

    fn compact(&self, revision: Revision) -> BoxFuture<'_, Result<()>> {
        self.change(move |log| {
            check_revision(revision, log.revision, log.compacted.next())?;
            log.compacted = revision;
            Ok(())
        })
    }

    fn lease_grant(&self, ttl: Duration) -> BoxFuture<'_, Result<Lease>> {
        self.change(move |log| {
            let ttl = check_ttl(ttl)?;
            log.granted += 1;
            let id = LeaseId(log.granted);
            log.leases.insert(id, ttl);
            Ok(Lease { id, ttl })
        })
    }

    fn lease_keep_alive(&self, id: LeaseId) -> BoxFuture<'_, Result<Lease>> {
        self.read(|log| {
            let ttl = *log.leases.get(&id).ok_or(Error::LeaseNotFound(id))?;
            Ok(Lease { id, ttl })
        })
    }

    fn lease_revoke(&self, id: LeaseId) -> BoxFuture<'_, Result<Revision>> {
        self.change(move |log| log.revoke(id))
    }

    fn status(&self) -> BoxFuture<'_, Result<Status>> {
        self.read(|log| {
            Ok(Status {
                engine: "model".into(),
                revision: log.revision,
                compacted: Some(log.compacted),
                db_bytes: 0,
                watchers: self.moved.receiver_count(),
                progress_trusted: true,
                watch_at_compaction: true,
                warnings: vec!["nothing is kept: the store ends with its process".into()],
            })
        })
    }

    fn health(&self) -> BoxFuture<'_, Result<Duration>> {
        self.read(|_| Ok(Duration::ZERO))
    }

    fn metrics(&self) -> String {
        format!("shoal_store_revision {}\n", self.lock().revision)
    }
}

/// A watch of the model.
struct Follow {
    log: Arc<Mutex<Log>>,
    moved: watch::Receiver<Revision>,
    prefix: Bytes,
    /// The next revision that has not been given.
    from: Revision,
    previous: bool,
    /// Whether progress was asked for.
    progress: bool,
}

impl Follow {
    fn look(&mut self) -> Result<Option<Batch>> {
        let log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        if self.from < log.compacted {
            return Err(Error::Compacted { asked: self.from, compacted: Some(log.compacted) });
        }
        if let Some(batch) = log.next_batch(&self.prefix, self.from, self.previous) {
            self.from = batch.revision.next();
            return Ok(Some(batch));
        }
        self.from = self.from.max(log.revision.next());
        let asked = std::mem::take(&mut self.progress);
        Ok(asked.then_some(Batch { events: Vec::new(), revision: log.revision }))
    }
}

impl Source for Follow {
    fn next(&mut self) -> BoxFuture<'_, Result<Batch>> {
        Box::pin(async {
            loop {
                self.moved.mark_unchanged();
                if let Some(batch) = self.look()? {
                    return Ok(batch);
                }
                let gone = |_| Error::Unavailable("the store was closed".into());
                self.moved.changed().await.map_err(gone)?;
            }
        })
    }

    fn request_progress(&mut self) -> Result<()> {
        self.progress = true;
        Ok(())
    }
}
