//! All objects as they are, kept at hand: what admission, authorization and controllers look at.
//!
//! One watch of the whole store feeds it. Objects are parsed when someone looks at them, and kept parsed until they
//! change.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::{Mutex, RwLock, RwLockReadGuard};
use serde::Deserialize;
use serde_json::Value;
use shoal_api::{GroupVersionKind, Status, lean};
use shoal_base::drain::Drain;
use shoal_control::filing;
use shoal_control::plan::Glance;
use shoal_control::snapshot::{Resource, Sighting, Snapshot};
use shoal_store::{Error, Event, ListOptions, Object, Revision};
use tokio::sync::watch;

use crate::changes::{Change, Changes, Kinds, Listeners};
use crate::filed::Filed;
use crate::objects::{Objects, Stored};
use crate::registry::{Registry, Served};

/// What the keys of all objects begin with.
pub const OBJECTS: &[u8] = b"/registry/";
/// Objects that are read at once when the world is read.
const PAGE_OBJECTS: usize = 5000;
/// Before the store is asked again after it failed.
const RETRY: Duration = Duration::from_millis(500);

/// All objects as they are.
pub struct World {
    objects: Objects,
    state: RwLock<State>,
    revision: watch::Sender<Revision>,
    listeners: Listeners,
    handed: Mutex<Handed>,
}

/// What objects read as that were written here and have not come back yet, by their keys.
#[derive(Default)]
struct Handed(HashMap<Bytes, (Revision, Arc<Value>)>);

/// The objects of one resource, by their keys.
type Table = BTreeMap<Bytes, Arc<Entry>>;

#[derive(Default)]
struct State {
    registry: Arc<Registry>,
    tables: HashMap<Arc<str>, Table>,
    /// The objects that name an owner, by its identity.
    owned: HashMap<Box<str>, BTreeSet<(Arc<str>, Bytes)>>,
    filed: Filed,
}

/// One object.
pub struct Entry {
    object: Arc<Object>,
    value: OnceLock<Option<Arc<Value>>>,
}

/// The world at one moment; nothing changes while it is held.
pub struct View<'w> {
    objects: &'w Objects,
    state: RwLockReadGuard<'w, State>,
}

impl World {
    /// A world that knows nothing yet.
    pub fn new(objects: Objects) -> Self {
        Self {
            objects,
            state: RwLock::default(),
            revision: watch::channel(Revision(0)).0,
            listeners: Listeners::default(),
            handed: Mutex::default(),
        }
    }

    /// The world as it is.
    pub fn view(&self) -> View<'_> {
        View { objects: &self.objects, state: self.state.read() }
    }

    /// Takes what a changed object reads as from whoever wrote it, so that nobody reads it once more.
    pub(crate) fn hand_over(&self, stored: &Stored, mut value: Value) {
        value["metadata"]["resourceVersion"] = stored.revision.to_string().into();
        lean::strip(&mut value);
        debug_assert_eq!(stored.lean().as_ref(), Ok(&value), "it reads as it was written");
        let value = Arc::new(value);
        let state = self.state.read();
        let table = split(&stored.key).and_then(|(table, _)| state.tables.get(table));
        // What was changed is there, unless it has gone since.
        let Some(entry) = table.and_then(|table| table.get(&stored.key)) else { return };
        match entry.object.mod_revision.cmp(&stored.revision) {
            Ordering::Equal => drop(entry.value.set(Some(value))),
            Ordering::Less => drop(self.handed.lock().0.insert(stored.key.clone(), (stored.revision, value))),
            Ordering::Greater => {}
        }
    }

    /// Which resources there are, from now on.
    pub fn set_registry(&self, registry: Arc<Registry>) {
        self.state.write().registry = registry;
    }

    /// What changes of some kinds, from now on.
    pub fn changes(&self, kinds: Kinds) -> Changes {
        self.listeners.join(kinds)
    }

    /// Waits until everything up to a revision is known here.
    pub async fn reached(&self, revision: Revision) {
        // The sender lives as long as `self`.
        let _ = self.revision.subscribe().wait_for(|at| *at >= revision).await;
    }

    /// The revision up to which everything is known.
    pub fn revision(&self) -> Revision {
        *self.revision.borrow()
    }

    /// Follows the store until this drain begins: later than that of whoever looks at the world.
    pub async fn run(&self, drain: &Drain) {
        while !drain.has_begun() {
            tokio::select! {
                Err(error) = self.follow() => tracing::warn!(%error, "the store cannot be followed; reading it anew"),
                () = drain.begun() => return,
            }
            tokio::select! {
                () = tokio::time::sleep(RETRY) => {}
                () = drain.begun() => return,
            }
        }
    }

    /// Reads everything, then follows what changes.
    async fn follow(&self) -> Result<std::convert::Infallible, Error> {
        let at = self.read().await?;
        let mut watch = self.objects.watch(OBJECTS, at.next()).await?;
        loop {
            let batch = watch.next().await?;
            self.apply(&batch.events, batch.revision);
        }
    }

    /// Reads everything at one revision, page by page.
    async fn read(&self) -> Result<Revision, Error> {
        let (mut at, mut after, mut seen) = (None, None, Vec::new());
        loop {
            let options =
                ListOptions { at, limit: PAGE_OBJECTS, after, uncounted: true, ..ListOptions::default() };
            let page = self.objects.store().list(OBJECTS, options).await?;
            seen.extend(page.objects.iter().cloned());
            at = Some(page.revision);
            after = page.objects.last().map(|object| object.key.clone());
            if !page.more {
                self.replace(seen, page.revision);
                return Ok(page.revision);
            }
        }
    }

    /// Everything is as it was read: what is not in it is gone.
    fn replace(&self, seen: Vec<Arc<Object>>, revision: Revision) {
        let mut changes = Vec::new();
        let mut state = self.state.write();
        let mut handed = self.handed.lock();
        let keys: BTreeSet<Bytes> = seen.iter().map(|object| object.key.clone()).collect();
        let gone: Vec<Bytes> = state
            .tables
            .values()
            .flat_map(BTreeMap::keys)
            .filter(|key| !keys.contains(*key))
            .cloned()
            .collect();
        for key in gone {
            changes.extend(state.set(&self.objects, &mut handed, &key, None));
        }
        for object in seen {
            changes.extend(state.set(&self.objects, &mut handed, &object.key.clone(), Some(object)));
        }
        let registry = state.registry.clone();
        drop((handed, state));
        self.tell(&registry, changes, revision);
    }

    fn apply(&self, events: &[Event], revision: Revision) {
        let mut changes = Vec::with_capacity(events.len());
        let mut state = self.state.write();
        let mut handed = self.handed.lock();
        for event in events {
            changes.extend(state.set(&self.objects, &mut handed, &event.key, event.object.clone()));
        }
        let registry = state.registry.clone();
        drop((handed, state));
        self.tell(&registry, changes, revision);
    }

    fn tell(&self, registry: &Registry, changes: Vec<Change>, revision: Revision) {
        self.listeners.tell(registry, changes);
        self.revision.send_replace(revision);
    }
}

impl Handed {
    /// What this version of an object reads as, where that was handed over. What an older one read as is forgotten.
    fn take(&mut self, key: &Bytes, object: Option<&Object>) -> Option<Arc<Value>> {
        let (revision, _) = self.0.get(key)?;
        let comes_later = object.is_some_and(|object| object.mod_revision < *revision);
        if comes_later {
            return None;
        }
        let (revision, value) = self.0.remove(key)?;
        object.is_some_and(|object| object.mod_revision == revision).then_some(value)
    }
}

impl State {
    /// Puts an object in place of what was there; none when it is the same.
    fn set(
        &mut self,
        objects: &Objects,
        handed: &mut Handed,
        key: &Bytes,
        object: Option<Arc<Object>>,
    ) -> Option<Change> {
        let table = self.table(key)?;
        let entries = self.tables.entry(table.clone()).or_default();
        let read = handed.take(key, object.as_deref());
        let value = read.map_or_else(OnceLock::new, |read| OnceLock::from(Some(read)));
        let is = object.map(|object| Arc::new(Entry { object, value }));
        let was = match &is {
            Some(entry) => entries.insert(key.clone(), entry.clone()),
            None => entries.remove(key),
        };
        let same = |entry: &Option<Arc<Entry>>| entry.as_ref().map(|entry| entry.object.mod_revision);
        if same(&was) == same(&is) {
            return None;
        }
        self.own(objects, &table, key, was.as_deref(), false);
        self.own(objects, &table, key, is.as_deref(), true);
        self.file(objects, &table, key, (was.as_deref(), is.as_deref()));
        Some(Change { table, was, is })
    }

    /// Remembers, or forgets, whom an object names as its owners.
    fn own(&mut self, objects: &Objects, table: &Arc<str>, key: &Bytes, entry: Option<&Entry>, is: bool) {
        for owner in entry.map(|entry| entry.owners(objects)).unwrap_or_default() {
            let place = (table.clone(), key.clone());
            if is {
                self.owned.entry(owner).or_default().insert(place);
            } else if let Some(places) = self.owned.get_mut(&owner) {
                places.remove(&place);
                if places.is_empty() {
                    self.owned.remove(&owner);
                }
            }
        }
    }

    /// Files an object under other words than before, if it has others.
    fn file(
        &mut self,
        objects: &Objects,
        table: &str,
        key: &Bytes,
        (was, is): (Option<&Entry>, Option<&Entry>),
    ) {
        let kind = self.registry.of_table(table).map(|served| &served.resource.storage);
        let Some(kind) = kind.filter(|kind| filing::is_filed(kind)) else { return };
        let words = |entry: Option<&Entry>| {
            let object = entry.and_then(|entry| entry.value(objects));
            object.map(|object| filing::words(kind, &object)).unwrap_or_default()
        };
        let (was, is) = (words(was), words(is));
        if was != is {
            self.filed.set(key, was, false);
            self.filed.set(key, is, true);
        }
    }

    /// The table in which a key lies.
    fn table(&self, key: &[u8]) -> Option<Arc<str>> {
        let (table, _) = split(key)?;
        Some(self.tables.get_key_value(table).map_or_else(|| table.into(), |(known, _)| known.clone()))
    }
}

/// The part of a key that stands for a resource, `/registry/GROUP/PLURAL/`, and the rest, `[NAMESPACE/]NAME`.
fn split(key: &[u8]) -> Option<(&str, &str)> {
    let text = std::str::from_utf8(key).ok()?;
    Some(text.split_at(text.match_indices('/').nth(3)?.0 + 1))
}

/// The namespace and the name that a key stands for.
fn place(key: &[u8]) -> Option<(&str, &str)> {
    let (_, place) = split(key)?;
    Some(place.split_once('/').unwrap_or(("", place)))
}

impl Entry {
    /// The object, parsed, without `metadata.managedFields`; none when what is stored cannot be read.
    pub fn value(&self, objects: &Objects) -> Option<Arc<Value>> {
        let parsed = self.value.get_or_init(|| {
            let value = objects.open(&self.object).and_then(|stored| stored.lean());
            value.inspect_err(|error| tracing::error!(%error, "an object cannot be read")).ok().map(Arc::new)
        });
        parsed.clone()
    }

    /// As it is stored.
    ///
    /// # Errors
    /// 500: it is sealed and cannot be opened.
    pub fn stored(&self, objects: &Objects) -> Result<Stored, Status> {
        objects.open(&self.object)
    }

    /// Whether another version is one of the same object, and not of a later one of its name.
    pub fn is_same_object(&self, other: &Self) -> bool {
        self.object.create_revision == other.object.create_revision
    }

    /// What is seen of it without parsing it, of its text. `is_there`: it still exists, perhaps changed.
    pub fn glance<'s>(&'s self, text: &'s [u8], is_there: bool) -> Option<Glance<'s>> {
        let (namespace, name) = place(&self.object.key)?;
        Some(Glance { namespace, name, is_there, text })
    }

    fn owners(&self, objects: &Objects) -> Vec<Box<str>> {
        #[derive(Deserialize)]
        struct Owned {
            metadata: Owners,
        }
        #[derive(Deserialize)]
        struct Owners {
            #[serde(default, rename = "ownerReferences")]
            owners: Vec<Owner>,
        }
        #[derive(Deserialize)]
        struct Owner {
            uid: Box<str>,
        }
        let Ok(text) = objects.text(&self.object) else { return Vec::new() };
        if memchr::memmem::find(&text, b"\"ownerReferences\"").is_none() {
            return Vec::new();
        }
        let owned: Option<Owned> = serde_json::from_slice(&text).ok();
        owned
            .map(|owned| owned.metadata.owners.into_iter().map(|owner| owner.uid).collect())
            .unwrap_or_default()
    }
}

impl View<'_> {
    fn table(&self, kind: &GroupVersionKind) -> Option<(&Table, &Arc<Served>)> {
        let served = self.state.registry.of_kind(kind)?;
        let prefix = served.prefix("");
        let table = self.state.tables.get(std::str::from_utf8(&prefix).ok()?)?;
        Some((table, served))
    }

    /// One object as it is stored.
    pub fn entry(&self, kind: &GroupVersionKind, namespace: &str, name: &str) -> Option<&Arc<Entry>> {
        let (table, served) = self.table(kind)?;
        table.get(&served.key(namespace, name))
    }

    /// This very version of an object, where it is the newest that is known and somebody has read it.
    pub fn read_before(&self, stored: &Stored) -> Option<Arc<Value>> {
        let (table, _) = split(&stored.key)?;
        let entry = self.state.tables.get(table)?.get(&stored.key)?;
        let is_it = entry.object.mod_revision == stored.revision;
        if is_it { entry.value.get().cloned().flatten() } else { None }
    }

    /// The objects of a kind, as they are stored.
    pub fn entries(&self, kind: &GroupVersionKind) -> impl Iterator<Item = &Arc<Entry>> {
        self.table(kind).into_iter().flat_map(|(table, _)| table.values())
    }

    /// An object as text; none when it is sealed and cannot be opened.
    pub fn text<'e>(&self, entry: &'e Entry) -> Option<Cow<'e, [u8]>> {
        self.objects.text(&entry.object).ok()
    }

    /// An object, parsed.
    pub fn value(&self, entry: &Entry) -> Option<Arc<Value>> {
        entry.value(self.objects)
    }

    /// The resource whose objects lie in a table.
    pub fn served(&self, table: &str) -> Option<&Arc<Served>> {
        self.state.registry.of_table(table)
    }
}

impl Snapshot for View<'_> {
    fn get(&self, kind: &GroupVersionKind, namespace: &str, name: &str) -> Option<Arc<Value>> {
        self.entry(kind, namespace, name)?.value(self.objects)
    }

    fn list(&self, kind: &GroupVersionKind, namespace: Option<&str>) -> Vec<Arc<Value>> {
        let Some((table, served)) = self.table(kind) else { return Vec::new() };
        let prefix = served.prefix(namespace.unwrap_or_default());
        let from = table.range(Bytes::from(prefix.clone())..);
        from.take_while(|(key, _)| key.starts_with(&prefix))
            .filter_map(|(_, entry)| entry.value(self.objects))
            .collect()
    }

    fn filed(&self, kind: &GroupVersionKind, namespace: &str, words: &[String]) -> Vec<Arc<Value>> {
        let Some((table, served)) = self.table(kind).filter(|_| !words.is_empty()) else {
            return self.list(kind, Some(namespace));
        };
        let found = self.state.filed.find(&served.prefix(namespace), words);
        found.iter().filter_map(|key| table.get(key)?.value(self.objects)).collect()
    }

    fn count(&self, kind: &GroupVersionKind) -> usize {
        self.table(kind).map_or(0, |(table, _)| table.len())
    }

    fn sightings(&self, kind: &GroupVersionKind) -> Vec<Sighting> {
        let entries = self.table(kind).into_iter().flat_map(|(table, _)| table);
        let sighting = |(key, entry): (&Bytes, &Arc<Entry>)| {
            let (namespace, name) = place(key)?;
            let version = entry.object.mod_revision.0;
            Some(Sighting { namespace: namespace.into(), name: name.into(), version })
        };
        entries.filter_map(sighting).collect()
    }

    fn owned_by(&self, uid: &str) -> Vec<(GroupVersionKind, Arc<Value>)> {
        let places = self.state.owned.get(uid).into_iter().flatten();
        places
            .filter_map(|(table, key)| {
                let kind = self.served(table)?.resource.storage.clone();
                Some((kind, self.state.tables.get(table)?.get(key)?.value(self.objects)?))
            })
            .collect()
    }

    fn resources(&self) -> Vec<Resource> {
        self.state.registry.stored()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(revision: u64) -> Object {
        Object {
            key: Bytes::from_static(b"k"),
            value: Bytes::new(),
            create_revision: Revision(1),
            mod_revision: Revision(revision),
            version: 1,
            lease: None,
        }
    }

    #[test]
    fn what_was_handed_over_waits_for_its_own_version() {
        let key = Bytes::from_static(b"k");
        let handed = || Handed(HashMap::from([(key.clone(), (Revision(5), Arc::new(json!(5))))]));
        for (comes, expected, left) in [
            (Some(object(4)), None, 1),
            (Some(object(5)), Some(Arc::new(json!(5))), 0),
            (Some(object(6)), None, 0),
            (None, None, 0),
        ] {
            let mut handed = handed();
            assert_eq!((handed.take(&key, comes.as_ref()), handed.0.len()), (expected, left));
        }
        assert_eq!(Handed::default().take(&key, Some(&object(5))), None);
    }
}
