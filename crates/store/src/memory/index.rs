//! Every key with its versions: what lives is held in memory, what was before in part.

use std::borrow::Borrow;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{Hash, Hasher};
use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;

use crate::{Event, Object, Revision, prefix_end};

/// The versions of all keys since the last compaction.
#[derive(Default)]
pub(crate) struct Index {
    /// Oldest version first; never empty.
    keys: BTreeMap<Bytes, Vec<Slot>>,
    /// What lives, for reads of one key: a search in the tree misses the processor's caches a dozen times.
    live: HashSet<ByKey>,
    /// How many keys live below each prefix that ends with a slash: a list tells how much is left of it.
    below: HashMap<Box<[u8]>, u64>,
}

/// An object, found by its key.
struct ByKey(Arc<Object>);

impl Borrow<[u8]> for ByKey {
    fn borrow(&self) -> &[u8] {
        &self.0.key
    }
}

impl Hash for ByKey {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        self.0.key.as_ref().hash(hasher);
    }
}

impl PartialEq for ByKey {
    fn eq(&self, other: &Self) -> bool {
        self.0.key == other.0.key
    }
}

impl Eq for ByKey {}

/// One version of a key.
struct Slot {
    revision: Revision,
    body: Body,
}

/// Where the content of a version is.
#[derive(Clone)]
pub(crate) enum Body {
    /// In memory.
    Here(Arc<Object>),
    /// In the file only. Never the newest version of a key.
    OnDisk,
    /// The key was deleted.
    Deleted,
}

/// What a key holds at some revision.
#[derive(Clone)]
pub(crate) enum Found {
    Absent,
    Here(Arc<Object>),
    /// In the file, written at this revision.
    OnDisk(Revision),
}

impl Index {
    /// What a key holds now.
    pub(crate) fn current(&self, key: &[u8]) -> Option<&Arc<Object>> {
        self.live.get(key).map(|found| &found.0)
    }

    /// What a key held at a revision that is not compacted.
    pub(crate) fn at(&self, key: &[u8], revision: Revision) -> Found {
        self.keys.get(key).map_or(Found::Absent, |slots| find(slots, revision))
    }

    /// What there was below a prefix and after a key, at a revision that is not compacted.
    pub(crate) fn range<'a>(
        &'a self,
        prefix: &'a [u8],
        after: Option<&'a Bytes>,
        revision: Revision,
    ) -> impl Iterator<Item = (&'a Bytes, Found)> {
        let start = match after {
            Some(after) if after.as_ref() >= prefix => Bound::Excluded(after.as_ref()),
            _ => Bound::Included(prefix),
        };
        let end = prefix_end(prefix);
        // A key after all others makes an empty range, which BTreeMap would refuse as one that runs backwards.
        let is_empty = matches!((&start, &end), (Bound::Excluded(after), Some(end)) if *after >= &end[..]);
        let range = (!is_empty).then(|| {
            let end = end.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
            self.keys.range::<[u8], _>((start, end))
        });
        range.into_iter().flatten().filter_map(move |(key, slots)| match find(slots, revision) {
            Found::Absent => None,
            found => Some((key, found)),
        })
    }

    /// A change that is newer than everything.
    pub(crate) fn apply(&mut self, event: &Event) {
        match &event.object {
            Some(object) => {
                if self.live.replace(ByKey(Arc::clone(object))).is_none() {
                    self.count_one(&event.key);
                }
            }
            None => {
                if self.live.remove(event.key.as_ref()) {
                    self.discount_one(&event.key);
                }
            }
        }
        let body = event.object.as_ref().map_or(Body::Deleted, |object| Body::Here(Arc::clone(object)));
        let slot = Slot { revision: event.revision, body };
        match self.keys.get_mut(&event.key) {
            Some(slots) => slots.push(slot),
            None => {
                self.keys.insert(event.key.clone(), vec![slot]);
            }
        }
    }

    /// A version that is older than everything that is known of its key: for loading from the newest on, until
    /// [`Index::loaded`].
    pub(crate) fn load(&mut self, key: Bytes, revision: Revision, body: Body) {
        if let Body::Here(object) = &body {
            self.live.insert(ByKey(Arc::clone(object)));
            self.count_one(&key);
        }
        let slots = self.keys.entry(key).or_insert_with(|| Vec::with_capacity(1));
        slots.push(Slot { revision, body });
    }

    /// Whether [`Index::load`] was called for the key.
    pub(crate) fn knows(&self, key: &[u8]) -> bool {
        self.keys.contains_key(key)
    }

    /// Everything is loaded: puts the versions into their order.
    pub(crate) fn loaded(&mut self) {
        for slots in self.keys.values_mut() {
            slots.reverse();
        }
    }

    /// Lets go of the content of a version that is not the newest.
    pub(crate) fn evict(&mut self, key: &[u8], revision: Revision) {
        let Some(slots) = self.keys.get_mut(key) else { return };
        let Some((_, older)) = slots.split_last_mut() else { return };
        if let Ok(at) = older.binary_search_by_key(&revision, |slot| slot.revision)
            && matches!(older[at].body, Body::Here(_))
        {
            older[at].body = Body::OnDisk;
        }
    }

    /// Forgets what no read at `revision` or later can see, for up to `count` keys from `from` on. Returns where to
    /// go on; none at the end.
    pub(crate) fn compact(&mut self, from: &[u8], count: usize, revision: Revision) -> Option<Bytes> {
        let mut gone = Vec::new();
        let mut range = self.keys.range_mut::<[u8], _>((Bound::Included(from), Bound::Unbounded));
        for (key, slots) in range.by_ref().take(count) {
            let kept_from = slots.partition_point(|slot| slot.revision <= revision).saturating_sub(1);
            let is_deleted = |slot: &Slot| slot.revision <= revision && matches!(slot.body, Body::Deleted);
            let kept_from = kept_from + usize::from(is_deleted(&slots[kept_from]));
            if kept_from > 0 {
                slots.drain(..kept_from);
                slots.shrink_to_fit();
            }
            if slots.is_empty() {
                gone.push(key.clone());
            }
        }
        let next = range.next().map(|(key, _)| key.clone());
        for key in gone {
            self.keys.remove(&key);
        }
        next
    }

    /// How many keys live below a prefix; none where that must be counted.
    pub(crate) fn live_below(&self, prefix: &[u8]) -> Option<u64> {
        match prefix.last() {
            None => Some(self.live.len() as u64),
            Some(b'/') => Some(self.below.get(prefix).copied().unwrap_or(0)),
            Some(_) => None,
        }
    }

    fn count_one(&mut self, key: &[u8]) {
        for prefix in directories(key) {
            match self.below.get_mut(prefix) {
                Some(count) => *count += 1,
                None => drop(self.below.insert(prefix.into(), 1)),
            }
        }
    }

    fn discount_one(&mut self, key: &[u8]) {
        for prefix in directories(key) {
            if let Some(count) = self.below.get_mut(prefix) {
                *count -= 1;
                if *count == 0 {
                    self.below.remove(prefix);
                }
            }
        }
    }

    /// What lives, in no order.
    pub(crate) fn live(&self) -> impl Iterator<Item = &Arc<Object>> {
        self.live.iter().map(|found| &found.0)
    }
}

/// The prefixes of a key that end with a slash.
fn directories(key: &[u8]) -> impl Iterator<Item = &[u8]> {
    key.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| &key[..=at])
}

fn find(slots: &[Slot], revision: Revision) -> Found {
    let behind = slots.partition_point(|slot| slot.revision <= revision);
    let slot = behind.checked_sub(1).map(|at| &slots[at]);
    slot.map_or(Found::Absent, |slot| match &slot.body {
        Body::Here(object) => Found::Here(Arc::clone(object)),
        Body::OnDisk => Found::OnDisk(slot.revision),
        Body::Deleted => Found::Absent,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(key: &'static str, revision: u64, value: Option<&'static str>) -> Event {
        let revision = Revision(revision);
        let object = value.map(|value| {
            Arc::new(Object {
                key: key.into(),
                value: value.into(),
                create_revision: revision,
                mod_revision: revision,
                version: 1,
                lease: None,
            })
        });
        Event { key: key.into(), revision, object, previous: None }
    }

    fn shown(index: &Index, revision: u64) -> Vec<String> {
        let show = |(key, found): (&Bytes, Found)| {
            let key = String::from_utf8_lossy(key).into_owned();
            match found {
                Found::Here(object) => format!("{key}={}", String::from_utf8_lossy(&object.value)),
                Found::OnDisk(revision) => format!("{key}@{revision}"),
                Found::Absent => format!("{key} absent"),
            }
        };
        index.range(b"", None, Revision(revision)).map(show).collect()
    }

    #[test]
    fn each_revision_has_its_state_until_it_is_compacted() {
        let mut index = Index::default();
        for event in [
            event("a", 2, Some("1")),
            event("b", 3, Some("2")),
            event("a", 4, Some("3")),
            event("b", 5, None),
            event("b", 6, Some("4")),
        ] {
            index.apply(&event);
        }
        assert_eq!(shown(&index, 2), ["a=1"]);
        assert_eq!(shown(&index, 3), ["a=1", "b=2"]);
        assert_eq!(shown(&index, 5), ["a=3"]);
        index.evict(b"a", Revision(2));
        index.evict(b"a", Revision(4));
        assert_eq!(shown(&index, 3), ["a@2", "b=2"], "old versions may go");
        assert_eq!(shown(&index, 6), ["a=3", "b=4"], "the newest stays");

        let mut next = Some(Bytes::new());
        while let Some(from) = next {
            next = index.compact(&from, 1, Revision(5));
        }
        assert_eq!(shown(&index, 5), ["a=3"]);
        assert_eq!(shown(&index, 6), ["a=3", "b=4"]);
        assert_eq!(index.keys[b"b".as_slice()].len(), 1, "the deletion before is forgotten");
    }

    #[test]
    fn what_lives_below_a_directory_is_counted_as_it_changes() {
        let mut index = Index::default();
        for event in [
            event("/p/a", 2, Some("1")),
            event("/p/a", 3, Some("2")),
            event("/p/b/c", 4, Some("3")),
            event("/p/d", 5, None),
            event("/q/a", 6, Some("4")),
            event("/q/a", 7, None),
        ] {
            index.apply(&event);
        }
        index.load("/p/e".into(), Revision(1), Body::Here(event("/p/e", 1, Some("5")).object.expect("put")));
        for prefix in ["", "/", "/p/", "/p/b/", "/q/", "/r/"] {
            let counted = index.range(prefix.as_bytes(), None, Revision(9)).count() as u64;
            assert_eq!(index.live_below(prefix.as_bytes()), Some(counted), "{prefix}");
        }
        assert_eq!(index.live_below(b"/p"), None, "this is no directory");
        index.apply(&event("/p/b/c", 8, None));
        assert!(!index.below.contains_key(b"/p/b/".as_slice()), "an empty one is forgotten");
    }

    #[test]
    fn a_range_ends_with_its_prefix_and_begins_after_a_key() {
        let mut index = Index::default();
        for (at, key) in (2..).zip(["p", "p/a", "p/b", "p0"]) {
            index.apply(&event(key, at, Some("")));
        }
        let keys = |prefix: &str, after: Option<&'static str>| {
            let after = after.map(Bytes::from);
            let range = index.range(prefix.as_bytes(), after.as_ref(), Revision(9));
            range.map(|(key, _)| String::from_utf8_lossy(key).into_owned()).collect::<Vec<_>>()
        };
        assert_eq!(keys("p/", None), ["p/a", "p/b"]);
        assert_eq!(keys("p/", Some("p/a")), ["p/b"]);
        assert_eq!(keys("p/", Some("a")), ["p/a", "p/b"], "before the prefix");
        assert_eq!(keys("p/", Some("z")), [""; 0], "behind it");
        assert_eq!(keys("p/", Some("p/b")), [""; 0]);
    }
}
