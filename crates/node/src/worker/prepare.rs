//! What a pod needs before its containers start, and while they run: objects, tokens, volumes.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};
use shoal_api::object;
use shoal_api::time::Moment;
use shoal_client::{Client, kinds};

use super::Worker;
use crate::node::now;
use crate::pod::fields::Facts;
use crate::read::{items, text};
use crate::volume::content::wanted_tokens;
use crate::volume::{Content, Tokens, content, tree};

/// The volumes of a pod as they are on the disk.
#[derive(Default)]
pub(super) struct Volumes {
    shown: BTreeMap<String, Content>,
    tokens: Tokens,
    /// When tokens are to be renewed.
    renew: Option<Moment>,
    /// What was said last, so that it is not said again.
    complaint: String,
}

impl Worker {
    /// Sees to it that everything is there; whether it is.
    pub(super) async fn prepare(&mut self) -> bool {
        if self.is_prepared && self.volumes.renew.is_none_or(|renew| now() < renew) {
            return true;
        }
        match self.prepared().await {
            Ok(()) => {
                self.volumes.complaint.clear();
                self.is_prepared = true;
                self.patience.reset();
            }
            Err(complaint) => {
                self.patience.wait();
                let complaint = complaint.unwrap_or_default();
                if !complaint.is_empty() && self.volumes.complaint != complaint {
                    self.shared.events.warning(&self.pod, "", "FailedMount", complaint.clone());
                    self.volumes.complaint = complaint;
                }
            }
        }
        // What has been prepared once goes on with what it has.
        self.is_prepared || !self.volumes.shown.is_empty() && self.has_all_volumes()
    }

    fn has_all_volumes(&self) -> bool {
        items(&self.pod["spec"]["volumes"])
            .all(|volume| self.volumes.shown.contains_key(text(&volume["name"])))
    }

    /// None without a reason: something has not been read yet.
    async fn prepared(&mut self) -> Result<(), Option<String>> {
        let sources = self.held.now(&self.saved)?;
        if **self.sources.borrow() != sources {
            self.sources.send_replace(Arc::new(sources));
        }
        let is_kept = self.tokens().await?;
        let facts = Facts { address: self.state.address.clone(), ..self.shared.facts.clone() };
        let dir = self.shared.pod_dir(object::uid(&self.pod)).join("volumes");
        let sources = self.sources.borrow().clone();
        for volume in items(&self.pod["spec"]["volumes"]) {
            let name = text(&volume["name"]);
            let dir = dir.join(name);
            let has_token =
                items(&volume["projected"]["sources"]).any(|one| !one["serviceAccountToken"].is_null());
            if is_kept && has_token {
                // Without the API there is no new token: what is on the disk stays.
                self.volumes.shown.entry(name.into()).or_insert(Content::Empty);
                continue;
            }
            let failed = |why: String| Some(format!("MountVolume.SetUp failed for volume {name:?} : {why}"));
            let next = content(&self.pod, volume, &sources, &facts, &self.volumes.tokens).map_err(failed)?;
            if self.volumes.shown.get(name) == Some(&next) {
                continue;
            }
            let files = next.clone();
            let written = tokio::task::spawn_blocking(move || match &files {
                Content::Empty => tree::private(&dir),
                Content::Files(files) => tree::show(&dir, files),
            });
            let written = written.await.map_err(std::io::Error::other).and_then(|done| done);
            written.map_err(|error| failed(error.to_string()))?;
            self.volumes.shown.insert(name.into(), next);
        }
        Ok(())
    }

    /// Gets the tokens that volumes want, or renews them. Whether those on the disk have to do.
    async fn tokens(&mut self) -> Result<bool, Option<String>> {
        if self.volumes.renew.is_some_and(|renew| now() < renew) {
            return Ok(false);
        }
        let wanted = wanted_tokens(&self.pod);
        let mut shortest = None::<u64>;
        for (volume, path, audience, seconds) in wanted {
            let (client, pod) = (self.shared.config.client.clone(), self.pod.clone());
            match token(&client, &pod, &audience, seconds).await {
                Ok(token) => drop(self.volumes.tokens.insert((volume, path), token)),
                Err(error) if self.is_old || !self.volumes.shown.is_empty() => {
                    tracing::debug!(error, "a token is not renewed");
                    return Ok(true);
                }
                Err(error) => return Err(Some(error)),
            }
            shortest = Some(shortest.map_or(seconds, |other| other.min(seconds)));
        }
        // After four fifths of its life, as the kubelet does it.
        self.volumes.renew = shortest.map(|seconds| {
            let micros = i64::try_from(seconds.saturating_mul(800_000)).unwrap_or(i64::MAX);
            Moment::from_micros(now().micros().saturating_add(micros))
        });
        Ok(false)
    }
}

/// A token of the pod's account, which ends with the pod.
async fn token(client: &Client, pod: &Value, audience: &str, seconds: u64) -> Result<String, String> {
    let account = text(&pod["spec"]["serviceAccountName"]);
    let audiences: Vec<&str> = Some(audience).filter(|audience| !audience.is_empty()).into_iter().collect();
    let request = json!({
        "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest",
        "spec": {
            "audiences": audiences, "expirationSeconds": seconds,
            "boundObjectRef": {"kind": "Pod", "apiVersion": "v1", "name": object::name(pod), "uid": object::uid(pod)},
        },
    });
    let made = client
        .create_in(&kinds::SERVICE_ACCOUNTS, object::namespace(pod), account, "token", &request)
        .await
        .map_err(|error| format!("failed to fetch token: {error}"))?;
    match &made["status"]["token"] {
        Value::String(token) => Ok(token.clone()),
        _ => Err("failed to fetch token: the answer has none".into()),
    }
}
