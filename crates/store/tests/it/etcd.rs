//! The engine on a live etcd: Debian's `etcd-server`, one for each test.

mod live;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use shoal_store::etcd::{EtcdOptions, EtcdStore};
use shoal_store::limits::{OPERATIONS_MAX, REQUEST_BYTES_MAX, ROOT_BYTES_MAX};
use shoal_store::model::Model;
use shoal_store::{Error, Expect, ListOptions, Outcome, Revision, Store, Transaction, WatchOptions, Write};

use crate::history::{self, Subject};
use crate::support::{committed, delete, put, soon};
pub(crate) use live::Live;

/// A store below a root of its own in a running etcd. Its revisions go on from where that etcd is.
struct Rooted<'a> {
    live: &'a Live,
    options: EtcdOptions,
    store: EtcdStore,
}

impl Subject for Rooted<'_> {
    fn store(&self) -> &dyn Store {
        &self.store
    }

    fn reopen(&mut self) {
        self.store = self.live.block_on_other_thread(&self.options);
    }
}

#[test]
fn a_live_etcd_agrees_with_the_model() {
    let Some(live) = Live::start() else { return };
    let mut roots = 0;
    history::agree(|| {
        roots += 1;
        let options = live.options(&format!("/histories/{roots}/"));
        let store = live.block_on_other_thread(&options);
        // What is before this history is gone: for the model nothing was.
        let begin = live.on_other_thread(async || {
            let store = EtcdStore::open(&options).await.expect("it answers");
            put(&store, "begin", "", Expect::Absent).await;
            let begin = delete(&store, "begin", store.progress().await.expect("a revision")).await;
            store.compact(begin).await.expect("it compacts");
            begin
        });
        (Rooted { live: &live, options, store }, Model::starting_at(begin))
    });
}

#[test]
fn concurrent_histories_of_a_live_etcd_are_linearizable() {
    let Some(live) = Live::start() else { return };
    for seed in 0..2 {
        let options = live.options(&format!("/concurrent/{seed}/"));
        let (store, begin) = live.on_other_thread(async || {
            let store = EtcdStore::open(&options).await.expect("it answers");
            let begin = store.progress().await.expect("a revision");
            (store, begin)
        });
        drop(store);
        history::concurrent_check(
            || async { Arc::new(EtcdStore::open(&options).await.expect("it answers")) as Arc<dyn Store> },
            &Model::starting_at(begin),
            seed,
            60,
        );
    }
}

#[tokio::test]
async fn what_fits_into_a_transaction_fits_into_etcd() {
    let Some(live) = Live::start() else { return };
    // The longest root, so that the keys are as long as they can be.
    let options = live.options(&"r".repeat(ROOT_BYTES_MAX));
    let store = EtcdStore::open(&options).await.expect("it answers");

    let mut one = Write::put("k", Vec::new(), Expect::Absent);
    let room = REQUEST_BYTES_MAX - one.bytes();
    one = Write::put("k", vec![7; room], Expect::Absent);
    let written = committed(store.transact(one.into()).await.expect("the largest value fits")).revision;
    let conflict = Write::put("k", vec![7; room], Expect::Absent);
    let outcome = store.transact(conflict.into()).await.expect("and comes back");
    assert!(matches!(outcome, Outcome::Conflict(_)));
    let over = Write::put("k", vec![7; room + 1], Expect::At(written));
    assert_eq!(store.transact(over.into()).await.expect_err("one more byte").kind(), "too_large");

    let key = |at: usize| format!("{at:0>1024}");
    let writes = |count: usize, value: usize| Transaction {
        writes: (0..count).map(|at| Write::put(key(at), vec![7; value], Expect::Absent)).collect(),
    };
    let mut many = writes(OPERATIONS_MAX, 0);
    let room = (REQUEST_BYTES_MAX - many.bytes()) / OPERATIONS_MAX;
    many = writes(OPERATIONS_MAX, room);
    assert!(REQUEST_BYTES_MAX - many.bytes() < OPERATIONS_MAX, "it is as large as it can be");
    committed(store.transact(many).await.expect("the largest transaction fits"));
    assert_eq!(
        store.transact(writes(OPERATIONS_MAX + 1, 0)).await.expect_err("one more").kind(),
        "too_large"
    );
}

#[tokio::test]
async fn a_list_of_more_than_a_page_is_of_one_revision() {
    let Some(live) = Live::start() else { return };
    let store = EtcdStore::open(&live.options("/pages/")).await.expect("it answers");
    for begin in (0..1200).step_by(100) {
        let write = |at| Write::put(format!("k{at:04}"), "v", Expect::Absent);
        committed(
            store
                .transact(Transaction { writes: (begin..begin + 100).map(write).collect() })
                .await
                .expect("ok"),
        );
    }
    let whole = store.list(b"k", ListOptions::default()).await.expect("a list");
    assert_eq!((whole.objects.len(), whole.count, whole.more), (1200, 1200, false));
    let part = ListOptions { limit: 700, ..ListOptions::default() };
    let part = store.list(b"k", part).await.expect("a list");
    assert_eq!((part.objects.len(), part.count, part.more), (700, 1200, true));
    assert_eq!(part.revision, whole.revision);
    assert!(whole.objects.is_sorted_by_key(|object| object.key.clone()));
}

#[tokio::test]
async fn a_store_that_continues_answers_for_what_was_before_as_compacted() {
    let Some(live) = Live::start() else { return };
    let options = live.options("/moved/");
    let store = EtcdStore::open(&options).await.expect("it answers");
    let store = store.continue_after(Revision(1_000_000)).await.expect("it is empty");
    let first = put(&store, "a", "1", Expect::Absent).await;
    assert!(first > Revision(1_000_000), "{first}");
    let gone = |error: Error| error.kind() == "compacted";
    assert!(store.get(b"a", Some(Revision(999))).await.is_err_and(gone));
    assert!(store.get(b"a", Some(Revision(1_000_000))).await.is_err_and(gone));
    let from = |from| WatchOptions { from: Some(Revision(from)), previous: false };
    assert!(store.watch(b"", from(5)).await.is_err_and(gone));

    // Whoever opens it later counts alike.
    let again = EtcdStore::open(&options).await.expect("it answers");
    let got = again.get(b"a", None).await.expect("a read");
    assert_eq!(got.object.expect("it is there").mod_revision, first);
    let next = put(&again, "a", "2", Expect::At(first)).await;
    assert_eq!(next, first.next());
    let mut watch =
        store.watch(b"a", WatchOptions { from: Some(first), previous: true }).await.expect("a watch");
    let batch = soon("both changes", watch.next()).await.expect("a batch");
    assert_eq!(batch.events[0].revision, first);
    let error = again.continue_after(Revision(5)).await.err().expect("it is not empty");
    assert_eq!(error.kind(), "invalid");
}

#[tokio::test]
async fn endpoints_may_come_and_go() {
    let Some(mut live) = Live::start() else { return };
    let mut options = live.options("/flaky/");
    // Nobody listens there.
    options.endpoints.insert(0, "http://127.0.0.1:9".into());
    let store = EtcdStore::open(&options).await.expect("one of them answers");
    let first = put(&store, "a", "1", Expect::Absent).await;
    let mut watch =
        store.watch(b"", WatchOptions { from: Some(first), previous: false }).await.expect("a watch");
    assert_eq!(soon("the first", watch.next()).await.expect("a batch").events.len(), 1);
    assert!(
        store.status().await.expect("it answers").warnings.iter().any(|warning| warning.contains("1 of the"))
    );

    live.stop();
    let refused = store.transact(Write::put("b", "1", Expect::Absent).into());
    let waiting = tokio::spawn(async move { watch.next().await });
    // While it is away, a write either waits for it or says that it was not made.
    let (outcome, ()) = tokio::join!(refused, async { live.restart() });
    let second = match outcome {
        Ok(outcome) => committed(outcome).revision,
        Err(Error::OutcomeUnknown(_) | Error::Unavailable(_)) => {
            let got = store.get(b"b", None).await.expect("a read");
            match got.object {
                Some(object) => object.mod_revision,
                None => put(&store, "b", "1", Expect::Absent).await,
            }
        }
        Err(error) => panic!("{error}"),
    };
    let batch = soon("the watch goes on", waiting).await.expect("no panic").expect("a batch");
    assert_eq!(batch.events.iter().map(|event| event.revision).collect::<Vec<_>>(), [second]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_member_may_fail_while_the_others_go_on() {
    let Some(mut members) = Live::start_three() else { return };
    let mut options = members[0].options("/three/");
    options.endpoints = members.iter().map(Live::endpoint).collect();
    let store = Arc::new(EtcdStore::open(&options).await.expect("they answer"));
    let begin = store.progress().await.expect("a revision");
    let options = WatchOptions { from: Some(begin.next()), previous: true };
    let mut watch = store.watch(b"", options).await.expect("a watch");
    let done = Arc::new(AtomicBool::new(false));
    let writing = tokio::spawn(write_through(Arc::clone(&store), Arc::clone(&done)));
    let mut seen = Vec::new();
    for at in 0..members.len() {
        let enough = seen.len() + 20;
        while seen.len() < enough {
            seen.extend(soon("events", watch.next()).await.expect("a batch").events);
        }
        members[at].stop();
        // The other two elect a leader if it was this one, and go on.
        let enough = seen.len() + 20;
        while seen.len() < enough {
            seen.extend(soon("events without it", watch.next()).await.expect("a batch").events);
        }
        let mut member = members.remove(at);
        members.insert(
            at,
            tokio::task::spawn_blocking(move || (member.restart(), member).1).await.expect("it starts"),
        );
    }
    done.store(true, Ordering::Relaxed);
    let acknowledged = soon("the writer", writing).await.expect("no panic");
    let last = *acknowledged.last().expect("it has written");
    while seen.last().is_none_or(|event| event.revision < last) {
        seen.extend(soon("the rest", watch.next()).await.expect("a batch").events);
    }
    assert!(seen.windows(2).all(|pair| pair[0].revision.next() == pair[1].revision), "each revision once");
    assert_eq!(seen[0].revision, begin.next());
    for revision in acknowledged {
        assert!(seen.iter().any(|event| event.revision == revision), "{revision} was acknowledged");
    }
}

/// Changes one key until told to stop; returns the revisions that were acknowledged.
async fn write_through(store: Arc<EtcdStore>, done: Arc<AtomicBool>) -> Vec<Revision> {
    let mut acknowledged = Vec::new();
    let mut expect = Expect::Absent;
    while !done.load(Ordering::Relaxed) {
        match store.transact(Write::put("k", "v", expect).into()).await {
            Ok(Outcome::Committed(committed)) => {
                acknowledged.push(committed.revision);
                expect = Expect::At(committed.revision);
            }
            // One whose outcome was not known has come about.
            Ok(Outcome::Conflict(conflict)) => {
                let current = conflict.current[0].as_ref();
                expect = current.map_or(Expect::Absent, |object| Expect::At(object.mod_revision));
            }
            Err(Error::OutcomeUnknown(_) | Error::Unavailable(_)) => {}
            Err(error) => panic!("{error}"),
        }
    }
    acknowledged
}

#[tokio::test]
async fn an_etcd_that_is_not_there_is_named() {
    let options =
        EtcdOptions { endpoints: vec!["http://127.0.0.1:9".into()], root: Bytes::from("/x/"), tls: None };
    let error = EtcdStore::open(&options).await.err().expect("nobody listens there");
    assert!(error.to_string().contains("http://127.0.0.1:9"), "{error}");
    assert_eq!(error.kind(), "unavailable");
    for (endpoint, root) in
        [("127.0.0.1:9", "/x/"), ("http://127.0.0.1:9", ""), ("https://127.0.0.1:9", "/x/")]
    {
        let options = EtcdOptions { endpoints: vec![endpoint.into()], root: Bytes::from(root), tls: None };
        assert_eq!(
            EtcdStore::open(&options).await.err().expect("refused").kind(),
            "invalid",
            "{endpoint} {root}"
        );
    }
}

#[tokio::test]
async fn only_who_has_a_certificate_gets_in() {
    let Some((live, stranger)) = Live::start_with_tls() else { return };
    let store = EtcdStore::open(&live.options("/tls/")).await.expect("it answers");
    let revision = put(&store, "a", "1", Expect::Absent).await;
    let mut watch =
        store.watch(b"", WatchOptions { from: Some(revision), previous: false }).await.expect("a watch");
    assert_eq!(soon("an event", watch.next()).await.expect("a batch").revision, revision);
    let error = EtcdStore::open(&stranger).await.err().expect("no certificate, no answer");
    assert_eq!(error.kind(), "unavailable", "{error}");
}

#[tokio::test]
async fn an_old_etcd_is_not_trusted_with_progress_and_says_so() {
    let Some(live) = Live::start() else { return };
    let store = EtcdStore::open(&live.options("/status/")).await.expect("it answers");
    let status = store.status().await.expect("it answers");
    assert!(status.engine.starts_with("etcd "), "{}", status.engine);
    let mut watch = store.watch(b"", WatchOptions::default()).await.expect("a watch");
    if status.progress_trusted {
        watch.request_progress().expect("it is trusted");
        let batch = soon("progress", watch.next()).await.expect("a batch");
        assert!(batch.events.is_empty() && batch.revision >= status.revision);
    } else {
        assert_eq!(watch.request_progress().expect_err("it is not trusted").kind(), "invalid");
        assert!(status.warnings.iter().any(|warning| warning.contains("progress")), "{:?}", status.warnings);
    }
    assert_eq!(store.status().await.expect("it answers").watchers, 1);
    drop(watch);
    assert_eq!(store.status().await.expect("it answers").watchers, 0);
    let metrics = store.metrics();
    for line in [
        format!("shoal_store_revision{{engine=\"etcd\"}} {}", status.revision),
        "shoal_store_watchers{engine=\"etcd\"} 0".into(),
    ] {
        assert!(metrics.lines().any(|other| other == line), "{line} in\n{metrics}");
    }
    assert!(store.health().await.expect("it is well") > Duration::ZERO);
    assert_eq!(store.progress().await.expect("a revision"), status.revision, "its health is no revision");
}

#[tokio::test]
async fn a_lease_ends_by_itself() {
    let Some(live) = Live::start() else { return };
    let store = EtcdStore::open(&live.options("/lease/")).await.expect("it answers");
    crate::support::lease_ends(&store).await;
}
