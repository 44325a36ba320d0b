//! The engine for one machine: a SQLite file that is written by one thread, and everything that lives in memory.
//!
//! A transaction is acknowledged when its group is synced to the write-ahead log. Reads and watches never wait for
//! the disk, but for history that is not in memory any more.

mod follow;
mod group;
mod history;
mod journal;
mod load;
mod schema;
mod writer;

pub(crate) mod file;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::future::{self, BoxFuture};
use tokio::sync::{Semaphore, oneshot};

use self::follow::Follow;
use self::history::History;
use self::journal::{Journal, at};
use self::writer::{Job, Work, Writer};
use crate::limits::{KEY_BYTES_MAX, OPERATIONS_MAX, QUOTA_BYTES, REQUEST_BYTES_MAX, SLOW};
use crate::memory::{Found, State, Wakes};
use crate::metrics::Metrics;
use crate::model::check_ttl;
use crate::{
    Count, Error, Got, Lease, LeaseId, ListOptions, Object, Outcome, Page, Result, Revision, Status, Store,
    Transaction, Watch, WatchOptions,
};

/// The database in the directory of a store.
pub const FILE: &str = "store.db";

/// Held locked while a process has the store open.
const LOCK: &str = "store.lock";

/// Transactions that wait for the writer, in bytes: what they carry and [`JOB_BYTES`] each. Whoever comes then
/// waits, in the order of coming.
const QUEUE_BYTES_MAX: usize = 64 << 20;

/// What a job costs in the queue beside what it carries: so much that the queue, which is made whole, stays small.
const JOB_BYTES: usize = 16 << 10;

/// Jobs that fit into the queue; the bytes are what fills it.
const JOBS_MAX: usize = QUEUE_BYTES_MAX / JOB_BYTES;

/// Reads of history from the disk at once: each has a thread and a connection. Others wait for their turn.
const DISK_READS_MAX: usize = 8;

/// History in memory when nothing else was asked for: some minutes of a busy cluster.
pub const RING_BYTES: usize = 64 << 20;

const _: () = assert!(REQUEST_BYTES_MAX + OPERATIONS_MAX * KEY_BYTES_MAX + JOB_BYTES <= QUEUE_BYTES_MAX);

/// How a store is opened.
#[derive(Clone, Debug)]
pub struct Options {
    /// Its directory; made when it does not exist.
    pub dir: PathBuf,
    /// Size of the database at which writes that add are refused, in bytes.
    pub quota_bytes: u64,
    /// History that is kept in memory, in bytes.
    pub ring_bytes: usize,
    /// SQLite's layer below the file; none is the usual one. Tests put a faulty one here.
    #[doc(hidden)]
    pub vfs: Option<String>,
}

impl Options {
    /// The usual ones.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into(), quota_bytes: QUOTA_BYTES, ring_bytes: RING_BYTES, vfs: None }
    }
}

/// A store in a directory of this machine. Dropping it waits until what was asked of it is done.
pub struct SqliteStore {
    shared: Arc<Shared>,
    /// None: the store is being dropped.
    queue: Option<SyncSender<Job>>,
    room: Arc<Semaphore>,
    quota_bytes: u64,
    writer: Option<JoinHandle<()>>,
    /// Locked while it lives.
    _lock: std::fs::File,
}

/// What readers, watches and the writer share.
struct Shared {
    state: RwLock<State>,
    wakes: Arc<Wakes>,
    history: History,
    disk: Semaphore,
    metrics: Metrics,
    is_closed: AtomicBool,
    db_bytes: AtomicU64,
    db_free_bytes: AtomicU64,
    /// The kind of error that was logged last: a disk that stays broken is one line.
    said: Mutex<Option<&'static str>>,
}

impl SqliteStore {
    /// Opens a store, making it when it does not exist. Blocks while it reads the file.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when another process has it open, [`Error::Corrupt`] when what it holds contradicts
    /// itself, [`Error::Invalid`] when the file is something else.
    pub fn open(options: &Options) -> Result<Self> {
        let began = Instant::now();
        let lock = own(&options.dir)?;
        let path = options.dir.join(FILE);
        let journal = Journal::open(&path, options.vfs.as_deref())?;
        let bytes = std::fs::metadata(&path).map_or(0, |metadata| metadata.len());
        load::check_pages(journal.connection(), bytes).map_err(|error| at(&path, error))?;
        let (state, meta) =
            load::load(journal.connection(), options.ring_bytes).map_err(|error| at(&path, error))?;
        tracing::info!(
            revision = state.revision.0,
            took_ms = began.elapsed().as_millis(),
            "opened the store {}",
            path.display()
        );
        let shared = Arc::new(Shared {
            state: RwLock::new(state),
            wakes: Arc::default(),
            history: History::new(path, options.vfs.clone()),
            disk: Semaphore::new(DISK_READS_MAX),
            metrics: Metrics::default(),
            is_closed: AtomicBool::new(false),
            db_bytes: AtomicU64::new(0),
            db_free_bytes: AtomicU64::new(0),
            said: Mutex::new(None),
        });
        let (queue, jobs) = sync_channel(JOBS_MAX);
        let writer = Writer::new(journal, Arc::clone(&shared), options.quota_bytes, meta.cleaned);
        let writer =
            std::thread::Builder::new().name("shoal-store".into()).spawn(move || writer.run(&jobs)).map_err(
                |error| Error::Unavailable(format!("no thread for the store: {error}; raise ulimit -u")),
            )?;
        let room = Arc::new(Semaphore::new(QUEUE_BYTES_MAX));
        let quota_bytes = options.quota_bytes;
        Ok(Self { shared, queue: Some(queue), room, quota_bytes, writer: Some(writer), _lock: lock })
    }

    /// Gives work to the writer and waits for its answer.
    async fn ask<R>(
        &self,
        carries: usize,
        work: impl FnOnce(oneshot::Sender<Result<R>>) -> Work,
    ) -> Result<R> {
        let stopped = || Error::Unavailable("its writer has stopped; the log says why".into());
        let weight = u32::try_from(carries + JOB_BYTES).unwrap_or(u32::MAX);
        let room = Arc::clone(&self.room).acquire_many_owned(weight).await.map_err(|_| stopped())?;
        let (tell, told) = oneshot::channel();
        let queue = self.queue.as_ref().ok_or_else(stopped)?;
        // There is a place for each job that has room.
        queue.try_send(Job { work: work(tell), room }).map_err(|_| stopped())?;
        let lost = |_| Error::OutcomeUnknown("its writer has stopped; the log says why".into());
        told.await.map_err(lost)?
    }

    /// Commits so far: groups of transactions that were synced together.
    pub fn commits(&self) -> u64 {
        self.shared.metrics.commits()
    }
}

impl Drop for SqliteStore {
    fn drop(&mut self) {
        self.queue = None;
        if let Some(writer) = self.writer.take()
            && writer.join().is_err()
        {
            tracing::error!("the writer of the store panicked");
        }
        self.shared.is_closed.store(true, Ordering::Release);
        self.shared.wakes.tell_all();
    }
}

impl Shared {
    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Logs an error, unless the one before was of the same kind.
    fn say_once(&self, error: &Error) {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        if said.replace(error.kind()) != Some(error.kind()) {
            tracing::error!("the store refuses a write: {error}");
        }
    }

    /// Reads history from the file, on a thread that may wait for the disk.
    async fn from_disk<R: Send + 'static>(
        self: &Arc<Self>,
        at: Revision,
        read: impl FnOnce(&History) -> Result<R> + Send + 'static,
    ) -> Result<R> {
        let stopped = |error: String| Error::Unavailable(format!("a read of the store was stopped: {error}"));
        let _turn = self.disk.acquire().await.map_err(|error| stopped(error.to_string()))?;
        self.metrics.disk_reads.fetch_add(1, Ordering::Relaxed);
        let (shared, began) = (Arc::clone(self), Instant::now());
        let result = tokio::task::spawn_blocking(move || read(&shared.history)).await;
        if began.elapsed() >= SLOW {
            self.metrics.slow.fetch_add(1, Ordering::Relaxed);
            let took_ms = began.elapsed().as_millis();
            tracing::warn!(took_ms, revision = %at, "a read of history took long; look at the disk");
        }
        result.map_err(|error| stopped(error.to_string()))?
    }

    /// The content of what was found; reads the disk where it must.
    async fn fetch(self: Arc<Self>, at: Revision, found: Vec<(Bytes, Found)>) -> Result<Vec<Arc<Object>>> {
        let on_disk = |(key, found): &(Bytes, Found)| match found {
            Found::OnDisk(revision) => Some((key.clone(), *revision)),
            Found::Here(_) | Found::Absent => None,
        };
        let wanted: Vec<_> = found.iter().filter_map(on_disk).collect();
        let mut read = Vec::new().into_iter();
        if !wanted.is_empty() {
            read = self.from_disk(at, move |history| history.objects(at, &wanted)).await?.into_iter();
        }
        let object = |(_, found)| match found {
            Found::Here(object) => Some(object),
            Found::OnDisk(_) => read.next(),
            Found::Absent => None,
        };
        Ok(found.into_iter().filter_map(object).collect())
    }
}

impl Store for SqliteStore {
    fn get<'a>(&'a self, key: &'a [u8], at: Option<Revision>) -> BoxFuture<'a, Result<Got>> {
        let state = self.shared.read();
        let (revision, found) = match at {
            None => {
                (state.revision, Ok(state.index.current(key).map(|object| Found::Here(Arc::clone(object)))))
            }
            Some(_) => (state.revision, state.at(at).map(|at| Some(state.index.at(key, at)))),
        };
        drop(state);
        match found {
            Err(error) => Box::pin(future::ready(Err(error))),
            Ok(Some(Found::OnDisk(written))) => {
                let found = vec![(Bytes::copy_from_slice(key), Found::OnDisk(written))];
                let objects = Arc::clone(&self.shared).fetch(at.unwrap_or(revision), found);
                Box::pin(async move { Ok(Got { object: objects.await?.pop(), revision }) })
            }
            Ok(Some(Found::Here(object))) => {
                Box::pin(future::ready(Ok(Got { object: Some(object), revision })))
            }
            Ok(Some(Found::Absent) | None) => Box::pin(future::ready(Ok(Got { object: None, revision }))),
        }
    }

    fn list<'a>(&'a self, prefix: &'a [u8], options: ListOptions) -> BoxFuture<'a, Result<Page>> {
        Box::pin(async move {
            let (at, found, count) = {
                let state = self.shared.read();
                let at = state.at(options.at)?;
                let mut range = state.index.range(prefix, options.after.as_ref(), at);
                let limit = if options.limit == 0 { usize::MAX } else { options.limit };
                let found: Vec<_> =
                    range.by_ref().take(limit).map(|(key, found)| (key.clone(), found)).collect();
                let here = found.len() as u64;
                let is_whole = options.after.is_none() && at == state.revision;
                let rest = match state.index.live_below(prefix).filter(|_| is_whole) {
                    Some(all) => all - here,
                    None if options.uncounted => u64::from(range.next().is_some()),
                    None => range.count() as u64,
                };
                (at, found, rest)
            };
            let more = count > 0;
            let count = count + found.len() as u64;
            let mut objects = Arc::clone(&self.shared).fetch(at, found).await?;
            if options.keys_only {
                objects = objects.iter().map(|object| Arc::new(object.without_value())).collect();
            }
            Ok(Page { objects, count, more, revision: at })
        })
    }

    fn count<'a>(&'a self, prefix: &'a [u8]) -> BoxFuture<'a, Result<Count>> {
        let state = self.shared.read();
        let count = state.index.live_below(prefix);
        let count = count.unwrap_or_else(|| state.index.range(prefix, None, state.revision).count() as u64);
        Box::pin(future::ready(Ok(Count { count, revision: state.revision })))
    }

    fn transact(&self, transaction: Transaction) -> BoxFuture<'_, Result<Outcome>> {
        Box::pin(async move {
            transaction.validate()?;
            self.ask(transaction.bytes(), |tell| Work::Transact(transaction, tell)).await
        })
    }

    fn watch<'a>(&'a self, prefix: &'a [u8], options: WatchOptions) -> BoxFuture<'a, Result<Watch>> {
        let follow = Follow::new(&self.shared, prefix, options);
        Box::pin(future::ready(follow.map(|follow| Watch::new(Box::new(follow)))))
    }

    fn progress(&self) -> BoxFuture<'_, Result<Revision>> {
        Box::pin(future::ready(Ok(self.shared.read().revision)))
    }

    fn compact(&self, revision: Revision) -> BoxFuture<'_, Result<()>> {
        Box::pin(self.ask(0, move |tell| Work::Compact(revision, tell)))
    }

    fn lease_grant(&self, ttl: Duration) -> BoxFuture<'_, Result<Lease>> {
        Box::pin(async move {
            let ttl = check_ttl(ttl)?;
            let id = self.ask(0, |tell| Work::Grant(ttl, tell)).await?;
            Ok(Lease { id, ttl })
        })
    }

    fn lease_keep_alive(&self, id: LeaseId) -> BoxFuture<'_, Result<Lease>> {
        let ttl = self.shared.write().leases.keep_alive(id, Instant::now());
        Box::pin(future::ready(ttl.map(|ttl| Lease { id, ttl })))
    }

    fn lease_revoke(&self, id: LeaseId) -> BoxFuture<'_, Result<Revision>> {
        Box::pin(self.ask(0, move |tell| Work::Revoke(id, tell)))
    }

    fn status(&self) -> BoxFuture<'_, Result<Status>> {
        let used = self.shared.db_bytes.load(Ordering::Relaxed);
        let used = used.saturating_sub(self.shared.db_free_bytes.load(Ordering::Relaxed));
        let quota = self.quota_bytes;
        let is_filling = used > quota / 10 * 8;
        let warning =
            || format!("the database holds {used} of its quota of {quota} bytes: delete, or raise the quota");
        let state = self.shared.read();
        let status = Status {
            engine: "sqlite".into(),
            revision: state.revision,
            compacted: Some(state.compacted),
            db_bytes: self.shared.db_bytes.load(Ordering::Relaxed),
            watchers: self.shared.wakes.watchers(),
            progress_trusted: true,
            watch_at_compaction: true,
            warnings: is_filling.then(warning).into_iter().collect(),
        };
        Box::pin(future::ready(Ok(status)))
    }

    fn health(&self) -> BoxFuture<'_, Result<Duration>> {
        Box::pin(async {
            let began = Instant::now();
            self.ask(0, Work::Beat).await?;
            Ok(began.elapsed())
        })
    }

    fn metrics(&self) -> String {
        let load = |number: &AtomicU64| number.load(Ordering::Relaxed);
        let (revision, compacted, leases) = {
            let state = self.shared.read();
            (state.revision.0, state.compacted.0, state.leases.len() as u64)
        };
        let gauges = [
            ("revision", "Where the store is.", revision),
            ("compacted_revision", "The oldest revision that can be read.", compacted),
            (
                "db_bytes",
                "Size of the database on disk, free space in it included.",
                load(&self.shared.db_bytes),
            ),
            ("db_free_bytes", "Free space in the database.", load(&self.shared.db_free_bytes)),
            ("watchers", "Watches that are open.", self.shared.wakes.watchers() as u64),
            ("leases", "Leases that have not ended.", leases),
        ];
        self.shared.metrics.render("sqlite", &gauges)
    }
}

/// Makes the directory and takes its lock.
fn own(dir: &Path) -> Result<std::fs::File> {
    let named = |what: &str, error: &std::io::Error| {
        Error::Unavailable(format!("{}: {what}: {error}", dir.display()))
    };
    make_dir(dir).map_err(|error| named("cannot be made", &error))?;
    let lock = std::fs::File::create(dir.join(LOCK)).map_err(|error| named("cannot be written", &error))?;
    match rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(lock),
        Err(rustix::io::Errno::WOULDBLOCK) => {
            let what = "another process has this store open; stop it, or name another directory";
            Err(Error::Unavailable(format!("{}: {what}", dir.display())))
        }
        Err(error) => Err(named("cannot be locked", &error.into())),
    }
}

/// Makes a directory that nobody else can read, and its name durable: what is acknowledged below it is there after a
/// power cut only if it is.
fn make_dir(dir: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    if dir.is_dir() {
        return Ok(());
    }
    let parent = dir.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    make_dir(parent)?;
    match std::fs::DirBuilder::new().mode(0o700).create(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    std::fs::File::open(parent)?.sync_all()
}
