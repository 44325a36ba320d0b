//! Keeps a cluster's routes as its API says, and tells the API where they are reached.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::{join_all, join3, select_all};
use serde_json::{Value, json};
use shoal_base::backoff::Backoff;
use shoal_base::drain::Drain;
use shoal_client::{Cache, Client, Patch, Resource, Select, kinds};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, timeout};

use crate::cluster::{Cluster, Kind, Publication, said};
use crate::complain::{self, Problems};
use crate::ports::Ports;

/// Where routes are reached, and by whom.
#[derive(Clone, Debug)]
pub struct Follow {
    /// The address of the node on which ports of Services are opened: an unspecified one for all.
    pub bind: IpAddr,
    /// The address or name by which clients reach this edge: what the status of Ingresses and of Services of type
    /// `LoadBalancer` says. None: this edge writes no status. Of all edges of a cluster one should.
    pub address: Option<String>,
    /// The ports at which requests for the hosts of Ingresses are taken, the plain one first: what the status of Ingresses says
    /// beside the address.
    pub web_ports: Vec<u16>,
}

const INGRESS_CLASSES: Resource =
    Resource::new("networking.k8s.io/v1", "IngressClass", "ingressclasses", false);

/// The least time between two versions of the routes: a burst of changes makes few of them, and no one waits
/// for it longer than a blink.
const PAUSE_MIN: Duration = Duration::from_millis(5);

/// Between two versions there is so many times the time that one took to make: however many objects change, and
/// however often, four fifths of the core are left.
const PAUSE_FACTOR: u32 = 4;

/// How long the first version waits for all kinds to be read. Afterwards what there is is served: a kind that this
/// edge may not read must not keep all others from being served.
const FIRST_WAIT: Duration = Duration::from_secs(2);

/// When what failed is tried again: a port that another process had, a status that could not be written.
const RETRY: Duration = Duration::from_secs(5);

/// When ports that could not be opened are tried again first; then after twice the time, until it is [`RETRY`]. A port
/// that was given up a moment ago, by this edge or another process, is free the next.
const REOPEN_FIRST: Duration = Duration::from_millis(50);

/// Statuses that are written at once.
const WRITES_MAX: usize = 8;

/// Follows the API until the drain begins. While the API is away, the routes stay as they are.
pub async fn follow(client: &Client, cluster: &Cluster, ports: &Ports, follow: &Follow, drain: &Drain) {
    let cache = |kind, of, select| (kind, Cache::new(client.clone(), of, "", select));
    let caches = [
        cache(Kind::Service, kinds::SERVICES, Select::default()),
        cache(Kind::EndpointSlice, kinds::ENDPOINT_SLICES, Select::default()),
        cache(Kind::Ingress, kinds::INGRESSES, Select::default()),
        cache(Kind::IngressClass, INGRESS_CLASSES, Select::default()),
        cache(Kind::Secret, kinds::SECRETS, Select::fields("type=kubernetes.io/tls")),
    ];
    let applied = Notify::new();
    let (wrong, problems) = watch::channel(Problems::default());
    let work = async {
        let keep = keep(&caches, cluster, ports, follow.bind, &applied, &wrong);
        let tell = tell(client, cluster, ports, follow, &applied);
        let complain = async {
            // Of all edges of a cluster one says how objects are.
            if follow.address.is_some() {
                complain::tell(client, &caches, problems).await;
            }
        };
        join3(keep, tell, complain).await
    };
    tokio::select! {
        _ = join_all(caches.iter().map(|(_, cache)| cache.run(drain))) => {}
        _ = work => {}
    }
}

/// Keeps the routes as the objects are.
async fn keep(
    caches: &[(Kind, Cache)],
    cluster: &Cluster,
    ports: &Ports,
    bind: IpAddr,
    applied: &Notify,
    wrong: &watch::Sender<Problems>,
) {
    let mut changes: Vec<watch::Receiver<u64>> = caches.iter().map(|(_, cache)| cache.changes()).collect();
    let all = join_all(caches.iter().map(|(_, cache)| cache.read()));
    if timeout(FIRST_WAIT, all).await.is_err() {
        tracing::warn!("not all objects that routes are made of can be read; serving what there is");
    }
    changes.iter_mut().for_each(watch::Receiver::mark_changed);
    let mut said = BTreeSet::new();
    let mut reopening = Reopening::default();
    loop {
        let began = Instant::now();
        for ((kind, cache), change) in caches.iter().zip(&mut changes) {
            if change.has_changed().unwrap_or(false) {
                change.mark_unchanged();
                cluster.set(*kind, cache.all());
            }
        }
        cluster.commit();
        let failed = ports.set(bind, &cluster.ports());
        let retry = reopening.wait(failed.keys().copied().collect());
        let mut problems = cluster.problems();
        problems.extend(failed.into_iter().map(|(port, error)| (format!("port {port}"), error.to_string())));
        wrong.send_if_modified(|known| {
            let is_news = *known != problems;
            known.clone_from(&problems);
            is_news
        });
        say(&problems, &mut said);
        applied.notify_one();
        sleep(PAUSE_MIN.max(began.elapsed() * PAUSE_FACTOR)).await;
        let changed = select_all(changes.iter_mut().map(|change| Box::pin(change.changed())));
        let changed = async { changed.await.1 };
        let index = match retry {
            Some(retry) => timeout(retry, changed).await.ok(),
            None => Some(changed.await),
        };
        // Waiting has taken note of the change that it has seen, which is still to be looked at.
        if let Some(index) = index {
            changes[index].mark_changed();
        }
    }
}

/// The ports that could not be opened, and when to try again.
struct Reopening {
    ports: BTreeSet<u16>,
    backoff: Backoff,
}

impl Default for Reopening {
    fn default() -> Self {
        Self { ports: BTreeSet::new(), backoff: Backoff::new(REOPEN_FIRST, RETRY) }
    }
}

impl Reopening {
    /// How long to wait after these have failed; none: none did. Others than before are tried again soon.
    fn wait(&mut self, failed: BTreeSet<u16>) -> Option<Duration> {
        if failed != self.ports {
            self.backoff.reset();
            self.ports = failed;
        }
        (!self.ports.is_empty()).then(|| self.backoff.wait())
    }
}

/// Says each problem once, for as long as it lasts.
fn say(problems: &Problems, said: &mut Problems) {
    for (object, why) in problems.difference(said) {
        tracing::warn!(object, "{why}");
    }
    said.clone_from(problems);
}

/// Which object it is, and what its status said when it was written.
type Written = BTreeMap<(&'static str, String, String), Vec<String>>;

/// Keeps the status of Ingresses and load balancers as the routes are.
async fn tell(client: &Client, cluster: &Cluster, ports: &Ports, follow: &Follow, applied: &Notify) {
    let Some(address) = &follow.address else { return std::future::pending().await };
    let mut written = Written::new();
    let mut has_failed = false;
    loop {
        if has_failed {
            // A change may bring what was missing sooner.
            let _ = timeout(RETRY, applied.notified()).await;
        } else {
            applied.notified().await;
        }
        let open = ports.open();
        let wanted: Vec<_> = cluster
            .publications()
            .into_iter()
            .filter_map(|publication| {
                Some((
                    wish(&publication, (address.as_str(), follow.web_ports.as_slice()), &open, &mut written)?,
                    publication,
                ))
            })
            .collect();
        let writes = wanted.into_iter().map(|(status, publication)| async move {
            let of = publication.resource();
            let patch = Patch::Merge(status);
            let done = client.patch(&of, &publication.namespace, &publication.name, "status", &patch).await;
            (publication, done)
        });
        let mut writes = futures_util::stream::iter(writes).buffer_unordered(WRITES_MAX);
        has_failed = false;
        while let Some((publication, done)) = writes.next().await {
            // One that is gone needs to say nothing.
            let Some(error) = done.err().filter(|error| !error.is_not_found()) else { continue };
            has_failed = true;
            written.remove(&publication.key());
            let (namespace, name) = (&publication.namespace, &publication.name);
            tracing::warn!(namespace, name, %error, "the status of an object cannot be written; trying again");
        }
    }
}

/// The status to write, if what the object says is not what it should say.
fn wish(
    publication: &Publication,
    (address, web_ports): (&str, &[u16]),
    open: &BTreeSet<u16>,
    written: &mut Written,
) -> Option<Value> {
    let is_reached = publication.ports.as_ref().is_some_and(|ports| ports.is_subset(open));
    // A Service has its own ports, and says them.
    let web_ports = if publication.kind == Kind::Ingress { web_ports } else { &[] };
    let says_so = publication.says == [said(address, web_ports.iter().copied())];
    if is_reached == says_so {
        written.remove(&publication.key());
        return None;
    }
    // What was written has not come back yet.
    if written.get(&publication.key()) == Some(&publication.says) {
        return None;
    }
    written.insert(publication.key(), publication.says.clone());
    let field = if address.parse::<IpAddr>().is_ok() { "ip" } else { "hostname" };
    let mut reached = json!({ field: address });
    if !web_ports.is_empty() {
        let port = |port: &u16| json!({"port": port, "protocol": "TCP"});
        reached["ports"] = web_ports.iter().map(port).collect();
    }
    let ingress = if is_reached { json!([reached]) } else { Value::Null };
    Some(json!({"status": {"loadBalancer": {"ingress": ingress}}}))
}

impl Publication {
    fn resource(&self) -> Resource {
        if self.kind == Kind::Service { kinds::SERVICES } else { kinds::INGRESSES }
    }

    fn key(&self) -> (&'static str, String, String) {
        let kind = if self.kind == Kind::Service { "services" } else { "ingresses" };
        (kind, self.namespace.clone(), self.name.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_has_just_failed_is_tried_again_soon_and_then_now_and_then() {
        let mut reopening = Reopening::default();
        let mut wait = |ports: &[u16]| reopening.wait(ports.iter().copied().collect());
        assert_eq!(wait(&[]), None);
        assert_eq!(wait(&[1]), Some(REOPEN_FIRST));
        assert_eq!(wait(&[1]), Some(2 * REOPEN_FIRST));
        assert_eq!(wait(&[1, 2]), Some(REOPEN_FIRST), "another one");
        assert_eq!((0..20).map(|_| wait(&[1, 2])).last(), Some(Some(RETRY)));
        assert_eq!(wait(&[]), None);
        assert_eq!(wait(&[1, 2]), Some(REOPEN_FIRST));
    }
}
