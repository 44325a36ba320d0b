//! Who hears of which changes: each listener of its kinds only, so that a change wakes nobody whom it does not concern.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use shoal_api::GroupVersionKind;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::mpsc::{Receiver, Sender, channel};

use crate::registry::Registry;
use crate::world::Entry;

/// Batches of changes that wait for a slow listener; past it, it looks at everything anew.
const WAITING_MAX: usize = 4096;

/// One object that changed.
#[derive(Clone)]
pub struct Change {
    /// What its key begins with, up to the namespace.
    pub table: Arc<str>,
    /// As it was.
    pub was: Option<Arc<Entry>>,
    /// As it is.
    pub is: Option<Arc<Entry>>,
}

/// Objects that a listener hears of.
pub enum Kinds {
    /// All.
    Every,
    /// Those of these kinds, in the version that they are stored in.
    Some(Vec<GroupVersionKind>),
}

/// What a listener hears.
pub enum News {
    /// Objects changed, among them some that are meant.
    Changed(Arc<Vec<Change>>),
    /// More changed than was kept: the world is to be looked at anew.
    Missed,
}

/// Those who listen.
#[derive(Default)]
pub(crate) struct Listeners(Mutex<Vec<Listener>>);

struct Listener {
    kinds: Kinds,
    news: Sender<News>,
    has_missed: Arc<AtomicBool>,
}

/// What one listener hears, until it is dropped.
pub struct Changes {
    news: Receiver<News>,
    /// That something was missed waits to be heard.
    has_missed: Arc<AtomicBool>,
}

impl Listeners {
    /// One more.
    pub(crate) fn join(&self, kinds: Kinds) -> Changes {
        // One more for the word that something was missed.
        let (sender, news) = channel(WAITING_MAX + 1);
        let has_missed = Arc::new(AtomicBool::new(false));
        self.0.lock().push(Listener { kinds, news: sender, has_missed: has_missed.clone() });
        Changes { news, has_missed }
    }

    /// Tells whom it concerns. The world holds these changes already.
    pub(crate) fn tell(&self, registry: &Registry, changes: Vec<Change>) {
        if changes.is_empty() {
            return;
        }
        let of = |change: &Change| registry.of_table(&change.table).map(|served| &served.resource.storage);
        let kinds: Vec<Option<&GroupVersionKind>> = changes.iter().map(of).collect();
        let changes = Arc::new(changes);
        self.0.lock().retain(|listener| !listener.kinds.meets(&kinds) || listener.hears(&changes));
    }
}

impl Kinds {
    fn meets(&self, changed: &[Option<&GroupVersionKind>]) -> bool {
        match self {
            Self::Every => true,
            Self::Some(kinds) => changed.iter().flatten().any(|kind| kinds.contains(kind)),
        }
    }
}

impl Listener {
    /// Whether anyone is there.
    fn hears(&self, changes: &Arc<Vec<Change>>) -> bool {
        if self.has_missed.load(Ordering::SeqCst) {
            // That waits to be heard; this change is in the world by then.
            return !self.news.is_closed();
        }
        let news = if self.news.capacity() > 1 {
            News::Changed(changes.clone())
        } else {
            self.has_missed.store(true, Ordering::SeqCst);
            News::Missed
        };
        !matches!(self.news.try_send(news), Err(TrySendError::Closed(_)))
    }
}

impl Changes {
    /// What comes next; none: the world is gone.
    pub async fn next(&mut self) -> Option<News> {
        let news = self.news.recv().await;
        self.heard(news.as_ref());
        news
    }

    /// What has come already.
    pub fn try_next(&mut self) -> Option<News> {
        let news = self.news.try_recv().ok();
        self.heard(news.as_ref());
        news
    }

    /// Whoever hears that something was missed looks at the world from then on.
    fn heard(&self, news: Option<&News>) {
        if matches!(news, Some(News::Missed)) {
            self.has_missed.store(false, Ordering::SeqCst);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change() -> Vec<Change> {
        vec![Change { table: "/registry/core/configmaps/".into(), was: None, is: None }]
    }

    fn heard(changes: &mut Changes) -> (usize, usize) {
        let (mut changed, mut missed) = (0, 0);
        while let Some(news) = changes.try_next() {
            match news {
                News::Changed(_) => changed += 1,
                News::Missed => missed += 1,
            }
        }
        (changed, missed)
    }

    #[test]
    fn each_hears_of_its_kinds() {
        let (listeners, registry) = (Listeners::default(), Registry::built_in());
        let [mut every, mut maps, mut pods] = [
            Kinds::Every,
            Kinds::Some(vec![GroupVersionKind::new("", "v1", "ConfigMap")]),
            Kinds::Some(vec![GroupVersionKind::new("", "v1", "Pod")]),
        ]
        .map(|kinds| listeners.join(kinds));
        listeners.tell(&registry, change());
        listeners.tell(&registry, Vec::new());
        assert_eq!([heard(&mut every), heard(&mut maps), heard(&mut pods)], [(1, 0), (1, 0), (0, 0)]);
    }

    #[test]
    fn who_is_slow_hears_once_that_something_was_missed() {
        let (listeners, registry) = (Listeners::default(), Registry::built_in());
        let mut slow = listeners.join(Kinds::Every);
        (0..WAITING_MAX).for_each(|_| listeners.tell(&registry, change()));
        assert_eq!(heard(&mut slow), (WAITING_MAX, 0), "as many as are kept");
        (0..WAITING_MAX + 3).for_each(|_| listeners.tell(&registry, change()));
        assert_eq!(heard(&mut slow), (WAITING_MAX, 1));
        listeners.tell(&registry, change());
        assert_eq!(heard(&mut slow), (1, 0), "afterwards all is as before");
    }

    #[test]
    fn who_stays_slow_hears_it_no_more_often() {
        let (listeners, registry) = (Listeners::default(), Registry::built_in());
        let mut slow = listeners.join(Kinds::Every);
        (0..WAITING_MAX + 1).for_each(|_| listeners.tell(&registry, change()));
        for _ in 0..100 {
            assert!(matches!(slow.try_next(), Some(News::Changed(_))));
            listeners.tell(&registry, change());
        }
        assert_eq!(heard(&mut slow), (WAITING_MAX - 100, 1));
    }

    #[test]
    fn who_has_gone_is_forgotten() {
        let (listeners, registry) = (Listeners::default(), Registry::built_in());
        drop(listeners.join(Kinds::Every));
        listeners.tell(&registry, change());
        assert!(listeners.0.lock().is_empty());
    }
}
