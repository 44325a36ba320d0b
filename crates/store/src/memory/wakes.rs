//! Who waits for changes of which prefix, so that a change wakes only whom it concerns.
//!
//! Watches of one prefix form a group. The group remembers the revisions of its latest changes: a watch that was
//! woken goes straight to them, however much has changed elsewhere.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::watch;

use crate::Revision;

use super::ring::Commit;

/// Changes that a group remembers. A watch that is further behind looks through the ring.
const RECENT_MAX: usize = 4096;

/// The groups of a store.
#[derive(Default)]
pub(crate) struct Wakes {
    groups: Mutex<Groups>,
    /// Every group knows its changes up to this revision.
    told: AtomicU64,
    watchers: AtomicUsize,
}

#[derive(Default)]
struct Groups {
    by_prefix: HashMap<Bytes, Entry>,
    /// How many groups there are for each length of a prefix: the lengths to look up for a key.
    lengths: BTreeMap<usize, usize>,
}

struct Entry {
    group: Arc<Group>,
    watchers: usize,
}

/// The watches of one prefix.
struct Group {
    moved: watch::Sender<()>,
    recent: Mutex<Recent>,
}

struct Recent {
    /// Revisions with a change below the prefix, oldest first.
    revisions: VecDeque<Revision>,
    /// From here on none is missing.
    complete_from: Revision,
}

/// A watch's place in its group, until it is dropped.
pub(crate) struct Registration {
    wakes: Arc<Wakes>,
    prefix: Bytes,
    group: Arc<Group>,
    moved: watch::Receiver<()>,
}

impl Wakes {
    /// Joins the group of a prefix. `current` gives the revision of the store and is called when the group
    /// hears of every change from then on.
    pub(crate) fn register(
        self: &Arc<Self>,
        prefix: Bytes,
        current: impl FnOnce() -> Revision,
    ) -> Registration {
        let (group, is_new) = {
            let mut groups = self.lock();
            let is_new = !groups.by_prefix.contains_key(&prefix);
            if is_new {
                *groups.lengths.entry(prefix.len()).or_default() += 1;
            }
            let entry = groups.by_prefix.entry(prefix.clone()).or_insert_with(Entry::new);
            entry.watchers += 1;
            (Arc::clone(&entry.group), is_new)
        };
        self.watchers.fetch_add(1, Ordering::Relaxed);
        if is_new {
            group.lock().complete_from = current().next();
        }
        let moved = group.moved.subscribe();
        Registration { wakes: Arc::clone(self), prefix, group, moved }
    }

    /// Tells the groups whom these commits concern. They can be read already.
    pub(crate) fn tell(&self, commits: &[Arc<Commit>]) {
        let Some(last) = commits.last() else { return };
        let mut concerned = Vec::<Arc<Group>>::new();
        {
            let groups = self.lock();
            for commit in commits {
                for event in &commit.events {
                    for length in groups.lengths.range(..=event.key.len()).map(|(length, _)| *length) {
                        let Some(entry) = groups.by_prefix.get(&event.key[..length]) else { continue };
                        if entry.group.lock().push(commit.revision) {
                            concerned.push(Arc::clone(&entry.group));
                        }
                    }
                }
            }
        }
        self.told.store(last.revision.0, Ordering::Release);
        concerned.sort_by_key(Arc::as_ptr);
        concerned.dedup_by_key(|group| Arc::as_ptr(group));
        for group in concerned {
            group.moved.send_replace(());
        }
    }

    /// Wakes everyone: something happened that is no commit.
    pub(crate) fn tell_all(&self) {
        for entry in self.lock().by_prefix.values() {
            entry.group.moved.send_replace(());
        }
    }

    /// Watches that are open.
    pub(crate) fn watchers(&self) -> usize {
        self.watchers.load(Ordering::Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, Groups> {
        self.groups.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    fn new() -> Self {
        let recent = Recent { revisions: VecDeque::new(), complete_from: Revision(u64::MAX) };
        Self {
            group: Arc::new(Group { moved: watch::Sender::new(()), recent: Mutex::new(recent) }),
            watchers: 0,
        }
    }
}

impl Group {
    fn lock(&self) -> MutexGuard<'_, Recent> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Recent {
    /// Adds a revision; false when it is known.
    fn push(&mut self, revision: Revision) -> bool {
        if self.revisions.back() == Some(&revision) {
            return false;
        }
        self.revisions.push_back(revision);
        if self.revisions.len() > RECENT_MAX
            && let Some(gone) = self.revisions.pop_front()
        {
            self.complete_from = self.complete_from.max(gone.next());
        }
        true
    }
}

impl Registration {
    /// What is read from here on is newer than what [`Registration::moved`] waits for.
    pub(crate) fn mark_unchanged(&mut self) {
        self.moved.mark_unchanged();
    }

    /// Waits for a change below the prefix since [`Registration::mark_unchanged`].
    pub(crate) async fn moved(&mut self) {
        // The sender is in the group, which this holds.
        let _ = self.moved.changed().await;
    }

    /// The first revision from `from` on that may have a change below the prefix: those before it have none.
    pub(crate) fn skip(&self, from: Revision) -> Revision {
        // In this order: what was told by now is in the list by then.
        let told = Revision(self.wakes.told.load(Ordering::Acquire));
        let recent = self.group.lock();
        if from < recent.complete_from || from > told {
            return from;
        }
        let at = recent.revisions.partition_point(|revision| *revision < from);
        recent.revisions.get(at).copied().unwrap_or(told.next())
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.wakes.watchers.fetch_sub(1, Ordering::Relaxed);
        let mut groups = self.wakes.lock();
        let Some(entry) = groups.by_prefix.get_mut(&self.prefix) else { return };
        entry.watchers -= 1;
        if entry.watchers > 0 {
            return;
        }
        groups.by_prefix.remove(&self.prefix);
        let length = self.prefix.len();
        if let Some(count) = groups.lengths.get_mut(&length) {
            *count -= 1;
            if *count == 0 {
                groups.lengths.remove(&length);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Event;

    fn commit(revision: u64, key: &'static str) -> Arc<Commit> {
        let revision = Revision(revision);
        let event = Event { key: key.into(), revision, object: None, previous: None };
        Arc::new(Commit { revision, events: vec![event] })
    }

    #[test]
    fn a_group_hears_of_its_prefix_only_and_skips_the_rest() {
        let wakes = Arc::new(Wakes::default());
        let mut pods = wakes.register("/pods/".into(), || Revision(1));
        let mut all = wakes.register("".into(), || Revision(1));
        pods.mark_unchanged();
        all.mark_unchanged();
        wakes.tell(&[commit(2, "/nodes/a"), commit(3, "/nodes/b")]);
        assert!(!pods.moved.has_changed().expect("the group is there"));
        assert!(all.moved.has_changed().expect("the group is there"));
        assert_eq!(pods.skip(Revision(2)), Revision(4), "nothing up to 3 is meant");
        assert_eq!(all.skip(Revision(2)), Revision(2));

        wakes.tell(&[commit(4, "/pods/a"), commit(5, "/nodes/b"), commit(6, "/pods/b")]);
        assert!(pods.moved.has_changed().expect("the group is there"));
        assert_eq!(pods.skip(Revision(2)), Revision(4));
        assert_eq!(pods.skip(Revision(5)), Revision(6));
        assert_eq!(pods.skip(Revision(9)), Revision(9), "the future is not known");
    }

    #[test]
    fn what_was_before_the_group_is_not_skipped() {
        let wakes = Arc::new(Wakes::default());
        let late = wakes.register("/pods/".into(), || Revision(7));
        wakes.tell(&[commit(8, "/nodes/a")]);
        assert_eq!(late.skip(Revision(5)), Revision(5));
        assert_eq!(late.skip(Revision(8)), Revision(9));
        drop(late);
        assert_eq!(wakes.watchers(), 0);
        assert!(wakes.lock().by_prefix.is_empty() && wakes.lock().lengths.is_empty());
    }

    #[test]
    fn a_group_that_forgot_some_says_so() {
        let wakes = Arc::new(Wakes::default());
        let busy = wakes.register("/pods/".into(), || Revision(1));
        for revision in 2..=(RECENT_MAX as u64 + 2) {
            wakes.tell(&[commit(revision, "/pods/a")]);
        }
        assert_eq!(busy.group.lock().complete_from, Revision(3));
        assert_eq!(busy.skip(Revision(2)), Revision(2), "2 is forgotten");
    }
}
