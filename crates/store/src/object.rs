//! The words of the store: revisions, objects, events, leases.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

/// A moment in the history of a store. An empty store is at 1; each change adds 1. 0 is no revision.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision(pub u64);

impl Revision {
    /// Where an empty store is.
    pub const FIRST: Self = Self(1);

    /// The revision after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }

    /// The revision before this one; 0 before the first.
    #[must_use]
    pub fn before(self) -> Self {
        Self(self.0.saturating_sub(1))
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One version of what a key holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// Any bytes; compared byte by byte.
    pub key: Bytes,
    /// Any bytes; empty in lists that asked for keys only.
    pub value: Bytes,
    /// When the key came to be, since it was last absent.
    pub create_revision: Revision,
    /// When this version was written.
    pub mod_revision: Revision,
    /// 1 at creation, one more with each change.
    pub version: u64,
    /// Deletes the key when it ends.
    pub lease: Option<LeaseId>,
}

impl Object {
    /// The same without its value.
    #[must_use]
    pub fn without_value(&self) -> Self {
        Self { value: Bytes::new(), ..self.clone() }
    }
}

/// One change of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The key that changed.
    pub key: Bytes,
    /// When it changed.
    pub revision: Revision,
    /// What it holds since; none when it was deleted.
    pub object: Option<Arc<Object>>,
    /// What it held before; none when it did not exist, when the watch did not ask, and when that is compacted.
    pub previous: Option<Arc<Object>>,
}

impl Event {
    /// Whether the key did not exist before.
    pub fn is_create(&self) -> bool {
        self.object.as_ref().is_some_and(|object| object.create_revision == object.mod_revision)
    }

    /// Whether the key does not exist any more.
    pub fn is_delete(&self) -> bool {
        self.object.is_none()
    }
}

/// Names a lease. Never 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LeaseId(pub i64);

impl fmt::Display for LeaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}", self.0)
    }
}

/// A lease as it was granted or kept alive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    /// Its name.
    pub id: LeaseId,
    /// How long it lasts from now on, in whole seconds.
    pub ttl: Duration,
}

/// The first key after all that begin with `prefix`; none when there is no such key.
pub fn prefix_end(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|byte| *byte != u8::MAX)?;
    let mut end = prefix[..=last].to_vec();
    end[last] += 1;
    Some(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_prefix_is_the_first_key_behind_it() {
        assert_eq!(prefix_end(b"/a/"), Some(b"/a0".to_vec()));
        assert_eq!(prefix_end(b"a\xff\xff"), Some(b"b".to_vec()));
        assert_eq!(prefix_end(b"\xff"), None);
        assert_eq!(prefix_end(b""), None);
    }
}
