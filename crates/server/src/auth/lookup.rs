//! How authentication sees objects.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use serde_json::Value;
use shoal_api::Status;

/// A future that was put on the heap.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Finds the live objects that tokens name.
pub trait Lookup: Send + Sync {
    /// An object of the core group; none when there is none. `namespace` is empty for what has none.
    ///
    /// The answer must be no older than the token: an account that was deleted must not be found for long.
    fn get<'a>(
        &'a self,
        resource: &'a str,
        namespace: &'a str,
        name: &'a str,
    ) -> BoxFuture<'a, Result<Option<Arc<Value>>, Status>>;
}
