//! Custom resources in the version that is asked for, and in the one that is stored.
//!
//! An object lies in the store in the version that was stored when it was written. With the strategy `None` versions differ
//! in their name only; with `Webhook` somebody else converts, and what came of a stored object is remembered.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use parking_lot::Mutex;
use serde_json::Value;
use shoal_api::{GroupVersion, Status};
use shoal_control::custom::conversion;
use shoal_control::kinds;
use shoal_control::policy::webhook::{self, Address};
use shoal_store::Revision;

use crate::api::Api;
use crate::custom::Custom;
use crate::objects::Stored;
use crate::registry::Served;
use crate::{hooks, render, stored};

/// For one call of a webhook, as in Kubernetes: definitions cannot say.
const CALL_TIME: Duration = Duration::from_secs(30);
/// Objects that are sent in one review: some megabytes of ordinary ones.
const OBJECTS_MAX: usize = 500;
/// Bytes of converted objects that one version remembers; past it, all are forgotten.
const REMEMBERED_BYTES_MAX: usize = 16 << 20;

/// How the objects of a definition are converted.
pub(crate) struct Conversion {
    webhook: Option<Webhook>,
    /// What the stored objects of one version came to, by key and revision.
    remembered: Mutex<Remembered>,
}

#[derive(Default)]
struct Remembered {
    objects: HashMap<(Bytes, Revision), Bytes>,
    bytes: usize,
}

struct Webhook {
    definition: String,
    address: Option<Address>,
    authority: Option<Vec<u8>>,
    speaks: bool,
}

impl Conversion {
    /// As a definition says it.
    pub(crate) fn of(crd: &Value) -> Self {
        let said = &crd["spec"]["conversion"];
        let config = &said["webhook"]["clientConfig"];
        let webhook = (said["strategy"] == "Webhook").then(|| Webhook {
            definition: shoal_api::object::name(crd).into(),
            address: webhook::address(config),
            authority: config["caBundle"].as_str().and_then(|text| BASE64_STANDARD.decode(text).ok()),
            speaks: said["webhook"]["conversionReviewVersions"]
                .as_array()
                .into_iter()
                .flatten()
                .any(|version| conversion::REVIEW_VERSIONS.iter().any(|ours| version == ours)),
        });
        Self { webhook, remembered: Mutex::default() }
    }

    fn recall(&self, object: &Stored) -> Option<Bytes> {
        self.remembered.lock().objects.get(&(object.key.clone(), object.revision)).cloned()
    }

    fn remember(&self, object: &Stored) {
        let mut remembered = self.remembered.lock();
        if remembered.bytes + object.bytes.len() > REMEMBERED_BYTES_MAX {
            *remembered = Remembered::default();
        }
        remembered.bytes += object.bytes.len();
        remembered.objects.insert((object.key.clone(), object.revision), object.bytes.clone());
    }
}

/// An object of the store in the version that is asked for.
///
/// # Errors
/// 500: it cannot be read or converted.
pub(crate) async fn shown(api: &Api, served: &Served, object: Stored) -> Result<Stored, Status> {
    if served.custom.is_none() {
        return Ok(object);
    }
    let mut objects = all_shown(api, served, vec![object]).await?;
    Ok(objects.pop().expect("one became one"))
}

/// The same, as a value.
///
/// # Errors
/// As [`shown`].
pub(crate) async fn value(api: &Api, served: &Served, object: &Stored) -> Result<Value, Status> {
    if served.custom.is_none() {
        return render::in_version(served, object);
    }
    render::in_version(served, &shown(api, served, object.clone()).await?)
}

/// The same, as somebody has read it already where somebody has. Custom resources may be stored in another version.
///
/// # Errors
/// As [`shown`].
pub(crate) async fn known(api: &Api, served: &Served, object: &Stored) -> Result<Arc<Value>, Status> {
    if served.custom.is_none()
        && !served.is_converted()
        && let Some(read) = api.world.view().read_before(object)
    {
        return Ok(read);
    }
    value(api, served, object).await.map(Arc::new)
}

/// Objects of the store in the version that is asked for, in their order.
///
/// # Errors
/// As [`shown`].
pub(crate) async fn all_shown(
    api: &Api,
    served: &Served,
    mut objects: Vec<Stored>,
) -> Result<Vec<Stored>, Status> {
    let Some(custom) = &served.custom else { return Ok(objects) };
    let is_foreign = |object: &Stored| !stored::is_of_version(&object.bytes, &custom.head);
    let mut foreign = Vec::new();
    for (at, object) in objects.iter_mut().enumerate().filter(|(_, object)| is_foreign(object)) {
        match custom.conversion.recall(object) {
            Some(bytes) => object.bytes = bytes,
            None => foreign.push(at),
        }
    }
    for some in foreign.chunks(OBJECTS_MAX) {
        let values = some.iter().map(|at| objects[*at].value()).collect::<Result<Vec<_>, _>>()?;
        let converted = converted(api, custom, &values, &served.resource.group_version).await?;
        for (at, mut value) in some.iter().zip(converted) {
            custom.settle(&mut value);
            objects[*at].bytes = stored::encode(&value).into();
            if custom.conversion.webhook.is_some() {
                custom.conversion.remember(&objects[*at]);
            }
        }
    }
    Ok(objects)
}

/// An object as it was asked for, in the version that is stored.
///
/// # Errors
/// 500: it cannot be converted.
pub(crate) async fn to_storage(api: &Api, served: &Served, object: &Value) -> Result<Value, Status> {
    match &served.custom {
        Some(custom) => {
            let version = served.resource.storage.group_version();
            let mut all = converted(api, custom, std::slice::from_ref(object), &version).await?;
            let mut object = all.pop().expect("one became one");
            let registry = api.registry.load();
            let stored = registry.of_kind(&served.resource.storage).and_then(|stored| stored.custom.as_ref());
            if let Some(stored) = stored {
                stored.settle(&mut object);
            }
            Ok(object)
        }
        None => Ok(served.to_storage(object)),
    }
}

/// An object of a request in another version of the same resource.
///
/// # Errors
/// 500: it cannot be converted.
pub(crate) async fn to(
    api: &Api,
    served: &Served,
    object: &Value,
    version: &GroupVersion,
) -> Result<Value, Status> {
    if object.is_null() || object["apiVersion"] == version.to_string() {
        return Ok(object.clone());
    }
    let Some(custom) = &served.custom else { return Ok(kinds::convert(object, version)) };
    let mut all = converted(api, custom, std::slice::from_ref(object), version).await?;
    Ok(all.pop().expect("one became one"))
}

async fn converted(
    api: &Api,
    custom: &Custom,
    objects: &[Value],
    version: &GroupVersion,
) -> Result<Vec<Value>, Status> {
    let Some(webhook) = &custom.conversion.webhook else {
        return Ok(objects.iter().map(|object| custom.converted(object, version)).collect());
    };
    let (uid, version) = (uuid::Uuid::new_v4().to_string(), version.to_string());
    let Some(review) = conversion::review(&uid, &version, objects) else { return Ok(objects.to_vec()) };
    let answer = webhook.ask(api, &review).await.map_err(|why| {
        let kind = objects.first().and_then(|object| object["kind"].as_str()).unwrap_or_default();
        Status::internal(format!("conversion webhook for {version}, Kind={kind} failed: {why}"))
    })?;
    conversion::accept(&webhook.definition, &uid, &version, objects, &answer)
}

impl Webhook {
    async fn ask(&self, api: &Api, review: &Value) -> Result<Value, String> {
        if !self.speaks {
            return Err("it does not accept supported ConversionReview versions (v1)".into());
        }
        let address = self.address.as_ref().ok_or("its definition does not say where it is")?;
        hooks::send(api, address, self.authority.as_deref(), CALL_TIME, review).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(revision: u64, bytes: usize) -> Stored {
        Stored { key: Bytes::from_static(b"/a"), bytes: vec![0; bytes].into(), revision: Revision(revision) }
    }

    #[test]
    fn so_many_bytes_are_remembered() {
        let conversion = Conversion::of(&Value::Null);
        let (first, second) = (object(1, REMEMBERED_BYTES_MAX - 1), object(2, 1));
        conversion.remember(&first);
        conversion.remember(&second);
        assert_eq!(conversion.recall(&first), Some(first.bytes.clone()));
        assert_eq!(conversion.recall(&second), Some(second.bytes.clone()));
        let third = object(3, 1);
        conversion.remember(&third);
        assert_eq!((conversion.recall(&first), conversion.recall(&second)), (None, None));
        assert!(conversion.recall(&third).is_some());
    }
}
