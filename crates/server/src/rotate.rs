//! `POST /rotate-keys`: a new key seals Secrets from now on, all that are stored are sealed with it, the old keys go.
//!
//! The server goes on meanwhile. What was stored before is forgotten too, as far as the store can: its history is compacted.

use std::sync::Arc;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use http::StatusCode;
use serde_json::json;
use shoal_api::Status;
use shoal_store::{Expect, ListOptions, Object, Transaction, Write};

use crate::answer::{self, Answer};
use crate::api::Api;
use crate::objects::SEALED;

/// Objects that are read at once.
const OBJECTS_AT_ONCE: usize = 100;
/// Objects that are sealed anew at once: the store puts what waits into one commit, and others write meanwhile.
const SEALED_AT_ONCE: usize = 16;
/// How often all are looked at: others may change what is sealed anew just then.
const ROUNDS_MAX: usize = 16;

/// Rotates the key that seals Secrets.
///
/// # Errors
/// 409: other servers, which do not know the new key, share the store; 500: the key file cannot be written; those of the
/// store. The old keys then stay, and asking again goes on with the same new key.
pub(crate) async fn answer(api: &Arc<Api>) -> Result<Answer, Status> {
    if api.objects.store().is_shared() {
        return Err(Status::new(
            409,
            "Conflict",
            "other servers may share this store, and would not know the new key: move to a store of one machine, or put a new \
             first line into the secrets.keys of all of them while none runs",
        ));
    }
    let _one = api.rotating.lock().await;
    api.objects.rotate().await?;
    let mut sealed = 0;
    for _ in 0..ROUNDS_MAX {
        let (done, left) = round(api).await?;
        sealed += done;
        if left == 0 {
            let store = api.objects.store();
            let now = store.progress().await.map_err(crate::objects::status)?;
            // Nobody may want what was sealed with a key that is gone.
            store.compact(now).await.map_err(crate::objects::status)?;
            api.objects.forget_old_keys()?;
            tracing::info!(sealed, "secrets are sealed with a new key");
            return Ok(answer::json(StatusCode::OK, &json!({"sealed": sealed})));
        }
    }
    Err(Status::unavailable(
        "secrets keep changing: ask again; the old keys stay until all are sealed with the new one",
    ))
}

/// Seals anew what is not sealed with the newest key. Returns how many were, and how many changed meanwhile.
async fn round(api: &Api) -> Result<(usize, usize), Status> {
    let (mut done, mut left, mut after) = (0, 0, None);
    loop {
        let options = ListOptions { limit: OBJECTS_AT_ONCE, after: after.take(), ..ListOptions::default() };
        let page = api.objects.store().list(SEALED, options).await.map_err(crate::objects::status)?;
        let old = page.objects.iter().filter(|object| !api.objects.is_current(object));
        let old: Vec<_> = old.map(|object| seal(api, object)).collect();
        let mut sealing = stream::iter(old).buffer_unordered(SEALED_AT_ONCE);
        while let Some(is_sealed) = sealing.try_next().await? {
            if is_sealed {
                done += 1;
            } else {
                left += 1;
            }
        }
        after = page.objects.last().map(|object| object.key.clone());
        if !page.more {
            return Ok((done, left));
        }
    }
}

/// Seals one object anew; false: it changed meanwhile.
async fn seal(api: &Api, object: &Object) -> Result<bool, Status> {
    let opened = api.objects.open(object)?;
    let value = api.objects.close(&object.key, &opened.bytes);
    let write = Write::put(object.key.clone(), value, Expect::At(object.mod_revision));
    Ok(api.objects.transact(Transaction { writes: vec![write] }).await?.is_some())
}
