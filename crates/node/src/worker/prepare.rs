//! What a pod needs before its containers start, and while they run: objects, tokens, volumes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use shoal_api::object;
use shoal_api::time::Moment;
use shoal_client::{Client, kinds};

use super::Worker;
use crate::node::now;
use crate::pod::fields::Facts;
use crate::read::{items, text};
use crate::volume::content::{POD_BYTES_MAX, wanted_tokens};
use crate::volume::{Content, Tokens, content, tree};

/// Before a token is asked for again that could not be renewed: a fifth of its life is left for such tries.
const RENEW_AGAIN: Duration = Duration::from_secs(30);
/// Tokens that live longer are renewed so often, as kubelets do it.
const RENEW_LONGEST: Duration = Duration::from_secs(24 * 3600);
/// No token is renewed sooner, however short it lives.
const RENEW_SHORTEST: Duration = Duration::from_secs(1);

/// The volumes of a pod as they are on the disk.
#[derive(Default)]
pub(super) struct Volumes {
    shown: BTreeMap<String, Content>,
    tokens: Tokens,
    /// When tokens are to be renewed.
    pub(super) renew: Option<Moment>,
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
        let sources = self.held.now(&self.saved, self.is_read)?;
        self.is_read = true;
        if **self.sources.borrow() != sources {
            self.sources.send_replace(Arc::new(sources));
        }
        self.tokens().await?;
        let facts = Facts { address: self.state.address.clone(), ..self.shared.facts.clone() };
        let dir = self.shared.pod_dir(object::uid(&self.pod)).join("volumes");
        let sources = self.sources.borrow().clone();
        for volume in items(&self.pod["spec"]["volumes"]) {
            let name = text(&volume["name"]);
            let dir = dir.join(name);
            if self.lacks_token(volume) {
                // There was one before this process began, and without the API there is no new one: what is on the disk
                // stays.
                self.volumes.shown.entry(name.into()).or_insert(Content::Empty);
                continue;
            }
            let failed = |why: String| Some(format!("MountVolume.SetUp failed for volume {name:?} : {why}"));
            let next = content(&self.pod, volume, &sources, &facts, &self.volumes.tokens).map_err(failed)?;
            if self.volumes.shown.get(name) == Some(&next) {
                continue;
            }
            let others =
                self.volumes.shown.iter().filter(|(other, _)| *other != name).map(|(_, other)| other.bytes());
            if others.sum::<usize>().saturating_add(next.bytes()) > POD_BYTES_MAX {
                return Err(failed(format!(
                    "the volumes of the pod would hold more than {POD_BYTES_MAX} bytes"
                )));
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

    /// Whether a volume wants a token that this process never had.
    fn lacks_token(&self, volume: &Value) -> bool {
        let name = text(&volume["name"]);
        let mut wanted = items(&volume["projected"]["sources"]).map(|source| &source["serviceAccountToken"]);
        wanted.any(|token| {
            let key = (name.to_owned(), text(&token["path"]).to_owned());
            token.is_object() && !self.volumes.tokens.contains_key(&key)
        })
    }

    /// Gets the tokens that volumes want, or renews them. Where they cannot be renewed those on the disk have to do.
    async fn tokens(&mut self) -> Result<(), Option<String>> {
        if self.volumes.renew.is_some_and(|renew| now() < renew) {
            return Ok(());
        }
        let mut shortest = None::<Duration>;
        for (volume, path, audience, seconds) in wanted_tokens(&self.pod) {
            let (client, pod) = (self.shared.config.client.clone(), self.pod.clone());
            match token(&client, &pod, &audience, seconds).await {
                Ok((token, life)) => {
                    self.volumes.tokens.insert((volume, path), token);
                    let next = renewal(life);
                    shortest = Some(shortest.map_or(next, |other| other.min(next)));
                }
                Err(error) if self.is_old || !self.volumes.shown.is_empty() => {
                    tracing::debug!(error, "a token is not renewed");
                    shortest = Some(RENEW_AGAIN);
                    break;
                }
                Err(error) => return Err(Some(error)),
            }
        }
        self.volumes.renew = shortest.map(|wait| after(now(), wait));
        Ok(())
    }
}

/// When a token is renewed that lives so long: after four fifths of its life, as kubelets do it.
fn renewal(life: Duration) -> Duration {
    (life / 5).saturating_mul(4).clamp(RENEW_SHORTEST, RENEW_LONGEST)
}

fn after(now: Moment, wait: Duration) -> Moment {
    let micros = i64::try_from(wait.as_micros()).unwrap_or(i64::MAX);
    Moment::from_micros(now.micros().saturating_add(micros))
}

/// A token of the pod's account, which ends with the pod, and how long it lives: the API may give it less than was asked.
async fn token(
    client: &Client,
    pod: &Value,
    audience: &str,
    seconds: u64,
) -> Result<(String, Duration), String> {
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
    let Some(token) = made["status"]["token"].as_str() else {
        return Err("failed to fetch token: the answer has none".into());
    };
    let until = text(&made["status"]["expirationTimestamp"]).parse::<Moment>().ok();
    let told = until.map(|until| until.micros().saturating_sub(now().micros()));
    let told = told.map(|micros| Duration::from_micros(u64::try_from(micros).unwrap_or_default()));
    let asked = Duration::from_secs(seconds);
    Ok((token.to_owned(), told.map_or(asked, |told| told.min(asked))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_renewed_before_it_ends() {
        let table = [
            (3600, 2880),
            (600, 480),
            (0, 1),
            (1, 1),
            (90_000, 72_000),
            (30 * 86_400, 86_400),
            (u64::MAX, 86_400),
        ];
        for (life, expected) in table {
            assert_eq!(renewal(Duration::from_secs(life)).as_secs(), expected, "{life}");
        }
        assert_eq!(after(Moment::from_micros(i64::MAX - 1), Duration::MAX), Moment::from_micros(i64::MAX));
    }
}
