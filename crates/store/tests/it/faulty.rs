//! Disks that fill up, tear, lie and lose their power: nothing acknowledged is lost, and reading goes on.

mod layer;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use layer::{Fault, Layer};
use shoal_base::splitmix::SplitMix64;
use shoal_store::sqlite::{Options, SqliteStore};
use shoal_store::{Expect, ListOptions, Outcome, Revision, Store, WatchOptions, Write};

use crate::support::{Fresh, put, soon};

/// Power cuts under load in an ordinary run; `SHOAL_POWER_CUTS` gives another number.
const POWER_CUTS: usize = 40;

fn on(layer: &Layer) -> Fresh {
    Fresh::with(|options| {
        options.vfs = Some(layer.name.clone());
        options.ring_bytes = 1 << 16;
    })
}

#[tokio::test]
async fn a_full_disk_refuses_writes_and_nothing_else_and_recovers_by_itself() {
    let layer = Layer::new();
    let fresh = on(&layer);
    let store = &fresh.store;
    let first = put(store, "a", "1", Expect::Absent).await;
    let mut watch =
        store.watch(b"", WatchOptions { from: Some(first), previous: true }).await.expect("a watch");

    layer.set(Fault::Full);
    for _ in 0..3 {
        let error =
            store.transact(Write::put("b", "1", Expect::Absent).into()).await.expect_err("it is full");
        assert_eq!(error.kind(), "no_space", "{error}");
        assert!(error.to_string().contains("the disk is full"), "{error}");
    }
    assert_eq!(store.health().await.expect_err("it is full").kind(), "no_space");
    assert_eq!(store.get(b"a", None).await.expect("reads go on").revision, first);
    assert_eq!(store.list(b"", ListOptions::default()).await.expect("lists go on").count, 1);
    assert_eq!(soon("watches go on", watch.next()).await.expect("a batch").revision, first);

    layer.set(Fault::None);
    let second = put(store, "b", "1", Expect::Absent).await;
    assert_eq!(second, first.next(), "what was refused has left no trace");
    assert_eq!(soon("the change", watch.next()).await.expect("a batch").revision, second);
    let fresh = fresh.reopen();
    assert_eq!(fresh.store.progress().await, Ok(second));
}

#[tokio::test]
async fn writes_that_wait_together_share_a_sync() {
    let layer = Layer::new();
    let fresh = on(&layer);
    let store = &fresh.store;
    put(store, "before", "", Expect::Absent).await;
    let before = store.commits();
    // One is on its way to the disk, and fifteen come behind it.
    layer.set(Fault::Hold);
    let write = |at: usize| store.transact(Write::put(format!("{at}"), "", Expect::Absent).into());
    let mut first = write(0);
    let mut others = futures_util::future::join_all((1..16).map(write));
    assert!(futures_util::future::poll_immediate(&mut first).await.is_none());
    soon("the disk", async {
        while layer.disk().held == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert!(futures_util::future::poll_immediate(&mut others).await.is_none());
    assert_eq!(store.count(b"").await.expect("a count").count, 1, "nobody sees what is not on the disk");
    layer.set(Fault::None);
    let (first, others) = soon("the writes", async { tokio::join!(first, others) }).await;
    let revisions: Vec<_> = std::iter::once(first)
        .chain(others)
        .map(|outcome| crate::support::committed(outcome.expect("a write")).revision)
        .collect();
    assert!(
        revisions.windows(2).all(|pair| pair[0].next() == pair[1]),
        "in the order of their coming: {revisions:?}"
    );
    assert_eq!(store.commits() - before, 2, "one sync for the first, one for all others");
    assert!(store.metrics().contains("shoal_store_transactions_committed_total{engine=\"sqlite\"} 17"));
}

#[tokio::test]
async fn after_an_error_of_the_disk_the_file_tells_what_happened() {
    for fault in [Fault::TornWrite, Fault::Sync, Fault::Gone] {
        let layer = Layer::new();
        let fresh = on(&layer);
        let store = &fresh.store;
        let first = put(store, "a", "1", Expect::Absent).await;
        let mut watch =
            store.watch(b"", WatchOptions { from: Some(first), previous: true }).await.expect("a watch");
        layer.set(fault);
        let error =
            store.transact(Write::put("b", "lost?", Expect::Absent).into()).await.expect_err("it fails");
        assert!(["unavailable", "outcome_unknown"].contains(&error.kind()), "{fault:?}: {error}");
        assert_eq!(store.get(b"a", None).await.expect("reads go on").revision, first);
        let again =
            store.transact(Write::put("c", "", Expect::Absent).into()).await.expect_err("it still fails");
        assert!(["unavailable", "outcome_unknown"].contains(&again.kind()), "{fault:?}: {again}");
        assert!(layer.disk().faults > 0, "the fault was met");

        layer.set(Fault::None);
        // The first write may find that it came about after all; whatever it was, all agree on it.
        let mut last = store.transact(Write::put("d", "", Expect::Absent).into()).await;
        if last.is_err() {
            last = store.transact(Write::put("d", "", Expect::Absent).into()).await;
        }
        let Ok(Outcome::Committed(last)) = last else { panic!("{fault:?}: it does not recover: {last:?}") };
        let mut seen = Vec::new();
        while seen.last() != Some(&last.revision) {
            let batch = soon("every change", watch.next()).await.expect("a batch");
            seen.extend(batch.events.iter().map(|event| event.revision));
        }
        let expected: Vec<_> = (first.0..=last.revision.0).map(Revision).collect();
        assert_eq!(seen, expected, "{fault:?}: each revision once");
        let before = store.list(b"", ListOptions::default()).await.expect("a list");
        let fresh = fresh.reopen();
        let after = fresh.store.list(b"", ListOptions::default()).await.expect("a list");
        assert_eq!(before, after, "{fault:?}");
        assert!(fresh.store.metrics().contains("recoveries_total"));
    }
}

#[test]
fn a_power_cut_loses_nothing_that_was_acknowledged() {
    let asked =
        std::env::var("SHOAL_POWER_CUTS").ok().map(|text| text.parse().expect("a number of power cuts"));
    let lost = cut_power(asked.unwrap_or(POWER_CUTS), Fault::None);
    assert_eq!(lost, None);
}

/// The check itself: it must find what is lost.
#[test]
fn a_disk_that_lies_about_syncing_is_found() {
    assert!(cut_power(POWER_CUTS, Fault::Lie).is_some());
}

/// Cuts the power again and again while six write. Returns what was lost the first time that something was.
fn cut_power(cuts: usize, fault: Fault) -> Option<String> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let layer = Layer::new();
        let Fresh { store, dir: _dir, .. } = on(&layer);
        layer.set(fault);
        let store = Arc::new(store);
        let known = Arc::new(Known::default());
        let done = Arc::new(AtomicBool::new(false));
        let writers: Vec<_> = (0..6)
            .map(|writer| {
                tokio::spawn(write(Arc::clone(&store), Arc::clone(&known), writer, Arc::clone(&done)))
            })
            .collect();
        let mut lot = SplitMix64::new(0xC07);
        let (mut last, mut lost) = (Revision(0), None);
        for cut in 0..cuts {
            // Something happens between two cuts.
            let enough = known.revision().0 + 1 + lot.below(40);
            let wait = async {
                while known.revision().0 < enough {
                    tokio::task::yield_now().await;
                }
            };
            soon("writes", wait).await;
            let acknowledged = known.0.lock().expect("no panic").clone();
            let image = tempfile::tempdir().expect("a directory");
            layer.cut_power(image.path(), &mut lot);
            match tokio::task::spawn_blocking(move || check(&image, &acknowledged, last))
                .await
                .expect("no panic")
            {
                Ok(newest) => last = newest,
                Err(what) => {
                    lost = Some(format!("cut {cut}: {what}"));
                    break;
                }
            }
        }
        done.store(true, Ordering::Relaxed);
        for writer in writers {
            soon("the writers", writer).await.expect("a writer");
        }
        lost
    })
}

/// What has been acknowledged: the last value of each key, and when.
#[derive(Default)]
struct Known(Mutex<BTreeMap<String, (Revision, String)>>);

impl Known {
    fn revision(&self) -> Revision {
        self.0.lock().expect("no panic").values().map(|(revision, _)| *revision).max().unwrap_or_default()
    }
}

/// Writes to keys of its own until it is told to stop; now and then the history is compacted.
async fn write(store: Arc<SqliteStore>, known: Arc<Known>, writer: usize, done: Arc<AtomicBool>) {
    let mut at = 0;
    while !done.load(Ordering::Relaxed) {
        let key = format!("{writer}/{}", at % 4);
        let expect =
            known.0.lock().expect("no panic").get(&key).map_or(Expect::Absent, |known| Expect::At(known.0));
        let value = format!("{at}:{}", "x".repeat(at * 37 % 6000));
        let revision = put(&*store, &key, value.clone(), expect).await;
        known.0.lock().expect("no panic").insert(key, (revision, value));
        at += 1;
        if writer == 0 && at % 50 == 0 {
            store.compact(revision).await.expect("it compacts");
        }
    }
}

/// What the power cut has left opens, holds what was acknowledged before, and can be written. Returns the newest
/// revision of that, or what is wrong.
fn check(
    image: &tempfile::TempDir,
    acknowledged: &BTreeMap<String, (Revision, String)>,
    last: Revision,
) -> Result<Revision, String> {
    let store = SqliteStore::open(&Options::new(image.path())).map_err(|error| error.to_string())?;
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(async {
        let revision = store.progress().await.expect("a revision");
        let newest = acknowledged.values().map(|(revision, _)| *revision).max().unwrap_or_default();
        if revision < newest.max(last) {
            return Err(format!("at {revision}, and {newest} was acknowledged"));
        }
        for (key, (written, value)) in acknowledged {
            let object = store.get(key.as_bytes(), None).await.map_err(|error| error.to_string())?.object;
            let object = object.ok_or_else(|| format!("{key} is lost"))?;
            let is_same = object.mod_revision == *written && object.value == value.as_bytes();
            if !is_same && object.mod_revision <= *written {
                return Err(format!("{key} is not what was acknowledged"));
            }
        }
        put(&store, "after", "", Expect::Absent).await;
        Ok(newest)
    })
}
