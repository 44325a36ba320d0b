//! Every limit at its edge.

use super::super::memory::{MEMORY_BYTES_MAX, MemoryTable};
use super::super::table::{
    BATCH_BYTES_MAX, BATCH_KEYS_MAX, ENTRY_BYTES, KEY_BYTES_MAX, LIST_BYTES_MAX, LIST_KEYS_MAX, StoreError,
    Table, VALUE_BYTES_MAX, delete, delete_many, exists, get, get_many, increment, list, set, set_many, swap,
    version,
};
use super::other;

fn table() -> MemoryTable {
    MemoryTable::default()
}

#[test]
fn a_key_may_have_its_limit_and_not_a_byte_more() {
    let mut table = table();
    let (fits, long) = ("k".repeat(KEY_BYTES_MAX), "k".repeat(KEY_BYTES_MAX + 1));
    assert_eq!(set(&mut table, &fits, b"v"), Ok(()));
    assert_eq!(get(&mut table, &fits), Ok(Some(b"v".to_vec())));
    let refused = Err("the key has 1025 bytes; at most 1KiB: use a shorter key".to_string());
    let text = |result: Result<(), StoreError>| result.map_err(|error| error.to_string());
    assert_eq!(text(get(&mut table, &long).map(drop)), refused);
    assert_eq!(text(set(&mut table, &long, b"v")), refused);
    assert_eq!(text(exists(&mut table, &long).map(drop)), refused);
    assert_eq!(text(delete(&mut table, &long)), refused);
    assert_eq!(text(version(&mut table, &long).map(drop)), refused);
    assert_eq!(text(swap(&mut table, &long, None, b"v").map(drop)), refused);
    assert_eq!(text(increment(&mut table, &long, 1, &(0..=9)).map(drop)), refused);
    assert_eq!(text(get_many(&mut table, std::slice::from_ref(&long)).map(drop)), refused);
    assert_eq!(text(set_many(&mut table, &[(long.clone(), vec![])])), refused);
    assert_eq!(text(delete_many(&mut table, &[long])), refused);
}

#[test]
fn a_value_may_have_its_limit_and_not_a_byte_more() {
    let mut table = table();
    assert_eq!(set(&mut table, "k", &vec![1; VALUE_BYTES_MAX]), Ok(()));
    assert_eq!(
        other(set(&mut table, "k", &vec![2; VALUE_BYTES_MAX + 1])),
        "the value has 1048577 bytes; at most 1MiB: keep larger data in a blob store"
    );
    assert_eq!(get(&mut table, "k"), Ok(Some(vec![1; VALUE_BYTES_MAX])), "the old value stays");
}

#[test]
fn a_batch_may_have_its_limits_and_not_one_more() {
    let mut table = table();
    let keys = |count: usize| (0..count).map(|key| key.to_string()).collect::<Vec<_>>();
    let pairs = |count: usize| keys(count).into_iter().map(|key| (key, vec![])).collect::<Vec<_>>();
    assert_eq!(set_many(&mut table, &pairs(BATCH_KEYS_MAX)), Ok(()));
    assert_eq!(get_many(&mut table, &keys(BATCH_KEYS_MAX)).map(|values| values.len()), Ok(BATCH_KEYS_MAX));
    let refused = "the batch has 1001 keys; at most 1000: split it";
    assert_eq!(other(set_many(&mut table, &pairs(BATCH_KEYS_MAX + 1))), refused);
    assert_eq!(other(get_many(&mut table, &keys(BATCH_KEYS_MAX + 1))), refused);
    assert_eq!(other(delete_many(&mut table, &keys(BATCH_KEYS_MAX + 1))), refused);
    assert_eq!(delete_many(&mut table, &keys(BATCH_KEYS_MAX)), Ok(()));
    assert_eq!(table.bytes(), 0);
}

#[test]
fn the_values_of_a_batch_may_have_their_limit_and_not_a_byte_more() {
    let mut table = table();
    let full = BATCH_BYTES_MAX / VALUE_BYTES_MAX;
    let mut pairs: Vec<_> = (0..full).map(|key| (key.to_string(), vec![0; VALUE_BYTES_MAX])).collect();
    assert_eq!(set_many(&mut table, &pairs), Ok(()));
    assert_eq!(set(&mut table, "one", &[1]), Ok(()));
    let mut keys: Vec<_> = pairs.iter().map(|(key, _)| key.clone()).collect();
    assert!(get_many(&mut table, &keys).is_ok());
    keys.push("one".into());
    assert!(other(get_many(&mut table, &keys)).contains("ask for fewer keys at once"));
    pairs.push(("one".into(), vec![1]));
    assert!(other(set_many(&mut table, &pairs)).contains("set fewer keys at once"));
}

#[test]
fn a_full_store_takes_nothing_more_until_something_is_deleted() {
    let mut table = table();
    // 63 of the largest values, and one that fills what is left to the byte.
    let mut left = MEMORY_BYTES_MAX;
    for key in 10..73 {
        set(&mut table, &key.to_string(), &vec![0; VALUE_BYTES_MAX]).expect("there is room");
        left -= 2 + VALUE_BYTES_MAX as u64 + ENTRY_BYTES;
    }
    let rest = |bytes: u64| vec![0; usize::try_from(bytes).expect("small") - 2 - ENTRY_BYTES as usize];
    left -= 2 + VALUE_BYTES_MAX as u64 / 2 + ENTRY_BYTES;
    set(&mut table, "aa", &vec![0; VALUE_BYTES_MAX / 2]).expect("there is room");
    assert_eq!(
        other(set(&mut table, "zz", &rest(left + 1))),
        "the store is full: at most 64MiB; delete something first"
    );
    assert_eq!(set(&mut table, "zz", &rest(left)), Ok(()));
    assert_eq!(table.bytes(), MEMORY_BYTES_MAX);
    assert!(set(&mut table, "z", b"").is_err());
    assert_eq!(set(&mut table, "zz", b"smaller"), Ok(()), "a value may always shrink");
    assert_eq!(delete(&mut table, "10"), Ok(()));
    assert_eq!(set(&mut table, "z", b""), Ok(()));
}

#[test]
fn a_list_comes_in_pages_of_bounded_count() {
    let mut table = table();
    let keys: Vec<_> = (0..LIST_KEYS_MAX).map(|key| format!("{key:04}")).collect();
    for key in &keys {
        set(&mut table, key, b"").expect("set");
    }
    let whole = list(&mut table, None).expect("a page");
    assert_eq!((whole.keys, whole.cursor), (keys.clone(), None), "exactly a page has no cursor");
    set(&mut table, "last", b"").expect("set");
    let first = list(&mut table, None).expect("a page");
    assert_eq!(first.keys, keys);
    let second = list(&mut table, first.cursor).expect("a page");
    assert_eq!((second.keys, second.cursor), (vec!["last".to_string()], None));
}

#[test]
fn a_list_comes_in_pages_of_bounded_bytes() {
    let mut table = table();
    let fitting = LIST_BYTES_MAX / KEY_BYTES_MAX;
    let keys: Vec<_> = (0..=fitting).map(|key| format!("{key:0>KEY_BYTES_MAX$}")).collect();
    for key in &keys {
        set(&mut table, key, b"").expect("set");
    }
    let first = list(&mut table, None).expect("a page");
    assert_eq!(first.keys, keys[..fitting]);
    let second = list(&mut table, first.cursor).expect("a page");
    assert_eq!((second.keys.as_slice(), second.cursor), (&keys[fitting..], None));
}

#[test]
fn a_list_misses_no_key_that_was_there_all_the_time() {
    let mut table = table();
    for key in 0..LIST_KEYS_MAX + 10 {
        set(&mut table, &key.to_string(), b"").expect("set");
    }
    let first = list(&mut table, None).expect("a page");
    // Keys before the cursor go, one is made anew, one is overwritten, one comes.
    delete_many(&mut table, &first.keys[..500]).expect("delete");
    set(&mut table, &first.keys[0], b"").expect("set");
    set(&mut table, &(LIST_KEYS_MAX + 9).to_string(), b"again").expect("set");
    set(&mut table, "new", b"").expect("set");
    let second = list(&mut table, first.cursor).expect("a page");
    let mut expected: Vec<_> = (LIST_KEYS_MAX..LIST_KEYS_MAX + 10).map(|key| key.to_string()).collect();
    expected.extend([first.keys[0].clone(), "new".into()]);
    assert_eq!(second.keys, expected);
}
