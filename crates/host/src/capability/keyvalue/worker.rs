//! The thread that owns the file of a store.
//!
//! SQLite blocks, and an edge core must not: operations are queued to one thread per file, which takes all
//! that wait, answers the reads, and commits the writes as one group with one fsync; `pace.rs` says how long it
//! waits for the group to fill. Host functions await the answer. A file that is opened twice in this process is served by the same thread.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, LazyLock, Mutex, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::Instant;

use shoal_base::soon::{self, Share};
use shoal_base::units::Bytes;
use shoal_runtime::Refusal;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::pace::Pace;
use super::sqlite::SqliteTable;
use super::table::{BATCH_BYTES_MAX, BATCH_KEYS_MAX, KEY_BYTES_MAX, StoreError, Table};
use crate::capability::text::shown;

/// Operations waiting for one file, in bytes: what they carry and [`JOB_BYTES`] each. Guests past it wait,
/// in the order of their coming.
pub(super) const QUEUE_BYTES_MAX: usize = 16 << 20;
/// What an operation costs in the queue beyond what it carries.
pub(super) const JOB_BYTES: usize = 512;
/// Writes in one group: the first must not wait long for the last.
pub(super) const GROUP_MAX: usize = 256;
/// Stack of the thread: SQLite needs some tens of KiB, and a node has thousands of stores.
const THREAD_STACK: Bytes = Bytes::kib(256);

const _: () = assert!(BATCH_BYTES_MAX + BATCH_KEYS_MAX * KEY_BYTES_MAX + JOB_BYTES <= QUEUE_BYTES_MAX);

/// The files that are open in this process, by their canonical path.
static OPEN: LazyLock<Mutex<HashMap<PathBuf, Weak<FileStore>>>> = LazyLock::new(Mutex::default);

/// A store in a file, served by its own thread until the last user lets go of it.
pub(super) struct FileStore {
    /// None: the store is being dropped.
    queue: Option<mpsc::Sender<Job>>,
    /// Bounds the queue, by the bytes of its jobs: so it has at most `QUEUE_BYTES_MAX / JOB_BYTES`.
    room: Arc<Semaphore>,
    /// Groups of writes that were committed.
    #[cfg(test)]
    groups: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

/// One operation. It runs inside the transaction when it writes, and is answered after the commit.
struct Job {
    writes: bool,
    run: Box<Run>,
    /// Held until the operation is done.
    room: OwnedSemaphorePermit,
}

/// What a job does with the table, or with the reason why there is no transaction.
type Run = dyn FnOnce(Result<&mut SqliteTable, StoreError>) -> Answer + Send;

/// Gives the result to the waiting guest; a failed commit takes the result's place.
type Answer = Box<dyn FnOnce(Result<(), StoreError>)>;

impl FileStore {
    /// Opens the file, or finds it open in this process.
    ///
    /// # Errors
    /// A [`Refusal`] naming the store, the file, the reason and the way out.
    pub(super) fn open(name: &str, path: &Path) -> Result<Arc<Self>, Refusal> {
        let canonical = canonical(name, path)?;
        let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(store) = open.get(&canonical).and_then(Weak::upgrade) {
            return Ok(store);
        }
        let store = Arc::new(Self::start(name, &canonical)?);
        open.retain(|_, store| store.strong_count() > 0);
        open.insert(canonical, Arc::downgrade(&store));
        Ok(store)
    }

    fn start(name: &str, path: &Path) -> Result<Self, Refusal> {
        let table = SqliteTable::open(name, path)?;
        #[expect(
            clippy::disallowed_methods,
            reason = "`room` bounds it; a bounded channel takes the memory of all its places at once"
        )]
        let (queue, jobs) = mpsc::channel();
        let groups = Arc::<AtomicU64>::default();
        let counted = Arc::clone(&groups);
        let thread = std::thread::Builder::new()
            .name("shoal-kv".into())
            .stack_size(THREAD_STACK.as_usize())
            .spawn(move || serve(table, &jobs, &counted))
            .map_err(|error| {
                Refusal::new(format!("no thread for the key-value store `{}`: {error}", shown(name)))
                    .hint("raise the limit on threads (ulimit -u), or grant fewer stores in files")
            })?;
        let room = Arc::new(Semaphore::new(QUEUE_BYTES_MAX));
        Ok(Self {
            queue: Some(queue),
            room,
            #[cfg(test)]
            groups,
            thread: Some(thread),
        })
    }

    /// Runs the operation on the thread. `carries` is what it holds in the queue, in bytes.
    ///
    /// # Errors
    /// Those of the operation; those of the commit, and then nothing is written.
    pub(super) async fn run<R: Send + 'static>(
        &self,
        writes: bool,
        carries: usize,
        operation: impl FnOnce(&mut dyn Table) -> Result<R, StoreError> + Send + 'static,
    ) -> Result<R, StoreError> {
        // More than fits at all is refused by the operation's own limits; here it must only not wait for ever.
        let weight = carries.saturating_add(JOB_BYTES).min(QUEUE_BYTES_MAX);
        let weight = u32::try_from(weight).unwrap_or(u32::MAX);
        let room = Arc::clone(&self.room).acquire_many_owned(weight).await.map_err(|_| stopped())?;
        let (tell, told) = oneshot::channel();
        let run = Box::new(move |table: Result<&mut SqliteTable, StoreError>| -> Answer {
            let result = table.and_then(|table| operation(table));
            // A guest that went away is not told.
            Box::new(move |committed| drop(tell.send(committed.and(result))))
        });
        let queue = self.queue.as_ref().ok_or_else(stopped)?;
        queue.send(Job { writes, run, room }).map_err(|_| stopped())?;
        told.await.map_err(|_| stopped())?
    }

    /// Groups of writes that were committed.
    #[cfg(test)]
    pub(super) fn groups(&self) -> u64 {
        self.groups.load(Ordering::Relaxed)
    }

    /// Bytes of the operations in the queue.
    #[cfg(test)]
    pub(super) fn waiting_bytes(&self) -> usize {
        QUEUE_BYTES_MAX - self.room.available_permits()
    }
}

impl Drop for FileStore {
    /// Waits until what is queued is done and the file is closed: whoever opens it next finds all of it.
    fn drop(&mut self) {
        self.queue = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread of a key-value store panicked");
        }
    }
}

/// Serves the file until nobody is left to ask.
fn serve(mut table: SqliteTable, jobs: &mpsc::Receiver<Job>, groups: &AtomicU64) {
    // All guests of the store wait for this thread. Its share is no larger for that: it works for a tenant.
    if !soon::run(Share::Same) {
        tracing::debug!("the thread of a key-value store stands in line for a core like everyone");
    }
    let mut pace = Pace::default();
    while let Ok(first) = jobs.recv() {
        let writes = gather(&mut table, first, jobs, &pace);
        if writes.is_empty() {
            continue;
        }
        let (count, began) = (writes.len(), Instant::now());
        let answers = commit(&mut table, writes);
        groups.fetch_add(1, Ordering::Relaxed);
        pace.committed(count, began, Instant::now());
        answers.into_iter().for_each(|answer| answer());
    }
    table.close();
}

/// Answers the reads that wait and takes the writes, until there are enough of them or no more come.
fn gather(table: &mut SqliteTable, first: Job, jobs: &mpsc::Receiver<Job>, pace: &Pace) -> Vec<Job> {
    let began = Instant::now();
    let mut writes = Vec::new();
    let mut next = Some(first);
    while let Some(job) = next {
        if job.writes {
            writes.push(job);
        } else {
            // Reads see what is committed: nobody was told of the writes that wait beside them.
            answer_read(table, job);
        }
        if writes.len() == GROUP_MAX {
            break;
        }
        next = match jobs.try_recv() {
            Ok(job) => Some(job),
            Err(_) if writes.is_empty() => None,
            Err(_) => wait(jobs, pace, writes.len(), began),
        };
    }
    writes
}

/// The next job, if it is worth waiting for and comes.
fn wait(jobs: &mpsc::Receiver<Job>, pace: &Pace, writes: usize, began: Instant) -> Option<Job> {
    let left = pace.wait(writes, began, Instant::now())?;
    jobs.recv_timeout(left).ok()
}

fn answer_read(table: &mut SqliteTable, job: Job) {
    let answer = (job.run)(Ok(table));
    drop(job.room);
    answer(Ok(()));
}

/// Runs the writes as one transaction; they are answered when it is on the disk.
fn commit(table: &mut SqliteTable, writes: Vec<Job>) -> Vec<impl FnOnce()> {
    let begun = table.begin();
    let mut answers = Vec::with_capacity(writes.len());
    for job in writes {
        let table = match &begun {
            Ok(()) => Ok(&mut *table),
            Err(error) => Err(error.clone()),
        };
        answers.push(((job.run)(table), job.room));
    }
    let committed = if begun.is_ok() { table.commit() } else { Ok(()) };
    let tell = |(answer, room): (Answer, OwnedSemaphorePermit)| {
        let committed = committed.clone();
        move || {
            drop(room);
            answer(committed);
        }
    };
    answers.into_iter().map(tell).collect()
}

/// The path that identifies the file; the file itself need not exist yet.
fn canonical(name: &str, path: &Path) -> Result<PathBuf, Refusal> {
    if let Ok(path) = path.canonicalize() {
        return Ok(path);
    }
    let refuse = |why: &str| {
        let what = format!("the key-value store `{}` cannot use {}: {why}", shown(name), path.display());
        Refusal::new(what).unavailable().hint("the directory must exist; the file in it is made")
    };
    let file = path.file_name().ok_or_else(|| refuse("that is not the path of a file"))?;
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let parent = parent.canonicalize().map_err(|error| refuse(&error.to_string()))?;
    Ok(parent.join(file))
}

fn stopped() -> StoreError {
    StoreError::Other("the store has stopped; the host's log says why".into())
}
