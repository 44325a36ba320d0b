//! `wasi:keyvalue@0.2.0-draft2`: text cursors, signed counters, compare-and-swap.

use wasmtime::component::Resource;

use super::bindings::draft2::{atomics, batch, store};
use super::table::{StoreError, Swap};
use super::{Bucket, CallError, Cas, KeyValueView};

impl store::Host for KeyValueView<'_> {
    async fn open(&mut self, identifier: String) -> Result<Resource<Bucket>, CallError> {
        self.open_bucket(&identifier)
    }

    fn convert_error(&mut self, error: CallError) -> wasmtime::Result<store::Error> {
        match error {
            CallError::Store(error) => Ok(error.into()),
            CallError::Trap(error) => Err(error),
        }
    }
}

impl From<StoreError> for store::Error {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::NoSuchStore => Self::NoSuchStore,
            StoreError::AccessDenied => Self::AccessDenied,
            StoreError::Other(text) => Self::Other(text),
        }
    }
}

impl store::HostBucket for KeyValueView<'_> {
    async fn get(&mut self, bucket: Resource<Bucket>, key: String) -> Result<Option<Vec<u8>>, CallError> {
        Ok(self.store(&bucket)?.get(key).await?)
    }

    async fn set(&mut self, bucket: Resource<Bucket>, key: String, value: Vec<u8>) -> Result<(), CallError> {
        Ok(self.store(&bucket)?.set(key, value).await?)
    }

    async fn delete(&mut self, bucket: Resource<Bucket>, key: String) -> Result<(), CallError> {
        Ok(self.store(&bucket)?.delete(key).await?)
    }

    async fn exists(&mut self, bucket: Resource<Bucket>, key: String) -> Result<bool, CallError> {
        Ok(self.store(&bucket)?.exists(key).await?)
    }

    async fn list_keys(
        &mut self,
        bucket: Resource<Bucket>,
        cursor: Option<String>,
    ) -> Result<store::KeyResponse, CallError> {
        let page = self.store(&bucket)?.list(cursor.as_deref().map(parse_cursor).transpose()?).await?;
        Ok(store::KeyResponse { keys: page.keys, cursor: page.cursor.map(|cursor| cursor.to_string()) })
    }

    async fn drop(&mut self, bucket: Resource<Bucket>) -> wasmtime::Result<()> {
        self.table.delete(bucket)?;
        Ok(())
    }
}

impl atomics::Host for KeyValueView<'_> {
    async fn increment(
        &mut self,
        bucket: Resource<Bucket>,
        key: String,
        delta: i64,
    ) -> Result<i64, CallError> {
        let range = i64::MIN.into()..=i64::MAX.into();
        let sum = self.store(&bucket)?.increment(key, delta.into(), range).await?;
        i64::try_from(sum).map_err(|error| CallError::Trap(error.into()))
    }

    async fn swap(
        &mut self,
        cas: Resource<Cas>,
        value: Vec<u8>,
    ) -> wasmtime::Result<Result<(), atomics::CasError>> {
        // The handle is used up, however this ends.
        let Cas { store, key, seen } = self.table.delete(cas)?;
        match store.swap(key.clone(), seen, value).await {
            Ok(Swap::Done) => Ok(Ok(())),
            Ok(Swap::Stale { now }) => {
                let fresh = self.table.push(Cas { store, key, seen: now })?;
                Ok(Err(atomics::CasError::CasFailed(fresh)))
            }
            Err(error) => Ok(Err(atomics::CasError::StoreError(error.into()))),
        }
    }
}

impl atomics::HostCas for KeyValueView<'_> {
    async fn new(&mut self, bucket: Resource<Bucket>, key: String) -> Result<Resource<Cas>, CallError> {
        let store = self.store(&bucket)?;
        let seen = store.version(key.clone()).await?;
        Ok(self.table.push(Cas { store, key, seen })?)
    }

    /// The value that the key has now. The handle goes on standing for the moment when it was made: if the
    /// key was written since, `swap` fails, whatever this read.
    async fn current(&mut self, cas: Resource<Cas>) -> Result<Option<Vec<u8>>, CallError> {
        let Cas { store, key, .. } = self.table.get(&cas)?;
        let (store, key) = (store.clone(), key.clone());
        Ok(store.get(key).await?)
    }

    async fn drop(&mut self, cas: Resource<Cas>) -> wasmtime::Result<()> {
        self.table.delete(cas)?;
        Ok(())
    }
}

impl batch::Host for KeyValueView<'_> {
    async fn get_many(
        &mut self,
        bucket: Resource<Bucket>,
        keys: Vec<String>,
    ) -> Result<Vec<(String, Option<Vec<u8>>)>, CallError> {
        Ok(self.store(&bucket)?.get_many(keys).await?)
    }

    async fn set_many(
        &mut self,
        bucket: Resource<Bucket>,
        key_values: Vec<(String, Vec<u8>)>,
    ) -> Result<(), CallError> {
        Ok(self.store(&bucket)?.set_many(key_values).await?)
    }

    async fn delete_many(&mut self, bucket: Resource<Bucket>, keys: Vec<String>) -> Result<(), CallError> {
        Ok(self.store(&bucket)?.delete_many(keys).await?)
    }
}

/// A cursor is the identity of the last key of the page before; guests hand back what they were given.
fn parse_cursor(text: &str) -> Result<u64, StoreError> {
    text.parse().map_err(|_| StoreError::Other("the cursor is not one that list-keys gave".into()))
}
