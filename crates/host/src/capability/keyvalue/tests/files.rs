//! Files: what survives, what is shared, what is refused.

use std::fs;
use std::future::Future;
use std::path::Path;

use shoal_runtime::Refusal;

use super::super::Stores;
use super::super::store::Store;
use super::super::table::{self, StoreError, Table};
use super::super::worker::{FileStore, GROUP_MAX, JOB_BYTES, QUEUE_BYTES_MAX};
use super::run;
use crate::capability::testing::{Log, grant};

fn open(path: &Path) -> Result<Store, Refusal> {
    Store::file("carts", path)
}

fn refusal(path: &Path) -> Refusal {
    match open(path) {
        Ok(_) => panic!("{} was opened", path.display()),
        Err(refusal) => refusal,
    }
}

/// Makes a store with some entries, large enough that its table has inner pages.
fn fill(path: &Path) {
    let store = open(path).expect("the file opens");
    for number in 0..200 {
        run(store.set(format!("key-{number:04}"), vec![b'v'; 900])).expect("set");
    }
}

#[test]
fn an_acknowledged_write_survives_a_kill() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("store.db");
    let store = open(&path).expect("the file opens");
    for number in 0..20 {
        run(store.set(number.to_string(), b"kept".to_vec())).expect("set");
        run(store.increment("count".into(), 1, 0..=100)).expect("increment");
        // What a killed process leaves: the files as they are, without a close.
        let left = directory.path().join(format!("left-{number}"));
        fs::create_dir(&left).expect("a directory");
        for file in ["store.db", "store.db-wal"] {
            fs::copy(directory.path().join(file), left.join(file)).expect("a copy");
        }
    }
    for number in [0, 7, 19] {
        let left = open(&directory.path().join(format!("left-{number}/store.db"))).expect("it recovers");
        assert_eq!(run(left.get(number.to_string())), Ok(Some(b"kept".to_vec())));
        assert_eq!(run(left.get("count".into())), Ok(Some((number + 1).to_string().into_bytes())));
        assert_eq!(run(left.get((number + 1).to_string())), Ok(None));
    }
}

#[test]
fn a_store_that_was_let_go_is_closed_and_opens_again() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("store.db");
    for round in 0..5 {
        let store = open(&path).expect("the file opens");
        assert_eq!(run(store.increment("rounds".into(), 1, 0..=100)), Ok(round + 1));
        drop(store);
        assert!(!path.with_extension("db-wal").exists(), "a closed store is one file");
    }
}

#[test]
fn workloads_that_are_granted_the_same_file_share_it() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("store.db");
    let (one, two) =
        (open(&path).expect("it opens"), open(&directory.path().join("./store.db")).expect("again"));
    run(one.set("k".into(), b"v".to_vec())).expect("set");
    assert_eq!(run(two.get("k".into())), Ok(Some(b"v".to_vec())));
    drop(one);
    assert_eq!(run(two.get("k".into())), Ok(Some(b"v".to_vec())), "the other goes on");
}

#[test]
fn a_name_granted_twice_is_refused() {
    let refused = Stores::open(&[grant("a", None), grant("a", None)]).map(drop);
    assert_eq!(
        refused.map_err(|refusal| refusal.what),
        Err("the key-value store `a` is granted twice".into())
    );
}

#[test]
fn a_file_that_another_process_holds_is_refused() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("store.db");
    fill(&path);
    let other = rusqlite::Connection::open(&path).expect("another connection");
    other.execute_batch("PRAGMA locking_mode = exclusive; BEGIN EXCLUSIVE;").expect("a lock");
    let refusal = refusal(&path);
    assert!(refusal.what.starts_with("the key-value store `carts` cannot use "), "{refusal:?}");
    assert!(refusal.what.ends_with("database is locked"), "{refusal:?}");
    let hint = "another process has it open; stop that one, or give each its own file";
    assert_eq!(refusal.hint.as_deref(), Some(hint));
    drop(other);
    assert!(open(&path).is_ok());
}

#[test]
fn a_held_store_is_closed_to_other_processes() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("store.db");
    let _held = open(&path).expect("the file opens");
    let other = rusqlite::Connection::open(&path).expect("another connection");
    other.busy_timeout(std::time::Duration::ZERO).expect("a timeout");
    assert!(other.query_row("SELECT count(*) FROM entry", [], |row| row.get::<_, i64>(0)).is_err());
}

#[test]
fn what_is_not_a_store_is_refused_and_left_alone() {
    let directory = tempfile::tempdir().expect("a directory");
    let text = directory.path().join("notes.txt");
    fs::write(&text, "these are my notes, and not a database at all\n".repeat(100)).expect("a file");
    assert!(refusal(&text).what.contains("not a database"), "{:?}", refusal(&text));
    assert!(fs::read_to_string(&text).expect("the file").starts_with("these are my notes"));

    let foreign = directory.path().join("foreign.db");
    let connection = rusqlite::Connection::open(&foreign).expect("a database");
    connection.execute_batch("CREATE TABLE mine (x)").expect("a table");
    drop(connection);
    let refused = refusal(&foreign);
    assert!(refused.what.ends_with("it is a SQLite file, but not a store of Shoal"), "{refused:?}");

    let newer = directory.path().join("newer.db");
    fill(&newer);
    let connection = rusqlite::Connection::open(&newer).expect("a database");
    connection.pragma_update(None, "user_version", 2).expect("a version");
    drop(connection);
    assert!(
        refusal(&newer).what.ends_with("by a newer Shoal (format 2, this one knows 1)"),
        "{:?}",
        refusal(&newer)
    );
}

#[test]
fn a_place_where_no_file_can_be_is_refused() {
    let directory = tempfile::tempdir().expect("a directory");
    let missing = refusal(&directory.path().join("no/such/store.db"));
    assert!(missing.what.ends_with("No such file or directory (os error 2)"), "{missing:?}");
    assert_eq!(missing.hint.as_deref(), Some("the directory must exist; the file in it is made"));
    let is_directory = refusal(directory.path());
    assert!(is_directory.what.contains("unable to open database file"), "{is_directory:?}");
}

#[test]
fn a_damaged_file_is_refused() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("store.db");
    fill(&path);
    let sound = fs::read(&path).expect("the file");
    // Each page but the first in turn is overwritten; the first holds the header, which is another case.
    for page in 1..sound.len() / 4096 {
        let mut damaged = sound.clone();
        damaged[page * 4096..page * 4096 + 64].fill(0xa5);
        fs::write(&path, &damaged).expect("a damaged file");
        let refused = refusal(&path);
        assert!(
            refused.what.contains("damaged") || refused.what.contains("malformed"),
            "page {page}: {refused:?}"
        );
        let hint = "restore a backup, or move the file away to start empty";
        assert_eq!(refused.hint.as_deref(), Some(hint), "page {page}");
    }
    fs::write(&path, &sound[..sound.len() / 2]).expect("a short file");
    assert!(refusal(&path).hint.is_some());
    fs::write(&path, &sound).expect("the sound file");
    assert!(open(&path).is_ok());
}

#[test]
fn a_group_that_fails_writes_nothing_and_the_store_goes_on() {
    use super::super::sqlite::SqliteTable;
    let directory = tempfile::tempdir().expect("a directory");
    let mut table = SqliteTable::open("carts", &directory.path().join("store.db")).expect("the file opens");
    table.begin().expect("a group");
    table::set(&mut table, "before", b"1").expect("set");
    table.commit().expect("a commit");
    let bytes = table.bytes();
    table.begin().expect("a group");
    table::set(&mut table, "lost", b"2").expect("set");
    // The engine fails in the middle of the group, again and again; the log says it once.
    let log = Log::listen();
    for _ in 0..10 {
        assert!(table.sabotage().is_err());
    }
    assert_eq!(
        log.text().matches("store.db failed: NOT NULL constraint failed").count(),
        1,
        "{}",
        log.text()
    );
    table::set(&mut table, "lost too", b"3").expect("set");
    assert!(table.commit().is_err());
    assert_eq!(table.bytes(), bytes);
    assert_eq!(table::get(&mut table, "lost"), Ok(None));
    table.begin().expect("a group");
    table::set(&mut table, "after", b"4").expect("set");
    table.commit().expect("a commit");
    let page = table::list(&mut table, None).expect("a page");
    assert_eq!(page.keys, ["before", "after"]);
}

#[test]
fn a_full_file_takes_nothing_more_until_something_is_deleted() {
    use super::super::sqlite::FILE_BYTES_MAX;
    use super::super::table::ENTRY_BYTES;
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("store.db");
    let store = open(&path).expect("the file opens");
    run(store.set("k".into(), vec![0; 100])).expect("set");
    drop(store);
    // As if all but one entry of two bytes were used up.
    let connection = rusqlite::Connection::open(&path).expect("a database");
    let nearly = i64::try_from(FILE_BYTES_MAX - 2 - ENTRY_BYTES).expect("a size");
    connection.execute("UPDATE state SET bytes = ?1", [nearly]).expect("an update");
    drop(connection);
    let store = open(&path).expect("the file opens");
    let full = Err(StoreError::Other("the store is full: at most 1GiB; delete something first".into()));
    assert_eq!(run(store.set("ab".into(), b"c".to_vec())), full);
    assert_eq!(run(store.set("ab".into(), vec![])), Ok(()));
    assert_eq!(run(store.set("c".into(), vec![])), full);
    assert_eq!(run(store.delete("k".into())), Ok(()));
    assert_eq!(run(store.set("c".into(), vec![])), Ok(()));
}

/// Polls until each of these waits for the store.
async fn all_wait<F: Future>(writes: &mut [std::pin::Pin<Box<F>>]) {
    for write in writes {
        assert!(futures_util::poll!(write.as_mut()).is_pending());
    }
}

#[test]
fn writes_that_wait_together_are_one_transaction() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = FileStore::open("carts", &directory.path().join("store.db")).expect("the file opens");
    let increment = || {
        let write = store.run(true, 0, |table: &mut dyn Table| table::increment(table, "k", 1, &(0..=1000)));
        // The runtime would have a task that does so much at once pause in the middle.
        Box::pin(tokio::task::unconstrained(write))
    };
    run(async {
        // Whatever comes while a group is being committed is the next group.
        for (writers, groups) in [(16, 1), (GROUP_MAX, 1), (GROUP_MAX + 1, 2)] {
            let before = store.groups();
            let (go_on, wait) = tokio::sync::oneshot::channel();
            let mut held = Box::pin(store.run(false, 0, move |_| Ok(wait.blocking_recv().is_ok())));
            all_wait(std::slice::from_mut(&mut held)).await;
            let mut writes: Vec<_> = std::iter::repeat_with(increment).take(writers).collect();
            all_wait(&mut writes).await;
            assert_eq!(store.waiting_bytes(), (writers + 1) * JOB_BYTES, "all are queued, behind the first");
            go_on.send(()).expect("the thread listens");
            let answers = futures_util::future::join_all(writes).await;
            assert!(answers.iter().all(Result::is_ok), "{answers:?}");
            assert_eq!(held.await, Ok(true));
            assert_eq!(store.groups() - before, groups, "{writers} writers");
        }
        let sum = 16 + 2 * GROUP_MAX + 1;
        assert_eq!(
            store.run(false, 0, |table| table::get(table, "k")).await,
            Ok(Some(sum.to_string().into_bytes()))
        );
        let before = store.groups();
        assert_eq!(store.run(false, 0, |table| table::exists(table, "k")).await, Ok(true));
        assert_eq!(store.groups(), before, "a read is no transaction");
    });
}

#[test]
fn guests_wait_when_the_queue_of_a_file_is_full() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = FileStore::open("carts", &directory.path().join("store.db")).expect("the file opens");
    let (go_on, wait) = tokio::sync::oneshot::channel();
    run(async {
        let held = store.run(false, 0, move |_| Ok(wait.blocking_recv().is_ok()));
        // Each of these takes half of what the queue holds.
        let [mut one, mut two, mut three] = [1, 2, 3].map(|number| {
            let write = move |table: &mut dyn Table| table::set(table, &number.to_string(), b"");
            Box::pin(store.run(true, QUEUE_BYTES_MAX / 2 - 2 * JOB_BYTES, write))
        });
        let mut held = std::pin::pin!(held);
        assert!(futures_util::poll!(held.as_mut()).is_pending());
        assert!(futures_util::poll!(one.as_mut()).is_pending());
        assert!(store.waiting_bytes() <= QUEUE_BYTES_MAX / 2);
        assert!(futures_util::poll!(two.as_mut()).is_pending());
        assert!(futures_util::poll!(three.as_mut()).is_pending());
        assert!(store.waiting_bytes() <= QUEUE_BYTES_MAX, "the third waits outside of the queue");
        go_on.send(()).expect("the thread listens");
        let (held, one, two, three) = futures_util::join!(held, one, two, three);
        assert_eq!((held, one, two, three), (Ok(true), Ok(()), Ok(()), Ok(())));
        assert_eq!(store.run(false, 0, |table| table::exists(table, "3")).await, Ok(true));
    });
    assert_eq!(store.waiting_bytes(), 0);
}
