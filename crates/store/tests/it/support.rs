//! What the tests share: deadlines, numbers that look random, a store in a directory of its own.

use std::future::Future;
use std::time::Duration;

use shoal_store::sqlite::{Options, SqliteStore};
use shoal_store::{Committed, Conflict, Expect, Outcome, Revision, Store, Write};
use tempfile::TempDir;

/// Longest wait for anything. Generous: a loaded machine is no failure.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// Waits for something that must come.
pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, future).await.unwrap_or_else(|_| panic!("{what}: not within {DEADLINE:?}"))
}

/// A store in a directory that goes with it.
pub(crate) struct Fresh {
    pub(crate) store: SqliteStore,
    pub(crate) options: Options,
    // After the store: it goes when the store is closed.
    pub(crate) dir: TempDir,
}

impl Fresh {
    pub(crate) fn new() -> Self {
        Self::with(|_| {})
    }

    pub(crate) fn with(change: impl FnOnce(&mut Options)) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let mut options = Options::new(dir.path());
        change(&mut options);
        let store = SqliteStore::open(&options).expect("a new store opens");
        Self { store, options, dir }
    }

    /// Closes the store and opens it again.
    pub(crate) fn reopen(self) -> Self {
        let Self { store, options, dir } = self;
        drop(store);
        let store = SqliteStore::open(&options).expect("the store opens again");
        Self { store, options, dir }
    }
}

/// Puts, and expects it to happen.
pub(crate) async fn put(store: &dyn Store, key: &str, value: impl Into<Vec<u8>>, expect: Expect) -> Revision {
    committed(
        store.transact(Write::put(key.to_string(), value.into(), expect).into()).await.expect("a write"),
    )
    .revision
}

/// Deletes, and expects it to happen.
pub(crate) async fn delete(store: &dyn Store, key: &str, expect: Revision) -> Revision {
    committed(store.transact(Write::delete(key.to_string(), expect).into()).await.expect("a write")).revision
}

pub(crate) fn committed(outcome: Outcome) -> Committed {
    match outcome {
        Outcome::Committed(committed) => committed,
        Outcome::Conflict(conflict) => panic!("it conflicts: {conflict:?}"),
    }
}

pub(crate) fn conflict(outcome: Outcome) -> Conflict {
    match outcome {
        Outcome::Conflict(conflict) => conflict,
        Outcome::Committed(committed) => panic!("it happened: {committed:?}"),
    }
}

/// Numbers that look random and are the same for the same seed (splitmix64).
pub(crate) struct Lot(pub(crate) u64);

impl Lot {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }
}
