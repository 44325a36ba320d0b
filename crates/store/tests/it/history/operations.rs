//! What happens in a history. Revisions and leases are meant relative to where the history is by then.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

/// One step.
#[derive(Clone, Debug)]
pub(crate) enum Operation {
    Transact(Vec<Change>),
    Get { key: u8, at: When },
    List { prefix: u8, at: When, limit: u8, after: Option<u8>, keys_only: bool },
    Pages { prefix: u8, limit: u8 },
    Count { prefix: u8 },
    Compact(When),
    Grant,
    KeepAlive(u8),
    Revoke(u8),
    Watch { prefix: u8, from: When, previous: bool },
    Drain,
    Reopen,
}

/// One write of a transaction.
#[derive(Clone, Debug)]
pub(crate) struct Change {
    pub(crate) key: u8,
    pub(crate) guess: Guess,
    pub(crate) kind: Kind,
}

#[derive(Clone, Debug)]
pub(crate) enum Kind {
    Put { value: u8, lease: Option<u8> },
    Delete,
    Check,
}

/// What a write expects.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Guess {
    Right,
    Absent,
    /// So many revisions ago.
    Ago(u8),
}

/// A revision.
#[derive(Clone, Copy, Debug)]
pub(crate) enum When {
    Now,
    Ago(u8),
    Ahead(u8),
    /// The compacted one, and one beside it.
    Compacted,
    BeforeCompacted,
    AfterCompacted,
}

/// The keys: few, so that they meet, some a prefix of others, one with every bit set.
pub(crate) const KEYS: [&[u8]; 7] = [b"/a", b"/a/1", b"/a/2", b"/a0", b"/b/1", b"/b/2", b"\xff\xff"];

/// The prefixes: all, some, one, none.
pub(crate) const PREFIXES: [&[u8]; 6] = [b"", b"/a/", b"/a", b"/b/", b"/c/", b"\xff"];

/// A history of up to `length` steps.
pub(crate) fn history(length: usize) -> impl Strategy<Value = Vec<Operation>> {
    vec(operation(), 1..=length)
}

fn operation() -> impl Strategy<Value = Operation> {
    let prefix = || 0..PREFIXES.len() as u8;
    prop_oneof![
        10 => change().prop_map(|change| Operation::Transact(vec![change])),
        6 => vec(change(), 2..5).prop_map(Operation::Transact),
        3 => (key(), when()).prop_map(|(key, at)| Operation::Get { key, at }),
        3 => (prefix(), when(), 0..4_u8, option::of(key()), any::<bool>()).prop_map(
            |(prefix, at, limit, after, keys_only)| Operation::List { prefix, at, limit, after, keys_only }
        ),
        1 => (prefix(), 1..3_u8).prop_map(|(prefix, limit)| Operation::Pages { prefix, limit }),
        1 => prefix().prop_map(|prefix| Operation::Count { prefix }),
        2 => when().prop_map(Operation::Compact),
        1 => Just(Operation::Grant),
        1 => any::<u8>().prop_map(Operation::KeepAlive),
        1 => any::<u8>().prop_map(Operation::Revoke),
        3 => (prefix(), when(), any::<bool>())
            .prop_map(|(prefix, from, previous)| Operation::Watch { prefix, from, previous }),
        2 => Just(Operation::Drain),
        1 => Just(Operation::Reopen),
    ]
}

fn change() -> impl Strategy<Value = Change> {
    let kind = prop_oneof![
        6 => (any::<u8>(), option::weighted(0.2, any::<u8>())).prop_map(|(value, lease)| Kind::Put { value, lease }),
        2 => Just(Kind::Delete),
        1 => Just(Kind::Check),
    ];
    let guess = prop_oneof![
        8 => Just(Guess::Right),
        1 => Just(Guess::Absent),
        1 => (0..4_u8).prop_map(Guess::Ago),
    ];
    (key(), guess, kind).prop_map(|(key, guess, kind)| Change { key, guess, kind })
}

fn key() -> impl Strategy<Value = u8> {
    0..KEYS.len() as u8
}

fn when() -> impl Strategy<Value = When> {
    prop_oneof![
        4 => Just(When::Now),
        4 => (0..12_u8).prop_map(When::Ago),
        1 => (1..4_u8).prop_map(When::Ahead),
        1 => Just(When::Compacted),
        1 => Just(When::BeforeCompacted),
        1 => Just(When::AfterCompacted),
    ]
}
