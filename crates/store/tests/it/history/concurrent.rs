//! Many writers, readers and watches at once. Revisions put all writes in one order; that order must explain every
//! answer (linearizable), and every watch must have given just that.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use shoal_base::splitmix::SplitMix64;
use shoal_store::model::Model;
use shoal_store::{Change, Expect, Got, ListOptions, Outcome, Page, Revision, Store, Transaction, Write};

use super::watched::Watched;

/// Clients that write and read.
const CLIENTS: u64 = 6;

/// Keys that they share.
const KEYS: [&str; 5] = ["/x/1", "/x/2", "/y/1", "/y/2", "/y/3"];

/// One call: what was asked, what came back, and when on a clock that all clients share.
struct Call {
    began: u64,
    ended: u64,
    what: What,
}

enum What {
    Write(Transaction, Outcome),
    Get(Bytes, Got),
    List(&'static str, Page),
}

impl What {
    fn revision(&self) -> Revision {
        match self {
            Self::Write(_, Outcome::Committed(committed)) => committed.revision,
            Self::Write(_, Outcome::Conflict(conflict)) => conflict.revision,
            Self::Get(_, got) => got.revision,
            Self::List(_, page) => page.revision,
        }
    }

    fn is_change(&self) -> bool {
        matches!(self, Self::Write(transaction, Outcome::Committed(_)) if transaction.is_change())
    }
}

/// Lets clients loose on a store that is empty at where the model is, and checks what they saw.
pub(crate) fn check<F>(open: impl FnOnce() -> F, model: &Model, seed: u64, calls: u64)
where
    F: Future<Output = Arc<dyn Store>>,
{
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.expect("a runtime");
    runtime.block_on(async {
        let store = open().await;
        let begin = model.progress().await.expect("the model can be read");
        let trusted = store.status().await.expect("the store answers").progress_trusted;
        let clock = Arc::new(AtomicU64::new(0));
        let mut watches = Vec::new();
        for (at, prefix) in ["", "/x/", "/y/", "/y/1", "/none/"].into_iter().enumerate() {
            let style = if at == 0 { Style::Resume } else { Style::Stay };
            watches.push(tokio::spawn(follow(Arc::clone(&store), prefix, begin.next(), style, trusted)));
            watches.push(tokio::spawn(follow(
                Arc::clone(&store),
                prefix,
                begin.next(),
                Style::Resume,
                trusted,
            )));
        }
        let clients: Vec<_> = (0..CLIENTS)
            .map(|client| {
                tokio::spawn(work(Arc::clone(&store), Arc::clone(&clock), seed * CLIENTS + client, calls))
            })
            .collect();
        let mut all = Vec::new();
        for client in clients {
            all.extend(client.await.expect("a client"));
        }
        // The last change concerns every watch: whoever has it has all.
        let writes =
            ["/x/end", "/y/1/end", "/none/end"].map(|key| Write::put(key, "", Expect::Absent)).to_vec();
        let last = Transaction { writes };
        let outcome = store.transact(last.clone()).await.expect("the last write");
        let (began, ended) = (clock.fetch_add(1, Ordering::SeqCst), clock.fetch_add(1, Ordering::SeqCst));
        all.push(Call { began, ended, what: What::Write(last, outcome) });

        explain(model, begin, &mut all).await;
        for watch in watches {
            let watched = watch.await.expect("a watch");
            let mut reference = Watched::open(model, &watched.prefix, begin.next(), true).await;
            reference.read_to(model.progress().await.expect("the model can be read")).await;
            assert_eq!(
                watched.events,
                reference.events,
                "reliable: {:?}",
                watched.prefix.escape_ascii().to_string()
            );
        }
    });
}

/// Writes and reads at random, most writes expecting what was seen last.
async fn work(store: Arc<dyn Store>, clock: Arc<AtomicU64>, seed: u64, calls: u64) -> Vec<Call> {
    let mut lot = SplitMix64::new(seed);
    let mut seen = std::collections::HashMap::<Bytes, Option<Revision>>::new();
    let mut done = Vec::new();
    for call in 0..calls {
        let key = Bytes::from_static(KEYS[lot.below(KEYS.len() as u64) as usize].as_bytes());
        let began = clock.fetch_add(1, Ordering::SeqCst);
        let what = match lot.below(8) {
            0 => What::Get(key.clone(), store.get(&key, None).await.expect("a read")),
            1 => What::List("/y/", store.list(b"/y/", ListOptions::default()).await.expect("a list")),
            kind => {
                let other = Bytes::from_static(KEYS[lot.below(KEYS.len() as u64) as usize].as_bytes());
                let value = Bytes::from(format!("{seed}/{call}"));
                let mut writes = vec![write(&key, value.clone(), seen.get(&key), kind == 2)];
                if kind == 3 && other != key {
                    writes.push(write(&other, value, seen.get(&other), false));
                }
                let transaction = Transaction { writes };
                let outcome = store.transact(transaction.clone()).await.expect("a write");
                What::Write(transaction, outcome)
            }
        };
        remember(&mut seen, &what);
        done.push(Call { began, ended: clock.fetch_add(1, Ordering::SeqCst), what });
    }
    done
}

fn write(key: &Bytes, value: Bytes, seen: Option<&Option<Revision>>, is_delete: bool) -> Write {
    let expect = seen.copied().flatten().map_or(Expect::Absent, Expect::At);
    let is_delete = is_delete && expect != Expect::Absent;
    let change = if is_delete { Change::Delete } else { Change::Put { value, lease: None } };
    Write { key: key.clone(), expect, change }
}

fn remember(seen: &mut std::collections::HashMap<Bytes, Option<Revision>>, what: &What) {
    match what {
        What::Get(key, got) => {
            seen.insert(key.clone(), got.object.as_ref().map(|object| object.mod_revision));
        }
        What::List(_, page) => {
            let revisions = page.objects.iter().map(|object| (object.key.clone(), Some(object.mod_revision)));
            seen.extend(revisions);
        }
        What::Write(transaction, Outcome::Committed(committed)) => {
            for write in &transaction.writes {
                let is_there = matches!(write.change, Change::Put { .. });
                seen.insert(write.key.clone(), is_there.then_some(committed.revision));
            }
        }
        What::Write(transaction, Outcome::Conflict(conflict)) => {
            for (write, current) in transaction.writes.iter().zip(&conflict.current) {
                seen.insert(write.key.clone(), current.as_ref().map(|object| object.mod_revision));
            }
        }
    }
}

/// Plays the writes on the model in the order of their revisions, and asks it for every other answer.
async fn explain(model: &Model, begin: Revision, calls: &mut [Call]) {
    calls.sort_by_key(|call| (call.what.revision(), !call.what.is_change()));
    let mut next = begin.next();
    for call in calls.iter() {
        match &call.what {
            What::Write(transaction, outcome) if call.what.is_change() => {
                assert_eq!(call.what.revision(), next, "each change raises the revision by one");
                next = next.next();
                assert_eq!(&model.transact(transaction.clone()).await.expect("the model"), outcome);
            }
            What::Write(transaction, outcome) => {
                // It changed nothing: the model is where it was.
                assert_eq!(&model.transact(transaction.clone()).await.expect("the model"), outcome);
            }
            What::Get(key, got) => assert_eq!(&model.get(key, None).await.expect("the model"), got),
            What::List(prefix, page) => {
                let list = model.list(prefix.as_bytes(), ListOptions::default()).await.expect("the model");
                assert_eq!(&list, page);
            }
        }
    }
    // Nobody saw less than what had been answered before they asked.
    calls.sort_by_key(|call| call.began);
    let mut ends: Vec<_> = calls.iter().map(|call| (call.ended, call.what.revision())).collect();
    ends.sort_unstable();
    let (mut known, mut at) = (Revision(0), 0);
    for call in calls.iter() {
        while at < ends.len() && ends[at].0 < call.began {
            known = known.max(ends[at].1);
            at += 1;
        }
        let revision = call.what.revision();
        let is_later = if call.what.is_change() { revision > known } else { revision >= known };
        assert!(is_later, "an answer of revision {revision} after {known} was known");
    }
}

/// How a watch goes on.
#[derive(Clone, Copy, PartialEq)]
enum Style {
    Stay,
    /// It is dropped after every few batches and opened anew.
    Resume,
}

async fn follow(
    store: Arc<dyn Store>,
    prefix: &'static str,
    from: Revision,
    style: Style,
    trusted: bool,
) -> Watched {
    let mut watched = Watched::open(&*store, prefix.as_bytes(), from, true).await;
    let mut batches = 0;
    while !watched.events.iter().any(|event| event.key.ends_with(b"end")) {
        if trusted && batches % 5 == 1 {
            watched.ask_for_progress();
        }
        assert!(watched.step().await.is_some(), "the watch ended: {:?}", watched.ended());
        batches += 1;
        if style == Style::Resume && batches % 7 == 0 {
            watched.resume(&*store).await;
        }
    }
    watched
}
