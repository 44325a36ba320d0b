//! Taking a store elsewhere.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use shoal_store::backup::{self, RESTORE_GAP};
use shoal_store::etcd::EtcdStore;
use shoal_store::model::Model;
use shoal_store::sqlite::{FILE, Options, SqliteStore};
use shoal_store::{Expect, ListOptions, Object, Revision, Store, Transaction, WatchOptions, Write};

use crate::etcd::Live;
use crate::history::{Flaw, Flawed};
use crate::support::{Fresh, committed, delete, put, soon};

/// A thousand objects, some changed, some deleted, one on a lease.
async fn fill(store: &dyn Store) -> Revision {
    for begin in (0..1000).step_by(100) {
        let write = |at: usize| Write::put(format!("/o/{at:04}"), vec![7; at], Expect::Absent);
        let transaction = Transaction { writes: (begin..begin + 100).map(write).collect() };
        committed(store.transact(transaction).await.expect("a write"));
    }
    for at in (0..1000).step_by(3) {
        let key = format!("/o/{at:04}");
        let object = store.get(key.as_bytes(), None).await.expect("a read").object.expect("it is there");
        if at % 2 == 0 {
            put(store, &key, "changed", Expect::At(object.mod_revision)).await;
        } else {
            delete(store, &key, object.mod_revision).await;
        }
    }
    let lease = store.lease_grant(Duration::from_secs(600)).await.expect("a lease");
    let on_lease = store.put_if("/leased".into(), "l".into(), Expect::Absent, Some(lease.id)).await;
    on_lease.expect("a write").expect("it happens")
}

async fn list(store: &dyn Store) -> Vec<Arc<Object>> {
    store.list(b"", ListOptions::default()).await.expect("a list").objects
}

fn without_leases(objects: &[Arc<Object>]) -> Vec<Object> {
    objects.iter().map(|object| Object { lease: None, ..Object::clone(object) }).collect()
}

fn plain(objects: &[Arc<Object>]) -> Vec<(&[u8], &[u8])> {
    objects.iter().map(|object| (&object.key[..], &object.value[..])).collect()
}

#[tokio::test]
async fn a_backup_holds_everything_and_a_restored_store_goes_on_above_it() {
    let fresh = Fresh::new();
    let revision = fill(&fresh.store).await;
    let file = fresh.dir.path().join("backup");
    let report = backup::backup(&fresh.store, &file).await.expect("a backup");
    assert_eq!(report.revision, revision);
    let objects = list(&fresh.store).await;
    assert_eq!(report.objects, objects.len() as u64);
    assert_eq!(backup::check(&file), Ok(report));
    // What is written after the backup is lost with the machine.
    put(&fresh.store, "/late", "", Expect::Absent).await;

    let dir = fresh.dir.path().join("restored");
    assert_eq!(backup::restore(&file, &dir), Ok(report));
    let store = SqliteStore::open(&Options::new(&dir)).expect("it opens");
    assert_eq!(without_leases(&list(&store).await), without_leases(&objects));
    let begin = Revision(revision.0 + RESTORE_GAP);
    assert_eq!(store.progress().await, Ok(begin));
    // Every revision that anybody remembers is answered as compacted, also those of what was lost.
    for old in [Revision(2), revision, revision.next(), begin.before()] {
        assert_eq!(store.get(b"/late", Some(old)).await.expect_err("it is gone").kind(), "compacted");
        let options = WatchOptions { from: Some(old), previous: false };
        assert_eq!(store.watch(b"", options).await.err().expect("it is gone").kind(), "compacted");
    }
    let mut watch =
        store.watch(b"", WatchOptions { from: Some(begin.next()), previous: true }).await.expect("a watch");
    let changed = objects.iter().find(|object| object.key == "/o/0001").expect("it was not changed");
    let next = put(&store, "/o/0001", "new", Expect::At(changed.mod_revision)).await;
    assert_eq!(next, begin.next());
    let batch = soon("the change", watch.next()).await.expect("a batch");
    assert_eq!(batch.events[0].previous.as_deref(), Some(&**changed));
    // Compacting and opening again work as ever.
    store.compact(next).await.expect("it compacts");
    drop(store);
    let store = SqliteStore::open(&Options::new(&dir)).expect("it opens again");
    assert_eq!(store.count(b"").await.expect("a count").count, report.objects);
    assert_eq!(store.get(b"/o/0001", None).await.expect("a read").object.expect("it is there").value, "new");
}

#[tokio::test]
async fn a_backup_is_of_one_revision_while_others_write() {
    let fresh = Fresh::new();
    fill(&fresh.store).await;
    let file = fresh.dir.path().join("backup");
    let writing = async {
        for at in 0..200 {
            // In step, so that after each backup both keys have the same value.
            let both = ["/a/first", "/z/last"].map(|key| (key, format!("{at}")));
            let mut writes = Vec::new();
            for (key, value) in both {
                let current = fresh.store.get(key.as_bytes(), None).await.expect("a read").object;
                let expect = current.map_or(Expect::Absent, |object| Expect::At(object.mod_revision));
                writes.push(Write::put(key, value, expect));
            }
            committed(fresh.store.transact(Transaction { writes }).await.expect("a write"));
        }
    };
    let (report, ()) = tokio::join!(backup::backup(&fresh.store, &file), writing);
    report.expect("a backup");
    let (objects, _) = backup::objects(&file).expect("it can be read");
    let value =
        |key: &[u8]| objects.iter().find(|object| object.key == key).map(|object| object.value.clone());
    assert_eq!(value(b"/a/first"), value(b"/z/last"));
}

#[tokio::test]
async fn nothing_is_overwritten() {
    let fresh = Fresh::new();
    let file = fresh.dir.path().join("backup");
    backup::backup(&fresh.store, &file).await.expect("an empty backup");
    let again = backup::backup(&fresh.store, &file).await.expect_err("it is there");
    assert!(again.to_string().contains("exists already"), "{again}");
    let error = backup::restore(&file, &fresh.options.dir).expect_err("it is open");
    assert_eq!(error.kind(), "unavailable");
    let Fresh { store, options, dir: _dir } = fresh;
    drop(store);
    let error = backup::restore(&file, &options.dir).expect_err("it is there");
    assert!(error.to_string().contains("there is a store already"), "{error}");
}

#[tokio::test]
async fn a_backup_that_fails_leaves_nothing_behind() {
    let store = Flawed::new(Flaw::BrokenPages);
    fill(&store).await;
    let files = |dir: &Path| std::fs::read_dir(dir).expect("it can be read").count();
    let target = tempfile::tempdir().expect("a directory");
    let file = target.path().join("backup");
    assert_eq!(
        backup::backup(&store, &file).await.expect_err("the second page is missing").kind(),
        "unavailable"
    );
    assert_eq!(files(target.path()), 0);
    assert!(backup::backup(&store, &target.path().join("none/backup")).await.is_err());
    let broken = target.path().join("broken");
    std::fs::write(&broken, b"no store").expect("it is written");
    assert!(backup::restore(&broken, &target.path().join("new")).is_err());
    assert_eq!(files(target.path()), 1, "the broken one itself");
}

#[tokio::test]
async fn a_damaged_backup_is_refused() {
    let fresh = Fresh::new();
    fill(&fresh.store).await;
    let file = fresh.dir.path().join("backup");
    backup::backup(&fresh.store, &file).await.expect("a backup");
    let whole = std::fs::read(&file).expect("it can be read");
    let refused = |bytes: &[u8], what: &str| {
        let damaged = fresh.dir.path().join("damaged");
        std::fs::write(&damaged, bytes).expect("it is written");
        let error = backup::check(&damaged).expect_err(what);
        assert!(error.to_string().contains("damaged"), "{what}: {error}");
        let dir = fresh.dir.path().join(what);
        assert!(backup::restore(&damaged, &dir).is_err(), "{what}");
        assert!(!dir.join(FILE).exists(), "{what}: nothing is left behind");
    };
    refused(&whole[..whole.len() / 2], "cut");
    let mut flipped = whole.clone();
    // The kind of the second page.
    flipped[8192] ^= 0xff;
    refused(&flipped, "flipped");
    refused(b"", "empty");
    assert!(backup::check(Path::new("/nowhere/backup")).is_err());
}

#[tokio::test]
async fn a_store_moves_to_etcd_and_its_revisions_go_on() {
    let Some(live) = Live::start() else { return };
    let fresh = Fresh::new();
    let before = fill(&fresh.store).await;
    let options = live.options("/moved/");
    let target = EtcdStore::open(&options).await.expect("it answers");
    let target = target.continue_after(before).await.expect("it is empty");
    let report = backup::copy(&fresh.store, &target).await.expect("it moves");
    assert_eq!(report.revision, before);
    let (old, new) = (list(&fresh.store).await, list(&target).await);
    assert_eq!(plain(&new), plain(&old));
    assert!(new.iter().all(|object| object.mod_revision > before), "no revision is met twice");
    let remembered = WatchOptions { from: Some(before), previous: false };
    assert_eq!(target.watch(b"", remembered).await.err().expect("it is gone").kind(), "compacted");
    let again = backup::copy(&fresh.store, &target).await.expect_err("it is not empty");
    assert_eq!(again.kind(), "invalid");

    // And back, through a backup of etcd.
    let file = fresh.dir.path().join("of-etcd");
    backup::backup(&target, &file).await.expect("a backup");
    let dir = fresh.dir.path().join("back");
    backup::restore(&file, &dir).expect("it is restored");
    let back = SqliteStore::open(&Options::new(&dir)).expect("it opens");
    assert_eq!(plain(&list(&back).await), plain(&old));
}

#[tokio::test]
async fn a_store_that_is_written_while_it_moves_is_not_moved() {
    let from = Model::default();
    fill(&from).await;
    // Writing to the disk takes long enough for somebody else to write.
    let to = Fresh::new();
    let (copied, _) = tokio::join!(backup::copy(&from, &to.store), put(&from, "/zzz", "", Expect::Absent));
    let error = copied.expect_err("it was written");
    assert!(error.to_string().contains("written while it was copied"), "{error}");
}
