//! The process that is killed: it writes as fast as it can, and tells what was acknowledged and what was watched.
//!
//! Lines on standard output: `a REVISION KEY HASH` acknowledged, `w REVISION KEY HASH` watched; the hash of a deletion
//! is `-`.

use std::io::Write as _;
use std::sync::Arc;

use shoal_base::splitmix::SplitMix64;
use shoal_store::sqlite::{Options, SqliteStore};
use shoal_store::{Expect, Object, Outcome, Revision, Store, WatchOptions, Write};

use super::hash;

/// Tasks that write, each to keys of its own.
const WRITERS: u64 = 12;

/// Keys of each.
const KEYS: u64 = 20;

/// Largest value, in bytes.
const VALUE_BYTES_MAX: u64 = 6000;

/// Writes of the first writer between two compactions.
const COMPACT_EVERY: u64 = 60;

/// Revisions that a compaction leaves.
const HISTORY: u64 = 400;

/// Writes until it is killed.
pub(crate) fn run(dir: &str, seed: u64) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.map_err(|error| error.to_string())?.block_on(async {
        let mut options = Options::new(dir);
        // So little that watches and old reads go to the disk as well.
        options.ring_bytes = 256 << 10;
        let store = Arc::new(SqliteStore::open(&options).map_err(|error| error.to_string())?);
        let mut tasks = tokio::task::JoinSet::new();
        tasks.spawn(watch(Arc::clone(&store)));
        for writer in 0..WRITERS {
            tasks.spawn(write(
                Arc::clone(&store),
                writer,
                SplitMix64::new(seed.wrapping_mul(WRITERS) + writer),
            ));
        }
        match tasks.join_next().await {
            Some(Ok(Err(error))) => Err(error),
            Some(Err(error)) => Err(error.to_string()),
            Some(Ok(Ok(()))) | None => Err("it ended by itself".into()),
        }
    })
}

async fn write(store: Arc<SqliteStore>, writer: u64, mut lot: SplitMix64) -> Result<(), String> {
    let text = |error: shoal_store::Error| error.to_string();
    for at in 1_u64.. {
        let key = format!("/{writer:02}/{}", lot.below(KEYS));
        let current = store.get(key.as_bytes(), None).await.map_err(text)?.object;
        let value = format!("{writer}/{at}/{}", "v".repeat(lot.below(VALUE_BYTES_MAX) as usize));
        let (write, told) = match current {
            Some(object) if lot.below(5) == 0 => {
                (Write::delete(key.clone(), object.mod_revision), "-".into())
            }
            current => {
                let expect =
                    current.map_or(Expect::Absent, |object: Arc<Object>| Expect::At(object.mod_revision));
                let told = format!("{:x}", hash(value.as_bytes()));
                (Write::put(key.clone(), value, expect), told)
            }
        };
        match store.transact(write.into()).await.map_err(text)? {
            Outcome::Committed(committed) => tell(&format!("a {} {key} {told}\n", committed.revision))?,
            Outcome::Conflict(conflict) => return Err(format!("{key} is nobody else's: {conflict:?}")),
        }
        if writer == 0 && at % COMPACT_EVERY == 0 {
            let now = store.progress().await.map_err(text)?;
            let to = Revision(now.0.saturating_sub(HISTORY));
            match store.compact(to).await {
                Ok(()) | Err(shoal_store::Error::Compacted { .. } | shoal_store::Error::Invalid(_)) => {}
                Err(error) => return Err(error.to_string()),
            }
        }
    }
    Ok(())
}

async fn watch(store: Arc<SqliteStore>) -> Result<(), String> {
    let mut watch = store.watch(b"", WatchOptions::default()).await.map_err(|error| error.to_string())?;
    loop {
        let batch = watch.next().await.map_err(|error| error.to_string())?;
        for event in batch.events {
            let key = String::from_utf8_lossy(&event.key);
            let told = event.object.map_or("-".into(), |object| format!("{:x}", hash(&object.value)));
            tell(&format!("w {} {key} {told}\n", event.revision))?;
        }
    }
}

/// One line, whole or not at all: shorter than what a pipe takes at once.
fn tell(line: &str) -> Result<(), String> {
    std::io::stdout().lock().write_all(line.as_bytes()).map_err(|error| error.to_string())
}
