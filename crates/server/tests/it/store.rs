//! A store between a server and the one that keeps its objects: it says what is asked of it, and does what a test wants.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, ready};
use parking_lot::Mutex;
use shoal_store::sqlite::{Options, SqliteStore};
use shoal_store::{
    Count, Error, Got, Lease, LeaseId, ListOptions, Outcome, Page, Result, Revision, Status, Store,
    Transaction, Watch, WatchOptions,
};
use tempfile::TempDir;
use tokio::sync::{Notify, Semaphore};

const SECRETS: &[u8] = b"/registry/core/secrets/";

/// A store in a directory of its own.
pub(crate) struct TestStore {
    /// A write of a Secret is held.
    pub(crate) holds: Notify,
    inner: Arc<SqliteStore>,
    is_shared: bool,
    secrets: Mutex<Secrets>,
    /// Nobody is told how far it has come.
    is_mute: AtomicBool,
    listed: Mutex<Vec<(Vec<u8>, bool)>>,
    _dir: TempDir,
}

/// What becomes of writes of Secrets.
#[derive(Clone)]
enum Secrets {
    Written,
    Refused,
    /// The next one waits for a permit.
    Held(Arc<Semaphore>),
}

impl TestStore {
    /// A store of one server.
    pub(crate) fn new() -> Arc<Self> {
        Self::open(false)
    }

    /// A store of this process that says it is shared, as an etcd is.
    pub(crate) fn shared() -> Arc<Self> {
        Self::open(true)
    }

    fn open(is_shared: bool) -> Arc<Self> {
        let dir = tempfile::tempdir().expect("a directory");
        let inner = SqliteStore::open(&Options::new(dir.path().join("store"))).expect("a store");
        Arc::new(Self {
            holds: Notify::new(),
            inner: Arc::new(inner),
            is_shared,
            secrets: Mutex::new(Secrets::Written),
            is_mute: AtomicBool::new(false),
            listed: Mutex::default(),
            _dir: dir,
        })
    }

    /// From now on Secrets are refused, or written again.
    pub(crate) fn refuse_secrets(&self, refuse: bool) {
        *self.secrets.lock() = if refuse { Secrets::Refused } else { Secrets::Written };
    }

    /// From now on nobody is told how far it has come.
    pub(crate) fn mute(&self) {
        self.is_mute.store(true, Relaxed);
    }

    /// Holds the next write of a Secret until there is a permit.
    pub(crate) fn hold_a_secret(&self) -> Arc<Semaphore> {
        let gate = Arc::new(Semaphore::new(0));
        *self.secrets.lock() = Secrets::Held(gate.clone());
        gate
    }

    /// What was listed since this was asked last: the prefix, and whether only keys were wanted.
    pub(crate) fn listed(&self) -> Vec<(Vec<u8>, bool)> {
        std::mem::take(&mut self.listed.lock())
    }

    /// As stores do, it goes on with what it was told although nobody waits for it any more.
    fn held(&self, gate: Arc<Semaphore>, transaction: Transaction) -> BoxFuture<'_, Result<Outcome>> {
        *self.secrets.lock() = Secrets::Written;
        let inner = self.inner.clone();
        let written = tokio::spawn(async move {
            let _permit = gate.acquire().await.expect("it is not closed");
            inner.transact(transaction).await
        });
        self.holds.notify_one();
        async move { written.await.expect("it does not panic") }.boxed()
    }
}

impl Store for TestStore {
    fn get<'a>(&'a self, key: &'a [u8], at: Option<Revision>) -> BoxFuture<'a, Result<Got>> {
        self.inner.get(key, at)
    }
    fn list<'a>(&'a self, prefix: &'a [u8], options: ListOptions) -> BoxFuture<'a, Result<Page>> {
        self.listed.lock().push((prefix.to_vec(), options.keys_only));
        self.inner.list(prefix, options)
    }
    fn count<'a>(&'a self, prefix: &'a [u8]) -> BoxFuture<'a, Result<Count>> {
        self.inner.count(prefix)
    }
    fn transact(&self, transaction: Transaction) -> BoxFuture<'_, Result<Outcome>> {
        if !transaction.writes.iter().any(|write| write.key.starts_with(SECRETS)) {
            return self.inner.transact(transaction);
        }
        let secrets = self.secrets.lock().clone();
        match secrets {
            Secrets::Written => self.inner.transact(transaction),
            Secrets::Refused => ready(Err(Error::Unavailable("the test wants it".into()))).boxed(),
            Secrets::Held(gate) => self.held(gate, transaction),
        }
    }
    fn watch<'a>(&'a self, prefix: &'a [u8], options: WatchOptions) -> BoxFuture<'a, Result<Watch>> {
        self.inner.watch(prefix, options)
    }
    fn progress(&self) -> BoxFuture<'_, Result<Revision>> {
        if self.is_mute.load(Relaxed) {
            return ready(Err(Error::Unavailable("the test wants it".into()))).boxed();
        }
        self.inner.progress()
    }
    fn compact(&self, revision: Revision) -> BoxFuture<'_, Result<()>> {
        self.inner.compact(revision)
    }
    fn lease_grant(&self, ttl: Duration) -> BoxFuture<'_, Result<Lease>> {
        self.inner.lease_grant(ttl)
    }
    fn lease_keep_alive(&self, id: LeaseId) -> BoxFuture<'_, Result<Lease>> {
        self.inner.lease_keep_alive(id)
    }
    fn lease_revoke(&self, id: LeaseId) -> BoxFuture<'_, Result<Revision>> {
        self.inner.lease_revoke(id)
    }
    fn status(&self) -> BoxFuture<'_, Result<Status>> {
        self.inner.status()
    }
    fn health(&self) -> BoxFuture<'_, Result<Duration>> {
        self.inner.health()
    }
    fn is_shared(&self) -> bool {
        self.is_shared
    }
    fn metrics(&self) -> String {
        self.inner.metrics()
    }
}
