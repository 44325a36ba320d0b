//! What the tests share: deadlines, numbers that look random, a store in a directory of its own.

use std::future::Future;
use std::time::Duration;

use shoal_store::sqlite::{Options, SqliteStore};
use shoal_store::{Committed, Error, Expect, Outcome, Revision, Store, WatchOptions, Write};
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

/// A lease that nobody keeps alive ends, and takes its keys with it.
pub(crate) async fn lease_ends(store: &dyn Store) {
    let lease = store.lease_grant(Duration::from_secs(1)).await.expect("a lease");
    assert!(lease.ttl >= Duration::from_secs(1), "it may be lengthened: {lease:?}");
    let put = |key: &'static str| store.put_if(key.into(), "".into(), Expect::Absent, Some(lease.id));
    let first = put("a").await.expect("a write").expect("it happens");
    put("b").await.expect("a write").expect("it happens");
    let options = WatchOptions { from: Some(first), previous: true };
    let mut watch = store.watch(b"", options).await.expect("a watch");
    let mut deleted = Vec::new();
    while deleted.len() < 2 {
        let batch = soon("the end of the lease", watch.next()).await.expect("a batch");
        deleted.extend(batch.events.into_iter().filter(shoal_store::Event::is_delete));
    }
    assert_eq!(deleted.iter().map(|event| &event.key[..]).collect::<Vec<_>>(), [b"a", b"b"]);
    assert_eq!(deleted[0].revision, deleted[1].revision, "in one revision");
    // etcd forgets the lease a moment after its keys.
    let gone =
        async { while store.lease_keep_alive(lease.id).await != Err(Error::LeaseNotFound(lease.id)) {} };
    soon("the lease is forgotten", gone).await;
}
