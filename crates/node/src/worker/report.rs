//! Telling the API how a pod is, as long as it takes.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use serde_json::{Value, json};
use shoal_api::object;
use shoal_base::backoff::Backoff;
use shoal_client::{Error, Patch, kinds};

use crate::shared::Shared;

/// Before a status is written again that could not be written.
const RETRY_FIRST: Duration = Duration::from_millis(200);
/// The longest wait before that.
const RETRY_LONGEST: Duration = Duration::from_secs(30);
/// So often in a row the API refuses a status before the pod ends without it having been told.
const REFUSALS_MAX: u32 = 8;

/// What has been told of a pod, and what is being told.
pub(super) struct Report {
    /// The status that the API has.
    known: Value,
    /// The version of the pod that was written last; empty: none.
    version: String,
    writing: Option<BoxFuture<'static, Result<Value, Error>>>,
    backoff: Backoff,
    is_told: bool,
    refusals: u32,
}

impl Report {
    pub(super) fn new(pod: &Value) -> Self {
        Self {
            known: pod["status"].clone(),
            version: String::new(),
            writing: None,
            backoff: Backoff::new(RETRY_FIRST, RETRY_LONGEST),
            is_told: true,
            refusals: 0,
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

    /// Whether the API knows all that there is to tell, or will not hear of it.
    pub(super) fn is_told(&self) -> bool {
        self.is_told || self.refusals >= REFUSALS_MAX
    }

    /// How the pod is now.
    pub(super) fn is(&mut self, shared: &Arc<Shared>, pod: &Arc<Value>, status: &Value) {
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

    /// Resolves when something has been written, or could not be.
    pub(super) async fn written(&mut self) {
        let written = match &mut self.writing {
            Some(writing) => writing.await,
            None => std::future::pending().await,
        };
        self.writing = None;
        match written {
            Ok(mut pod) => {
                object::resource_version(&pod).clone_into(&mut self.version);
                self.known = pod["status"].take();
                self.backoff.reset();
                self.refusals = 0;
            }
            // It is gone, or another has its name: the watch will say so.
            Err(error) if error.is_not_found() || error.is_conflict() => {
                self.is_told = true;
                self.backoff.wait();
            }
            Err(error) => {
                tracing::debug!(%error, "the status of a pod is not written yet");
                self.refusals = if error.may_pass() { 0 } else { self.refusals.saturating_add(1) };
                self.backoff.wait();
            }
        }
    }
}
