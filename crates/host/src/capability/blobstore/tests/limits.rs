//! Every limit at its edge.

use std::sync::Arc;

use bytes::Bytes;

use super::super::bindings::container::HostContainer;
use super::super::bindings::types::HostOutgoingValue;
use super::super::directory::{DIRECTORY_BYTES_MAX, DirectoryStore, OBJECT_BYTES};
use super::super::guest::{DELETE_NAMES_MAX, LIST_NAMES_MAX};
use super::super::memory::MEMORY_BYTES_MAX;
use super::super::name::FILE_NAME_BYTES_MAX;
use super::super::value::{
    Budget, OBJECT_BYTES_MAX, OPEN_VALUES_MAX, SPOOL_MEMORY_BYTES, SPOOLED_BYTES_MAX, Spool,
    WHOLE_VALUE_BYTES_MAX,
};
use super::super::{Backend as _, Outcome};
use super::{Instance, again, everywhere, run, stores};

/// A piece of a large value. Accepted pieces share it, so that large values cost no memory here.
const PIECE: usize = 1 << 20;

fn spool(budget: &Arc<Budget>) -> Spool {
    Spool::new(std::env::temp_dir(), Arc::clone(budget))
}

fn accept(spool: &mut Spool, piece: &Bytes, bytes: u64) -> Outcome<()> {
    (0..bytes / PIECE as u64).try_for_each(|_| spool.accept(piece.clone()).map(drop))
}

#[test]
fn an_object_may_have_its_limit_and_not_a_byte_more() {
    let (budget, piece) = (Arc::default(), Bytes::from(vec![0; PIECE]));
    let mut value = spool(&budget);
    assert_eq!(accept(&mut value, &piece, OBJECT_BYTES_MAX), Ok(()));
    let too_large = "the value is larger than 1GiB, the most an object may have";
    assert_eq!(value.accept(Bytes::from_static(b"x")), Err(too_large.into()));
    assert_eq!(value.check(), Err(too_large.into()), "it stays corrupt");
    assert_eq!(value.drain(), Err(too_large.into()));
}

#[test]
fn unfinished_values_share_a_limit() {
    let (budget, piece) = (Arc::default(), Bytes::from(vec![0; PIECE]));
    let mut values: Vec<_> = (0..SPOOLED_BYTES_MAX / OBJECT_BYTES_MAX).map(|_| spool(&budget)).collect();
    for value in &mut values {
        assert_eq!(accept(value, &piece, OBJECT_BYTES_MAX), Ok(()));
    }
    let mut one_more = spool(&budget);
    let full = one_more.accept(Bytes::from_static(b"x"));
    assert_eq!(full, Err("unfinished values hold 4GiB; finish or drop some first".into()));
    values.pop();
    assert_eq!(spool(&budget).accept(Bytes::from_static(b"x")), Ok(false), "a dropped value makes room");
}

#[test]
fn a_value_outgrows_memory_at_its_limit() {
    let budget = Arc::default();
    let mut value = spool(&budget);
    assert_eq!(value.accept(vec![1; SPOOL_MEMORY_BYTES].into()), Ok(false), "in memory");
    assert_eq!(value.accept(Bytes::from_static(b"x")), Ok(true), "to the file");
    assert_eq!(value.drain(), Ok(()));
    assert_eq!(value.accept(Bytes::from_static(b"y")), Ok(true), "and what follows too");
    let bytes = value.take_bytes().expect("the value");
    assert_eq!((bytes.len(), &bytes[SPOOL_MEMORY_BYTES..]), (SPOOL_MEMORY_BYTES + 2, &b"xy"[..]));
}

#[test]
fn a_workload_may_hold_so_many_values_and_not_one_more() {
    let stores = stores(None);
    run(async {
        let mut instance = Instance::new(&stores);
        let container = instance.create("c").await.expect("created");
        instance.put(&container, "o", b"x").await.expect("put");
        let mut values = Vec::new();
        for _ in 0..OPEN_VALUES_MAX - 1 {
            values.push(instance.get(&container, "o", 0, 1).await.expect("a value"));
        }
        let outgoing = instance.new_value().await;
        let full = instance.get(&container, "o", 0, 1).await.map(drop);
        let refused = "256 values and lists are open; drop some first";
        assert_eq!(full, Err(refused.into()));
        let full = instance.view().list_objects(again(&container)).await.expect("no trap").map(drop);
        assert_eq!(full, Err(refused.into()));
        let stopped = instance.view().new_outgoing_value().await.map(drop);
        assert!(stopped.is_err_and(|trap| trap.to_string().contains(refused)));
        HostOutgoingValue::drop(&mut instance.view(), outgoing).await.expect("no trap");
        assert!(instance.get(&container, "o", 0, 1).await.is_ok());
    });
}

#[test]
fn a_value_is_given_whole_up_to_its_limit() {
    everywhere(&async |stores| {
        let mut instance = Instance::new(stores);
        let container = instance.create("c").await.expect("created");
        let bytes = vec![7; usize::try_from(WHOLE_VALUE_BYTES_MAX).expect("small") + 1];
        instance.put(&container, "o", &bytes).await.expect("put");
        let fits = instance.get(&container, "o", 0, WHOLE_VALUE_BYTES_MAX - 1).await.expect("a value");
        assert_eq!(instance.whole(fits).await.map(|bytes| bytes.len() as u64), Ok(WHOLE_VALUE_BYTES_MAX));
        let large = instance.get(&container, "o", 0, WHOLE_VALUE_BYTES_MAX).await.expect("a value");
        let refused = "the value has 16777217 bytes; at most 16MiB at once: use consume-async";
        assert_eq!(instance.whole(large).await, Err(refused.into()));
    });
}

#[test]
fn a_name_may_have_its_limit_and_not_a_byte_more() {
    everywhere(&async |stores| {
        let mut instance = Instance::new(stores);
        let (fits, long) = ("n".repeat(FILE_NAME_BYTES_MAX), "n".repeat(FILE_NAME_BYTES_MAX + 1));
        let container = instance.create(&fits).await.expect("created");
        assert!(instance.create(&long).await.is_err());
        assert_eq!(instance.put(&container, &fits, b"x").await, Ok(()));
        let refused = instance.put(&container, &long, b"x").await.expect_err("too long");
        assert!(refused.contains("needs 241 bytes; at most 240"), "{refused}");
        let mut view = instance.view();
        assert!(view.delete_object(again(&container), long.clone()).await.expect("no trap").is_err());
        assert!(view.delete_objects(again(&container), vec![long.clone()]).await.expect("no trap").is_err());
        assert!(view.has_object(again(&container), long).await.expect("no trap").is_err());
    });
}

#[test]
fn a_call_deletes_so_many_objects_and_not_one_more() {
    everywhere(&async |stores| {
        let mut instance = Instance::new(stores);
        let container = instance.create("c").await.expect("created");
        let mut names = vec!["x".to_string(); DELETE_NAMES_MAX];
        let mut view = instance.view();
        assert_eq!(view.delete_objects(again(&container), names.clone()).await.expect("no trap"), Ok(()));
        names.push("x".into());
        let refused = view.delete_objects(again(&container), names).await.expect("no trap");
        assert_eq!(refused, Err("1001 names to delete; at most 1000 at once".into()));
    });
}

#[test]
fn a_page_of_names_is_bounded() {
    let stores = stores(None);
    run(async {
        use super::super::bindings::container::HostStreamObjectNames;
        let mut instance = Instance::new(&stores);
        let container = instance.create("c").await.expect("created");
        for number in 0..=LIST_NAMES_MAX {
            instance.put(&container, &number.to_string(), b"").await.expect("put");
        }
        let mut view = instance.view();
        let names = view.list_objects(again(&container)).await.expect("no trap").expect("names");
        let (page, ended) =
            view.read_stream_object_names(again(&names), u64::MAX).await.expect("no trap").expect("a page");
        assert_eq!((page.len(), ended), (LIST_NAMES_MAX, false));
        let (page, ended) =
            view.read_stream_object_names(again(&names), u64::MAX).await.expect("no trap").expect("a page");
        assert_eq!((page.len(), ended), (1, true));
    });
}

#[test]
fn a_full_memory_store_takes_nothing_more_until_something_is_deleted() {
    let stores = stores(None);
    run(async {
        let mut instance = Instance::new(&stores);
        let container = instance.create("c").await.expect("created");
        let half = vec![0; usize::try_from(MEMORY_BYTES_MAX / 2).expect("small")];
        instance.put(&container, "1", &half).await.expect("put");
        let full = Err("the store is full: at most 64MiB in memory; delete something first".to_string());
        assert_eq!(instance.put(&container, "2", &half).await, full);
        assert_eq!(instance.put(&container, "2", &half[..half.len() - 600]).await, Ok(()));
        assert_eq!(instance.put(&container, "3", &half[..1000]).await, full);
        assert_eq!(instance.put(&container, "2", b"smaller").await, Ok(()));
        assert_eq!(
            instance.view().delete_object(again(&container), "1".into()).await.expect("no trap"),
            Ok(())
        );
        assert_eq!(instance.put(&container, "3", &half).await, Ok(()));
    });
}

#[test]
fn a_full_directory_takes_nothing_more_until_something_is_deleted() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = DirectoryStore::open("default", directory.path()).expect("the directory opens");
    let budget = Arc::default();
    let put = |name: &str, bytes: &'static [u8]| {
        let mut value = spool(&budget);
        value.accept(Bytes::from_static(bytes)).expect("accepted");
        store.put("c", name, &mut value)
    };
    store.create("c").expect("created");
    put("a", b"aaaa").expect("put");
    store.pretend_used(DIRECTORY_BYTES_MAX - OBJECT_BYTES - 2);
    let full = Err("the store is full: at most 16GiB; delete something first".to_string());
    assert_eq!(put("b", b"bbb"), full);
    assert_eq!(put("b", b"bb"), Ok(()));
    assert_eq!(put("d", b""), full);
    assert_eq!(store.create("d"), full);
    assert_eq!(put("a", b"aa"), Ok(()), "an object may always shrink");
    assert_eq!(put("b", b"bbbb"), Ok(()), "into the room that this made");
    assert_eq!(store.delete("c", "a"), Ok(()));
    assert_eq!(put("d", b"dd"), Ok(()));
}
