//! Which lease ends when, and what hangs on it. Time comes in as an argument.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::limits::{LEASE_KEYS_MAX, LEASES_MAX};
use crate::{Error, Event, LeaseId, Result};

/// The leases of a store.
#[derive(Default)]
pub(crate) struct Leases {
    leases: BTreeMap<LeaseId, Held>,
    /// In the order in which they end.
    ends: BTreeSet<(Instant, LeaseId)>,
}

struct Held {
    ttl: Duration,
    ends: Instant,
    keys: BTreeSet<Bytes>,
}

impl Leases {
    /// Adds a lease whose life begins now.
    pub(crate) fn add(&mut self, id: LeaseId, ttl: Duration, now: Instant) {
        self.remove(id);
        self.leases.insert(id, Held { ttl, ends: now + ttl, keys: BTreeSet::new() });
        self.ends.insert((now + ttl, id));
    }

    pub(crate) fn len(&self) -> usize {
        self.leases.len()
    }

    /// Whether there may be another lease.
    pub(crate) fn check_room(&self) -> Result<()> {
        if self.leases.len() >= LEASES_MAX {
            return Err(Error::TooLarge {
                what: "the number of leases",
                size: self.leases.len() + 1,
                limit: LEASES_MAX,
                hint: "put several keys on one lease",
            });
        }
        Ok(())
    }

    /// Begins the life of a lease anew.
    pub(crate) fn keep_alive(&mut self, id: LeaseId, now: Instant) -> Result<Duration> {
        let ttl = self.leases.get(&id).ok_or(Error::LeaseNotFound(id))?.ttl;
        self.end_at(id, now + ttl);
        Ok(ttl)
    }

    /// Whether another key may hang on a lease.
    pub(crate) fn check(&self, id: LeaseId) -> Result<()> {
        let held = self.leases.get(&id).ok_or(Error::LeaseNotFound(id))?;
        if held.keys.len() >= LEASE_KEYS_MAX {
            return Err(Error::TooLarge {
                what: "the number of keys on one lease",
                size: held.keys.len() + 1,
                limit: LEASE_KEYS_MAX,
                hint: "grant another lease",
            });
        }
        Ok(())
    }

    /// The keys that hang on a lease, in their order.
    pub(crate) fn keys(&self, id: LeaseId) -> Result<Vec<Bytes>> {
        let held = self.leases.get(&id).ok_or(Error::LeaseNotFound(id))?;
        Ok(held.keys.iter().cloned().collect())
    }

    /// Forgets a lease, and with it what hung on it.
    pub(crate) fn remove(&mut self, id: LeaseId) {
        if let Some(held) = self.leases.remove(&id) {
            self.ends.remove(&(held.ends, id));
        }
    }

    /// Hangs a key on its lease; an object on a lease that is gone is left alone.
    pub(crate) fn attach(&mut self, id: LeaseId, key: &Bytes) {
        if let Some(held) = self.leases.get_mut(&id) {
            held.keys.insert(key.clone());
        }
    }

    /// Follows a change of a key from one lease to another.
    pub(crate) fn apply(&mut self, event: &Event) {
        let lease =
            |object: &Option<std::sync::Arc<crate::Object>>| object.as_ref().and_then(|object| object.lease);
        let (before, after) = (lease(&event.previous), lease(&event.object));
        if before == after {
            return;
        }
        if let Some(held) = before.and_then(|id| self.leases.get_mut(&id)) {
            held.keys.remove(&event.key);
        }
        if let Some(id) = after {
            self.attach(id, &event.key);
        }
    }

    /// Moves the end of a lease.
    pub(crate) fn end_at(&mut self, id: LeaseId, ends: Instant) {
        if let Some(held) = self.leases.get_mut(&id) {
            self.ends.remove(&(held.ends, id));
            held.ends = ends;
            self.ends.insert((ends, id));
        }
    }

    /// Those that have ended.
    pub(crate) fn ended(&self, now: Instant) -> Vec<LeaseId> {
        self.ends.iter().take_while(|(ends, _)| *ends <= now).map(|(_, id)| *id).collect()
    }

    /// When the next one ends.
    pub(crate) fn next_end(&self) -> Option<Instant> {
        self.ends.first().map(|(ends, _)| *ends)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_may_be_as_many_leases_and_keys_as_their_limits() {
        let (mut leases, now) = (Leases::default(), Instant::now());
        for id in 1..LEASES_MAX {
            leases.add(LeaseId(id as i64), Duration::from_secs(9), now);
        }
        assert_eq!(leases.check_room(), Ok(()));
        leases.add(LeaseId(LEASES_MAX as i64), Duration::from_secs(9), now);
        assert_eq!(leases.check_room().map_err(|error| error.kind()), Err("too_large"));
        for key in 1..LEASE_KEYS_MAX {
            leases.attach(LeaseId(1), &Bytes::from(key.to_string()));
        }
        assert_eq!(leases.check(LeaseId(1)), Ok(()));
        leases.attach(LeaseId(1), &Bytes::from_static(b"last"));
        assert_eq!(leases.check(LeaseId(1)).map_err(|error| error.kind()), Err("too_large"));
    }

    #[test]
    fn a_lease_that_is_kept_alive_ends_later() {
        let (mut leases, now) = (Leases::default(), Instant::now());
        let later = |seconds| now + Duration::from_secs(seconds);
        leases.add(LeaseId(1), Duration::from_secs(5), now);
        leases.add(LeaseId(2), Duration::from_secs(5), now);
        assert_eq!(leases.keep_alive(LeaseId(1), later(3)), Ok(Duration::from_secs(5)));
        assert_eq!(leases.ended(later(5)), [LeaseId(2)]);
        leases.remove(LeaseId(2));
        assert_eq!(leases.next_end(), Some(later(8)));
        assert_eq!(leases.keep_alive(LeaseId(2), now), Err(Error::LeaseNotFound(LeaseId(2))));
    }
}
