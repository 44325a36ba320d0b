//! Tells the API what is wrong with Ingresses and Services, as events: where those look who wrote them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use shoal_client::{Cache, Client, kinds};
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use crate::access_log::timestamp_seconds;
use crate::cluster::Kind;

/// What is wrong with an object, by `Kind namespace/name`.
pub(crate) type Problems = BTreeSet<(String, String)>;

/// How long something is wrong before it is told: objects that are made one after the other lack each other for a moment.
const PATIENCE: Duration = Duration::from_secs(2);

/// When it is told again while it lasts. Events live for an hour.
const AGAIN: Duration = Duration::from_secs(30 * 60);

/// Events of one look at the problems; others wait for the next. Whoever makes a thousand wrong Ingresses has a log, too.
const EVENTS_MAX: usize = 32;

/// Tells problems for as long as they last.
pub(crate) async fn tell(client: &Client, caches: &[(Kind, Cache)], mut problems: watch::Receiver<Problems>) {
    // When each is to be told next.
    let mut due: BTreeMap<(String, String), Instant> = BTreeMap::new();
    loop {
        let now = Instant::now();
        let current = problems.borrow_and_update().clone();
        due.retain(|problem, _| current.contains(problem));
        for problem in current {
            due.entry(problem).or_insert(now + PATIENCE);
        }
        let ripe: Vec<_> = due.iter_mut().filter(|(_, at)| **at <= now).take(EVENTS_MAX).collect();
        for ((object, why), at) in ripe {
            *at = now + AGAIN;
            let Some(event) = event(caches, object, why) else { continue };
            if let Err(error) = client.create(&kinds::EVENTS, &event).await {
                tracing::debug!(object, %error, "an event cannot be written");
            }
        }
        let next = due.values().min().map(|at| at.saturating_duration_since(Instant::now()));
        let changed = match next {
            None => problems.changed().await,
            Some(wait) => timeout(wait, problems.changed()).await.unwrap_or(Ok(())),
        };
        if changed.is_err() {
            // The routes are kept no more.
            return;
        }
    }
}

/// An event about an object; none: it has gone, or is none of the API's.
fn event(caches: &[(Kind, Cache)], object: &str, why: &str) -> Option<Value> {
    let (name, key) = object.split_once(' ')?;
    let (namespace, own) = key.split_once('/')?;
    let (kind, version) = match name {
        "Ingress" => (Kind::Ingress, "networking.k8s.io/v1"),
        "Service" => (Kind::Service, "v1"),
        _ => return None,
    };
    let cache = &caches.iter().find(|(known, _)| *known == kind)?.1;
    let known = cache.get(namespace, own)?;
    let now = SystemTime::now();
    let since = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let time = timestamp_seconds(now);
    Some(json!({
        "apiVersion": "v1", "kind": "Event",
        "metadata": {"name": format!("{own}.{:016x}", since.as_nanos()), "namespace": namespace},
        "involvedObject": {
            "apiVersion": version, "kind": name, "namespace": namespace, "name": own,
            "uid": known["metadata"]["uid"], "resourceVersion": known["metadata"]["resourceVersion"],
        },
        "reason": "NotServed", "message": why, "type": "Warning", "count": 1,
        "source": {"component": "shoal-edge"}, "reportingComponent": "shoal-edge", "reportingInstance": "",
        "firstTimestamp": time, "lastTimestamp": time,
    }))
}
