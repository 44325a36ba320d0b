//! What guests of both drafts see, on both engines.

use super::super::bindings::draft as first;
use super::super::bindings::draft2 as second;
use super::super::bindings::draft2::atomics::{self, CasError, HostCas};
use super::super::bindings::draft2::store::HostBucket as _;
use super::super::{MISSING_GRANT_LINES_MAX, Stores};
use super::{Instance, StoreError, again, answer, other, run};
use crate::capability::testing::{Log, grant};

/// Runs the test against a store in memory and one in a file.
fn everywhere(test: &impl AsyncFn(&Stores)) {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("store.db");
    for path in [None, Some(file.as_path())] {
        let stores = Stores::open(&[grant("main", path), grant("spare", None)]).expect("the stores open");
        run(test(&stores));
    }
}

#[test]
fn a_store_that_is_not_granted_does_not_exist_and_the_log_says_which_flag_would_grant_it() {
    let stores = Stores::open(&[grant("main", None)]).expect("the store opens").of("shop");
    let log = Log::listen();
    let mut instance = Instance::new(&stores);
    let opened = run(second::store::Host::open(&mut instance.view(), "carts\n".into()));
    assert_eq!(answer(opened).map(drop), Err(StoreError::NoSuchStore));
    let text = log.text();
    assert!(text.contains("`carts\\n`, which is not granted; hint: --kv carts\\n"), "{text}");
    assert!(text.contains("workload=\"shop\""), "{text}");
    for number in 0..100 {
        let opened = run(first::store::Host::open(&mut instance.view(), number.to_string()));
        assert_eq!(answer(opened).map(drop), Err(StoreError::NoSuchStore));
    }
    assert_eq!(log.text().lines().count(), MISSING_GRANT_LINES_MAX as usize, "a guest cannot flood the log");
}

#[test]
fn values_are_set_read_and_deleted() {
    everywhere(&async |stores| {
        let mut instance = Instance::new(stores);
        let (main, spare) = (instance.open("main").await, instance.open("spare").await);
        let mut view = instance.view();
        let key = || "ключ\0/..".to_string();
        assert_eq!(answer(view.get(again(&main), key()).await), Ok(None));
        assert_eq!(answer(view.exists(again(&main), key()).await), Ok(false));
        assert_eq!(answer(view.set(again(&main), key(), vec![0, 255]).await), Ok(()));
        assert_eq!(answer(view.get(again(&main), key()).await), Ok(Some(vec![0, 255])));
        assert_eq!(answer(view.exists(again(&main), key()).await), Ok(true));
        assert_eq!(answer(view.exists(again(&spare), key()).await), Ok(false), "stores are apart");
        assert_eq!(answer(view.set(again(&main), key(), vec![]).await), Ok(()));
        assert_eq!(answer(view.get(again(&main), key()).await), Ok(Some(vec![])), "empty is not absent");
        assert_eq!(answer(view.delete(again(&main), key()).await), Ok(()));
        assert_eq!(answer(view.delete(again(&main), key()).await), Ok(()), "deleting nothing is no error");
        assert_eq!(answer(view.get(again(&main), key()).await), Ok(None));
    });
}

#[test]
fn both_drafts_see_the_same_data() {
    everywhere(&async |stores| {
        let mut instance = Instance::new(stores);
        let main = instance.open("main").await;
        let mut view = instance.view();
        let added = first::atomics::Host::increment(&mut view, again(&main), "hits".into(), 40).await;
        assert_eq!(answer(added), Ok(40));
        let added = atomics::Host::increment(&mut view, again(&main), "hits".into(), 2).await;
        assert_eq!(answer(added), Ok(42));
        let value = first::store::HostBucket::get(&mut view, again(&main), "hits".into()).await;
        assert_eq!(answer(value), Ok(Some(b"42".to_vec())), "a counter is decimal text");
    });
}

#[test]
fn counters_stay_in_the_range_of_their_draft() {
    everywhere(&async |stores| {
        let mut instance = Instance::new(stores);
        let main = instance.open("main").await;
        let mut view = instance.view();
        let up = first::atomics::Host::increment(&mut view, again(&main), "n".into(), u64::MAX).await;
        assert_eq!(answer(up), Ok(u64::MAX));
        let over = answer(first::atomics::Host::increment(&mut view, again(&main), "n".into(), 1).await);
        assert_eq!(
            other(over),
            "18446744073709551615 and 1 more leave the range 0 to 18446744073709551615 of this counter"
        );
        let too_large = answer(atomics::Host::increment(&mut view, again(&main), "n".into(), -1).await);
        assert!(other(too_large).contains("leave the range"), "the number itself is no s64");
        let down = atomics::Host::increment(&mut view, again(&main), "m".into(), i64::MIN).await;
        assert_eq!(answer(down), Ok(i64::MIN));
        assert!(answer(atomics::Host::increment(&mut view, again(&main), "m".into(), -1).await).is_err());
        let negative = answer(first::atomics::Host::increment(&mut view, again(&main), "m".into(), 1).await);
        assert!(other(negative).contains("leave the range"), "the number itself is no u64");
        answer(view.set(again(&main), "text".into(), b"12 apples".to_vec()).await).expect("set");
        let text = answer(atomics::Host::increment(&mut view, again(&main), "text".into(), 1).await);
        assert!(other(text).contains("not a decimal number"));
    });
}

#[test]
fn a_swap_succeeds_only_when_nothing_was_written_since_its_handle_was_made() {
    everywhere(&async |stores| {
        let mut instance = Instance::new(stores);
        let main = instance.open("main").await;
        let mut view = instance.view();
        let absent = answer(HostCas::new(&mut view, again(&main), "k".into()).await).expect("a handle");
        let late = answer(HostCas::new(&mut view, again(&main), "k".into()).await).expect("a handle");
        assert_eq!(answer(view.current(again(&absent)).await), Ok(None));
        assert!(matches!(atomics::Host::swap(&mut view, absent, b"one".to_vec()).await, Ok(Ok(()))));
        let fresh = match atomics::Host::swap(&mut view, late, b"lost".to_vec()).await {
            Ok(Err(CasError::CasFailed(fresh))) => fresh,
            outcome => panic!("the key was created meanwhile: {outcome:?}"),
        };
        assert_eq!(answer(view.current(again(&fresh)).await), Ok(Some(b"one".to_vec())));
        // The same bytes written again, or deleted and written again, are still a change.
        answer(view.set(again(&main), "k".into(), b"one".to_vec()).await).expect("set");
        let fresh = match atomics::Host::swap(&mut view, fresh, b"lost".to_vec()).await {
            Ok(Err(CasError::CasFailed(fresh))) => fresh,
            outcome => panic!("the key was written meanwhile: {outcome:?}"),
        };
        answer(view.delete(again(&main), "k".into()).await).expect("delete");
        answer(view.set(again(&main), "k".into(), b"one".to_vec()).await).expect("set");
        let fresh = match atomics::Host::swap(&mut view, fresh, b"lost".to_vec()).await {
            Ok(Err(CasError::CasFailed(fresh))) => fresh,
            outcome => panic!("the key was made anew meanwhile: {outcome:?}"),
        };
        assert!(matches!(atomics::Host::swap(&mut view, fresh, b"two".to_vec()).await, Ok(Ok(()))));
        assert_eq!(answer(view.get(again(&main), "k".into()).await), Ok(Some(b"two".to_vec())));
    });
}

#[test]
fn batches_answer_in_the_order_of_their_keys_in_the_shape_of_their_draft() {
    everywhere(&async |stores| {
        let mut instance = Instance::new(stores);
        let main = instance.open("main").await;
        let mut view = instance.view();
        let pairs = vec![("a".to_string(), vec![1]), ("b".into(), vec![2]), ("a".into(), vec![3])];
        assert_eq!(answer(second::batch::Host::set_many(&mut view, again(&main), pairs).await), Ok(()));
        let keys = || vec!["b".to_string(), "none".into(), "a".into()];
        assert_eq!(
            answer(first::batch::Host::get_many(&mut view, again(&main), keys()).await),
            Ok(vec![Some(("b".into(), vec![2])), None, Some(("a".into(), vec![3]))])
        );
        assert_eq!(
            answer(second::batch::Host::get_many(&mut view, again(&main), keys()).await),
            Ok(vec![("b".into(), Some(vec![2])), ("none".into(), None), ("a".into(), Some(vec![3]))])
        );
        assert_eq!(answer(first::batch::Host::delete_many(&mut view, again(&main), keys()).await), Ok(()));
        assert_eq!(answer(view.exists(again(&main), "a".into()).await), Ok(false));
    });
}

#[test]
fn a_cursor_that_was_not_given_is_refused() {
    everywhere(&async |stores| {
        let mut instance = Instance::new(stores);
        let main = instance.open("main").await;
        let mut view = instance.view();
        for cursor in ["", "x", "-1", "99999999999999999999"] {
            let listed = answer(view.list_keys(again(&main), Some(cursor.into())).await);
            assert_eq!(other(listed.map(|page| page.keys)), "the cursor is not one that list-keys gave");
        }
        let listed = first::store::HostBucket::list_keys(&mut view, again(&main), Some(u64::MAX)).await;
        assert_eq!(answer(listed).map(|page| (page.keys, page.cursor)), Ok((vec![], None)));
    });
}

#[test]
fn a_handle_that_is_not_the_guests_stops_the_guest() {
    let stores = Stores::open(&[grant("main", None)]).expect("the store opens");
    let mut instance = Instance::new(&stores);
    let forged = wasmtime::component::Resource::new_borrow(7);
    assert!(matches!(run(instance.view().get(forged, "k".into())), Err(super::CallError::Trap(_))));
}

/// Threads that work on one store at the same time, each with its own runtime and instance.
const THREADS: usize = 8;
/// What each of them does.
const ROUNDS: usize = 40;

#[test]
fn increments_from_many_threads_add_up() {
    everywhere(&async |stores| {
        std::thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    run(async {
                        let mut instance = Instance::new(stores);
                        let main = instance.open("main").await;
                        for _ in 0..ROUNDS {
                            let mut view = instance.view();
                            let sum = atomics::Host::increment(&mut view, again(&main), "n".into(), 3).await;
                            answer(sum).expect("an increment");
                        }
                    });
                });
            }
        });
        let mut instance = Instance::new(stores);
        let main = instance.open("main").await;
        let sum = answer(instance.view().get(main, "n".into()).await);
        assert_eq!(sum, Ok(Some((THREADS * ROUNDS * 3).to_string().into_bytes())));
    });
}

#[test]
fn swaps_from_many_threads_lose_nothing() {
    everywhere(&async |stores| {
        std::thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| run(append_by_swaps(stores)));
            }
        });
        let mut instance = Instance::new(stores);
        let main = instance.open("main").await;
        let value = answer(instance.view().get(main, "list".into()).await);
        assert_eq!(value, Ok(Some(vec![b'x'; THREADS * ROUNDS / 4])));
    });
}

/// Appends bytes to one value, each by a swap that is tried until it succeeds.
async fn append_by_swaps(stores: &Stores) {
    let mut instance = Instance::new(stores);
    let main = instance.open("main").await;
    let mut view = instance.view();
    for _ in 0..ROUNDS / 4 {
        let mut cas = answer(HostCas::new(&mut view, again(&main), "list".into()).await).expect("a handle");
        loop {
            let mut value = answer(view.current(again(&cas)).await).expect("the value").unwrap_or_default();
            value.push(b'x');
            match atomics::Host::swap(&mut view, cas, value).await.expect("no trap") {
                Ok(()) => break,
                Err(CasError::CasFailed(fresh)) => cas = fresh,
                Err(CasError::StoreError(error)) => panic!("{error:?}"),
            }
        }
    }
}
