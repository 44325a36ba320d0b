//! `wasi:keyvalue@0.2.0-draft`: number cursors, unsigned counters.

use wasmtime::component::Resource;

use super::bindings::draft::{atomics, batch, store};
use super::table::StoreError;
use super::{Bucket, CallError, KeyValueView};

impl store::Host for KeyValueView<'_> {
    async fn open(&mut self, identifier: String) -> Result<Resource<Bucket>, CallError> {
        self.open_bucket(&identifier)
    }

    fn convert_error(&mut self, error: CallError) -> wasmtime::Result<store::Error> {
        match error {
            CallError::Store(StoreError::NoSuchStore) => Ok(store::Error::NoSuchStore),
            CallError::Store(StoreError::AccessDenied) => Ok(store::Error::AccessDenied),
            CallError::Store(StoreError::Other(text)) => Ok(store::Error::Other(text)),
            CallError::Trap(error) => Err(error),
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
        cursor: Option<u64>,
    ) -> Result<store::KeyResponse, CallError> {
        let page = self.store(&bucket)?.list(cursor).await?;
        Ok(store::KeyResponse { keys: page.keys, cursor: page.cursor })
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
        delta: u64,
    ) -> Result<u64, CallError> {
        let sum = self.store(&bucket)?.increment(key, delta.into(), 0..=u64::MAX.into()).await?;
        u64::try_from(sum).map_err(|error| CallError::Trap(error.into()))
    }
}

impl batch::Host for KeyValueView<'_> {
    async fn get_many(
        &mut self,
        bucket: Resource<Bucket>,
        keys: Vec<String>,
    ) -> Result<Vec<Option<(String, Vec<u8>)>>, CallError> {
        let pairs = self.store(&bucket)?.get_many(keys).await?;
        Ok(pairs.into_iter().map(|(key, value)| value.map(|value| (key, value))).collect())
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
