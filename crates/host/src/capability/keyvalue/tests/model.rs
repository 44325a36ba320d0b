//! Both engines against a model: the same generated operations give the same answers.

use std::collections::BTreeMap;
use std::path::Path;

use proptest::prelude::*;

use super::super::memory::MemoryTable;
use super::super::sqlite::SqliteTable;
use super::super::table::{self, StoreError, Swap, Table, cost};

/// An operation of a guest, or a restart.
#[derive(Clone, Debug)]
enum Step {
    Get(String),
    Set(String, Vec<u8>),
    Delete(String),
    Exists(String),
    Increment(String, i64),
    /// Looks at the version, perhaps writes the key, then swaps.
    Swap {
        key: String,
        disturbed: bool,
        value: Vec<u8>,
    },
    SetMany(Vec<(String, Vec<u8>)>),
    GetMany(Vec<String>),
    DeleteMany(Vec<String>),
    List,
    Reopen,
}

/// What the operations of a store mean, and nothing else.
#[derive(Default)]
struct Model {
    values: BTreeMap<String, Vec<u8>>,
    /// Keys in the order of their making.
    order: Vec<String>,
}

impl Model {
    fn set(&mut self, key: &str, value: &[u8]) {
        if self.values.insert(key.into(), value.into()).is_none() {
            self.order.push(key.into());
        }
    }

    fn delete(&mut self, key: &str) {
        if self.values.remove(key).is_some() {
            self.order.retain(|known| known != key);
        }
    }

    fn number(&self, key: &str) -> Option<i128> {
        match self.values.get(key) {
            None => Some(0),
            Some(value) => std::str::from_utf8(value).ok()?.parse().ok(),
        }
    }

    fn bytes(&self) -> u64 {
        self.values.iter().map(|(key, value)| cost(key, value.len() as u64)).sum()
    }

    /// Runs the step here and on the table, and compares.
    fn check(&mut self, step: &Step, table: &mut dyn Table) {
        match step {
            Step::Get(key) => assert_eq!(table::get(table, key), Ok(self.values.get(key).cloned())),
            Step::Set(key, value) => {
                self.set(key, value);
                assert_eq!(table::set(table, key, value), Ok(()));
            }
            Step::Delete(key) => {
                self.delete(key);
                assert_eq!(table::delete(table, key), Ok(()));
            }
            Step::Exists(key) => assert_eq!(table::exists(table, key), Ok(self.values.contains_key(key))),
            Step::Increment(key, delta) => {
                let range = i128::from(i64::MIN)..=i128::from(i64::MAX);
                let sum =
                    self.number(key).map(|old| old + i128::from(*delta)).filter(|new| range.contains(new));
                let got = table::increment(table, key, (*delta).into(), &range);
                assert_eq!(got.clone().ok(), sum, "{got:?}");
                if let Some(sum) = sum {
                    self.set(key, sum.to_string().as_bytes());
                }
            }
            Step::Swap { key, disturbed, value } => self.check_swap(table, key, *disturbed, value),
            Step::SetMany(pairs) => {
                pairs.iter().for_each(|(key, value)| self.set(key, value));
                assert_eq!(table::set_many(table, pairs), Ok(()));
            }
            Step::GetMany(keys) => {
                let expected = keys.iter().map(|key| self.values.get(key).cloned()).collect();
                assert_eq!(table::get_many(table, keys), Ok(expected));
            }
            Step::DeleteMany(keys) => {
                keys.iter().for_each(|key| self.delete(key));
                assert_eq!(table::delete_many(table, keys), Ok(()));
            }
            Step::List => assert_eq!(table::list(table, None).map(|page| page.keys), Ok(self.order.clone())),
            Step::Reopen => {}
        }
        assert_eq!(table.bytes(), self.bytes());
    }

    fn check_swap(&mut self, table: &mut dyn Table, key: &str, disturbed: bool, value: &[u8]) {
        let seen = table::version(table, key).expect("a version");
        assert_eq!(seen.is_some(), self.values.contains_key(key));
        if disturbed {
            self.set(key, b"disturbed");
            table::set(table, key, b"disturbed").expect("set");
        }
        let swapped = table::swap(table, key, seen, value).expect("an outcome");
        match swapped {
            Swap::Done => {
                assert!(!disturbed);
                self.set(key, value);
            }
            Swap::Stale { now } => {
                assert!(disturbed && now.is_some() && now != seen);
            }
        }
    }
}

/// A SQLite table whose every step is a group of its own.
fn in_group(table: &mut SqliteTable, step: impl FnOnce(&mut SqliteTable)) -> Result<(), StoreError> {
    table.begin()?;
    step(table);
    table.commit()
}

fn open(path: &Path) -> SqliteTable {
    SqliteTable::open("model", path).expect("the file opens")
}

fn a_step() -> impl Strategy<Value = Step> {
    // Few keys, so that steps meet; one of them is not plain text.
    let key = || prop::sample::select(vec!["a", "b", "c", "", "ключ", "a\0b", "A"]).prop_map(String::from);
    let value = || {
        prop_oneof![
            prop::collection::vec(any::<u8>(), 0..20),
            any::<i64>().prop_map(|number| number.to_string().into_bytes()),
        ]
    };
    prop_oneof![
        3 => key().prop_map(Step::Get),
        4 => (key(), value()).prop_map(|(key, value)| Step::Set(key, value)),
        2 => key().prop_map(Step::Delete),
        1 => key().prop_map(Step::Exists),
        2 => (key(), any::<i64>()).prop_map(|(key, delta)| Step::Increment(key, delta)),
        2 => (key(), -9..9i64).prop_map(|(key, delta)| Step::Increment(key, delta)),
        2 => (key(), any::<bool>(), value()).prop_map(|(key, disturbed, value)| Step::Swap { key, disturbed, value }),
        1 => prop::collection::vec((key(), value()), 0..5).prop_map(Step::SetMany),
        1 => prop::collection::vec(key(), 0..5).prop_map(Step::GetMany),
        1 => prop::collection::vec(key(), 0..5).prop_map(Step::DeleteMany),
        1 => Just(Step::List),
        1 => Just(Step::Reopen),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn memory_and_sqlite_do_what_the_model_does(steps in prop::collection::vec(a_step(), 1..40)) {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("model.db");
        let (mut memory, mut sqlite) = (MemoryTable::default(), open(&path));
        let (mut for_memory, mut for_sqlite) = (Model::default(), Model::default());
        for step in &steps {
            for_memory.check(step, &mut memory);
            if matches!(step, Step::Reopen) {
                sqlite.close();
                sqlite = open(&path);
            }
            in_group(&mut sqlite, |table| for_sqlite.check(step, table)).expect("a commit");
        }
    }
}
