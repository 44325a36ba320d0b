//! What a store reads: files that somebody kept, and answers of etcd.
#![allow(unreachable_pub, reason = "a module of the fuzz targets and of the tests of shoal-store")]

use std::path::Path;
use std::sync::LazyLock;

use rusqlite::{Connection, params};
use shoal_store::model::Model;
use shoal_store::sqlite::{Options, SqliteStore};
use shoal_store::{Expect, Store, Write, backup, etcd};

/// A file of a store with some of its bytes or rows changed is refused with words; or it is restored, and the store
/// serves what the check has counted.
///
/// The first byte says how: even, three bytes each (where, two; what, one) change the file; odd, eight bytes each make
/// a row.
pub fn backup(bytes: &[u8]) {
    let Some((kind, changes)) = bytes.split_first() else { return };
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("backup");
    if kind % 2 == 0 {
        let mut file = WHOLE.clone();
        for change in changes.chunks_exact(3) {
            let at = usize::from(u16::from_le_bytes([change[0], change[1]])) * 7;
            let end = file.len();
            file[at % end] = change[2];
        }
        std::fs::write(&path, file).expect("it is written");
    } else {
        std::fs::write(&path, &*WHOLE).expect("it is written");
        add_rows(&path, changes);
    }
    match backup::check(&path) {
        Err(error) => assert!(!error.to_string().is_empty()),
        Ok(report) => {
            let to = dir.path().join("restored");
            // What the check does not look at, such as an index of SQLite's own, may still be refused.
            if backup::restore(&path, &to).is_err() {
                return;
            }
            let store = SqliteStore::open(&Options::new(&to)).expect("what was restored opens");
            let count = block_on(store.count(b"")).expect("a count");
            assert_eq!(count.count, report.objects);
        }
    }
}

/// An answer of etcd is understood, or it is not.
pub fn etcd(bytes: &[u8]) {
    etcd::read_any_answer(bytes);
}

/// A small backup.
static WHOLE: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("backup");
    block_on(async {
        let store = Model::default();
        for key in ["/a", "/b", "/c"] {
            let write = Write::put(key, key.repeat(9), Expect::Absent);
            store.transact(write.into()).await.expect("it is written");
        }
        backup::backup(&store, &path).await.expect("a backup");
    });
    std::fs::read(&path).expect("it can be read")
});

/// Rows of small numbers, so that they meet.
fn add_rows(path: &Path, rows: &[u8]) {
    let file = Connection::open(path).expect("it opens");
    for row in rows.chunks_exact(8) {
        let [revision, ordinal, key, replaces, created, version, lease, value] =
            [0, 1, 2, 3, 4, 5, 6, 7].map(|at| i64::from(row[at].cast_signed()));
        let id = revision << 20 | (ordinal & 3);
        let key = vec![b'a'; usize::try_from(key.rem_euclid(5)).expect("it is not negative")];
        let value = (value >= 0).then(|| vec![0_u8; usize::try_from(value).expect("it is not negative")]);
        let insert = "INSERT OR REPLACE INTO event VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
        file.execute(insert, params![id, key, replaces, created, version, lease, value]).expect("a row");
    }
    if let Some(last) = rows.chunks_exact(8).remainder().first() {
        let change =
            "UPDATE meta SET base_revision = ?1, compacted_revision = ?1 & 7, cleaned_revision = ?1 & 3";
        file.execute(change, [i64::from(*last)]).expect("a row");
    }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().expect("a runtime").block_on(future)
}
