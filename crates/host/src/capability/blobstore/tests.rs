//! Tests: what guests see in memory and in a directory, the limits, and what is on the disk.

mod component;
mod disk;
mod guest;
mod limits;

use std::future::Future;
use std::path::Path;

use bytes::Bytes;
use wasmtime::component::{Resource, ResourceTable};
use wasmtime_wasi_io::streams::{DynInputStream, DynOutputStream, StreamError};

use super::bindings::{blobstore, container, types};
use super::guest::Container;
use super::value::{IncomingValue, OutgoingValue};
use super::{BlobView, Outcome, Stores};
use crate::capability::testing::grant;

/// One instance, with the calls that a guest makes; a trap fails the test.
struct Instance<'a> {
    stores: &'a Stores,
    table: ResourceTable,
}

impl<'a> Instance<'a> {
    fn new(stores: &'a Stores) -> Self {
        Self { stores, table: ResourceTable::new() }
    }

    fn view(&mut self) -> BlobView<'_> {
        BlobView { stores: self.stores, table: &mut self.table }
    }

    async fn create(&mut self, name: &str) -> Outcome<Resource<Container>> {
        blobstore::Host::create_container(&mut self.view(), name.into()).await.expect("no trap")
    }

    async fn open(&mut self, name: &str) -> Outcome<Resource<Container>> {
        blobstore::Host::get_container(&mut self.view(), name.into()).await.expect("no trap")
    }

    async fn new_value(&mut self) -> Resource<OutgoingValue> {
        types::HostOutgoingValue::new_outgoing_value(&mut self.view()).await.expect("no trap")
    }

    async fn body(&mut self, value: &Resource<OutgoingValue>) -> Resource<DynOutputStream> {
        let body = types::HostOutgoingValue::outgoing_value_write_body(&mut self.view(), again(value)).await;
        body.expect("no trap").expect("the first call")
    }

    async fn write_data(
        &mut self,
        container: &Resource<Container>,
        name: &str,
        value: &Resource<OutgoingValue>,
    ) -> Outcome<()> {
        container::HostContainer::write_data(&mut self.view(), again(container), name.into(), again(value))
            .await
            .expect("no trap")
    }

    async fn finish(&mut self, value: Resource<OutgoingValue>) -> Outcome<()> {
        types::HostOutgoingValue::finish(&mut self.view(), value).await.expect("no trap")
    }

    /// Writes as a guest does: permit by permit.
    async fn write(&mut self, stream: &Resource<DynOutputStream>, bytes: &[u8]) -> Result<(), StreamError> {
        let stream = self.table.get_mut(stream).expect("the stream");
        let mut rest = Bytes::copy_from_slice(bytes);
        while !rest.is_empty() {
            let permit = stream.write_ready().await?;
            stream.write(rest.split_to(permit.min(rest.len())))?;
        }
        Ok(())
    }

    /// Makes an object, in the order that most guests use.
    async fn put(&mut self, container: &Resource<Container>, name: &str, bytes: &[u8]) -> Outcome<()> {
        let value = self.new_value().await;
        self.write_data(container, name, &value).await?;
        let body = self.body(&value).await;
        let written = self.write(&body, bytes).await;
        self.table.delete(body).expect("the stream");
        self.finish(value).await?;
        written.map_err(|error| error.to_string())
    }

    async fn get(
        &mut self,
        container: &Resource<Container>,
        name: &str,
        start: u64,
        end: u64,
    ) -> Outcome<Resource<IncomingValue>> {
        container::HostContainer::get_data(&mut self.view(), again(container), name.into(), start, end)
            .await
            .expect("no trap")
    }

    /// Reads a value as one list.
    async fn whole(&mut self, value: Resource<IncomingValue>) -> Outcome<Vec<u8>> {
        types::HostIncomingValue::incoming_value_consume_sync(&mut self.view(), value).await.expect("no trap")
    }

    /// Reads a value as a stream.
    async fn streamed(&mut self, value: Resource<IncomingValue>) -> Vec<u8> {
        let stream: Resource<DynInputStream> =
            types::HostIncomingValue::incoming_value_consume_async(&mut self.view(), value)
                .await
                .expect("no trap")
                .expect("a stream");
        let mut bytes = Vec::new();
        let mut stream = self.table.delete(stream).expect("the stream");
        loop {
            match stream.blocking_read(10_000).await {
                Ok(read) => bytes.extend_from_slice(&read),
                Err(StreamError::Closed) => return bytes,
                Err(error) => panic!("{error}"),
            }
        }
    }

    async fn read(&mut self, container: &Resource<Container>, name: &str) -> Outcome<Vec<u8>> {
        let value = self.get(container, name, 0, u64::MAX).await?;
        self.whole(value).await
    }

    /// All names, in pages of `page`, sorted.
    async fn list(&mut self, container: &Resource<Container>, page: u64) -> Outcome<Vec<String>> {
        use container::HostStreamObjectNames;
        let listed = container::HostContainer::list_objects(&mut self.view(), again(container)).await;
        let names = listed.expect("no trap")?;
        let mut all = Vec::new();
        loop {
            let read =
                HostStreamObjectNames::read_stream_object_names(&mut self.view(), again(&names), page).await;
            let (some, ended) = read.expect("no trap")?;
            all.extend(some);
            if ended {
                break;
            }
        }
        HostStreamObjectNames::drop(&mut self.view(), names).await.expect("no trap");
        all.sort();
        Ok(all)
    }
}

/// The same handle once more: bindings give a new one for every call.
fn again<T: 'static>(resource: &Resource<T>) -> Resource<T> {
    Resource::new_borrow(resource.rep())
}

/// An object's full name.
fn id(container: &str, object: &str) -> blobstore::ObjectId {
    blobstore::ObjectId { container: container.into(), object: object.into() }
}

/// Runs a future on a runtime of its own, as an edge core does.
fn run<F: Future>(future: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(future)
}

/// Stores with one grant for all containers, and one in memory for the container `aside`.
fn stores(path: Option<&Path>) -> Stores {
    Stores::open(&[grant("default", path), grant("aside", None)]).expect("the stores open")
}

/// Runs the test against a store in memory and one in a directory.
fn everywhere(test: &impl AsyncFn(&Stores)) {
    let directory = tempfile::tempdir().expect("a directory");
    for path in [None, Some(directory.path())] {
        run(test(&stores(path)));
    }
}
