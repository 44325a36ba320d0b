//! Writes, each with what it expects to find, all or nothing.

use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;

use crate::limits::{KEY_BYTES_MAX, OPERATIONS_MAX, REQUEST_BYTES_MAX, WRITE_OVERHEAD_BYTES};
use crate::{Error, LeaseId, Object, Result, Revision};

/// Writes that happen together, in one revision, if each finds what it expects; else none of them happens.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Transaction {
    /// 1 to [`OPERATIONS_MAX`], no key twice.
    pub writes: Vec<Write>,
}

/// One key of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// 1 to [`KEY_BYTES_MAX`] bytes.
    pub key: Bytes,
    /// What the key must hold for the transaction to happen.
    pub expect: Expect,
    /// What is done with it.
    pub change: Change,
}

/// What a key must hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// Nothing: it must not exist.
    Absent,
    /// The version that was written at this revision.
    At(Revision),
}

/// What is done with a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A new version.
    Put {
        /// Any bytes, within [`REQUEST_BYTES_MAX`] together with all others.
        value: Bytes,
        /// Deletes the key when it ends; none detaches it from one it had.
        lease: Option<LeaseId>,
    },
    /// It is deleted. Cannot expect it to be absent.
    Delete,
    /// Nothing: the key is only looked at.
    Check,
}

/// How a transaction ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It happened, and is on the disk.
    Committed(Committed),
    /// Some key held something else. Nothing happened.
    Conflict(Conflict),
}

/// A transaction that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    /// Its revision; the one that the store was at when it only checked.
    pub revision: Revision,
    /// What was deleted, in the order of the writes.
    pub deleted: Vec<Arc<Object>>,
}

/// A transaction that did not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// The revision that the store was at.
    pub revision: Revision,
    /// What each key of the transaction held then, in the order of the writes.
    pub current: Vec<Option<Arc<Object>>>,
}

impl Expect {
    /// Whether the key holds what is expected.
    pub fn is_met(self, current: Option<&Object>) -> bool {
        match (self, current) {
            (Self::Absent, None) => true,
            (Self::At(revision), Some(object)) => object.mod_revision == revision,
            _ => false,
        }
    }
}

impl Write {
    /// Creates or changes an object.
    pub fn put(key: impl Into<Bytes>, value: impl Into<Bytes>, expect: Expect) -> Self {
        let change = Change::Put { value: value.into(), lease: None };
        Self { key: key.into(), expect, change }
    }

    /// Deletes an object.
    pub fn delete(key: impl Into<Bytes>, expect: Revision) -> Self {
        Self { key: key.into(), expect: Expect::At(expect), change: Change::Delete }
    }

    /// Looks whether a key holds what is expected.
    pub fn check(key: impl Into<Bytes>, expect: Expect) -> Self {
        Self { key: key.into(), expect, change: Change::Check }
    }

    /// Whether it changes anything.
    pub fn is_change(&self) -> bool {
        self.change != Change::Check
    }

    /// What it adds to a request of etcd at most, in bytes.
    pub fn bytes(&self) -> usize {
        let value = if let Change::Put { value, .. } = &self.change { value.len() } else { 0 };
        value + 3 * self.key.len() + WRITE_OVERHEAD_BYTES
    }
}

impl From<Write> for Transaction {
    fn from(write: Write) -> Self {
        Self { writes: vec![write] }
    }
}

impl Transaction {
    /// What it adds to a request of etcd at most, in bytes.
    pub fn bytes(&self) -> usize {
        self.writes.iter().map(Write::bytes).sum()
    }

    /// Whether it changes anything.
    pub fn is_change(&self) -> bool {
        self.writes.iter().any(Write::is_change)
    }

    /// Whether any store can take it. Every engine asks this first.
    ///
    /// # Errors
    /// [`Error::Invalid`] and [`Error::TooLarge`], naming what is wrong.
    pub fn validate(&self) -> Result<()> {
        if self.writes.is_empty() {
            return Err(Error::Invalid("a transaction needs at least one write".into()));
        }
        if self.writes.len() > OPERATIONS_MAX {
            return Err(Error::TooLarge {
                what: "the number of writes of a transaction",
                size: self.writes.len(),
                limit: OPERATIONS_MAX,
                hint: "split it",
            });
        }
        let mut keys = HashSet::with_capacity(self.writes.len());
        for write in &self.writes {
            validate_key(&write.key)?;
            if !keys.insert(&write.key) {
                let key = write.key.escape_ascii();
                return Err(Error::Invalid(format!("the key `{key}` stands twice in one transaction")));
            }
            match (&write.change, write.expect) {
                (_, Expect::At(Revision(0))) => {
                    return Err(Error::Invalid("no object is of revision 0: expect it to be absent".into()));
                }
                (Change::Delete, Expect::Absent) => {
                    let key = write.key.escape_ascii();
                    return Err(Error::Invalid(format!("deleting `{key}` needs the revision that it has")));
                }
                _ => {}
            }
        }
        let bytes = self.bytes();
        if bytes > REQUEST_BYTES_MAX {
            return Err(Error::TooLarge {
                what: "the transaction in bytes",
                size: bytes,
                limit: REQUEST_BYTES_MAX,
                hint: "make the object smaller, or split it",
            });
        }
        Ok(())
    }
}

/// Whether a key can be stored.
///
/// # Errors
/// It is empty or longer than [`KEY_BYTES_MAX`].
pub(crate) fn validate_key(key: &[u8]) -> Result<()> {
    if key.is_empty() {
        return Err(Error::Invalid("a key cannot be empty".into()));
    }
    if key.len() > KEY_BYTES_MAX {
        return Err(Error::TooLarge {
            what: "a key in bytes",
            size: key.len(),
            limit: KEY_BYTES_MAX,
            hint: "shorten the name",
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(transaction: &Transaction) -> &'static str {
        transaction.validate().err().map_or("fits", |error| error.kind())
    }

    #[test]
    fn a_transaction_may_be_as_large_as_its_limits_and_no_larger() {
        let value = |bytes: usize| {
            let room = REQUEST_BYTES_MAX - WRITE_OVERHEAD_BYTES - 3;
            Transaction::from(Write::put("k", vec![0; room + bytes - 1], Expect::Absent))
        };
        assert_eq!(kind(&value(1)), "fits");
        assert_eq!(kind(&value(2)), "too_large");

        let writes = |count: usize| Transaction {
            writes: (0..count).map(|n| Write::put(format!("k{n}"), "", Expect::Absent)).collect(),
        };
        assert_eq!(kind(&writes(OPERATIONS_MAX)), "fits");
        assert_eq!(kind(&writes(OPERATIONS_MAX + 1)), "too_large");
        assert_eq!(kind(&writes(0)), "invalid");

        let key = |bytes: usize| Transaction::from(Write::put(vec![b'k'; bytes], "", Expect::Absent));
        assert_eq!(kind(&key(KEY_BYTES_MAX)), "fits");
        assert_eq!(kind(&key(KEY_BYTES_MAX + 1)), "too_large");
        assert_eq!(kind(&key(0)), "invalid");
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        let twice = Transaction {
            writes: vec![Write::put("k", "", Expect::Absent), Write::delete("k", Revision(2))],
        };
        assert_eq!(
            twice.validate().expect_err("twice").to_string(),
            "the key `k` stands twice in one transaction"
        );
        let mut blind = Write::delete("k", Revision(2));
        blind.expect = Expect::Absent;
        assert_eq!(kind(&blind.into()), "invalid");
        assert_eq!(kind(&Write::put("k", "", Expect::At(Revision(0))).into()), "invalid");
    }
}
