//! Containers in memory, gone with the process.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use bytes::Bytes;
use shoal_base::units;

use super::value::{Source, Spool};
use super::{Backend, Names, ObjectHead, Outcome, no_container, no_object};
use crate::capability::text::shown;

/// Largest store in memory: the memory is the node's, shared among thousands of tenants.
pub(super) const MEMORY_BYTES_MAX: u64 = 64 << 20;
/// What a container or an object costs beyond its name and its bytes.
const ENTRY_BYTES: u64 = 128;

/// Containers in memory.
#[derive(Default)]
pub(super) struct MemoryStore {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    containers: BTreeMap<String, Container>,
    bytes: u64,
}

struct Container {
    created: SystemTime,
    objects: BTreeMap<String, Object>,
}

struct Object {
    bytes: Bytes,
    created: SystemTime,
}

impl MemoryStore {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn container(&mut self, name: &str) -> Outcome<&mut Container> {
        self.containers.get_mut(name).ok_or_else(|| no_container(name))
    }

    /// Counts what changes in size.
    fn resize(&mut self, freed: u64, added: u64) -> Outcome<()> {
        let after = self.bytes - freed + added;
        if after > MEMORY_BYTES_MAX && added > freed {
            let max = units::Bytes(MEMORY_BYTES_MAX);
            return Err(format!("the store is full: at most {max} in memory; delete something first"));
        }
        self.bytes = after;
        Ok(())
    }

    fn put(&mut self, container: &str, name: &str, object: Object) -> Outcome<()> {
        let old = self.container(container)?.objects.get(name).map_or(0, |old| cost(name, old));
        self.resize(old, cost(name, &object))?;
        self.container(container)?.objects.insert(name.to_owned(), object);
        Ok(())
    }

    fn take(&mut self, container: &str, name: &str) -> Outcome<Option<Object>> {
        let taken = self.container(container)?.objects.remove(name);
        if let Some(object) = &taken {
            self.bytes -= cost(name, object);
        }
        Ok(taken)
    }
}

impl Backend for MemoryStore {
    fn create(&self, container: &str) -> Outcome<()> {
        let mut inner = self.inner();
        if inner.containers.contains_key(container) {
            return Err(format!("the container `{}` exists already", shown(container)));
        }
        inner.resize(0, container.len() as u64 + ENTRY_BYTES)?;
        let empty = Container { created: SystemTime::now(), objects: BTreeMap::new() };
        inner.containers.insert(container.to_owned(), empty);
        Ok(())
    }

    fn created(&self, container: &str) -> Outcome<Option<SystemTime>> {
        Ok(self.inner().containers.get(container).map(|container| container.created))
    }

    fn remove(&self, container: &str) -> Outcome<()> {
        let mut inner = self.inner();
        let removed = inner.containers.remove(container).ok_or_else(|| no_container(container))?;
        inner.bytes -= container.len() as u64 + ENTRY_BYTES + objects_cost(&removed);
        Ok(())
    }

    fn put(&self, container: &str, object: &str, value: &mut Spool) -> Outcome<()> {
        if value.len() > MEMORY_BYTES_MAX {
            let max = units::Bytes(MEMORY_BYTES_MAX);
            return Err(format!("the value has {} bytes; the store holds {max} in memory", value.len()));
        }
        let bytes = value.take_bytes()?;
        self.inner().put(container, object, Object { bytes, created: SystemTime::now() })
    }

    fn get(&self, container: &str, object: &str) -> Outcome<Source> {
        let mut inner = self.inner();
        let found = inner.container(container)?.objects.get(object).ok_or_else(|| no_object(object))?;
        Ok(Source::Memory(found.bytes.clone()))
    }

    fn head(&self, container: &str, object: &str) -> Outcome<Option<ObjectHead>> {
        let mut inner = self.inner();
        let found = inner.container(container)?.objects.get(object);
        Ok(found.map(|found| ObjectHead { bytes: found.bytes.len() as u64, created: found.created }))
    }

    fn delete(&self, container: &str, object: &str) -> Outcome<()> {
        self.inner().take(container, object).map(drop)
    }

    fn clear(&self, container: &str) -> Outcome<()> {
        let mut inner = self.inner();
        let found = inner.container(container)?;
        let freed = objects_cost(found);
        found.objects.clear();
        inner.bytes -= freed;
        Ok(())
    }

    fn list(self: Arc<Self>, container: &str) -> Outcome<Names> {
        self.inner().container(container)?;
        let container = container.to_owned();
        let mut last: Option<String> = None;
        Ok(Box::new(std::iter::from_fn(move || {
            let mut inner = self.inner();
            let objects = &inner.container(&container).ok()?.objects;
            let after = last.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
            let next = objects.range::<String, _>((after, Bound::Unbounded)).next()?.0.clone();
            last = Some(next.clone());
            Some(Ok(next))
        })))
    }

    fn rename(&self, from: (&str, &str), to: (&str, &str)) -> Outcome<()> {
        let mut inner = self.inner();
        inner.container(to.0)?;
        let object = inner.take(from.0, from.1)?.ok_or_else(|| no_object(from.1))?;
        let Object { bytes, created } = object;
        let copy = Object { bytes: bytes.clone(), created };
        inner.put(to.0, to.1, copy).or_else(|full| {
            // A longer name can be what no longer fits: the object stays where it was.
            inner.put(from.0, from.1, Object { bytes, created })?;
            Err(full)
        })
    }

    fn spill_directory(&self) -> Option<&Path> {
        None
    }
}

fn cost(name: &str, object: &Object) -> u64 {
    name.len() as u64 + object.bytes.len() as u64 + ENTRY_BYTES
}

fn objects_cost(container: &Container) -> u64 {
    container.objects.iter().map(|(name, object)| cost(name, object)).sum()
}
