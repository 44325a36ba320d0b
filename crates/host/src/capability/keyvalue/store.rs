//! A granted store: where its data lives, and how its operations get there.

use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use shoal_runtime::Refusal;

use super::memory::MemoryTable;
use super::table::{self, Page, StoreError, Swap, Table};
use super::worker::FileStore;

/// A granted store.
pub(super) enum Store {
    /// Answers at once.
    Memory(Mutex<MemoryTable>),
    /// Answers from its own thread.
    File(Arc<FileStore>),
}

impl Store {
    /// An empty store in memory.
    pub(super) fn memory() -> Self {
        Self::Memory(Mutex::default())
    }

    /// The store in this file.
    ///
    /// # Errors
    /// A [`Refusal`] naming the store, the file, the reason and the way out.
    pub(super) fn file(name: &str, path: &Path) -> Result<Self, Refusal> {
        FileStore::open(name, path).map(Self::File)
    }

    /// See [`table::get`].
    pub(super) async fn get(&self, key: String) -> Result<Option<Vec<u8>>, StoreError> {
        self.read(move |table| table::get(table, &key)).await
    }

    /// See [`table::exists`].
    pub(super) async fn exists(&self, key: String) -> Result<bool, StoreError> {
        self.read(move |table| table::exists(table, &key)).await
    }

    /// See [`table::set`].
    pub(super) async fn set(&self, key: String, value: Vec<u8>) -> Result<(), StoreError> {
        self.write(key.len() + value.len(), move |table| table::set(table, &key, &value)).await
    }

    /// See [`table::delete`].
    pub(super) async fn delete(&self, key: String) -> Result<(), StoreError> {
        self.write(key.len(), move |table| table::delete(table, &key)).await
    }

    /// See [`table::list`].
    pub(super) async fn list(&self, cursor: Option<u64>) -> Result<Page, StoreError> {
        self.read(move |table| table::list(table, cursor)).await
    }

    /// See [`table::increment`].
    pub(super) async fn increment(
        &self,
        key: String,
        delta: i128,
        range: RangeInclusive<i128>,
    ) -> Result<i128, StoreError> {
        self.write(key.len(), move |table| table::increment(table, &key, delta, &range)).await
    }

    /// See [`table::version`].
    pub(super) async fn version(&self, key: String) -> Result<Option<u64>, StoreError> {
        self.read(move |table| table::version(table, &key)).await
    }

    /// See [`table::swap`].
    pub(super) async fn swap(
        &self,
        key: String,
        seen: Option<u64>,
        value: Vec<u8>,
    ) -> Result<Swap, StoreError> {
        self.write(key.len() + value.len(), move |table| table::swap(table, &key, seen, &value)).await
    }

    /// See [`table::get_many`]; each key comes back with its value.
    pub(super) async fn get_many(
        &self,
        keys: Vec<String>,
    ) -> Result<Vec<(String, Option<Vec<u8>>)>, StoreError> {
        self.read(move |table| {
            let values = table::get_many(table, &keys)?;
            Ok(keys.into_iter().zip(values).collect())
        })
        .await
    }

    /// See [`table::set_many`].
    pub(super) async fn set_many(&self, pairs: Vec<(String, Vec<u8>)>) -> Result<(), StoreError> {
        let carries = pairs.iter().map(|(key, value)| key.len() + value.len()).sum();
        self.write(carries, move |table| table::set_many(table, &pairs)).await
    }

    /// See [`table::delete_many`].
    pub(super) async fn delete_many(&self, keys: Vec<String>) -> Result<(), StoreError> {
        let carries = keys.iter().map(String::len).sum();
        self.write(carries, move |table| table::delete_many(table, &keys)).await
    }

    /// Runs an operation that only reads.
    async fn read<R: Send + 'static>(
        &self,
        operation: impl FnOnce(&mut dyn Table) -> Result<R, StoreError> + Send + 'static,
    ) -> Result<R, StoreError> {
        self.run(false, 0, operation).await
    }

    /// Runs an operation that writes. `carries` is the size of what it writes, in bytes.
    async fn write<R: Send + 'static>(
        &self,
        carries: usize,
        operation: impl FnOnce(&mut dyn Table) -> Result<R, StoreError> + Send + 'static,
    ) -> Result<R, StoreError> {
        self.run(true, carries, operation).await
    }

    async fn run<R: Send + 'static>(
        &self,
        writes: bool,
        carries: usize,
        operation: impl FnOnce(&mut dyn Table) -> Result<R, StoreError> + Send + 'static,
    ) -> Result<R, StoreError> {
        match self {
            Self::Memory(table) => operation(&mut *table.lock().unwrap_or_else(PoisonError::into_inner)),
            Self::File(file) => file.run(writes, carries, operation).await,
        }
    }
}
