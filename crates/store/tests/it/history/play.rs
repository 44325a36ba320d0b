//! Plays one history on an engine and on the model, step by step.

use std::collections::BTreeSet;
use std::fmt::Debug;

use bytes::Bytes;
use shoal_store::model::Model;
use shoal_store::{Change, Error, Expect, LeaseId, ListOptions, Revision, Status, Store, Transaction, Write};

use super::LEASE;
use super::operations::{self, Guess, KEYS, Kind, Operation, PREFIXES, When};
use super::watched::Watched;

/// An engine under test.
pub(crate) trait Subject {
    fn store(&self) -> &dyn Store;

    /// Ends it and begins it again, with the same content.
    fn reopen(&mut self);
}

/// The world of a history.
struct World<S> {
    subject: S,
    model: Model,
    status: Status,
    /// Each once for the engine and once for the model.
    watches: Vec<(Watched, Watched)>,
    leases: Vec<LeaseId>,
    compacted: Revision,
}

/// Plays a history.
///
/// # Errors
/// Where the two disagree, in words.
pub(crate) async fn play<S: Subject>(subject: S, model: Model, history: &[Operation]) -> Result<(), String> {
    let status = subject.store().status().await.map_err(|error| error.to_string())?;
    let compacted = model.status().await.map_err(|error| error.to_string())?.compacted.unwrap_or_default();
    // A lease that never was, too.
    let leases = vec![LeaseId(0x7777)];
    let mut world = World { subject, model, status, watches: Vec::new(), leases, compacted };
    for operation in history {
        world.step(operation).await.map_err(|error| format!("{operation:?}: {error}"))?;
    }
    world.end().await
}

impl<S: Subject> World<S> {
    async fn step(&mut self, operation: &Operation) -> Result<(), String> {
        match operation {
            Operation::Transact(changes) => self.transact(changes).await,
            Operation::Get { key, at } => {
                let (key, at) = (KEYS[usize::from(*key)], self.at(*at).await);
                same(&self.subject.store().get(key, at).await, &self.model.get(key, at).await)
            }
            Operation::List { prefix, at, limit, after, keys_only } => {
                let options = ListOptions {
                    at: self.at(*at).await,
                    limit: usize::from(*limit),
                    after: after.map(|after| Bytes::from_static(KEYS[usize::from(after)])),
                    keys_only: *keys_only,
                    uncounted: false,
                };
                let prefix = PREFIXES[usize::from(*prefix)];
                let ours = self.subject.store().list(prefix, options.clone()).await;
                same(&ours, &self.model.list(prefix, options).await)
            }
            Operation::Pages { prefix, limit } => self.pages(*prefix, *limit).await,
            Operation::Count { prefix } => {
                let prefix = PREFIXES[usize::from(*prefix)];
                same(&self.subject.store().count(prefix).await, &self.model.count(prefix).await)
            }
            Operation::Compact(at) => self.compact(*at).await,
            Operation::Grant => {
                let lease =
                    self.subject.store().lease_grant(LEASE).await.map_err(|error| error.to_string())?;
                self.model.grant_as(lease.id, lease.ttl);
                self.leases.push(lease.id);
                Ok(())
            }
            Operation::KeepAlive(which) => {
                let id = self.lease(*which);
                let ours = self.subject.store().lease_keep_alive(id).await;
                same(&ours, &self.model.lease_keep_alive(id).await)
            }
            Operation::Revoke(which) => {
                let id = self.lease(*which);
                same(&self.subject.store().lease_revoke(id).await, &self.model.lease_revoke(id).await)
            }
            Operation::Watch { prefix, from, previous } => self.watch(*prefix, *from, *previous).await,
            Operation::Drain => self.drain().await,
            Operation::Reopen => {
                self.drain().await?;
                self.subject.reopen();
                let now = self.model.progress().await.map_err(|error| error.to_string())?;
                for (ours, _) in self.watches.iter_mut().filter(|(ours, _)| ours.ended().is_none()) {
                    // It has given everything up to here; an engine without progress has not said so.
                    ours.seen = ours.seen.max(now).max(ours.options.from.unwrap_or_default().before());
                    ours.resume(self.subject.store()).await;
                }
                Ok(())
            }
        }
    }

    async fn transact(&mut self, changes: &[operations::Change]) -> Result<(), String> {
        let mut writes = Vec::new();
        for change in changes {
            writes.push(self.write(change).await);
        }
        let transaction = Transaction { writes };
        let ours = self.subject.store().transact(transaction.clone()).await;
        same(&ours, &self.model.transact(transaction).await)
    }

    async fn write(&self, change: &operations::Change) -> Write {
        let key = KEYS[usize::from(change.key)];
        let current = self.model.get(key, None).await.expect("the model can be read");
        let expect = match change.guess {
            Guess::Absent => Expect::Absent,
            Guess::Ago(by) => Expect::At(Revision(current.revision.0.saturating_sub(u64::from(by)))),
            Guess::Right => current.object.map_or(Expect::Absent, |object| Expect::At(object.mod_revision)),
        };
        let change = match &change.kind {
            Kind::Put { value, lease } => Change::Put {
                value: Bytes::from(vec![*value; usize::from(*value) % 7]),
                lease: lease.map(|which| self.lease(which)),
            },
            Kind::Delete => Change::Delete,
            Kind::Check => Change::Check,
        };
        Write { key: Bytes::from_static(key), expect, change }
    }

    /// Reads a list page by page, all of the revision of the first, with a write in between.
    async fn pages(&mut self, prefix: u8, limit: u8) -> Result<(), String> {
        let prefix = PREFIXES[usize::from(prefix)];
        let whole =
            self.model.list(prefix, ListOptions::default()).await.map_err(|error| error.to_string())?;
        let mut options = ListOptions { limit: usize::from(limit), ..ListOptions::default() };
        let mut objects = Vec::new();
        loop {
            let page = self
                .subject
                .store()
                .list(prefix, options.clone())
                .await
                .map_err(|error| error.to_string())?;
            if page.revision != whole.revision || page.count != whole.count - objects.len() as u64 {
                return Err(format!("{page:?} of {whole:?}"));
            }
            objects.extend(page.objects);
            if !page.more {
                break;
            }
            options.at = Some(page.revision);
            options.after = objects.last().map(|object| object.key.clone());
            let change = operations::Change {
                key: limit,
                guess: Guess::Right,
                kind: Kind::Put { value: 9, lease: None },
            };
            self.transact(&[change]).await?;
        }
        if objects == whole.objects { Ok(()) } else { Err(format!("{objects:?} instead of {whole:?}")) }
    }

    async fn compact(&mut self, at: When) -> Result<(), String> {
        // Whether a watch that is behind is ended by a compaction, or has been sent everything before, is open.
        if !self.status.progress_trusted {
            self.mark().await?;
        }
        self.drain().await?;
        let at = self.at(at).await.unwrap_or(Revision(1));
        let (ours, model) = (self.subject.store().compact(at).await, self.model.compact(at).await);
        if model.is_ok() {
            self.compacted = at;
        }
        same(&ours, &model)
    }

    /// Changes something below the prefix of each watch: whichever has that has caught up. An etcd without progress
    /// does not say so otherwise, and takes up to 100 ms for a watch that begins in the past.
    async fn mark(&mut self) -> Result<(), String> {
        let prefixes: BTreeSet<_> = self.watches.iter().map(|(ours, _)| ours.prefix.clone()).collect();
        for prefix in prefixes {
            let key = Bytes::from([&prefix[..], b"~"].concat());
            let current = self.model.get(&key, None).await.map_err(|error| error.to_string())?.object;
            let expect = current.map_or(Expect::Absent, |object| Expect::At(object.mod_revision));
            let write = Transaction::from(Write::put(key, "", expect));
            let ours = self.subject.store().transact(write.clone()).await;
            same(&ours, &self.model.transact(write).await)?;
        }
        Ok(())
    }

    async fn watch(&mut self, prefix: u8, from: When, previous: bool) -> Result<(), String> {
        let prefix = PREFIXES[usize::from(prefix)];
        let now = self.model.progress().await.map_err(|error| error.to_string())?;
        let mut from = self.at(from).await.unwrap_or(now.next()).max(Revision(1));
        if from == self.compacted && !self.status.watch_at_compaction {
            from = from.next();
        }
        let ours = Watched::open(self.subject.store(), prefix, from, previous).await;
        self.watches.push((ours, Watched::open(&self.model, prefix, from, previous).await));
        Ok(())
    }

    /// Every watch has given what the model's has, and nothing else.
    async fn drain(&mut self) -> Result<(), String> {
        let now = self.model.progress().await.map_err(|error| error.to_string())?;
        for (ours, model) in &mut self.watches {
            model.read_to(now).await;
            match model.ended() {
                Some(_) => while ours.step().await.is_some() {},
                None if self.status.progress_trusted => ours.read_to(now).await,
                None => ours.read_events(model.events.len()).await,
            }
            if ours.ended() != model.ended() || ours.events != model.events {
                let (our_end, model_end) = (ours.ended(), model.ended());
                return Err(format!(
                    "the watch {:?} {:?} gave\n{:#?} {our_end:?}\ninstead of\n{:#?} {model_end:?}",
                    ours.prefix.escape_ascii().to_string(),
                    ours.options,
                    ours.events,
                    model.events
                ));
            }
        }
        Ok(())
    }

    /// Something below each prefix, so that a watch that repeats or invents events is seen.
    async fn end(&mut self) -> Result<(), String> {
        for key in 0..KEYS.len() as u8 {
            let change =
                operations::Change { key, guess: Guess::Right, kind: Kind::Put { value: 1, lease: None } };
            self.transact(&[change]).await?;
        }
        self.drain().await?;
        same(
            &self.subject.store().list(b"", ListOptions::default()).await,
            &self.model.list(b"", ListOptions::default()).await,
        )
    }

    async fn at(&self, when: When) -> Option<Revision> {
        let now = self.model.progress().await.expect("the model can be read");
        let revision = match when {
            When::Now => return None,
            When::Ago(by) => now.0.saturating_sub(u64::from(by)),
            When::Ahead(by) => now.0 + u64::from(by),
            When::Compacted => self.compacted.0,
            When::BeforeCompacted => self.compacted.0.saturating_sub(1),
            When::AfterCompacted => self.compacted.0 + 1,
        };
        Some(Revision(revision))
    }

    fn lease(&self, which: u8) -> LeaseId {
        self.leases[usize::from(which) % self.leases.len()]
    }
}

/// The same answer, or an error of the same kind.
fn same<T: PartialEq + Debug>(ours: &Result<T, Error>, model: &Result<T, Error>) -> Result<(), String> {
    let is_same = match (ours, model) {
        (Ok(ours), Ok(model)) => ours == model,
        (Err(ours), Err(model)) => ours.kind() == model.kind(),
        _ => false,
    };
    if is_same { Ok(()) } else { Err(format!("{ours:?} instead of {model:?}")) }
}
