//! The objects of a kind, at hand and kept up to date.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;
use serde_json::Value;
use shoal_api::object;
use shoal_base::backoff::Backoff;
use shoal_base::drain::Drain;
use shoal_base::splitmix::SplitMix64;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::{Change, Client, Error, Resource, Select};

/// Before the first new try: rights that come with an object may take a moment longer than the object.
const RETRY_FIRST: Duration = Duration::from_millis(20);
/// Between tries in the end: an API that is away for hours is asked no oftener, by each of thousands of nodes.
const RETRY_LONGEST: Duration = Duration::from_secs(30);
/// A watch that has lasted so long went well; the next try after it waits for nothing. The time until it was there does
/// not count: an API that takes long to say no is asked no oftener for it.
const WELL: Duration = Duration::from_secs(5);

/// The objects of one kind that are selected. Cheap to clone; all clones are one cache, and one of them must
/// [`Cache::run`].
#[derive(Clone)]
pub struct Cache(Arc<Inner>);

/// Namespace and name.
type Key = (String, String);

struct Inner {
    client: Client,
    of: Resource,
    namespace: String,
    select: Select,
    objects: RwLock<BTreeMap<Key, Arc<Value>>>,
    /// Raised with each change of an object or of the contact.
    changes: watch::Sender<u64>,
    contact: watch::Sender<Contact>,
}

/// Whether what a cache has is what there is.
#[derive(Clone, Debug, PartialEq)]
pub enum Contact {
    /// Nothing has been read yet.
    Never,
    /// It follows.
    Live,
    /// It has what there was, and tries again.
    Lost(Error),
    /// It could not even read once, and tries again.
    Failed(Error),
}

impl Cache {
    /// A cache of objects, in one namespace or, when it is empty, in all. It is empty until it runs.
    pub fn new(client: Client, of: Resource, namespace: &str, select: Select) -> Self {
        Self(Arc::new(Inner {
            client,
            of,
            namespace: namespace.into(),
            select,
            objects: RwLock::default(),
            changes: watch::Sender::new(0),
            contact: watch::Sender::new(Contact::Never),
        }))
    }

    /// An object.
    pub fn get(&self, namespace: &str, name: &str) -> Option<Arc<Value>> {
        // A map whose key is a pair cannot be asked with two borrowed texts.
        self.0.objects.read().get(&(namespace.to_owned(), name.to_owned())).cloned()
    }

    /// All objects, by namespace and name.
    pub fn all(&self) -> Vec<Arc<Value>> {
        self.0.objects.read().values().cloned().collect()
    }

    /// How it stands.
    pub fn contact(&self) -> Contact {
        self.0.contact.borrow().clone()
    }

    /// A number that is raised with each change. The number says nothing: look at the objects.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.0.changes.subscribe()
    }

    /// Waits until everything has been read once.
    pub async fn read(&self) {
        let mut contact = self.0.contact.subscribe();
        // The sender lives as long as this cache.
        let _ = contact.wait_for(|contact| matches!(contact, Contact::Live | Contact::Lost(_))).await;
    }

    /// Keeps the objects up to date until the drain begins.
    pub async fn run(&self, drain: &Drain) {
        tokio::select! {
            () = self.follow() => {}
            () = drain.begun() => {}
        }
    }

    async fn follow(&self) {
        let mut backoff = Backoff::new(RETRY_FIRST, RETRY_LONGEST);
        let mut random = SplitMix64::new(RandomState::new().hash_one(&self.0.select.fields));
        let mut revision = String::new();
        loop {
            let mut live = None;
            let ended = self.follow_from(&mut revision, &mut live).await;
            if let Err(error) = &ended {
                if error.is_expired() || error.is_ahead() {
                    revision.clear();
                } else {
                    tracing::debug!(%error, resource = %self.0.of.plural, "the watch has ended");
                    self.lost(error.clone());
                }
            }
            if live.is_some_and(|since: Instant| since.elapsed() >= WELL) {
                backoff.reset();
                if ended.is_ok() {
                    continue;
                }
            }
            tokio::time::sleep(backoff.wait_apart(random.draw())).await;
        }
    }

    /// Lists where there is no revision to go on from, and follows until the watch ends. `live`: since when it does.
    async fn follow_from(&self, revision: &mut String, live: &mut Option<Instant>) -> Result<(), Error> {
        let Inner { client, of, namespace, select, .. } = &*self.0;
        if revision.is_empty() {
            let list = client.list(of, namespace, select).await?;
            self.replace(list.items);
            *revision = list.revision;
        }
        let mut events = client.watch(of, namespace, select, revision).await?;
        *live = Some(Instant::now());
        self.live();
        while let Some(change) = events.next().await? {
            match change {
                Change::Set(object) => {
                    object::resource_version(&object).clone_into(revision);
                    self.set(object);
                }
                Change::Gone(object) => {
                    object::resource_version(&object).clone_into(revision);
                    self.remove(&object);
                }
                Change::Reached(at) => *revision = at,
            }
        }
        Ok(())
    }

    fn replace(&self, items: Vec<Value>) {
        let mut next: BTreeMap<Key, Arc<Value>> =
            items.into_iter().map(|item| (key(&item), Arc::new(item))).collect();
        let mut objects = self.0.objects.write();
        let is_same = objects.len() == next.len()
            && next.iter().all(|(key, object)| objects.get(key).is_some_and(|other| same(other, object)));
        if !is_same {
            std::mem::swap(&mut *objects, &mut next);
        }
        drop(objects);
        if !is_same {
            self.changed();
        }
    }

    fn set(&self, object: Value) {
        self.0.objects.write().insert(key(&object), Arc::new(object));
        self.changed();
    }

    fn remove(&self, object: &Value) {
        if self.0.objects.write().remove(&key(object)).is_some() {
            self.changed();
        }
    }

    fn changed(&self) {
        self.0.changes.send_modify(|number| *number = number.wrapping_add(1));
    }

    fn live(&self) {
        let was = self.0.contact.send_replace(Contact::Live);
        if was != Contact::Live {
            self.changed();
        }
    }

    fn lost(&self, error: Error) {
        let was_read = matches!(*self.0.contact.borrow(), Contact::Live | Contact::Lost(_));
        let next = if was_read { Contact::Lost(error) } else { Contact::Failed(error) };
        if self.0.contact.send_replace(next.clone()) != next {
            self.changed();
        }
    }
}

fn key(object: &Value) -> Key {
    (object::namespace(object).to_owned(), object::name(object).to_owned())
}

/// Whether two versions of an object are one.
fn same(one: &Value, other: &Value) -> bool {
    object::resource_version(one) == object::resource_version(other) && object::uid(one) == object::uid(other)
}
