//! Telling how a pod is: to the API, as long as it takes; to the disk, at once.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use serde_json::{Value, json};
use shoal_api::object;
use shoal_base::backoff::Backoff;
use shoal_client::{Error, Patch, kinds};
use tokio::task::JoinHandle;

use crate::saved::{self, Saved};
use crate::shared::{Shared, plain};

/// Before a status is written again that could not be written.
const RETRY_FIRST: Duration = Duration::from_millis(200);
/// The longest wait before that.
const RETRY_LONGEST: Duration = Duration::from_secs(30);

/// What has been told of a pod, and what is being told.
pub(super) struct Report {
    /// The status that the API has.
    known: Value,
    /// The version of the pod that was written last; empty: none.
    version: String,
    writing: Option<BoxFuture<'static, Result<Value, Error>>>,
    backoff: Backoff,
    is_told: bool,
    saved: String,
    saving: Option<JoinHandle<()>>,
}

impl Report {
    pub(super) fn new(pod: &Value) -> Self {
        Self {
            known: pod["status"].clone(),
            version: String::new(),
            writing: None,
            backoff: Backoff::new(RETRY_FIRST, RETRY_LONGEST),
            is_told: true,
            saved: String::new(),
            saving: None,
        }
    }

    /// Takes the pod as the API tells of it, unless what was written last is newer.
    pub(super) fn seen(&mut self, pod: &Value) {
        let newer = |version: &str| version.parse::<u64>().ok();
        let is_old = match (newer(object::resource_version(pod)), newer(&self.version)) {
            (Some(seen), Some(written)) => seen < written,
            // Versions are numbers everywhere; where they are not, the watch is right in the end.
            _ => false,
        };
        if self.writing.is_none() && !is_old {
            self.known = pod["status"].clone();
        }
    }

    /// The status that the API has.
    pub(super) fn known(&self) -> &Value {
        &self.known
    }

    /// Whether the API has been told that the pod is over: then nothing of it runs ever again.
    pub(super) fn is_over(&self) -> bool {
        matches!(self.known["phase"].as_str(), Some("Succeeded" | "Failed"))
    }

    /// Whether the API knows all that there is to tell.
    pub(super) fn is_told(&self) -> bool {
        self.is_told
    }

    /// How the pod is now.
    pub(super) fn is(&mut self, shared: &Arc<Shared>, pod: &Arc<Value>, status: &Value, saved: &Saved) {
        self.save(shared, object::uid(pod), saved);
        let Some(change) = crate::pod::status::change(&self.known, status) else {
            self.is_told = self.writing.is_none();
            return;
        };
        self.is_told = false;
        if self.writing.is_some() {
            return;
        }
        let client = shared.config.client.clone();
        let (namespace, name) = (object::namespace(pod).to_owned(), object::name(pod).to_owned());
        // The uid: never write on another pod of the same name.
        let patch = Patch::Merge(json!({"metadata": {"uid": object::uid(pod)}, "status": change}));
        let wait = if self.backoff.peek() == RETRY_FIRST { Duration::ZERO } else { self.backoff.peek() };
        self.writing = Some(
            async move {
                tokio::time::sleep(wait).await;
                client.patch(&kinds::PODS, &namespace, &name, "status", &patch).await
            }
            .boxed(),
        );
    }

    /// Resolves when something has been written, to the API or to the disk, or could not be.
    pub(super) async fn written(&mut self) {
        let to_api = async {
            match &mut self.writing {
                Some(writing) => writing.await,
                None => std::future::pending().await,
            }
        };
        let to_disk = async {
            match &mut self.saving {
                Some(saving) => saving.await,
                None => std::future::pending().await,
            }
        };
        let written = tokio::select! {
            written = to_api => written,
            _ = to_disk => {
                self.saving = None;
                return;
            }
        };
        self.writing = None;
        match written {
            Ok(mut pod) => {
                object::resource_version(&pod).clone_into(&mut self.version);
                self.known = pod["status"].take();
                self.backoff.reset();
            }
            // It is gone, or another has its name: the watch will say so.
            Err(error) if error.is_not_found() || error.is_conflict() => {
                self.is_told = true;
                self.backoff.wait();
            }
            Err(error) => {
                tracing::debug!(%error, "the status of a pod is not written yet");
                self.backoff.wait();
            }
        }
    }

    /// Waits until nothing is being written to the disk.
    pub(super) async fn finish(&mut self) {
        if let Some(saving) = self.saving.take() {
            drop(saving.await);
        }
    }

    fn save(&mut self, shared: &Shared, uid: &str, saved: &Saved) {
        if self.saving.is_some() {
            return;
        }
        let text = saved.to_text();
        if text == self.saved {
            return;
        }
        self.saved.clone_from(&text);
        let path = saved::path(&shared.saved_dir(), &plain(uid));
        self.saving = Some(tokio::task::spawn_blocking(move || {
            if let Err(error) = saved::write(&path, &text) {
                tracing::warn!(%error, path = %path.display(), "a pod is not saved");
            }
        }));
    }
}
