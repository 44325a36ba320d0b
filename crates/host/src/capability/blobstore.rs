//! `wasi:blobstore`: containers of objects, in memory or in a directory.
//!
//! Served: `types`, `container` and `blobstore` of `0.2.0-draft`. A grant names the container that it holds;
//! the grant named `default` holds every container that no other grant names. An object appears whole, when
//! its value is finished, or not at all; readers keep the bytes that they opened. What `finish` acknowledged in
//! a directory survives `kill -9` and power loss.

mod bindings;
mod directory;
mod guest;
mod memory;
mod name;
mod stream;
#[cfg(test)]
mod tests;
mod value;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::SystemTime;

use shoal_runtime::{Refusal, StoreGrant, StorePlace};
use wasmtime::component::{HasData, Linker, ResourceTable};

use self::bindings::{blobstore, container, types};
use self::directory::DirectoryStore;
use self::memory::MemoryStore;
use self::value::{Budget, Source, Spool};
use super::text::shown;

/// Log lines about containers that are not granted, per workload: enough to see the mistake, too few for a
/// guest that asks for ten thousand names to flood the log.
const MISSING_GRANT_LINES_MAX: u32 = 8;
/// The grant that holds the containers that no other grant names.
const CATCH_ALL: &str = "default";

/// What the guest is told when something fails. It never holds a path of the host.
type Outcome<T> = Result<T, String>;

/// The blob stores granted to one workload, opened once and shared by all its instances and threads.
pub(crate) struct Stores {
    by_name: BTreeMap<String, Arc<dyn Backend>>,
    /// Where values go that outgrow memory before their container is known.
    spill: PathBuf,
    budget: Arc<Budget>,
    workload: String,
    missing_said: AtomicU32,
}

impl Stores {
    /// Opens every granted store. A directory that does not exist is made; what is in it is counted.
    ///
    /// # Errors
    /// A [`Refusal`] that names the grant and the directory when it cannot be made, read or written.
    pub(crate) fn open(grants: &[StoreGrant]) -> Result<Self, Refusal> {
        let mut by_name: BTreeMap<String, Arc<dyn Backend>> = BTreeMap::new();
        let mut spill = None;
        for grant in grants {
            let store: Arc<dyn Backend> = match &grant.place {
                StorePlace::Memory => Arc::new(MemoryStore::default()),
                StorePlace::Path(path) => {
                    let store = DirectoryStore::open(&grant.name, path)?;
                    spill.get_or_insert_with(|| store.spill().to_owned());
                    Arc::new(store)
                }
            };
            if by_name.insert(grant.name.clone(), store).is_some() {
                let what = format!("the blob store `{}` is granted twice", shown(&grant.name));
                return Err(Refusal::new(what).hint("give each --blobs its own name"));
            }
        }
        let spill = spill.unwrap_or_else(std::env::temp_dir);
        let (budget, workload) = (Arc::default(), String::new());
        Ok(Self { by_name, spill, budget, workload, missing_said: AtomicU32::new(0) })
    }

    /// The name of the workload, for the log.
    pub(crate) fn of(self, workload: &str) -> Self {
        Self { workload: workload.into(), ..self }
    }

    /// The store that holds the container.
    fn find(&self, container: &str) -> Outcome<Arc<dyn Backend>> {
        name::check(container)?;
        if let Some(store) = self.by_name.get(container).or_else(|| self.by_name.get(CATCH_ALL)) {
            return Ok(Arc::clone(store));
        }
        let name = shown(container);
        if self.missing_said.fetch_add(1, Ordering::Relaxed) < MISSING_GRANT_LINES_MAX {
            tracing::warn!(
                workload = self.workload,
                "the guest asked for the blob container `{name}`, which is not granted; hint: --blobs {name}, or \
                 --blobs {CATCH_ALL} for all containers"
            );
        }
        Err(format!("access denied: the container `{name}` is not granted"))
    }
}

/// What a call of `wasi:blobstore` works on.
pub(crate) struct BlobView<'a> {
    /// The granted stores.
    pub(crate) stores: &'a Stores,
    /// The resources of the instance.
    pub(crate) table: &'a mut ResourceTable,
}

/// Links `wasi:blobstore/{types,container,blobstore}@0.2.0-draft`. The streams are those of `wasi:io`, which
/// must be linked too.
///
/// # Errors
/// When one of them is linked already.
pub(crate) fn add_to_linker<T: Send + 'static>(
    linker: &mut Linker<T>,
    get: fn(&mut T) -> BlobView<'_>,
) -> wasmtime::Result<()> {
    types::add_to_linker::<T, HasBlobs>(linker, get)?;
    container::add_to_linker::<T, HasBlobs>(linker, get)?;
    blobstore::add_to_linker::<T, HasBlobs>(linker, get)
}

/// Says that [`BlobView`] is what host functions get.
pub(crate) struct HasBlobs;

impl HasData for HasBlobs {
    type Data<'a> = BlobView<'a>;
}

/// A place for containers. Every call may block on a disk, and each is safe beside every other. Names were
/// checked by [`name::check`].
trait Backend: Send + Sync {
    /// Makes an empty container.
    fn create(&self, container: &str) -> Outcome<()>;
    /// When the container was made; none: there is no such container.
    fn created(&self, container: &str) -> Outcome<Option<SystemTime>>;
    /// Removes a container with all its objects; to others it vanishes at once.
    fn remove(&self, container: &str) -> Outcome<()>;
    /// Makes or replaces an object.
    fn put(&self, container: &str, object: &str, value: &mut Spool) -> Outcome<()>;
    /// The bytes of an object as they are now.
    fn get(&self, container: &str, object: &str) -> Outcome<Source>;
    /// Size and age of an object; none: there is no such object.
    fn head(&self, container: &str, object: &str) -> Outcome<Option<ObjectHead>>;
    /// Removes an object; one that is not there is no error.
    fn delete(&self, container: &str, object: &str) -> Outcome<()>;
    /// Removes all objects.
    fn clear(&self, container: &str) -> Outcome<()>;
    /// The names of the objects, in no order. Objects that come or go meanwhile may or may not be among them.
    fn list(self: Arc<Self>, container: &str) -> Outcome<Names>;
    /// Moves an object within this store, replacing what is at the destination.
    fn rename(&self, from: (&str, &str), to: (&str, &str)) -> Outcome<()>;
    /// Where values for this store are gathered; none: it is in memory, and only [`put`](Self::put) blocks.
    fn spill_directory(&self) -> Option<&Path>;
}

/// Names of objects, read as they are asked for.
type Names = Box<dyn Iterator<Item = Outcome<String>> + Send>;

/// What is known of an object without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct ObjectHead {
    bytes: u64,
    created: SystemTime,
}

/// What the guest is told about a container that is not there.
fn no_container(container: &str) -> String {
    format!("the container `{}` does not exist; create it first", shown(container))
}

/// What the guest is told about an object that is not there.
fn no_object(object: &str) -> String {
    format!("the object `{}` does not exist", shown(object))
}

/// What the guest is told about a disk that fails; the operator reads the rest in the log.
fn disk_failed(doing: &str, error: &std::io::Error) -> String {
    tracing::error!("a blob store failed while {doing}: {error}");
    match error.kind() {
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => "the disk is full".into(),
        std::io::ErrorKind::PermissionDenied => "access denied".into(),
        _ => "the store failed; the host's log says why".into(),
    }
}
