//! What was applied, on its way: until it serves, cannot go on, or took too long.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use shoal_api::object;
use shoal_cli::progress::LinesProgress;
use shoal_cli::render::deploy::{self as show, Evidence, Stage};
use shoal_cli::{Exit, exit};
use shoal_client::{Resource, Said, Select, kinds};
use tokio::time::{Instant, sleep_until, timeout};

use crate::cluster::apply::Placed;
use crate::cluster::find::with_namespace;
use crate::cluster::world::World;
use crate::cluster::{Cluster, failed};

/// How long a pod may be stuck before that is said: what a restart or another try mends is mended by then.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long an edge may take to serve what is ready. A cluster may have none.
const EDGE_TIME: Duration = Duration::from_secs(5);
/// For the last words of a pod, which its node may not be there to tell.
const LOG_TIME: Duration = Duration::from_secs(5);
/// Last words that are looked at, of each pod.
const LOG_LINES: u64 = 20;
/// Pods whose last words are asked for.
const LOGS_MAX: usize = 3;

/// What explains how an object is, and is not missed where it may not be read.
const EXPLAINING: [Resource; 2] = [kinds::REPLICA_SETS, kinds::EVENTS];

/// An object that comes up.
struct Tracked {
    /// `deployment/shop`.
    shown: String,
    /// What comes up: a Deployment or a Job.
    of: Resource,
    namespace: String,
    name: String,
    /// The generation of its App that is to be expanded; none: it stands for itself.
    app: Option<i64>,
    /// The generation that is to come up; none: that of an App's Deployment is not known yet.
    generation: Option<i64>,
    stuck: Option<Instant>,
}

/// What came up.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Served {
    /// URLs under which somebody answers.
    pub(crate) urls: Vec<String>,
    /// Ingresses that no edge has taken yet, or behind which nobody is: `ingress/shop`.
    pub(crate) unserved: Vec<String>,
    /// URLs that lead elsewhere, with why.
    pub(crate) taken: Vec<String>,
}

/// Why the watch ends.
enum End {
    Served(Served),
    Failed(Box<Tracked>, &'static str),
}

/// Watches what was applied until it serves.
///
/// # Errors
/// It does not come up; why has been said.
pub(crate) async fn until_served(
    cluster: &Cluster,
    applied: &[Placed],
    wait: Duration,
    is_terminal: bool,
) -> Result<Served, Exit> {
    let tracked: Vec<Tracked> = applied.iter().filter_map(Tracked::of).collect();
    let reached: BTreeSet<(String, String)> = applied.iter().filter_map(ingress_of).collect();
    if tracked.is_empty() && reached.is_empty() {
        return Ok(Served::default());
    }
    // Each by itself: who may read two namespaces may not read all of them.
    let rolled = tracked.iter().map(|one| one.namespace.as_str());
    let mut places: Vec<&str> = rolled.chain(reached.iter().map(|(place, _)| place.as_str())).collect();
    places.sort_unstable();
    places.dedup();
    let explaining: &[Resource] = if tracked.is_empty() { &[] } else { &EXPLAINING };
    let world = World::new(&cluster.client, &places, &needed(&tracked, &reached), explaining);
    let ended = world.run(async {
        world.read().await?;
        let mut progress = LinesProgress::new(is_terminal);
        let ended = watch(cluster, &world, tracked, &reached, wait, &mut progress).await?;
        drop(progress);
        Ok::<_, Exit>(match ended {
            End::Served(served) => Ok(with_urls(cluster, &world, &reached, served).await),
            End::Failed(tracked, why) => Err(explained(cluster, &world, &tracked, why).await),
        })
    });
    ended.await?
}

/// Kinds without which nobody knows whether what was applied serves.
fn needed(tracked: &[Tracked], reached: &BTreeSet<(String, String)>) -> Vec<Resource> {
    let has = |of: &Resource| tracked.iter().any(|one| one.of == *of);
    [
        (kinds::APPS, tracked.iter().any(|one| one.app.is_some())),
        (kinds::DEPLOYMENTS, has(&kinds::DEPLOYMENTS)),
        (kinds::JOBS, has(&kinds::JOBS)),
        (kinds::PODS, !tracked.is_empty()),
        (kinds::INGRESSES, !reached.is_empty()),
        (kinds::ENDPOINT_SLICES, !reached.is_empty()),
    ]
    .into_iter()
    .filter_map(|(of, is_needed)| is_needed.then_some(of))
    .collect()
}

async fn watch(
    cluster: &Cluster,
    world: &World,
    mut tracked: Vec<Tracked>,
    reached: &BTreeSet<(String, String)>,
    wait: Duration,
    progress: &mut LinesProgress,
) -> Result<End, Exit> {
    let end = Instant::now() + wait;
    let mut edge_end = None;
    let mut changes = world.changes();
    loop {
        let mut wake = end;
        let mut at = 0;
        let gathered = Gathered::of(world);
        while at < tracked.len() {
            match tracked[at].look(cluster, world, &gathered, progress).await? {
                Stage::Done => drop(tracked.remove(at)),
                Stage::Failed { .. } => {
                    return Ok(End::Failed(Box::new(tracked.swap_remove(at)), "has failed"));
                }
                Stage::Going(_) if tracked[at].stuck.is_some_and(|since| since.elapsed() >= PATIENCE) => {
                    return Ok(End::Failed(Box::new(tracked.swap_remove(at)), "does not come up"));
                }
                Stage::Going(_) => {
                    wake = tracked[at].stuck.map_or(wake, |since| wake.min(since + PATIENCE));
                    at += 1;
                }
            }
        }
        if tracked.is_empty() {
            let edge_end = *edge_end.get_or_insert_with(|| Instant::now() + EDGE_TIME);
            let served = served(world, reached);
            if served.unserved.is_empty() || Instant::now() >= edge_end.min(end) {
                return Ok(End::Served(served));
            }
            wake = wake.min(edge_end);
        } else if Instant::now() >= end {
            return Ok(End::Failed(Box::new(tracked.swap_remove(0)), "has not come up in time"));
        }
        tokio::select! {
            () = changes.next() => {}
            () = sleep_until(wake) => {}
        }
    }
}

impl Tracked {
    /// What is to come up of an object; none: it has nothing that does.
    fn of(placed: &Placed) -> Option<Self> {
        let generation = placed.object["metadata"]["generation"].as_i64().unwrap_or_default();
        let is_app = placed.resource == kinds::APPS;
        let spec = &placed.object["spec"];
        let of = match &placed.resource {
            // Nothing of it runs before its time has come.
            _ if is_app && show::is_scheduled(&placed.object) => return None,
            _ if is_app => kinds::DEPLOYMENTS,
            // These wait for somebody to let them go on.
            of if *of == kinds::DEPLOYMENTS && spec["paused"] == true => return None,
            of if *of == kinds::JOBS && spec["suspend"] == true => return None,
            of if *of == kinds::DEPLOYMENTS || *of == kinds::JOBS => of.clone(),
            _ => return None,
        };
        Some(Self {
            shown: placed.shown(),
            of,
            namespace: placed.namespace().into(),
            name: placed.name().into(),
            app: is_app.then_some(generation),
            generation: (!is_app).then_some(generation),
            stuck: None,
        })
    }

    /// How far it is now, which is shown.
    async fn look(
        &mut self,
        cluster: &Cluster,
        world: &World,
        gathered: &Gathered,
        progress: &mut LinesProgress,
    ) -> Result<Stage, Exit> {
        if let Some(stage) = self.unexpanded(cluster, world).await? {
            if let Stage::Going(what) = &stage {
                progress.set(&self.shown, &format!("{}/{}: {what}", self.namespace, self.name), false);
            }
            return Ok(stage);
        }
        let known = world.get(&self.of, &self.namespace, &self.name);
        let known = known.filter(|known| known["metadata"]["generation"].as_i64() >= self.generation);
        // The watch has yet to see what was applied.
        let Some(object) = known else { return Ok(Stage::Going(String::new())) };
        let stage = show::stage_of(&object);
        progress.set(&self.shown, &show::progress(&object), !matches!(stage, Stage::Going(_)));
        let is_stuck = show::is_stuck(&object, &gathered.evidence(&[]));
        self.stuck = is_stuck.then(|| self.stuck.unwrap_or_else(Instant::now));
        Ok(stage)
    }

    /// How it is with an App while its Deployment is not as the App says; none: it is.
    async fn unexpanded(&mut self, cluster: &Cluster, world: &World) -> Result<Option<Stage>, Exit> {
        let Some(wanted) = self.app.filter(|_| self.generation.is_none()) else { return Ok(None) };
        let expanding = Ok(Some(Stage::Going("waiting to be expanded".into())));
        let app = world.get(&kinds::APPS, &self.namespace, &self.name);
        let seen =
            |app: &Arc<Value>| app["status"]["observedGeneration"].as_i64().unwrap_or_default() >= wanted;
        let Some(app) = app.filter(seen) else { return expanding };
        if let Some(failure) = show::app_failure(&app) {
            return Ok(Some(failure));
        }
        // The App says that it was expanded after it was; the watch of Deployments may be behind that of Apps.
        match cluster.client.get(&kinds::DEPLOYMENTS, &self.namespace, &self.name).await {
            Ok(deployment) => {
                self.generation = Some(deployment["metadata"]["generation"].as_i64().unwrap_or_default());
                Ok(None)
            }
            Err(error) if error.is_not_found() => expanding,
            Err(error) => Err(failed(format_args!("cannot look at {}", self.shown), &error)),
        }
    }
}

/// The Ingress by which an object is reached.
fn ingress_of(placed: &Placed) -> Option<(String, String)> {
    let routes = placed.object["spec"]["routes"].as_array();
    let is_app = placed.resource == kinds::APPS && !show::is_scheduled(&placed.object);
    let is_routed = is_app && routes.is_some_and(|all| !all.is_empty());
    let is_one = is_routed || placed.resource == kinds::INGRESSES;
    is_one.then(|| (placed.namespace().to_owned(), placed.name().to_owned()))
}

/// Who is reached, and who is not yet.
fn served(world: &World, reached: &BTreeSet<(String, String)>) -> Served {
    let mut served = Served::default();
    for (namespace, name) in reached {
        let ingress = world.get(&kinds::INGRESSES, namespace, name);
        if !ingress.as_ref().is_some_and(|found| is_served(world, found)) {
            served.unserved.push(format!("ingress/{name}"));
        }
    }
    served
}

/// Adds the URLs. Those that an older Ingress has may be in a namespace that nobody has looked at yet, or may look at.
async fn with_urls(
    cluster: &Cluster,
    world: &World,
    reached: &BTreeSet<(String, String)>,
    mut served: Served,
) -> Served {
    let known = || world.all(&kinds::INGRESSES).iter().map(|one| Value::clone(one)).collect();
    let all = cluster.client.list(&kinds::INGRESSES, "", &Select::default()).await;
    let all: Vec<Value> = all.map_or_else(|_| known(), |list| list.items.iter().map(Value::clone).collect());
    for (namespace, name) in reached {
        let ingress = world.get(&kinds::INGRESSES, namespace, name);
        for url in ingress.iter().flat_map(|found| show::urls(found, &all)) {
            match url.taken_by {
                Some(other) => {
                    served.taken.push(format!("{} is that of ingress {other}, which is older", url.url));
                }
                // Where an address or a host is left open, there is nothing that a program could ask.
                None if url.url.contains("://*") => {}
                None => served.urls.push(url.url),
            }
        }
    }
    served
}

/// Whether an edge has taken an Ingress, and there is someone behind each of its Services.
fn is_served(world: &World, ingress: &Value) -> bool {
    let slices = world.all(&kinds::ENDPOINT_SLICES);
    let rules = ingress["spec"]["rules"].as_array().into_iter().flatten();
    let paths = rules.flat_map(|rule| rule["http"]["paths"].as_array().into_iter().flatten());
    let mut services = paths.filter_map(|path| path["backend"]["service"]["name"].as_str());
    let is_ready = |service: &str| {
        slices.iter().any(|slice| {
            object::label(slice, "kubernetes.io/service-name") == Some(service)
                && object::namespace(slice) == object::namespace(ingress)
                && slice["endpoints"]
                    .as_array()
                    .into_iter()
                    .flatten()
                    .any(|end| end["conditions"]["ready"] == true)
        })
    };
    show::is_published(ingress) && services.all(is_ready)
}

/// What explains how an object is.
struct Gathered {
    replica_sets: Vec<Value>,
    pods: Vec<Value>,
    events: Vec<Value>,
}

impl Gathered {
    fn of(world: &World) -> Self {
        let copied = |of: &Resource| world.all(of).iter().map(|object| (**object).clone()).collect();
        Self {
            replica_sets: copied(&kinds::REPLICA_SETS),
            pods: copied(&kinds::PODS),
            events: copied(&kinds::EVENTS),
        }
    }

    fn evidence<'a>(&'a self, logs: &'a [(String, String)]) -> Evidence<'a> {
        Evidence { replica_sets: &self.replica_sets, pods: &self.pods, events: &self.events, logs }
    }
}

/// Says why an object does not come up.
async fn explained(cluster: &Cluster, world: &World, tracked: &Tracked, why: &str) -> Exit {
    let gathered = Gathered::of(world);
    let object = world.get(&tracked.of, &tracked.namespace, &tracked.name);
    let mut told = String::new();
    if let Some(object) = &object {
        let mut logs = Vec::new();
        for pod in show::pods_of(object, &gathered.evidence(&[])).into_iter().take(LOGS_MAX) {
            let words = last_words(cluster, &tracked.namespace, &pod).await;
            logs.push((pod, words));
        }
        told = show::explain(object, &gathered.evidence(&logs));
    }
    let app = tracked.app.and_then(|_| world.get(&kinds::APPS, &tracked.namespace, &tracked.name));
    if let Some(Stage::Failed { message, .. }) = app.as_deref().and_then(show::app_failure) {
        told = format!("  {}\n", show::reason(&message));
    }
    let _ = anstream::stderr().write_all(told.as_bytes());
    let what = format!("{} {why}; the cluster goes on trying", tracked.shown);
    Exit::error(exit::UNAVAILABLE, what).hint(way_out(tracked))
}

fn way_out(tracked: &Tracked) -> String {
    let place = with_namespace(&tracked.namespace);
    format!("mend it and deploy again, or take it away with `shoal delete {}{place}`", tracked.shown)
}

/// What a pod has said last, in this run or in the one before.
async fn last_words(cluster: &Cluster, namespace: &str, pod: &str) -> String {
    for previous in [false, true] {
        let said = Said { previous, tail_lines: Some(LOG_LINES), ..Said::default() };
        let read = async {
            let mut lines = Vec::new();
            let Ok(mut log) = cluster.client.log(namespace, pod, &said).await else { return lines };
            while let Ok(Some(line)) = log.next().await {
                lines.push(line);
            }
            lines
        };
        let lines = timeout(LOG_TIME, read).await.unwrap_or_default();
        if !lines.is_empty() {
            return lines.join("\n");
        }
    }
    String::new()
}

#[cfg(test)]
mod tests;
