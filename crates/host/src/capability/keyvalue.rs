//! `wasi:keyvalue`: named stores of values, in memory or in a SQLite file.
//!
//! Served: `store`, `atomics` and `batch` of `0.2.0-draft` (wasmCloud, Wasmtime) and of `0.2.0-draft2` (Spin).
//! Both drafts see the same data. Every operation is linearizable within the process, so both drafts get more
//! than the eventual consistency that they promise; an acknowledged write to a file survives `kill -9` and
//! power loss. Counters are decimal text, as in Redis.

mod bindings;
mod draft;
mod draft2;
mod memory;
mod pace;
mod sqlite;
mod store;
mod table;
#[cfg(test)]
mod tests;
mod worker;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use shoal_runtime::{Refusal, StoreGrant, StorePlace};
use wasmtime::component::{HasData, Linker, Resource, ResourceTable, ResourceTableError};

use self::bindings::{draft as first, draft2 as second};
use self::store::Store;
use self::table::StoreError;
use super::text::shown;

/// Log lines about stores that are not granted, per workload: enough to see the mistake, too few for a guest
/// that asks for ten thousand names to flood the log.
const MISSING_GRANT_LINES_MAX: u32 = 8;

/// The key-value stores granted to one workload, opened once and shared by all its instances and threads.
#[derive(Default)]
pub(crate) struct Stores {
    by_name: BTreeMap<String, Arc<Store>>,
    workload: String,
    missing_said: AtomicU32,
}

impl Stores {
    /// Opens every granted store. A file that does not exist is made.
    ///
    /// # Errors
    /// A [`Refusal`] that names the grant and the file: it cannot be opened or made, is damaged, is not a
    /// Shoal store, or is in use by another process.
    pub(crate) fn open(grants: &[StoreGrant]) -> Result<Self, Refusal> {
        let mut by_name = BTreeMap::new();
        for grant in grants {
            let store = match &grant.place {
                StorePlace::Memory => Store::memory(),
                StorePlace::Path(path) => Store::file(&grant.name, path)?,
            };
            if by_name.insert(grant.name.clone(), Arc::new(store)).is_some() {
                let what = format!("the key-value store `{}` is granted twice", shown(&grant.name));
                return Err(Refusal::new(what).hint("give each --kv its own name"));
            }
        }
        Ok(Self { by_name, ..Self::default() })
    }

    /// The name of the workload, for the log.
    pub(crate) fn of(self, workload: &str) -> Self {
        Self { workload: workload.into(), ..self }
    }

    /// The store that the guest calls `name`.
    fn find(&self, name: &str) -> Result<Arc<Store>, StoreError> {
        if let Some(store) = self.by_name.get(name) {
            return Ok(Arc::clone(store));
        }
        if self.missing_said.fetch_add(1, Ordering::Relaxed) < MISSING_GRANT_LINES_MAX {
            let name = shown(name);
            tracing::warn!(
                workload = self.workload,
                "the guest asked for the key-value store `{name}`, which is not granted; hint: --kv {name}"
            );
        }
        Err(StoreError::NoSuchStore)
    }
}

/// What a call of `wasi:keyvalue` works on.
pub(crate) struct KeyValueView<'a> {
    /// The granted stores.
    pub(crate) stores: &'a Stores,
    /// The resources of the instance.
    pub(crate) table: &'a mut ResourceTable,
}

/// Links `wasi:keyvalue/{store,atomics,batch}` of both drafts.
///
/// # Errors
/// When one of them is linked already.
pub(crate) fn add_to_linker<T: Send + 'static>(
    linker: &mut Linker<T>,
    get: fn(&mut T) -> KeyValueView<'_>,
) -> wasmtime::Result<()> {
    first::store::add_to_linker::<T, HasKeyValue>(linker, get)?;
    first::atomics::add_to_linker::<T, HasKeyValue>(linker, get)?;
    first::batch::add_to_linker::<T, HasKeyValue>(linker, get)?;
    second::store::add_to_linker::<T, HasKeyValue>(linker, get)?;
    second::atomics::add_to_linker::<T, HasKeyValue>(linker, get)?;
    second::batch::add_to_linker::<T, HasKeyValue>(linker, get)
}

/// Says that [`KeyValueView`] is what host functions get.
pub(crate) struct HasKeyValue;

impl HasData for HasKeyValue {
    type Data<'a> = KeyValueView<'a>;
}

/// The resource `bucket`: a store that was opened.
#[allow(unreachable_pub, reason = "the bindings re-export it")]
pub struct Bucket {
    store: Arc<Store>,
}

/// The resource `cas` of draft2: a key, and the version of its value when the handle was made.
#[allow(unreachable_pub, reason = "the bindings re-export it")]
pub struct Cas {
    store: Arc<Store>,
    key: String,
    /// None: the key was absent.
    seen: Option<u64>,
}

/// Why a call failed: an answer to the guest, or the end of the guest.
#[allow(unreachable_pub, reason = "the bindings re-export it")]
pub enum CallError {
    /// The guest gets this error.
    Store(StoreError),
    /// The guest is stopped: it broke the rules of resources.
    Trap(wasmtime::Error),
}

impl From<StoreError> for CallError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<ResourceTableError> for CallError {
    fn from(error: ResourceTableError) -> Self {
        Self::Trap(error.into())
    }
}

impl KeyValueView<'_> {
    /// Opens the store `name` as a bucket.
    fn open_bucket(&mut self, name: &str) -> Result<Resource<Bucket>, CallError> {
        let store = self.stores.find(name)?;
        Ok(self.table.push(Bucket { store })?)
    }

    /// The store behind a bucket.
    fn store(&self, bucket: &Resource<Bucket>) -> Result<Arc<Store>, CallError> {
        Ok(Arc::clone(&self.table.get(bucket)?.store))
    }
}
