//! The artifacts of pods, out of the store of artifacts.

use std::time::{Duration, Instant, SystemTime};

use futures_util::future::BoxFuture;
use parking_lot::Mutex;

use crate::artifact::{Artifact, Collected, FetchError, Keyring, Policy, Problem, Reason, Reference, Store};
use crate::config::{Fetch, FetchFailure, Fetched, Image};

impl Fetch for Store {
    fn fetch(&self, image: Image) -> BoxFuture<'static, Result<Fetched, FetchFailure>> {
        let store = self.clone();
        Box::pin(async move {
            let reference: Reference =
                image.reference.parse().map_err(|error| failure(&FetchError::from(error)))?;
            let keyring = keyring(&image)?;
            let began = Instant::now();
            // Only what comes over the network says how far it is.
            let moved = Mutex::new(None);
            let tell = |_, _| *moved.lock() = Some(began);
            let fetched = store.fetch_with(&reference, image.policy, &keyring, &tell).await;
            let pulled: Option<Duration> = moved.into_inner().map(|began: Instant| began.elapsed());
            let (artifact, unasked) = match fetched {
                Ok(artifact) => (artifact, None),
                Err(error) => match before(&store, &reference, &image, &error).await {
                    Some(artifact) => (artifact, Some(error.to_string())),
                    None => return Err(failure(&error)),
                },
            };
            let Artifact { path, id, size_bytes, .. } = artifact;
            Ok(Fetched { path, id, size_bytes, pulled, unasked })
        })
    }

    fn tidy(&self, in_use: Vec<String>) -> BoxFuture<'static, ()> {
        let store = self.clone();
        Box::pin(async move {
            let collect = move || {
                let in_use = store.meant_by(in_use.iter().map(String::as_str));
                store.collect(&in_use, SystemTime::now())
            };
            // One that panics has said so, and is tried again.
            let Ok(collected) = tokio::task::spawn_blocking(collect).await else { return };
            if collected.removed > 0 {
                let Collected { removed, removed_bytes, kept_bytes } = collected;
                tracing::info!(
                    removed,
                    removed_bytes,
                    kept_bytes,
                    "artifacts that no pod here uses are removed"
                );
            }
        })
    }
}

/// What a container was before, when its registry cannot be asked: a node that is cut off starts again what it ran. Who
/// shows no credentials gets nothing by this that they did not have.
async fn before(store: &Store, reference: &Reference, image: &Image, error: &FetchError) -> Option<Artifact> {
    let before = image.before.as_ref()?;
    if !matches!(error.problem, Problem::Unreachable | Problem::Registry) {
        return None;
    }
    let known = store.fetch(reference, Policy::Never, &Keyring::default()).await.ok()?;
    (known.id == *before).then_some(known)
}

/// The credentials of a pod, those that it names first before others.
fn keyring(image: &Image) -> Result<Keyring, FetchFailure> {
    let mut keyring = Keyring::default();
    for document in &image.credentials {
        let next = Keyring::parse(document).map_err(|error| FetchFailure {
            reason: Reason::ErrImagePull.name(),
            message: format!("an image pull secret for {:?} cannot be read: {error}", image.reference),
        })?;
        keyring.extend(next);
    }
    Ok(keyring)
}

fn failure(error: &FetchError) -> FetchFailure {
    FetchFailure { reason: error.reason.name(), message: error.to_string() }
}
