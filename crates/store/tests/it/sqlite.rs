//! What is special to the embedded engine: its file, its groups, its limits.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rusqlite::Connection;
use shoal_store::limits::{COMPACT_EVERY, COMPACT_KEEPS};
use shoal_store::limits::{LEASE_TTL_MAX, OPERATIONS_MAX, REQUEST_BYTES_MAX};
use shoal_store::sqlite::{FILE, Options, SqliteStore};
use shoal_store::{Compactor, Error, Expect, ListOptions, Revision, Store, Transaction, WatchOptions, Write};

use crate::support::{DEADLINE, Fresh, committed, delete, lease_ends, put, soon};

#[tokio::test]
async fn what_was_written_is_there_after_opening_again() {
    let fresh = Fresh::new();
    let first = put(&fresh.store, "a", "1", Expect::Absent).await;
    let lease = fresh.store.lease_grant(Duration::from_secs(600)).await.expect("a lease");
    let put_b = fresh.store.put_if("b".into(), "2".into(), Expect::Absent, Some(lease.id));
    let second = put_b.await.expect("a write").expect("it happens");
    let third = delete(&fresh.store, "a", first).await;
    let fresh = fresh.reopen();
    let store = &fresh.store;
    assert_eq!(store.get(b"a", None).await.expect("a read").object, None);
    assert_eq!(store.get(b"a", Some(first)).await.expect("a read").object.expect("it was there").value, "1");
    assert_eq!(store.progress().await.expect("a revision"), third);
    let b = store.get(b"b", None).await.expect("a read").object.expect("it is there");
    assert_eq!((b.mod_revision, b.lease), (second, Some(lease.id)));
    let revoked = store.lease_revoke(lease.id).await.expect("the lease is there");
    assert_eq!(revoked, third.next(), "and its key hangs on it");
}

#[tokio::test]
async fn what_fits_into_a_transaction_fits_here_too() {
    let fresh = Fresh::new();
    let one = Write::put("k", Vec::new(), Expect::Absent);
    let room = REQUEST_BYTES_MAX - one.bytes();
    let write = |bytes: usize, expect| Write::put("k", vec![7; bytes], expect);
    let first =
        committed(fresh.store.transact(write(room, Expect::Absent).into()).await.expect("it fits")).revision;
    let over = fresh.store.transact(write(room + 1, Expect::At(first)).into()).await;
    assert_eq!(over.expect_err("one more byte").kind(), "too_large");
    let many = |count: usize| Transaction {
        writes: (0..count).map(|at| Write::put(format!("m{at}"), "", Expect::Absent)).collect(),
    };
    assert_eq!(
        fresh.store.transact(many(OPERATIONS_MAX + 1)).await.expect_err("one more").kind(),
        "too_large"
    );
    committed(fresh.store.transact(many(OPERATIONS_MAX)).await.expect("they fit"));
}

#[tokio::test]
async fn at_its_quota_only_what_adds_is_refused() {
    let fresh = Fresh::with(|options| options.quota_bytes = 1 << 20);
    let store = &fresh.store;
    let mut written = Vec::new();
    let error = loop {
        let key = format!("k{}", written.len());
        let write = Write::put(key.clone(), vec![1; 64 << 10], Expect::Absent);
        match store.transact(write.into()).await {
            Ok(outcome) => written.push((key, committed(outcome).revision)),
            Err(error) => break error,
        }
        assert!(written.len() < 64, "the quota is never reached");
    };
    assert_eq!(error.kind(), "no_space", "{error}");
    assert!(store.status().await.expect("it answers").warnings[0].contains("of its quota"));
    assert!(error.to_string().contains("raise the quota"), "{error}");
    // Reads and watches go on, and what removes is taken.
    assert_eq!(store.count(b"").await.expect("a count").count, written.len() as u64);
    let mut watch = store.watch(b"", WatchOptions::default()).await.expect("a watch");
    let mut last = Revision(0);
    for (key, revision) in &written {
        last = delete(store, key, *revision).await;
    }
    assert!(!soon("the deletions", watch.next()).await.expect("a batch").events.is_empty());
    // Compaction gives the space back, and writing goes on without opening anew.
    store.compact(last).await.expect("it compacts");
    let ends = Instant::now() + DEADLINE;
    loop {
        match store.transact(Write::put("again", vec![1; 1 << 10], Expect::Absent).into()).await {
            Ok(outcome) => break drop(committed(outcome)),
            Err(Error::NoSpace(_)) => assert!(Instant::now() < ends, "the space does not come back"),
            Err(error) => panic!("{error}"),
        }
    }
}

#[tokio::test]
async fn two_processes_cannot_have_the_same_store() {
    let fresh = Fresh::new();
    let error = SqliteStore::open(&fresh.options).err().expect("it is open");
    assert_eq!(error.kind(), "unavailable");
    assert!(error.to_string().contains("another process has this store open"), "{error}");
}

#[tokio::test]
async fn compaction_leaves_one_row_for_each_object() {
    let fresh = Fresh::new();
    let store = &fresh.store;
    let mut revision = put(store, "a", "0", Expect::Absent).await;
    for value in 1..700 {
        revision = put(store, "a", value.to_string(), Expect::At(revision)).await;
    }
    let gone = put(store, "b", "", Expect::Absent).await;
    let tombstone = delete(store, "b", gone).await;
    store.compact(tombstone).await.expect("it compacts");
    // The deletion at the very revision stays for watches that begin there.
    let rows = || {
        let reader = Connection::open(fresh.dir.path().join(FILE)).expect("it can be read beside us");
        reader.query_row("SELECT count(*) FROM event", [], |row| row.get::<_, i64>(0)).expect("a number")
    };
    let ends = Instant::now() + DEADLINE;
    while rows() > 2 {
        assert!(Instant::now() < ends, "{} rows are left", rows());
        tokio::task::yield_now().await;
    }
    let mut watch = store
        .watch(b"", WatchOptions { from: Some(tombstone), previous: true })
        .await
        .expect("it may begin at the compaction");
    let batch = soon("the deletion", watch.next()).await.expect("a batch");
    assert!(batch.events[0].is_delete() && batch.events[0].previous.is_none(), "{batch:?}");

    let next = put(store, "c", "", Expect::Absent).await;
    store.compact(next).await.expect("it compacts");
    while rows() > 2 {
        assert!(Instant::now() < ends, "the deletion is not removed");
        tokio::task::yield_now().await;
    }
    let fresh = fresh.reopen();
    let list = fresh.store.list(b"", ListOptions::default()).await.expect("a list");
    assert_eq!(list.objects.iter().map(|object| &object.key[..]).collect::<Vec<_>>(), [b"a", b"c"]);
    assert_eq!(list.revision, next);
}

#[tokio::test]
async fn the_compactor_keeps_as_many_periods_of_history_as_it_is_told() {
    let fresh = Fresh::new();
    let store: Arc<dyn Store> = Arc::new(fresh.store);
    let mut compactor = Compactor::new(Arc::clone(&store), 2);
    let first = put(&*store, "a", "1", Expect::Absent).await;
    assert_eq!(compactor.step().await, Ok(None), "it has seen nothing yet");
    let second = put(&*store, "a", "2", Expect::At(first)).await;
    assert_eq!(compactor.step().await, Ok(None), "one period has passed");
    let third = put(&*store, "a", "3", Expect::At(second)).await;
    assert_eq!(compactor.step().await, Ok(Some(first)));
    assert!(store.get(b"a", Some(first)).await.is_ok(), "two periods are kept");
    assert_eq!(compactor.step().await, Ok(Some(second)));
    assert_eq!(store.get(b"a", Some(first)).await.expect_err("it is gone").kind(), "compacted");
    assert!(store.get(b"a", Some(second)).await.is_ok());
    assert_eq!(compactor.step().await, Ok(Some(third)));
    assert_eq!(compactor.step().await, Ok(Some(third)), "again is no error");
}

#[tokio::test(start_paused = true)]
async fn the_compactor_works_once_a_period_until_the_drain() {
    let store: Arc<dyn Store> = Arc::new(shoal_store::model::Model::default());
    let drain = shoal_base::drain::Drain::new();
    let first = put(&*store, "a", "1", Expect::Absent).await;
    let compactor = Compactor::new(Arc::clone(&store), COMPACT_KEEPS);
    let running = tokio::spawn(compactor.run(COMPACT_EVERY, drain.clone()));
    let kept = COMPACT_EVERY * u32::try_from(COMPACT_KEEPS).expect("a few");
    assert_eq!(kept, Duration::from_secs(300), "what the specification says");
    // Time passes as soon as everyone waits.
    tokio::time::sleep(COMPACT_EVERY / 2).await;
    put(&*store, "a", "2", Expect::At(first)).await;
    tokio::time::sleep(kept - COMPACT_EVERY).await;
    assert!(store.get(b"a", Some(first.before())).await.is_ok());
    tokio::time::sleep(COMPACT_EVERY).await;
    assert_eq!(store.get(b"a", Some(first.before())).await.expect_err("it is gone").kind(), "compacted");
    assert!(store.get(b"a", Some(first)).await.is_ok());
    drain.begin();
    running.await.expect("it ends with the drain");
}

#[tokio::test]
async fn nobody_else_can_read_it() {
    use std::os::unix::fs::PermissionsExt as _;
    let parent = tempfile::tempdir().expect("a directory");
    let dir = parent.path().join("one/two");
    let store = SqliteStore::open(&Options::new(&dir)).expect("it makes its directory");
    let mode =
        |path: &std::path::Path| std::fs::metadata(path).expect("it is there").permissions().mode() & 0o777;
    assert_eq!(mode(&dir), 0o700);
    let backup = dir.join("backup");
    shoal_store::backup::backup(&store, &backup).await.expect("a backup");
    assert_eq!(mode(&backup), 0o600);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_finds_its_changes_however_many_others_are_between() {
    let fresh = Fresh::new();
    let first = put(&fresh.store, "/mine/1", "", Expect::Absent).await;
    let store = Arc::new(fresh.store);
    let others: Vec<_> = (0..50)
        .map(|writer| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                for at in 0..90 {
                    put(&*store, &format!("/others/{writer}/{at}"), "", Expect::Absent).await;
                }
            })
        })
        .collect();
    for other in others {
        soon("the others", other).await.expect("a writer");
    }
    let last = put(&*store, "/mine/2", "", Expect::Absent).await;
    assert!(last.0 - first.0 > 4000, "more than one read from disk goes through");
    // Opened again, it has no history in memory.
    drop(store);
    let store = SqliteStore::open(&fresh.options).expect("it opens again");
    let options = WatchOptions { from: Some(first), previous: false };
    let mut watch = store.watch(b"/mine/", options).await.expect("a watch");
    for revision in [first, last] {
        let batch = soon("a change", watch.next()).await.expect("a batch");
        assert_eq!(batch.events.iter().map(|event| event.revision).collect::<Vec<_>>(), [revision]);
    }
}

#[tokio::test]
async fn a_watch_that_is_too_far_behind_ends() {
    let fresh = Fresh::new();
    let store = &fresh.store;
    let first = put(store, "a", "1", Expect::Absent).await;
    let from = WatchOptions { from: Some(first), previous: false };
    let mut behind = store.watch(b"", from).await.expect("a watch");
    let mut elsewhere = store.watch(b"zzz", WatchOptions::default()).await.expect("a watch");
    let second = put(store, "a", "2", Expect::At(first)).await;
    store.compact(second).await.expect("it compacts");
    assert_eq!(behind.next().await.expect_err("its place is gone").kind(), "compacted");
    // One for which nothing happened has missed nothing.
    let third = put(store, "zzz", "", Expect::Absent).await;
    assert_eq!(soon("the change", elsewhere.next()).await.expect("a batch").revision, third);
}

#[tokio::test]
async fn a_lease_ends_by_itself() {
    lease_ends(&Fresh::new().store).await;
    let fresh = Fresh::new();
    let over = LEASE_TTL_MAX + Duration::from_secs(1);
    assert_eq!(fresh.store.lease_grant(over).await.expect_err("too long").kind(), "invalid");
    assert!(fresh.store.lease_grant(LEASE_TTL_MAX).await.is_ok());
}

#[tokio::test]
async fn its_health_is_no_revision() {
    let fresh = Fresh::new();
    assert!(fresh.store.health().await.expect("it is well") > Duration::ZERO);
    assert_eq!(fresh.store.progress().await, Ok(Revision::FIRST));
}

#[tokio::test]
async fn a_closed_store_ends_its_watches() {
    let fresh = Fresh::new();
    let mut watch = fresh.store.watch(b"", WatchOptions::default()).await.expect("a watch");
    let waiting = tokio::spawn(async move { watch.next().await });
    drop(fresh.store);
    let ended = soon("the end", waiting).await.expect("no panic");
    assert_eq!(ended.expect_err("it ended").kind(), "unavailable");
}

#[tokio::test]
async fn people_can_read_the_file() {
    let fresh = Fresh::new();
    let first = put(&fresh.store, "/pods/a", "one", Expect::Absent).await;
    put(&fresh.store, "/pods/a", "two", Expect::At(first)).await;
    let reader = Connection::open(fresh.dir.path().join(FILE)).expect("it can be read beside us");
    let row: (String, i64, String) = reader
        .query_row("SELECT key, version, value FROM object", [], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })
        .expect("one object");
    assert_eq!(row, ("/pods/a".into(), 2, "two".into()));
    let changes: i64 =
        reader.query_row("SELECT count(*) FROM history", [], |row| row.get(0)).expect("a number");
    assert_eq!(changes, 2);
}

/// Opens a store whose file was changed behind its back.
fn open_after(options: &Options, change: &str) -> Option<Error> {
    let file = Connection::open(options.dir.join(FILE)).expect("the file");
    file.execute_batch(change).expect("the change");
    drop(file);
    SqliteStore::open(options).err()
}

#[tokio::test]
async fn a_file_that_contradicts_itself_is_refused() {
    for (change, words) in [
        ("DELETE FROM event WHERE version = 2", "do not follow each other"),
        ("DELETE FROM event WHERE version = 1 AND key = CAST('a' AS BLOB)", "is missing"),
        ("UPDATE event SET version = 7 WHERE version = 3", "do not follow each other"),
        ("UPDATE event SET create_revision = 99 WHERE version = 2", "contradicts itself"),
        ("UPDATE event SET replaces = 99 WHERE version = 2", "replaces a later one"),
        ("UPDATE event SET key = x'' WHERE version = 1", "a key that cannot be"),
        ("UPDATE meta SET compacted_revision = 999", "compacted at 999"),
        ("UPDATE meta SET compacted_revision = -1", "is -1"),
        ("DELETE FROM meta", "does not say where it begins"),
        ("PRAGMA user_version = 9", "has format 9"),
        ("PRAGMA application_id = 9", "not a store of Shoal"),
    ] {
        let fresh = Fresh::new();
        let mut revision = put(&fresh.store, "a", "1", Expect::Absent).await;
        for value in ["2", "3"] {
            revision = put(&fresh.store, "a", value, Expect::At(revision)).await;
        }
        put(&fresh.store, "b", "1", Expect::Absent).await;
        let Fresh { store, options, dir: _dir } = fresh;
        drop(store);
        let error = open_after(&options, change).unwrap_or_else(|| panic!("{change}: it opens"));
        assert!(error.to_string().contains(words), "{change}: {error}");
        assert!(error.to_string().contains(FILE), "{change}: {error}");
    }
}

#[test]
fn a_file_that_is_something_else_is_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    std::fs::write(dir.path().join(FILE), b"not a database, but long enough to be looked at".repeat(100))
        .expect("it is written");
    let error = SqliteStore::open(&Options::new(dir.path())).err().expect("it is refused");
    assert_eq!(error.kind(), "corrupt", "{error}");
}

#[tokio::test]
async fn a_key_may_be_any_bytes() {
    let fresh = Fresh::new();
    let key = Bytes::from_static(b"\0\xff'\"%_\0");
    let write = Write::put(key.clone(), "v", Expect::Absent);
    committed(fresh.store.transact(write.into()).await.expect("a write"));
    let fresh = fresh.reopen();
    assert_eq!(fresh.store.get(&key, None).await.expect("a read").object.expect("it is there").key, key);
}
