//! The engine for many machines: etcd, at endpoints that may come and go.
//!
//! Reads are linearizable; a transaction is one etcd transaction. A call that fails before it was sent, and any read,
//! is made again at another endpoint; a write that may have happened is never made twice.

mod client;
mod follow;
mod version;

pub(crate) mod convert;
pub(crate) mod wire;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{PoisonError, RwLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use tokio_stream::wrappers::ReceiverStream;

use self::client::{Client, Kind};
use self::convert::{Mapping, number};
use self::follow::Follow;
use self::version::Version;
use crate::limits::{PAGE_OBJECTS, ROOT_BYTES_MAX, SLOW};
use crate::metrics::Metrics;
use crate::model::check_ttl;
use crate::{
    Change, Count, Error, Got, Lease, LeaseId, ListOptions, Outcome, Page, Result, Revision, Status, Store,
    Transaction, Watch, WatchOptions,
};

/// Below this key and the root of a store stands what it adds to etcd's revisions. No root begins like it.
const OFFSET: &[u8] = b"\0shoal/offset\0";

const RANGE: &str = "/etcdserverpb.KV/Range";
const TXN: &str = "/etcdserverpb.KV/Txn";
const COMPACT: &str = "/etcdserverpb.KV/Compact";
const GRANT: &str = "/etcdserverpb.Lease/LeaseGrant";
const REVOKE: &str = "/etcdserverpb.Lease/LeaseRevoke";
const KEEP_ALIVE: &str = "/etcdserverpb.Lease/LeaseKeepAlive";
const STATUS: &str = "/etcdserverpb.Maintenance/Status";

/// Where an etcd is.
#[derive(Clone, Debug)]
pub struct EtcdOptions {
    /// `https://HOST:2379`, one for each member; `http://` only without [`EtcdOptions::tls`].
    pub endpoints: Vec<String>,
    /// All keys of the store begin with this, 1 to [`ROOT_BYTES_MAX`] bytes; the first is not a zero byte.
    pub root: Bytes,
    /// How to prove each other's names.
    pub tls: Option<Tls>,
}

/// Certificates, as PEM.
#[derive(Clone)]
pub struct Tls {
    /// Of the authority that signed the servers' certificates.
    pub ca_pem: String,
    /// Our own certificate and its key, for an etcd that asks.
    pub identity_pem: Option<(String, String)>,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls").field("is_mutual", &self.identity_pem.is_some()).finish_non_exhaustive()
    }
}

/// A store in etcd.
pub struct EtcdStore {
    shared: Arc<Shared>,
}

/// What the store and its watches share.
struct Shared {
    client: Client,
    mapping: Mapping,
    metrics: Metrics,
    watchers: AtomicUsize,
    /// The highest revision that was seen, and the size of the database and what of it is free, for the metrics.
    seen: AtomicU64,
    db_bytes: AtomicU64,
    db_free_bytes: AtomicU64,
    /// The oldest version among the endpoints that have answered.
    version: RwLock<Option<Version>>,
}

impl EtcdStore {
    /// Connects to an etcd. At least one endpoint must answer.
    ///
    /// # Errors
    /// [`Error::Invalid`] for options that cannot be; [`Error::Unavailable`].
    pub async fn open(options: &EtcdOptions) -> Result<Self> {
        if options.root.is_empty() || options.root.len() > ROOT_BYTES_MAX || options.root[0] == 0 {
            let what = format!(
                "the root of a store in etcd has 1 to {ROOT_BYTES_MAX} bytes and begins with no zero"
            );
            return Err(Error::Invalid(what));
        }
        let mut shared = Shared {
            client: Client::new(options)?,
            mapping: Mapping { root: options.root.clone(), offset: 0 },
            metrics: Metrics::default(),
            watchers: AtomicUsize::new(0),
            seen: AtomicU64::new(0),
            db_bytes: AtomicU64::new(0),
            db_free_bytes: AtomicU64::new(0),
            version: RwLock::new(None),
        };
        let statuses = shared.statuses().await?;
        for warning in shared.version().map(Version::warnings).unwrap_or_default() {
            tracing::warn!("{warning}");
        }
        tracing::info!(endpoints = statuses.len(), "connected to etcd");
        shared.mapping.offset = shared.read_offset().await?;
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Declares that the revisions of a store go on after `revision`, wherever etcd itself is. Once, on a store
    /// that is empty: those before are answered as compacted from then on.
    ///
    /// # Errors
    /// The store is not empty, or this has been done.
    pub async fn continue_after(self, revision: Revision) -> Result<Self> {
        if self.count(b"").await?.count > 0 {
            return Err(Error::Invalid("the store in etcd is not empty; name another root".into()));
        }
        let key = self.shared.offset_key();
        let absent = wire::Compare {
            result: 0,
            target: 2,
            key: key.clone(),
            to: Some(wire::CompareTo::ModRevision(0)),
        };
        let value = Bytes::from(revision.0.to_string());
        let put = wire::Request::Put(wire::PutRequest { key, value, lease: 0 });
        let request = wire::TxnRequest {
            compare: vec![absent],
            success: vec![wire::RequestOp { request: Some(put) }],
            failure: Vec::new(),
        };
        let answer: wire::TxnResponse = self.shared.client.call(Kind::Write, TXN, request).await?;
        if !answer.succeeded {
            return Err(Error::Invalid("the store in etcd has been begun before; name another root".into()));
        }
        let mut shared = Arc::into_inner(self.shared)
            .ok_or_else(|| Error::Invalid("the store in etcd is watched already".into()))?;
        shared.mapping.offset = revision.0;
        Ok(Self { shared: Arc::new(shared) })
    }
}

impl Shared {
    fn version(&self) -> Option<Version> {
        *self.version.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn progress_trusted(&self) -> bool {
        self.version().is_some_and(Version::progress_can_be_trusted)
    }

    fn offset_key(&self) -> Bytes {
        Bytes::from([OFFSET, &self.mapping.root].concat())
    }

    async fn read_offset(&self) -> Result<u64> {
        let request = wire::RangeRequest { key: self.offset_key(), ..wire::RangeRequest::default() };
        let answer: wire::RangeResponse = self.client.call(Kind::Read, RANGE, request).await?;
        let Some(kv) = answer.kvs.into_iter().next() else { return Ok(0) };
        let text = std::str::from_utf8(&kv.value).ok().and_then(|text| text.parse().ok());
        text.ok_or_else(|| Error::Corrupt("the offset of the revisions in etcd is no number".into()))
    }

    /// Asks every endpoint; those that do not answer are left out.
    async fn statuses(&self) -> Result<Vec<wire::StatusResponse>> {
        let count = self.client.names().len();
        let ask = |at| self.client.call_at(at, STATUS, wire::StatusRequest {});
        let answers: Vec<Result<wire::StatusResponse>> =
            futures_util::future::join_all((0..count).map(ask)).await;
        let mut statuses = Vec::new();
        let mut last = Error::Unavailable("no endpoint".into());
        for (answer, name) in answers.into_iter().zip(self.client.names()) {
            match answer {
                Ok(status) => statuses.push(status),
                Err(error) => last = Error::Unavailable(format!("{name}: {error}")),
            }
        }
        if statuses.is_empty() {
            return Err(last);
        }
        let size = |pick: fn(&wire::StatusResponse) -> i64| {
            u64::try_from(statuses.iter().map(pick).max().unwrap_or_default()).unwrap_or_default()
        };
        let (db_bytes, in_use) = (size(|status| status.db_size), size(|status| status.db_size_in_use));
        self.db_bytes.store(db_bytes, Ordering::Relaxed);
        self.db_free_bytes.store(db_bytes.saturating_sub(in_use), Ordering::Relaxed);
        let oldest = statuses.iter().filter_map(|status| Version::parse(&status.version)).min();
        *self.version.write().unwrap_or_else(PoisonError::into_inner) = oldest;
        Ok(statuses)
    }

    async fn range(&self, request: wire::RangeRequest) -> Result<wire::RangeResponse> {
        self.client.call(Kind::Read, RANGE, request).await
    }

    /// Whether a revision can be read.
    async fn read_at(&self, revision: Revision) -> Result<()> {
        let request = wire::RangeRequest {
            key: self.mapping.root.clone(),
            revision: self.mapping.inner(revision)?,
            count_only: true,
            ..wire::RangeRequest::default()
        };
        self.range(request).await.map(|_| ()).map_err(|error| of_revision(error, revision))
    }

    /// One page; etcd's own revision is 0 for now. Returns the page and where etcd is.
    async fn page(&self, prefix: &[u8], options: &ListOptions, revision: i64) -> Result<(Page, i64)> {
        let (begin, range_end) = self.mapping.range(prefix);
        let after = options.after.as_ref().filter(|after| after.as_ref() >= prefix);
        let key = match after {
            // The first key after it.
            Some(after) => Bytes::from([&self.mapping.key(after)[..], b"\0"].concat()),
            None => begin,
        };
        if after.is_some_and(|after| !after.starts_with(prefix)) {
            // Behind everything below the prefix: etcd would take a range that runs backwards for one key.
            let at = if revision > 0 { self.mapping.outer(revision)? } else { Revision(0) };
            if revision > 0 {
                self.read_at(at).await?;
            }
            let now = self.current().await?;
            let page = Page { objects: Vec::new(), count: 0, more: false, revision: now };
            return Ok((page, i64::try_from(now.0 - self.mapping.offset).unwrap_or(i64::MAX)));
        }
        let request = wire::RangeRequest {
            key,
            range_end,
            limit: i64::try_from(options.limit).unwrap_or(i64::MAX),
            revision,
            keys_only: options.keys_only,
            count_only: false,
        };
        let answer = self.range(request).await?;
        let header = answer.header.map_or(0, |header| header.revision);
        let objects = answer.kvs.into_iter().map(|kv| self.mapping.object(kv)).collect::<Result<Vec<_>>>()?;
        let count = number("a count", answer.count)?;
        Ok((Page { objects, count, more: answer.more, revision: self.mapping.outer(header)? }, header))
    }

    async fn current(&self) -> Result<Revision> {
        let key = self.mapping.root.clone();
        let request = wire::RangeRequest { key, count_only: true, ..wire::RangeRequest::default() };
        let revision = self.mapping.header(self.range(request).await?.header)?;
        self.saw(revision);
        Ok(revision)
    }

    fn saw(&self, revision: Revision) {
        self.seen.fetch_max(revision.0, Ordering::Relaxed);
    }

    fn took(&self, what: &str, began: Instant) {
        let took = began.elapsed();
        if took >= SLOW {
            self.metrics.slow.fetch_add(1, Ordering::Relaxed);
            tracing::warn!(took_ms = took.as_millis(), "{what} took long; look at etcd's disks and network");
        }
    }
}

impl Store for EtcdStore {
    fn get<'a>(&'a self, key: &'a [u8], at: Option<Revision>) -> BoxFuture<'a, Result<Got>> {
        Box::pin(async move {
            let mapping = &self.shared.mapping;
            let revision = at.map_or(Ok(0), |at| mapping.inner(at))?;
            let key = mapping.key(key);
            let request = wire::RangeRequest { key, revision, ..wire::RangeRequest::default() };
            let answer = self.shared.range(request).await;
            let answer = answer.map_err(|error| of_revision(error, at.unwrap_or_default()))?;
            let object = answer.kvs.into_iter().next().map(|kv| mapping.object(kv)).transpose()?;
            Ok(Got { object, revision: mapping.header(answer.header)? })
        })
    }

    fn list<'a>(&'a self, prefix: &'a [u8], options: ListOptions) -> BoxFuture<'a, Result<Page>> {
        Box::pin(async move {
            let asked = options.at;
            let wanted = if options.limit == 0 { usize::MAX } else { options.limit };
            let mut next = options;
            let mut revision = asked.map_or(Ok(0), |at| self.shared.mapping.inner(at))?;
            let mut whole: Option<Page> = None;
            loop {
                // No answer holds more than a page: etcd and we have it in memory at once.
                let have = whole.as_ref().map_or(0, |page| page.objects.len());
                next.limit = (wanted - have).min(PAGE_OBJECTS);
                let page = self.shared.page(prefix, &next, revision).await;
                let (page, now) = page.map_err(|error| of_revision(error, asked.unwrap_or_default()))?;
                if revision == 0 {
                    revision = now;
                }
                let Page { objects, more, .. } = match &mut whole {
                    None => {
                        let revision = asked.unwrap_or(page.revision);
                        whole.insert(Page { revision, ..page })
                    }
                    Some(whole) => {
                        whole.objects.extend(page.objects);
                        whole.more = page.more;
                        whole
                    }
                };
                next.after = objects.last().map(|object| object.key.clone());
                if !*more || objects.len() >= wanted {
                    break;
                }
            }
            whole.ok_or_else(|| Error::Corrupt("a list without a page".into()))
        })
    }

    fn count<'a>(&'a self, prefix: &'a [u8]) -> BoxFuture<'a, Result<Count>> {
        Box::pin(async move {
            let (key, range_end) = self.shared.mapping.range(prefix);
            let request =
                wire::RangeRequest { key, range_end, count_only: true, ..wire::RangeRequest::default() };
            let answer = self.shared.range(request).await?;
            let revision = self.shared.mapping.header(answer.header)?;
            Ok(Count { count: number("a count", answer.count)?, revision })
        })
    }

    fn transact(&self, transaction: Transaction) -> BoxFuture<'_, Result<Outcome>> {
        Box::pin(async move {
            transaction.validate()?;
            let began = Instant::now();
            let request = self.shared.mapping.request(&transaction)?;
            let answer = self.shared.client.call(Kind::Write, TXN, request).await;
            let result = answer.and_then(|answer| self.shared.mapping.outcome(answer));
            let result = result.map_err(|error| match error {
                Error::LeaseNotFound(_) => Error::LeaseNotFound(lease_of(&transaction)),
                other => other,
            });
            self.shared.metrics.commit_took(1, began.elapsed());
            self.shared.metrics.count(&result);
            if let Ok(Outcome::Committed(committed)) = &result {
                self.shared.saw(committed.revision);
            }
            self.shared.took("a transaction", began);
            result
        })
    }

    fn watch<'a>(&'a self, prefix: &'a [u8], options: WatchOptions) -> BoxFuture<'a, Result<Watch>> {
        Box::pin(async move {
            let from = match options.from {
                Some(from) => from,
                None => self.shared.current().await?.next(),
            };
            let follow = Follow::begin(Arc::clone(&self.shared), prefix.to_vec(), options, from).await;
            let follow = follow.map_err(|error| of_revision(error, from))?;
            Ok(Watch::new(Box::new(follow)))
        })
    }

    fn progress(&self) -> BoxFuture<'_, Result<Revision>> {
        Box::pin(self.shared.current())
    }

    fn compact(&self, revision: Revision) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            let began = Instant::now();
            let request = wire::CompactionRequest { revision: self.shared.mapping.inner(revision)? };
            // Making it twice would say that it had been done.
            let answer: Result<wire::CompactionResponse> =
                self.shared.client.call(Kind::Write, COMPACT, request).await;
            answer.map_err(|error| of_revision(error, revision))?;
            self.shared.metrics.compactions.fetch_add(1, Ordering::Relaxed);
            self.shared.metrics.compacting(began.elapsed());
            Ok(())
        })
    }

    fn lease_grant(&self, ttl: Duration) -> BoxFuture<'_, Result<Lease>> {
        Box::pin(async move {
            let ttl = i64::try_from(check_ttl(ttl)?.as_secs()).unwrap_or(i64::MAX);
            let request = wire::LeaseGrantRequest { ttl };
            let answer: wire::LeaseGrantResponse =
                self.shared.client.call(Kind::Write, GRANT, request).await?;
            if !answer.error.is_empty() {
                return Err(Error::Unavailable(format!("etcd grants no lease: {}", answer.error)));
            }
            let ttl = Duration::from_secs(number("a life", answer.ttl)?);
            Ok(Lease { id: LeaseId(answer.id), ttl })
        })
    }

    fn lease_keep_alive(&self, id: LeaseId) -> BoxFuture<'_, Result<Lease>> {
        Box::pin(async move {
            let open = || {
                let (sender, receiver) = tokio::sync::mpsc::channel(1);
                // It has just been made, with room for one.
                let _ = sender.try_send(wire::LeaseRequest { id: id.0 });
                ReceiverStream::new(receiver)
            };
            let mut answers = self.shared.client.stream(KEEP_ALIVE, open).await?;
            let broken = |status: tonic::Status| Error::Unavailable(format!("etcd: {}", status.message()));
            let answer: Option<wire::LeaseResponse> = answers.message().await.map_err(broken)?;
            let answer =
                answer.ok_or_else(|| Error::Unavailable("etcd does not answer for the lease".into()))?;
            match number("a life", answer.ttl)? {
                0 => Err(Error::LeaseNotFound(id)),
                ttl => Ok(Lease { id, ttl: Duration::from_secs(ttl) }),
            }
        })
    }

    fn lease_revoke(&self, id: LeaseId) -> BoxFuture<'_, Result<Revision>> {
        Box::pin(async move {
            let request = wire::LeaseRequest { id: id.0 };
            let answer: Result<wire::LeaseResponse> =
                self.shared.client.call(Kind::Write, REVOKE, request).await;
            let answer = answer.map_err(|error| match error {
                Error::LeaseNotFound(_) => Error::LeaseNotFound(id),
                other => other,
            })?;
            self.shared.mapping.header(answer.header)
        })
    }

    fn status(&self) -> BoxFuture<'_, Result<Status>> {
        Box::pin(async move {
            let statuses = self.shared.statuses().await?;
            let version = self.shared.version();
            let mut warnings = version.map_or_else(
                || vec!["this etcd does not say its version: nothing newer than 3.4 is relied on".into()],
                Version::warnings,
            );
            warnings.extend(
                statuses.iter().flat_map(|status| &status.errors).map(|error| format!("etcd: {error}")),
            );
            let silent = self.shared.client.names().len() - statuses.len();
            if silent > 0 {
                warnings.push(format!("{silent} of the endpoints of etcd do not answer"));
            }
            Ok(Status {
                engine: version.map_or_else(|| "etcd".into(), |version| format!("etcd {version}")),
                revision: self.shared.current().await?,
                compacted: None,
                db_bytes: self.shared.db_bytes.load(Ordering::Relaxed),
                watchers: self.shared.watchers.load(Ordering::Relaxed),
                progress_trusted: self.shared.progress_trusted(),
                watch_at_compaction: version.is_some_and(Version::keeps_deletion_at_compaction),
                warnings,
            })
        })
    }

    fn health(&self) -> BoxFuture<'_, Result<Duration>> {
        Box::pin(async move {
            let began = Instant::now();
            // A lease goes through the same log as any write, and no revision takes notice.
            let lease = self.lease_grant(Duration::from_secs(10)).await?;
            self.shared.current().await?;
            self.lease_revoke(lease.id).await?;
            self.shared.took("the check of its health", began);
            Ok(began.elapsed())
        })
    }

    fn is_shared(&self) -> bool {
        true
    }

    fn metrics(&self) -> String {
        let gauges = [
            ("revision", "The highest revision that was seen.", self.shared.seen.load(Ordering::Relaxed)),
            (
                "db_bytes",
                "Size of the database at the last look, free space in it included.",
                self.shared.db_bytes.load(Ordering::Relaxed),
            ),
            (
                "db_free_bytes",
                "Free space in the database at the last look.",
                self.shared.db_free_bytes.load(Ordering::Relaxed),
            ),
            ("watchers", "Watches that are open.", self.shared.watchers.load(Ordering::Relaxed) as u64),
        ];
        self.shared.metrics.render("etcd", &gauges)
    }
}

/// Reads bytes as each kind of answer that etcd can give; says which could be. For the fuzz target.
#[doc(hidden)]
pub fn read_any_answer(bytes: &[u8]) -> [bool; 4] {
    use prost::Message as _;
    let mapping = Mapping { root: Bytes::from_static(b"/r/"), offset: 5 };
    let range = wire::RangeResponse::decode(bytes).is_ok_and(|answer| {
        mapping.header(answer.header).is_ok() && answer.kvs.into_iter().all(|kv| mapping.object(kv).is_ok())
    });
    let outcome = wire::TxnResponse::decode(bytes).is_ok_and(|answer| mapping.outcome(answer).is_ok());
    let events = wire::WatchResponse::decode(bytes)
        .is_ok_and(|answer| answer.events.into_iter().all(|event| mapping.event(event).is_ok()));
    let status =
        wire::StatusResponse::decode(bytes).is_ok_and(|answer| Version::parse(&answer.version).is_some());
    [range, outcome, events, status]
}

/// Fills in which revision was asked for.
fn of_revision(error: Error, asked: Revision) -> Error {
    match error {
        Error::Compacted { compacted, .. } => Error::Compacted { asked, compacted },
        Error::Future { .. } => Error::Future { asked },
        other => other,
    }
}

/// The lease that a transaction hangs its keys on.
fn lease_of(transaction: &Transaction) -> LeaseId {
    let lease = |change: &Change| if let Change::Put { lease, .. } = change { *lease } else { None };
    transaction.writes.iter().find_map(|write| lease(&write.change)).unwrap_or(LeaseId(0))
}
