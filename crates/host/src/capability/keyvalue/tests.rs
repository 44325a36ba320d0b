//! Tests: what guests see, the limits, the engines against a model, and files that survive or are refused.

mod component;
mod files;
mod guest;
mod limits;
mod model;

use std::future::Future;

use wasmtime::component::{Resource, ResourceTable};

use super::bindings::draft2::store;
use super::{Bucket, CallError, KeyValueView, Stores};
use crate::capability::keyvalue::table::StoreError;

/// The state of one instance.
struct Instance<'a> {
    stores: &'a Stores,
    table: ResourceTable,
}

impl<'a> Instance<'a> {
    fn new(stores: &'a Stores) -> Self {
        Self { stores, table: ResourceTable::new() }
    }

    fn view(&mut self) -> KeyValueView<'_> {
        KeyValueView { stores: self.stores, table: &mut self.table }
    }

    /// Opens a store that is granted.
    async fn open(&mut self, name: &str) -> Resource<Bucket> {
        let opened = store::Host::open(&mut self.view(), name.into()).await;
        answer(opened).expect("the store is granted")
    }
}

/// What the guest gets; a trap fails the test.
fn answer<T>(result: Result<T, CallError>) -> Result<T, StoreError> {
    result.map_err(|error| match error {
        CallError::Store(error) => error,
        CallError::Trap(error) => panic!("the guest was stopped: {error:?}"),
    })
}

/// The same handle once more: bindings give a new one for every call.
fn again<T: 'static>(resource: &Resource<T>) -> Resource<T> {
    Resource::new_borrow(resource.rep())
}

/// Runs a future on a runtime of its own, as an edge core does.
fn run<F: Future>(future: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(future)
}

/// The message of an error that is neither of the two named ones.
fn other<T: std::fmt::Debug>(result: Result<T, StoreError>) -> String {
    match result {
        Err(StoreError::Other(text)) => text,
        result => panic!("not a message: {result:?}"),
    }
}
