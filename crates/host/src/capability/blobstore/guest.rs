//! What guests call.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use tokio::sync::OwnedSemaphorePermit;
use tokio::task::spawn_blocking;
use wasmtime::component::Resource;
use wasmtime_wasi_io::streams::{DynInputStream, DynOutputStream};

use super::bindings::{blobstore, container, types};
use super::stream::{ValueInput, ValueOutput, lock};
use super::value::{Destination, IncomingValue, OutgoingValue, Spool, WHOLE_VALUE_BYTES_MAX};
use super::{Backend, BlobView, Names, Outcome, name, no_container, no_object};
use crate::capability::text::shown;

/// Names given in one call: a page must fit the memory of a small guest.
pub(super) const LIST_NAMES_MAX: usize = 1_000;
/// Objects deleted in one call: one call must not hold a thread for long.
pub(super) const DELETE_NAMES_MAX: usize = 1_000;

/// The resource `container`.
#[allow(unreachable_pub, reason = "the bindings re-export it")]
pub struct Container {
    store: Arc<dyn Backend>,
    name: String,
}

/// The resource `stream-object-names`.
#[allow(unreachable_pub, reason = "the bindings re-export it")]
pub struct ObjectNames {
    /// None: the end was reached, or reading failed.
    names: Option<Names>,
    /// Held while the list is open: it may be an open directory.
    _open: OwnedSemaphorePermit,
}

/// What a host function gives: a trap, or what the guest gets.
type Answer<T> = wasmtime::Result<Outcome<T>>;

impl types::Host for BlobView<'_> {}

impl types::HostOutgoingValue for BlobView<'_> {
    async fn new_outgoing_value(&mut self) -> wasmtime::Result<Resource<OutgoingValue>> {
        // The interface has no error here: a guest that hoards values is stopped.
        let open = self.stores.budget.open_value().map_err(wasmtime::Error::msg)?;
        let spool = Spool::new(self.stores.spill.clone(), Arc::clone(&self.stores.budget));
        let spool = Arc::new(Mutex::new(spool));
        Ok(self.table.push(OutgoingValue { spool, destination: None, streamed: false, _open: open })?)
    }

    async fn outgoing_value_write_body(
        &mut self,
        value: Resource<OutgoingValue>,
    ) -> wasmtime::Result<Result<Resource<DynOutputStream>, ()>> {
        let outgoing = self.table.get_mut(&value)?;
        if std::mem::replace(&mut outgoing.streamed, true) {
            return Ok(Err(()));
        }
        let stream: DynOutputStream = Box::new(ValueOutput::new(Arc::clone(&outgoing.spool)));
        // A child: the guest must drop it before it finishes the value.
        Ok(Ok(self.table.push_child(stream, &value)?))
    }

    async fn finish(&mut self, this: Resource<OutgoingValue>) -> Answer<()> {
        let OutgoingValue { spool, destination, .. } = self.table.delete(this)?;
        let Some(Destination { store, container, object }) = destination else {
            return Ok(Err("the value goes nowhere: call write-data before finish".into()));
        };
        blocking(move || {
            let mut spool = lock(&spool);
            spool.check()?;
            store.put(&container, &object, &mut spool)
        })
        .await
    }

    async fn drop(&mut self, value: Resource<OutgoingValue>) -> wasmtime::Result<()> {
        self.table.delete(value)?;
        Ok(())
    }
}

impl types::HostIncomingValue for BlobView<'_> {
    async fn incoming_value_consume_sync(&mut self, this: Resource<IncomingValue>) -> Answer<Vec<u8>> {
        let value = self.table.delete(this)?;
        let bytes = value.end - value.start;
        if bytes > WHOLE_VALUE_BYTES_MAX {
            let max = shoal_base::units::Bytes(WHOLE_VALUE_BYTES_MAX);
            return Ok(Err(format!("the value has {bytes} bytes; at most {max} at once: use consume-async")));
        }
        let count = usize::try_from(bytes)?;
        blocking(move || {
            let read = value.source.read(value.start, count);
            let bytes = read.map_err(|error| super::disk_failed("reading an object", &error))?;
            Ok(bytes.to_vec())
        })
        .await
    }

    async fn incoming_value_consume_async(
        &mut self,
        this: Resource<IncomingValue>,
    ) -> Answer<Resource<DynInputStream>> {
        let value = self.table.delete(this)?;
        let stream: DynInputStream = Box::new(ValueInput::new(value));
        Ok(Ok(self.table.push(stream)?))
    }

    async fn size(&mut self, value: Resource<IncomingValue>) -> wasmtime::Result<u64> {
        let value = self.table.get(&value)?;
        Ok(value.end - value.start)
    }

    async fn drop(&mut self, value: Resource<IncomingValue>) -> wasmtime::Result<()> {
        self.table.delete(value)?;
        Ok(())
    }
}

impl blobstore::Host for BlobView<'_> {
    async fn create_container(&mut self, name: String) -> Answer<Resource<Container>> {
        let store = match self.stores.find(&name) {
            Ok(store) => store,
            Err(refused) => return Ok(Err(refused)),
        };
        let created = name.clone();
        match on(&store, move |store| store.create(&created)).await? {
            Ok(()) => Ok(Ok(self.table.push(Container { store, name })?)),
            Err(error) => Ok(Err(error)),
        }
    }

    async fn get_container(&mut self, name: String) -> Answer<Resource<Container>> {
        let store = match self.stores.find(&name) {
            Ok(store) => store,
            Err(refused) => return Ok(Err(refused)),
        };
        let sought = name.clone();
        match on(&store, move |store| store.created(&sought)).await? {
            Ok(Some(_)) => Ok(Ok(self.table.push(Container { store, name })?)),
            Ok(None) => Ok(Err(no_container(&name))),
            Err(error) => Ok(Err(error)),
        }
    }

    async fn delete_container(&mut self, name: String) -> Answer<()> {
        match self.stores.find(&name) {
            Ok(store) => on(&store, move |store| store.remove(&name)).await,
            Err(refused) => Ok(Err(refused)),
        }
    }

    async fn container_exists(&mut self, name: String) -> Answer<bool> {
        match self.stores.find(&name) {
            Ok(store) => on(&store, move |store| Ok(store.created(&name)?.is_some())).await,
            Err(refused) => Ok(Err(refused)),
        }
    }

    async fn copy_object(&mut self, src: blobstore::ObjectId, dest: blobstore::ObjectId) -> Answer<()> {
        self.transfer(src, dest, false).await
    }

    async fn move_object(&mut self, src: blobstore::ObjectId, dest: blobstore::ObjectId) -> Answer<()> {
        self.transfer(src, dest, true).await
    }
}

impl container::Host for BlobView<'_> {}

impl container::HostContainer for BlobView<'_> {
    async fn name(&mut self, container: Resource<Container>) -> Answer<String> {
        Ok(Ok(self.table.get(&container)?.name.clone()))
    }

    async fn info(&mut self, container: Resource<Container>) -> Answer<container::ContainerMetadata> {
        self.in_container(&container, |store, name| {
            let created = store.created(name)?.ok_or_else(|| no_container(name))?;
            Ok(container::ContainerMetadata { name: name.to_owned(), created_at: seconds(created) })
        })
        .await
    }

    async fn get_data(
        &mut self,
        container: Resource<Container>,
        name: String,
        start: u64,
        end: u64,
    ) -> Answer<Resource<IncomingValue>> {
        if start > end {
            return Ok(Err(format!("the range starts at {start}, after its end {end}")));
        }
        let open = match self.stores.budget.open_value() {
            Ok(open) => open,
            Err(full) => return Ok(Err(full)),
        };
        match self
            .on_object(&container, name, |store, container, object| store.get(container, object))
            .await?
        {
            Ok(source) => {
                // Both ends of the range are inside it; what lies past the object is not.
                let end = end.saturating_add(1).min(source.len());
                let value = IncomingValue { start: start.min(end), end, source, open };
                Ok(Ok(self.table.push(value)?))
            }
            Err(error) => Ok(Err(error)),
        }
    }

    /// Says where the value goes. It becomes the object when the guest finishes it, so this may be called
    /// before, while or after the guest writes the value's stream.
    async fn write_data(
        &mut self,
        container: Resource<Container>,
        name: String,
        data: Resource<OutgoingValue>,
    ) -> Answer<()> {
        let exists = |store: &Arc<dyn Backend>, container: &str, _: &str| match store.created(container)? {
            Some(_) => Ok(()),
            None => Err(no_container(container)),
        };
        if let Err(error) = self.on_object(&container, name.clone(), exists).await? {
            return Ok(Err(error));
        }
        let Container { store, name: container } = self.table.get(&container)?;
        let destination =
            Destination { store: Arc::clone(store), container: container.clone(), object: name };
        let outgoing = self.table.get_mut(&data)?;
        if let Some(taken) = &outgoing.destination {
            return Ok(Err(format!("the value goes to the object `{}` already", shown(&taken.object))));
        }
        // A write to the temporary file may be under way; then the value stays where it is.
        if let (Some(directory), Ok(mut spool)) =
            (destination.store.spill_directory(), outgoing.spool.try_lock())
        {
            spool.prefer(directory.to_owned());
        }
        outgoing.destination = Some(destination);
        Ok(Ok(()))
    }

    async fn list_objects(&mut self, container: Resource<Container>) -> Answer<Resource<ObjectNames>> {
        let open = match self.stores.budget.open_value() {
            Ok(open) => open,
            Err(full) => return Ok(Err(full)),
        };
        let listed = self.in_container(&container, |store, name| Arc::clone(store).list(name)).await?;
        match listed {
            Ok(names) => Ok(Ok(self.table.push(ObjectNames { names: Some(names), _open: open })?)),
            Err(error) => Ok(Err(error)),
        }
    }

    async fn delete_object(&mut self, container: Resource<Container>, name: String) -> Answer<()> {
        self.on_object(&container, name, |store, container, object| store.delete(container, object)).await
    }

    async fn delete_objects(&mut self, container: Resource<Container>, names: Vec<String>) -> Answer<()> {
        if names.len() > DELETE_NAMES_MAX {
            let text = format!("{} names to delete; at most {DELETE_NAMES_MAX} at once", names.len());
            return Ok(Err(text));
        }
        self.in_container(&container, move |store, container| {
            names.iter().try_for_each(|object| name::check(object))?;
            names.iter().try_for_each(|object| store.delete(container, object))
        })
        .await
    }

    async fn has_object(&mut self, container: Resource<Container>, name: String) -> Answer<bool> {
        let found = |store: &Arc<dyn Backend>, container: &str, object: &str| {
            Ok(store.head(container, object)?.is_some())
        };
        self.on_object(&container, name, found).await
    }

    async fn object_info(
        &mut self,
        container: Resource<Container>,
        name: String,
    ) -> Answer<container::ObjectMetadata> {
        self.on_object(&container, name, |store, container, object| {
            let head = store.head(container, object)?.ok_or_else(|| no_object(object))?;
            Ok(container::ObjectMetadata {
                name: object.to_owned(),
                container: container.to_owned(),
                created_at: seconds(head.created),
                size: head.bytes,
            })
        })
        .await
    }

    async fn clear(&mut self, container: Resource<Container>) -> Answer<()> {
        self.in_container(&container, |store, name| store.clear(name)).await
    }

    async fn drop(&mut self, container: Resource<Container>) -> wasmtime::Result<()> {
        self.table.delete(container)?;
        Ok(())
    }
}

impl container::HostStreamObjectNames for BlobView<'_> {
    async fn read_stream_object_names(
        &mut self,
        names: Resource<ObjectNames>,
        len: u64,
    ) -> Answer<(Vec<String>, bool)> {
        let count = usize::try_from(len).unwrap_or(usize::MAX).min(LIST_NAMES_MAX);
        self.with_names(names, move |names| {
            let page = names.take(count).collect::<Outcome<Vec<String>>>()?;
            let ended = page.len() < count;
            Ok((page, ended))
        })
        .await
    }

    async fn skip_stream_object_names(
        &mut self,
        names: Resource<ObjectNames>,
        num: u64,
    ) -> Answer<(u64, bool)> {
        self.with_names(names, move |names| {
            let mut skipped = 0;
            while skipped < num {
                match names.next() {
                    Some(name) => drop(name?),
                    None => return Ok((skipped, true)),
                }
                skipped += 1;
            }
            Ok((skipped, false))
        })
        .await
    }

    async fn drop(&mut self, names: Resource<ObjectNames>) -> wasmtime::Result<()> {
        self.table.delete(names)?;
        Ok(())
    }
}

impl BlobView<'_> {
    /// Runs work on a container.
    async fn in_container<R: Send + 'static>(
        &mut self,
        container: &Resource<Container>,
        work: impl FnOnce(&Arc<dyn Backend>, &str) -> Outcome<R> + Send + 'static,
    ) -> Answer<R> {
        let Container { store, name } = self.table.get(container)?;
        let (store, name) = (Arc::clone(store), name.clone());
        on(&store, move |store| work(store, &name)).await
    }

    /// Runs work on an object, whose name is checked first.
    async fn on_object<R: Send + 'static>(
        &mut self,
        container: &Resource<Container>,
        object: String,
        work: impl FnOnce(&Arc<dyn Backend>, &str, &str) -> Outcome<R> + Send + 'static,
    ) -> Answer<R> {
        if let Err(refused) = name::check(&object) {
            return Ok(Err(refused));
        }
        self.in_container(container, move |store, container| work(store, container, &object)).await
    }

    /// Runs work on a list of names; the end is remembered.
    async fn with_names<T: Default + Send + 'static>(
        &mut self,
        resource: Resource<ObjectNames>,
        work: impl FnOnce(&mut Names) -> Outcome<(T, bool)> + Send + 'static,
    ) -> Answer<(T, bool)> {
        let Some(mut names) = self.table.get_mut(&resource)?.names.take() else {
            return Ok(Ok((T::default(), true)));
        };
        let (names, outcome) = spawn_blocking(move || {
            let outcome = work(&mut names);
            (names, outcome)
        })
        .await?;
        if matches!(outcome, Ok((_, false))) {
            self.table.get_mut(&resource)?.names = Some(names);
        }
        Ok(outcome)
    }

    /// Copies or moves an object.
    async fn transfer(
        &mut self,
        from: blobstore::ObjectId,
        to: blobstore::ObjectId,
        moves: bool,
    ) -> Answer<()> {
        let stores = self.stores.find(&from.container).and_then(|source| {
            name::check(&from.object)?;
            name::check(&to.object)?;
            Ok((source, self.stores.find(&to.container)?))
        });
        let (source, target) = match stores {
            Ok(stores) => stores,
            Err(refused) => return Ok(Err(refused)),
        };
        let spill = target.spill_directory().map_or_else(|| self.stores.spill.clone(), PathBuf::from);
        let mut spool = Spool::new(spill, Arc::clone(&self.stores.budget));
        blocking(move || {
            if moves && Arc::ptr_eq(&source, &target) {
                return source.rename((&from.container, &from.object), (&to.container, &to.object));
            }
            spool.append(&source.get(&from.container, &from.object)?)?;
            target.put(&to.container, &to.object, &mut spool)?;
            if moves { source.delete(&from.container, &from.object) } else { Ok(()) }
        })
        .await
    }
}

/// Runs work on a store: here when it is in memory, on a blocking thread when it is on a disk.
async fn on<R: Send + 'static>(
    store: &Arc<dyn Backend>,
    work: impl FnOnce(&Arc<dyn Backend>) -> Outcome<R> + Send + 'static,
) -> Answer<R> {
    if store.spill_directory().is_none() {
        return Ok(work(store));
    }
    let store = Arc::clone(store);
    blocking(move || work(&store)).await
}

/// Runs work that may block.
async fn blocking<R: Send + 'static>(work: impl FnOnce() -> Outcome<R> + Send + 'static) -> Answer<R> {
    Ok(spawn_blocking(work).await?)
}

/// Seconds since 1970, as the interface wants them.
fn seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
