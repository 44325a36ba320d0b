//! Reads, lists, watches, and opening.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use shoal_store::sqlite::{Options, SqliteStore};
use shoal_store::{Expect, ListOptions, Store, Transaction, WatchOptions, Write};

use super::{VALUE_BYTES, tell, tell_times};

/// Objects of the large store.
const OBJECTS: usize = 100_000;

/// Objects below the prefix that is listed.
const LISTED: usize = 5_000;

/// Watches on one prefix.
const WATCHERS: usize = 10_000;

/// Events that reach them.
const EVENTS: usize = 30;

pub(crate) async fn measure(dir: &Path) -> Result<(), String> {
    let dir = dir.join("reads");
    {
        let store = Arc::new(SqliteStore::open(&Options::new(&dir)).map_err(|error| error.to_string())?);
        fill(&store).await?;
        gets(&store).await?;
        lists(&store).await?;
        watches(&store).await?;
    }
    // In a process of its own, whose memory is that of the store.
    let me = std::env::current_exe().map_err(|error| error.to_string())?;
    let status = Command::new(me).arg("open").arg(&dir).status().map_err(|error| error.to_string())?;
    if status.success() { Ok(()) } else { Err("opening failed".into()) }
}

fn key(at: usize) -> String {
    format!("/registry/pods/{:02}/pod-{at:06}", at / LISTED)
}

async fn fill(store: &SqliteStore) -> Result<(), String> {
    for begin in (0..OBJECTS).step_by(100) {
        let write = |at| Write::put(key(at), vec![at as u8; VALUE_BYTES], Expect::Absent);
        let transaction = Transaction { writes: (begin..begin + 100).map(write).collect() };
        store.transact(transaction).await.map_err(|error| error.to_string())?;
    }
    Ok(())
}

async fn gets(store: &SqliteStore) -> Result<(), String> {
    let keys: Vec<_> = (0..OBJECTS).map(|at| key(at * 7919 % OBJECTS)).collect();
    let began = Instant::now();
    let mut found = 0;
    for key in keys.iter().cycle().take(1_000_000) {
        let got = store.get(key.as_bytes(), None).await.map_err(|error| error.to_string())?;
        found += usize::from(got.object.is_some());
    }
    tell("gets, one thread, any of 100,000", found as f64 / began.elapsed().as_secs_f64(), "/s");
    let began = Instant::now();
    for key in keys.iter().take(1000).cycle().take(1_000_000) {
        store.get(key.as_bytes(), None).await.map_err(|error| error.to_string())?;
    }
    tell("gets, one thread, any of 1,000", 1e6 / began.elapsed().as_secs_f64(), "/s");
    Ok(())
}

async fn lists(store: &SqliteStore) -> Result<(), String> {
    let mut took = Vec::new();
    for at in 0..100 {
        let prefix = format!("/registry/pods/{:02}/", at % (OBJECTS / LISTED));
        let began = Instant::now();
        let page =
            store.list(prefix.as_bytes(), ListOptions::default()).await.map_err(|error| error.to_string())?;
        took.push(began.elapsed().as_secs_f64());
        assert_eq!(page.objects.len(), LISTED);
    }
    tell_times("list of 5,000", took);
    Ok(())
}

/// From the call that writes until every watch has its event, and from the acknowledgement.
async fn watches(store: &Arc<SqliteStore>) -> Result<(), String> {
    let reached = Arc::new(AtomicU64::new(0));
    let all = Arc::new(tokio::sync::Notify::new());
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..WATCHERS {
        let watch = store.watch(b"/watched/", WatchOptions::default()).await;
        let mut watch = watch.map_err(|error| error.to_string())?;
        let (reached, all) = (Arc::clone(&reached), Arc::clone(&all));
        tasks.spawn(async move {
            while let Ok(batch) = watch.next().await {
                let count = batch.events.len() as u64;
                if (reached.fetch_add(count, Ordering::Relaxed) + count).is_multiple_of(WATCHERS as u64) {
                    all.notify_one();
                }
            }
        });
    }
    let (mut whole, mut after) = (Vec::new(), Vec::new());
    for at in 0..EVENTS {
        let began = Instant::now();
        let write = Write::put(format!("/watched/{at}"), vec![7; VALUE_BYTES], Expect::Absent);
        store.transact(write.into()).await.map_err(|error| error.to_string())?;
        let acknowledged = Instant::now();
        all.notified().await;
        whole.push(began.elapsed().as_secs_f64());
        after.push(acknowledged.elapsed().as_secs_f64());
    }
    tell_times("an event reaches 10,000 watches after the call", whole);
    tell_times("an event reaches 10,000 watches after its acknowledgement", after);
    tasks.shutdown().await;
    Ok(())
}

/// Opens the large store and says how long it took and what memory it holds.
pub(crate) fn open(dir: &Path) -> Result<(), String> {
    let before = resident_bytes()?;
    let began = Instant::now();
    let store = SqliteStore::open(&Options::new(dir)).map_err(|error| error.to_string())?;
    tell("opening 100,000 objects of 2 KB", began.elapsed().as_secs_f64(), "s");
    let data = (0..OBJECTS).map(|at| key(at).len() + VALUE_BYTES).sum::<usize>() as f64;
    let resident = resident_bytes()?;
    tell("resident memory with them", resident / 1e6, "MB");
    tell("resident memory of the data", resident / data, "x");
    tell("the same without the process itself", (resident - before) / data, "x");
    drop(store);
    Ok(())
}

fn resident_bytes() -> Result<f64, String> {
    let status = std::fs::read_to_string("/proc/self/status").map_err(|error| error.to_string())?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
    let kib: f64 = line.trim().trim_end_matches(" kB").parse().map_err(|_| "VmRSS is no number")?;
    Ok(kib * 1024.0)
}
